"""The pictures of worlds are drawn, small, and shown by the page on them."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from benchmarks.pictures import FOLDER, PICTURES, draw

PAGE = FOLDER.parent / "worlds.md"


@pytest.mark.medium
def test_pictures_are_drawn_and_small(tmp_path: Path) -> None:
    for file in draw(tmp_path):
        assert 10_000 < file.stat().st_size < 120_000, file.name


@pytest.mark.parametrize("name", PICTURES)
def test_the_page_shows_each(name: str) -> None:
    assert f"(figures/{name}.png)" in PAGE.read_text()
    assert (FOLDER / f"{name}.png").is_file()

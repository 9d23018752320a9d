"""A folder of figures is theirs: what is somebody else's in it is never replaced."""

from pathlib import Path

import pytest

from recurra.insight.report import check_figures
from recurra.insight.report.folder import write_figures

FILES = [("one.svg", b"<svg/>"), ("one.csv", b"a")]


def test_figures_are_written_again_where_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    write_figures(folder, FILES)
    write_figures(folder, [("one.csv", b"b"), ("two.csv", b"c")])
    write_figures(folder, FILES)
    found = {each.name: each.read_bytes() for each in folder.glob("[a-z]*")}
    assert found == {**dict(FILES), "two.csv": b"c"}


@pytest.mark.parametrize("name", ["training.csv", "Photo.PNG", "other.svg"])
def test_what_is_somebody_elses_is_left(tmp_path: Path, name: str) -> None:
    write_figures(tmp_path, FILES)
    (tmp_path / name).write_text("mine")
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(ValueError, match=f"figures: expected a new folder.*holds {name}"):
        write_figures(tmp_path, [("one.csv", b"new"), (name, b"new")])
    assert (tmp_path / name).read_text() == "mine"
    assert (tmp_path / "one.csv").read_bytes() == b"a"


def test_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "drawn").write_text("")
    with pytest.raises(ValueError, match=r"figures: expected a folder, .* a file"):
        check_figures(tmp_path / "drawn")

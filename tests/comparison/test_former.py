"""`make_task` of version 0.1, which other programs call: problems, and what is known of data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recurra.comparison.spelling import parse, renewed, spelled
from recurra.data import make_task
from recurra.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten series each, of three features."""
    chance = np.random.default_rng(0)
    for label, level in (("left", -1.0), ("right", 1.0)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(10):
            rows = level + 0.1 * chance.normal(size=(4 + i, 3))
            np.save(tmp_path / "data" / label / f"{i}.npy", rows)
    return tmp_path / "data"


def test_a_folder_of_series(folder: Path) -> None:
    task = make_task(f"folder:path={folder}")
    assert (task.input_size, task.output_size) == (3, 2)
    assert (task.measure, task.baseline, task.solved) == ("error", 0.5, 0.0)
    batch = task.batch(40, torch.Generator().manual_seed(0))
    assert batch.x.shape == (int(batch.lengths.max()), 40, 3)
    with pytest.raises(DataError, match="nowhere"):
        make_task(f"folder:path={folder / 'nowhere'}")


def test_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abcde" * 400)
    task = make_task(f"text:path={path},steps=9")
    assert task.input_size == task.output_size == 5
    assert task.baseline == pytest.approx(np.log(5))
    assert (task.measure, task.solved) == ("nll", None)


def test_the_digest_is_of_the_content(folder: Path) -> None:
    def digest() -> str | None:
        return make_task(f"folder:path={folder}").digest

    before = digest()
    assert before is not None
    for file in folder.glob("*/*"):
        file.touch()
    assert digest() == before
    file = folder / "left" / "1.npy"
    np.save(file, np.load(file) + 1)
    assert digest() != before
    assert make_task("adding").digest is None


@pytest.mark.parametrize(
    "spelling",
    ["path=a b.txt", 'path="a, b.txt"', "path='a, b.txt'", r"path=a\, b.txt", 'path="x=1,steps=2"'],
)
def test_a_path_may_have_commas(spelling: str) -> None:
    name = spelling.removeprefix("path=").strip("\"'").replace("\\", "")
    for settings in (spelling, f"{spelling},steps=7", f"steps=7 , {spelling}"):
        task, given = parse(f"text:{settings}")
        assert (task, given["data"]) == ("lm", name)
        assert given.get("bptt") == ("7" if "steps=7" in settings else None)
        assert parse(renewed(f"text:{settings}")) == (task, given)


@pytest.mark.parametrize("value", ["a", "a, b", 'say "a"', "it's, or", " a", "x=1", True, 3, '"a'])
def test_what_is_spelled_is_read_so(value: object) -> None:
    words = {True: "yes"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    assert parse(spelled("lm", {"data": value, "bptt": 5})) == ("lm", {"data": words, "bptt": "5"})

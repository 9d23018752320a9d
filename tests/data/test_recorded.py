"""Tasks of files: a text, and a folder of sequences."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recurra.data import make_task, recorded
from recurra.errors import DataError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_windows_of_a_text(tmp_path: Path) -> None:
    text = "abcde" * 400 + "xyz" * 50
    (tmp_path / "a.txt").write_text(text)
    task = make_task(f"text:path={tmp_path / 'a.txt'},steps=9")
    assert task.input_size == task.output_size == 8
    batch = task.batch(30, generator())
    assert batch.x.shape == batch.target.shape == (9, 30)
    assert torch.equal(batch.x[1:], batch.target[:-1])
    # of the 2,150 characters the last 108 are judged on, and those are of "xyz" alone
    assert int(batch.x.max()) >= 4
    assert int(task.judged(30, generator()).x.min()) >= 5
    assert 1.5 < task.baseline < np.log(8)
    with pytest.raises(DataError, match=r"text of more than 4,020 characters.*got 2,150"):
        make_task(f"text:path={tmp_path / 'a.txt'},steps=200").judged(3, generator())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes that differ in the sign of their second feature."""
    chance = np.random.default_rng(0)
    for label, sign in (("left", -1.0), ("right", 1.0)):
        (tmp_path / label).mkdir()
        for i in range(10):
            rows = chance.normal(size=(4 + i, 3))
            rows[:, 1] = sign * (1 + np.abs(rows[:, 1]))
            if i % 2:
                np.save(tmp_path / label / f"{i}.npy", rows)
            else:
                np.savetxt(tmp_path / label / f"{i}.csv", rows, delimiter=",")
    (tmp_path / "left" / "notes.txt").write_text("not a sequence")
    return tmp_path


def test_sequences_of_a_folder(folder: Path) -> None:
    task = make_task(f"folder:path={folder}")
    assert (task.input_size, task.output_size, task.baseline) == (3, 2, 0.5)
    batch = task.batch(200, generator())
    assert batch.lengths is not None
    assert batch.x.shape == (int(batch.lengths.max()), 200, 3)
    for b in range(200):
        own = batch.x[: batch.lengths[b], b, 1]
        assert bool((own > 0).all()) == bool(batch.target[b] == 1)
        assert not batch.x[batch.lengths[b] :, b].any()
    trained = {tuple(batch.x[0, b].tolist()) for b in range(200)}
    judged = task.judged(50, generator())
    assert not trained & {tuple(judged.x[0, b].tolist()) for b in range(50)}
    right = torch.stack([(1 - 2 * batch.target).float(), (2 * batch.target - 1).float()], dim=1)
    assert task.score(right, batch) == 0.0
    assert task.score(-right, batch) == 1.0


def test_mistakes(folder: Path) -> None:
    with pytest.raises(DataError, match="sub-folder for each of two or more classes, got 0"):
        _ = make_task(f"folder:path={folder / 'left'}").input_size
    (folder / "up").mkdir()
    with pytest.raises(DataError, match=r"up: expected two or more files that end in \.npy"):
        _ = make_task(f"folder:path={folder}").input_size
    for rows, message in (
        ("1,2,3\n4,5,x\n", "a.csv: expected numbers"),
        ("1,2,nan\n", "a.csv: expected finite numbers"),
        ("1,2\n3,4\n", r"one number of features, got \[2, 3\]"),
    ):
        for name in "ab":
            (folder / "up" / f"{name}.csv").write_text(rows)
        recorded._sequences.cache_clear()
        with pytest.raises(DataError, match=message):
            _ = make_task(f"folder:path={folder}").input_size

"""Tasks of files: a text, and a folder of sequences."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from recurra.data import make_task
from recurra.errors import DataError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_windows_of_a_text(tmp_path: Path) -> None:
    text = "abcde" * 400 + "xyz" * 50
    (tmp_path / "a.txt").write_text(text)
    task = make_task(f"text:path={tmp_path / 'a.txt'},steps=9")
    assert task.input_size == task.output_size == 8
    assert task.solved is None
    batch = task.batch(30, generator())
    assert batch.x.shape == batch.target.shape == (9, 30)
    assert torch.equal(batch.x[1:], batch.target[:-1])
    assert 1.5 < task.baseline < np.log(8)
    with pytest.raises(DataError, match=r"text of more than 4,020 characters.*got 2,150"):
        list(make_task(f"text:path={tmp_path / 'a.txt'},steps=200").held_out("val", 3))


def test_the_parts_of_a_text_do_not_overlap_and_are_read_once(tmp_path: Path) -> None:
    # every character occurs once, so that it says where in the text it stands
    text = "".join(chr(0x4E00 + i) for i in range(4000))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    task = make_task(f"text:path={tmp_path / 'a.txt'},steps=9")
    assert int(task.batch(500, generator()).target.max()) < 3600
    for part, begin, end in (("val", 3600, 3800), ("test", 3800, 4000)):
        targets = torch.cat([batch.target for batch in task.held_out(part, 7)], dim=1)
        assert targets.shape[1] == (end - begin - 1) // 9
        assert begin < int(targets.min())
        assert int(targets.max()) < end
        assert len(targets.unique()) == targets.numel()


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
    return tmp_path


def firsts(batches) -> list[tuple[float, ...]]:
    """The first step of every sequence, which tells it from the others."""
    return [tuple(batch.x[0, b].tolist()) for batch in batches for b in range(batch.x.shape[1])]


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
    right = torch.stack([(1 - 2 * batch.target).float(), (2 * batch.target - 1).float()], dim=1)
    assert task.score(right, batch) == 0.0
    assert task.score(-right, batch) == 1.0


@pytest.mark.parametrize("size", [1, 3, 64])
def test_each_sequence_of_a_folder_is_in_one_part_and_held_out_once(
    folder: Path, size: int
) -> None:
    task = make_task(f"folder:path={folder}")
    trained = set(firsts([task.batch(300, generator())]))
    val, test = (firsts(task.held_out(part, size)) for part in ("val", "test"))
    assert (len(trained), len(val), len(test)) == (12, 4, 4)
    assert len(trained | set(val) | set(test)) == 20


@pytest.mark.parametrize("count", [3, 4, 5, 6, 11])
def test_every_class_is_in_every_part(tmp_path: Path, count: int) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(count):
            np.save(tmp_path / label / f"{i:02}.npy", np.random.default_rng(i).normal(size=(4, 2)))
    task = make_task(f"folder:path={tmp_path}")
    for part in ("val", "test"):
        classes = torch.cat([batch.target for batch in task.held_out(part, 8)])
        assert classes.bincount().tolist() == [max(1, count // 5)] * 2


def test_names_in_capitals_are_the_same_and_what_is_left_behind_is_no_data(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = make_task(f"folder:path={folder}")
    for file in sorted((folder / "left").iterdir())[::3]:
        file.rename(file.with_suffix(file.suffix.upper()))
    for name in (".ipynb_checkpoints", "__MACOSX"):
        (folder / name).mkdir()
        (folder / name / "0.csv").write_text("1,2\n")
    for name in (".0.csv", "._1.npy"):
        (folder / "right" / name).write_bytes(b"\0\1\2")
    (folder / "left" / "notes.txt").write_text("not a sequence")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "recurra"):
        task = make_task(f"folder:path={folder}")
    assert (task.output_size, task.baseline) == (2, 0.5)
    assert set(firsts(task.held_out("test", 9))) == set(firsts(plain.held_out("test", 9)))
    [said] = [record.getMessage() for record in caplog.records]
    assert "not read as sequences" in said
    assert ".ipynb_checkpoints" in said
    assert "2 more" in said


def test_a_small_unit_is_scaled_like_a_large_one(folder: Path, tmp_path: Path) -> None:
    task = make_task(f"folder:path={folder}")
    small = tmp_path / "small"
    for file in sorted(folder.glob("*/*.npy")):
        (small / file.parent.name).mkdir(parents=True, exist_ok=True)
        rows = np.load(file) * 1e-9
        np.save(small / file.parent.name / file.name, np.c_[rows, np.full(len(rows), 0.1)])
    scaled = make_task(f"folder:path={small}").batch(100, generator()).x
    assert float(scaled[..., :3].abs().max()) > 1.0
    assert float(scaled[..., 3].abs().max()) < 1e-3  # a feature that never changes
    assert task.batch(2, generator()).x.dtype == torch.float32


def test_the_digest_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    def digest() -> str | None:
        return make_task(f"folder:path={folder}").digest

    before = digest()
    for file in folder.glob("*/*"):
        file.touch()
    assert digest() == before
    file = folder / "left" / "1.npy"
    rows = np.load(file)
    np.save(file, rows + 1)
    assert digest() != before
    np.save(file, rows)
    assert digest() == before
    file.rename(folder / "right" / "z.npy")
    assert digest() != before
    text = tmp_path / "a.txt"
    text.write_text("abc" * 1000)
    first = make_task(f"text:path={text}").digest
    text.write_text("abd" * 1000)
    assert make_task(f"text:path={text}").digest not in (first, None)
    assert make_task("adding").digest is None


def test_mistakes(folder: Path) -> None:
    with pytest.raises(DataError, match="sub-folder for each of two or more classes, got 0"):
        make_task(f"folder:path={folder / 'left'}")
    with pytest.raises(DataError, match="got no such folder"):
        make_task(f"folder:path={folder / 'nowhere'}")
    (folder / "up").mkdir()
    with pytest.raises(DataError, match=r"up: expected three or more files that end in \.npy"):
        make_task(f"folder:path={folder}")
    for name in "abc":
        (folder / "up" / f"{name}.csv").write_text("1,2\n3,4\n")
    with pytest.raises(DataError, match=r"one number of features, got 2 in .*up.* and 3 in"):
        make_task(f"folder:path={folder}")
    for name, header in (("a", "x,y,z"), ("b", "x,y,z"), ("c", "x,z,y")):
        (folder / "up" / f"{name}.csv").write_text(f"{header}\n3,4,5\n")
    with pytest.raises(DataError, match=r"same columns in every file, got x, y, z in .*[ab]\.csv"):
        make_task(f"folder:path={folder}")

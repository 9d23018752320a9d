import errno
import json
import os
from pathlib import Path

import pytest
import torch

from recurra.errors import CheckpointError, RunError
from recurra.training import Checkpoint, load_checkpoint, save_checkpoint


def checkpoint(step: int) -> Checkpoint:
    tensors = {"model/weight": torch.full((3, 2), float(step)), "random/cpu": torch.get_rng_state()}
    return Checkpoint(tensors=tensors, record={"step": step})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(7))
    loaded = load_checkpoint(tmp_path)
    assert loaded.record["step"] == 7
    assert torch.equal(loaded.group("model")["weight"], torch.full((3, 2), 7.0))
    assert torch.equal(loaded.group("random")["cpu"], torch.get_rng_state())
    assert json.loads((tmp_path / "training.json").read_text())["step"] == 7


def test_tensors_of_every_kind_come_back_as_they_were(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "transposed": whole.T,
        "scalar": torch.tensor(3.0),
        "tied": whole,
        "half": whole.to(torch.bfloat16),
        "count": torch.tensor([1, 2]),
    }
    save_checkpoint(tmp_path, Checkpoint(tensors=tensors, record={}))
    loaded = load_checkpoint(tmp_path).tensors
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_a_newer_checkpoint_replaces_the_older_and_leaves_nothing_behind(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    save_checkpoint(tmp_path, checkpoint(2))
    assert load_checkpoint(tmp_path).record["step"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"training.safetensors", "training.json"}


def test_the_copy_of_the_record_is_not_needed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    (tmp_path / "training.json").write_text("{")
    assert load_checkpoint(tmp_path).record["step"] == 1


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"training\.safetensors: expected a checkpoint, got"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.3, 0.99])
def test_a_checkpoint_cut_short(tmp_path: Path, share: float) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    path = tmp_path / "training.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        load_checkpoint(tmp_path)


def test_tensors_without_a_record(tmp_path: Path) -> None:
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "training.safetensors")
    with pytest.raises(CheckpointError, match="got tensors without its record"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_another_version(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Checkpoint(tensors={}, record={"format": 99}))
    with pytest.raises(CheckpointError, match="expected a checkpoint of format 1, got 99"):
        load_checkpoint(tmp_path)


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_the_checkpoint_before_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    before = (tmp_path / "training.safetensors").read_bytes()

    def write_half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        full_disk()
        return 0

    with monkeypatch.context() as patch:
        if place == "write":
            patch.setattr(Path, "write_bytes", write_half)
        elif place == "fsync":
            patch.setattr(os, "fsync", full_disk)
        else:
            patch.setattr(Path, "replace", full_disk)
        with pytest.raises(RunError) as caught:
            save_checkpoint(tmp_path, checkpoint(2))
    message = str(caught.value)
    assert "No space left on device" in message
    assert "resume=True" in message
    assert (tmp_path / "training.safetensors").read_bytes() == before
    assert load_checkpoint(tmp_path).record["step"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"training.safetensors", "training.json"}

"""Weights from files: by names and shapes, with a hash where given, and nothing run."""

import hashlib
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from recurra.errors import CheckpointError
from recurra.vision import ConvNet


class Small(ConvNet):
    optional = ("head.",)


@pytest.fixture
def source() -> Small:
    torch.manual_seed(3)
    return Small(1, (4,), 3, norm="batch")


@pytest.fixture
def empty() -> Small:
    torch.manual_seed(4)
    return Small(1, (4,), 3, norm="batch")


def same(a: Small, b: Small) -> bool:
    return all(torch.equal(a.state_dict()[n], v) for n, v in b.state_dict().items())


def state(source: Small) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in source.state_dict().items()}


@pytest.mark.parametrize("kind", ["safetensors", "pth", "legacy", "nested"])
def test_weights_come_in(kind: str, source: Small, empty: Small, tmp_path: Path) -> None:
    tensors, path = {**state(source), "head.weight": torch.zeros(2)}, tmp_path / "w.pth"
    if kind == "safetensors":
        path = tmp_path / "w.safetensors"
        safetensors.torch.save_file(tensors, path)
    elif kind == "nested":
        torch.save({"state_dict": tensors, "epoch": 3}, path)
    else:  # the older form is that of torchvision's VGG-16
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "pth")
    assert not same(source, empty)
    empty.load_weights(path)
    assert same(source, empty)


def refused(network: Small, path: Path, says: str, **options: str) -> None:
    before = state(network)
    with pytest.raises(CheckpointError, match=says) as caught:
        network.load_weights(path, **options)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())


def test_other_names_and_shapes_are_refused(source: Small, empty: Small, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    tensors = state(source)
    torch.save({**tensors, "more": torch.zeros(1)}, path)
    refused(empty, path, "expected none of that name for tensor more, got one")
    torch.save({**tensors, "features.0.weight": torch.zeros(4, 3, 3, 3)}, path)
    refused(empty, path, r"features.0.weight of shape \[4, 1, 3, 3\], got \[4, 3, 3, 3\]")
    del tensors["features.0.weight"]
    torch.save(tensors, path)
    refused(empty, path, "expected one for tensor features.0.weight, got none")
    torch.save([1, 2], path)
    refused(empty, path, "expected tensors by name, got list")


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def test_a_file_that_would_run_code_is_refused(
    empty: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Attack()}, "w.pth")
    refused(empty, Path("w.pth"), "expected tensors alone, got a file that would run code")
    assert not Path("ran").exists()


def test_damaged_files_are_refused(source: Small, empty: Small, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(state(source), path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2):
        path.write_bytes(whole[:length])
        refused(empty, path, r"w\.pth: expected")
    refused(empty, tmp_path / "none.pth", "got no file")
    refused(empty, tmp_path / "none.safetensors", "got no file")


def test_the_hash_is_checked(source: Small, empty: Small, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(state(source), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    refused(empty, path, "expected a file of sha256 00000000", sha256="0" * 8)
    named = path.rename(tmp_path / "w-00000000.pth")
    refused(empty, named, "by its name")
    with pytest.raises(ValueError, match="8 to 64 hexadecimal digits"):
        empty.load_weights(named, sha256="abc")
    path = named.rename(tmp_path / f"w-{digest[:8]}.pth")
    empty.load_weights(path, sha256=digest.upper())
    assert same(source, empty)

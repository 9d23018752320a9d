"""Features made once and kept, and features that another program made."""

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from recurra.data import features as module
from recurra.data.features import Features, cached_features, read_features
from recurra.errors import CheckpointError, DataError
from recurra.vision import ConvNet, Preprocessing

MADE = Preprocessing(size=16)


def network(seed: int = 0, **options: object) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet(3, (4, 8), 6, **options)  # type: ignore[arg-type]


def pictures(folder: Path, count: int = 7) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    found = {}
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
        found[path.name] = path
    return found


def counted(encoder: ConvNet) -> list[int]:
    """How many pictures it was given, call by call."""
    calls: list[int] = []
    encoder.features.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    return calls


def test_features_are_those_of_the_encoder(tmp_path: Path) -> None:
    paths, encoder = pictures(tmp_path / "p"), network().train()
    found = cached_features(tmp_path / "f", encoder, MADE, paths, grids=True, batch_size=3)
    assert encoder.training
    assert (found.names, found.size, found.grid_shape) == (tuple(paths), 6, (16, 8))
    images = torch.stack([MADE(Image.open(path)) for path in paths.values()])
    with torch.no_grad():
        vectors, grids = encoder.eval().both(images)
    order = [4, 0, 6, 4]
    torch.testing.assert_close(found.vectors(order), vectors[order])
    torch.testing.assert_close(found.grids(order), grids[order])
    assert found.number("3.png") == found.number("3") == 3


def test_they_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, encoder = pictures(tmp_path / "p"), network()
    calls = counted(encoder)
    some = dict(list(paths.items())[:4])
    first = cached_features(tmp_path / "f", encoder, MADE, some, batch_size=3)
    assert calls == [3, 1]
    again = cached_features(tmp_path / "f", encoder, MADE, some)
    assert calls == [3, 1]
    assert torch.equal(again.vectors(range(4)), first.vectors(range(4)))
    # others are added to them, in whatever order
    whole = cached_features(tmp_path / "f", encoder, MADE, dict(reversed(paths.items())))
    assert calls == [3, 1, 3]
    assert whole.names[0] == "6.png"
    assert torch.equal(whole.vectors([whole.number("2.png")]), first.vectors([2]))


def test_a_picture_that_changed_is_read_again(tmp_path: Path) -> None:
    paths, encoder = pictures(tmp_path / "p"), network()
    before = cached_features(tmp_path / "f", encoder, MADE, paths).vectors(range(7))
    Image.new("RGB", (9, 9), "red").save(paths["2.png"])
    calls = counted(encoder)
    after = cached_features(tmp_path / "f", encoder, MADE, paths).vectors(range(7))
    assert calls == [1]
    assert [i for i in range(7) if not torch.equal(before[i], after[i])] == [2]


def test_those_of_another_encoder_are_not_taken(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "p")
    one = cached_features(tmp_path / "f", network(0), MADE, paths)
    two = cached_features(tmp_path / "f", network(1), MADE, paths)
    three = cached_features(tmp_path / "f", network(0), Preprocessing(size=20), paths)
    assert not torch.equal(one.vectors([0]), two.vectors([0]))
    assert not torch.equal(one.vectors([0]), three.vectors([0]))
    assert len(list((tmp_path / "f").iterdir())) == 3


def test_arrays_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    encoder = network()
    first = cached_features(tmp_path, encoder, MADE, {"a": pixels[0]}).vectors([0])
    calls = counted(encoder)
    assert torch.equal(
        cached_features(tmp_path, encoder, MADE, {"a": pixels[0]}).vectors([0]), first
    )
    assert calls == []
    other = cached_features(tmp_path, encoder, MADE, {"a": pixels[1]}).vectors([0])
    assert calls == [1]
    assert not torch.equal(other, first)


def test_what_was_made_before_an_interruption_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", 1)
    paths, encoder = pictures(tmp_path / "p"), network()
    good = paths["6.png"].read_bytes()
    paths["6.png"].write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"6\.png: expected a picture"):
        cached_features(tmp_path / "f", encoder, MADE, paths, batch_size=2)
    paths["6.png"].write_bytes(good)
    calls, seen = counted(encoder), []
    cached_features(tmp_path / "f", encoder, MADE, paths, said=lambda *counts: seen.append(counts))
    assert calls == [1]
    assert seen == [(7, 7)]


def test_damaged_ones_are_told(tmp_path: Path) -> None:
    paths, encoder = pictures(tmp_path / "p"), network()
    cached_features(tmp_path / "f", encoder, MADE, paths)
    [folder] = (tmp_path / "f").iterdir()
    shard = folder / "features-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(DataError, match="expected a whole file of features"):
        cached_features(tmp_path / "f", encoder, MADE, paths).vectors([0])
    for wrong in ("{", "[]", json.dumps({"format": 1, "pictures": {"a": 3}})):
        (folder / "features.json").write_text(wrong)
        with pytest.raises(DataError, match="Remove its folder"):
            cached_features(tmp_path / "f", encoder, MADE, paths)


def test_pictures_of_unlike_sizes_need_a_size(tmp_path: Path) -> None:
    arrays = {str(n): np.zeros((16, 16 + n, 3), np.uint8) for n in range(2)}
    with pytest.raises(DataError, match="Give the preprocessing a size"):
        cached_features(tmp_path, network(), Preprocessing(), arrays)


@pytest.mark.medium
def test_the_second_epoch_is_ten_times_as_fast(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ConvNet(3, (32, 64, 128), 64, depth=2)
    paths = pictures(tmp_path / "p", 64)
    made = Preprocessing(size=64)

    def epoch() -> float:
        start = time.perf_counter()
        found = cached_features(tmp_path / "f", encoder, made, paths)
        for at in range(0, 64, 16):
            found.vectors(range(at, at + 16))
        return time.perf_counter() - start

    first = epoch()
    assert first > 10 * min(epoch() for _ in range(3))


# ---- made by another program ---------------------------------------------------------------------

VECTORS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
GRIDS = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
NAMES = ("b/1", "a", "c.jpg")


def check(found: Features, *, vectors: bool = False, grids: bool = False) -> None:
    numbers = [found.number(name) for name in NAMES]
    assert sorted(found.names) == sorted(NAMES)
    assert found.size == (5 if vectors else None)
    assert found.grid_shape == ((4, 5) if grids else None)
    if vectors:
        np.testing.assert_array_equal(found.vectors(numbers), VECTORS)
    if grids:
        np.testing.assert_array_equal(found.grids(numbers), GRIDS)


@pytest.mark.parametrize("kind", ["vectors", "grids", "maps"])
def test_an_array_for_each_picture(kind: str, tmp_path: Path) -> None:
    arrays = VECTORS if kind == "vectors" else GRIDS
    if kind == "maps":
        arrays = GRIDS.transpose(0, 2, 1).reshape(3, 5, 2, 2)
    (tmp_path / "b").mkdir()
    for name, array in zip(NAMES, arrays, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    check(read_features(tmp_path), vectors=kind == "vectors", grids=kind != "vectors")


@pytest.mark.parametrize("kind", ["vectors", "grids"])
def test_one_array_and_names(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", VECTORS if kind == "vectors" else GRIDS.astype(np.float64))
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    check(read_features(tmp_path), vectors=kind == "vectors", grids=kind == "grids")


def test_safetensors_with_a_picture_an_entry(tmp_path: Path) -> None:
    entries = {name: torch.from_numpy(v) for name, v in zip(NAMES, VECTORS, strict=True)}
    safetensors.torch.save_file(entries, tmp_path / "all.safetensors")
    check(read_features(tmp_path), vectors=True)


def test_safetensors_with_vector_and_grid(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, vector, grid in zip(NAMES, VECTORS, GRIDS, strict=True):
        entries = {"vector": torch.from_numpy(vector), "grid": torch.from_numpy(grid)}
        safetensors.torch.save_file(entries, tmp_path / f"{name}.safetensors")
    found = read_features(tmp_path)
    check(found, vectors=True, grids=True)
    check(pickle.loads(pickle.dumps(found)), vectors=True, grids=True)  # for worker processes


def test_names_are_found_without_the_suffix_of_a_picture(tmp_path: Path) -> None:
    np.save(tmp_path / "c.jpg.npy", VECTORS[0])
    np.save(tmp_path / "d.npy", VECTORS[1])
    found = read_features(tmp_path)
    assert [found.number(name) for name in ("c", "c.jpg", "d.png", "d")] == [0, 0, 1, 1]
    with pytest.raises(DataError, match=r"features of the picture 'e\.jpg', got none"):
        found.number("e.jpg")
    with pytest.raises(DataError, match="expected a grid of each picture, got a vector alone"):
        found.grids([0])


def test_what_is_not_alike_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got none"):
        read_features(tmp_path)
    with pytest.raises(DataError, match="nothing there"):
        read_features(tmp_path / "none")
    np.save(tmp_path / "a.npy", VECTORS[0])
    np.save(tmp_path / "b.npy", VECTORS[0, :3])
    with pytest.raises(DataError, match=r"of shape \[5\] for 'b', as of other pictures, got \[3\]"):
        read_features(tmp_path)
    np.save(tmp_path / "b.npy", GRIDS[0])
    with pytest.raises(DataError, match=r"expected a (vector|grid) of each picture, got none of"):
        read_features(tmp_path)
    np.save(tmp_path / "b.npy", np.array(["x"]))
    with pytest.raises(DataError, match="expected numbers"):
        read_features(tmp_path)
    np.save(tmp_path / "b.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="expected an array of numbers"):
        read_features(tmp_path)
    np.save(tmp_path / "b.npy", GRIDS[None])
    with pytest.raises(DataError, match="expected vectors"):
        read_features(tmp_path)
    np.save(tmp_path / "b.npy", VECTORS[1])
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(DataError, match="a row for each of the 2 names"):
        read_features(tmp_path)


def test_one_picture_twice_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VECTORS[0])
    safetensors.torch.save_file({"a": torch.zeros(5)}, tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="expected one vector of 'a'"):
        read_features(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"12")
    with pytest.raises(CheckpointError, match="file of features"):
        read_features(tmp_path)

"""What takes long to make is kept beside a run's data, and made again where it is another."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recurra.tasks.beside import digest, kept


def counted(value: float) -> tuple[Callable[[], dict[str, Tensor]], list[int]]:
    """What makes a tensor, and how often it was asked to."""
    asked: list[int] = []

    def make() -> dict[str, Tensor]:
        asked.append(1)
        return {"x": torch.tensor([value])}

    return make, asked


def test_it_is_made_once_for_each_key(tmp_path: Path) -> None:
    path, (make, asked) = tmp_path / "a.safetensors", counted(1.0)
    for key, times in (("one", 1), ("one", 1), ("other", 2), ("other", 2), ("one", 3)):
        assert kept(path, key, make)["x"].item() == 1.0
        assert len(asked) == times


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    path, (make, asked) = tmp_path / "a.safetensors", counted(2.0)
    kept(path, "one", make)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    assert kept(path, "one", make)["x"].item() == 2.0
    assert len(asked) == 2
    assert path.read_bytes() == whole


def test_where_it_cannot_be_kept_it_is_made_each_time(tmp_path: Path) -> None:
    make, asked = counted(3.0)
    for path in (None, tmp_path / "gone" / "a.safetensors"):
        before = len(asked)
        for _ in range(2):
            assert kept(path, "one", make)["x"].item() == 3.0
        assert len(asked) == before + 2
    assert not (tmp_path / "gone").exists()  # a run that was moved is not begun anew
    (tmp_path / "a.safetensors").mkdir()
    assert kept(tmp_path / "a.safetensors", "one", make)["x"].item() == 3.0


def test_a_digest_tells_apart_what_differs() -> None:
    array = np.arange(6)
    others = [
        digest("ab", "c", arrays=[array]),
        digest("a", "bc", arrays=[array]),
        digest("ab", "c", arrays=[array[::-1]]),
        digest("ab", "c", arrays=[array.reshape(2, 3)]),
        digest("ab", "c", arrays=[array.astype(np.int32)]),
        digest("ab", "c", arrays=[array, np.zeros((0, 3))]),
        digest("ab", "c"),
    ]
    assert len({*others}) == len(others)
    assert digest("ab", "c", arrays=[np.arange(6)]) == others[0]

"""Tensors that are kept beside a run's data, so that what takes long to make is made once."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from recurra.errors import CheckpointError
from recurra.files import read_tensors, tensor_bytes, write_atomically

_KEY = "made of"


def kept(
    path: Path | None, key: str, make: Callable[[], Mapping[str, Tensor]]
) -> Mapping[str, Tensor]:
    """What is made, from the file where the same was kept before; else it is made and kept.

    Where the file cannot be written, as in a folder that is read alone, it is made each time; a
    damaged one is written anew.

    Args:
        path: of the file; None: there is none.
        key: a hash of all that it is made of, see `digest`.
        make: makes it.
    """
    if path is not None:
        with contextlib.suppress(CheckpointError):
            tensors, said = read_tensors(path, "file of what is made once")
            if said.get(_KEY) == key:
                return tensors
    made = make()
    if path is not None and path.parent.is_dir():
        content = tensor_bytes(made, {_KEY: key})
        with contextlib.suppress(CheckpointError):
            write_atomically(path, lambda part: part.write_bytes(content))
    return made


def digest(*parts: str, arrays: Iterable[np.ndarray] = ()) -> str:
    """A hash that texts and arrays share only with the same ones in the same order."""
    content = hashlib.sha256()
    for part in parts:
        content.update(f"{len(part)} {part}".encode())
    for each in arrays:
        content.update(f"{each.dtype.str} {each.shape}".encode())
        content.update(each.tobytes())
    return content.hexdigest()

"""Pictures with captions as a run's folder keeps them: sized once, and mapped when they are read.

Beside each other stand, for each part, NAME.npy with the pictures, uint8 [N, Y, X, 3], or with
vectors that were computed elsewhere, float32 [N, D] or [N, P, D]; and captions.json with the
captions of all parts.

Letters: N pictures, Y rows, X columns, D features, P positions of a grid, M captions of a batch,
T tokens of the longest.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recurra.data.files import put_in_place
from recurra.errors import DataError
from recurra.files import read_json, write_atomically

CAPTIONS = "captions.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionBatch:
    """Images side by side, with all their captions.

    Attributes:
        images: [N, Y, X, 3] uint8 pictures, or float32 vectors [N, D] or grids [N, P, D].
        numbers: [N] int64, of the images in their part.
        captions: [T, M] int64 token ids, zeros past the end of each.
        lengths: [M] int64.
        which: [M] int64 in 0..N-1, the image that each caption is of.
        weight: [M] float32, how much each counts.
    """

    images: Tensor
    numbers: Tensor
    captions: Tensor
    lengths: Tensor
    which: Tensor
    weight: Tensor


class CaptionExamples:
    """Images and the token ids of their captions; each image is an example.

    Args:
        images: [N, ...], see `CaptionBatch`; may be mapped from a file.
        captions: of each image, [T] int64 ids of each caption.
    """

    def __init__(self, images: np.ndarray, captions: Sequence[Sequence[np.ndarray]]) -> None:
        if len(images) != len(captions):
            raise DataError(
                f"captions: expected some of each of {len(images)} images, got those of "
                f"{len(captions)}. The files are mixed up: start the run again."
            )
        self.images, self.captions = images, captions
        # the longest of each: images whose captions are of like length stand side by side
        self._lengths = np.array([max(map(len, each), default=0) for each in captions])

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def lengths(self) -> np.ndarray:
        """[N], the tokens of the longest caption of each image."""
        return self._lengths

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> CaptionBatch:
        """A batch of the images with these numbers, in this order, and all their captions."""
        rows = [ids for number in chosen.tolist() for ids in self.captions[number]]
        which = [n for n, number in enumerate(chosen.tolist()) for _ in self.captions[number]]
        captions, lengths = padded(rows)
        images = np.ascontiguousarray(self.images[chosen])
        return CaptionBatch(
            images=torch.from_numpy(images),
            numbers=torch.from_numpy(chosen.astype(np.int64)),
            captions=captions,
            lengths=lengths,
            which=torch.tensor(which, dtype=torch.int64, device="cpu"),
            weight=torch.full((len(rows),), weight, dtype=torch.float32, device="cpu"),
        )


def padded(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Token ids [T, M] of captions, zeros past the end of each, and their lengths [M]."""
    lengths = np.array([len(ids) for ids in rows], dtype=np.int64)
    ids = np.zeros((int(lengths.max(initial=0)), len(rows)), dtype=np.int64)
    for m, each in enumerate(rows):
        ids[: len(each), m] = each
    return torch.from_numpy(ids), torch.from_numpy(lengths)


# ---- files ---------------------------------------------------------------------------------------


def write_images(path: Path, images: Iterable[np.ndarray], shape: Sequence[int], dtype: str) -> int:
    """Write images one by one into a .npy file, and say how many there are.

    Args:
        path: of the file.
        images: each of one shape.
        shape: of each.
        dtype: of the numbers.
    Raises:
        DataError: when it cannot be written.
    """
    count = 0
    with put_in_place(path, "images") as file:
        _write_header(file, 0, shape, dtype)
        for image in images:
            assert image.shape == tuple(shape)
            file.write(np.ascontiguousarray(image, dtype=dtype).tobytes())
            count += 1
        file.seek(0)
        _write_header(file, count, shape, dtype)
    return count


_ROOM = 20  # digits of the number of images, so that the header's size does not depend on it


def _write_header(file: object, count: int, shape: Sequence[int], dtype: str) -> None:
    """The header of a .npy file, of one size whatever the count."""
    kind = np.dtype(dtype).newbyteorder("<").str
    sizes = ", ".join([f"{count:{_ROOM}d}", *map(str, shape)])
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes}), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little"))  # type: ignore[attr-defined]
    file.write(text.encode("latin-1"))  # type: ignore[attr-defined]


def open_images(path: Path) -> np.ndarray:
    """The images of a file, mapped.

    Raises:
        DataError: when it is gone or damaged.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: expected the images of the run, got {error!s:.100}. The file is damaged or "
            f"gone: start the run again."
        ) from error


def write_texts(folder: Path, texts: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Write the captions of each image of each part."""
    content = json.dumps({name: [*map(list, each)] for name, each in texts.items()})
    write_atomically(folder / CAPTIONS, lambda part: part.write_text(content, "utf-8"))


def read_texts(folder: Path) -> dict[str, list[list[str]]]:
    """What `write_texts` wrote.

    Raises:
        DataError: when it is gone or damaged.
    """
    path = folder / CAPTIONS
    try:
        return {
            str(name): [[str(text) for text in texts] for texts in each]
            for name, each in read_json(path).items()
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{path}: expected the captions of the run, got {error!s:.100}. The file is damaged "
            f"or gone: start the run again."
        ) from error

"""Pictures with captions as a run's folder keeps them: sized once, and mapped when they are read.

Beside each other stand, for each part, NAME.npy with the pictures, uint8 [N, Y, X, 3], or with
vectors that were computed elsewhere, float32 [N, D] or [N, P, D]; and captions.json with the
captions of all parts; and NAME.boxes.safetensors, where pictures have regions that are given.

Letters: N pictures, Y rows, X columns, D features, P positions of a grid, M captions of a batch,
T tokens of the longest, K boxes of a picture at most.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recurra.data.files import put_in_place
from recurra.errors import CheckpointError, DataError
from recurra.files import read_json, read_tensors, tensor_bytes, write_atomically

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
        boxes: [N, K, 4] float32, regions of the images, left, top, right and bottom in shares of
            the picture, zeros past those of each; None where there are none.
        box_counts: [N] int64, how many each has.
    """

    images: Tensor
    numbers: Tensor
    captions: Tensor
    lengths: Tensor
    which: Tensor
    weight: Tensor
    boxes: Tensor | None = None
    box_counts: Tensor | None = None


class CaptionExamples:
    """Images and the token ids of their captions; each image is an example.

    Args:
        images: [N, ...], see `CaptionBatch`; may be mapped from a file.
        captions: of each image, [T] int64 ids of each caption.
        boxes: of each image, [K, 4] float32, see `CaptionBatch`; None where there are none.
    """

    def __init__(
        self,
        images: np.ndarray,
        captions: Sequence[Sequence[np.ndarray]],
        boxes: Sequence[np.ndarray] | None = None,
    ) -> None:
        if len(images) != len(captions):
            raise DataError(
                f"captions: expected some of each of {len(images)} images, got those of "
                f"{len(captions)}. The files are mixed up: start the run again."
            )
        if boxes is not None and len(boxes) != len(images):
            raise DataError(
                f"boxes: expected those of each of {len(images)} images, got those of "
                f"{len(boxes)}. The files are mixed up: start the run again."
            )
        self.images, self.captions, self.boxes = images, captions, boxes
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
        counts = [len(self.captions[number]) for number in chosen.tolist()]
        which = np.repeat(np.arange(len(counts)), counts)
        places = np.array([place for count in counts for place in range(count)], dtype=np.int64)
        return self.batch(chosen, which, places, weight)

    def pictures(self, numbers: np.ndarray) -> CaptionBatch:
        """A batch of the images with these numbers, in this order, without their captions."""
        none = np.zeros(0, dtype=np.int64)
        return self.batch(numbers, none, none)

    def batch(
        self, numbers: np.ndarray, which: np.ndarray, places: np.ndarray, weight: float = 1.0
    ) -> CaptionBatch:
        """A batch of images with some of their captions.

        Args:
            numbers: [N], of the images.
            which: [M] in 0..N-1, the image that each caption is of.
            places: [M], of the captions among those of their images.
            weight: how much each counts.
        """
        own = zip(numbers[which].tolist(), places.tolist(), strict=True)
        captions, lengths = padded([self.captions[number][place] for number, place in own])
        boxes = box_counts = None
        if self.boxes is not None:
            boxes, box_counts = boxes_side_by_side([self.boxes[n] for n in numbers.tolist()])
        return CaptionBatch(
            images=torch.from_numpy(np.ascontiguousarray(self.images[numbers])),
            numbers=torch.from_numpy(numbers.astype(np.int64)),
            captions=captions,
            lengths=lengths,
            which=torch.from_numpy(which.astype(np.int64)),
            weight=torch.full((len(which),), weight, dtype=torch.float32, device="cpu"),
            boxes=boxes,
            box_counts=box_counts,
        )


class SingleCaptions:
    """Each caption with its image as an example of its own.

    A step then reads as many images as captions, which teaches an encoder more where captions cost
    as much as images; and captions of like length stand side by side.

    Args:
        whole: images with all their captions.
    """

    def __init__(self, whole: CaptionExamples) -> None:
        self._whole = whole
        counts = [len(each) for each in whole.captions]
        self._images = np.repeat(np.arange(len(counts)), counts)
        self._places = np.concatenate([np.arange(count) for count in counts])
        self._lengths = np.array([len(ids) for each in whole.captions for ids in each])

    def __len__(self) -> int:
        return len(self._images)

    @property
    def lengths(self) -> np.ndarray:
        """[M], the tokens of each caption."""
        return self._lengths

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> CaptionBatch:
        """A batch of the captions with these numbers, in this order, and their images once each."""
        numbers, which = np.unique(self._images[chosen], return_inverse=True)
        return self._whole.batch(numbers, which, self._places[chosen], weight)


def padded(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Token ids [T, M] of captions, zeros past the end of each, and their lengths [M]."""
    lengths = np.array([len(ids) for ids in rows], dtype=np.int64)
    ids = np.zeros((int(lengths.max(initial=0)), len(rows)), dtype=np.int64)
    for m, each in enumerate(rows):
        ids[: len(each), m] = each
    return torch.from_numpy(ids), torch.from_numpy(lengths)


def boxes_side_by_side(boxes: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Boxes [N, K, 4] float32 of images, zeros past those of each, and how many each has [N]."""
    counts = np.array([len(own) for own in boxes], dtype=np.int64)
    values = np.zeros((len(boxes), max(1, int(counts.max(initial=0))), 4), dtype=np.float32)
    for n, own in enumerate(boxes):
        values[n, : len(own)] = own
    return torch.from_numpy(values), torch.from_numpy(counts)


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


def write_boxes(path: Path, boxes: Sequence[np.ndarray]) -> None:
    """Write the boxes of each image, [K, 4] float32."""
    counts = torch.tensor([len(own) for own in boxes], dtype=torch.int64, device="cpu")
    every = np.concatenate([np.zeros((0, 4)), *boxes]).astype(np.float32)
    content = tensor_bytes({"counts": counts, "boxes": torch.from_numpy(every)})
    write_atomically(path, lambda part: part.write_bytes(content))


def open_boxes(path: Path) -> list[np.ndarray] | None:
    """What `write_boxes` wrote; None where there is no such file.

    Raises:
        DataError: when it is damaged.
    """
    if not path.exists():
        return None
    try:
        kept = read_tensors(path, "file of boxes")[0]
    except CheckpointError as error:
        raise DataError(f"{error} The boxes of the run are gone: start it again.") from error
    ends = kept["counts"].cumsum(0)[:-1].tolist()
    return np.split(kept["boxes"].numpy(), ends)


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

"""Tasks of the user's own data: a text to predict, a folder of sequences to tell apart."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from recurra.data.streams import split_by_position
from recurra.data.tasks import Batch, Task, TokenTask
from recurra.data.text import read_text
from recurra.errors import DataError

_SUFFIXES = (".npy", ".csv")
_EVERY = 5  # of the sequences of a class, one is judged on


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask(TokenTask):
    """Predict each character of a text from those before it, in windows read from nothing.

    The first 95 % of the text are trained on, the rest is judged on.
    """

    path: str
    steps: int = 100
    solved = 0.0

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """The characters that occur."""
        return len(_text(self.path)[1])

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """The same characters."""
        return self.input_size

    @property
    def baseline(self) -> float:  # type: ignore[override]
        """The entropy of the characters, each by itself."""
        ids, alphabet = _text(self.path)
        share = np.bincount(ids, minlength=len(alphabet)) / len(ids)
        return float(-(share * np.log(share)).sum())

    def batch(self, size: int, generator: Generator) -> Batch:
        """Windows of the part that is trained on."""
        return self._windows(0, size, generator)

    def judged(self, size: int, generator: Generator) -> Batch:
        """Windows of the rest."""
        return self._windows(1, size, generator)

    def _windows(self, part: int, size: int, generator: Generator) -> Batch:
        ids = split_by_position(_text(self.path)[0], (0.95, 0.05))[part]
        if len(ids) <= self.steps + 1:
            raise DataError(
                f"{self.path}: expected a text of more than {20 * (self.steps + 1):,} characters, "
                f"for windows of {self.steps}, got {len(_text(self.path)[0]):,}. Use fewer steps."
            )
        start = torch.randint(len(ids) - self.steps, (size,), generator=generator)
        rows = torch.from_numpy(ids)[start + torch.arange(self.steps + 1)[:, None]]
        return Batch(x=rows[:-1], target=rows[1:], weight=torch.ones(self.steps, size))


@lru_cache(maxsize=4)
def _text(path: str) -> tuple[np.ndarray, np.ndarray]:
    """The text as places in its alphabet, and the alphabet."""
    points = np.frombuffer(read_text(path).encode("utf-32-le"), dtype=np.uint32)
    alphabet, ids = np.unique(points, return_inverse=True)
    return ids.astype(np.int64), alphabet


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTask(Task):
    """Tell the classes of recorded sequences: one sub-folder for each, one file for each sequence.

    A file is a .npy array [T, I], or a .csv of T lines of I numbers. Every fifth sequence of a
    class, by name, is judged on. Features are scaled by the mean and spread of those trained on.
    """

    path: str
    reads_tokens = False
    measure = "error"
    solved = 0.0

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Features of a step."""
        return _sequences(self.path)[0][0].shape[1]

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """Classes."""
        return 1 + int(max(_sequences(self.path)[1]))

    @property
    def baseline(self) -> float:  # type: ignore[override]
        """The error of always naming the largest class."""
        counts = np.bincount(_sequences(self.path)[1])
        return float(1 - counts.max() / counts.sum())

    def batch(self, size: int, generator: Generator) -> Batch:
        """Sequences that are trained on, drawn with replacement."""
        return self._drawn(False, size, generator)

    def judged(self, size: int, generator: Generator) -> Batch:
        """Sequences that are judged on."""
        return self._drawn(True, size, generator)

    def _drawn(self, judged: bool, size: int, generator: Generator) -> Batch:
        sequences, classes, held_out = _sequences(self.path)
        places = [i for i, out in enumerate(held_out) if out is judged]
        chosen = torch.randint(len(places), (size,), generator=generator).tolist()
        rows = [sequences[places[i]] for i in chosen]
        return Batch(
            x=pad_sequence(rows),
            target=torch.tensor([classes[places[i]] for i in chosen]),
            lengths=torch.tensor([len(row) for row in rows]),
        )

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        """Nats a sequence."""
        return functional.cross_entropy(y, batch.target)

    def score(self, y: Tensor, batch: Batch) -> float:
        """The share of sequences that are told wrong."""
        return float((y.argmax(-1) != batch.target).float().mean())


@lru_cache(maxsize=4)
def _sequences(path: str) -> tuple[list[Tensor], list[int], list[bool]]:
    """All sequences scaled, the class of each, and whether it is judged on."""
    folder = Path(path)
    classes = (
        sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    )
    if len(classes) < 2:
        raise DataError(
            f"{path}: expected a folder with a sub-folder for each of two or more classes, got "
            f"{len(classes)}. Sort the sequences into folders named after their classes."
        )
    arrays: list[np.ndarray] = []
    labels: list[int] = []
    held_out: list[bool] = []
    for label, entry in enumerate(classes):
        files = sorted(file for file in entry.iterdir() if file.suffix in _SUFFIXES)
        if len(files) < 2:
            raise DataError(
                f"{entry}: expected two or more files that end in {' or '.join(_SUFFIXES)}, got "
                f"{len(files)}. Add sequences of this class."
            )
        arrays += [_sequence(file) for file in files]
        labels += [label] * len(files)
        held_out += [i % _EVERY == _EVERY - 1 or i == len(files) - 1 for i in range(len(files))]
    widths = {array.shape[1] for array in arrays}
    if len(widths) != 1:
        raise DataError(
            f"{path}: expected sequences with one number of features, got {sorted(widths)}. "
            f"Give every file the same columns."
        )
    seen = np.concatenate([a for a, out in zip(arrays, held_out, strict=True) if not out])
    mean, spread = seen.mean(0), np.maximum(seen.std(0), 1e-6)
    scaled = [torch.from_numpy(((a - mean) / spread).astype(np.float32)) for a in arrays]
    return scaled, labels, held_out


def _sequence(file: Path) -> np.ndarray:
    try:
        read = np.load(file) if file.suffix == ".npy" else np.loadtxt(file, delimiter=",", ndmin=2)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{file}: expected numbers, [T, I], got: {error}. Write it again."
        ) from None
    if read.ndim != 2 or not len(read) or not math.isfinite(float(np.abs(read).sum())):
        raise DataError(
            f"{file}: expected finite numbers of shape [T, I], T >= 1, got {read.shape}. "
            f"One row for each step."
        )
    return np.asarray(read, dtype=np.float64)

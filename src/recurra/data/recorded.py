"""Tasks of the user's own data: a text to predict, a folder of sequences to classify.

Both are split into a part that is trained on, one for choosing, and one for what is reported.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from recurra.data.sequences import SUFFIXES, Recording, is_hidden, read_sequence
from recurra.data.streams import split_by_position
from recurra.data.tasks import Batch, Part, Task, TokenTask, check_settings
from recurra.errors import DataError
from recurra.text.reading import check_source, read_text

logger = logging.getLogger("recurra.data")

_TEXT_PARTS = (0.9, 0.05, 0.05)
_WINDOWS = 1000  # of a held-out part of a text, at most
_EVERY = 5  # of so many sequences of a class, the last two are held out
_NUM_NAMED = 3  # files that a message names before it counts the rest

Stamp = tuple[tuple[str, int, int], ...]  # name, size and time of change of each file


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask(TokenTask):
    """Predict each character of a text from those before it, in windows read from nothing.

    The first 90 % of the text are trained on, the next 5 % are for choosing, the last are
    reported. Of a held-out part windows that do not overlap are read, of a long one a thousand,
    spread evenly over it.
    """

    path: str
    steps: int = 100
    solved = None
    _text: "_Text" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_settings("text", steps=(self.steps, 1))
        text = _read_text(self.path, _stamp([check_source(self.path)]))
        object.__setattr__(self, "_text", text)

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """The characters that occur."""
        return len(self._text.alphabet)

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """The same characters."""
        return self.input_size

    @property
    def baseline(self) -> float:  # type: ignore[override]
        """The entropy of the characters, each by itself."""
        text = self._text
        share = np.bincount(text.ids, minlength=len(text.alphabet)) / len(text.ids)
        return float(-(share * np.log(share)).sum())

    @property
    def digest(self) -> str:  # type: ignore[override]
        """Of the characters."""
        return self._text.digest

    def batch(self, size: int, generator: Generator) -> Batch:
        """Windows of the part that is trained on."""
        ids = self._part("train")
        return self._windows(
            ids,
            torch.randint(
                len(ids) - self.steps, (size,), generator=generator, dtype=torch.int64, device="cpu"
            ),
        )

    def held_out(self, part: Part, size: int) -> Iterator[Batch]:
        """Windows of the part, one behind the other."""
        ids = self._part(part)
        starts = np.arange(0, len(ids) - self.steps, self.steps)
        if len(starts) > _WINDOWS:
            starts = starts[np.linspace(0, len(starts) - 1, _WINDOWS).astype(int)]
        for chosen in torch.from_numpy(starts).split(size):
            yield self._windows(ids, chosen)

    def _part(self, name: str) -> np.ndarray:
        ids = self._text.ids
        train, val, test = split_by_position(ids, _TEXT_PARTS)
        if len(val) <= self.steps + 1:
            raise DataError(
                f"{self.path}: expected a text of more than {20 * (self.steps + 1):,} characters, "
                f"for windows of {self.steps}, got {len(ids):,}. Use fewer steps."
            )
        return {"train": train, "val": val, "test": test}[name]

    def _windows(self, ids: np.ndarray, start: Tensor) -> Batch:
        rows = torch.from_numpy(
            ids[
                (
                    start + torch.arange(self.steps + 1, dtype=torch.int64, device="cpu")[:, None]
                ).numpy()
            ]
        ).long()
        return Batch(
            x=rows[:-1],
            target=rows[1:],
            weight=torch.ones(self.steps, len(start), dtype=torch.float32, device="cpu"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTask(Task):
    """Classify recorded sequences: one sub-folder for each class, one file for each sequence.

    A file is a .npy array [T, I], or a table of T lines of I numbers, see `read_sequence`. Of each
    class, in the order of the files' names, the fourth of every five is for choosing, the fifth is
    reported; of fewer than five the last two. Features are scaled by the mean and spread of those
    trained on.
    """

    path: str
    reads_tokens = False
    measure = "error"
    solved = 0.0
    _folder: "_Folder" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        files = [file for _, own in _classes(self.path) for file in own]
        object.__setattr__(self, "_folder", _read_folder(self.path, _stamp(files)))

    @property
    def input_size(self) -> int:  # type: ignore[override]
        """Features of a step."""
        return self._folder.sequences[0].shape[1]

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """Classes."""
        return 1 + max(self._folder.classes)

    @property
    def baseline(self) -> float:  # type: ignore[override]
        """The error of always naming the largest class."""
        counts = np.bincount(self._folder.classes)
        return float(1 - counts.max() / counts.sum())

    @property
    def digest(self) -> str:  # type: ignore[override]
        """Of the names and the numbers."""
        return self._folder.digest

    def batch(self, size: int, generator: Generator) -> Batch:
        """Sequences that are trained on, drawn with replacement."""
        folder = self._folder
        places = folder.places("train")
        chosen = torch.randint(
            len(places), (size,), generator=generator, dtype=torch.int64, device="cpu"
        ).tolist()
        return folder.batch([places[i] for i in chosen])

    def held_out(self, part: Part, size: int) -> Iterator[Batch]:
        """The sequences of the part in their order."""
        folder = self._folder
        places = folder.places(part)
        for start in range(0, len(places), size):
            yield folder.batch(places[start : start + size])

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        """Nats a sequence."""
        return functional.cross_entropy(y, batch.target)

    def score(self, y: Tensor, batch: Batch) -> float:
        """The share of sequences that are classified wrong."""
        return float((y.argmax(-1) != batch.target).float().mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """A text as places in its alphabet of code points."""

    ids: np.ndarray
    alphabet: np.ndarray
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """All sequences scaled, the class of each, and the part that it is in."""

    sequences: Sequence[Tensor]
    classes: Sequence[int]
    parts: Sequence[str]
    digest: str

    def places(self, part: str) -> list[int]:
        return [i for i, own in enumerate(self.parts) if own == part]

    def batch(self, places: Sequence[int]) -> Batch:
        rows = [self.sequences[i] for i in places]
        return Batch(
            x=pad_sequence(rows),
            target=torch.tensor([self.classes[i] for i in places], dtype=torch.int64, device="cpu"),
            lengths=torch.tensor([len(row) for row in rows], dtype=torch.int64, device="cpu"),
        )


def _stamp(files: Sequence[Path]) -> Stamp:
    """What tells one state of the files from another without reading them."""
    states = ((file, file.stat()) for file in files)
    return tuple((str(file), state.st_size, state.st_mtime_ns) for file, state in states)


@lru_cache(maxsize=2)
def _read_text(path: str, stamp: Stamp) -> _Text:
    text = read_text(path)
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    place = np.zeros(int(points.max()) + 1, dtype=np.int32)
    place[points] = 1
    alphabet = np.flatnonzero(place)
    place[alphabet] = np.arange(len(alphabet))
    return _Text(ids=place[points], alphabet=alphabet, digest=_digest(text.encode()))


def _classes(path: str) -> list[tuple[Path, list[Path]]]:
    """Each class of a folder with its files, both in the order of their names."""
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(
            f"{path}: expected a folder with a sub-folder for each class, got "
            f"{'a file' if folder.exists() else 'no such folder'}. Check the path."
        )
    entries = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry))
    if len(entries) < 2:
        raise DataError(
            f"{path}: expected a folder with a sub-folder for each of two or more classes, got "
            f"{len(entries)}. Sort the sequences into folders named after their classes."
        )
    classes = [(entry, sorted(filter(_is_sequence, entry.iterdir()))) for entry in entries]
    for entry, files in classes:
        if len(files) < 3:
            raise DataError(
                f"{entry}: expected three or more files that end in {', '.join(SUFFIXES)}, got "
                f"{len(files)}. Add sequences of this class, or take the folder away."
            )
    return classes


def _is_sequence(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not is_hidden(path) and path.is_file()


@lru_cache(maxsize=2)
def _read_folder(path: str, stamp: Stamp) -> _Folder:
    files = [(file, label) for label, (_, own) in enumerate(_classes(path)) for file in own]
    parts = [_part(i, len(own)) for _, own in _classes(path) for i in range(len(own))]
    recordings = [read_sequence(file) for file, _ in files]
    _check_alike(path, [file for file, _ in files], recordings)
    _say_what_is_left_out(path, [file for file, _ in files], recordings)
    arrays = [recording.values for recording in recordings]
    seen = np.concatenate([a for a, part in zip(arrays, parts, strict=True) if part == "train"])
    with np.errstate(over="ignore", invalid="ignore"):
        mean, spread = seen.mean(0), seen.std(0)
        spread[spread <= 1e-12 * np.abs(mean)] = 1.0  # a feature that does not change
        scaled = [((array - mean) / spread).astype(np.float32) for array in arrays]
    for (file, _), array in zip(files, scaled, strict=True):
        if not np.isfinite(array).all():
            raise DataError(
                f"{file}: expected numbers that can be scaled by their spread, got some too large. "
                "Write them in other units."
            )
    digests = (
        f"{file.relative_to(path)} {_digest(np.ascontiguousarray(array).tobytes())}"
        for (file, _), array in zip(files, arrays, strict=True)
    )
    return _Folder(
        sequences=[torch.from_numpy(array) for array in scaled],
        classes=[label for _, label in files],
        parts=parts,
        digest=_digest("\n".join(digests).encode("utf-8", "surrogateescape")),
    )


def _part(place: int, count: int) -> str:
    """The part that a sequence of a class is in, by its place among the `count` of the class."""
    from_end = count - place if count < _EVERY else _EVERY - place % _EVERY
    return {1: "test", 2: "val"}.get(from_end, "train")


def _check_alike(path: str, files: Sequence[Path], recordings: Sequence[Recording]) -> None:
    """All files have the same features, in the same order where they have names."""
    widths = {
        recording.values.shape[1]: file for file, recording in zip(files, recordings, strict=True)
    }
    if len(widths) > 1:
        (some, one), (others, other) = sorted(widths.items())[:2]
        raise DataError(
            f"{path}: expected sequences with one number of features, got {some} in {one} and "
            f"{others} in {other}. Give every file the same columns."
        )
    named = {
        recording.columns: file
        for file, recording in zip(files, recordings, strict=True)
        if recording.columns is not None
    }
    if len(named) > 1:
        (some, one), (others, other) = list(named.items())[:2]
        raise DataError(
            f"{path}: expected the same columns in every file, got {', '.join(some)} in {one} "
            f"and {', '.join(others)} in {other}. Write them in one order."
        )


def _say_what_is_left_out(
    path: str, files: Sequence[Path], recordings: Sequence[Recording]
) -> None:
    """Once, what lies in the folder and is not read as data."""
    folder, read = Path(path), set(files)
    beside = [entry for entry in sorted(folder.iterdir()) if is_hidden(entry) or not entry.is_dir()]
    for entry in sorted({file.parent for file in files}):
        beside += [file for file in sorted(entry.iterdir()) if file not in read]
    if beside:
        logger.warning("%s: not read as sequences: %s", path, _named(folder, beside))
    for what in ("the header", "the numbers of the rows"):
        having = [f for f, r in zip(files, recordings, strict=True) if what in r.left_out]
        if having:
            logger.warning("%s: %s left out of %s", path, what, _named(folder, having))


def _named(folder: Path, files: Sequence[Path]) -> str:
    """Some of the files by name, and how many more."""
    names = ", ".join(str(file.relative_to(folder)) for file in files[:_NUM_NAMED])
    return names + (f" and {len(files) - _NUM_NAMED} more" if len(files) > _NUM_NAMED else "")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]

"""Sequences with a label, or numbers, at every step: sentences with tags, series with labels.

Letters: T steps of a sequence, S of all together, N sequences, B batch, I input, O numbers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from recurra.data.conll import read_conll
from recurra.data.opening import GivenData, entries_by_part, paths_of
from recurra.data.records import label_name, named
from recurra.data.store import open_examples, write_examples
from recurra.data.tables import lines_of, suffix_of
from recurra.data.tokens import check_whole
from recurra.errors import DataError, argument
from recurra.models.scaling import as_series

PARTS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)  # of a file that is not divided
UNKNOWN = -1  # the label of a step that does not count

COLUMNS = (".conllu", ".conll", ".txt", ".tsv", ".bio", ".iob", ".iob2", ".pos")
_OBJECTS = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
FORMATS = (*COLUMNS, *_OBJECTS, *_PARQUET)
_INPUTS = ("words", "tokens", "forms", "form", "sentence", "series", "sequence", "frames", "values")
_TARGETS = ("tags", "labels", "upos", "pos_tags", "ner_tags", "slots", "chunk_tags", "targets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A sequence as it was read.

    Attributes:
        values: words; or a series [T, I] float32.
        targets: the name of a label for each step, "" where there is none; or [T, O] float32,
            NaN where a number is missing.
        place: where it stands, for messages.
    """

    values: tuple[str, ...] | np.ndarray
    targets: tuple[str, ...] | np.ndarray
    place: str

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedData:
    """The sequences of each part.

    Attributes:
        parts: by "train", "val" and "test".
        labels: their names, in the order of the alphabet; empty where targets are numbers.
        notes: how the data were read, a sentence each.
    """

    parts: Mapping[str, Sequence[Tagged]]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the sequences are words."""
        return isinstance(self.parts["train"][0].values, tuple)

    @property
    def output_size(self) -> int | None:
        """O; None of labels."""
        targets = self.parts["train"][0].targets
        return targets.shape[1] if isinstance(targets, np.ndarray) else None


def read_tagged(
    data: GivenData,
    *,
    val_data: GivenData | None = None,
    test_data: GivenData | None = None,
    word_column: str | None = None,
    tag_column: str | None = None,
    encoding: str | None = None,
    seed: int = 0,
) -> TaggedData:
    """Sequences from files, in three parts; a part without a file is drawn from the others' data.

    Args:
        data: a file in columns (.conllu, .conll, .txt, .tsv), of objects (.jsonl) or .parquet with
            a list of words or of numbers and one of labels or of numbers a row; a folder with such
            files of train, val or dev, and test; several files in a list.
        val_data: likewise, for validation.
        test_data: likewise, for test.
        word_column: of the words, or of the series: a name, or a number from 1; None finds it.
        tag_column: of the labels, or of the numbers, likewise.
        encoding: of files of text.
        seed: of the draw.
    Raises:
        DataError: when anything is not as it should be, naming the file and the place.
    """
    sources: dict[str, Any] = {"train": data}
    if isinstance(data, str | Path) and Path(data).is_dir():
        found = entries_by_part(Path(data), FORMATS)
        if "train" not in found:
            raise DataError(
                f"{data}: expected files of train, val or dev, and test, got "
                f"{named(sorted(each.name for each in Path(data).iterdir())) or 'nothing'}. "
                f"Name the files: {argument('data=')}, {argument('val_data=')}."
            )
        sources = dict(found)
    for name, own in (("val", val_data), ("test", test_data)):
        if own is None:
            continue
        if both := paths_of(own) & paths_of(sources["train"]):
            raise DataError(
                f"{min(both)}: expected other sequences for {name} than to train on, got the same. "
                f"Name another for {argument(f'{name}_data=')}, or leave it out."
            )
        sources[name] = own
    how = {"word_column": word_column, "tag_column": tag_column, "encoding": encoding}
    parts = {name: _read(own, **how) for name, own in sources.items()}
    notes = []
    wanted = [name for name in PARTS if name not in parts]
    if wanted:
        parts |= _drawn(parts["train"], wanted, seed)
        shares = ", ".join(f"{name} {SHARES[PARTS.index(name)]:.0%}" for name in wanted)
        notes.append(f"drawn, seed {seed}: {shares}")
    labels = _labels(parts["train"])
    _check(parts, labels)
    return TaggedData(
        parts={name: parts[name] for name in PARTS}, labels=labels, notes=tuple(notes)
    )


def read_sequences(path: Path, **how: Any) -> list[Tagged]:
    """The sequences of one file; see `read_tagged`."""
    suffix = suffix_of(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a file, got no such file. Check the path.")
    if suffix not in FORMATS:
        raise DataError(
            f"{path}: expected a file that ends in {', '.join(FORMATS)}, got "
            f"{suffix or 'a name without an end'}. Rename or convert it."
        )
    if suffix in COLUMNS:
        found = [
            Tagged(values=each.words, targets=each.tags, place=each.place)
            for each in read_conll(path, **how)
        ]
    else:
        found = list(_of_rows(path, **how))
    if not found:
        raise DataError(f"{path}: expected at least one sequence, got none. Give it some.")
    return found


def _read(named_data: Any, **how: Any) -> list[Tagged]:
    several = [named_data] if isinstance(named_data, str | Path) else list(named_data)
    return [each for one in several for each in read_sequences(Path(one), **how)]


def _of_rows(
    path: Path, *, word_column: str | None, tag_column: str | None, encoding: str | None
) -> Iterator[Tagged]:
    rows = _parquet(path) if suffix_of(path) in _PARQUET else _objects(path, encoding)
    for place, row in rows:
        values = row[_name(row, word_column, _INPUTS, "word_column", place)]
        targets = row[_name(row, tag_column, _TARGETS, "tag_column", place)]
        read, wanted = _values(values, place), _targets(targets, place)
        if len(read) != len(wanted):
            raise DataError(
                f"{place}: expected a label for each of the {len(read)} steps, got {len(wanted)}. "
                "Correct the row."
            )
        yield Tagged(values=read, targets=wanted, place=place)


def _objects(path: Path, encoding: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(lines_of(path, encoding), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place}: expected a JSON object, got: {error}. Correct it.") from None
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected a JSON object, got {line!r:.60}. Correct it.")
        yield place, row


def _parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"{path}: expected pyarrow, to read Parquet with, got none. Install it: "
            "pip install pyarrow, or write the rows as JSON lines."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (OSError, ValueError) as error:  # pyarrow's own derive from these
        said = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{path}: expected a Parquet file, got: {said}. Write it again.") from error


def _name(
    row: Mapping[str, Any], given: str | None, known: Sequence[str], option: str, place: str
) -> str:
    """The name of a column of a row."""
    names = list(row)
    if given is not None:
        if given in row:
            return given
        if given.isdecimal() and 1 <= int(given) <= len(names):
            return names[int(given) - 1]
    else:
        found = [name for name in known if name in row]
        if found:
            return found[0]
    got = argument(f"{option}={given}") if given is not None else "none of that kind by name"
    raise DataError(
        f"{place}: expected a column for {argument(f'{option}=')}, of {named(names)}, got {got}. "
        "Name one."
    )


def _values(given: Any, place: str) -> tuple[str, ...] | np.ndarray:
    if isinstance(given, str):
        given = given.split()
    if isinstance(given, list) and given and all(isinstance(each, str) for each in given):
        return tuple(given)
    return as_series(given, place)


def _targets(given: Any, place: str) -> tuple[str, ...] | np.ndarray:
    if isinstance(given, str):
        given = given.split()
    if not isinstance(given, list) or not given:
        raise DataError(
            f"{place}: expected a list with a label or numbers for each step, got {given!r:.60}. "
            "Correct it."
        )
    if all(each is None or isinstance(each, str | bool | int) for each in given):
        return tuple(map(label_name, given))
    return as_series(given, place)


def _drawn(whole: list[Tagged], wanted: Sequence[str], seed: int) -> dict[str, list[Tagged]]:
    """The parts that are drawn, and what is left to train on."""
    if len(whole) <= len(wanted):
        raise DataError(
            f"{whole[0].place}: expected {len(wanted) + 1} sequences or more, to draw "
            f"{' and '.join(wanted)} from, got {len(whole)}. Add some, or name files for them."
        )
    order = np.random.default_rng(seed).permutation(len(whole)).tolist()
    parts: dict[str, list[Tagged]] = {}
    for name in wanted:
        count = max(1, round(SHARES[PARTS.index(name)] * len(whole)))
        chosen, order = sorted(order[:count]), order[count:]
        parts[name] = [whole[number] for number in chosen]
    return {"train": [whole[number] for number in sorted(order)], **parts}


def _labels(train: Sequence[Tagged]) -> tuple[str, ...]:
    if isinstance(train[0].targets, np.ndarray):
        return ()
    names = sorted({name for each in train for name in each.targets} - {""})
    if len(names) < 2:
        raise DataError(
            f"{train[0].place}: expected two or more labels, got "
            f"{f'{names[0]!r} alone' if names else 'none'}. Name the column of the labels: "
            f"{argument('tag_column=')}."
        )
    return tuple(names)


def _check(parts: Mapping[str, Sequence[Tagged]], labels: tuple[str, ...]) -> None:
    """All sequences are of one kind, and of the labels that are trained on."""
    first = parts["train"][0]
    known = set(labels) | {""}
    for part in parts.values():
        for each in part:
            if _kind(each.values) != _kind(first.values):
                raise DataError(
                    f"{each.place}: expected {_kind(first.values)} as in {first.place}, got "
                    f"{_kind(each.values)}. Give all sequences the same."
                )
            if _kind(each.targets) != _kind(first.targets):
                raise DataError(
                    f"{each.place}: expected targets of {_kind(first.targets)} as in "
                    f"{first.place}, got {_kind(each.targets)}. Give all sequences the same."
                )
            check_labels(each, known)


def check_kind(each: Tagged, of_words: bool, output_size: int | None) -> None:
    """Raise DataError where a sequence is not of words, or has not numbers to be learned, as is
    wanted."""
    pairs = (
        ("", of_words, not isinstance(each.values, np.ndarray)),
        ("targets of ", output_size is None, not isinstance(each.targets, np.ndarray)),
    )
    for what, wanted, found in pairs:
        if wanted != found:
            names = {True: f"{what}words", False: f"{what}numbers"}
            raise DataError(
                f"{each.place}: expected {names[wanted]}, as the model was trained on, got "
                f"{names[found]}. Name data of that kind."
            )
    if isinstance(each.targets, np.ndarray) and each.targets.shape[1] != output_size:
        raise DataError(
            f"{each.place}: expected {output_size} numbers a step, as the model says, got "
            f"{each.targets.shape[1]}. Name data of that kind."
        )


def check_labels(each: Tagged, known: Iterable[str]) -> None:
    """Raise DataError where a sequence has a label that is not known; "" is."""
    if isinstance(each.targets, np.ndarray):
        return
    known = known if isinstance(known, set) else {*known, ""}
    for step, name in enumerate(each.targets):
        if name not in known:
            raise DataError(
                f"{each.place}: expected the labels of training ({named(sorted(known - {''}))}), "
                f"got {name!r} at step {step + 1}. Correct it, or train on examples of it."
            )


def _kind(values: tuple[str, ...] | np.ndarray) -> str:
    return f"{values.shape[1]} numbers a step" if isinstance(values, np.ndarray) else "words"


# ---- encoded ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedBatch:
    """Sequences side by side, each from step 0, the shorter ones padded.

    Attributes:
        x: [T, B] ids, padded with 0; or [T, B, I] numbers, padded with zeros.
        lengths: [B], the true steps of each, 1..T.
        target: [T, B] labels, -1 past the end and where there is none; or [T, B, O] numbers, NaN
            there.
        weight: [B], 1, or 0 for a sequence that is no part of the batch and only keeps a process in
            step with the others.
        examples: [B], the number of each in its data.
    """

    x: Int64[Tensor, "time batch"] | Float32[Tensor, "time batch input"]
    lengths: Int64[Tensor, " batch"]
    target: Int64[Tensor, "time batch"] | Float32[Tensor, "time batch output"]
    weight: Float32[Tensor, " batch"]
    examples: Int64[Tensor, " batch"]


class TaggedExamples:
    """Sequences and their targets end to end: sequence n is values[offsets[n] : offsets[n + 1]]."""

    def __init__(self, values: np.ndarray, targets: np.ndarray, offsets: np.ndarray) -> None:
        """Take the arrays as they are; each may be mapped from a file.

        Args:
            values: [S] ids, or [S, I] float32.
            targets: [S] labels, -1 for none; or [S, O] float32.
            offsets: [N + 1] int64, from 0 to S, growing.
        """
        if len(values) != len(targets):
            raise ValueError(
                f"targets: expected one for each of {len(values)} steps, got {len(targets)}. Give "
                "as many."
            )
        self.values, self.targets, self.offsets = values, targets, offsets
        self._lengths = np.diff(offsets)

    @classmethod
    def of(cls, sequences: Iterable[np.ndarray], targets: Iterable[np.ndarray]) -> "TaggedExamples":
        """Examples in memory, each with its targets."""
        arrays, wanted = list(sequences), list(targets)
        offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls(np.concatenate(arrays), np.concatenate(wanted), offsets)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, the steps of each."""
        return self._lengths

    def sequence(self, number: int) -> np.ndarray:
        """[T] or [T, I], the values of one, not copied."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def target(self, number: int) -> np.ndarray:
        """[T] or [T, O], the targets of one, not copied."""
        return self.targets[self.offsets[number] : self.offsets[number + 1]]

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> TaggedBatch:
        """These sequences, in this order.

        Raises:
            DataError: when the file that the values are mapped from was cut meanwhile.
        """
        check_whole(self.values)
        check_whole(self.targets)
        numbers = chosen.tolist()
        gap = float(UNKNOWN) if self.targets.ndim == 1 else np.nan
        return TaggedBatch(
            x=_side_by_side([self.sequence(number) for number in numbers], 0.0),
            lengths=torch.from_numpy(self._lengths[chosen]),
            target=_side_by_side([self.target(number) for number in numbers], gap),
            weight=torch.full((len(chosen),), weight, dtype=torch.float32, device="cpu"),
            examples=torch.from_numpy(chosen.astype(np.int64)),
        )


def _side_by_side(each: Sequence[np.ndarray], value: float) -> Tensor:
    """[T, B, ...], int64 or float32."""
    kind = np.int64 if each[0].ndim == 1 else np.float32
    rows = np.full((len(each), max(map(len, each)), *each[0].shape[1:]), value, dtype=kind)
    for row, values in zip(rows, each, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(np.ascontiguousarray(rows.swapaxes(0, 1)))


def write_tagged(path: Path, values: Iterable[np.ndarray], targets: Iterable[np.ndarray]) -> None:
    """Two example files beside one another, of the sequences and of their targets.

    Their classes are of no use here; labels are kept as ids, one up, for there are -1 among them.

    Args:
        path: of the sequences; that of the targets has ".targets" added.
        values: of each sequence, gone through once.
        targets: likewise.
    """
    write_examples(path, ((each, 0) for each in values), num_classes=1)
    kept = ((each + 1 if each.ndim == 1 else each, 0) for each in targets)
    write_examples(_targets_path(path), kept, num_classes=1)


def open_tagged(path: Path) -> TaggedExamples:
    """What `write_tagged` wrote, mapped, read-only.

    Raises:
        DataError: when a file is missing or damaged, or the two do not belong together.
    """
    values, targets = open_examples(path), open_examples(_targets_path(path))
    if not np.array_equal(values.offsets, targets.offsets):
        raise DataError(
            f"{path}: expected targets for the same steps beside it, got others. They belong to "
            "different runs."
        )
    wanted = targets.values if targets.values.ndim == 2 else targets.values - 1
    return TaggedExamples(values.values, wanted, values.offsets)


def _targets_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.targets")

"""Parallel text: pairs of a source and a target, in two files of lines or in a table.

Letters: N pairs, B batch, S steps of a source, T of a target.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from recurra.data.drawing import drawn
from recurra.data.opening import paths_of
from recurra.data.records import Record, Records, named
from recurra.data.rows import object_rows, parquet_rows
from recurra.data.store import open_examples, write_examples
from recurra.data.tables import csv_rows, lines_of, suffix_of
from recurra.errors import DataError, argument
from recurra.text.corpus import is_hidden

PARTS = ("train", "val", "test")
SHARES = (0.9, 0.05, 0.05)  # of pairs that are not divided
TABLES = (".tsv", ".csv", ".jsonl", ".ndjson", ".parquet", ".pq", ".txt")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
_WORDS_OF_PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test",),
}
_SOURCES = ("source", "src", "input", "question", "x")
_TARGETS = ("target", "tgt", "trg", "output", "answer", "y")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A source and its target, a line each, and where they stand."""

    source: str
    target: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairData:
    """The pairs of each part.

    Attributes:
        parts: by "train", "val" and "test".
        notes: how the data were read, a sentence each.
        names: of source and target, as files or columns have them.
    """

    parts: Mapping[str, Sequence[Pair]]
    notes: tuple[str, ...]
    names: tuple[str, str]


def read_pairs(
    data: Any,
    *,
    val_data: Any = None,
    test_data: Any = None,
    source: str | None = None,
    target: str | None = None,
    encoding: str | None = None,
    seed: int = 0,
    whole: bool = False,
) -> PairData:
    """Pairs from files, in three parts; a part without files is drawn from the others' data.

    Args:
        data: two files of lines by what their names begin with, "corpus/train" of
            corpus/train.en and corpus/train.de; a folder with such files of train, val or dev, and
            test; or a table (.tsv, .csv, .jsonl, .parquet) with a column for each side. Several in
            a list are read as one.
        val_data: likewise, for validation.
        test_data: likewise, for test.
        source: the end of the names of sources, "en", or their column, its name or number; None
            takes the first of two.
        target: of targets, likewise.
        encoding: of files of text.
        seed: of the draw.
        whole: whether nothing is drawn: there is "train" alone, with all pairs of the data.
    Raises:
        DataError: when anything is not as it should be, naming the file and the line.
    """
    notes: list[str] = []
    given: dict[str, Any] = {"train": data}
    if isinstance(data, str | Path) and Path(data).is_dir():
        source, target = _ends(Path(data), source, target)
        given = dict(_parts_of(Path(data), source, target, notes))
    for name, own in (("val", val_data), ("test", test_data)):
        if own is None:
            continue
        if both := paths_of(own) & paths_of(given["train"]):
            raise DataError(
                f"{min(both)}: expected other pairs for {name} than to train on, got the same. "
                f"Name others for {argument(f'{name}_data=')}, or leave it out."
            )
        given[name] = own
    parts: dict[str, Sequence[Pair]] = {}
    for name, own in given.items():
        several = [own] if isinstance(own, str | Path) else list(own)
        read = [pair for one in several for pair in _pairs(Path(one), source, target, encoding)]
        parts[name] = _without_empty(read, name, several[0], notes)
    wanted = [name for name in PARTS if name not in parts and not whole]
    if wanted:
        asked = {name: SHARES[PARTS.index(name)] for name in wanted}
        where = parts["train"][0].place
        parts |= drawn(parts["train"], asked, seed, where=where, what="pairs")
        shares = ", ".join(f"{name} {SHARES[PARTS.index(name)]:.0%}" for name in wanted)
        notes.append(f"drawn, seed {seed}: {shares}")
    return PairData(
        parts={name: parts[name] for name in PARTS if name in parts},
        notes=tuple(notes),
        names=(source or "source", target or "target"),
    )


# ---- files of lines --------------------------------------------------------------------------


def _end(path: Path) -> str:
    """The end of a name without that of a compression: "de" of train.de.gz."""
    name = path.name
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return Path(name).suffix.removeprefix(".")


def _stem(path: Path) -> str:
    name = path.name
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return name[: -len(Path(name).suffix)] if Path(name).suffix else name


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder that are the user's, in the order of their names."""
    return [each for each in sorted(folder.iterdir()) if each.is_file() and not is_hidden(each)]


def _ends(folder: Path, source: str | None, target: str | None) -> tuple[str, str]:
    """The ends of sources and targets in a folder of two."""
    found = sorted({_end(each) for each in _files_in(folder)} - {""})
    for name, given in (("source", source), ("target", target)):
        if given is not None and given not in found:
            raise DataError(
                f"{folder}: expected files whose names end in .{given}, as "
                f"{argument(f'{name}={given}')} says, got {named(found) or 'none'}. Name what "
                f"there is."
            )
    if source is None or target is None:
        raise DataError(
            f"{folder}: expected to be told which files are sources and which are targets, got "
            f"names that end in {named(found) or 'nothing'}. Give {argument('source=')} and "
            f"{argument('target=')}."
        )
    return source, target


def _parts_of(folder: Path, source: str, target: str, notes: list[str]) -> dict[str, Path]:
    """By part, what the names of its two files begin with."""
    found: dict[str, list[str]] = {}
    files = _files_in(folder)
    sources = {_stem(each) for each in files if _end(each) == source}
    targets = {_stem(each) for each in files if _end(each) == target}
    for stem in sorted(sources | targets):
        words = stem.lower().replace("-", "_").replace(".", "_").split("_")
        part = next((p for p, names in _WORDS_OF_PARTS.items() if {*words} & {*names}), None)
        if part is None:
            continue
        if stem in sources & targets:
            found.setdefault(part, []).append(stem)
        else:
            there, other = (source, target) if stem in sources else (target, source)
            notes.append(f"{part}: {stem}.{there} is left out, without a {stem}.{other}")
    if "train" not in found:
        raise DataError(
            f"{folder}: expected files train.{source} and train.{target}, got "
            f"{named(each.name for each in files) or 'nothing'}. Name the files: "
            f"{argument('data=folder/name')} for name.{source} and name.{target}."
        )
    for part, several in found.items():
        if len(several) > 1:
            notes.append(f"{part}: {several[0]}, of {', '.join(several)}")
    return {part: folder / several[0] for part, several in found.items()}


def _file(start: Path, end: str) -> Path:
    """The file of lines whose name begins so and ends in that, compressed or not."""
    for suffix in ("", *_COMPRESSED):
        path = start.with_name(f"{start.name}.{end}{suffix}")
        if path.is_file():
            return path
    raise DataError(
        f"{start}.{end}: expected a file of lines, or a folder {start}, got neither. Check the "
        f"path, {argument('source=')} and {argument('target=')}."
    )


def _pairs(
    path: Path, source: str | None, target: str | None, encoding: str | None
) -> Iterator[Pair]:
    """The pairs of one table, or of the two files whose names begin so."""
    if path.is_file():
        yield from _of_table(path, source, target, encoding)
        return
    if source is None or target is None:
        raise DataError(
            f"{path}: expected a table of pairs, or the ends of two files of lines, got no such "
            f"file. Give {argument('source=en')} and {argument('target=de')} for {path.name}.en "
            f"and {path.name}.de."
        )
    if source == target:
        raise DataError(
            f"{path}: expected sources and targets in different files, got "
            f"{argument(f'source={source}')} and {argument(f'target={target}')}. Name the other."
        )
    one, other = _file(path, source), _file(path, target)
    lines = zip_longest(lines_of(one, encoding), lines_of(other, encoding))
    for number, (left, right) in enumerate(lines, 1):
        if left is None or right is None:
            counts = [sum(1 for _ in lines_of(each, encoding)) for each in (one, other)]
            shorter, longer = (one, other) if counts[0] < counts[1] else (other, one)
            raise DataError(
                f"{shorter}: expected as many lines as {longer.name}, {max(counts):,}, got "
                f"{min(counts):,}: line {number:,} of {longer.name} is the first without another. "
                f"Give each line its translation in the same line."
            )
        yield Pair(source=_line(left), target=_line(right), place=f"{one}, line {number}")


def _line(text: str) -> str:
    return " ".join(text.split())


# ---- tables ----------------------------------------------------------------------------------


def _rows_of(
    path: Path, encoding: str | None, *, least: int = 2
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table, of any format, with at least so many columns."""
    suffix = suffix_of(path)
    if suffix not in TABLES:
        raise DataError(
            f"{path}: expected a table of pairs that ends in {', '.join(TABLES)}, got "
            f"{suffix or 'a name without an end'}. Rename or convert it; for two files of lines "
            f"give what their names begin with."
        )
    if suffix in (".jsonl", ".ndjson"):
        return object_rows(path, encoding)
    if suffix in (".parquet", ".pq"):
        return parquet_rows(path)
    return _separated(path, "," if suffix == ".csv" else "\t", encoding, least)


def _of_table(
    path: Path, source: str | None, target: str | None, encoding: str | None
) -> Iterator[Pair]:
    rows = _rows_of(path, encoding)
    found = 0
    columns: list[str] = []  # of both sides, as the first row has them
    for place, row in rows:
        inner = row.get("translation")  # as many published sets have it
        if isinstance(inner, Mapping):
            row = inner
        columns = columns or [
            _column(row, "source", source, _SOURCES, 0, place),
            _column(row, "target", target, _TARGETS, 1, place),
        ]
        sides = []
        for option, column in zip(("source", "target"), columns, strict=True):
            if column not in row:
                raise DataError(
                    f"{place}: expected a column {column!r}, as the first row has, got "
                    f"{named(list(row))}. Give each row the same names."
                )
            value = row[column]
            if value is not None and not isinstance(value, str | int | float):
                raise DataError(
                    f"{place}: expected a text as {option}, got {value!r:.40}. Write one."
                )
            sides.append(_text(value))
        found += 1
        yield Pair(source=sides[0], target=sides[1], place=place)
    if not found:
        raise DataError(f"{path}: expected at least one pair, got none. Give it some.")


def _text(value: Any) -> str:
    """A cell as a line; an empty one where there is nothing, as null of JSON is."""
    is_nothing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if is_nothing else _line(str(value))


def _separated(
    path: Path, separator: str, encoding: str | None, least: int
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table of text by the names in its first, or by number where that has none."""
    lines = lines_of(path, encoding)
    split: Iterator[tuple[int, list[str]]] = (
        csv_rows(path, lines, separator)
        if separator == ","
        else enumerate((line.rstrip("\n").split(separator) for line in lines), 1)
    )
    header: list[str] | None = None
    for number, cells in split:
        if not any(cell.strip() for cell in cells):
            continue
        place = f"{path}, line {number}"
        if header is None:
            names = [cell.strip().lower() for cell in cells]
            if len(cells) < least:
                raise DataError(
                    f"{place}: expected two columns with a tab or a comma between, got "
                    f"{' '.join(cells)!r:.60}. Write a source and a target on each line."
                )
            is_header = bool({*_SOURCES} & {*names})
            is_header &= bool({*_TARGETS} & {*names}) or least < 2
            header = [cell.strip() for cell in cells] if is_header else []
            if twice := [name for name in header if name and header.count(name) > 1]:
                raise DataError(
                    f"{path}: expected columns of different names, got {twice[0]!r} twice. Rename "
                    f"one."
                )
            if is_header:
                continue
            header = [str(i) for i in range(1, len(cells) + 1)]
        if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
            quotes = "" if separator == "\t" else ', a text with "," in quotes'
            raise DataError(
                f"{place}: expected {len(header)} columns as in the lines above it, got "
                f"{len(cells)}. Write a source and a target on each line{quotes}."
            )
        yield place, dict(zip(header, cells, strict=False))


def _column(
    row: Mapping[str, Any],
    option: str,
    given: str | None,
    known: Sequence[str],
    number: int,
    place: str,
) -> str:
    names = list(row)
    if given is not None:
        if given in row:
            return given
        if given.isdecimal() and 1 <= int(given) <= len(names):
            return names[int(given) - 1]
    else:
        by_name = [name for name in names if name.lower() in known]
        if by_name:
            return by_name[0]
        if len(names) > number:
            return names[number]
    got = "none" if given is None else argument(f"{option}={given}")
    raise DataError(
        f"{place}: expected a column for {argument(f'{option}=')}, of {named(names)}, got {got}. "
        f"Name one."
    )


class SourceRecords(Records):
    """The sources of a table, without targets or whatever else its rows have beside them."""

    def __init__(self, path: Path, source: str | None, encoding: str | None) -> None:
        """Look at the first row for the column.

        Args:
            path: .tsv, .csv, .jsonl or .parquet.
            source: the column, its name or number; None takes that of a usual name, or the first.
            encoding: of a file of text.
        Raises:
            DataError: when there is no such column, or no row.
        """
        self.where = str(path)
        self._path, self._encoding = path, encoding
        for place, row in self._rows():
            self._column = _column(row, "source", source, _SOURCES, 0, place)
            self.others = tuple(name for name in row if name != self._column)
            break
        else:
            raise DataError(f"{path}: expected at least one row, got none. Give it some.")
        self.notes = (f"sources: {self._column}",)

    def _rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        return _rows_of(self._path, self._encoding, least=1)

    def __iter__(self) -> Iterator[Record]:
        for place, row in self._rows():
            others = {name: value for name, value in row.items() if name != self._column}
            text = _text(row.get(self._column))
            yield Record(value=text, label="", place=place, others=others)


# ---- parts -----------------------------------------------------------------------------------


def _without_empty(read: list[Pair], name: str, where: Any, notes: list[str]) -> list[Pair]:
    """The pairs that have something on both sides."""
    kept = [pair for pair in read if pair.source and pair.target]
    if len(kept) < len(read):
        first = next(pair for pair in read if not (pair.source and pair.target))
        notes.append(
            f"{name}: {len(read) - len(kept):,} pairs with an empty side are left out, the first "
            f"of {first.place}"
        )
    if not kept:
        raise DataError(f"{where}: expected at least one pair with both sides, got none.")
    return kept


# ---- encoded ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBatch:
    """Pairs side by side, the shorter ones padded with 0.

    Attributes:
        source: [S, B] ids.
        source_lengths: [B], 1..S.
        target: [T, B] ids.
        target_lengths: [B], 1..T.
        weight: [B], 1, or 0 for a pair that only keeps a process in step with the others.
        examples: [B], the number of each in its data.
    """

    source: Int64[Tensor, "steps batch"]
    source_lengths: Int64[Tensor, " batch"]
    target: Int64[Tensor, "more batch"]
    target_lengths: Int64[Tensor, " batch"]
    weight: Float32[Tensor, " batch"]
    examples: Int64[Tensor, " batch"]


class PairExamples:
    """Encoded pairs; each side's ids stand end to end."""

    def __init__(self, source: Any, target: Any) -> None:
        """Take both sides.

        Args:
            source: has `values` [all steps] and `offsets` [N + 1].
            target: likewise.
        """
        if len(source.offsets) != len(target.offsets):
            raise ValueError(
                f"target: expected one for each of {len(source.offsets) - 1} sources, got "
                f"{len(target.offsets) - 1}. Give as many."
            )
        self.source, self.target = source, target
        self.source_lengths = np.diff(source.offsets)
        self.target_lengths = np.diff(target.offsets)

    def __len__(self) -> int:
        return len(self.source_lengths)

    @property
    def lengths(self) -> np.ndarray:
        """[N] int64, the steps of both sides."""
        return self.source_lengths + self.target_lengths

    def sides(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of one pair, not copied."""
        return _part(self.source, number), _part(self.target, number)

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> PairBatch:
        """These pairs, in this order."""
        sides = [self.sides(number) for number in chosen.tolist()]
        return PairBatch(
            source=_side_by_side([source for source, _ in sides]),
            source_lengths=torch.from_numpy(self.source_lengths[chosen]),
            target=_side_by_side([target for _, target in sides]),
            target_lengths=torch.from_numpy(self.target_lengths[chosen]),
            weight=torch.full((len(chosen),), weight, dtype=torch.float32, device="cpu"),
            examples=torch.from_numpy(chosen.astype(np.int64)),
        )


def _part(side: Any, number: int) -> np.ndarray:
    return side.values[side.offsets[number] : side.offsets[number + 1]]


def _side_by_side(each: Sequence[np.ndarray]) -> Tensor:
    rows = np.zeros((len(each), max(map(len, each))), dtype=np.int64)
    for row, values in zip(rows, each, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(np.ascontiguousarray(rows.T))


def write_pairs(path: Path, encoded: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Two example files, of the sources and of the targets; their classes are of no use here."""
    write_examples(path, ((source, 0) for source, _ in encoded), num_classes=1)
    write_examples(_targets(path), ((target, 0) for _, target in encoded), num_classes=1)


def open_pairs(path: Path) -> PairExamples:
    """What `write_pairs` wrote, mapped, read-only.

    Raises:
        DataError: when a file is missing or damaged, or the two do not belong together.
    """
    source, target = open_examples(path), open_examples(_targets(path))
    if len(source.offsets) != len(target.offsets):
        raise DataError(
            f"{path}: expected as many targets beside it, got others. They belong to different "
            f"runs."
        )
    return PairExamples(source, target)


def pairs_in_memory(encoded: Sequence[tuple[np.ndarray, np.ndarray]]) -> PairExamples:
    """The same without a file."""
    return PairExamples(*(_Side([pair[side] for pair in encoded]) for side in (0, 1)))


class _Side:
    """One side in memory."""

    def __init__(self, each: Sequence[np.ndarray]) -> None:
        self.values = np.concatenate(each)
        self.offsets = np.cumsum([0, *map(len, each)], dtype=np.int64)


def _targets(path: Path) -> Path:
    return path.with_name(f"{path.name}.targets")

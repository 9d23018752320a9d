"""Sequences with a label, or numbers, at every step: sentences with tags, series with labels.

Letters: T steps of a sequence, I input, O numbers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recurra.data.drawing import drawn
from recurra.data.frames import without_labels
from recurra.data.opening import GivenData, entries_by_part, paths_of
from recurra.data.records import named
from recurra.data.tagged_files import FORMATS, Reading, Tagged, files_in, read_sequences
from recurra.errors import DataError, argument
from recurra.models.scaling import without_gaps

PARTS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)  # of a file that is not divided


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedData:
    """The sequences of each part.

    Attributes:
        parts: by "train", "val" and "test".
        labels: their names in training, in the order of the alphabet; empty where targets are
            numbers.
        strange: the names of other parts that training has none of; nobody can say them.
        notes: how the data were read, a sentence each.
    """

    parts: Mapping[str, Sequence[Tagged]]
    labels: tuple[str, ...]
    strange: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether the sequences are words."""
        return isinstance(self.parts["train"][0].values, tuple)

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of those of recordings; none of other sequences."""
        return self.parts["train"][0].channels

    @property
    def output_size(self) -> int | None:
        """O; None of labels."""
        targets = self.parts["train"][0].targets
        return targets.shape[1] if isinstance(targets, np.ndarray) else None


def read_tagged(
    data: GivenData,
    how: Reading,
    *,
    val_data: GivenData | None = None,
    test_data: GivenData | None = None,
    seed: int = 0,
) -> TaggedData:
    """Sequences from files, in three parts; a part without a file is drawn from the others' data.

    Args:
        data: a file in columns (.conllu, .conll, .txt, .tsv); of objects (.jsonl) or .parquet with
            a list of words or of numbers and one of labels or of numbers a row; a recording (.csv,
            .npy, .parquet), see `recordings`; a folder of such files, or with files or folders of
            train, val or dev, and test; several files in a list.
        how: which columns are what.
        val_data: likewise, for validation.
        test_data: likewise, for test.
        seed: of the draw.
    Raises:
        DataError: when anything is not as it should be, naming the file and the place.
    """
    sources = _sources(data, val_data, test_data)
    read = {name: _read(own, how) for name, own in sources.items()}
    notes = [f"channels {named(found)}"] if (found := read["train"][0].channels) else []
    wanted = [name for name in PARTS if name not in read]
    if wanted:
        asked = {name: SHARES[PARTS.index(name)] for name in wanted}
        where = read["train"][0].place
        read |= drawn(read["train"], asked, seed, where=where, what="sequences")
        shares = ", ".join(f"{name} {SHARES[PARTS.index(name)]:.0%}" for name in wanted)
        notes.append(f"drawn, seed {seed}: {shares}")
    labels = _labels(read["train"])
    _check(read)
    strange = {name: strange_labels(own, labels) for name, own in read.items()}
    for name, own in strange.items():
        if own:
            count = sum(own.values())
            steps = "1 step" if count == 1 else f"{count:,} steps"
            shown = f"{named(sorted(own))} ({steps} of {name})"
            notes.append(f"labels that training never had, which count as wrong: {shown}")
    parts, filled = {}, 0
    for name in PARTS:
        parts[name], own = filled_gaps(read[name], how)
        filled += own
    if filled:
        notes.append(f"{filled:,} missing values filled from the step before")
    return TaggedData(
        parts=parts,
        labels=labels,
        strange=tuple(sorted({name for own in strange.values() for name in own})),
        notes=tuple(notes),
    )


def _sources(
    data: GivenData, val_data: GivenData | None, test_data: GivenData | None
) -> dict[str, Any]:
    """What is named for each part, "train" at least."""
    sources: dict[str, Any] = {"train": data}
    if isinstance(data, str | Path) and Path(data).is_dir():
        found = entries_by_part(Path(data), FORMATS)
        if "train" in found:
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
    return sources


def _read(named_data: Any, how: Reading) -> list[Tagged]:
    several = [named_data] if isinstance(named_data, str | Path) else list(named_data)
    files = without_labels([file for one in several for file in files_in(Path(one))])
    return [each for file in files for each in read_sequences(file, how)]


def filled_gaps(sequences: Sequence[Tagged], how: Reading) -> tuple[list[Tagged], int]:
    """Sequences whose missing values are filled, and how many these were.

    Raises:
        DataError: where there are some and `how.missing` is "fail".
    """
    found, count = [], 0
    for each in sequences:
        if isinstance(each.values, np.ndarray) and np.isnan(each.values).any():
            count += int(np.isnan(each.values).sum())
            each = replace(each, values=without_gaps(each.values, how.missing, each.place))
        found.append(each)
    return found, count


def _labels(train: Sequence[Tagged]) -> tuple[str, ...]:
    if isinstance(train[0].targets, np.ndarray):
        _check_numbers(train)
        return ()
    names = sorted({name for each in train for name in each.targets} - {""})
    if len(names) < 2:
        raise DataError(
            f"{train[0].place}: expected two or more labels, got "
            f"{f'{names[0]!r} alone' if names else 'none'}. Name the column of the labels: "
            f"{argument('tag_column=')}."
        )
    return tuple(names)


def _check_numbers(train: Sequence[Tagged]) -> None:
    """Raise DataError where numbers are all one, and there is nothing to learn."""
    several = [each.targets for each in train if isinstance(each.targets, np.ndarray)]
    widths = {each.shape[1] for each in several}
    if len(widths) > 1:
        return  # which is said of the first that is another
    known = np.concatenate([each.ravel() for each in several])
    known = known[~np.isnan(known)]
    if len(known) == 0 or (known == known[0]).all():
        got = "none" if len(known) == 0 else f"{known[0]:g} alone"
        raise DataError(
            f"{train[0].place}: expected numbers to learn that change, got {got}. Name the column "
            f"of the numbers: {argument('tag_column=')}."
        )


def _check(parts: Mapping[str, Sequence[Tagged]]) -> None:
    """Raise DataError unless all sequences are of one kind."""
    first = parts["train"][0]
    for part in parts.values():
        for each in part:
            if _kind(each.values) != _kind(first.values):
                raise DataError(
                    f"{each.place}: expected {_kind(first.values)} as in {first.place}, got "
                    f"{_kind(each.values)}. Give all sequences the same."
                )
            if each.channels != first.channels:
                raise DataError(
                    f"{each.place}: expected the channels {named(first.channels)}, as in "
                    f"{first.place}, got {named(each.channels)}. Name those that all have, "
                    f"{argument('channels=')}."
                )
            if _kind(each.targets) != _kind(first.targets):
                raise DataError(
                    f"{each.place}: expected targets of {_kind(first.targets)} as in "
                    f"{first.place}, got {_kind(each.targets)}. Give all sequences the same."
                )


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


def strange_labels(sequences: Sequence[Tagged], known: Iterable[str]) -> Counter[str]:
    """The labels of sequences that are not known, and of how many steps each is.

    Tags of a language are many, and a rare one may be in one part alone.

    Raises:
        DataError: when not one label is known: then they are labels of something else.
    """
    counts: Counter[str] = Counter()
    for each in sequences:
        if not isinstance(each.targets, np.ndarray):
            counts.update(each.targets)
    del counts[""]
    known = {*known}
    strange = Counter({name: count for name, count in counts.items() if name not in known})
    if strange and len(strange) == len(counts):
        first = next(each for each in sequences if {*each.targets} & {*strange})
        step = next(n for n, name in enumerate(first.targets) if name)
        raise DataError(
            f"{first.place}: expected the labels of training ({named(sorted(known))}), got "
            f"{first.targets[step]!r} at step {step + 1}, and not one of them anywhere. Name the "
            f"column of the labels: {argument('tag_column=')}."
        )
    return strange


def _kind(values: tuple[str, ...] | np.ndarray) -> str:
    return f"{values.shape[1]} numbers a step" if isinstance(values, np.ndarray) else "words"

"""Labelled examples divided into training, validation and test, and looked through before use.

`read_labelled` opens whatever has labelled examples and goes through all of it once: what would
stop training later, or spoil it, is an error here, with its place and how often it occurs.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recurra.data.describe import DataDescription, PartDescription
from recurra.data.opening import GivenData, open_records, paths_of, sources_by_part
from recurra.data.records import Record, Records, named
from recurra.data.survey import Survey, kind_name, survey
from recurra.errors import DataError, argument
from recurra.models.scaling import Missing, check_missing, without_gaps

PARTS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)  # of a file that is not divided: training, validation, test


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPart:
    """The examples of one part; gone through as often as anyone likes, one in memory at a time.

    Attributes:
        name: "train", "val" or "test".
        records: where they are read from, which may have those of other parts as well.
        chosen: [N], the places of this part's examples among the records, growing.
        labels: [N] int32, the class of each.
        lengths: [N], characters of a text or steps of a series.
        missing: values of series that are missing and will be filled.
        left_out: records without a text, a step or a label, which are in no part.
        fill: whether missing values are filled.
    """

    name: str
    records: Records
    chosen: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    missing: int = 0
    left_out: int = 0
    fill: bool = False

    def __len__(self) -> int:
        """N."""
        return len(self.chosen)

    def values(self) -> Iterator[Any]:
        """The texts, or the series [T, I] float32, in the order of the file.

        A missing value of a series is the last one before it; where there is none, NaN.
        """
        for record in self._own_records():
            yield self._whole(record)

    def encoded(self, encode: Callable[[Any], np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
        """What `write_examples` takes: the ids or numbers of each example, and its class.

        Args:
            encode: of a text or a series, [T] ids or [T, I] numbers with T of 1 or more.
        Raises:
            DataError: when nothing is left of an example, or the file changed since it was opened.
        """
        for record, label in zip(self._own_records(), self.labels.tolist(), strict=True):
            ids = encode(self._whole(record))
            if len(ids) == 0:
                raise DataError(
                    f"{record.place}: expected at least one token, got none of "
                    f"{record.value!r:.60}. Leave the example out."
                )
            yield ids, label

    def describe(
        self, classes: Sequence[str], lengths: np.ndarray | None = None
    ) -> PartDescription:
        """Its counts, lengths and classes.

        Args:
            classes: their names, class 0 first.
            lengths: [N], of the encoded examples, where they are known.
        """
        return PartDescription.of(
            self.name,
            self.records.where,
            self.lengths if lengths is None else lengths,
            [str(classes[label]) for label in self.labels.tolist()],
            missing=self.missing,
            left_out=self.left_out,
        )

    def _whole(self, record: Record) -> Any:
        if isinstance(record.value, str) or not self.fill:
            return record.value
        return without_gaps(record.value, "fill", record.place)

    def _own_records(self) -> Iterator[Record]:
        wanted = iter(self.chosen.tolist())
        following = next(wanted, None)
        for number, record in enumerate(self.records):
            if number == following:
                yield record
                following = next(wanted, None)
        if following is not None:
            raise DataError(
                f"{self.records.where}: expected data that keep still, got fewer examples than "
                "before. Start again when nothing writes to it."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledData:
    """Training, validation and test examples of the same classes.

    Attributes:
        parts: by name, "train", "val" and "test".
        classes: the names of the classes, class 0 first: in numerical order where all are numbers,
            in the order of the file where it declares them, else in that of the alphabet.
        num_channels: I, of series; None of texts.
        channels: their names, where the files have them.
        notes: how the data were read, a sentence each.
        beside: files that lie beside the data and were not read.
    """

    parts: Mapping[str, LabelledPart]
    classes: tuple[str, ...]
    num_channels: int | None
    channels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def train(self) -> LabelledPart:
        """What is trained on."""
        return self.parts["train"]

    @property
    def val(self) -> LabelledPart:
        """What chooses."""
        return self.parts["val"]

    @property
    def test(self) -> LabelledPart:
        """What is reported."""
        return self.parts["test"]

    def describe(
        self, lengths: Mapping[str, np.ndarray] | None = None, unit: str | None = None
    ) -> DataDescription:
        """Counts, lengths and classes of every part, to be printed and kept.

        Args:
            lengths: of the encoded examples of each part, where they are known.
            unit: of those lengths, such as "words".
        """
        known = lengths or {}
        return DataDescription(
            parts=tuple(
                part.describe(self.classes, known.get(name)) for name, part in self.parts.items()
            ),
            classes=self.classes,
            unit=unit or ("characters" if self.num_channels is None else "steps"),
            num_channels=self.num_channels,
            notes=self.notes,
            beside=self.beside,
        )


def read_labelled(
    data: GivenData,
    *,
    val_data: GivenData | None = None,
    test_data: GivenData | None = None,
    text_column: str | int | None = None,
    label_column: str | int | None = None,
    encoding: str | None = None,
    missing: Missing = "fail",
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> LabelledData:
    """Labelled examples from files, folders or lists, in three parts.

    A part that has no file of its own is drawn from `data`: of each class its share of the
    examples, at least one, by `seed`.

    Args:
        data: a file (.tsv, .csv, .txt with tabs, .jsonl, .parquet, UCR's .ts; compressed or not), a
            folder with a sub-folder for each class, a folder with the files or such folders of the
            parts (train, val or dev, test), several of these in a list, or a pair of lists
            (examples, labels).
        val_data: likewise, for validation.
        test_data: likewise, for test.
        text_column: of a table, the column of texts: its name, or its number from 1.
        label_column: of a table, that of the labels.
        encoding: of files of text, see `read_pieces`.
        missing: "fail" refuses missing values; "fill" carries the last value of a series forward
            and leaves out what has no text, no step or no label.
        shares: of training, validation and test.
        seed: of the draw.
    Raises:
        DataError: when anything is not as it should be, naming the file and the place.
        ValueError: when an argument means nothing.
    Cost: one pass over all data; 32 bytes of memory an example, and as many while it runs.
    """
    check_missing(missing)
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(
            f"shares: expected three above 0 that add up to 1, got {tuple(shares)}. "
            "Use (0.8, 0.1, 0.1), for example."
        )
    options = {"text_column": text_column, "label_column": label_column, "encoding": encoding}
    sources = sources_by_part(data)
    for name, own, argument_name in (
        ("val", val_data, "val_data="),
        ("test", test_data, "test_data="),
    ):
        if own is not None:
            if name in sources:
                raise DataError(
                    f"{sources[name]}: expected one {name} part, got this one in the folder and "
                    f"{own}. Leave {argument(argument_name)} out, or name the training file alone."
                )
            if both := paths_of(own) & paths_of(sources["train"]):
                raise DataError(
                    f"{min(both)}: expected other examples for {name} than to train on, got the "
                    f"same. Name another for {argument(argument_name)}, or leave it out."
                )
            sources[name] = own
    records: dict[str, Records] = {}
    for name, own in sources.items():  # training first
        records[name] = open_records(own, **options, like=records.get("train"))
    surveys = {name: survey(own, missing) for name, own in records.items()}
    _check_alike(surveys)
    classes = _classes(surveys["train"])
    _check_classes(surveys, classes)
    drawn = _drawn(surveys["train"], classes, [n for n in PARTS if n not in surveys], shares, seed)
    parts = {}
    for name in PARTS:
        seen = surveys.get(name, surveys["train"])
        part = _part(name, seen, drawn.get(name), classes, missing)
        parts[name] = part if name in surveys else replace(part, left_out=0)
    notes = [note for own in records.values() for note in own.notes]
    if len(drawn) > 1:
        given = ", ".join(f"{name} {share:.0%}" for name, share in zip(PARTS, shares, strict=True)
                          if name in drawn and name != "train")  # fmt: skip
        notes.append(f"drawn by class, seed {seed}: {given}")
    return LabelledData(
        parts=parts,
        classes=classes,
        num_channels=surveys["train"].num_channels,
        channels=records["train"].channels,
        notes=tuple(dict.fromkeys(notes)),
        beside=tuple(dict.fromkeys(one for own in records.values() for one in own.left_out)),
    )


def read_part(
    data: GivenData,
    classes: Sequence[str],
    *,
    name: str = "test",
    text_column: str | int | None = None,
    label_column: str | int | None = None,
    encoding: str | None = None,
    missing: Missing = "fail",
) -> LabelledPart:
    """Labelled examples of known classes, in one part: what a trained model is evaluated on.

    Args:
        data: as of `read_labelled`; of a folder that has the parts, the part `name`.
        classes: those of the model, class 0 first.
        name: of the part.
        text_column: as of `read_labelled`, like the next three.
        label_column: of labels.
        encoding: of files of text.
        missing: "fail" or "fill".
    Raises:
        DataError: as `read_labelled`, and when a label is not one of the classes.
    """
    check_missing(missing)
    own = sources_by_part(data)
    records = open_records(
        own.get(name, data),
        text_column=text_column,
        label_column=label_column,
        encoding=encoding,
    )
    seen = survey(records, missing)
    _check_labels(seen, classes)
    return _part(name, seen, None, classes, missing)


def _part(
    name: str, seen: Survey, places: np.ndarray | None, classes: Sequence[str], missing: Missing
) -> LabelledPart:
    """The part of these places among the usable records; None means all."""
    places = np.arange(len(seen.numbers)) if places is None else places
    class_of = np.array([classes.index(label) for label in seen.names], dtype=np.int32)
    return LabelledPart(
        name=name,
        records=seen.records,
        chosen=seen.numbers[places],
        labels=class_of[seen.labels[places]],
        lengths=seen.lengths[places],
        missing=int(seen.missing[places].sum()),
        left_out=seen.left_out,
        fill=missing == "fill",
    )


def _check_alike(surveys: Mapping[str, Survey]) -> None:
    train = surveys["train"]
    for own in surveys.values():
        if own.num_channels != train.num_channels:
            raise DataError(
                f"{own.records.where}: expected {kind_name(train.num_channels)} as in "
                f"{train.records.where}, got {kind_name(own.num_channels)}. "
                "Give all parts the same channels."
            )


def _classes(train: Survey) -> tuple[str, ...]:
    """The classes of training in the order of their numbers."""
    names = set(train.names)
    if train.records.classes is not None:
        return tuple(name for name in train.records.classes if name in names)
    try:
        number = {name: float(name) for name in names}
    except ValueError:
        return tuple(sorted(names))
    if not all(map(math.isfinite, number.values())):  # "nan" is a language
        return tuple(sorted(names))
    return tuple(sorted(names, key=lambda name: (number[name], name)))


def _check_classes(surveys: Mapping[str, Survey], classes: Sequence[str]) -> None:
    train = surveys["train"]
    if len(classes) < 2:
        raise DataError(
            f"{train.records.where}: expected examples of two or more classes, got {classes[0]!r} "
            "alone. Add examples of another class."
        )
    for own in surveys.values():
        _check_labels(own, classes)


def _check_labels(found: Survey, classes: Sequence[str]) -> None:
    unseen = [name for name in found.names if name not in classes]
    if unseen:
        raise DataError(
            f"{found.records.where}: expected the classes of training "
            f"({named(map(repr, classes))}), got {named(map(repr, unseen))}, first at "
            f"{found.first_place[unseen[0]]}. Correct the label, or train on examples of it."
        )


def _and_more(others: int) -> str:
    if not others:
        return ""
    return f" and as few of {'another class' if others == 1 else f'{others} other classes'}"


def _drawn(
    found: Survey, classes: Sequence[str], wanted: list[str], shares: Sequence[float], seed: int
) -> dict[str, np.ndarray]:
    """Places among the kept records, growing: of the parts wanted, and of what is left to train."""
    if not wanted:
        return {}
    counts = Counter(found.names[label] for label in found.labels.tolist())
    few = [name for name in classes if counts[name] <= len(wanted)]
    if few:
        raise DataError(
            f"{found.records.where}: expected {len(wanted) + 1} or more examples of every class, "
            f"to draw {' and '.join(wanted)} from them, got {counts[few[0]]} of {few[0]!r}"
            f"{_and_more(len(few) - 1)}. Add some, "
            f"leave the class out, or name files for {argument('val_data=')} and "
            f"{argument('test_data=')}."
        )
    share: dict[str, float] = dict(zip(PARTS, shares, strict=True))
    taken: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *wanted)}
    rng = np.random.default_rng(seed)
    for name in classes:
        places = rng.permutation(np.flatnonzero(found.labels == found.names.index(name)))
        for part in wanted:
            most = len(places) - (len(wanted) - wanted.index(part))
            count = min(max(1, round(share[part] * counts[name])), most)
            taken[part].append(places[:count])
            places = places[count:]
        taken["train"].append(places)
    return {name: np.sort(np.concatenate(those)) for name, those in taken.items()}

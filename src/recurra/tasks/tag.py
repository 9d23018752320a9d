"""`recurra train tag`: a label, or numbers, for each word of a sentence or step of a series.

Letters: N sequences, T time, B batch, K labels, O numbers.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recurra.data import Sequential, measure_scaling
from recurra.data.conll import UNIVERSAL_END
from recurra.data.conll_writing import COLUMNS_END, written_columns
from recurra.data.frames import FrameRecords
from recurra.data.records import Record, Records
from recurra.data.tagged import TaggedData, check_kind, read_tagged, strange_labels
from recurra.data.tagged_files import (
    Reading,
    SentenceRecords,
    Tagged,
    files_in,
    is_of_frames,
    read_sequences,
)
from recurra.data.tagged_store import TaggedBatch, TaggedExamples, open_tagged, write_tagged
from recurra.errors import DataError, argument
from recurra.insight.confusion import figure_of_confusion
from recurra.insight.memory import tagger_context
from recurra.insight.memory_figures import SHORTEST_MEMORY, figure_of_memory
from recurra.models import Confusion, Names, Scaling, Tagger, Tags
from recurra.models.parts import declared_parts
from recurra.models.scaling import Missing
from recurra.nn.plain import evaluating
from recurra.settings import Settings
from recurra.tasks.encoded import EncodedTask
from recurra.tasks.encoding import FOLDER, spelling_for
from recurra.tasks.options import TaggedSettings, TaggerSettings, TagTraining
from recurra.tasks.spans import has_spans
from recurra.tasks.tag_figures import Judged, figures_of, said_of
from recurra.text import Spelling, WordVectors, WordVocabulary, read_vectors
from recurra.training.settings import TrainingSettings
from recurra.training.task import Carried, Description, Figure, Loss, Moment, Written

NUM_SHOWN = 2  # sentences of a preview
_BATCH = 128  # sequences that are read side by side where nothing is learned


class TagTask(EncodedTask[Tagger, TaggedBatch]):
    """Sequences with a label, or numbers, at each step, encoded.

    Args:
        parts: by split, "train" and "val" at least.
        labels: their names; empty where numbers are learned.
        vocabulary: of words; None for series.
        spelling: of the words, where the model is to read that too.
        lexicon: the words of the vocabulary, then all of all parts as they are written; ids of
            examples are places in it.
        scaling: of series.
        target_scaling: of numbers that are learned.
        vectors: to start words from.
        description: of the data as they were read, as JSON has it.
    """

    name: ClassVar[str] = "tag"
    title: ClassVar[str] = "tagger"
    model_class: ClassVar[type[Tagger]] = Tagger
    embedding_size: ClassVar[int] = 100
    input_column: ClassVar[str] = "word_column"
    has_confusion: ClassVar[bool] = True
    takes_empty: ClassVar[bool] = True
    counted: ClassVar[str] = "labels"
    predicted: ClassVar[tuple[str, ...]] = ("labels", "tagged")
    forms: ClassVar[tuple[str, ...]] = (UNIVERSAL_END, COLUMNS_END)
    data_settings: ClassVar[type[Settings]] = TaggedSettings
    model_settings: ClassVar[type[Settings]] = TaggerSettings
    training_settings: ClassVar[type[TrainingSettings]] = TagTraining

    def __init__(
        self,
        parts: Mapping[str, TaggedExamples],
        labels: Sequence[str] = (),
        *,
        vocabulary: WordVocabulary | None = None,
        spelling: Spelling | None = None,
        lexicon: Sequence[str] = (),
        scaling: Scaling | None = None,
        target_scaling: Scaling | None = None,
        vectors: WordVectors | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            parts,
            vocabulary=vocabulary,
            spelling=spelling,
            lexicon=lexicon,
            vectors=vectors,
            description=description,
        )
        self.labels = Names(list(labels))
        self.scaling, self.target_scaling = scaling, target_scaling

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def prepare(cls, folder: Path, data: TaggedSettings) -> "TagTask":
        """Read the sequences and encode them into the folder."""
        if data.data is None:
            raise DataError(
                f"{argument('data=')}: expected a file or folder of sequences with labels, got "
                f"none. Name a file in columns, .conllu or .conll, or one of objects, .jsonl."
            )
        found = read_tagged(
            data.data, _reading(data), val_data=data.val_data, test_data=data.test_data
        )
        return cls.of(found, data, folder=folder)

    @classmethod
    def of(
        cls,
        found: TaggedData,
        data: TaggedSettings | None = None,
        *,
        folder: Path | None = None,
    ) -> "TagTask":
        """The task of sequences that were read; encoded in memory, or into a folder."""
        data = data or TaggedSettings()
        options: dict[str, Any] = {}
        if found.is_text:
            options = _of_words(found, data)
        lexicon, every = options.get("lexicon", ()), (*found.labels, *found.strange)
        parts = {}
        for name, part in found.parts.items():
            if folder is None:
                parts[name] = TaggedExamples.of(*_encoded(part, lexicon, every))
            else:
                path = folder / FOLDER / f"{name}.examples"
                write_tagged(path, *_encoded(part, lexicon, every))
                parts[name] = open_tagged(path)
        if not found.is_text:
            options["scaling"] = measure_scaling(
                parts["train"], missing=_missing(data), names=found.channels or None
            )
        if found.output_size is not None:
            targets = parts["train"].targets
            options["target_scaling"] = measure_scaling(targets, missing="fill", what="targets")
        description = {"notes": list(found.notes), "strange": list(found.strange)}
        task = cls(parts, found.labels, **options, description=description)
        if folder is not None:
            task.keep(folder)
        return task

    @classmethod
    def open_part(cls, path: Path) -> TaggedExamples:
        """The sequences of a part."""
        return open_tagged(path)

    @classmethod
    def has_entries(cls, config: Mapping[str, Any]) -> bool:
        """Whether there are labels, or how the numbers are scaled that are learned instead."""
        return "labels" in config or "target_scaling" in config

    def describe(self) -> Description:
        """How many sequences, of which labels, and how long."""
        lines = [("read", note) for note in self.description.get("notes", ())]
        for name, part in self.parts.items():
            said = f"{len(part):,} sequences, {self.extent(name)}"
            unlabelled = int(np.sum(part.targets == -1)) if self.labels else 0
            if unlabelled:
                said += f", {unlabelled:,} without a label"
            lines.append((name, said))
        if self.labels:
            counts = Counter(self.parts["train"].targets.tolist())
            shown = ", ".join(
                f"{self.labels[number]} {count:,}"
                for number, count in counts.most_common()
                if number >= 0
            )
            lines.append(("labels", f"{len(self.labels)}: {shown:.300}"))
        if self.target_scaling is not None:
            lines.append(("learned", f"{len(self.target_scaling.mean)} numbers a step"))
        if self.vocabulary is not None:
            unseen = self._unseen("val")
            said = f"{len(self.vocabulary):,} words; of val {unseen:.1%} are others"
            lines.append(("vocabulary", said))
        if self.scaling is not None:
            lines.append(("channels", f"{len(self.scaling.mean)}"))
        facts = {name: len(part) for name, part in self.parts.items()}
        return Description(lines=lines, facts={**facts, "labels": list(self.labels)})

    def _unseen(self, part: str) -> float:
        """The share of a part's words that the vocabulary lacks."""
        assert self._ids is not None
        assert self.vocabulary is not None
        ids = self._ids.numpy()[np.asarray(self.parts[part].values)]
        return float(np.mean(ids == self.vocabulary.unknown_id))

    @property
    def every_label(self) -> tuple[str, ...]:
        """The labels that are learned, then those that training never had, of other parts."""
        return (*self.labels, *self.description.get("strange", ()))

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """Of labels the share that is right, of spans their F1 first; of numbers the errors."""
        if not self.labels:
            return (Figure(name="mse"), Figure(name="mae"))
        accuracy = Figure(name="accuracy", higher_is_better=True, is_discrete=True)
        nll = Figure(name="nll", unit="nats a label")
        if has_spans(self.labels):
            return (Figure(name="span_f1", higher_is_better=True), accuracy, nll)
        return (accuracy, nll)

    # ---- training --------------------------------------------------------------------------------

    def loss(self, model: nn.Module, batch: TaggedBatch, state: Carried, moment: Moment) -> Loss:
        """The mean over the labels that count, in nats; of numbers that of the squared errors."""
        scores, target, lengths = self._scores(model, batch)
        of: Any = getattr(model, "module", model)  # it may be wrapped for other processes
        total, count = of.total_loss(scores, target, lengths)
        if not batch.weight.any():
            total, count = total * 0, count * 0
        return Loss(mean=total / count.clamp(min=1), count=int(count))

    def _scores(self, model: nn.Module, batch: TaggedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """What the model says of a batch, what is true, and the lengths, where the model is. A
        label that training never had has no probability, and counts in no loss."""
        scores = self.read(model, batch)
        target = batch.target.to(scores.device)
        if self.labels:
            target = target.masked_fill(target >= len(self.labels), -1)
        return scores, target, batch.lengths.to(scores.device)

    @property
    def chance(self) -> float:
        """The loss of a guess among all labels."""
        return math.log(len(self.labels)) if self.labels else math.inf

    @property
    def baseline(self) -> float | None:
        """The accuracy of giving each word the label that it mostly has in training, others the
        most frequent one, on the validation part."""
        if not self.labels or has_spans(self.labels):
            return None
        return self.most_frequent("val")

    def most_frequent(self, split: str) -> float:
        """The accuracy on a part of giving each word its most frequent label of training, others
        the most frequent label of words seen once; of series the most frequent label."""
        train, part = self.parts["train"], self.parts[split]
        targets = np.asarray(part.targets)
        counted = targets >= 0
        K = len(self.labels)
        if train.values.ndim > 1:
            own = np.asarray(train.targets)
            return float(np.mean(targets[counted] == np.bincount(own[own >= 0]).argmax()))
        counts = np.zeros((len(self.lexicon), K), dtype=np.int64)
        known = np.asarray(train.targets) >= 0
        np.add.at(counts, (train.values[known], train.targets[known]), 1)
        once = counts[counts.sum(1) == 1].sum(0)
        rest = int((once if once.any() else counts.sum(0)).argmax())
        best = np.where(counts.sum(1) > 0, counts.argmax(1), rest)
        return float(np.mean(best[np.asarray(part.values)][counted] == targets[counted]))

    def remark(self, figures: Mapping[str, float]) -> str | None:
        """One line where the best model is no better on the validation part than what looks at no
        other word or step."""
        if self.labels:
            name, naive, who = "accuracy", self.baseline, "each word's most frequent label"
            who = who if self.vocabulary is not None else "the most frequent label"
        else:
            name, naive, who = "mse", self._mean_error("val"), "the mean of training"
        if naive is None or name not in figures:
            return None
        value = figures[name]
        if value > naive if self.labels else value < naive:
            return None
        how = "no better than" if value == naive else "worse than"
        return f"the model is {how} {who}: validation {name} {value:.4f}, {who} {naive:.4f}"

    def _mean_error(self, split: str) -> float | None:
        """The mean squared error of saying the mean of training at each step; of numbers."""
        if self.target_scaling is None:
            return None
        error = np.asarray(self.part(split).targets, np.float64) - self.target_scaling.mean
        return float(np.nanmean(np.square(error)))

    @property
    def solved(self) -> float | None:
        """Every label is right."""
        return 1.0 if self.labels else None

    def validate(self, model: Tagger, device: torch.device) -> dict[str, float]:
        """The figures on the validation part."""
        found = self._read(model, "val")
        return {figure.name: found[figure.name] for figure in self.figures}

    def validation_cost(self, training: TrainingSettings) -> tuple[float, float]:
        """In steps of time; reading alone costs about a third of learning."""
        each = float(self.parts["train"].lengths.mean())
        return float(self.parts["val"].lengths.sum()) / 3, training.batch_size * each

    def evaluate(self, model: Tagger, split: str) -> dict[str, Any]:
        """The figures, `steps`, `sequences`, `seconds`; of labels also the accuracy of the most
        frequent one of each word as `most_frequent`, and what `figures_of` gives; of numbers
        `mean_mse`, the error of always saying their mean in training."""
        started = time.perf_counter()
        found = self._read(model, split)
        if self.labels and "train" in self.parts:
            found["most_frequent"] = self.most_frequent(split)
        if (mean := self._mean_error(split)) is not None:
            found["mean_mse"] = mean
        return {
            **found,
            "sequences": len(self.part(split)),
            "seconds": time.perf_counter() - started,
        }

    def insights(self, model: Tagger, *, brief: bool = False) -> list[Any]:
        """What is taken for what, and how far back the model looks; of numbers nothing."""
        if not self.labels:
            return []
        confusion = Confusion.from_config(self._read(model, "val")["confusion"])
        figures = [figure_of_confusion(confusion, "the validation part")]
        return figures if brief else [*figures, *self._memory(model)]

    def _memory(self, model: Tagger) -> list[Any]:
        """How far back from a step the model looks. Nothing of a CRF, whose loss is that of whole
        sequences, nor of sequences so short that there is nothing to say."""
        batch = self.some("val", _BATCH)
        if model.crf is not None or int(batch.lengths.max()) < SHORTEST_MEMORY:
            return []
        x, lengths, pieces = self.given(model, batch)
        context = tagger_context(model, x, batch.target.to(x.device), lengths, pieces=pieces)
        return [figure_of_memory(context)]

    def _read(self, model: Tagger, split: str) -> dict[str, Any]:
        """The figures of a part, and what `evaluate` says beside them."""
        judged, nll = self._said(model, split)
        if not self.labels:
            return self.figures_of_numbers(judged)
        return {**self.figures_of_labels(judged), "nll": nll}

    def judged(self, model: Tagger, split: str) -> list[Judged]:
        """The sequences of a part with what is true of them and what the model says."""
        return self._said(model, split)[0]

    def _said(self, model: Tagger, split: str) -> tuple[list[Judged], float]:
        """What the model says of a part, and the mean loss of its labels."""
        part = self.part(split)
        source = Sequential(part, _BATCH)
        judged: list[Judged] = []
        total, count = 0.0, 0
        with torch.no_grad(), evaluating(model):
            for index in range(len(source)):
                batch = source.batch(0, index)
                scores, target, lengths = self._scores(model, batch)
                if self.labels:
                    loss, counted = model.total_loss(scores, target, lengths)
                    total, count = total + float(loss), count + int(counted)
                    judged += self._judged(model.decoded(scores, lengths).cpu(), batch)
                    continue
                values = scores
                if self.target_scaling is not None:
                    values = self.target_scaling.undone(scores)
                judged += self._judged(values.cpu(), batch)
        return judged, total / max(count, 1)

    def figures_of_labels(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """The figures of sequences with the labels that are true and those that were said."""
        return figures_of(judged, self.every_label)

    def figures_of_numbers(self, judged: Sequence[Judged]) -> dict[str, Any]:
        """The figures of sequences with the numbers that are true and those that were said."""
        squared = absolute = 0.0
        count = 0
        for each in judged:
            error = (each.said - each.true).astype(np.float64)
            squared += float(np.nansum(np.square(error)))
            absolute += float(np.nansum(np.abs(error)))
            count += int((~np.isnan(error)).sum())
        return {"mse": squared / max(count, 1), "mae": absolute / max(count, 1), "steps": count}

    def _judged(self, path: Tensor, batch: TaggedBatch) -> list[Judged]:
        """The sequences of a batch, with the labels [T, B], or the numbers [T, B, O], that were
        said of their steps."""
        found = []
        for b, (number, length) in enumerate(
            zip(batch.examples.tolist(), batch.lengths.tolist(), strict=True)
        ):
            true, said = batch.target[:length, b].numpy(), path[:length, b].numpy()
            words = (
                [self.lexicon[place] for place in batch.x[:length, b].tolist()]
                if self.lexicon
                else []
            )
            found.append(Judged(true=true, said=said, words=words, number=number))
        return found

    @classmethod
    def evaluate_file(
        cls, model: Tagger, data: Any, split: str | None, how: TaggedSettings
    ) -> dict[str, Any]:
        """The same of other sequences with labels, read as the model reads its own."""
        paths = (data,) if isinstance(data, str | Path) else tuple(data)
        reading = _reading(how)
        sequences = [each for path in paths for each in read_sequences(Path(path), reading)]
        return cls.of_model(model, sequences).evaluate(model, "test")

    @classmethod
    def of_model(cls, model: Tagger, sequences: Sequence[Tagged]) -> "TagTask":
        """The task of these sequences as its part "test", encoded as the model reads them.

        Raises:
            DataError: when the model cannot read one, or knows none of their labels.
        """
        for each in sequences:
            check_kind(each, model.embedding is not None, model.output_size)
        strange = sorted(strange_labels(sequences, model.labels or ()))
        if model.scaling is not None:
            sequences = [
                replace(each, values=model.scaling.prepared(each.values, each.place))
                for each in sequences
            ]
        lexicon: Sequence[str] = ()
        if model.vocabulary is not None:
            lexicon = tuple(dict.fromkeys(word for each in sequences for word in each.values))
        every = (*(model.labels or ()), *strange)
        parts = {"test": TaggedExamples.of(*_encoded(sequences, lexicon, every))}
        options = {name: getattr(model, name) for name in declared_parts(Tagger)}
        options |= {"labels": model.labels or (), "description": {"strange": strange}}
        return cls(parts, lexicon=lexicon, **options)

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """The figures on one line, and the commonest confusions."""
        return said_of(figures)

    # ---- predicting ------------------------------------------------------------------------------

    @classmethod
    def inputs(cls, model: Tagger, path: Path, how: TaggedSettings) -> Records:
        """Sentences, series or recordings without labels, as the model reads them."""
        reading = _reading(how)
        if cls.reads_texts(model) and SentenceRecords.are_in(path, reading, model.labels or ()):
            return SentenceRecords(path, reading, model.labels or ())
        if not cls.reads_texts(model) and path.exists():
            files = files_in(path)
            if all(map(is_of_frames, files)):
                return FrameRecords(path, files, reading.frames)
        return super().inputs(model, path, how)

    @classmethod
    def written(cls, path: Path, how: TaggedSettings) -> Written | None:
        """Words and their labels in columns."""
        return _in_columns(path, how) if path.suffix.lower() in cls.forms else None

    @classmethod
    def rows(cls, prediction: Tags) -> list[dict[str, Any]]:
        """Of a series a row for each step, of a sentence one."""
        if prediction.tokens:
            return [cls.row(prediction)]
        rows: list[dict[str, Any]] = [{"labels": str(label)} for label in prediction.labels]
        if prediction.values is not None:
            for numbers in prediction.values.tolist():
                each = {f"number {place}": number for place, number in enumerate(numbers, 1)}
                rows.append({"labels": "", **each})
        return [
            {"labels": row.pop("labels"), "tagged": "", "step": step, **row}
            for step, row in enumerate(rows, 1)
        ]

    @classmethod
    def lines(cls, prediction: Tags) -> list[list[Any]]:
        """One, with the labels of all steps."""
        return [[*cls.row(prediction).values()]]

    @classmethod
    def row(cls, prediction: Tags) -> dict[str, Any]:
        """The labels with spaces between, and each word with its own behind a slash; of numbers, as
        JSON has them."""
        if prediction.values is not None:
            return {"labels": json.dumps(prediction.values.tolist()), "tagged": ""}
        labels = [str(label) for label in prediction.labels]
        pairs = zip(prediction.tokens, labels, strict=True) if prediction.tokens else ()
        return {"labels": " ".join(labels), "tagged": " ".join(f"{w}/{k}" for w, k in pairs)}

    def preview(
        self, model: Tagger, moment: Moment, training: TrainingSettings
    ) -> tuple[str, str] | None:
        """What the model makes of a few sentences of the validation part, the same ones each time;
        a wrong label stands beside the true one."""
        if self.vocabulary is None or not self.labels:
            return None
        part = self.parts["val"]
        order = np.random.default_rng(training.seed).permutation(len(part))
        fit = [n for n in order.tolist() if 4 <= part.lengths[n] <= 16][:NUM_SHOWN]
        chosen = np.sort(np.array(fit or order[:NUM_SHOWN].tolist()))
        with torch.no_grad(), evaluating(model):
            batch = part.gather(chosen)
            scores, _, lengths = self._scores(model, batch)
            path = model.decoded(scores, lengths)
        names = self.every_label
        lines = []
        for b, number in enumerate(chosen.tolist()):
            words = [self.lexicon[place] for place in part.sequence(number).tolist()]
            marked = [
                f"{word}/{names[said]}" + ("" if true in (said, -1) else f"({names[true]})")
                for word, said, true in zip(
                    words, path[:, b].tolist(), batch.target[:, b].tolist(), strict=False
                )
            ]
            lines.append(" ".join(marked))
        return "\n".join(lines), "of the validation part; in brackets what is true"


@contextmanager
def _in_columns(
    path: Path, how: TaggedSettings
) -> Iterator[Callable[[Iterable[tuple[Record, Tags]]], object]]:
    with written_columns(path, how.tag_column) as put:

        def take(some: Iterable[tuple[Record, Tags]]) -> None:
            for record, said in some:
                if said.values is not None or (said.labels and not said.tokens):
                    raise DataError(
                        f"{argument('out')}: expected labels of words for {path.suffix}, got "
                        f"{'numbers' if said.labels == () else 'labels of a series'}. Write a "
                        "table: .csv, .tsv, .jsonl or .parquet."
                    )
                put(record.written, said.tokens, [str(label) for label in said.labels])

        yield take


def _of_words(found: TaggedData, data: TaggedSettings) -> dict[str, Any]:
    """The vocabulary, the spelling, the lexicon and the vectors of sentences."""
    train = [word for each in found.parts["train"] for word in each.values]
    vocabulary = WordVocabulary.of_words(
        train, max_size=data.vocab_size, min_count=data.min_count, lower=data.lower
    )
    each = (word for part in found.parts.values() for one in part for word in one.values)
    lexicon = tuple(dict.fromkeys([*vocabulary.words, *each]))
    spelling = spelling_for(data, dict.fromkeys(train))
    vectors = None if data.vectors is None else read_vectors(data.vectors, vocabulary)
    return {
        "vocabulary": vocabulary,
        "spelling": spelling,
        "lexicon": lexicon,
        "vectors": vectors,
    }


def _encoded(
    sequences: Sequence[Tagged], lexicon: Sequence[str], labels: Sequence[str]
) -> tuple[Iterable[np.ndarray], Iterable[np.ndarray]]:
    """The places of words in a lexicon, or the numbers of series; and the numbers of labels, or of
    targets: of each sequence, made one by one."""
    place = {word: number for number, word in enumerate(lexicon)}
    number_of = {"": -1, **{name: number for number, name in enumerate(labels)}}
    values = (_numbers(each.values, place) for each in sequences)
    return values, (_numbers(each.targets, number_of) for each in sequences)


def _numbers(given: tuple[str, ...] | np.ndarray, number_of: Mapping[str, int]) -> np.ndarray:
    if isinstance(given, np.ndarray):
        return given
    return np.array([number_of[name] for name in given], dtype=np.int32)


def _reading(data: TaggedSettings) -> Reading:
    return Reading(
        word_column=data.word_column,
        tag_column=data.tag_column,
        targets=_several(data.target),
        channels=_several(data.channels),
        group_column=data.group_column,
        missing=_missing(data),
        encoding=data.encoding,
    )


def _several(given: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else given or ()


def _missing(data: TaggedSettings) -> Missing:
    return data.missing  # type: ignore[return-value]  (a setting is text, which was checked)

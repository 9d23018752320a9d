"""`recurra train classify`: texts or series of numbers, each of one of several classes.

Letters: N examples, T time, B batch, C pieces of a word, K classes.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from recurra.data import (
    LabelledBatch,
    LabelledData,
    LabelledExamples,
    Sequential,
    measure_scaling,
    open_examples,
    read_labelled,
    read_part,
)
from recurra.data.records import named
from recurra.errors import DataError, argument
from recurra.insight.confusion import figure_of_confusion
from recurra.insight.memory import classifier_context, classifier_saliency
from recurra.insight.memory_figures import SHORTEST_MEMORY, figure_of_memory
from recurra.models import Classifier, Confusion, Names, Scaling
from recurra.models.prediction import Prediction
from recurra.nn.plain import evaluating
from recurra.settings import Settings
from recurra.tasks.encoded import EncodedTask, column, unit_of
from recurra.tasks.encoding import (
    encoded_parts,
    spelling_of,
    vocabulary_of,
    weights_of_classes,
)
from recurra.tasks.options import ClassifierSettings, ClassifyTraining, LabelledSettings
from recurra.text import Spelling, Vocabulary, WordVectors, WordVocabulary, read_vectors
from recurra.training.settings import TrainingSettings
from recurra.training.task import Carried, Description, Figure, Loss, Moment

VALIDATION_EXAMPLES = 5000  # of a larger split, spread over all of it: validating stays cheap
NUM_SHOWN = 3  # examples of a preview
_BATCH = 256  # examples that are read side by side where nothing is learned


class ClassifyTask(EncodedTask[Classifier, LabelledBatch]):
    """Examples with a class each, encoded.

    Args:
        parts: by split, "train" and "val" at least.
        labels: the names of the classes.
        vocabulary: of the tokens; None for series.
        spelling: of the words, where the model is to read that too.
        lexicon: all words of all parts, where they are spelled: those of the vocabulary in its
            order, then the others. Ids of examples are places in it.
        scaling: of series.
        vectors: to start words from.
        class_weights: "none", or "balanced": examples of rare classes count more.
        description: of the data as they were read, as JSON has it.
    """

    name: ClassVar[str] = "classify"
    title: ClassVar[str] = "classifier"
    model_class: ClassVar[type[Classifier]] = Classifier
    embedding_size: ClassVar[int] = 64
    has_confusion: ClassVar[bool] = True
    counted: ClassVar[str] = "sequences"
    predicted: ClassVar[tuple[str, ...]] = ("label", "probability")
    data_settings: ClassVar[type[Settings]] = LabelledSettings
    model_settings: ClassVar[type[Settings]] = ClassifierSettings
    training_settings: ClassVar[type[TrainingSettings]] = ClassifyTraining

    def __init__(
        self,
        parts: Mapping[str, LabelledExamples],
        labels: Sequence[str],
        *,
        vocabulary: Vocabulary | None = None,
        spelling: Spelling | None = None,
        lexicon: Sequence[str] = (),
        scaling: Scaling | None = None,
        vectors: WordVectors | None = None,
        class_weights: str = "none",
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
        self.labels, self.scaling = Names(list(labels)), scaling
        self.class_weights = weights_of_classes(parts["train"].labels, len(labels), class_weights)

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def prepare(cls, folder: Path, data: LabelledSettings) -> "ClassifyTask":
        """Read the examples and encode them into the folder."""
        if data.data is None:
            raise DataError(
                f"{argument('data=')}: expected a file or folder of labelled examples, got none. "
                f"Name a table with a column of labels, UCR's .ts, or a folder with a sub-folder "
                f"for each class."
            )
        found = read_labelled(
            data.data,
            val_data=data.val_data,
            test_data=data.test_data,
            text_column=column(data.text_column),
            label_column=column(data.label_column),
            encoding=data.encoding,
            missing=data.missing,  # type: ignore[arg-type]
        )
        return cls.of(found, data, folder=folder)

    @classmethod
    def of(
        cls,
        found: LabelledData,
        data: LabelledSettings | None = None,
        *,
        folder: Path | None = None,
    ) -> "ClassifyTask":
        """The task of examples that were read; encoded in memory, or into a folder."""
        data = data or LabelledSettings()
        if found.num_channels is not None:
            return cls._of_series(found, data, folder)
        vocabulary = vocabulary_of(found, data)
        spelling, lexicon = spelling_of(found, vocabulary, data)
        place = {word: number for number, word in enumerate(lexicon)}

        def encode(text: str) -> np.ndarray:
            if spelling is not None and isinstance(vocabulary, WordVocabulary):
                words = vocabulary.tokens(text)
                return np.array([place[word] for word in words], dtype=np.int64)
            unknown = "skip" if vocabulary.unknown_id is None else "replace"
            return vocabulary.encode(text, unknown=unknown)

        parts = encoded_parts(found, encode, folder)
        vectors = None
        if data.vectors is not None:
            if not isinstance(vocabulary, WordVocabulary):
                raise ValueError(
                    f"vectors: expected a vocabulary of words for them, got "
                    f"{argument(f'level={data.level}')}. Use {argument('level=word')}."
                )
            vectors = read_vectors(data.vectors, vocabulary)
        lengths = {name: part.lengths for name, part in parts.items()}
        described = found.describe(lengths, unit_of(vocabulary.level))
        task = cls(
            parts,
            found.classes,
            vocabulary=vocabulary,
            spelling=spelling,
            lexicon=lexicon,
            vectors=vectors,
            class_weights=data.class_weights,
            description=described.to_config(),
        )
        if folder is not None:
            task.keep(folder)
        return task

    @classmethod
    def _of_series(
        cls, found: LabelledData, data: LabelledSettings, folder: Path | None
    ) -> "ClassifyTask":
        parts = encoded_parts(found, np.asarray, folder)
        scaling = measure_scaling(parts["train"], missing=data.missing)  # type: ignore[arg-type]
        description = found.describe().to_config()
        return cls(
            parts,
            found.classes,
            scaling=scaling,
            class_weights=data.class_weights,
            description=description,
        )

    @classmethod
    def open_part(cls, path: Path) -> LabelledExamples:
        """The examples of a part."""
        return open_examples(path)

    @classmethod
    def has_lexicon(cls, owned: Mapping[str, Any]) -> bool:
        """Where words are spelled."""
        return "spelling" in owned

    @classmethod
    def options_of(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """How much examples of each class count."""
        return {"class_weights": data.get("class_weights", "none")}

    @classmethod
    def has_entries(cls, config: Mapping[str, Any]) -> bool:
        """Whether there are labels."""
        return "labels" in config

    def describe(self) -> Description:
        """What was read and how, how many examples, of which classes, and how long."""
        lines = [("read", note) for note in self.description.get("notes", ())]
        if beside := self.description.get("beside"):
            lines.append(("left out", named(beside)))
        of_part = {each["name"]: each for each in self.description.get("parts", ())}
        for name, part in self.parts.items():
            said = f"{len(part):,} examples, {self.extent(name)}"
            for count, what, done in (
                ("missing", "value", "filled"),
                ("left_out", "example", "left out"),
            ):
                if number := of_part.get(name, {}).get(count):
                    said += f", {number:,} {what}{'s' * (number > 1)} {done}"
            lines.append((name, said))
        counts = np.bincount(self.parts["train"].labels, minlength=len(self.labels))
        classes = ", ".join(
            f"{label} {count:,}"
            for label, count in list(zip(self.labels, counts, strict=True))[:20]
        )
        lines.append(("classes", f"{len(self.labels)}: {classes}"))
        if self.vocabulary is not None:
            lines.append(("vocabulary", f"{len(self.vocabulary):,} kinds"))
        if self.scaling is not None:
            lines.append(("channels", f"{len(self.scaling.mean)}"))
        facts = {name: len(part) for name, part in self.parts.items()}
        return Description(lines=lines, facts={**facts, "classes": list(self.labels)})

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """The share of right answers, the mean of the classes' F1, and the loss."""
        return (
            Figure(name="accuracy", higher_is_better=True, is_discrete=True),
            Figure(name="macro_f1", higher_is_better=True),
            Figure(name="nll", unit="nats an example"),
        )

    # ---- training --------------------------------------------------------------------------------

    def loss(self, model: nn.Module, batch: LabelledBatch, state: Carried, moment: Moment) -> Loss:
        """The mean cross-entropy of the true classes, in nats."""
        logits = self.read(model, batch)
        target, counted = batch.target.to(logits.device), batch.weight.to(logits)
        each = functional.cross_entropy(logits, target, reduction="none")
        if self.class_weights is not None:
            weights = torch.tensor(self.class_weights, dtype=logits.dtype, device=logits.device)
            each = each * weights[target]
        count = int(counted.sum())
        return Loss(mean=(each * counted).sum() / max(count, 1), count=count)

    def whole(self, training: ClassifyTraining) -> int:
        """The examples of a whole batch."""
        return training.batch_size

    @property
    def chance(self) -> float:
        """The loss of a guess among all classes."""
        return math.log(len(self.labels))

    @property
    def baseline(self) -> float:
        """The accuracy of always naming the largest class, on what is trained on."""
        labels = self.parts["train"].labels
        return float(np.bincount(labels).max() / len(labels))

    @property
    def solved(self) -> float:
        """Every class is right."""
        return 1.0

    def validate(self, model: Classifier, device: torch.device) -> dict[str, float]:
        """The figures on the validation part, or on 5,000 examples spread over it."""
        figures, _ = self._read(model, "val", VALIDATION_EXAMPLES)
        return {figure.name: figures[figure.name] for figure in self.figures}

    def validation_cost(self, training: ClassifyTraining) -> tuple[float, float]:
        """In steps of time; reading alone costs about a third of learning."""
        val = self.parts["val"].lengths
        each = float(self.parts["train"].lengths.mean())
        return min(len(val), VALIDATION_EXAMPLES) * float(
            val.mean()
        ) / 3, training.batch_size * each

    def evaluate(self, model: Classifier, split: str) -> dict[str, Any]:
        """`accuracy` and `macro_f1`, shares of 1; `nll` in nats an example; `confusion`, the counts
        with a row for each true class; `examples`, `seconds`."""
        started = time.perf_counter()
        figures, confusion = self._read(model, split)
        return {
            **figures,
            "examples": confusion.num_examples,
            "seconds": time.perf_counter() - started,
            "confusion": confusion.to_config(),
        }

    def insights(self, model: Classifier, *, brief: bool = False) -> list[Any]:
        """What is taken for what; and how far back the model looks."""
        _, confusion = self._read(model, "val", VALIDATION_EXAMPLES)
        figures = [figure_of_confusion(confusion, "the validation part")]
        return figures if brief else [*figures, *self._memory(model)]

    def _memory(self, model: Classifier) -> list[Any]:
        """How far back from the end of an example the model looks; nothing of examples so short
        that there is nothing to say."""
        batch = self.some("val", _BATCH)
        if int(batch.lengths.max()) < SHORTEST_MEMORY:
            return []
        x, lengths, pieces = self.given(model, batch)
        target = batch.target.to(x.device)
        context = classifier_context(model, x, target, lengths, pieces=pieces)
        saliency = classifier_saliency(model, x, target, lengths, pieces=pieces)
        return [figure_of_memory(context, saliency)]

    def _read(
        self, model: Classifier, split: str, most: int | None = None
    ) -> tuple[dict[str, float], Confusion]:
        """The figures over a split, or over about `most` examples of it in whole batches."""
        source = Sequential(self.part(split), _BATCH)
        count = len(source) if most is None else min(len(source), -(-most // _BATCH))
        chosen = np.linspace(0, len(source) - 1, count).astype(np.int64).tolist()
        total, true, found = 0.0, [], []
        with torch.no_grad(), evaluating(model):
            for index in chosen:
                batch = source.batch(0, index)
                logits = self.read(model, batch).double().cpu()
                total += float(functional.cross_entropy(logits, batch.target, reduction="sum"))
                true.append(batch.target)
                found.append(logits.argmax(dim=-1))
        confusion = Confusion.of(torch.cat(true).numpy(), torch.cat(found).numpy(), self.labels)
        figures = {
            "accuracy": confusion.accuracy,
            "macro_f1": confusion.macro_f1,
            "nll": total / confusion.num_examples,
        }
        return figures, confusion

    @classmethod
    def evaluate_file(
        cls, model: Classifier, data: Any, split: str | None, how: LabelledSettings
    ) -> dict[str, Any]:
        """The same of other labelled examples, read as the model reads texts and series.

        Args:
            model: with labels, and what it needs to read.
            data: files or folders, as for training.
            split: of a folder that has parts, which one; None: its test part.
            how: the run's settings of its data, whose columns and encoding are taken.
        """
        labels: Names = model.needed("labels", "evaluate")
        missing = "fail" if model.scaling is None else model.scaling.missing
        part = read_part(
            data,
            labels,
            name=split or "test",
            text_column=column(how.text_column),
            label_column=column(how.label_column),
            encoding=how.encoding,
            missing=missing,
        )
        started = time.perf_counter()
        said = model.predict(list(part.values()))
        shares = np.array([list(one.probabilities.values()) for one in said])
        confusion = Confusion.of(part.labels, shares.argmax(axis=1), labels)
        of_true = shares[np.arange(len(shares)), part.labels]
        return {
            "accuracy": confusion.accuracy,
            "macro_f1": confusion.macro_f1,
            "nll": float(-np.log(np.maximum(of_true, 1e-300)).mean()),
            "examples": len(part),
            "seconds": time.perf_counter() - started,
            "confusion": confusion.to_config(),
        }

    @classmethod
    def row(cls, prediction: Prediction) -> dict[str, Any]:
        """The class, its probability, and that of each class."""
        each = {f"probability of {k}": value for k, value in prediction.probabilities.items()}
        return {"label": str(prediction.label), "probability": prediction.probability, **each}

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """The figures on one line, and the table of what was taken for what."""
        line = (
            f"accuracy {figures['accuracy']:.2%}, macro F1 {figures['macro_f1']:.4f}, nll "
            f"{figures['nll']:.4f} nats an example, {figures['examples']:,} examples, "
            f"{figures['seconds']:.1f} s"
        )
        return f"{line}\n\n{Confusion.from_config(figures['confusion'])}"

    def preview(
        self, model: Classifier, moment: Moment, training: ClassifyTraining
    ) -> tuple[str, str] | None:
        """What the model makes of a few texts of the validation part, the same ones each time."""
        part = self.parts["val"]
        if self.vocabulary is None:
            return None
        chosen = np.random.default_rng(training.seed).permutation(len(part))[:NUM_SHOWN]
        with torch.no_grad(), evaluating(model):
            batch = part.gather(np.sort(chosen))
            shares = self.read(model, batch).double().softmax(dim=-1)
        lines = []
        for number, row in zip(batch.examples.tolist(), shares, strict=True):
            best, true = int(row.argmax()), int(part.labels[number])
            right = "" if best == true else f", truly {self.labels[true]}"
            said = f"{self.labels[best]} {row[best]:.0%}{right}"
            lines.append(f"{said}: {self._text(part.sequence(number))}")
        return "\n".join(lines), "of the validation part"

    def _text(self, ids: np.ndarray) -> str:
        if self.lexicon:
            return " ".join(self.lexicon[index] for index in ids.tolist())
        assert self.vocabulary is not None
        return self.vocabulary.decode(ids)

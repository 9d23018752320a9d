"""What a task is to the trainer: its data, its model, its loss and its figures.

A task is one file of `recurra.tasks`, and everything else is shared: it reads the user's data once
into the run's folder, builds a model, and says what a batch is, what is minimised and what is
reported. A batch is a pure function of two numbers, so that a position in the data is those two.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from recurra.data.records import Record, Records
from recurra.data.source import Source
from recurra.errors import DataError
from recurra.models import Model
from recurra.settings import Settings
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.views import Figure, Watch, unwatched

BatchT = TypeVar("BatchT")
ModelT = TypeVar("ModelT", bound=Model)

# What takes inputs with what was predicted of each, as long as a block goes on.
Written = AbstractContextManager[Callable[[Iterable[tuple[Record, Any]]], object]]

# As layers take and return it: one tensor, or a tuple of them for several states; None is zeros.
Carried = Tensor | tuple[Tensor, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The loss of a batch.

    Attributes:
        mean: what is minimised, the mean over what counts.
        count: of what counts: tokens, sequences.
        state: what is carried to the next batch of the pass; None where nothing is.
        steps: of time that are now in that state besides those before.
    """

    mean: Tensor
    count: int
    state: Carried = None
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a run is.

    Attributes:
        step: steps taken.
        epoch: passes over the data, with a fraction.
        fraction: share of the run that is done, 0 to 1.
        index: steps of time that are in the carried state.
        seed: for what is drawn at this moment.
    """

    step: int = 0
    epoch: float = 0.0
    fraction: float = 0.0
    index: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What was read, in words and numbers; printed before training and kept in config.json.

    Attributes:
        lines: each a label and what stands behind it.
        facts: plain values for config.json.
    """

    lines: Sequence[tuple[str, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class Task(ABC, Generic[ModelT, BatchT]):
    """A kind of sequence problem on some data.

    Attributes:
        name: as in `recurra train NAME`.
        title: one line for the help.
        counted: what speed is counted in, as in "tokens".
        figures: what is reported; the first decides which model is the best.
        loss_name: what the training loss is called in tables.
        predicted: what there is to say of an input, the attributes of a prediction; empty where a
            model predicts nothing.
        input_column: the data setting that names the column of its inputs in tables.
        forms: the ends of files in which predictions may be written other than as a table.
        takes_empty: whether an input may be empty, if it is a text.
        draws: whether what the model says may be drawn, by the place of an input, `first` of
            `predict`.
        shows_input: whether an input stands behind what is printed of it.
        has_confusion: whether `evaluate` may give a `confusion`, as `Confusion.to_config` has it.
        data_settings: which data, and how it is read.
        model_settings: of the model.
        training_settings: how it is trained, with the task's own settings and defaults.
        measured_by: the settings of its training that say how `evaluate` measures.
        training: those of the run that it is used in, which trainers and runs set; None: of none.
        folder: of that run; None: it is used in none, or the run has no place yet.
        watch: is told what `evaluate` does, and how far it is.
    """

    known: ClassVar[dict[str, "type[Task[Any, Any]]"]] = {}  # every task that was defined

    name: ClassVar[str]
    title: ClassVar[str]
    counted: ClassVar[str] = "tokens"
    loss_name: ClassVar[str] = "nll"
    predicted: ClassVar[tuple[str, ...]] = ()
    input_column: ClassVar[str] = "text_column"
    forms: ClassVar[tuple[str, ...]] = ()
    takes_empty: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    shows_input: ClassVar[bool] = True
    has_confusion: ClassVar[bool] = False
    data_settings: ClassVar[type[Settings]]
    model_settings: ClassVar[type[Settings]]
    training_settings: ClassVar[type[TrainingSettings]] = TrainingSettings
    measured_by: ClassVar[tuple[str, ...]] = ()
    training: TrainingSettings | None = None
    folder: Path | None = None
    watch: Watch = staticmethod(unwatched)

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls):
            Task.known[cls.name] = cls

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings, with what they name looked up; called before anything is made.

        Raises:
            DataError: when data that they name are not there.
            ValueError: when there is no such cell, or the settings do not go together.
        """
        return settings

    # A task that reads files has `prepare` and `open`; one that draws its data needs no more than
    # its settings, of which it is made here.

    @classmethod
    def prepare(cls, folder: Path, data: Any) -> "Task[Any, Any]":
        """Read the data that settings name into a run's folder, which has none yet.

        Raises:
            DataError: when it cannot be read, or not written.
        """
        return cls(data)

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "Task[Any, Any]":
        """The task of a run's folder, as its config.json says.

        Raises:
            DataError: when a file is missing or damaged, or the entries do not fit.
        """
        return cls(cls.data_settings.pick(config["data"]))

    @classmethod
    def has_entries(cls, config: Mapping[str, Any]) -> bool:
        """Whether config.json has what `entries` wrote."""
        return True

    def entries(self) -> dict[str, Any]:
        """What config.json keeps besides settings and model, for `open`."""
        return {}

    @abstractmethod
    def describe(self) -> Description:
        """What was read."""

    # ---- model -----------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """What is reported of a model; the first decides which one is the best."""
        return (Figure(name=self.loss_name),)

    @abstractmethod
    def build(self, model: Any, *, backend: str = "auto") -> ModelT:
        """A new model of these settings for the data, its parameters drawn anew."""

    def check_start(self, settings: RunSettings, taken: Collection[str]) -> None:
        """Check that a new model can learn; here any can.

        Args:
            settings: of the run.
            taken: the names of the weights that it took from another model.
        Raises:
            ValueError: where it can not.
        """

    def titled(self, model: ModelT) -> str:
        """What a view calls the run."""
        cell = getattr(getattr(model, "recurrent", None), "cell", None)
        return f"{cell.name + ' ' if cell is not None else ''}{self.title}"

    def adopt(self, model: ModelT) -> None:
        """Give a model that was built from a run's config what it needs of the data to be used."""

    # ---- training --------------------------------------------------------------------------------

    def tune(self, model: ModelT) -> None:
        """Say what of a model learns, and how fast beside the rest, as the settings in `training`
        say; called before there is an optimizer. Here all of it does."""

    @abstractmethod
    def source(self, split: str, training: Any) -> Source[BatchT]:
        """The batches of a split.

        Raises:
            DataError: when the split is too short for one.
        """

    def batches(self, training: Any) -> Sequence[tuple[str, str]]:
        """What there is to say of the batches of a pass before training, a label and a text each;
        here nothing."""
        return ()

    @abstractmethod
    def loss(self, model: nn.Module, batch: BatchT, state: Carried, moment: Moment) -> Loss:
        """The loss of a batch.

        The model is called as a module: it may be wrapped for its precision or for other
        processes. The batch may be on another device than the model.
        """

    def whole(self, training: Any) -> int | None:
        """What counts in a whole batch: a smaller one moves the weights by its share of that, so
        that each token weighs the same. None: every batch is whole."""
        return None

    @property
    def chance(self) -> float:
        """The loss of a guess: far above it a model has run away; infinite where nobody knows."""
        return math.inf

    @property
    def baseline(self) -> float | None:
        """The first figure of the best answer that remembers nothing of a sequence; None: it is
        not known."""
        return None

    def remark(self, figures: Mapping[str, float]) -> str | None:
        """One line to say at the end of training of the best validation figures, such as that they
        are no better than those of a guess; None: nothing."""
        return None

    def counts_untrained(self, model: ModelT) -> bool:
        """Whether a model that has not learned yet is an answer already, as one that repeats the
        last value: then it is validated before the first step, and is kept until a trained one
        `surpasses` it."""
        return False

    @property
    def surpasses(self) -> bool:
        """Whether the model that was validated last is better than the untrained one beyond what
        chance may do, where that one counts."""
        return True

    @property
    def solved(self) -> float | None:
        """The first figure at which there is nothing left to learn; None: there is none."""
        return None

    def training_figures(self, loss: float) -> dict[str, float]:
        """The mean training loss as what it is quoted in."""
        return {self.loss_name: loss}

    def completed(self, value: float) -> dict[str, float]:
        """The figures that follow from the first of them."""
        first = self.figures[0].name
        return self.training_figures(value) if first == self.loss_name else {first: value}

    def validate(self, model: ModelT, device: torch.device) -> dict[str, float]:
        """The figures on the validation split, or an even sample of a long one."""
        found = self.evaluate(model, "val")
        missing = [figure.name for figure in self.figures if figure.name not in found]
        if missing:
            raise ValueError(
                f"{type(self).__name__}: expected evaluate to give each of its figures, got none "
                f"for {', '.join(missing)}. Have it give them, or take them out of figures."
            )
        return {figure.name: found[figure.name] for figure in self.figures}

    def evaluate(self, model: ModelT, split: str) -> dict[str, Any]:
        """The figures on a whole split, with what there is to say besides; here the mean loss, by
        the name of the first figure. The model is in evaluation mode.

        Raises:
            DataError: when nothing in the split counts.
        """
        source = self.source(split, self.training or self.training_settings())
        state: Carried = None
        total, count, steps = 0.0, 0, 0
        with torch.no_grad():
            for number in range(len(source)):
                steps = 0 if state is None else steps
                moment = Moment(index=steps, seed=number)
                loss = self.loss(model, source.batch(0, number), state, moment)
                total, count = total + loss.mean.item() * loss.count, count + loss.count
                state, steps = loss.state, steps + loss.steps
        if count == 0:
            raise DataError(
                f"{split}: expected a batch of this part at least, got none. Give it more data."
            )
        return {self.figures[0].name: total / count}

    @classmethod
    def evaluate_file(cls, model: ModelT, data: Any, split: str | None, how: Any) -> dict[str, Any]:
        """The figures on other files of the same kind, or on a part of them, read as the run's own
        data settings `how` say."""
        raise ValueError(
            f"data: expected the run's own data for the task {cls.name}, got {data!r}. Leave it "
            "out."
        )

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """The figures of `evaluate` on one line."""
        return ", ".join(
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in figures.items()
            if name not in ("run", "split") and isinstance(value, int | float)
        )

    @classmethod
    def inputs(cls, model: ModelT, path: Path, how: Any) -> Records:
        """What a file or folder has for the model to say something of; of a task that predicts.

        Args:
            model: of the task.
            path: of the file or folder.
            how: the data settings to read it by.
        Raises:
            DataError: when it cannot be read.
        """
        raise NotImplementedError(f"{cls.name} predicts nothing")

    @classmethod
    def reads_texts(cls, model: ModelT) -> bool:
        """Whether an input of the model is a text, which may stand on a line."""
        return True

    @classmethod
    def row(cls, prediction: Any) -> dict[str, Any]:
        """A prediction as a row of a table: what is predicted, then whatever else there is."""
        return {name: getattr(prediction, name) for name in cls.predicted}

    @classmethod
    def rows(cls, prediction: Any) -> list[dict[str, Any]]:
        """A prediction as rows of a table: one, unless it is of several steps."""
        return [cls.row(prediction)]

    @classmethod
    def written(cls, path: Path, how: Any) -> Written | None:
        """What takes inputs with their predictions, to write them into a file whose end is one of
        `forms`; None of other files, which are tables.

        Args:
            path: of the file, which is there whole when the block has ended well.
            how: the data settings that the inputs were read by.
        """
        return None

    @classmethod
    def lines(cls, prediction: Any) -> list[list[Any]]:
        """A prediction as lines of output, the values in each: what is predicted alone."""
        return [[row[name] for name in cls.predicted] for row in cls.rows(prediction)]

    def preview(self, model: ModelT, moment: Moment, training: Any) -> tuple[str, str] | None:
        """Something that the model makes now, for people to look at, and how it was made; None:
        nothing."""
        return None

    def insights(self, model: ModelT, *, brief: bool = False) -> Sequence[Any]:
        """What a model does on the validation part, as `Figure`s of `recurra.insight.report`, the
        one to look at first before the others.

        Args:
            model: in evaluation mode.
            brief: whether to leave out what costs more than a validation, as at the end of a run,
                where they are those of its last weights, for TensorBoard and its own report.
        """
        return ()

    def validation_cost(self, training: Any) -> tuple[float, float]:
        """How much a validation reads and how much a step does, in the same unit."""
        return 1.0, 1.0


def is_better(figure: Figure, value: float, than: float | None) -> bool:
    """Whether a figure is finite and better than another; than None, any is."""
    if not math.isfinite(value):
        return False
    if than is None:
        return True
    return value > than if figure.higher_is_better else value < than

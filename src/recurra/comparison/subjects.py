"""What cells are compared on: a task with its data, made ready once for all trials of a process."""

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from recurra.comparison.cells import made
from recurra.comparison.settings import OF_TRIALS, TRAINING
from recurra.comparison.spelling import parse, typed
from recurra.files import read_json
from recurra.lang import Cell
from recurra.models import Model
from recurra.models.files import CONFIG_NAME
from recurra.models.saving import write_config
from recurra.runs.folder import kinds_of
from recurra.tasks import find
from recurra.training import Task
from recurra.training.settings import RunSettings, TrainingSettings

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What decides between cells, turned so that less is better.

    Attributes:
        name: of the score.
        baseline: the score of remembering nothing; None: it is not known.
        solved: the score down to which there is nothing left to learn; None: there is none.
        figure: the task's figure that the score is made of.
        is_turned: whether more of that figure is better.
    """

    name: str
    baseline: float | None
    solved: float | None
    figure: str
    is_turned: bool

    @classmethod
    def of(cls, task: Task[Any, Any]) -> "Measure":
        """By the first figure of a task: itself, or what is missing from 1."""
        figure = task.figures[0]
        turned = figure.higher_is_better
        name = figure.name if not turned else f"1 - {figure.name}"

        def level(value: float | None) -> float | None:
            return 1.0 - value if turned and value is not None else value

        return cls(
            name="error" if figure.name == "accuracy" else name,
            baseline=level(task.baseline),
            solved=level(task.solved),
            figure=figure.name,
            is_turned=turned,
        )

    def score(self, figures: Mapping[str, Any]) -> float:
        """The score that figures of the task come to."""
        value = float(figures[self.figure])
        return 1.0 - value if self.is_turned else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A task with its data, and what its line says of the model and of training.

    Attributes:
        task: with its data.
        given: the settings of the line.
        digest: of the user's data as they are read; None of a problem, which draws its own.
        folder: where the data lie, for other processes.
    """

    task: Task[Any, Any]
    given: Mapping[str, Any]
    digest: str | None
    folder: Path

    @property
    def measure(self) -> Measure:
        """What decides."""
        return Measure.of(self.task)

    def training(self, **of_trial: Any) -> TrainingSettings:
        """The settings of a trial's training."""
        kind = self.task.training_settings
        quiet = {"sample_length": 0, "log_every": 1000}
        return kind.pick({**TRAINING, **self.given, **quiet, **of_trial})

    def build(self, cell: str | Cell, hidden_size: int, backend: str = "auto") -> Model:
        """A new model with a cell of a size; sizes of the cell's own of which it says nothing are
        half of that.

        Raises:
            ValueError: when there is no such cell, or it cannot have that size.
        """
        of = made(cell)
        own = of.usual_sizes(1, hidden_size)
        sizes = {name: size for name, size in own.items() if name not in of.default_sizes}
        given = {**self.given, "cell": of, "hidden_size": hidden_size, "sizes": sizes or None}
        return self.task.build(self.task.model_settings.pick(given), backend=backend)

    def count_parameters(self, cell: str | Cell, hidden_size: int) -> int:
        """How many numbers such a model trains; ValueError where the cell cannot have that size."""
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return self.build(cell, hidden_size).num_parameters(only_trainable=True)


def subject_of(line: str, folder: Path | None = None) -> Subject:
    """What the line names, its data read, or opened where another process has read them.

    Args:
        line: NAME or NAME:SETTING=VALUE,...
        folder: of a `Subject` of the same line; one that is not there, as on another machine, is
            none.

    Raises:
        ValueError: when there is no such task or setting, or a value is out of its range.
        DataError: when the data cannot be read.
    """
    name, given = parse(line)
    kind = find(name)
    kinds = kinds_of(kind)
    own = typed(name, kinds, given)
    if taken := sorted(OF_TRIALS.intersection(own)):
        raise ValueError(
            f"task: expected settings of {name} that are not those of a trial, got {taken[0]!r}. "
            "Give it beside the task."
        )
    try:
        settings = RunSettings.of(kinds, own)
    except ValueError as error:
        raise ValueError(
            f"task: expected settings that go together, got {line!r}: {error}"
        ) from None
    data = kind.check(settings).data
    if folder is not None and (folder / CONFIG_NAME).exists():
        config = read_json(folder / CONFIG_NAME)
        task = kind.open(folder, config)
        return Subject(task=task, given=own, digest=config["digest"], folder=folder)
    named = [getattr(data, each) for each in data.paths()]
    paths = [p for each in named for p in (each if isinstance(each, tuple) else (each,))]
    files = (p for p in paths if p is not None and p != "-")  # standard input can be read once
    task, digest, kept = _prepared(name, data, tuple(_stamps(files)))
    return Subject(task=task, given=own, digest=digest, folder=kept.path)


@lru_cache(maxsize=2)
def _prepared(
    name: str, data: Any, stamps: tuple[tuple[str, int, int], ...]
) -> tuple[Task[Any, Any], str | None, "_Folder"]:
    """The task of these data, its digest, and the folder that they were encoded into.

    The folder is removed when nobody has it any more. `stamps` tell one state of the files from
    another.
    """
    kept = _Folder()
    folder = kept.path
    task = find(name).prepare(folder, data)
    entries = task.entries()
    digest = _digest(folder, {k: v for k, v in entries.items() if k != "data"})
    own = {**data.to_dict(), **entries.get("data", {})}
    write_config(folder / CONFIG_NAME, {**entries, "data": own, "digest": digest})
    return task, digest, kept


class _Folder:
    """A folder that goes when nobody has it any more."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="recurra-compare-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _stamps(paths: Iterator[str]) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of change of every file."""
    for path in paths:
        for file in sorted([Path(path), *Path(path).rglob("*")]):
            state = file.stat()
            yield os.fspath(file), state.st_size, state.st_mtime_ns


def _digest(folder: Path, entries: Mapping[str, Any]) -> str | None:
    """Of what the data were encoded into, and with what: the same data have the same in any place.

    Headers (.json) are left out: they say where the data came from, and when.
    """
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.suffix != ".json"]
    if not files and not entries:
        return None
    digest = hashlib.sha256(repr(sorted(entries.items())).encode("utf-8", "surrogatepass"))
    for file in files:
        digest.update(f"\n{file.relative_to(folder)}\n".encode())
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()[:16]

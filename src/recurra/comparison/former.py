"""`recurra.data.make_task` of version 0.1: a made-up problem, or what is known of a user's data."""

from dataclasses import dataclass
from typing import Any

import torch

from recurra.comparison.spelling import parse, typed
from recurra.comparison.subjects import subject_of
from recurra.data import LabelledBatch
from recurra.tasks import ClassifyTask
from recurra.tasks.made_up import PROBLEMS, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A task of the user's own data.

    Attributes:
        input_size: features of a step, or the number of tokens.
        output_size: classes, or the number of tokens.
        baseline: the score of the best answer that remembers nothing; less is better.
        solved: the score at which there is nothing left to learn; None: there is none.
        measure: the score's name.
        digest: of the data.
    """

    input_size: int
    output_size: int
    baseline: float | None
    solved: float | None
    measure: str
    digest: str | None
    _task: Any

    def batch(self, size: int, generator: torch.Generator) -> LabelledBatch:
        """Sequences that are trained on, drawn with replacement; of classes alone."""
        examples = self._task.parts["train"]
        chosen = torch.randint(
            len(examples), (size,), generator=generator, dtype=torch.int64, device="cpu"
        )
        return examples.gather(chosen.numpy())


def make_task(text: str) -> Problem | Recorded:
    """The task of that line: "copying:delay=200,symbols=10", "lm:data=input.txt".

    Raises:
        ValueError: when no task has the name, or the task no such setting.
        DataError: when the data cannot be read.
    """
    name, given = parse(text)
    if name in PROBLEMS:
        kind = PROBLEMS[name]
        settings = typed(name, (kind,), given)
        try:
            return kind.pick(settings)
        except ValueError as error:
            raise ValueError(
                f"task: expected settings that go together, got {text!r}: {error}"
            ) from None
    subject = subject_of(text)
    task, measure = subject.task, subject.measure
    input_size, output_size = _sizes(task)
    return Recorded(
        input_size=input_size,
        output_size=output_size,
        baseline=measure.baseline,
        solved=measure.solved,
        measure=measure.name,
        digest=subject.digest,
        _task=task,
    )


def _sizes(task: Any) -> tuple[int, int]:
    """Features or tokens, and classes or tokens."""
    if isinstance(task, ClassifyTask):
        series = task.parts["train"].input_size
        tokens = 0 if task.vocabulary is None else len(task.vocabulary)
        return series or tokens, len(task.labels)
    return len(task.vocabulary), len(task.vocabulary)

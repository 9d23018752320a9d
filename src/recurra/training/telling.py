"""What a run says while it trains: notes and remarks in words, where it stands, samples."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from recurra.errors import argument
from recurra.parallel import ALONE, Ranks
from recurra.training.budget import Budget
from recurra.training.flossing import spelled
from recurra.training.progress import Progress
from recurra.training.step import StepOutcome
from recurra.training.task import Task
from recurra.views import Sample, Status, View

logger = logging.getLogger("recurra")


class Teller:
    """Says what is news of a run to its view and to the log, in rank 0 alone.

    Args:
        view: what shows the run.
        ranks: that train together.
    """

    def __init__(self, view: View, ranks: Ranks = ALONE) -> None:
        self._view, self._ranks = view, ranks

    def note(self, message: str, level: int = logging.INFO) -> None:
        """Say one line."""
        if not self._ranks.is_first:
            return
        # a view that shows it: a warning that no handler of logs takes is printed by Python as well
        is_shown = type(self._view).noted is not View.noted
        logger.log(logging.INFO if is_shown else level, message)
        self._view.noted(message)

    def remark(self, remarks: Iterable[str | None]) -> None:
        """Say at the end what is to be said of the run as a whole; None: nothing."""
        for remark in remarks:
            if remark is not None:
                self.note(remark, logging.WARNING)

    def resumed(self, progress: Progress, batches: int, ends: str, *, is_over: bool) -> None:
        """Say from which step a run goes on, and what ends it; of one that begins, nothing.

        Args:
            progress: where it stands.
            batches: of an epoch.
            ends: when, in words.
            is_over: whether its budget is spent already.
        """
        if progress.step == 0:
            return
        if is_over:
            self.note(
                f"nothing to train: the run is at step {progress.step}, and ends {ends}. "
                f"Give {argument('epochs=')}, {argument('max_steps=')} or "
                f"{argument('max_minutes=')} to go on."
            )
        else:
            epoch = progress.passes(batches)
            self.note(f"resumed at step {progress.step}, epoch {epoch:.2f}; the run ends {ends}")

    def skipped(self, progress: Progress, outcome: StepOutcome) -> None:
        """Say that a step left the weights alone."""
        self.note(
            f"step {progress.step} skipped: loss {outcome.loss:g}, gradient norm "
            f"{outcome.grad_norm:g} ({progress.skipped_in_a_row} in a row)",
            logging.WARNING,
        )

    def undrawn(self, error: Exception) -> None:
        """Say why a run has no figures."""
        said = " ".join(f"{type(error).__name__}: {error}".split())
        self.note(f"no figure was drawn: {said:.300}", logging.WARNING)


class FlossingTold:
    """What is told of the steps of flossing before training: their number, a bar, what came of it.

    Args:
        teller: says it.
        view: shows the bar.
        task: whose figures are written.
        count: of steps.
        clock: seconds, from any start.
    """

    def __init__(
        self,
        teller: Teller,
        view: View,
        task: Task[Any, Any],
        count: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._teller, self._view, self._task = teller, view, task
        self._count, self._clock = count, clock
        self._started = clock()
        self._first = self._last = ""
        if count:  # which takes longer than as many steps of training
            teller.note(f"flossing for {count:,} steps before training")

    def step(self, number: int, exponents: Tensor) -> None:
        """Show that so many steps are done, the last of them at these exponents."""
        if said := spelled(exponents):
            self._first, self._last = self._first or said, said
        elapsed = self._clock() - self._started
        status = Status(
            before="flossing",
            step=number,
            total_steps=self._count,
            epoch=0.0,
            fraction=number / self._count,
            train={},
            val={},
            figures=self._task.figures,
            counted=self._task.counted,
            per_s=None,
            lr=0.0,
            grad_norm=None,
            skipped=0,
            elapsed_s=elapsed,
            seconds_left=elapsed / number * (self._count - number),
        )
        self._view.progressed(status)

    def done(self) -> None:
        """Say what the exponents were, and what they are."""
        if self._first:
            self._teller.note(f"flossed: exponents from {self._first} to {self._last} nats a step")


def status_of(
    task: Task[Any, Any],
    progress: Progress,
    budget: Budget,
    batches: int,
    *,
    fraction: float,
    lr: float,
) -> Status:
    """Where a run stands, with what its steps since the last row were like.

    Args:
        task: whose figures are written.
        progress: of the run.
        budget: of the run.
        batches: of an epoch.
        fraction: of the budget that is spent.
        lr: the learning rate.
    """
    interval = progress.interval
    loss = interval.mean_loss
    return Status(
        step=progress.step,
        total_steps=budget.total_steps,
        epoch=progress.passes(batches),
        fraction=fraction,
        train={} if loss is None else task.training_figures(loss),
        val=progress.val,
        figures=task.figures,
        counted=task.counted,
        per_s=interval.per_s,
        lr=lr,
        grad_norm=interval.mean_grad_norm,
        largest_grad_norm=interval.largest_norm if interval.steps else None,
        clipped=interval.clipped_share,
        skipped=progress.skipped,
        elapsed_s=progress.elapsed_s,
        seconds_left=budget.seconds_left(progress.step, progress.elapsed_s),
    )


def sample_of(
    task: Task[Any, Any], progress: Progress, fraction: float, epoch: float, drawn: tuple[str, str]
) -> Sample:
    """What a model made, with how good it was then.

    Args:
        task: whose first figure says how good.
        progress: of the run.
        fraction: share of the run at which it was due.
        epoch: passes over the training data.
        drawn: what it made, and how.
    """
    text, how = drawn
    name = task.figures[0].name
    value = progress.val.get(name)
    known = "not yet known" if value is None else f"{value:.4f}"
    about = f"{how}, validation {name} {known}"
    return Sample(fraction=fraction, step=progress.step, epoch=epoch, about=about, text=text)

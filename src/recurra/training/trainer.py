"""The loop: steps, validations, samples and checkpoints, each when it is due, for any task.

It works without a folder, in a notebook, a test or a comparison; a `Logbook` keeps what it tells
where there is one. Whoever wants to look or to stop it has `Hook`.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic

import torch
from torch import Tensor

from recurra.data.source import at_share
from recurra.errors import RunError, argument
from recurra.interrupts import held_interrupts, stopped_by
from recurra.nn.plain import evaluating
from recurra.parallel import ALONE, Ranks
from recurra.training import step as stepping
from recurra.training.averaging import WeightAverage
from recurra.training.budget import Budget, EvaluationPlan, due_milestone
from recurra.training.hooks import Hook, Logbook
from recurra.training.machine import (
    build_fabric,
    derived_seed,
    generators_kept,
    random_states,
    repeatable,
    restore_random_states,
)
from recurra.training.optimization import (
    Schedule,
    load_optimizer_tensors,
    optimizer_tensors,
)
from recurra.training.progress import Checkpoint, Interval, Progress
from recurra.training.settings import TrainingSettings
from recurra.training.step import MAX_SKIPPED_IN_A_ROW, StepOutcome, Stepper, stopped_learning
from recurra.training.task import BatchT, ModelT, Moment, Task, is_better
from recurra.training.telling import FlossingTold, Teller, sample_of, status_of
from recurra.views import Sample, SilentView, Status, View, showing_builds

CHECKPOINT_EVERY_S = 30.0
SHOW_EVERY_S = 0.25  # what a view draws; metrics.csv has its rows by steps
CHECKPOINT_SHARE = 0.05  # of the time, at most, goes into checkpoints
WORSE_THAN_CHANCE = 10.0  # times the loss of a guess: such weights ran away


class Trainer(Generic[ModelT, BatchT]):
    """Trains a model on a task.

    Args:
        task: the data and the loss.
        model: trained in place; moved to the device that `settings` name.
        settings: how to train.
        logbook: what keeps the run; None: nothing, and `fit` leaves the best weights in the model.
        view: what shows the run.
        hooks: told what is done, in rank 0.
        clock: seconds, from any start.
        ranks: the processes that train together, each with a trainer.
        plan: when to validate; None: as the settings say.
        counts_steps_alone: whether the time of a run is that of its steps alone, without
            validations and what is shown and written.
    Raises:
        DataError: when the data are too few for one batch.
        RunError: when this machine lacks the device.
    """

    def __init__(
        self,
        task: Task[ModelT, BatchT],
        model: ModelT,
        settings: TrainingSettings,
        *,
        logbook: Logbook | None = None,
        view: View | None = None,
        hooks: Sequence[Hook] = (),
        clock: Callable[[], float] = time.monotonic,
        ranks: Ranks = ALONE,
        plan: EvaluationPlan | None = None,
        counts_steps_alone: bool = False,
    ) -> None:
        if settings.devices != ranks.world_size:
            raise ValueError(
                f"devices: expected 1 where no run is started, got {settings.devices}. "
                "Use recurra.train for more."
            )
        self.task, self.model, self.settings, self.ranks = task, model, settings, ranks
        task.training = settings
        task.tune(model)
        self.source = task.source("train", settings)
        if ranks.world_size > 1:
            self.source = self.source.shard(ranks.rank, ranks.world_size)
        self.progress = Progress()
        self.samples: list[Sample] = []
        self.view = view or SilentView()
        self._teller = Teller(self.view, ranks)
        self.logbook = logbook
        self.criterion = task.figures[0]
        self.about = ""  # one line that the view says first
        self.budget = Budget.of(settings, len(self.source))
        self._hooks, self._clock = hooks if ranks.is_first else (), clock
        val_cost, step_cost = task.validation_cost(settings)
        self._counts_steps_alone = counts_steps_alone
        self._plan = plan or EvaluationPlan.of(
            settings, self.budget, step_cost=step_cost, val_cost=val_cost
        )
        self._schedule = Schedule(settings)
        self._stepper = Stepper(task, model, settings, build_fabric(settings, ranks), ranks)
        self.device = self._stepper.device  # where the model is
        self._average = WeightAverage(model, settings.average) if settings.average else None
        self.stopped: str | None = None  # why, where it was before the budget was spent
        self._fraction = 0.0
        self._lr = 0.0
        self._best: dict[str, Tensor] | None = None  # without a logbook
        self._save_due: float = False
        self._saved_step = 0
        self._saved_at = 0.0
        self._save_cost_s = 0.0

    # ---- what others may ask and do --------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self.budget.fraction(self.progress.step, self.progress.elapsed_s) >= 1.0

    def stop(self, reason: str) -> None:
        """End the run as if its budget were spent, once the present step is done with."""
        self.stopped = reason

    def fit(self) -> Progress:
        """Train to the end of the budget, from the start or from what `restore` was given.

        The global generators and their seeds are as before afterwards.

        Raises:
            RunError: when ten steps in a row are not finite, or no validation is.
            KeyboardInterrupt: after Ctrl-C, once the step is finished and the checkpoint written.
            Terminated: after SIGTERM or SIGHUP, likewise.
        """
        with (
            generators_kept(self.device),
            repeatable(self.device),
            torch.enable_grad(),
            self.view,
        ):
            if self.progress.step == 0 and self.logbook is None:
                self.seed()
            with showing_builds(self.view):
                self._run()
                self._remark()
            if self._best is not None:
                self.model.load_state_dict(self._best)
        if self.progress.best is None:
            raise RunError(
                f"{self.task.name}: expected a finite validation {self.criterion.name}, got none "
                f"in the whole run. Start again with a lower {argument('lr=')} or a smaller "
                f"{argument('clip_norm=')}."
            )
        return self.progress

    def _remark(self) -> None:
        """Say what the task has to say of the best validation figures, and what was not flossed."""
        best, flosser = self.progress.best_val, self._stepper.flosser
        self._teller.remark(
            [
                self.task.remark(best) if self.ranks.is_first and best else None,
                None if flosser is None else flosser.remark,
            ]
        )

    def seed(self) -> None:
        """Start the generators that dropout draws from where a run starts them."""
        torch.manual_seed(derived_seed(self.settings.seed, self._own("dropout")))

    def _own(self, name: str) -> str:
        """The name of what each rank has for itself."""
        return name if self.ranks.is_first else f"{name}-{self.ranks.rank}"

    def checkpoint(self, ranks: Ranks | None = None) -> Checkpoint:
        """Everything that training goes on from, for rank 0 to keep; all ranks ask for it together.

        Args:
            ranks: those that have something of their own to keep; None: all.
        """
        own = {
            self._own("carried"): stepping.to_tensors(self._stepper.state),
            self._own("random"): random_states(self.device),
        }
        groups = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self._stepper.optimizer, self.model),
        }
        if clipping := self._stepper.clipper.tensors():
            groups["clipping"] = clipping
        if self._average is not None:
            groups["average"] = self._average.tensors()
        for each in (ranks or self.ranks).gather(own):
            groups |= each
        record = {
            "progress": self.progress.to_dict(),
            "index": self._stepper.index,
            "schedule": self._schedule.state(),
        }
        return Checkpoint.of(groups, record)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put everything back as a checkpoint has it; `fit` goes on from there.

        Raises:
            Exception: of Python's own kinds, when it is not one of this run.
        """
        weights = checkpoint.group("model")
        progress = Progress.from_dict(checkpoint.record["progress"])
        if progress.index >= len(self.source):
            raise ValueError(f"batch {progress.index} of {len(self.source)}")
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            raise ValueError("weights that are not finite")
        self.model.load_state_dict(weights, strict=False)  # of tied weights one may be there
        if self._average is not None:
            self._average.load(checkpoint.group("average"))
        memory = checkpoint.group("optimizer")
        load_optimizer_tensors(self._stepper.optimizer, self.model, memory)
        self._stepper.clipper.load(checkpoint.group("clipping"))
        self._stepper.state = stepping.from_tensors(
            checkpoint.group(self._own("carried")), self.device, self._expected_state()
        )
        self._stepper.index = int(checkpoint.record.get("index", 0))
        if self.ranks.is_first or progress.step > 0:
            restore_random_states(checkpoint.group(self._own("random")), self.device)
        else:
            self.seed()  # a run is begun by rank 0 alone
        self._schedule.restore(checkpoint.record["schedule"])
        self.progress = progress
        if not self.is_over:
            # The run may have been over and be extended: its end is still to come.
            progress.sampled = [share for share in progress.sampled if share < 1.0]
        self._saved_step = progress.step

    def _expected_state(self) -> Any:
        """A state as the model makes it for a batch, to compare with; None where it cannot say."""
        make = getattr(self.model, "initial_state", None)
        return None if make is None else make(self.settings.batch_size // self.ranks.world_size)

    # ---- the loop --------------------------------------------------------------------------------

    def _run(self) -> None:
        self._start_clock()
        self._update_fraction()
        if self.about:
            self.view.noted(self.about)
        ends = self.budget.describe(self.progress.elapsed_s)
        is_over = self._fraction >= 1.0
        self._teller.resumed(self.progress, len(self.source), ends, is_over=is_over)
        with held_interrupts() as interrupted:
            if self.progress.step == 0:
                self._floss(interrupted)
                self._validate_untrained()
                self._sample_if_due()
            while self._fraction < 1.0:
                if self.logbook is not None:
                    self.logbook.check()
                outcome = self._step()
                self._after(outcome)
                signum = int(self._decided(interrupted() or 0)[0])
                if signum and self._fraction < 1.0:
                    self._stop_early(signum)
            if self.progress.best is None:  # resumed with a budget that was spent already
                self._validate()
                self._save()

    def _floss(self, interrupted: Callable[[], int | None]) -> None:
        """Floss alone, before the first step; a run that is stopped meanwhile starts over."""
        count = self.settings.floss_before if self._stepper.flosser else 0
        told = FlossingTold(self._teller, self.view, self.task, count, self._clock)
        for number in range(count):
            moment = Moment(seed=derived_seed(self.settings.seed, f"floss {number}"))
            batch = self.source.batch(0, number % len(self.source))
            told.step(number + 1, self._stepper.floss(batch, moment))
            if signum := int(self._decided(interrupted() or 0)[0]):
                raise stopped_by(signum)
        if count and self._average is not None:  # of weights that were never trained
            self._average = WeightAverage(self.model, self.settings.average)
        told.done()

    def _decided(self, *numbers: float | int) -> list[float]:
        """The numbers that rank 0 has: what clock, hooks and signals say is its to say, for all."""
        return self.ranks.sum(*(number if self.ranks.is_first else 0.0 for number in numbers))

    def _start_clock(self) -> None:
        now = self._clock()
        self._started = now
        self._elapsed_before = self.progress.elapsed_s
        self._saved_at = now
        self._shown_at = -math.inf  # the first step is shown as soon as it is taken

    def _elapsed(self) -> float:
        return self._elapsed_before + self._clock() - self._started

    def _update_fraction(self) -> None:
        self._fraction = self.budget.fraction(self.progress.step, self.progress.elapsed_s)
        if self.stopped is not None:
            self._fraction = 1.0

    def _moment(self, purpose: str = "step") -> Moment:
        progress = self.progress
        return Moment(
            step=progress.step,
            epoch=progress.passes(len(self.source)),
            fraction=self._fraction,
            index=0 if self._stepper.state is None else self._stepper.index,
            seed=derived_seed(self.settings.seed, f"{purpose} {progress.step}"),
        )

    def _step(self) -> StepOutcome:
        """Train on the next batch."""
        progress, started = self.progress, self._clock()
        if progress.index == 0:
            self._stepper.state = None
        batch = at_share(self.source, self._fraction).batch(progress.epoch, progress.index)
        self._lr = self._schedule.learning_rate(progress.step, self._fraction)
        outcome = self._stepper(batch, self._lr, self._moment())
        progress.count(outcome, len(self.source))
        if self._average is not None and not outcome.skipped:
            self._average.update(progress.step)
        spent = self._clock() - started
        progress.interval.add(outcome, spent)
        if self._counts_steps_alone:
            progress.elapsed_s += spent
        else:
            progress.elapsed_s = self._elapsed()
        for hook in self._hooks:
            hook.stepped(self, outcome)
        progress.elapsed_s, self._save_due, stopped = self._decided(
            progress.elapsed_s, self._checkpoint_due(), self.stopped is not None
        )
        self._stop_all(bool(stopped))
        return outcome

    def _stop_all(self, stopped: bool) -> None:
        """Where a hook has stopped rank 0, all ranks stop."""
        if stopped and not self.ranks.is_first:
            self.stopped = "rank 0 stopped"
        self._update_fraction()

    def _after(self, outcome: StepOutcome) -> None:
        """Report, validate, sample and save, each when it is due."""
        progress = self.progress
        if outcome.skipped and self.stopped is None:
            self._report_skip(outcome)
        improved = False
        validated = self._validation_due()
        if validated:
            improved = self._validate()
        if validated or progress.step % self.settings.log_every == 0:
            self._write_row(validated=validated)
        elif self._clock() - self._shown_at >= SHOW_EVERY_S:
            self._show(self.status())
        self._sample_if_due()
        if improved or self._fraction >= 1.0 or self._save_due:
            self._save()
        if self._fraction >= 1.0:
            self._keep_figures()

    def _report_skip(self, outcome: StepOutcome) -> None:
        progress = self.progress
        self._teller.skipped(progress, outcome)
        if progress.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise stopped_learning(progress.skipped_in_a_row, self._saved_step, self._lr)

    # ---- validation ------------------------------------------------------------------------------

    def _validation_due(self) -> bool:
        progress = self.progress
        return self._fraction >= 1.0 or self._plan.due(
            steps=progress.step - progress.val_step,
            seconds=progress.elapsed_s - progress.val_elapsed_s,
            last_cost_s=progress.val_cost_s,
            fraction=self._fraction,
            last_fraction=self.budget.fraction(progress.val_step, progress.val_elapsed_s),
        )

    def _kept(self) -> AbstractContextManager[None]:
        """The model has the weights within that are kept: the average, where there is one."""
        return nullcontext() if self._average is None else self._average.in_place()

    def _validate_untrained(self) -> None:
        """Validate before the first step, where the plan has it so or such a model counts."""
        (counts,) = self._decided(self.task.counts_untrained(self.model))
        if not (counts or self._plan.at_start):
            return
        # one that a killed run had kept comes again, as the run does
        self.progress.best = self.progress.best_step = None
        self._validate()
        if counts:
            self._write_row(validated=True)

    def _validate(self) -> bool:
        """Measure the validation figures; keep the weights when the first is the best so far."""
        with self._kept():
            return self._measure()

    def _measure(self) -> bool:
        progress, started = self.progress, self._clock()
        figures: dict[str, float] = {}
        surpasses = True
        if self.ranks.is_first:
            # As the model will be loaded: in its own precision, not that of training.
            with torch.no_grad(), evaluating(self.model):
                figures = self.task.validate(self.model, self.device)
            surpasses = self.task.surpasses
        told = figures, surpasses, self._clock() - started
        figures, surpasses, progress.val_cost_s = self.ranks.broadcast(told)
        value = figures[self.criterion.name]
        progress.val_step, progress.val_elapsed_s = progress.step, progress.elapsed_s
        improved = self._judge(value, figures, surpasses=surpasses)
        for hook in self._hooks:
            hook.validated(self, figures)
        self._stop_all(bool(self._decided(self.stopped is not None)[0]))
        return improved

    def _judge(self, value: float, figures: Mapping[str, float], *, surpasses: bool) -> bool:
        """Keep the weights when they are the best so far; stop when none were for too long.

        Untrained ones are kept until others surpass them.
        """
        progress = self.progress
        if not math.isfinite(value):
            progress.val = {}
            self.view.noted(f"step {progress.step}: validation {self.criterion.name} {value:g}")
            return False
        progress.val = dict(figures)
        if self._schedule.validated(-value if self.criterion.higher_is_better else value):
            self.view.noted(f"step {progress.step}: no better, learning rate halved")
        improved, best_step = is_better(self.criterion, value, progress.best), progress.best_step
        kept = improved or (self.criterion.is_discrete and value == progress.best)
        if best_step == 0 and progress.step > 0 and not surpasses:
            kept = False
        progress.waited = 0 if improved else progress.waited + 1
        if kept:
            progress.best, progress.best_step = value, progress.step
            progress.best_val = dict(figures)
            self._keep_model()
        if not improved:
            patience = self.settings.patience
            if patience is not None and progress.waited >= patience and self._fraction < 1.0:
                self.stop(f"{patience} validations were no better than that of step {best_step}")
                self._teller.note(f"step {progress.step}: stopped early: {self.stopped}")
        return kept

    def _keep_model(self) -> None:
        """Keep the weights, and with them how good they are and when."""
        if self.logbook is None:
            self._best = copy.deepcopy(self.model.state_dict())
            return
        best, step = self.progress.best, self.progress.best_step
        known = {f"val_{self.criterion.name}": repr(best), "step": str(step)}
        self.logbook.keep_model({} if best is None else known)

    # ---- what is told ----------------------------------------------------------------------------

    def _write_row(self, *, validated: bool) -> None:
        status = self.status()
        if self.logbook is not None:
            self.logbook.row(status, validated=validated)
        self._show(status)
        self.progress.interval = Interval()

    def _show(self, status: Status) -> None:
        self.view.progressed(status)
        self._shown_at = self._clock()

    def status(self) -> Status:
        """Where the run stands."""
        how = {"fraction": self._fraction, "lr": self._lr}
        return status_of(self.task, self.progress, self.budget, len(self.source), **how)

    def _sample_if_due(self) -> None:
        progress = self.progress
        milestone = due_milestone(self._fraction, progress.sampled)
        if milestone is None or not self.ranks.is_first:
            return
        moment = self._moment("sample")
        with self._kept():
            drawn = self.task.preview(self.model, moment, self.settings)
        if drawn is None:
            return
        sample = sample_of(self.task, progress, milestone, moment.epoch, drawn)
        progress.sampled.append(milestone)
        self.samples.append(sample)
        if self.logbook is not None:
            self.logbook.sample(sample)
        self.view.sampled(sample)

    def _keep_figures(self) -> None:
        """Draw what there is to see of the last weights, once they are saved: an error in that, as
        of a library that does not work here, costs the figures alone."""
        if self.logbook is None:
            return
        drawn: Sequence[Any] = ()
        if self.ranks.is_first and self.logbook.draws:
            try:
                with self._kept():
                    drawn = self.task.insights(self.model, brief=True)
                for figure in drawn:
                    self.logbook.figure(figure, self.progress.step)
            except Exception as error:
                drawn = ()
                self._teller.undrawn(error)
        (is_drawn,) = self._decided(bool(drawn))
        if is_drawn and self._saved_step == self.progress.step:
            try:
                self._keep_checkpoint()  # one that knows how long the logs are with the figures
            except RunError as error:  # the one before has the same weights
                self._teller.note(f"the figures are not kept: {error}", logging.WARNING)

    # ---- checkpoints -----------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        if self.settings.checkpoint_every is not None:
            return self.progress.step % self.settings.checkpoint_every == 0
        pause = max(CHECKPOINT_EVERY_S, self._save_cost_s / CHECKPOINT_SHARE)
        return self._clock() - self._saved_at >= pause

    def _save(self) -> None:
        """Write the checkpoint, unless the weights ran away: then the one before is worth more."""
        if self.logbook is None:
            return
        started = self._clock()
        (loss,) = self._decided(self._stepper.present_loss)
        bound = WORSE_THAN_CHANCE * max(1.0, self.task.chance)
        if self.progress.step > 0 and not (math.isfinite(loss) and loss <= bound):
            self._saved_at = started
            self._teller.note(
                f"step {self.progress.step}: the weights have a loss of {loss:.3g}; the checkpoint "
                f"of step {self._saved_step} is kept instead",
                logging.WARNING,
            )
            return
        self.progress.elapsed_s = self._elapsed()
        self._keep_checkpoint()
        self._saved_step = self.progress.step
        self._saved_at = self._clock()
        self._save_cost_s = self._saved_at - started
        for hook in self._hooks:
            hook.saved(self)

    def _keep_checkpoint(self) -> None:
        if self.logbook is not None:
            self.logbook.keep_checkpoint(self.checkpoint())

    def _stop_early(self, signum: int) -> None:
        """Keep what a signal to end would lose, then let it through."""
        if self.progress.best is None:
            with self._kept():
                self._keep_model()
        self._save()
        if self.progress.interval.steps:
            self._show(self.status())
        raise stopped_by(signum)

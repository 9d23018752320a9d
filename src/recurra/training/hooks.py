"""What is told what a trainer does: what keeps a run, and whoever wants to look or to stop it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recurra.training.progress import Checkpoint
from recurra.training.step import StepOutcome
from recurra.views import Sample, Status

if TYPE_CHECKING:
    from recurra.training.trainer import Trainer


class Logbook:
    """What keeps a run on the disk; this one keeps nothing, as in all ranks but the first."""

    def check(self) -> None:
        """Called before each step; raises when what it writes to is no longer there."""

    def row(self, status: Status, *, validated: bool) -> None:
        """Called every few steps and after each validation."""

    def sample(self, sample: Sample) -> None:
        """Called with each sample."""

    @property
    def draws(self) -> bool:
        """Whether it keeps figures."""
        return False

    def figure(self, figure: Any, step: int) -> None:
        """Called at the end with each figure of the task, see `Task.insights`."""

    def keep_model(self, note: Mapping[str, str]) -> None:
        """Called when the model is the best so far."""

    def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Called with all that training goes on from."""


class Hook:
    """Told what the trainer does, and may stop it; does nothing by itself."""

    def stepped(self, trainer: "Trainer[Any, Any]", outcome: StepOutcome) -> None:
        """Called after each step, before what is due at it."""

    def validated(self, trainer: "Trainer[Any, Any]", figures: Mapping[str, float]) -> None:
        """Called after each validation."""

    def saved(self, trainer: "Trainer[Any, Any]") -> None:
        """Called after each checkpoint."""

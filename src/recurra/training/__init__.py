"""Training: one loop for every task, and its settings; it knows no folder, which runs have.

Names are loaded when they are first used: the command line reads settings without waiting for
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.runs import Run, TrainingResult, load_checkpoint, save_checkpoint
    from recurra.terminal import printable
    from recurra.training.clipping import clip_gradients
    from recurra.training.hooks import Hook, Logbook
    from recurra.training.optimization import Schedule, build_optimizer
    from recurra.training.progress import Checkpoint, Progress
    from recurra.training.settings import RunSettings, TrainingSettings
    from recurra.training.step import StepOutcome
    from recurra.training.task import Description, Loss, Moment, Task
    from recurra.training.trainer import Trainer
    from recurra.views import (
        Figure,
        LiveView,
        PlainView,
        Sample,
        SilentView,
        Status,
        View,
        view_for,
    )

__all__ = [
    "Checkpoint",
    "Description",
    "Figure",
    "Hook",
    "LiveView",
    "Logbook",
    "Loss",
    "Moment",
    "PlainView",
    "Progress",
    "Run",
    "RunSettings",
    "Sample",
    "Schedule",
    "SilentView",
    "Status",
    "StepOutcome",
    "Task",
    "Trainer",
    "TrainingResult",
    "TrainingSettings",
    "View",
    "build_optimizer",
    "clip_gradients",
    "load_checkpoint",
    "printable",
    "save_checkpoint",
    "view_for",
]

_HOMES = {
    "recurra.terminal": ("printable",),
    "recurra.training.optimization": ("Schedule", "build_optimizer"),
    "recurra.training.progress": ("Checkpoint", "Progress"),
    "recurra.training.settings": ("RunSettings", "TrainingSettings"),
    "recurra.training.clipping": ("clip_gradients",),
    "recurra.training.step": ("StepOutcome",),
    "recurra.training.task": ("Description", "Loss", "Moment", "Task"),
    "recurra.training.hooks": ("Hook", "Logbook"),
    "recurra.training.trainer": ("Trainer",),
    "recurra.views": (
        *("Figure", "LiveView", "PlainView", "Sample", "SilentView", "Status", "View", "view_for"),
    ),
    # names of version 0.1 that stand higher up now
    "recurra.runs": ("Run", "TrainingResult", "load_checkpoint", "save_checkpoint"),
    "recurra.tasks.former": (
        *("LanguageTrainer", "TrainingConfig", "evaluate", "evaluate_run", "load_run"),
        *("train_language_model",),
    ),
    "recurra.comparison": ("Outcome", "Point", "Trial", "run_trial"),
}
_HOME_OF = {name: home for home, its_names in _HOMES.items() for name in its_names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name, the first time that it is asked for."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME_OF[name]), name)
        return globals().setdefault(name, value)

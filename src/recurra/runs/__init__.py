"""Runs: folders in which models are trained, that say everything needed to go on or to be used."""

from recurra.runs.checkpoints import load_checkpoint, save_checkpoint
from recurra.runs.fitting import TrainingResult
from recurra.runs.run import Run
from recurra.runs.starting import ViewMaker, go_on, rehearse, start

__all__ = [
    "Run",
    "TrainingResult",
    "ViewMaker",
    "go_on",
    "load_checkpoint",
    "rehearse",
    "save_checkpoint",
    "start",
]

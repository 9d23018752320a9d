"""Training: the loop, truncated BPTT, optimizers, schedules, clipping, checkpoints, evaluation."""

from recurra.terminal import printable
from recurra.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from recurra.training.clipping import clip_gradients
from recurra.training.comparison import (
    Results,
    Summary,
    plan_trials,
    run_on_ray,
    run_trials,
    summarise,
)
from recurra.training.config import TrainingConfig
from recurra.training.evaluation import evaluate
from recurra.training.language import LanguageTrainer, TrainingResult
from recurra.training.optimizers import build_optimizer
from recurra.training.runs import Run, evaluate_run, load_run, train_language_model
from recurra.training.schedules import Schedule
from recurra.training.settings import LanguageSettings, ModelSettings
from recurra.training.text import Text, TextSettings, describe_default_text
from recurra.training.trials import Outcome, Point, Progress, Trial, run_trial
from recurra.training.view import LiveView, PlainView, SilentView, View, view_for

__all__ = [
    "Checkpoint",
    "LanguageSettings",
    "LanguageTrainer",
    "LiveView",
    "ModelSettings",
    "Outcome",
    "PlainView",
    "Point",
    "Progress",
    "Results",
    "Run",
    "Schedule",
    "SilentView",
    "Summary",
    "Text",
    "TextSettings",
    "TrainingConfig",
    "TrainingResult",
    "Trial",
    "View",
    "build_optimizer",
    "clip_gradients",
    "describe_default_text",
    "evaluate",
    "evaluate_run",
    "load_checkpoint",
    "load_run",
    "plan_trials",
    "printable",
    "run_on_ray",
    "run_trial",
    "run_trials",
    "save_checkpoint",
    "summarise",
    "train_language_model",
    "view_for",
]

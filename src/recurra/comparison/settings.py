"""The settings of a comparison, whatever it is on; they wait for no library."""

from dataclasses import dataclass

from recurra.settings import (
    MAX_SIZE,
    MAX_THREADS,
    Settings,
    positive,
    positive_float32,
    setting,
)
from recurra.training.settings import BUDGET, LEARNING, MACHINE

MODEL = "Model"
MAX_SEEDS, MAX_JOBS = 10_000, 1024

# The settings of a task that a comparison has in its own hands.
OF_TRIALS = frozenset(
    (
        *("cell", "hidden_size", "sizes", "init"),
        *("lr", "batch_size", "clip_norm", "clip_value", "clip_group_norm", "clip_percentile"),
        *("clip_window", "seed"),
        *("epochs", "max_steps", "max_minutes", "patience", "threads", "devices", "backend"),
        *("eval_every", "log_every", "checkpoint_every"),
        *("sample_length", "sample_temperature", "prime"),
    )
)
# How a trial is trained where its task's line does not say otherwise.
TRAINING = {"optimizer": "adam", "schedule": "constant", "warmup_steps": 0, "device": "cpu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSettings(Settings):
    """Which cells are compared, and how each of their trials is trained."""

    cells: str = setting(
        "rnn,lstm,gru,mut1",
        "Cells with commas between, as they are spelled everywhere: names, see recurra cells; "
        "zoneout(lstm, 0.1); file.py:name; and behind one how parameters start, "
        "lstm:b_f=chrono400:b_i=-b_f.",
        MODEL,
    )
    hidden_size: int = setting(
        128, "Units of an LSTM; each cell gets as many parameters as that.", MODEL, most=MAX_SIZE
    )
    equal_units: bool = setting(
        False, "Give every cell --hidden-size units instead.", MODEL, flags="--equal-units"
    )
    seeds: int = setting(3, "Trials of each cell.", BUDGET, most=MAX_SEEDS)
    max_steps: int | None = setting(None, "Steps of each trial.", BUDGET, unset="no limit")
    max_minutes: float | None = setting(
        None, "Minutes of training of each trial.", BUDGET, check=positive, unset="5, or none"
    )
    lr: float = setting(1e-3, "Learning rate.", LEARNING, check=positive_float32)
    lrs: str | None = setting(
        None, "Learning rates of some of the cells: lstm=0.003,gru=0.001.", LEARNING, unset="--lr"
    )
    search_lr: bool = setting(
        False,
        "First try five rates about --lr with each cell, on trials of a fifth of the budget, and "
        "take the one that is best on the validation part.",
        LEARNING,
        flags="--search-lr",
    )
    batch_size: int = setting(64, "Sequences in a step.", LEARNING, most=MAX_SIZE)
    clip: float = setting(1.0, "Largest norm of the gradients.", LEARNING, check=positive_float32)
    jobs: int | None = setting(
        None,
        "Processes at once.",
        MACHINE,
        most=MAX_JOBS,
        unset="one for each CPU, or for as many as a trial has threads",
    )
    threads: int | None = setting(
        None,
        "CPU threads of each trial.",
        MACHINE,
        most=MAX_THREADS,
        unset="the CPUs shared out among the processes; 1 on Ray",
    )
    ray: str | None = setting(
        None,
        "Run on the Ray cluster of this address; local starts one here.",
        MACHINE,
        unset="processes here",
        is_path=True,
    )

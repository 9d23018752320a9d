"""Plans: which cells, of which sizes, from which seeds and at which learning rates."""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from recurra.comparison.cells import digest_of, entered, made
from recurra.comparison.settings import MAX_SEEDS
from recurra.comparison.spelling import renewed
from recurra.comparison.subjects import Subject, subject_of
from recurra.comparison.trials import Outcome, Trial
from recurra.errors import CellError, RunError
from recurra.lang import Cell
from recurra.settings import positive_float32, whole

_MOST_PARAMETERS = 2**31
_MOST_UNITS = 8192
_HEADS = 16  # of a cell, at most: one of so many sizes in a row can be divided by them

# A search for a learning rate: times the rate that is given, on trials of a part of the budget.
RATES = (0.1, 0.32, 1.0, 3.2, 10.0)
PROBE_SHARE = 0.2
_PROBE_SEED = MAX_SEEDS  # which no trial has that is compared


def plan_trials(
    task: str,
    cells: Sequence[str | Cell],
    *,
    seeds: int = 3,
    hidden_size: int = 128,
    equal_parameters: bool = True,
    lrs: Mapping[Any, float] | None = None,
    **budget: Any,
) -> list[Trial]:
    """The trials of a comparison: each cell from each seed.

    Args:
        task: as `Trial` has it, or as version 0.1 had it: "text:path=input.txt".
        cells: as they are spelled, "gru", "lstm:b_f=chrono400", "zoneout(lstm, 0.1)", or Cell
            objects.
        seeds: how many of each.
        hidden_size: of every cell; with equal_parameters of an LSTM, and each cell gets the size
            with which it has as many parameters as that.
        equal_parameters: compare at equal parameters, not at equal units.
        lrs: learning rates of some of the cells, by what was given of them; the others have `lr`.
        budget: the other settings of `Trial`.

    Raises:
        ValueError: when there is no such task or cell, or a number is out of its range.
        CellError: when the equations of a cell of the user's own are wrong.
        DataError: when the task's data cannot be read.
    """
    whole("seeds", seeds, least=1, most=MAX_SEEDS)
    task = renewed(task)
    Trial(task=task, cell="", hidden_size=hidden_size, **budget)  # the numbers, before the data
    if not cells:
        raise ValueError("cells: expected one or more names, got none. Name some, as in gru.")
    known = _named(cells)  # before any data
    rates = _checked_rates(known, lrs or {})
    subject = subject_of(task)
    count = subject.count_parameters("lstm", hidden_size)
    if count > _MOST_PARAMETERS:
        raise ValueError(
            f"hidden_size: expected an LSTM of at most {_MOST_PARAMETERS:,} parameters, got "
            f"{hidden_size:,} units, which have {count:,}. Give fewer."
        )
    for cell in known.values():
        _possible(subject, cell, hidden_size)  # a rule that does not fit is known now
    sizes = {
        name: hidden_size_for(subject, cell, count) if equal_parameters else hidden_size
        for name, cell in known.items()
    }
    for name, size in sizes.items():
        subject.count_parameters(known[name], size)
    return [
        Trial(
            task=task,
            cell=name if name in cells else cell,
            hidden_size=sizes[name],
            seed=seed,
            data=subject.digest,
            equations=digest_of(cell),
            **{**budget, **({"lr": rates[name]} if name in rates else {})},
        )
        for seed in range(seeds)
        for name, cell in known.items()
    ]


def _name(cell: str | Cell) -> str:
    """What a cell is called in a comparison."""
    return entered(cell)[0] if isinstance(cell, Cell) else cell


def _named(cells: Sequence[str | Cell]) -> dict[str, Cell]:
    """The cells by what they are called; one that is given twice is there once.

    Raises:
        ValueError: when there is no such cell, or two are called the same.
    """
    found: dict[str, Cell] = {}
    for each in cells:
        try:
            name, cell = _name(each), made(each)
        except ValueError as error:
            if isinstance(error, CellError):  # which points at the user's own line
                raise
            raise ValueError(f"cells: {str(error).partition(': ')[2]}") from None
        if name in found and digest_of(found[name]) != digest_of(cell):
            raise ValueError(
                f"cells: expected cells with names of their own, got two called {name}. Spell "
                "them, as in zoneout(lstm, 0.1), or give one another name."
            )
        found.setdefault(name, cell)
    return found


def _checked_rates(known: Mapping[str, Cell], lrs: Mapping[Any, float]) -> dict[str, float]:
    rates = {_name(cell): rate for cell, rate in lrs.items()}
    for name, rate in rates.items():
        positive_float32("lrs", rate)
        if name not in known:
            raise ValueError(
                f"lrs: expected rates of the cells that are compared, {', '.join(known)}, got one "
                f"of {name}. Spell it as it is spelled there."
            )
    return rates


def hidden_size_for(subject: Subject, cell: str | Cell, parameters: int) -> int:
    """The hidden size with which a cell has the number of parameters nearest to that given."""

    def at_least(size: int) -> int:
        return _possible(subject, cell, size)[0]

    first = bisect.bisect_left(range(_MOST_UNITS), parameters, lo=1, key=at_least)
    found = {_possible(subject, cell, size) for size in range(max(1, first - _HEADS), first + 1)}
    return min(found, key=lambda each: (abs(each[0] - parameters), each[1]))[1]


def _possible(subject: Subject, cell: str | Cell, size: int) -> tuple[int, int]:
    """The parameters of the first size from there on that the cell can have, and that size.

    Raises:
        ValueError: when there is none near.
    """
    refused: ValueError | None = None
    for possible in range(size, size + _HEADS):
        try:
            return subject.count_parameters(cell, possible), possible
        except ValueError as error:  # of a number of heads that does not go into it, say
            refused = refused or error
    assert refused is not None
    raise refused


# ---- learning rates ------------------------------------------------------------------------------


def plan_probes(trials: Sequence[Trial]) -> list[Trial]:
    """Short trials of each cell at several learning rates, the same for all cells."""
    firsts = {trial.cell: trial for trial in reversed(trials)}
    return [
        replace(
            trial,
            seed=_PROBE_SEED,
            lr=float(f"{trial.lr * factor:.2g}"),
            max_steps=trial.max_steps and max(1, round(trial.max_steps * PROBE_SHARE)),
            max_seconds=trial.max_seconds and trial.max_seconds * PROBE_SHARE,
            is_probe=True,
        )
        for factor in RATES
        for trial in reversed(firsts.values())
    ]


def best_rates(probes: Sequence[Outcome]) -> dict[str, float]:
    """The learning rate of each cell whose probe was best on the validation part: the first to
    solve the task, else the one with the best score.

    Raises:
        RunError: when a cell has no probe that came to a score.
    """
    found = {}
    for cell in dict.fromkeys(outcome.trial.cell for outcome in probes):
        own = [outcome for outcome in probes if outcome.trial.cell == cell]
        own = [outcome for outcome in own if math.isfinite(outcome.best().score)]
        if not own:
            raise RunError(
                f"{cell}: expected a learning rate at which it trains, got scores that are not "
                "finite at all of them. Give it one of its own."
            )
        found[cell] = min(own, key=_probe_rank).trial.lr
    return found


def _probe_rank(outcome: Outcome) -> tuple[bool, float, float]:
    is_unsolved = outcome.status != "solved"
    best = outcome.best()
    return is_unsolved, best.score if is_unsolved else best.step, outcome.trial.lr


def at_rates(trials: Sequence[Trial], rates: Mapping[str, float]) -> list[Trial]:
    """The trials, each at the learning rate of its cell."""
    return [replace(trial, lr=rates.get(trial.cell, trial.lr)) for trial in trials]

"""Cells of a comparison: objects where a name goes, and equations that change under their name."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import recurra as rc
from recurra.comparison import (
    Outcome,
    Results,
    Trial,
    plan_trials,
    run_trial,
    run_trials,
    subject_of,
)
from recurra.comparison.cells import digest_of, entered, made
from recurra.errors import RunError
from recurra.lang import Cell, tanh

pytestmark = pytest.mark.medium

TASK = "adding:steps=12"
SMALL: dict[str, Any] = {"seeds": 1, "hidden_size": 6, "max_steps": 2, "batch_size": 8}

FILE = '''
from recurra import cell
from recurra.lang import Cell, tanh

@cell(state="h")
def mine(x, h, W, U, b):
    """{doc}"""
    return {gain} * tanh(W @ x + U @ h + b)
'''


@rc.cell(state="h", init={"b": 1.0})
def leaky(x, h, W, U, b):  # type: ignore[no-untyped-def]
    """Half of it stays."""
    return 0.5 * h + 0.5 * tanh(W @ x + U @ h + b)


def own_cell(gain: float = 1.0) -> Cell:
    """A cell that no other process can find under its name."""

    @rc.cell(state="h")
    def mine(x, h, W, U, b):  # type: ignore[no-untyped-def]
        return gain * tanh(W @ x + U @ h + b)

    return mine


# ---- objects where a name goes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (rc.cells.lstm, "lstm"),
        (rc.cells.lstm.with_init(b_f=5.0), "lstm:b_f=5.0"),
        (rc.cells.taugru.with_constants(delay=5), "taugru(delay=5)"),
        (rc.compose.zoneout(rc.cells.gru, 0.1), "zoneout_gru"),
        (leaky, "leaky"),
    ],
)
def test_what_an_object_is_called_and_that_plain_values_have_all_of_it(
    cell: Cell, name: str
) -> None:
    called, values = entered(cell)
    assert called == name
    again = made(name if values is None else json.loads(json.dumps(values)))
    assert digest_of(again) == digest_of(cell)


def test_an_object_is_compared_as_its_spelling_is(tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(FILE.format(doc="", gain="1.0"))
    spelled = f"{tmp_path / 'cells.py'}:mine"
    cells = [own_cell(), spelled, "rnn", rc.cells.rnn]
    first, second, rnn = plan_trials(TASK, cells, lrs={cells[0]: 0.01}, **SMALL)
    assert (first.cell, second.cell, rnn.cell) == ("mine", spelled, "rnn")
    assert (first.lr, second.lr) == (0.01, 1e-3)
    assert first.equations == second.equations != rnn.equations
    assert first.hidden_size == second.hidden_size
    both = [run_trial(trial) for trial in plan_trials(TASK, cells[:2], **SMALL)]
    curves = [[point.score for point in outcome.points] for outcome in both]
    assert curves[0] == curves[1]


def test_a_trial_and_a_subject_take_an_object() -> None:
    cell = own_cell()
    trial = Trial(task=TASK, cell=cell, hidden_size=6, max_steps=1, batch_size=8)
    assert trial.name == "mine-0"
    assert run_trial(trial).parameters == subject_of(TASK).count_parameters(cell, 6)


def test_an_object_reaches_other_processes(tmp_path: Path) -> None:
    folder = Results(tmp_path)
    trials = plan_trials(TASK, [own_cell(), leaky], **SMALL)
    ended = {outcome.trial.cell: outcome for outcome in run_trials(trials, folder, jobs=2)}
    assert set(ended) == {"mine", "leaky"}
    assert ended["leaky"].points[-1].score == run_trial(trials[1]).points[-1].score
    assert all(outcome.trial in trials for outcome in folder.outcomes())


def test_objects_with_one_name() -> None:
    with pytest.raises(ValueError, match=r"cells: expected cells with names .*two called mine"):
        plan_trials(TASK, [own_cell(), own_cell(0.5)], **SMALL)
    assert len(plan_trials(TASK, [own_cell(), own_cell()], **SMALL)) == 1


def test_a_rule_that_is_a_function_has_to_stay_in_its_file() -> None:
    cell = own_cell().with_init(b=lambda parameter: parameter.zero_())
    with pytest.raises(ValueError, match=r"cells: expected rules.*a function for b of mine.*file"):
        plan_trials(TASK, [cell], **SMALL)


# ---- equations that change under their name ------------------------------------------------------


def test_a_digest_is_of_what_is_computed_and_how_it_starts() -> None:
    assert digest_of(own_cell()) == digest_of(own_cell(1.0))
    different = [own_cell(), own_cell(0.5), own_cell().with_init(b=1.0), leaky]
    assert len({digest_of(cell) for cell in different}) == 4
    command = "import recurra as rc; from recurra.comparison.cells import digest_of as d; "
    command += "print(d(rc.cells.lstm), d(rc.compose.zoneout(rc.cells.gru, 0.1)))"
    said = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    here = digest_of(rc.cells.lstm), digest_of(rc.compose.zoneout(rc.cells.gru, 0.1))
    assert tuple(said.stdout.decode().split()) == here


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., list[Trial]]:
    """A plan with the cell of a file as it is then."""

    def plan(doc: str = "First.", gain: str = "1.0", cell: str = "mine") -> list[Trial]:
        file = tmp_path / "cells.py"
        file.write_text(FILE.format(doc=doc, gain=gain))
        return plan_trials(TASK, [f"{file}:{cell}", "rnn"], **SMALL)

    return plan


def test_a_cell_whose_file_was_edited_is_not_mixed_with_old_results(
    tmp_path: Path, planned: Callable[..., list[Trial]]
) -> None:
    folder = Results(tmp_path / "out")
    for each in planned():
        folder.keep(run_trial(each))
    assert folder.missing(planned(doc="Another docstring.")) == []
    message = r"equations as they are now, got .*cells\.py:mine-0 from before .*mine changed\. Use"
    with pytest.raises(RunError, match=message):
        folder.missing(planned(gain="0.5"))
    before = planned()[0]
    planned(gain="0.5")  # edited while the comparison runs
    with pytest.raises(RunError, match="expected the equations with which the comparison was"):
        run_trial(before)


def test_outcomes_that_know_no_equations_are_gone_on_with(
    tmp_path: Path, planned: Callable[..., list[Trial]]
) -> None:
    folder = Results(tmp_path / "out")
    first, rnn = planned()
    written = run_trial(first).as_dict()
    assert "own" not in written["trial"]
    del written["trial"]["equations"]
    folder.keep(Outcome.of_dict(written))
    assert folder.missing([first, rnn]) == [rnn]
    assert all(outcome.trial in [first, rnn] for outcome in folder.outcomes())


# ---- threads -------------------------------------------------------------------------------------


def test_threads_are_those_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recurra.comparison import results

    asked: list[int] = []

    def run(trials: Any, *, threads: int, **_: Any) -> Any:
        asked.append(threads)
        return iter(())

    monkeypatch.setattr(results, "run_in_processes", run)
    monkeypatch.setattr(results, "cores", lambda: 8)
    trials = plan_trials(TASK, ["rnn"], **SMALL)
    list(run_trials(trials, Results(tmp_path), jobs=2))
    list(run_trials(trials, Results(tmp_path), jobs=2, threads=3))
    assert asked == [4, 3]
    with pytest.raises(ValueError, match="threads: expected a whole number of at least 1, got 0"):
        next(run_trials(trials, Results(tmp_path), jobs=2, threads=0))

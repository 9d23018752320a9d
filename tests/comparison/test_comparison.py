"""Trials and comparisons: curves, equal parameters, what is kept, and what is run again."""

import gc
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recurra.comparison import (
    Outcome,
    Point,
    Progress,
    Results,
    Trial,
    plan_trials,
    run_on_ray,
    run_trial,
    run_trials,
    subject_of,
    summarise,
)
from recurra.comparison.planning import hidden_size_for
from recurra.errors import DataError, RunError
from recurra.tasks.made_up import Adding

pytestmark = pytest.mark.medium

TASK = "adding:steps=12"


def trial(cell: str = "rnn", seed: int = 0, **settings: object) -> Trial:
    given = {"task": TASK, "hidden_size": 6, "max_steps": 6, "batch_size": 8, **settings}
    return Trial(cell=cell, seed=seed, **given)  # type: ignore[arg-type]


# ---- one trial -----------------------------------------------------------------------------------


def test_a_curve_begins_before_training_and_ends_with_the_budget() -> None:
    outcome = run_trial(trial())
    assert outcome.status == "ended"
    assert [point.step for point in outcome.points] == [0, 1, 2, 3, 4, 5, 6]
    assert outcome.points[0].seconds == 0.0
    seconds = [point.seconds for point in outcome.points]
    assert seconds == sorted(seconds)
    assert all(math.isfinite(point.score) for point in outcome.points)
    assert outcome.parameters == subject_of(TASK).count_parameters("rnn", 6)


@pytest.mark.medium
def test_a_seed_gives_the_same_curve() -> None:
    first, again, other = (run_trial(trial(seed=seed)) for seed in (1, 1, 2))
    scores = [[point.score for point in outcome.points] for outcome in (first, again, other)]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


@pytest.mark.medium
def test_it_learns_and_stops_when_the_task_is_solved() -> None:
    easy = trial("lstm", task="adding:steps=2", hidden_size=32, lr=0.01, max_steps=2000)
    outcome = run_trial(easy)
    assert outcome.status == "solved"
    assert outcome.points[-1].score < 1e-3
    assert outcome.points[-1].step < 2000


@pytest.mark.medium
def test_the_validation_part_picks_and_the_test_part_is_reported() -> None:
    points = run_trial(trial("gru", lr=0.03, max_steps=30)).points
    best = math.inf
    for point in points:
        assert (point.test is not None) == (point.score < best)
        best = min(best, point.score)
    assert any(point.test is None for point in points)
    outcome = Outcome(trial=trial(), parameters=1, points=points, status="ended")
    assert outcome.best().score == best
    assert outcome.best().test != best
    assert outcome.best(points[0].seconds) is points[0]


@pytest.mark.medium
def test_nothing_is_left_changed() -> None:
    before = torch.get_num_threads(), torch.get_rng_state()
    run_trial(trial("lstm"), threads=before[0] + 1)
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    with pytest.raises(ValueError, match="got neither"):
        run_trial(trial(max_steps=None), threads=before[0] + 1)
    assert torch.get_num_threads() == before[0]


@pytest.mark.medium
def test_the_clock_does_not_count_what_only_a_first_step_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    loss = Adding.loss

    def slow_at_first(self: Adding, y: torch.Tensor, batch: Any) -> torch.Tensor:
        found = loss(self, y, batch)
        if found.requires_grad:
            found.register_hook(build)
        return found

    def build(grad: torch.Tensor) -> None:
        if not calls:
            time.sleep(1.0)
            calls.append("built")

    usual = run_trial(trial())
    monkeypatch.setattr(Adding, "loss", slow_at_first)
    outcome = run_trial(trial())
    assert calls
    assert outcome.points[-1].seconds < 0.9
    assert [p.score for p in outcome.points] == [p.score for p in usual.points]


@pytest.mark.medium
def test_it_tells_how_far_it_is() -> None:
    said: list[Progress] = []
    run_trial(trial(max_steps=None, max_seconds=0.5), report=said.append)
    assert said[0].step == 0
    assert said[-1].loss is not None
    assert [p.step for p in said] == sorted(p.step for p in said)
    assert 0 < said[-1].share <= 1


def test_a_score_of_zero_solves_what_is_solved_at_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Adding, "solved", 0.0)
    monkeypatch.setattr(Adding, "score", lambda self, y, batch: 0.0)
    assert run_trial(trial()).status == "solved"
    monkeypatch.setattr(Adding, "solved", None)
    assert run_trial(trial()).status == "ended"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 0),
        ("batch_size", 0),
        ("max_steps", 0),
        ("lr", -1.0),
        ("lr", math.nan),
        ("clip", -1.0),
        ("clip", 0.0),
        ("max_seconds", -1.0),
        ("max_seconds", math.inf),
        ("seeds", 0),
        ("seeds", -2),
    ],
)
def test_numbers_that_make_no_sense(name: str, value: float) -> None:
    given: dict[str, Any] = {"max_steps": 5, name: value}
    expected = f"{name}: expected a .*number .*got {value!r}"
    with pytest.raises(ValueError, match=expected):
        plan_trials(TASK, ["rnn"], **given)


@pytest.mark.medium
def test_it_ends_by_the_clock() -> None:
    outcome = run_trial(trial(max_steps=None, max_seconds=0.3))
    assert 0.3 <= outcome.points[-1].seconds < 3.0
    assert 10 <= len(outcome.points) <= 60


def test_what_is_not_finite_ends_it() -> None:
    outcome = run_trial(trial("rnn_relu", lr=1e30, max_steps=50))
    assert outcome.status == "diverged"
    assert 0 < outcome.points[-1].step < 50  # how far it came


def test_no_budget() -> None:
    with pytest.raises(ValueError, match="expected max_steps or max_seconds, got neither"):
        run_trial(trial(max_steps=None))


@pytest.mark.parametrize("task", ["copying:delay=5", "temporal-order", "nesting:length=20"])
def test_other_tasks_run(task: str) -> None:
    assert run_trial(trial("gru", task=task, max_steps=2)).points[-1].step == 2


# ---- many ----------------------------------------------------------------------------------------


@pytest.mark.medium
def test_cells_get_equal_parameters() -> None:
    subject = subject_of("copying:delay=5")
    trials = plan_trials(
        "copying:delay=5", ["rnn", "lstm", "gru", "slstm", "indrnn"], seeds=2, hidden_size=64
    )
    assert len(trials) == 10
    wanted = subject.count_parameters("lstm", 64)
    for each in trials:
        count = subject.count_parameters(each.cell, each.hidden_size)
        assert abs(count / wanted - 1) < 0.05, each
    assert {t.hidden_size for t in trials if t.cell == "lstm"} == {64}
    equal = plan_trials(TASK, ["rnn", "lstm"], hidden_size=64, equal_parameters=False)
    assert {t.hidden_size for t in equal} == {64}
    assert hidden_size_for(subject, "lstm", wanted) == 64


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("ltsm", "Did you mean lstm"),
        ("lstm:b_x=1", "cells: expected settings PARAMETER=RULE.*b_f.*got 'b_x=1'"),
        ("lstm:b_f", "got 'b_f'. Write one as in lstm:b_f=chrono400"),
        ("lstm:b_f=forget", "cells: expected a number.*got 'forget'"),
        ("lstm:b_f=orthogonal", r"init of b_f: expected a rule for the shape \(128,\)"),
        ("lstm:b_f=chrono2", "cells: expected a time of at least 3 steps, got 2"),
    ],
)
def test_no_such_cell(cell: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_trials(TASK, [cell])


def test_no_cell() -> None:
    with pytest.raises(ValueError, match="cells: expected one or more names, got none"):
        plan_trials(TASK, [])


def test_a_cell_named_twice_is_trained_once() -> None:
    assert len(plan_trials(TASK, ["rnn", "gru", "rnn"], seeds=1)) == 2


def test_how_parameters_start() -> None:
    model: Any = subject_of(TASK).build("lstm:b_f=5:b_i=-b_f", 6)
    assert torch.equal(model.recurrent.b_f_l0, torch.full((6,), 5.0))
    assert torch.equal(model.recurrent.b_i_l0, torch.full((6,), -5.0))
    both = run_trial(trial("lstm")), run_trial(trial("lstm:b_f=5:b_i=-b_f"))
    assert both[0].parameters == both[1].parameters
    assert both[0].points[0].score != both[1].points[0].score


@pytest.mark.medium
def test_what_has_ended_is_not_run_again(tmp_path: Path) -> None:
    folder = Results(tmp_path)
    trials = [trial(cell, seed) for seed in (0, 1) for cell in ("rnn", "gru")]
    found = run_trials(trials, folder, jobs=2)
    kept = {next(found).trial.name, next(found).trial.name}
    found.close()  # as if it had been stopped
    assert {outcome.trial.name for outcome in folder.outcomes()} >= kept
    rest = list(run_trials(trials, folder, jobs=2))
    assert not kept & {outcome.trial.name for outcome in rest}
    assert len(folder.outcomes()) == 4
    assert list(run_trials(trials, folder, jobs=2)) == []


@pytest.mark.medium
def test_processes_end_with_the_one_that_began_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recurra.cli", "compare", "--task", TASK, "--cells", "rnn,gru"]
    command += ["--max-minutes", "5", "--jobs", "2", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    try:
        begun = _wait_until(lambda: _workers_of(process.pid))
    finally:
        process.kill()
        process.wait()
    assert begun
    assert _wait_until(lambda: all(_state_and_parent(worker)[0] in "ZX" for worker in begun))


def _workers_of(pid: int) -> set[int]:
    pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
    started = {other for other in pids if _state_and_parent(other)[1] == pid}
    return {other for other in started if b"spawn_main" in _title(Path(f"/proc/{other}"))}


def _state_and_parent(pid: int) -> tuple[str, int]:
    """Of a process; X where there is none."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return "X", 0
    return state, int(parent)


def _wait_until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of `what`, or the last."""
    for _ in range(int(10 * seconds)):
        if found := what():
            return found
        time.sleep(0.1)
    return what()


def test_outcomes_survive_the_disk(tmp_path: Path) -> None:
    outcome = run_trial(trial())
    folder = Results(tmp_path)
    folder.keep(outcome)
    assert folder.outcomes() == [outcome]
    assert json.loads((tmp_path / "trials" / "rnn-0.json").read_text())["status"] == "ended"


def test_a_folder_of_other_trials(tmp_path: Path) -> None:
    folder = Results(tmp_path)
    folder.keep(run_trial(trial()))
    with pytest.raises(RunError, match=r"got rnn-0 with lr 0.001 \(now 0.01\).*another out="):
        folder.missing([trial(lr=0.01)])
    with pytest.raises(RunError, match=r"got rnn-0 with task adding:steps=12 \(now adding\)"):
        folder.missing([trial("gru", task="adding")])  # another trial, beside which it would stand


def test_data_that_changed_is_known(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("some text " * 300)
    task, folder = f"text:path={text},steps=8", Results(tmp_path / "out")

    def planned() -> list[Trial]:
        return plan_trials(task, ["rnn"], seeds=1, hidden_size=4, max_steps=1)

    [first] = planned()
    folder.keep(run_trial(first))
    text.touch()
    assert folder.missing(planned()) == []
    text.write_text("more text " * 300)
    with pytest.raises(RunError, match=r"for the data as it is now, got rnn-0 from before lm:"):
        folder.missing(planned())
    with pytest.raises(DataError, match="expected the data with which the comparison was begun"):
        run_trial(first)


@pytest.mark.parametrize("damage", [b"", b"{}", b"[" * 100_000, b'{"format": 1, "points": []}'])
def test_damaged_outcomes_are_named(tmp_path: Path, damage: bytes) -> None:
    folder = Results(tmp_path)
    folder.keep(run_trial(trial()))
    [file] = (tmp_path / "trials").iterdir()
    file.write_bytes(damage)
    with pytest.raises(RunError, match=r"rnn-0\.json: expected the outcome.*Take the file away"):
        folder.missing([trial()])


def test_one_comparison_at_a_time_is_at_work_in_a_folder(tmp_path: Path) -> None:
    folder = Results(tmp_path)
    with folder.locked():
        with pytest.raises(RunError, match="expected a comparison that nothing else trains"):
            next(run_trials([trial()], folder, jobs=1))
        with pytest.raises(RunError, match="nothing else trains"):
            next(run_on_ray([trial()], folder))
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="expected a folder that can be made"):
        next(run_trials([trial()], Results(tmp_path / "file" / "out"), jobs=1))
    with pytest.raises(ValueError, match="jobs: expected a whole number of at least 1, got 0"):
        next(run_trials([trial()], folder, jobs=0))


@pytest.mark.medium
def test_a_trial_whose_process_is_killed_takes_no_other_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = [trial(seed=seed, max_steps=None, max_seconds=2.0) for seed in range(3)]
    killed: list[str] = []

    def kill_the_first(of: Trial, progress: Progress) -> None:
        if not killed:
            killed.append(of.name)
            [worker] = _workers_of(os.getpid())
            os.kill(worker, signal.SIGKILL)

    outcomes = run_trials(running, Results(tmp_path), 1, kill_the_first)
    assert [next(outcomes).trial.name for _ in range(2)] == ["rnn-1", "rnn-2"]
    with pytest.raises(RunError, match=r"1 whose process died: rnn-0 \(SIGKILL, as when memory"):
        next(outcomes)
    assert killed == ["rnn-0"]
    assert "rnn-0: its process died" in caplog.text


@pytest.mark.medium
def test_what_a_trial_raises_is_raised_here(tmp_path: Path) -> None:
    trials = [trial(data="of another day"), trial("gru", max_steps=None, max_seconds=60.0)]
    with pytest.raises(DataError, match="expected the data") as caught:
        list(run_trials(trials, Results(tmp_path), jobs=2))
    assert "_work" in caught.value.__notes__[0]
    assert _wait_until(lambda: not _workers_of(os.getpid()))


@pytest.mark.timeout(30)
def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    for address in ("nowhere.invalid:1", "localhost:1", "ray://localhost:1", "localhost:99999999"):
        with pytest.raises(ValueError, match="ray: expected the address of a Ray cluster"):
            next(run_on_ray([trial()], Results(tmp_path), address))


def test_the_table_has_every_point(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    folder = Results(tmp_path)
    outcomes = [run_trial(trial(cell)) for cell in ("gru", "rnn")]
    for outcome in outcomes:
        folder.keep(outcome)
    rows = parquet.read_table(folder.write_table()).to_pylist()
    assert [row["score"] for row in rows] == [p.score for o in outcomes for p in o.points]
    assert {row["cell"] for row in rows} == {"rnn", "gru"}
    assert rows[0]["task"] == TASK


def made(cell: str, seed: int, scores: list[float], *, pace: float, status: str) -> Outcome:
    points = tuple(
        # what the test part gives is a tenth worse, where validation was best so far
        Point(
            step=i,
            seconds=i * pace,
            loss=0.0,
            score=score,
            test=score + 0.1 if score == min(scores[: i + 1]) else None,
        )
        for i, score in enumerate(scores)
    )
    return Outcome(trial=trial(cell, seed), parameters=10, points=points, status=status)


def test_summaries() -> None:
    outcomes = [
        made("rnn", 0, [1.0, 0.5, 0.6], pace=1.0, status="ended"),
        made("rnn", 1, [1.0, 0.9, 0.3], pace=1.0, status="ended"),
        made("gru", 0, [1.0, 0.2, 0.1, 0.0], pace=2.0, status="solved"),
        made("gru", 1, [1.0, 0.4, 0.3, 0.2], pace=2.0, status="ended"),
    ]
    gru, rnn = summarise(outcomes)
    assert (gru.cell, rnn.cell) == ("gru", "rnn")
    assert (gru.seeds, gru.solved, rnn.solved) == (2, 1, 0)
    assert rnn.score == pytest.approx((0.5, 0.4, 0.6))
    assert gru.score == pytest.approx((0.2, 0.1, 0.3))
    # after two seconds, when the first trial has spent its budget, a gru has made one step
    assert gru.at_equal_time == pytest.approx((0.4, 0.3, 0.5))
    assert rnn.at_equal_time == rnn.score
    assert gru.seconds == (6.0, 6.0, 6.0)
    assert (rnn.steps_a_second, gru.steps_a_second) == (1.0, 0.5)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # Ray's own
def test_a_trial_whose_worker_is_killed_is_run_again(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    killed: list[int] = []
    over = threading.Event()

    def kill_one() -> None:
        while not over.wait(0.1):
            busy = [
                int(entry.name)
                for entry in Path("/proc").iterdir()
                if entry.name.isdecimal() and b"ray::run_trial" in _title(entry)
            ]
            if busy:
                time.sleep(1.0)
                os.kill(busy[0], signal.SIGKILL)
                killed.append(busy[0])
                return

    trials = [trial(cell, max_steps=None, max_seconds=6.0) for cell in ("rnn", "gru")]
    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        ended = list(run_on_ray(trials, Results(tmp_path)))
    finally:
        over.set()
        thread.join()
        ray.shutdown()
        gc.collect()  # Ray's processes are warned of here, and not in another test
    assert killed
    assert {outcome.trial.name for outcome in ended} == {"rnn-0", "gru-0"}
    assert all(outcome.points[-1].seconds >= 6.0 for outcome in ended)
    assert len(Results(tmp_path).outcomes()) == 2


def _title(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_text_is_compared_as_a_language_model(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("some text " * 60)
    line = f"lm:data={text},bptt=5,embedding_size=4,dropout=0"
    [planned] = plan_trials(line, ["gru"], seeds=1, hidden_size=4, max_steps=2, batch_size=4)
    outcome = run_trial(planned)
    assert planned.data is not None
    assert [point.step for point in outcome.points] == [0, 1, 2]
    assert all(0 < point.score < 10 for point in outcome.points)
    assert outcome.points[0].test is not None


def test_outcomes_of_version_0_1_are_read() -> None:
    """Format 2, without what was added since."""
    trial_then = {k: v for k, v in trial().as_dict().items() if k != "is_probe"}
    written = {"format": 2, "trial": trial_then, "parameters": 3, "status": "ended"}
    read = Outcome.of_dict({**written, "points": [[0, 0.0, None, 1.0, 1.1]]})
    assert read.trial == trial()

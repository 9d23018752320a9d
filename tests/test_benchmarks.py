"""Every benchmark's sides agree at small sizes; the table, the json and the command are right."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("benchmarks", reason="the benchmarks are not installed, only cloned")

from benchmarks import __main__ as command
from benchmarks import floor
from benchmarks.before import earlier, slower
from benchmarks.catalogue import BENCHMARKS
from benchmarks.cells import ANY_CELLS
from benchmarks.grid import Shape
from benchmarks.oracle import DisagreementError, check_agreement
from benchmarks.peers import char_rnn, plain, torchrecurrent_layers
from benchmarks.registry import (
    Benchmark,
    Row,
    Settings,
    Target,
    geometric_mean,
    smallest,
)
from benchmarks.report import document, save, verdict
from benchmarks.timing import Rounds, interleaved, local

ROOT = Path(__file__).parent.parent
QUICK = Settings(threads=1, quick=True)


# two processes of torch's own DistributedDataParallel take longer to begin than all others take
SIDES = [pytest.param(n, marks=pytest.mark.slow) if n == "parallel" else n for n in BENCHMARKS]


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.medium
def test_the_sides_agree(name: str) -> None:
    benchmark = BENCHMARKS[name]
    for module in benchmark.needs:
        pytest.importorskip(module)
    benchmark.check()


def test_a_disagreement_is_found() -> None:
    expected = {"y": torch.ones(3), "W": torch.ones(2)}
    check_agreement("job", expected, {"same": expected})
    with pytest.raises(DisagreementError, match=r"job: gradient of W of other is off by 1.0e-03"):
        check_agreement("job", expected, {"other": {"W": 1.001 * torch.ones(2)}})
    with pytest.raises(DisagreementError, match="output of other"):
        check_agreement("job", expected, {"other": {"y": torch.full((3,), math.nan)}})
    with pytest.raises(DisagreementError, match="nothing to compare"):
        check_agreement("job", expected, {"other": {}})


def test_every_cell_has_a_plain_loop() -> None:
    assert {cell.name for cell in ANY_CELLS.values()} == set(plain.LOOPS)
    with_library = {name for name in plain.LOOPS if torchrecurrent_layers.has(name)}
    assert with_library == {"mut1", "mut2", "peephole_lstm"}


def test_ratios_are_paired_by_round() -> None:
    rounds = Rounds(ms={"ours": [1.0, 2.0, 4.0], "theirs": [3.0, 4.0, 20.0]})
    ratio = rounds.ratio("ours", "theirs")
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 2.0, 5.0)
    assert rounds.fastest(["ours", "theirs"]) == "ours"


def test_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str):
        def turn(calls: int) -> float:
            order.append(name)
            return 1.0  # a second: no call is repeated

        return turn

    rounds = interleaved({"a": side("a"), "b": side("b")}, QUICK)
    assert order == ["a", "b"] * len(rounds)
    assert len(rounds) == QUICK.rounds[0]


def test_short_calls_are_repeated() -> None:
    counted: list[int] = []
    turn = local(lambda: counted.append(1))
    assert turn(1) >= 0
    assert len(counted) == 1
    turn(5)
    assert len(counted) == 1 + 1 + 5  # one more, not timed


def _row(job: str, ratio: float, target: Target | None = None) -> Row:
    return Row(job=job, peer="peer", ratio=ratio, low=ratio / 2, high=ratio * 2, target=target)


def test_rows_are_summed_up() -> None:
    rows = [_row("a", 2.0), _row("b", 8.0)]
    mean = geometric_mean("all", rows, Target(value=4.1))
    assert mean.ratio == pytest.approx(4.0)
    assert (mean.low, mean.high) == (pytest.approx(2.0), pytest.approx(8.0))
    assert mean.met is False
    least = smallest("all", rows, Target(value=2.0))
    assert (least.ratio, least.met) == (2.0, True)
    assert "a" in least.job


def test_a_missing_figure_misses_its_target() -> None:
    for at_most in (False, True):
        assert _row("a", math.nan, Target(value=1.0, at_most=at_most)).met is False
    assert _row("a", 1.0).met is None


def test_the_report_counts_misses(tmp_path: Path) -> None:
    results = {
        "memory": [
            _row("good", 0.5, Target(value=0.6, at_most=True)),
            _row("bad", 0.7, Target(value=0.6, at_most=True)),
            _row("absent", math.nan, Target(value=0.6, at_most=True)),
        ]
    }
    said = verdict(results, {"floor": "DisagreementError: off"})
    assert "1 of 3 targets met" in said
    assert "2 missed" in said
    assert "memory 2" in said
    assert "1 failed" in said
    save(tmp_path / "a.json", document(results, {"floor": "off"}, QUICK))
    read = json.loads((tmp_path / "a.json").read_text())
    rows = read["benchmarks"]["memory"]["rows"]
    assert [row["met"] for row in rows] == [True, False, False]
    assert rows[2]["ratio"] is None
    assert rows[0]["target"] == {"value": 0.6, "at_most": True}
    assert read["quick"] is True


def test_what_takes_longer_than_in_an_earlier_run_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    rows = [replace(_row(job, 2.0), ours=ours) for job, ours in (("a", 1.0), ("b", 2.0))]
    rows += [replace(_row("c", 2.0), ours=1.0, unit="nats"), _row("d", 2.0)]
    save(file, document({"floor": rows}, {}, QUICK))
    before = earlier(file, QUICK)
    now = [replace(row, ours=1.02 * row.ours) for row in rows]
    assert slower({"floor": now, "memory": now}, before) == ([], 2)
    now[1] = replace(rows[1], ours=2.2)
    [line], count = slower({"floor": now}, before)
    assert (count, "floor: b, against" in line, "1.10 times" in line) == (2, True, True)
    with pytest.raises(
        ValueError, match=r"expected a run of 2 threads on .*, got one of 1 threads"
    ):
        earlier(file, replace(QUICK, threads=2))
    file.write_text("[]")
    with pytest.raises(ValueError, match=r"--before: expected the json of an earlier run, got "):
        earlier(file, QUICK)


def test_a_failure_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def disagree() -> None:
        raise DisagreementError("the sides disagree here")

    good = _row("job", 2.0, Target(value=1.0))
    made = [
        Benchmark(name="wrong", doc="w", check=disagree, run=lambda _: iter([good])),
        Benchmark(
            name="absent", doc="a", check=disagree, run=lambda _: iter([]), needs=("no_such_one",)
        ),
        Benchmark(name="right", doc="r", check=lambda: None, run=lambda _: iter([good])),
    ]
    for benchmark in made:
        monkeypatch.setitem(BENCHMARKS, benchmark.name, benchmark)
    assert command._run(made, QUICK, tmp_path) == command.FAILED
    said = capsys.readouterr().out
    assert "the sides disagree here" in said
    assert "no_such_one" in said
    assert command._run(made[2:], QUICK, tmp_path / "alone") == command.MET
    [path] = (tmp_path / "alone").glob("quick-*.json")
    assert list(json.loads(path.read_text())["benchmarks"]) == ["right"]


def test_flops_of_an_lstm() -> None:
    layer = torch.nn.LSTM(3, 5)
    forward = 2 * 7 * 2 * (4 * 5 * 3 + 4 * 5 * 5)  # T 7, B 2; matrices [20, 3] and [20, 5]
    assert floor.flops(layer, Shape(7, 2, 3, 5)) == 3 * forward


@pytest.mark.medium
def test_memory_grows_with_the_job() -> None:
    """In a process of its own: this one may have kept memory of other tests."""
    program = (
        "import torch; from pathlib import Path; from benchmarks import memory\n"
        "before = memory._status('VmRSS') if memory._reset_high_water() else memory._maximum()\n"
        "torch.ones(16 * 2**20)\n"
        "there = Path('/proc/self/status').exists()\n"
        "print((memory._status('VmHWM') if there else memory._maximum()) - before)\n"
    )
    asked = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(asked.stdout) > 32 * 2**20


@pytest.mark.medium
def test_the_plain_model_learns(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcd" * 10_000)
    text = char_rnn.Text.read(path)
    assert (text.vocab_size, len(text.train), len(text.val)) == (4, 36_000, 2_000)
    figures = char_rnn.train(text, 16, minutes=2 / 60)
    assert figures["test_nll"] < 0.5 * math.log(4)


@pytest.mark.medium
def test_the_command_lists_and_explains() -> None:
    def output(*arguments: str) -> str:
        run = [sys.executable, "-m", "benchmarks", *arguments]
        return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    listed = output("--list")
    assert all(name in listed for name in BENCHMARKS)
    assert "--quick" in output("--help")

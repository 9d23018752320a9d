"""Who won: intervals over seeds, the exact test of counts, and one line that says no more than is
known."""

import math

import pytest

from recurra.comparison import (
    Outcome,
    Point,
    Trial,
    best_rates,
    differences,
    plan_probes,
    plan_trials,
    summarise,
    verdict,
)
from recurra.comparison.judging import chance_of


def made(cell: str, scores: list[float], status: str = "ended", seconds: float = 1.0):
    return [
        Outcome(
            trial=Trial(task="adding", cell=cell, hidden_size=3, seed=seed, max_steps=9),
            parameters=1,
            points=(Point(step=9, seconds=seconds + seed, loss=None, score=score, test=score),),
            status=status,
        )
        for seed, score in enumerate(scores)
    ]


def judged(*outcomes) -> tuple[list, str]:
    trials = [outcome for own in outcomes for outcome in own]
    summaries = summarise(trials)
    apart = differences(trials, summaries)
    return apart, verdict(summaries, apart)


def test_differences_are_paired_by_seed() -> None:
    # the seeds differ by far more than the cells do
    [apart], said = judged(made("gru", [1.0, 5.0, 9.0]), made("rnn", [1.2, 5.3, 9.4]))
    assert (apart.best, apart.other, apart.seeds) == ("gru", "rnn", 3)
    assert apart.mean == pytest.approx(0.3)
    assert apart.margin == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=1e-3)  # t of 2 degrees
    assert apart.is_sure
    assert said.startswith("gru won")


def test_what_is_not_sure_is_not_said_to_be() -> None:
    [apart], said = judged(made("gru", [1.0, 2.0, 3.0]), made("rnn", [3.0, 2.1, 1.2]))
    assert not apart.is_sure
    assert "not surely" in said
    [apart], said = judged(made("gru", [1.0]), made("rnn", [2.0]))
    assert math.isnan(apart.margin)
    assert "one seed: how sure that is cannot be said" in said


def test_solved_by_more_seeds_wins_and_chance_is_said() -> None:
    _, said = judged(made("gru", [0.0] * 3, "solved"), made("rnn", [1.0] * 3))
    assert "3 of 3, rnn 0 of 3" in said
    assert chance_of((3, 0), (3, 3)) == pytest.approx(1 / 20)
    assert chance_of((2, 2), (3, 3)) == pytest.approx(0.8)


def test_where_all_solve_it_time_decides() -> None:
    fast, slow = made("gru", [0.0] * 3, "solved"), made("rnn", [0.0] * 3, "solved", seconds=4.0)
    [apart], _ = judged(slow, fast)
    assert (apart.best, apart.of, apart.mean) == ("gru", "seconds", 3.0)


def test_rates_are_searched_alike_for_all_cells() -> None:
    trials = plan_trials("adding:steps=4", ["rnn", "gru"], seeds=2, hidden_size=4, max_steps=50)
    probes = plan_probes(trials)
    assert len(probes) == 10
    assert {p.lr for p in probes if p.cell == "rnn"} == {p.lr for p in probes if p.cell == "gru"}
    assert {p.max_steps for p in probes} == {10}
    assert not {p.seed for p in probes} & {t.seed for t in trials}
    outcomes = [
        Outcome(
            trial=probe,
            parameters=1,
            points=(Point(step=1, seconds=1.0, loss=None, score=abs(probe.lr - rate), test=1.0),),
            status="ended",
        )
        for probe in probes
        for rate in [0.01 if probe.cell == "gru" else 0.0001]
    ]
    assert best_rates(outcomes) == {"rnn": 0.0001, "gru": 0.01}

"""What is measured of insight is chosen and summed up as its benchmarks say."""

import numpy as np
import pytest
import torch

pytest.importorskip("benchmarks", reason="the benchmarks are not installed, only cloned")

from benchmarks import fixed_points, flossing, gradients
from benchmarks.registry import Settings

from recurra.insight.gradient_flow import GradientFlow
from recurra.tasks.made_up import FlipFlop

QUICK = Settings(threads=1, quick=True)


def side(lr: float, val: list[float], test: list[float]) -> flossing.Side:
    solved = [40 if score <= 0.02 else None for score in val]
    return flossing.Side(lr=lr, val=val, test=test, solved=solved)


def test_a_rate_is_chosen_on_the_validation_part() -> None:
    chosen = side(1e-3, [0.3, 0.1, 0.1], [0.5, 0.4, 0.6])
    luckier_in_the_test = side(1e-4, [0.2, 0.2, 0.0], [0.1, 0.1, 0.1])
    assert flossing.best_rate([luckier_in_the_test, chosen]) is chosen


def test_sides_are_compared_by_the_medians_of_their_test_scores() -> None:
    ours, theirs = side(1e-3, [0.0] * 3, [0.1, 0.01, 0.02]), side(1e-4, [0.0] * 3, [9.0, 0.2, 0.1])
    row = flossing.row_of(ours, "no clipping", theirs, QUICK)
    assert (row.ours, row.theirs, row.ratio) == (0.02, 0.2, pytest.approx(10.0))
    assert row.met is True
    assert "flossed 3 of 3 solved, after 40 to 40 steps" in row.note


def flow(by_lag: list[float]) -> GradientFlow:
    """Of a loss at the last step, all that reaches each lag given."""
    norms = np.array(by_lag[::-1])[None, None]
    return GradientFlow(
        places=((0, 0),),
        from_end=(False,),
        states=("h",),
        losses=np.array([len(by_lag) - 1]),
        norms=norms[None],
        joint=norms,
    )


def lesson(fresh: float, trained: float, error: float, first: float = 2.0) -> gradients.Lesson:
    def falls(left: float) -> GradientFlow:
        return flow([1.0, first, *[0.5] * (gradients.LAG - 2), left, 0.1])

    return gradients.Lesson(cell="gru", fresh=falls(fresh), trained=falls(trained), error=error)


def test_the_table_has_medians_of_what_is_left_of_lag_1() -> None:
    lessons = [lesson(1e-9, 1.0, 0.3), lesson(4e-9, 1.5, 0.1), lesson(1.0, 9.0, 0.2)]
    assert gradients.table([lessons]).splitlines()[-1] == "| gru | 2.0e-9 | 0.75 | 0.2000 |"


def test_nothing_is_left_of_nothing() -> None:
    assert gradients.left(lesson(0.0, 0.0, 0.0, first=0.0).fresh) == 0.0


def test_what_ends_the_training_of_a_flip_flop_falls_silent() -> None:
    spoken, silent = fixed_points.SPOKEN, fixed_points.SILENT
    problem = fixed_points.FallsSilent(bits=3, steps=spoken + silent)
    batch = problem.batch(4, torch.Generator().manual_seed(1))
    said = FlipFlop(bits=3, steps=spoken + silent).batch(4, torch.Generator().manual_seed(1))
    torch.testing.assert_close(batch.x[:spoken], said.x[:spoken])
    torch.testing.assert_close(batch.target[:spoken], said.target[:spoken])
    assert not batch.x[spoken:].any()
    assert batch.target[spoken:].eq(batch.target[spoken - 1]).all()


@pytest.mark.medium
def test_the_memories_of_a_flip_flop_are_counted() -> None:
    row = fixed_points._flip_flop(QUICK)  # hardly trained
    assert 0 <= row.ours <= row.theirs == 8
    assert row.target is not None

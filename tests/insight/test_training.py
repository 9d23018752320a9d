"""The figure of how a run was trained, and what it says was found."""

import math
from typing import Any

import numpy as np
import pytest

from recurra.insight.training import TrainingCurves, figure_of_training, thinned


def curves(train: Any, val: Any, norm: Any = 0.5, **how: Any) -> TrainingCurves:
    rows = [
        {"step": 10 * (i + 1), "elapsed_s": i, "nll": t, "val_nll": v, "grad_norm": n, "skipped": 0}
        for i, (t, v, n) in enumerate(np.broadcast(train, val, norm))
    ]
    return TrainingCurves.of_rows(
        rows, **{"loss_name": "nll", "judge_name": "nll", "clip_norm": 1.0, **how}
    )


def test_a_gap_that_opens_is_said() -> None:
    found = figure_of_training({"": curves([3, 2, 1, 0.5], [3, 2.2, 2.5, 2.9])}).found
    assert "nll was best at step 20, of 40: 2.2, from 3 at step 10" in found
    assert "nll in validation has risen by 0.7 since its lowest" in found
    assert "it learns by heart" in found


def test_what_is_kept_though_another_was_a_little_better_is_said() -> None:
    run = curves([3, 2, 1], [3.0, 2.9, 2.95], kept=10)
    assert (run.best, run.lowest) == (0, 1)
    found = figure_of_training({"": run}).found
    assert "nll is 3 at step 10, which is kept: 2.9 at step 20 is not better beyond" in found
    assert curves([3, 2, 1], [3.0, 2.9, 2.95], kept=5).best == 1  # of which there is no row


def test_what_ends_even_is_said() -> None:
    found = figure_of_training({"": curves([3, 2, 1], [3.1, 2.1, 1.001])}).found
    assert "best at step 30, the last: 1.001" in found
    assert "end even in nll" in found


def test_norms_are_told_beside_where_they_are_clipped() -> None:
    found = figure_of_training({"": curves(1.0, 1.0, [0.5, 0.5, 4.0, 0.6])}).found
    assert "0.55 in the median and 4 at most (step 30)" in found
    assert "above 1, where it is clipped, in 25% of the rows" in found


def test_what_clipping_did_is_told_where_it_was_kept() -> None:
    rows = [
        {
            "step": step,
            "nll": 1.0,
            "val_nll": 1.0,
            "grad_norm": 0.5,
            "grad_norm_max": most,
            "clipped": c,
        }
        for step, most, c in ((10, 2.0, 0.5), (20, 1.5, 0.1), (60, 0.7, 0.0))
    ]
    run = TrainingCurves.of_rows(rows, loss_name="nll", judge_name="nll", clip_norm=1.0)
    assert "2 at most (step 10), and clipping bit in 10% of the steps" in (
        figure_of_training({"": run}).found
    )


def test_what_was_not_measured_is_left_out() -> None:
    rows: list[dict[str, Any]] = [{"step": 1, "accuracy": None}, {"step": 2, "val_accuracy": 0.5}]
    run = TrainingCurves.of_rows(
        rows, loss_name="nll", judge_name="accuracy", higher_is_better=True
    )
    assert run.best == 1
    assert math.isnan(run.grad_norm[0])
    assert figure_of_training({"": run}).found == (
        "Validation accuracy was best at step 2, the last: 0.5."
    )
    nothing = TrainingCurves.of_rows(rows[:1], loss_name="nll", judge_name="accuracy")
    assert nothing.best is None
    assert "No validation was finite" in figure_of_training({"": nothing}).found


def test_runs_stand_in_the_order_of_what_they_reached() -> None:
    runs = {"a": curves([2, 1], [2.0, 1.5]), "b": curves([2, 1], [2.0, 1.25])}
    figure = figure_of_training(runs)
    assert figure.found == "Best validation nll: b 1.25, a 1.5."
    assert {"a step", "b validation nll"} <= set(figure.table)


def test_a_long_line_is_the_means_of_its_stretches() -> None:
    x = np.arange(1000.0)
    thin, y = thinned(x, 2 * x, most=100)
    assert len(thin) == 100
    np.testing.assert_allclose(thin, np.arange(100) * 10 + 4.5)
    np.testing.assert_allclose(y, 2 * thin)
    assert thinned(x[:5], x[:5])[0] is not None


@pytest.mark.medium
@pytest.mark.parametrize("count", [1, 2])
def test_it_is_drawn(count: int) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from recurra.insight.report import svg_file

    runs = {name: curves([2, 1], [2.0, 1.5]) for name in ("first", "second")[:count]}
    draw = figure_of_training(runs).draw
    assert draw is not None
    assert "norm of the gradient" in svg_file(draw, "training")

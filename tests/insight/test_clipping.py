"""What a history says of gradients, and the threshold that follows."""

import numpy as np
import pytest

from recurra.insight.clipping import clipping_report, draw_clipping
from recurra.insight.landscape import figure_of_clipping


def row(step: int, norm: float | None, **more: float) -> dict[str, float | None]:
    return {"step": step, "grad_norm": norm, **more}


def test_the_threshold_is_the_median_norm_after_the_first_tenth() -> None:
    rows = [row(step, 100.0 if step <= 10 else step / 100) for step in range(1, 101)]
    report = clipping_report(rows)
    assert report.usual == pytest.approx(0.555)
    assert report.recommended in (0.55, 0.56)
    assert report.bounds == pytest.approx((0.2775, 5.55))


def test_one_explosion_does_not_move_it() -> None:
    rows = [row(step, 1e9 if step == 50 else 0.5) for step in range(1, 101)]
    assert clipping_report(rows).recommended == 0.5


def test_of_gradients_that_are_0_no_threshold_is_recommended() -> None:
    report = clipping_report([{"step": n, "grad_norm": 0.0, "clipped": 0.0} for n in range(1, 9)])
    assert report.line.endswith("0% of the steps were clipped; there is nothing to clip")
    assert figure_of_clipping(report).found.endswith("; there is nothing to clip.")


def test_how_often_it_bit_is_by_steps_not_rows() -> None:
    rows = [
        row(10, 1.0, grad_norm_max=2.0, clipped=1.0),
        row(100, 1.0, grad_norm_max=7.0, clipped=0.0),
    ]
    report = clipping_report(rows)
    assert report.clipped_share == pytest.approx(0.1)
    assert report.line == (
        "gradient norms: usually 1, at most 7; 10% of the steps were clipped; to try: clip_norm=1 "
        "(anything from 0.5 to 10)"
    )


def test_rows_without_a_norm_and_histories_without_the_columns_are_taken() -> None:
    report = clipping_report([row(1, None), row(2, 0.25), row(3, float("nan"))])
    assert report.steps.tolist() == [2]
    assert report.clipped_share is None
    assert "clipped" not in report.line
    assert np.isnan(report.largest).all()


def test_a_frame_is_taken_as_rows_are() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rows = [row(step, 0.1 * step) for step in range(1, 9)]
    assert clipping_report(pandas.DataFrame(rows)).usual == clipping_report(rows).usual


def test_a_history_without_norms_is_refused() -> None:
    with pytest.raises(ValueError, match="history: expected rows with a finite grad_norm, got 0"):
        clipping_report([])


def test_it_is_drawn() -> None:
    figure_of = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed")
    axes = figure_of.Figure().subplots()
    rows = [row(step, 0.5, grad_norm_max=1.0, clipped=0.1) for step in range(1, 9)]
    draw_clipping(clipping_report(rows), axes)
    assert axes.get_yscale() == "log"

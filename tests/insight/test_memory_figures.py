"""Figures of memory say what was found, and are drawn."""

import numpy as np
import pytest

from recurra.insight.memory import ContextLoss, Saliency, paths, time_constants
from recurra.insight.memory_figures import (
    figure_of_memory,
    figure_of_paths,
    figure_of_time_constants,
)
from recurra.insight.report.figure import Figure
from recurra.insight.report.rendering import drawn

CONTEXT = ContextLoss(
    contexts=(1, 4, 16, 64), losses=np.array([[3.0], [2.0], [1.0], [0.995]]) + np.zeros(9)
)
SALIENCY = Saliency(norms=0.5 ** np.arange(30)[:, None] * np.ones(9))
WAVES = np.sin(np.arange(60)[:, None] / np.array([3.0, 9.0]))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (
            figure_of_memory(CONTEXT, SALIENCY),
            "16 tokens of context give all but 0.01 nats of what 64 do (nll 0.995); with 1 alone "
            "it is 2.00 nats higher; half of the gradient comes from the last 1 tokens.",
        ),
        (figure_of_memory(CONTEXT), "with 1 alone it is 2.00 nats higher."),
        (figure_of_memory(None, SALIENCY), "half of the gradient comes from the last 1 tokens."),
        (
            figure_of_time_constants({"layer 0": time_constants("f", np.full((4, 3), 0.9))}),
            "The middle unit keeps 1/e of its content for 9.5 steps",
        ),
        (figure_of_paths(paths(WAVES, WAVES**3)), "the middle unit of c correlates 0.9"),
    ],
)
def test_says_what_was_found_and_is_drawn(figure: Figure, said: str) -> None:
    pytest.importorskip("matplotlib")
    assert said in figure.found
    assert figure.draw is not None
    assert "<path" in drawn(figure.draw, figure.name).svg
    assert figure.csv().count("\n") > 1


def test_needs_something_to_draw() -> None:
    pytest.importorskip("matplotlib")
    figure = figure_of_memory()
    assert figure.draw is not None
    with pytest.raises(ValueError, match="expected a context or a saliency, got neither"):
        drawn(figure.draw, figure.name)

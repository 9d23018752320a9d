"""The picture of forecasts: what of a window is drawn, and where."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recurra.insight import forecasts

pytest.importorskip("matplotlib", reason="matplotlib draws")


@dataclass
class Window:
    past: np.ndarray
    values: np.ndarray
    true: np.ndarray | None = None
    quantiles: np.ndarray | None = None


def window(channels: int = 2) -> Window:
    past = np.arange(20.0)[:, None] + np.arange(channels)
    ahead = 20.0 + np.arange(4.0)[:, None] + np.arange(channels)
    return Window(past, ahead, ahead + 0.5, np.stack([ahead - 1, ahead, ahead + 2]))


def lines(shown: Window, channel: int = 0) -> dict[str, np.ndarray]:
    figure = forecasts._drawn([shown], ["a", "b"], 0.8, "")
    ax = figure.axes[channel]
    return {line.get_label(): line.get_xydata() for line in ax.lines}


def test_lines_go_on_from_the_last_value() -> None:
    found = lines(window(), channel=1)
    np.testing.assert_array_equal(found["what was"], [[-11 + n, 9 + n] for n in range(12)])
    np.testing.assert_array_equal(found["what was said"], [[n, 20 + n] for n in range(5)])
    np.testing.assert_array_equal(found["what came"][1:], [[n, 20.5 + n] for n in range(1, 5)])


def test_a_missing_last_value_begins_no_line() -> None:
    shown = window()
    shown.past[-1] = np.nan
    assert lines(shown)["what was said"][:, 0].tolist() == [1, 2, 3, 4]


def test_the_interval_is_that_of_the_outermost_quantiles() -> None:
    figure = forecasts._drawn([window()], [], 0.8, "")
    (area,) = figure.axes[0].collections
    assert area.get_label() == "80% interval"
    y = area.get_paths()[0].vertices[:, 1]
    assert (y.min(), y.max()) == (19, 25)


@pytest.mark.medium
def test_what_nobody_knows_yet_and_many_channels(tmp_path: Path) -> None:
    shown = window(channels=8)
    shown.true = shown.quantiles = None
    figure = forecasts._drawn([shown, shown], [], None, "a $ title")
    assert len(figure.axes) == 12
    assert figure._suptitle.get_text() == "a \\$ title\n2 more channels are not drawn"
    path = forecasts.draw_forecasts([shown], tmp_path / "a.svg")
    assert path.read_text().startswith("<?xml")
    assert forecasts.forecasts_png([shown])[:4] == b"\x89PNG"

"""Forecasts as a picture: what was, what was said, how sure it was, and what came.

Letters: T steps of the past, F steps to come, C channels.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from recurra.files import write_atomically
from recurra.insight import style
from recurra.insight.report.figure import Figure

_MAX_CHANNELS = 6  # that are drawn, each by itself
_PAST = 3  # horizons of the past that are drawn, at most
_SHOWN = 2  # channels of each window in a report
_WAS, _SAID, _CAME = style.FAINT, style.RED, style.BLUE


@runtime_checkable
class Shown(Protocol):
    """A window to look at, in the units of the data."""

    @property
    def past(self) -> np.ndarray:
        """[T, C]."""
        ...

    @property
    def values(self) -> np.ndarray:
        """[F, C], what is said."""
        ...

    @property
    def true(self) -> np.ndarray | None:
        """[F, C], what came; None where nobody knows yet."""
        ...

    @property
    def quantiles(self) -> np.ndarray | None:
        """[Q, F, C], of which the first and the last are the ends of an interval; None: none."""
        ...


def draw_forecasts(
    windows: Sequence[Shown],
    path: Path,
    *,
    channels: Sequence[str] = (),
    interval: float | None = None,
    title: str = "",
) -> Path:
    """Draw windows side by side, a row for each of the first six channels, into `path`, as the
    format that its suffix names (.svg, .png, .pdf).

    What was is grey, what was said red with its interval, what came blue. A missing value is a gap.

    Args:
        windows: one at least.
        path: where to.
        channels: their names; without, they are numbered.
        interval: the probability of the interval, for its name.
        title: what stands above.
    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    figure = _drawn(windows, channels, interval, title)
    write_atomically(path, lambda part: figure.savefig(part, format=path.suffix[1:] or "png"))
    return path


def forecasts_png(
    windows: Sequence[Shown],
    *,
    channels: Sequence[str] = (),
    interval: float | None = None,
    title: str = "",
) -> bytes:
    """The same picture as the bytes of a PNG file.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    file = io.BytesIO()
    _drawn(windows, channels, interval, title).savefig(file, format="png")
    return file.getvalue()


def figure_of_forecasts(
    windows: Sequence[Shown], *, channels: Sequence[str] = (), interval: float | None = None
) -> Figure:
    """The figure of a report that shows what was said of some windows, and what came.

    Args:
        windows: one at least, each with what came.
        channels: their names; without, they are numbered.
        interval: the probability of the interval.
    """
    count = windows[0].values.shape[1]
    names = [channels[c] if c < len(channels) else f"channel {c + 1}" for c in range(count)]
    rows = [
        (number + 1, names[c], step + 1, None if each.true is None else each.true[step, c], value,
         *(() if each.quantiles is None else each.quantiles[[0, -1], step, c]))
        for number, each in enumerate(windows)
        for c in range(count)
        for step, value in enumerate(each.values[:, c])
    ]  # fmt: skip
    heads = ("window", "channel", "step", "came", "said", "low", "high")[: len(rows[0])]
    return Figure(
        name="forecasts",
        title="What was said, and what came",
        lede=(
            "Look at how soon the red line, what was said, leaves the blue one, what came, and "
            "whether the blue one stays within the band."
        ),
        found=_found(windows, interval),
        draw=lambda figure: _draw_panels(figure, windows, names, interval),
        table=dict(zip(heads, zip(*rows, strict=True), strict=True)),
    )


def _found(windows: Sequence[Shown], interval: float | None) -> str:
    known = [(each, each.true) for each in windows if each.true is not None]
    if not known:
        return f"{len(windows)} windows are drawn of which nobody knows yet what came."
    off = np.concatenate([np.abs(each.values - true).ravel() for each, true in known])
    same = np.concatenate(
        [np.abs(_last(each.past) - true).ravel() for each, true in known if len(each.past)]
        or [np.array([np.nan])]
    )
    mean, naive = float(np.nanmean(off)), float(np.nanmean(same))
    found = f"In these {len(known)} windows what was said is off by {mean:.3g} in the mean"
    if np.isfinite(naive) and naive > 0:
        found += f", {mean / naive:.2f} times as far as repeating the last value ({naive:.3g})"
    within = [
        (each.quantiles[0] <= true) & (true <= each.quantiles[-1])
        for each, true in known
        if each.quantiles is not None
    ]
    if within:
        promised = "" if interval is None else f", of which {interval:.0%} should"
        share = np.concatenate([each.ravel() for each in within]).mean()
        found += f"; {share:.0%} of what came lies within the interval{promised}"
    return f"{found}."


def _last(past: np.ndarray) -> np.ndarray:
    """[C], the last value of each channel that is there; nan where none is."""
    values = np.full(past.shape[1], np.nan)
    for channel, own in enumerate(past.T):
        there = own[np.isfinite(own)]
        if len(there):
            values[channel] = there[-1]
    return values


def _draw_panels(
    figure: Any, windows: Sequence[Shown], names: Sequence[str], interval: float | None
) -> None:
    """Each window and channel by itself, in as many columns as there is room for."""
    shown = min(len(names), _SHOWN)
    axes = style.panels(figure, shown * len(windows), height=2.1)
    for place, ax in enumerate(axes):
        window, channel = divmod(place, shown)
        _draw_channel(ax, windows[window], channel, interval)
        ax.set_title(f"window {window + 1}, {_shortened(names[channel])}")
        ax.set_xlabel("steps ahead")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    figure.set_figheight(figure.get_figheight() + 0.5)


def _drawn(
    windows: Sequence[Shown], channels: Sequence[str], interval: float | None, title: str
) -> Any:
    from matplotlib.figure import Figure as Drawn

    rows = min(windows[0].values.shape[1], _MAX_CHANNELS)
    size = (min(max(4.2 * len(windows), 6), 16), 1.7 * rows + 1.1)
    figure = Drawn(figsize=size, layout="constrained")
    axes = figure.subplots(rows, len(windows), squeeze=False, sharex="col")
    for column, window in enumerate(windows):
        for row in range(rows):
            ax = axes[row, column]
            _draw_channel(ax, window, row, interval)
            ax.grid(alpha=0.25)
            ax.tick_params(labelsize=8)
            if column == 0:
                name = channels[row] if row < len(channels) else f"channel {row + 1}"
                ax.set_ylabel(_shortened(name), fontsize=9)
        axes[-1, column].set_xlabel("steps ahead", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    left_out = windows[0].values.shape[1] - rows
    more = f"{left_out} more channels are not drawn" if left_out else ""
    heading = "\n".join(each for each in (_shortened(title, 80), more) if each)
    if heading:
        figure.suptitle(heading, fontsize=10)
    return figure


def _draw_channel(ax: Any, window: Shown, channel: int, interval: float | None) -> None:
    F = len(window.values)
    past = window.past[-_PAST * F :, channel]
    before, ahead = np.arange(1 - len(past), 1), np.arange(1, F + 1)
    # the lines of what is to come begin at the last value, where there is one
    last = past[-1:] if len(past) and np.isfinite(past[-1]) else past[:0]
    to_come = ahead if not len(last) else np.arange(0, F + 1)
    ax.plot(before, past, color=_WAS, linewidth=1.2, label="what was")
    if window.true is not None:
        came = np.concatenate([last, window.true[:, channel]])
        ax.plot(to_come, came, color=_CAME, linewidth=1.2, label="what came")
    said = np.concatenate([last, window.values[:, channel]])
    ax.plot(to_come, said, color=_SAID, linewidth=1.5, label="what was said")
    if window.quantiles is not None:
        low, high = window.quantiles[[0, -1], :, channel]
        name = "interval" if interval is None else f"{interval:.0%} interval"
        ax.fill_between(ahead, low, high, color=_SAID, alpha=0.18, linewidth=0, label=name)
    ax.axvline(0.5, color=style.FAINT, linewidth=0.8, linestyle=":")


def _shortened(text: str, most: int = 24) -> str:
    """A long text without its end, in which nothing is taken for mathematics."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text.replace("$", r"\$")

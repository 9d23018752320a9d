"""Clips along time: their frames, what is true of each, and what a model said of it.

Letters: T frames, C channels, Y rows, X columns, O numbers, J points.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from recurra.files import write_atomically
from recurra.insight import style
from recurra.insight.report.figure import Figure

_WIDTH = 11.0  # inches
_SHOWN = 14  # frames of a clip
_MOST_NUMBERS = 4  # that have a curve of their own
_QUIET = style.RULE  # the colour of the background's label


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A clip with what is true of its frames and what was said of them.

    Attributes:
        frames: [T, C, Y, X]; 3 channels are red, green and blue, 1 is grey, of others the mean
            is shown.
        true: the label of each frame, "" where nobody knows it; or [T, O] numbers.
        said: likewise, what a model said.
        name: of the clip.
        labels: all labels, in an order that gives each its colour.
        quiet: the label of frames in which nothing happens.
        numbers: the names of the numbers.
        are_points: whether the O numbers are J points, across and down, in shares of the height of
            a frame, to be drawn into it; below is how far they are off.
    """

    frames: np.ndarray
    true: Sequence[str] | np.ndarray
    said: Sequence[str] | np.ndarray
    name: str = ""
    labels: Sequence[str] = ()
    quiet: str = ""
    numbers: Sequence[str] = ()
    are_points: bool = False


def draw_timelines(clips: Sequence[Timeline], path: Path, *, title: str = "") -> Path:
    """Draw clips below one another into `path`, as the format that its suffix names.

    Of each clip there are some of its frames, where they stand in time; below them a bar for each
    run of one label, true and said; or a curve for each of the first numbers, true and said; or
    how far points are off, which are rings in the frames where they are, and dots where they were
    said to be.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    figure = _drawn(clips, title)
    write_atomically(path, lambda part: figure.savefig(part, format=path.suffix[1:] or "png"))
    return path


def timelines_png(clips: Sequence[Timeline], *, title: str = "") -> bytes:
    """The same picture as the bytes of a PNG file.

    Raises:
        ModuleNotFoundError: without matplotlib, which the extra `compare` brings.
    """
    file = io.BytesIO()
    _drawn(clips, title).savefig(file, format="png")
    return file.getvalue()


def figure_of_timelines(clips: Sequence[Timeline]) -> Figure:
    """The figure of a report that shows clips along time; of one clip at least."""
    rows = [
        (clip.name, frame, *(np.atleast_1d(clip.true[frame])), *(np.atleast_1d(clip.said[frame])))
        for clip in clips
        for frame in range(len(clip.true))
    ]
    heads = ["clip", "frame"]
    for word in ("true", "said"):
        if isinstance(clips[0].true, np.ndarray):
            names = [*clips[0].numbers, *map(str, range(len(clips[0].numbers), 999))]
            heads += [f"{word} {name}" for name in names[: clips[0].true.shape[1]]]
        else:
            heads.append(word)
    return Figure(
        name="timelines",
        title="Clips along time",
        lede=(
            "Look whether what is said begins and ends where the truth does: a late beginning is "
            "a model that waits for evidence, a torn bar one that wavers."
        ),
        found=_found(clips),
        draw=lambda figure: _draw_on(figure, clips, ""),
        table=dict(zip(heads, zip(*rows, strict=True), strict=True)),
    )


def _found(clips: Sequence[Timeline]) -> str:
    if isinstance(clips[0].true, np.ndarray):
        off = [np.abs(np.subtract(clip.true, clip.said)).ravel() for clip in clips]
        return f"In these {len(clips)} clips numbers are off by {np.nanmean(np.hstack(off)):.3g}."
    right, known, found, events = 0, 0, 0, 0
    for clip in clips:
        pairs = [(t, s) for t, s in zip(clip.true, clip.said, strict=True) if t]
        right, known = right + sum(t == s for t, s in pairs), known + len(pairs)
        for label, start, stop in runs_of(list(clip.true)):
            if label not in ("", clip.quiet):
                events += 1
                found += label in list(clip.said)[start:stop]
    said = f"In these {len(clips)} clips {right / max(1, known):.0%} of the frames are right"
    return f"{said}, and of {events:,} events {found:,} are said while they last."


def runs_of(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of one label: it, its first frame and the frame behind its last."""
    changes = [t for t in range(1, len(labels)) if labels[t] != labels[t - 1]]
    edges = [0, *changes, len(labels)]
    return [(labels[start], start, stop) for start, stop in pairwise(edges)]


def _drawn(clips: Sequence[Timeline], title: str) -> Any:
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(layout="constrained")
    _draw_on(figure, clips, title)
    return figure


def _draw_on(figure: Any, clips: Sequence[Timeline], title: str) -> None:
    heights: list[float] = []
    for clip in clips:
        heights += [_frame_height(clip), *_heights_below(clip)]
    figure.set_size_inches(_WIDTH, sum(heights) + 0.4 + 0.28 * len(clips))
    axes = figure.subplots(
        len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
    ).ravel()
    place = 0
    for clip in clips:
        _draw_frames(axes[place], clip)
        below = len(_heights_below(clip))
        for number in range(below):
            ax = axes[place + 1 + number]
            if clip.are_points:
                _draw_distance(ax, clip)
            elif isinstance(clip.true, np.ndarray):
                _draw_curve(ax, clip, number, has_legend=number == 0)
            else:
                _draw_bars(ax, clip)
            is_last = number == below - 1
            ax.tick_params(labelbottom=is_last, bottom=is_last)
        place += 1 + below
    axes[-1].set_xlabel("frame", fontsize=8)
    if title:
        figure.suptitle(title.replace("$", r"\$"), fontsize=10)


def _heights_below(clip: Timeline) -> list[float]:
    """Of what stands below a clip's frames, in inches."""
    if isinstance(clip.true, np.ndarray) and not clip.are_points:
        return [0.75] * min(clip.true.shape[1], _MOST_NUMBERS)
    return [0.7]


def _frame_height(clip: Timeline) -> float:
    rows, columns = clip.frames.shape[2:]
    return 0.9 * _WIDTH / min(_SHOWN, len(clip.frames)) * rows / columns


def _draw_frames(ax: Any, clip: Timeline) -> None:
    T = len(clip.frames)
    shown = min(_SHOWN, T)
    wide = T / shown
    pictures = _pictures(clip.frames)
    colours = "gray" if clip.frames.shape[1] == 1 else "magma"
    for number in range(shown):
        left = number * wide
        at = min(T - 1, int(left + wide / 2))
        extent = (left + 0.02 * wide, left + 0.98 * wide, 0.0, 1.0)
        ax.imshow(pictures[at], extent=extent, aspect="auto", cmap=colours, vmin=0, vmax=1)
        if clip.are_points:
            _draw_points(ax, clip, at, extent)
        ax.plot([at + 0.5], [0], marker=2, color=style.FAINT, clip_on=False, markersize=4)
    ax.set(xlim=(0, T), ylim=(0, 1), xticks=[], yticks=[])
    ax.set_title(clip.name.replace("$", r"\$"), fontsize=8, loc="left")
    for spine in ax.spines.values():
        spine.set_visible(False)


def _draw_points(ax: Any, clip: Timeline, at: int, extent: Sequence[float]) -> None:
    """The points of a frame, where the picture of it is."""
    rows, columns = clip.frames.shape[2:]
    left, right = extent[:2]
    looks = (
        (clip.true, {"facecolors": "none", "edgecolors": "white", "s": 14, "linewidths": 0.7}),
        (clip.said, {"color": "tab:cyan", "s": 4, "linewidths": 0}),
    )
    for values, look in looks:
        across, down = np.asarray(values[at], dtype=np.float64).reshape(-1, 2).T
        is_inside = (across >= 0) & (across <= columns / rows) & (down >= 0) & (down <= 1)
        x = left + (right - left) * across * rows / columns
        ax.scatter(x[is_inside], 1 - down[is_inside], **look)


def _pictures(frames: np.ndarray) -> np.ndarray:
    """[T, Y, X, 3] or [T, Y, X] in 0..1."""
    if frames.shape[1] == 3 and frames.dtype == np.uint8:
        return np.moveaxis(frames, 1, -1) / 255
    values = frames.mean(axis=1, dtype=np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low or 1.0)


def _draw_bars(ax: Any, clip: Timeline) -> None:
    import matplotlib as mpl

    colours = mpl.colormaps["tab20"]
    order = {label: number for number, label in enumerate(clip.labels)}
    for row, labels in ((1, clip.true), (0, clip.said)):
        assert not isinstance(labels, np.ndarray)
        for label, start, stop in runs_of(labels):
            is_quiet = label in ("", clip.quiet)
            colour = _QUIET if is_quiet else colours(order.get(label, 0) % 20)
            ax.broken_barh([(start, stop - start)], (row - 0.42, 0.84), color=colour, linewidth=0)
            if len(label) < 1.3 * (stop - start) * 80 / len(labels) and not is_quiet:
                middle, said = (start + stop) / 2, style.plain(label)
                ax.text(middle, row, said, ha="center", va="center", fontsize=7)
    ax.set(xlim=(0, len(clip.true)), ylim=(-0.5, 1.5))
    ax.set_yticks([1, 0], ["true", "said"], fontsize=8)
    ax.tick_params(length=2, labelsize=7)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _draw_distance(ax: Any, clip: Timeline) -> None:
    """How far points are off in each frame, the mean and the farthest, in percent of the height."""
    off = np.asarray(clip.true, dtype=np.float64) - np.asarray(clip.said, dtype=np.float64)
    far = 100 * np.linalg.norm(off.reshape(len(off), -1, 2), axis=-1)
    at = np.arange(len(far)) + 0.5
    ax.plot(at, far.max(axis=1), color=style.GREY, linewidth=1.0, label="the farthest point")
    ax.plot(at, far.mean(axis=1), color=style.RED, linewidth=1.3, label="mean of the points")
    ax.set(xlim=(0, len(far)), ylim=(0, None))
    ax.set_ylabel("% of height", fontsize=7)
    ax.legend(fontsize=7, ncols=2, loc="upper right", frameon=False)
    _lighten(ax)


def _draw_curve(ax: Any, clip: Timeline, number: int, *, has_legend: bool) -> None:
    assert isinstance(clip.true, np.ndarray)
    assert isinstance(clip.said, np.ndarray)
    at = np.arange(len(clip.true)) + 0.5
    ax.plot(at, clip.true[:, number], color=style.GREY, linewidth=2.5, label="true")
    ax.plot(at, clip.said[:, number], color=style.RED, linewidth=1.1, label="said")
    ax.set_xlim(0, len(clip.true))
    if number < len(clip.numbers):
        ax.set_ylabel(style.plain(clip.numbers[number].replace("_", " ")), fontsize=7)
    if has_legend:
        ax.legend(fontsize=7, ncols=2, loc="upper right", frameon=False)
    _lighten(ax)


def _lighten(ax: Any) -> None:
    ax.tick_params(length=2, labelsize=7)
    ax.grid(color=style.RULE)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)

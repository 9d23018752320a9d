"""Draws the pictures of worlds in docs/figures: make pictures."""

from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from recurra.data.worlds import eyes, gestures, numbers, scenes, stick_figures
from recurra.data.worlds.stick_figures import JOINTS, LIMBS

FOLDER = Path(__file__).parent.parent / "docs" / "figures"
_INK = "#6b7382"  # read on white and black
_FEW = {"val": 1, "test": 1}


def _grid(
    rows: int, columns: int, size: tuple[float, float], below: float = 0.0, apart: float = 0.06
) -> tuple[Figure, np.ndarray]:
    """Axes for pictures side by side, with this share of a row's height below each for words."""
    figure = Figure(figsize=size, dpi=100)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    bottom = below / (1 + below) / rows
    figure.subplots_adjust(0.005, max(bottom, 0.01), 0.995, 0.99, apart, below or apart)
    return figure, axes


def _show(ax: Any, picture: np.ndarray) -> None:
    ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def draw_scenes() -> Figure:
    """Eight pictures, each with one of its captions, in turn."""
    part = scenes(train=8, unseen=1, **_FEW)["train"]
    figure, axes = _grid(2, 4, (9, 6.0), below=0.36)
    for n, ax in enumerate(axes.flat):
        _show(ax, part.pictures[n])
        text = "\n".join(wrap(part.captions[n][n % 5], 34))
        ax.text(24, 49, text, fontsize=8, color=_INK, ha="center", va="top")
    return figure


def draw_numbers() -> Figure:
    """Eight pictures with their captions."""
    part = numbers(train=8, **_FEW)["train"]
    figure, axes = _grid(2, 4, (9, 5.2), below=0.16)
    for n, ax in enumerate(axes.flat):
        _show(ax, part.pictures[n])
        text = "\n".join(wrap(part.captions[n][0], 34))
        ax.text(28, 57, text, fontsize=8, color=_INK, ha="center", va="top")
    return figure


def draw_gestures() -> Figure:
    """Four clips, every second frame of one antenna, and what each frame is of."""
    part = gestures(train=4, **_FEW)["train"]
    figure, axes = _grid(4, 20, (11, 3.5), below=0.5)
    for n, row in enumerate(axes):
        names = part.truth(n)
        for t, ax in enumerate(row):
            _show(ax, part.frames[n, 2 * t, 0])
            new = t == 0 or names[2 * t] != names[2 * t - 2]
            if names[2 * t] != "background":
                ax.add_patch(Rectangle((-0.5, 32), 32, 3, color="#3d7ab8", clip_on=False))
                if new:
                    ax.text(0, 46, names[2 * t], fontsize=8, color=_INK)
    return figure


def draw_eyes() -> Figure:
    """One clip clear and the same as it is by default, with an arrow along the gaze."""
    clear = eyes(train=2, blur=0.0, noise=0.0, occlusion=0.0, **_FEW)["train"]
    figure, axes = _grid(3, 8, (11, 2.6))
    spoiled = [eyes(train=2, noise=each, **_FEW)["train"] for each in (1.0, 2.0)]
    for part, row in zip((clear, *spoiled), axes, strict=True):
        assert part.targets is not None
        for t, ax in enumerate(row):
            _show(ax, part.frames[1, 5 * t, 0])
            yaw, pitch = np.radians(part.targets[1, 5 * t])
            tip = (30 + 40 * np.sin(yaw), 18 + 40 * np.sin(pitch))
            ax.annotate("", tip, (30, 18), arrowprops={"arrowstyle": "->", "color": "#ef6c3a"})
    return figure


def draw_stick_figures() -> Figure:
    """One clip clear with its limbs, and the same as it is by default, with those that are seen."""
    given = {"train": 5, **_FEW}
    clear = stick_figures(**given, blur=0.0, noise=0.0, occlusion=0.0)["train"]
    spoiled = stick_figures(**given)["train"]
    figure, axes = _grid(2, 8, (11, 2.8))
    for part, row in zip((clear, spoiled), axes, strict=True):
        assert part.targets is not None
        assert part.visible is not None
        for t, ax in enumerate(row):
            _show(ax, part.frames[4, 5 * t, 0])
            joints = part.targets[4, 5 * t].reshape(-1, 2) * 64 - 0.5
            seen = part.visible[4, 5 * t, ::2]
            for one, other, bright in LIMBS:
                ends = joints[[JOINTS.index(one), JOINTS.index(other)]]
                ax.plot(*ends.T, color="#ef6c3a", lw=0.7, alpha=bright)
            ax.scatter(*joints[seen].T, s=5, color="#ffd24a", lw=0, zorder=3)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    "scenes": draw_scenes,
    "numbers": draw_numbers,
    "gestures": draw_gestures,
    "eyes": draw_eyes,
    "stick_figures": draw_stick_figures,
}


def draw(folder: Path = FOLDER) -> list[Path]:
    """Draw all of them; their files, small for their few colours."""
    from PIL import Image

    files = []
    for name, make in PICTURES.items():
        file = folder / f"{name}.png"
        make().savefig(file, transparent=False, facecolor="white")
        picture = Image.open(file).convert("RGB")
        if name != "scenes":  # whose colours are what it is about
            picture = picture.quantize(64)
        picture.save(file, optimize=True)
        files.append(file)
    return files


if __name__ == "__main__":
    for path in draw():
        print(f"{path}: {path.stat().st_size:,} bytes")

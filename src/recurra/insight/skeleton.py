"""Stick figures of motion, side by side, in a moving picture.

Letters: T frames, J joints, D numbers of a frame.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recurra.files import write_atomically
from recurra.models.skeleton import CMU, Skeleton

_SIDE = 300  # pixels of a panel
_FINER = 3  # drawn so many times as large, then made smaller: lines without steps
_HEADING = 26  # pixels
_TURN = 0.6  # radians about the vertical, so that a body is not seen edge on
_COLOURS = {"": "#4b5263", "left": "#3b78b8", "right": "#c2573f"}


def draw_motion(
    panels: Mapping[str, np.ndarray],
    path: Path,
    *,
    seen: int = 0,
    skeleton: Skeleton = CMU,
    frame_ms: int = 50,
) -> Path:
    """A moving picture of bodies side by side, a GIF that repeats.

    Each body stands by its hips, seen from the front and a little from the side. Its left arm and
    leg are blue, its right ones red. While what was seen is shown, bodies are pale.

    Args:
        panels: by heading, such as "true" and "said", frames [T, D] of exponential maps, as many in
            each.
        path: where to.
        seen: how many of the frames were seen, before those that are said.
        skeleton: of the bodies.
        frame_ms: how long a frame is shown, in milliseconds, of which GIF has whole tens.
    Returns:
        path: the one given.
    Raises:
        ModuleNotFoundError: without pillow, which the extra `compare` brings.
        ValueError: when panels have different numbers of frames, or are of another skeleton.
    """
    lengths = {len(frames) for frames in panels.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"draw_motion: expected as many frames in each panel, and one at least, got "
            f"{', '.join(f'{len(f)} in {name}' for name, f in panels.items()) or 'no panel'}. "
            f"Cut them to one length."
        )
    points = {name: _flat(skeleton.positions(frames)) for name, frames in panels.items()}
    every = np.concatenate([each.reshape(-1, 2) for each in points.values()])
    middle = (every.min(axis=0) + every.max(axis=0)) / 2
    scale = 0.88 * _SIDE / np.ptp(every, axis=0).max()
    pictures = [
        _drawn(
            {name: (each[t] - middle) * scale for name, each in points.items()},
            f"seen, {seen - t} to go" if t < seen else f"said, frame {t - seen + 1}",
            skeleton,
            pale=t < seen,
        )
        for t in range(lengths.pop())
    ]
    first, *others = pictures
    write_atomically(
        path,
        lambda part: first.save(
            part,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=frame_ms,
            loop=0,
            disposal=2,
        ),
    )
    return path


def _flat(positions: np.ndarray) -> np.ndarray:
    """What is seen of [T, J, 3]: to the right, and down, [T, J, 2]."""
    x, y, z = np.moveaxis(positions, -1, 0)
    return np.stack([np.cos(_TURN) * x + np.sin(_TURN) * z, -y], axis=-1)


def _drawn(bodies: Mapping[str, np.ndarray], caption: str, skeleton: Skeleton, pale: bool) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    width, height = _SIDE * len(bodies), _SIDE + 2 * _HEADING
    large = Image.new("RGB", (width * _FINER, height * _FINER), "white")
    draw = ImageDraw.Draw(large)
    font = ImageFont.load_default(size=15 * _FINER)
    ink = "#9aa0ab" if pale else "#1d2330"
    for number, (name, points) in enumerate(bodies.items()):
        centre = np.array([(number + 0.5) * _SIDE, _HEADING + _SIDE / 2])
        at = ((points + centre) * _FINER).tolist()
        for joint, parent in enumerate(skeleton.parents):
            if parent < 0:
                continue
            colour = _mixed(_COLOURS[skeleton.sides[joint]], 0.6 if pale else 0.0)
            ends = (*at[parent], *at[joint])
            draw.line(ends, fill=colour, width=4 * _FINER)
            x, y = at[joint]
            r = 2.6 * _FINER
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        place = (centre[0] * _FINER, _HEADING * _FINER / 2)
        draw.text(place, name, fill=ink, font=font, anchor="mm")
    place = (width * _FINER / 2, (height - _HEADING / 2) * _FINER)
    draw.text(place, caption, fill=ink, font=font, anchor="mm")
    small = large.resize((width, height), Image.Resampling.LANCZOS)
    return small.quantize(colors=64)


def _mixed(colour: str, white: float) -> tuple[int, ...]:
    """A colour with a share of white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return tuple(round(part + (255 - part) * white) for part in parts)

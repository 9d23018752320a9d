"""Stick figures of motion: where the joints of a body are, and a moving picture of them.

Letters: T frames, J joints, D numbers of a frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recurra.files import write_atomically
from recurra.models.rotations import rotation_matrices

_SIDE = 300  # pixels of a panel
_FINER = 3  # drawn so many times as large, then made smaller: lines without steps
_HEADING = 26  # pixels
_TURN = 0.6  # radians about the vertical, so that a body is not seen edge on
_COLOURS = {"": "#4b5263", "left": "#3b78b8", "right": "#c2573f"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """Joints in a tree.

    Attributes:
        parents: [J], of each joint the one that it hangs on, which stands before it; -1 of the
            first.
        offsets: [J, 3], from the parent where nothing is turned; y is up.
        sides: [J], "left", "right" or "", of the bone that ends in the joint.
    """

    parents: tuple[int, ...]
    offsets: np.ndarray
    sides: tuple[str, ...]

    def positions(self, frames: np.ndarray) -> np.ndarray:
        """Where each joint is, [T, J, 3], the first in the origin.

        Args:
            frames: [T, D] of exponential maps: the root's position, which is not looked at, then a
                triplet for each joint, D = 3 (J + 1).
        Raises:
            ValueError: when frames are of another skeleton.
        """
        J = len(self.parents)
        if frames.ndim != 2 or frames.shape[1] != 3 * (J + 1):
            raise ValueError(
                f"Skeleton.positions: expected frames [T, {3 * (J + 1)}] of {J} joints, got shape "
                f"{list(frames.shape)}. Use the skeleton that the motion was recorded with."
            )
        turns = rotation_matrices(frames[:, 3:].reshape(len(frames), J, 3).astype(np.float64))
        found = np.zeros((len(frames), J, 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                continue
            # a row times a matrix: what a joint turns by comes before what its parents do
            found[:, joint] = found[:, parent] + self.offsets[joint] @ turns[:, parent]
            turns[:, joint] = turns[:, joint] @ turns[:, parent]
        return found


def _skeleton(bones: Sequence[tuple[int, str, float, float, float]]) -> Skeleton:
    return Skeleton(
        parents=tuple(parent for parent, *_ in bones),
        sides=tuple(side for _, side, *_ in bones),
        offsets=np.array([offset for _, _, *offset in bones]),
    )


# The body of the CMU recordings (mocap.cs.cmu.edu) as motion prediction draws it: of each joint its
# parent, its side and its offset, in the unit of the recordings' skeleton files, 5.6 cm. Lengths
# are those of one of the people, for all. Joints that lie in their parents turn by themselves.
CMU = _skeleton(
    [
        (-1, "", 0.0, 0.0, 0.0),  # hips
        (0, "left", 0.0, 0.0, 0.0),
        (1, "left", 1.657, -1.803, 0.625),  # hip
        (2, "left", 2.597, -7.136, 0.0),  # knee
        (3, "left", 2.492, -6.848, 0.0),  # ankle
        (4, "left", 0.197, -0.541, 2.146),  # ball of the foot
        (5, "left", 0.0, 0.0, 1.112),  # toes
        (0, "right", 0.0, 0.0, 0.0),
        (7, "right", -1.611, -1.803, 0.625),
        (8, "right", -2.595, -7.130, 0.0),
        (9, "right", -2.468, -6.780, 0.0),
        (10, "right", -0.230, -0.633, 2.134),
        (11, "right", 0.0, 0.0, 1.116),
        (0, "", 0.0, 0.0, 0.0),
        (13, "", 0.020, 2.054, -0.141),  # lower back
        (14, "", 0.010, 2.064, -0.059),  # upper back
        (15, "", 0.0, 0.0, 0.0),
        (16, "", 0.007, 1.567, 0.150),  # lower neck
        (17, "", 0.034, 1.560, -0.100),  # upper neck
        (18, "", 0.013, 1.626, -0.053),  # head
        (15, "left", 0.0, 0.0, 0.0),
        (20, "left", 3.542, 0.904, -0.174),  # shoulder
        (21, "left", 4.865, 0.0, 0.0),  # elbow
        (22, "left", 3.356, 0.0, 0.0),  # wrist
        (23, "left", 0.0, 0.0, 0.0),
        (24, "left", 0.661, 0.0, 0.0),  # hand
        (25, "left", 0.533, 0.0, 0.0),  # fingers
        (23, "left", 0.0, 0.0, 0.0),
        (27, "left", 0.541, 0.0, 0.541),  # thumb
        (15, "right", 0.0, 0.0, 0.0),
        (29, "right", -3.498, 0.760, -0.326),
        (30, "right", -5.026, 0.0, 0.0),
        (31, "right", -3.364, 0.0, 0.0),
        (32, "right", 0.0, 0.0, 0.0),
        (33, "right", -0.730, 0.0, 0.0),
        (34, "right", -0.589, 0.0, 0.0),
        (32, "right", 0.0, 0.0, 0.0),
        (36, "right", -0.598, 0.0, 0.598),
    ]
)


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

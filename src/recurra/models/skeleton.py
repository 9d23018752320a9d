"""A body: joints in a tree, where they are, and what a mirror shows.

Letters: T frames, J joints, D numbers of a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recurra.models.rotations import rotation_matrices


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """Joints in a tree.

    Attributes:
        parents: [J], of each joint the one that it hangs on, which stands before it; -1 of the
            first.
        offsets: [J, 3], from the parent where nothing is turned; y is up.
        sides: [J], "left", "right" or "", of the bone that ends in the joint; the joints of the
            right stand in the order of those of the left.
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
        self._check(frames)
        J = len(self.parents)
        turns = rotation_matrices(frames[:, 3:].reshape(len(frames), J, 3).astype(np.float64))
        found = np.zeros((len(frames), J, 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                continue
            # a row times a matrix: what a joint turns by comes before what its parents do
            found[:, joint] = found[:, parent] + self.offsets[joint] @ turns[:, parent]
            turns[:, joint] = turns[:, joint] @ turns[:, parent]
        return found

    def mirrored(self, frames: np.ndarray) -> np.ndarray:
        """[T, D], what a mirror shows: left and right change places, as x and -x do.

        It is a motion of the same body, as far as its sides are alike, where joints that are not
        turned have their axes along those of the body.

        Args:
            frames: [T, D] of exponential maps, as of `positions`.
        """
        self._check(frames)
        left, right = (
            [joint for joint, own in enumerate(self.sides) if own == side]
            for side in ("left", "right")
        )
        order = np.arange(len(self.parents))
        order[left], order[right] = right, left
        triplets = frames.reshape(len(frames), -1, 3)
        swapped = triplets[:, np.concatenate([[0], order + 1])].copy()
        swapped[:, 0, 0] *= -1  # a position has its x turned about, a rotation all but its x
        swapped[:, 1:, 1:] *= -1
        return swapped.reshape(frames.shape)

    def _check(self, frames: np.ndarray) -> None:
        J = len(self.parents)
        if frames.ndim != 2 or frames.shape[1] != 3 * (J + 1):
            raise ValueError(
                f"Skeleton: expected frames [T, {3 * (J + 1)}] of {J} joints, got shape "
                f"{list(frames.shape)}. Use the skeleton that the motion was recorded with."
            )


def _skeleton(bones: Sequence[tuple[int, str, float, float, float]]) -> Skeleton:
    return Skeleton(
        parents=tuple(parent for parent, *_ in bones),
        sides=tuple(side for _, side, *_ in bones),
        offsets=np.array([offset for _, _, *offset in bones]),
    )


# The body of the CMU recordings as motion prediction draws it: of each joint its parent, its side
# and its offset, in a unit of about 5.6 cm. Lengths are those of one of the people, for all, as
# public code of that field has them; the recordings' own skeleton files were not at hand. Joints
# that lie in their parents turn by themselves.
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

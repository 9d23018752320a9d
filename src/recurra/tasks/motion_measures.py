"""The error of said motion, as it is published: of Euler angles in radians, of joints that move.

Letters: N windows, F frames ahead, D numbers of a frame.

Source: Jain, Zamir, Savarese, Saxena (2016), "Structural-RNN", arXiv:1511.05298; on the CMU
recordings Li, Zhang, Lee, Lee (2018), "Convolutional Sequence to Sequence Model for Human
Dynamics", arXiv:1805.00655.
"""

import numpy as np

from recurra.data.motion import ROOT

# Frames ahead, from 1 on, at which errors are said, by what papers label them: the recordings have
# 120 frames a second, of which every second counts, so that "80 ms" are 33.
LABELS = {80: 2, 160: 4, 320: 8, 400: 10, 1000: 25}
MOVES = 1e-4  # what the standard deviation of an angle that moves is above, in radians
PUBLISHED_LENGTHS = (50, 25)  # frames that are seen, and that are said
_SEED = 1234567890
_PUBLISHED = 8  # windows of an action


def angle_error(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The Euclidean distance of all angles but the root's, of those that move in the true window.

    Args:
        said: [N, F, D] Euler angles; see `euler_of`.
        true: [N, F, D].
    Returns:
        error: [N, F], in radians.
    """
    angles = true[..., ROOT:]
    moves = angles.std(axis=1, keepdims=True) > MOVES
    difference = np.where(moves, said[..., ROOT:] - angles, 0.0)
    return np.sqrt(np.square(difference).sum(axis=-1))


def published_starts(num_frames: int) -> list[int]:
    """Where the eight windows of an action begin whose errors are published.

    Args:
        num_frames: of its test recording, at half rate; 76 or more.
    """
    draw = np.random.RandomState(_SEED)
    return [int(draw.randint(0, num_frames - sum(PUBLISHED_LENGTHS))) for _ in range(_PUBLISHED)]

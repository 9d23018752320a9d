"""Rotations of joints: exponential maps, matrices and Euler angles.

An exponential map is the axis of a rotation times its angle in radians.
"""

import numpy as np
from jaxtyping import Float

_EPSILON = np.finfo(np.float32).eps  # added to an angle before it divides, as published


def rotation_matrices(
    exponential: Float[np.ndarray, "*rest 3"],
) -> Float[np.ndarray, "*rest 3 3"]:
    """The rotation matrix of each exponential map, by Rodrigues' formula:

    R = I + sin(a) K + (1 - cos(a)) K K, with the angle a, and K w the cross product of axis and w.
    """
    angle = np.linalg.norm(exponential, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(exponential / (angle + _EPSILON), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = cross.reshape(*x.shape, 3, 3)
    angle = angle[..., None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def euler_angles(matrices: Float[np.ndarray, "*rest 3 3"]) -> Float[np.ndarray, "*rest 3"]:
    """The angles (a, b, c), in radians, of which a matrix is X(a) Y(b) Z(c), where X, Y and Z turn
    the axes and not what lies in them. At b = pi/2 and -pi/2, where many are, c is 0.

    Source: Slabaugh (1999), "Computing Euler angles from a rotation matrix", in the order of axes
    of Jain, Zamir, Savarese, Saxena (2016), "Structural-RNN", whose errors are published in it.
    """
    up = np.clip(matrices[..., 0, 2], -1.0, 1.0)
    b = -np.arcsin(up)
    scale = np.cos(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.arctan2(matrices[..., 1, 2] / scale, matrices[..., 2, 2] / scale)
        c = np.arctan2(matrices[..., 0, 1] / scale, matrices[..., 0, 0] / scale)
    locked = np.abs(up) == 1.0
    # there X(a) and Z(c) turn about one axis, and only the two together are known
    together = np.arctan2(-matrices[..., 2, 1], matrices[..., 1, 1])
    return np.stack([np.where(locked, together, a), b, np.where(locked, 0.0, c)], axis=-1)


def euler_of(frames: Float[np.ndarray, "*rest angles"]) -> Float[np.ndarray, "*rest angles"]:
    """Frames of exponential maps, triplet by triplet, as Euler angles."""
    joints = frames.reshape(*frames.shape[:-1], -1, 3).astype(np.float64)
    return euler_angles(rotation_matrices(joints)).reshape(frames.shape)

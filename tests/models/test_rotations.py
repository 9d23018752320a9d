"""Rotations against their definition, and against scipy's."""

import numpy as np
import pytest

from recurra.models.rotations import euler_angles, euler_of, rotation_matrices


def turned(a: float, b: float, c: float) -> np.ndarray:
    """X(a) Y(b) Z(c), each turning the axes."""
    x = [[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]]
    y = [[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]]
    z = [[np.cos(c), np.sin(c), 0], [-np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(x) @ np.array(y) @ np.array(z)


def test_matrices_turn_about_the_axis() -> None:
    quarter = rotation_matrices(np.array([[0, 0, np.pi / 2], [0, 0, 0]]))
    np.testing.assert_allclose(quarter[0] @ [1, 0, 0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(quarter[1], np.eye(3))


@pytest.mark.medium
def test_matrices_are_scipys() -> None:
    spatial = pytest.importorskip("scipy.spatial", reason="scipy has rotations of its own")
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    wanted = spatial.transform.Rotation.from_rotvec(vectors).as_matrix()
    np.testing.assert_allclose(rotation_matrices(vectors), wanted, atol=1e-6)


def test_angles_are_those_that_a_matrix_is_made_of() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1, 1, size=(40, 3)) * [np.pi, np.pi / 2, np.pi]
    matrices = np.stack([turned(*each) for each in angles])
    np.testing.assert_allclose(euler_angles(matrices), angles, atol=1e-9)


@pytest.mark.parametrize("b", [np.pi / 2, -np.pi / 2])
def test_where_two_axes_are_one_the_angles_make_the_matrix(b: float) -> None:
    matrix = turned(0.3, b, 0.5)
    matrix[0, 2] = -np.sign(b)
    found = euler_angles(matrix)
    assert found[2] == 0.0
    np.testing.assert_allclose(turned(*found), matrix, atol=1e-9)


def test_frames_are_read_triplet_by_triplet() -> None:
    frame = np.array([[0.1, 0, 0, 0, -0.2, 0]], dtype=np.float32)
    np.testing.assert_allclose(euler_of(frame), -frame, atol=1e-6)  # axes turn, not vectors

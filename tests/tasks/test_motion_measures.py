"""Errors of motion by hand, and the published baselines to the digits that they are printed in."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recurra.data.motion import Motion, read_recordings, windows
from recurra.models.rotations import euler_of
from recurra.tasks import naive
from recurra.tasks.motion_measures import LABELS, angle_error, published_starts

SEEN, SAID = 50, 25


def test_angles_that_stand_still_and_those_of_the_root_do_not_count() -> None:
    true = np.zeros((1, 2, 9))
    true[0, :, 6] = [0.0, 1.0]  # moves
    said = np.full((1, 2, 9), 3.0)
    said[0, :, 6] = [0.5, 0.0]
    np.testing.assert_allclose(angle_error(said, true), [[0.5, 1.0]])
    true[0, :, 7] = [0.0, 1e-3]  # moves a little
    np.testing.assert_allclose(angle_error(said, true)[0, 0], np.hypot(0.5, 3.0))


def test_the_published_windows_are_the_same_each_time() -> None:
    assert published_starts(180) == published_starts(180)
    assert published_starts(180) == [2, 102, 47, 12, 51, 33, 43, 60]
    assert max(published_starts(76)) == 0


# mean of the five actions at 80, 160, 320, 400 and 1000 ms
ROWS: dict[tuple[str, str], tuple[Callable[..., np.ndarray], str]] = {
    ("zero", "every"): (naive.persistence, "0.415 0.719 1.185 1.364 1.872"),
    ("zero", "published"): (naive.persistence, "0.419 0.702 1.205 1.366 1.916"),
    ("damped", "every"): (naive.damped_velocity, "0.385 0.682 1.217 1.450 2.218"),
}


@pytest.fixture(scope="module")
def cmu_test(real_data: Path) -> list[Motion]:
    """The test recordings at half rate, as Euler angles."""
    read = read_recordings(real_data / "cmu_mocap" / "test")
    return [replace(motion.every(2), frames=euler_of(motion.every(2).frames)) for motion in read]


@pytest.mark.medium
@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_baselines_of_cmu_are_those_that_were_measured(
    row: tuple[str, str], cmu_test: list[Motion]
) -> None:
    forecast, wanted = ROWS[row]
    each = []
    for motion in cmu_test:
        angles = windows(motion, SEEN + SAID)
        if row[1] == "published":
            angles = angles[published_starts(len(motion))]
        seen, true = angles[:, :SEEN], angles[:, SEEN:]
        each.append(angle_error(forecast(seen, SAID), true).mean(axis=0))
    at = np.array([*LABELS.values()]) - 1
    assert len(each) == 5
    assert " ".join(f"{error:.3f}" for error in np.mean(each, axis=0)[at]) == wanted

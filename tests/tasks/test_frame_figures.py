"""What is said of the frames of clips: events found in time, angles, distances."""

import numpy as np
import pytest

from recurra.tasks.frame_figures import angles_between, event_figures, events_of, joint_distances
from recurra.tasks.tag_figures import Judged


def judged(true: list[int], said: list[int]) -> Judged:
    return Judged(true=np.array(true), said=np.array(said), words=(), number=0)


def test_events_are_runs_of_one_label() -> None:
    labels = np.array([0, 2, 2, 1, 0, 0, 1, -1, 1])
    found = [(each.label, each.start, each.stop) for each in events_of(labels, 0)]
    assert found == [(2, 1, 3), (1, 3, 4), (1, 6, 7), (1, 8, 9)]
    assert [each.start for each in events_of(labels, None)] == [0, 1, 3, 4, 6, 8]
    assert events_of(labels[:0], 0) == []


def test_an_event_is_found_at_the_first_frame_of_its_label() -> None:
    true = [0] + [1] * 12 + [0] * 2
    late = [0] * 4 + [1] * 9 + [0] * 2
    found = event_figures([judged(true, true), judged(true, late), judged(true, [0] * 15)], 0)
    assert found["events"] == 3
    assert found["found"] == pytest.approx(2 / 3)
    shares = [1 / 3, 1 / 3, 1 / 3, *[2 / 3] * 8]
    assert found["found_by"] == pytest.approx(shares)
    assert found["named"] == pytest.approx(2 / 3)
    assert found["false_alarms"] == 0


def test_what_comes_after_the_end_or_too_late_is_not_found() -> None:
    true = [1] * 8 + [0] * 4
    found = event_figures([judged(true, [0] * 6 + [1] * 2 + [0] * 4)], 0)
    assert found["found"] == 0
    assert found["found_by"][6] == 1
    short = [1] * 2 + [0] * 10
    found = event_figures([judged(short, [0] * 3 + [1] * 9)], 0)
    assert found["found_by"][-1] == 0
    assert found["false_alarms"] == pytest.approx(1000 / 12)


def test_an_event_that_met_a_frame_without_a_label_is_no_false_alarm() -> None:
    found = event_figures([judged([0, -1, 0, 0], [0, 1, 1, 0])], 0)
    assert found["false_alarms"] == 0
    assert found["events"] == 0


def test_angles_are_those_between_directions() -> None:
    said = np.array([[0.0, 0.0], [10, 0], [90, 0], [0, 3], [40, 60], [1e-5, 0]])
    true = np.array([[0.0, 0.0], [0, 0], [0, 0], [0, -2], [0, 60], [0, 0]])
    # at 60 degrees up, 40 degrees of yaw are arccos(sin^2 60 + cos^2 60 cos 40)
    far = np.degrees(np.arccos(0.75 + 0.25 * np.cos(np.radians(40))))
    wanted = [0, 10, 90, 5, far, 1e-5]
    np.testing.assert_allclose(angles_between(said, true), wanted, rtol=1e-6, atol=1e-12)


def test_distances_are_those_of_each_joint() -> None:
    said = np.array([[3.0, 4.0, 1.0, 1.0]])
    np.testing.assert_allclose(joint_distances(said, np.zeros((1, 4))), [[5, np.sqrt(2)]])

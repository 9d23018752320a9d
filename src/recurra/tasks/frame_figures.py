"""What is said of the frames of clips, as people judge it: events found in time, angles, distances.

Letters: T frames, O numbers, J joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from recurra.tasks.tag_figures import Judged

WITHIN = 5  # frames behind its onset in which an event is to be found
MOST_LATE = 10  # frames up to which shares of what is found are listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Frames that have one label, others before and behind.

    Attributes:
        label: its number.
        start: the first frame.
        stop: the frame behind the last.
    """

    label: int
    start: int
    stop: int


def events_of(labels: np.ndarray, background: int | None) -> list[Event]:
    """The events of a clip: runs of one label, but the background and frames without a label.

    Args:
        labels: [T], -1 where there is none.
        background: the number of the label that is no event; None: each is one.
    """
    if len(labels) == 0:
        return []
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    runs = (
        Event(label=int(labels[start]), start=start, stop=stop) for start, stop in pairwise(edges)
    )
    return [each for each in runs if each.label not in (background, -1)]


def event_figures(judged: Sequence[Judged], background: int | None) -> dict[str, Any]:
    """How many events were found, and how soon.

    An event is found at the first of its frames of which its label is said; it is named rightly
    where its label is that which is said of most of its frames.

    Args:
        judged: clips with their labels.
        background: the number of the label that is no event; None: each is one.
    Returns:
        `events`, how many there are; `found`, the share found within 5 frames of the first;
        `found_by`, the shares found within 0, 1, ... 10; `named`, the share named rightly;
        `false_alarms`, events that were said and met none of their label, for 1,000 frames.
    """
    delays: list[int] = []
    named = alarms = frames = 0
    for each in judged:
        true = events_of(each.true, background)
        for event in true:
            of_event = each.said[event.start : event.stop]
            hits = np.flatnonzero(of_event == event.label)
            delays.append(int(hits[0]) if len(hits) else len(each.true))
            named += int(np.bincount(of_event).argmax() == event.label)
        for event in events_of(each.said, background):
            met = each.true[event.start : event.stop]
            alarms += int(not np.isin(met, (event.label, -1)).any())
        frames += len(each.true)
    late = np.array(delays)
    shares = [float(np.mean(late <= most)) if delays else 0.0 for most in range(MOST_LATE + 1)]
    return {
        "events": len(delays),
        "found": shares[WITHIN],
        "found_by": shares,
        "named": named / max(len(delays), 1),
        "false_alarms": 1000 * alarms / max(frames, 1),
    }


def angles_between(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """[T], degrees between two directions of a gaze.

    Args:
        said, true: [T, 2] yaw and pitch in degrees; the direction is (cos pitch sin yaw, sin pitch,
            cos pitch cos yaw).
    """
    one, other = _directions(said), _directions(true)
    # by the sine as well: the cosine alone knows nothing of angles below 1e-6
    sine = np.linalg.norm(np.cross(one, other), axis=-1)
    return np.degrees(np.arctan2(sine, (one * other).sum(axis=-1)))


def _directions(angles: np.ndarray) -> np.ndarray:
    yaw, pitch = np.radians(angles.astype(np.float64)).T
    return np.stack([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)], -1)


def joint_distances(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """[T, J], how far joints lie from where they are.

    Args:
        said, true: [T, 2 J]: across and down of each joint.
    """
    T = len(true)
    return np.linalg.norm((said - true).astype(np.float64).reshape(T, -1, 2), axis=-1)

"""Gestures before a radar: clips in the shape of Soli's, with a label at each frame.

A frame is what four antennas hear, by distance (rows) and speed (columns). A hand is a palm, the
edge of one or two fingertips, and a single frame shows no more than that. Which of the eleven
gestures it makes is in how it moves from frame to frame, all rows and columns joining end to end
as those of a radar that measures modulo its range. Real radar is kinder: a speed shows in a frame.

Letters: N clips, T frames, C = 4 antennas, Y = 32 rows, X = 32 columns, M frames of all clips.
Source: Wang et al. (2016), "Interacting with Soli", UIST, for the shape and the gestures' names.
"""

import math

import numpy as np

from recurra.data.worlds.made import Clips, at_least, check_counts, generator
from recurra.data.worlds.noise import amounts, hiss

PALM = ("push", "pull", "palm tilt", "palm hold")
EDGE = ("slow swipe", "fast swipe", "circle")
FINGERS = ("pinch index", "pinch pinky", "finger slide", "finger rub")
GESTURES = (*PALM, *EDGE, *FINGERS)
LABELS = ("background", *GESTURES)

ANTENNAS, CELLS = 4, 32

_LENGTH = 15.0  # frames of a gesture at speed 1
_LOG_SPEEDS = (math.log(0.75), math.log(1.33))
_GAPS = (3, 11)  # frames between gestures, from and below
_SHORTEST = 6  # frames that are left of a gesture which the clip's end cuts off
_LOUD = 210  # an echo at its brightest, of 255
_HISS = 26  # standard deviation of noise
_BLOCK = 64  # clips that are drawn at once


def gestures(
    *,
    train: int = 1000,
    val: int = 200,
    test: int = 200,
    frames: int = 40,
    noise: float = 1.0,
    noise_to: float = 0.0,
    seed: int = 0,
) -> dict[str, Clips]:
    """Draw the world.

    Args:
        train: clips.
        val: clips.
        test: clips.
        frames: T, at least 12.
        noise: 0 shows hands alone; with 1 a network of single frames gets about half of the labels.
        noise_to: unless it is 0, each clip has an amount of its own, drawn from `noise` to this.
        seed: 0 or more; a part depends on it and on its own size alone.
    Returns:
        By part, "train", "val" and "test"; labels are places in `LABELS`, 0 where there is no hand.
    Raises:
        ValueError: when a part is empty, clips are too short, or noise or seed below 0.
    """
    counts = {"train": train, "val": val, "test": test}
    check_counts(counts)
    at_least(12, frames=frames)
    at_least(0, noise=noise, noise_to=noise_to, seed=seed)
    return {
        part: _drawn(generator(seed, part), count, frames, noise, noise_to)
        for part, count in counts.items()
    }


def _drawn(
    random: np.random.Generator, count: int, num_frames: int, noise: float, noise_to: float
) -> Clips:
    labels, ages, speeds, numbers = _timelines(random, count, num_frames)
    shown = labels > 0
    # one hand each time a gesture is made, drawn once
    hands = random.random((int(numbers.max()) + 1, 3))
    gains = random.uniform(0.6, 1.0, (len(hands), ANTENNAS)).astype(np.float32) * _LOUD
    hissing = _HISS * amounts(random, count, noise, noise_to)
    frames = np.empty((count, num_frames, ANTENNAS, CELLS, CELLS), dtype=np.uint8)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        here = shown[block]
        own = numbers[block][here]
        moments = ages[block][here] * speeds[block][here]
        echoes = _echoes(labels[block][here] - 1, moments, hands[own])
        echoes *= random.uniform(0.9, 1.1, len(echoes)).astype(np.float32)[:, None, None]
        heard = hiss(random, frames[block].shape, hissing[block])
        heard[here] += gains[own][:, :, None, None] * echoes[:, None]
        np.abs(heard, out=heard)
        frames[block] = np.minimum(heard, 255, out=heard)
    return Clips(frames=frames, labels=labels, label_names=LABELS)


def _timelines(
    random: np.random.Generator, count: int, num_frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What happens when, each [N, T]: labels, frames since onset, speeds, numbers of hands."""
    labels = np.zeros((count, num_frames), dtype=np.int64)
    ages, numbers = np.zeros_like(labels), np.zeros_like(labels)
    speeds = np.ones(labels.shape)
    clock = np.arange(num_frames)
    start = random.integers(*_GAPS, count)
    hands = 0
    while (start <= num_frames - _SHORTEST).any():
        speed = np.exp(random.uniform(*_LOG_SPEEDS, count))
        end = start + np.rint(_LENGTH / speed).astype(int)
        gesture = random.integers(1, len(LABELS), count)
        here = (clock >= start[:, None]) & (clock < end[:, None])
        here &= (start <= num_frames - _SHORTEST)[:, None]
        labels = np.where(here, gesture[:, None], labels)
        ages = np.where(here, clock - start[:, None], ages)
        speeds = np.where(here, speed[:, None], speeds)
        numbers = np.where(here, hands + np.arange(count)[:, None], numbers)
        hands += count
        start = end + random.integers(*_GAPS, count)
    return labels, ages, speeds, numbers


# ---- hands ---------------------------------------------------------------------------------------


def _echoes(gestures: np.ndarray, moments: np.ndarray, hands: np.ndarray) -> np.ndarray:
    """What comes back from each hand, [M, Y, X], about 1 at its brightest.

    Args:
        gestures: [M] places in `GESTURES`.
        moments: [M] since onset, in frames at speed 1.
        hands: [M, 3] in 0..1: where its row, its column and its phase begin.
    """
    row, column, phase = hands[:, 0] * CELLS, hands[:, 1] * CELLS, hands[:, 2].copy()
    for number, name in enumerate(GESTURES):
        own = gestures == number
        t = moments[own]
        match name:
            case "push":
                row[own] += 3 * t
                phase[own] += 0.15 * t
            case "pull":
                row[own] -= 3 * t
                phase[own] -= 0.15 * t
            case "palm tilt":
                column[own] += 3 * t
            case "slow swipe":
                column[own] += t
            case "fast swipe":
                column[own] += 3.5 * t
            case "circle":
                phase[own] += 0.09 * t
                row[own] += 5 * np.sin(2 * np.pi * phase[own])
                column[own] += 5 * np.cos(2 * np.pi * phase[own])
            case "pinch index":
                phase[own] += 0.2 * t
            case "pinch pinky":
                phase[own] -= 0.2 * t
            case "finger slide":
                row[own] += 3 * t
            case "finger rub":
                phase[own] += 0.5 * t
    phase %= 1
    is_palm = gestures < len(PALM)
    is_finger = gestures >= len(PALM) + len(EDGE)
    high = np.where(is_palm, 3.2, np.where(is_finger, 1.8, 4.5))
    wide = np.where(is_palm, 3.2, np.where(is_finger, 1.8, 1.4))
    # over a phase palms and fingertips brighten, which come together; edges are turned to and fro
    half = np.where(is_finger, 7 - 4.5 * phase, 0)
    turned = np.where(is_palm | is_finger, 2 * phase - 1, np.sin(2 * np.pi * phase))
    bright = (0.77 + 0.33 * turned).astype(np.float32)
    across = np.maximum(_bump(column - half, wide), _bump(column + half, wide))
    return (bright[:, None] * _bump(row, high))[:, :, None] * across[:, None, :]


def _bump(middle: np.ndarray, width: np.ndarray) -> np.ndarray:
    """[M, cells], a bell whose ends join."""
    far = (np.arange(CELLS) - middle[:, None] + CELLS / 2) % CELLS - CELLS / 2
    return np.exp(-0.5 * (far / width[:, None]) ** 2).astype(np.float32)

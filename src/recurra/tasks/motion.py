"""`recurra train motion`: the next frames of recorded bodies, as exponential maps of their joints.

A forecaster of all joints together, whose error is said of Euler angles as it is published, beside
those of zero velocity and damped velocity.

Letters: N windows, F frames ahead, B windows side by side, D numbers of a frame, C joints.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from recurra.data.motion import Motion, read_motion, read_recordings
from recurra.data.panels import Panel
from recurra.data.records import Record, Records
from recurra.data.windows import PARTS, Stored
from recurra.errors import DataError, argument
from recurra.models import Forecaster, Names, Scaling, Series, SeriesScaling
from recurra.models.rotations import euler_of
from recurra.models.series import measured
from recurra.models.skeleton import CMU
from recurra.settings import Settings
from recurra.tasks.cells import with_cell
from recurra.tasks.encoding import FOLDER
from recurra.tasks.forecast import FILE, ForecastTask
from recurra.tasks.forecast_rolling import seeded
from recurra.tasks.motion_measures import (
    LABELS,
    MOVES,
    PUBLISHED_LENGTHS,
    angle_error,
    published_starts,
)
from recurra.tasks.naive import damped_velocity, persistence
from recurra.tasks.options import (
    MotionModelSettings,
    MotionSettings,
    MotionTraining,
    SeriesSettings,
)
from recurra.training.settings import RunSettings, TrainingSettings
from recurra.training.task import Description, Figure, Moment

_NAIVE = {"zero velocity": persistence, "damped velocity": damped_velocity}
_AVERAGES = {"every": "every window", "published": "the eight windows of an action in print"}
_SHARES = (0.8, 0.1, 0.1)  # of recordings of which no part is named; all are
MEAN = "mean"  # of the actions, among their names


class MotionTask(ForecastTask):
    """Recordings of bodies, and the windows in them; a series is a recording, ACTION/NAME."""

    name: ClassVar[str] = "motion"
    title: ClassVar[str] = "forecaster of motion"
    beginning: ClassVar[str] = "zero velocity"
    data_settings: ClassVar[type[Settings]] = MotionSettings
    model_settings: ClassVar[type[Settings]] = MotionModelSettings
    training_settings: ClassVar[type[TrainingSettings]] = MotionTraining

    # ---- data ------------------------------------------------------------------------------------

    @classmethod
    def check(cls, settings: RunSettings) -> RunSettings:
        """The settings with the cell that they name; DataError when the folder is not there."""
        given = settings.data.data
        if given is not None and not Path(given).is_dir():
            got = "a file" if Path(given).exists() else "no such folder"
            raise DataError(
                f"{given}: expected a folder with sub-folders of train and test, got {got}. Check "
                "the path."
            )
        return with_cell(settings)

    @classmethod
    def prepare(cls, folder: Path, data: Any) -> "MotionTask":
        """Read the recordings into the folder."""
        if data.data is None:
            raise DataError(
                f"{argument('data=')}: expected a folder of recordings, got none. Name one with "
                "train/ACTION and test/ACTION."
            )
        task = cls.of_motion(read_motion(data.data), data)
        task.stored.write(folder / FOLDER / FILE)
        return task

    @classmethod
    def of_motion(
        cls, recordings: Mapping[str, Sequence[Motion]], data: MotionSettings
    ) -> "MotionTask":
        """The task of recordings that were read.

        Of those to train on all frames are used: where every second one is kept, those between are
        a recording by themselves, and what a mirror shows is one too.

        Args:
            recordings: by part, "train", "val" and "test".
            data: which frames are kept.
        """
        learned = [*recordings["train"], *(recordings["val"] if data.train_on_all else ())]
        if data.mirror:
            learned += [_mirrored(motion) for motion in learned]
        panels = {
            "train": [m.every(data.every, first) for m in learned for first in range(data.every)],
            **{part: [m.every(data.every) for m in recordings[part]] for part in PARTS[1:]},
        }
        panels = {part: _panel(motions) for part, motions in panels.items()}
        stored = Stored.of(panels, _SHARES)
        return cls(
            stored,
            _as_series(data),
            channels=panels["train"].channels,
            scaling=_measured(stored),
            season=1,
            description={"every": data.every},
        )

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> "MotionTask":
        """The recordings in a run's folder, and how they are scaled."""
        return cls(
            Stored.read(folder / FOLDER / FILE),
            _as_series(MotionSettings.pick(config["data"])),
            channels=Names.from_config(config["channels"]),
            scaling=SeriesScaling.from_config(config["scaling"]),
            season=1,
            description=config["data"]["described"],
        )

    def describe(self) -> Description:
        """How many recordings and windows of which actions, and how many numbers move."""
        lines, facts = [], {}
        for part in PARTS:
            frames = [len(each) for each in self.stored.of_part(part)]
            windows = len(self.rolling.windows(part))
            there = sum(length > 0 for length in frames)
            lines.append((part, f"{sum(frames):,} frames, {there} series, {windows:,} windows"))
            facts[part] = windows
        lines.append(("actions", ", ".join(self.actions)))
        moves = sum(spread > 0 for spread in self.scaling.each[0].spread)
        said = f"{len(self.channels)} numbers, {moves} of which move in the training part"
        lines.append(("a frame", said))
        return Description(lines=lines, facts={**facts, "actions": list(self.actions)})

    @property
    def actions(self) -> tuple[str, ...]:
        """Their names, in the order of the alphabet."""
        return tuple(sorted({_action(name) for name in self.stored.names}))

    # ---- figures ---------------------------------------------------------------------------------

    @property
    def figures(self) -> Sequence[Figure]:
        """The published error, mean over the horizons that papers have and over the actions."""
        return (Figure(name="angle_error", unit="radians"),)

    def naive_figures(self, split: str) -> dict[str, float]:
        """The same of what learns nothing."""
        every = self._naive_errors(split)
        return {name: _mean(self._by_action(found, split)) for name, found in every.items()}

    def validate(self, model: Forecaster, device: torch.device) -> dict[str, float]:
        """The figure over all windows of the validation part."""
        errors = self._errors(model, "val")
        if model.adds_to_last:
            at = np.array([*self._labels().values()]) - 1
            gain = (self._naive_errors("val")[self.beginning] - errors)[:, at].mean(axis=1)
            weights = self._weights(self.rolling.windows("val").series)
            self._judge(gain, weights, self.rolling.blocks("val"))
        return {"angle_error": _mean(self._by_action(errors, "val"))}

    def _weights(self, series: np.ndarray) -> np.ndarray:
        """[N], of each window in the mean over actions: those of an action weigh 1 together."""
        actions = np.array([_action(name) for name in self.stored.names])[series]
        _, number, count = np.unique(actions, return_inverse=True, return_counts=True)
        return 1 / count[number]

    def evaluate(self, model: Forecaster, split: str) -> dict[str, Any]:
        """`angle_error`; `errors`, by average ("every", "published"), by who says ("model", "zero
        velocity", "damped velocity"), by action and "mean", at the horizons `ms`; `windows`,
        `seconds`.

        "published" is there where windows are as long as those in print, and recordings long
        enough to draw them from.
        """
        started = time.perf_counter()
        sayers = {"model": self._errors(model, split), **self._naive_errors(split)}
        errors = {}
        for average in _AVERAGES:
            if average == "published" and not self._has_published(split):
                continue
            errors[average] = {
                name: self._by_action(found, split, average) for name, found in sayers.items()
            }
        return {
            "angle_error": _mean(errors["every"]["model"]),
            "errors": errors,
            "ms": list(self._labels()),
            "windows": len(sayers["model"]),
            "seconds": time.perf_counter() - started,
        }

    def _labels(self) -> dict[int, int]:
        """The horizons that papers have, as far as windows go; of short windows their last frame
        by its number."""
        found = {ms: frame for ms, frame in LABELS.items() if frame <= self.data.horizon}
        return found or {self.data.horizon: self.data.horizon}

    def _errors(self, model: Forecaster, split: str) -> np.ndarray:
        """[N, F] of what a model says, free-running."""
        generator, found = seeded(model), []
        for batch in self.rolling.batches(split):
            said, _ = self.rolling.said(model, batch, (), generator)
            said, true = (euler_of(x.swapaxes(0, 1)) for x in (said, self.rolling.true(batch)))
            found.append(angle_error(said, true))
        return np.concatenate(found)

    def _naive_errors(self, split: str) -> dict[str, np.ndarray]:
        """[N, F] of what learns nothing and says Euler angles."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in _NAIVE}
        for batch in self.rolling.batches(split):
            at = batch.starts[:, None] + np.arange(-2, self.data.horizon)
            angles = euler_of(self.stored.values[at])
            for name, naive in _NAIVE.items():
                said = naive(angles[:, :2], self.data.horizon)
                found[name].append(angle_error(said, angles[:, 2:]))
        return {name: np.concatenate(each) for name, each in found.items()}

    def _by_action(
        self, errors: np.ndarray, split: str, average: str = "every"
    ) -> dict[str, list[float]]:
        """The mean errors of each action at the horizons, and the mean over actions."""
        of_series = self.rolling.windows(split).series
        at = np.array([*self._labels().values()]) - 1
        by_action: dict[str, list[np.ndarray]] = {}
        for number in np.unique(of_series).tolist():
            own = errors[of_series == number]
            if average == "published":
                own = own[published_starts(len(own) + sum(PUBLISHED_LENGTHS) - 1)]
            by_action.setdefault(_action(self.stored.names[number]), []).append(own)
        means = {
            action: np.concatenate(each).mean(axis=0)[at] for action, each in by_action.items()
        }
        means[MEAN] = np.mean([*means.values()], axis=0)
        return {action: each.tolist() for action, each in means.items()}

    def _has_published(self, split: str) -> bool:
        _, counts = np.unique(self.rolling.windows(split).series, return_counts=True)
        lengths = self.data.look_back, self.data.horizon
        return lengths == PUBLISHED_LENGTHS and int(counts.min()) > 1

    @classmethod
    def evaluate_file(
        cls,
        model: Forecaster,
        data: Any,
        split: str | None,
        how: Any,
    ) -> dict[str, Any]:
        """The same of a part of another folder, or of a folder that has actions alone."""
        if not isinstance(data, str | Path) or not Path(data).is_dir():
            raise DataError(
                f"{argument('data=')}: expected a folder of recordings, got {data!r:.60}. Name one."
            )
        folder = Path(data)
        motions = read_motion(folder)[split] if split else [*read_recordings(folder)]
        panel = _panel([motion.every(how.every) for motion in motions])
        if len(panel.channels) != model.num_channels:
            raise DataError(
                f"{folder}: expected {model.num_channels} numbers a frame, as the model forecasts, "
                f"got {len(panel.channels)}. Use recordings of the same skeleton."
            )
        task = cls(
            Stored.of({"test": panel}, _SHARES),
            _as_series(how),
            channels=panel.channels,
            scaling=model.needed("scaling", "MotionTask.evaluate_file"),
            season=1,
        )
        return task.evaluate(model, "test")

    @classmethod
    def say(cls, figures: Mapping[str, Any]) -> str:
        """A table for each average: a row for each action and who says it, then the means."""
        lines = []
        for average, sayers in figures["errors"].items():
            heads = "".join(f"{ms:>8}" for ms in figures["ms"])
            lines.append(f"{_AVERAGES[average]:<42}{heads} ms")
            for action in sayers["model"]:
                for name, errors in sayers.items():
                    numbers = "".join(f"{error:8.3f}" for error in errors[action])
                    lines.append(f"  {action:<16}{name:<24}{numbers}")
        lines.append(
            f"errors of Euler angles in radians; {figures['windows']:,} windows, "
            f"{figures['seconds']:.1f} s"
        )
        return "\n".join(["", *lines])

    # ---- predicting ------------------------------------------------------------------------------

    @classmethod
    def inputs(cls, model: Forecaster, path: Path, how: Any) -> Records:
        """The recordings of a file or a folder."""
        return MotionRecords(path, how.every)

    def panels(self, model: Forecaster, split: str) -> dict[str, np.ndarray]:
        """The window of a part whose mean error is in the middle of all, as `draw_motion` takes it:
        what came and what the model says, each [T + F, D], both behind what was seen; the first by
        the name of the recording."""
        errors = self._errors(model, split).mean(axis=1)
        number = int(np.argsort(errors)[len(errors) // 2])
        batch = self.rolling.windows(split).gather(np.array([number]))
        start, seen = int(batch.starts[0]), self.data.look_back
        whole = self.stored.values[start - seen : start + self.data.horizon]
        said, _ = self.rolling.said(model, batch, (), seeded(model))
        name = self.stored.names[int(batch.series[0])]
        return {
            f"{name}: what came": whole,
            "what was said": np.concatenate([whole[:seen], said[:, 0]]),
        }

    def preview(self, model: Forecaster, moment: Moment, training: Any) -> tuple[str, str] | None:
        """The errors on the validation part, beside those of what learns nothing."""
        found = {"model": self._errors(model, "val"), **self._naive_errors("val")}
        lines = [
            f"{name}: " + " ".join(f"{e:.3f}" for e in self._by_action(each, "val")[MEAN])
            for name, each in found.items()
        ]
        labels = " ".join(map(str, self._labels()))
        return "\n".join(lines), f"of the validation part, mean of actions at {labels} ms"


class MotionRecords(Records):
    """Recordings to forecast, a record each.

    Args:
        path: a file, or a folder of such.
        every: which frames are kept, the last one among them.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.where, self._every = str(path), every
        self._path = path

    def __iter__(self) -> Iterator[Record]:
        for motion in read_recordings(self._path):
            kept = motion.every(self._every, (len(motion) - 1) % self._every)
            yield Record(value=Series(values=kept.frames), label="", place=motion.place)


def _as_series(data: MotionSettings) -> SeriesSettings:
    """How a forecast reads the same."""
    return SeriesSettings(horizon=data.horizon, look_back=data.look_back, scaling="shared")


def _mirrored(motion: Motion) -> Motion:
    if motion.frames.shape[1] != 3 * (len(CMU.parents) + 1):
        raise DataError(
            f"{argument('mirror=True')}: expected the skeleton of CMU, 117 numbers a frame, got "
            f"{motion.frames.shape[1]} in {motion.place}. Leave it out."
        )
    frames = CMU.mirrored(motion.frames)
    return replace(motion, frames=frames, name=f"{motion.name}, mirrored")


def _panel(motions: Sequence[Motion]) -> Panel:
    size = motions[0].frames.shape[1]
    joints = ["position", *(f"joint {number}" for number in range(size // 3 - 1))]
    return Panel(
        series=tuple(
            Series(values=motion.frames.astype(np.float64), name=motion.name) for motion in motions
        ),
        channels=tuple(f"{joint} {axis}" for joint in joints for axis in "xyz"),
        past=(),
        known=(),
        frequency=None,
        notes=(),
    )


def _measured(stored: Stored) -> SeriesScaling:
    """One scaling for all recordings: the mean of each number, and one deviation of all angles that
    move, which are in radians; the root's position has deviations of its own."""
    own = measured(np.concatenate(stored.of_part("train")))
    spread = np.array(own.spread)
    angles = spread[3:]
    moving = angles > MOVES
    if moving.any():
        angles[:] = np.where(moving, angles[moving].mean(), 0.0)
    return SeriesScaling(
        names=("",),
        each=(Scaling(mean=own.mean, spread=tuple(spread.tolist()), missing=own.missing),),
    )


def _action(name: str) -> str:
    return name.partition("/")[0]


def _mean(by_action: Mapping[str, Sequence[float]]) -> float:
    return float(np.mean(by_action[MEAN]))

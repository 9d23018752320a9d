"""A forecaster of motion, from recordings to the published error."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.data.motion import read_motion, windows
from recurra.errors import DataError
from recurra.models.rotations import euler_of
from recurra.models.skeleton import CMU
from recurra.tasks import naive
from recurra.tasks.motion import MotionTask
from recurra.tasks.motion_measures import angle_error, published_starts
from recurra.tasks.options import MotionModelSettings, MotionSettings, MotionTraining

D = 15  # the root's two triplets, and three joints
SMALL: dict[str, Any] = {
    "look_back": 6,
    "horizon": 4,
    "hidden_size": 16,
    "lr": 0.01,
    "view": None,
    "threads": 1,
}


def recorded(path: Path, frames: int, *, pace: float, seed: int) -> None:
    """A body whose joints swing; the last number of the last one stays as it is."""
    rng = np.random.default_rng(seed)
    at = np.arange(frames)[:, None] * pace + rng.uniform(0, 6, size=D)
    values = 0.5 * np.sin(at)
    values[:, :3] *= 20
    values[:, -1] = 0.25
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values, delimiter=",", fmt="%.5f")


def recordings(folder: Path, *, alike: bool = False) -> Path:
    """Of two actions, three to train on and one to test on; those of an action swing alike, or
    each its own way."""
    for number, (action, pace) in enumerate({"running": 0.4, "walking": 0.2}.items()):
        for part, files in (("train", 3), ("test", 1)):
            for file in range(files):
                path = folder / part / action / f"{action}_{file + 1}.txt"
                seed = 10 * number + (0 if alike else file)
                recorded(path, 61 + 20 * file, pace=pace, seed=seed)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings(tmp_path_factory.mktemp("motion"))


def task_of(data: Path, **options: Any) -> MotionTask:
    settings = MotionSettings(**{"look_back": 6, "horizon": 4, **options})
    return MotionTask.of_motion(read_motion(data), settings)


def test_all_frames_are_trained_on_and_every_second_is_judged(data: Path) -> None:
    task = task_of(data)
    assert task.stored.names == (
        *("running/running_1", "running/running_1, from frame 1"),
        *("running/running_2", "running/running_2, from frame 1"),
        *("walking/walking_1", "walking/walking_1, from frame 1"),
        *("walking/walking_2", "walking/walking_2, from frame 1"),
        *("running/running_3", "walking/walking_3"),
        *("running/running_1", "walking/walking_1"),
    )
    lengths = {part: [len(v) for v in task.stored.of_part(part)] for part in ("train", "val")}
    assert lengths["train"] == [31, 30, 41, 40, 31, 30, 41, 40, 0, 0, 0, 0]
    assert lengths["val"] == [0] * 8 + [51, 51, 0, 0]
    assert task.actions == ("running", "walking")
    assert task_of(data, every=1).stored.names[:2] == ("running/running_1", "running/running_2")


def test_recordings_that_validate_may_be_trained_on(data: Path) -> None:
    task = task_of(data, train_on_all=True)
    assert task.stored.names.count("running/running_3") == 2
    assert len(task.stored.of_part("train")[8]) == 51
    assert len(task.rolling.windows("val")) == len(task_of(data).rolling.windows("val"))


def test_what_a_mirror_shows_is_trained_on(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mirror=True: expected .*of CMU, 117 .*got 15 in .*Leave"):
        task_of(data, mirror=True)
    for part, file in (("train", 1), ("train", 2), ("test", 1)):
        path = tmp_path / part / "walking" / f"walking_{file}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(file).normal(size=(24, 117))
        np.savetxt(path, values, delimiter=",", fmt="%.5f")
    task = task_of(tmp_path, mirror=True)
    assert task.stored.names[:4] == (
        *("walking/walking_1", "walking/walking_1, from frame 1"),
        *("walking/walking_1, mirrored", "walking/walking_1, mirrored, from frame 1"),
    )
    plain, _, mirrored, *others = task.stored.of_part("train")
    np.testing.assert_allclose(mirrored, CMU.mirrored(plain))
    assert [len(each) for each in others[1:]] == [0, 0]


def test_angles_share_a_deviation_and_what_never_moves_is_not_read(data: Path) -> None:
    spread = np.array(task_of(data).scaling.each[0].spread)
    assert len({*spread[3:-1].tolist()}) == 1
    assert spread[3] == pytest.approx(0.35, abs=0.05)
    assert spread[-1] == 0.0
    assert (spread[:3] > 10 * spread[3]).all()


def test_errors_are_those_of_each_window_by_hand(data: Path) -> None:
    task = task_of(data)
    found = task._naive_errors("test")
    wanted: dict[str, list[np.ndarray]] = {"zero velocity": [], "damped velocity": []}
    for motion in read_motion(data)["test"]:
        half = motion.every(2)
        angles = windows(replace(half, frames=euler_of(half.frames)), 10)
        for name, forecast in (
            ("zero velocity", naive.persistence),
            ("damped velocity", naive.damped_velocity),
        ):
            wanted[name].append(angle_error(forecast(angles[:, :6], 4), angles[:, 6:]))
    for name, errors in wanted.items():
        np.testing.assert_allclose(found[name], np.concatenate(errors), atol=1e-4)


def test_a_model_that_says_the_last_frame_has_the_error_of_zero_velocity(data: Path) -> None:
    task = task_of(data)
    model = task.build(MotionModelSettings(decoding="direct", hidden_size=8))
    torch.nn.init.zeros_(model.decoder.weight)
    torch.nn.init.zeros_(model.decoder.bias)
    found = task.evaluate(model, "test")
    assert found["ms"] == [80, 160]
    errors = found["errors"]["every"]
    for action in ("running", "walking", "mean"):
        np.testing.assert_allclose(
            errors["model"][action], errors["zero velocity"][action], atol=1e-4
        )
    np.testing.assert_allclose(
        errors["model"]["mean"],
        np.mean([errors["model"][action] for action in ("running", "walking")], axis=0),
    )
    assert found["angle_error"] == pytest.approx(np.mean(errors["model"]["mean"]))
    assert task.validate(model, torch.device("cpu"))["angle_error"] == pytest.approx(
        task.naive_figures("val")["zero velocity"], abs=1e-4
    )
    said = task.remark({"angle_error": task.naive_figures("val")["zero velocity"]})
    assert said is not None
    assert "zero velocity, which learns nothing" in said or "worse than" in said


def test_the_published_windows_are_drawn_from_windows_of_their_length(tmp_path: Path) -> None:
    for part, file in (("train", 1), ("train", 2), ("test", 1)):
        path = tmp_path / part / "walking" / f"walking_{file}.txt"
        recorded(path, 100, pace=0.2, seed=file)
    task = task_of(tmp_path, every=1, look_back=50, horizon=25)
    errors = task._naive_errors("test")["zero velocity"]
    found = task._by_action(errors, "test", "published")
    wanted = errors[published_starts(100)].mean(axis=0)[[1, 3, 7, 9, 24]]
    np.testing.assert_allclose(found["walking"], wanted)
    model = task.build(MotionModelSettings(hidden_size=8))
    assert set(task.evaluate(model, "test")["errors"]) == {"every", "published"}


@pytest.mark.medium
def test_it_learns_what_swings(tmp_path: Path) -> None:
    data = recordings(tmp_path / "data", alike=True)
    run = rc.train("motion", data=str(data), out=tmp_path / "run", epochs=40, **SMALL)
    found = run.evaluate("test")
    errors = found["errors"]["every"]
    for action in ("running", "walking"):
        assert (np.array(errors["model"][action]) < errors["zero velocity"][action]).all()
    opened = rc.Run.open(tmp_path / "run")
    assert opened.evaluate("test")["errors"] == found["errors"]
    other = run.evaluate(None, data=str(data / "test"))
    assert other["errors"] == found["errors"]
    assert run.evaluate("val", data=str(data))["errors"] == run.evaluate("val")["errors"]
    said = MotionTask.say(found)
    assert "every window" in said
    assert said.count("damped velocity") == 3
    [record] = MotionTask.inputs(
        run.model, data / "test" / "walking" / "walking_1.txt", MotionSettings()
    )
    [forecast] = run.model.predict([record.value])
    assert forecast.values.shape == (4, D)
    assert forecast.channels[:4] == ("position x", "position y", "position z", "joint 0 x")
    np.testing.assert_allclose(forecast.values[:, -1], 0.25, atol=1e-6)


@pytest.mark.medium
def test_what_is_worse_than_zero_velocity_on_the_validation_part_is_not_kept(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Recordings that swing their own way teach nothing of those to validate on."""
    rc.train("motion", data=str(data), out=tmp_path / "run", epochs=3, **SMALL)
    assert rc.load(tmp_path / "run").repeats_last
    assert "no step of training made the model better than zero velocity" in caplog.text


def test_both_ways_to_decode_train(data: Path) -> None:
    task = task_of(data)
    batch = task.source("train", MotionTraining()).batch(0, 0)
    for options in ({}, {"decoding": "recursive", "residual": True}, {"decoding": "direct"}):
        model = task.build(MotionModelSettings(hidden_size=8, **options))
        loss = task.loss(model, batch, None, rc.training.Moment())
        loss.mean.backward()
        assert loss.count == 4 * batch.x.shape[1] * D


def test_mistakes(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data=: expected a folder of recordings, got none\. Name"):
        rc.train("motion", out=tmp_path / "run", **SMALL)
    with pytest.raises(DataError, match=r"nowhere: expected a folder with .*got no such folder"):
        rc.train("motion", data="nowhere", out=tmp_path / "run", **SMALL)
    with pytest.raises(DataError, match=r"horizon= or give longer series|Lower horizon="):
        rc.train("motion", data=str(data), out=tmp_path / "run", **{**SMALL, "horizon": 500})
    assert not (tmp_path / "run").exists()

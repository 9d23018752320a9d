"""Taggers of frames, from a world to a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.data.worlds import Clips
from recurra.errors import DataError
from recurra.models import FrameTagger
from recurra.models.frames import framewise
from recurra.tasks import FramesTask
from recurra.tasks.frames import measured_pixels
from recurra.tasks.frames_data import FoundClips
from recurra.training import Trainer

FEW = "train=8,val=2,test=2"
LABELS = ("background", "left", "right")


def made(count: int = 24, T: int = 10, *, numbers: bool = False, seed: int = 0) -> Clips:
    """A dot that goes to the left or to the right, from somewhere: one frame does not say which."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((count, T, 1, 8, 8), dtype=np.uint8)
    labels = np.zeros((count, T), dtype=np.int64)
    places = np.zeros((count, T, 2), dtype=np.float32)
    for n in range(count):
        row, column, way = rng.integers(8), rng.integers(8), rng.integers(2)
        for t in range(2, T):
            at = (column + (t if way else -t)) % 8
            frames[n, t, 0, row, at] = 255
            labels[n, t] = 1 + way
            places[n, t] = at, row
    if numbers:
        return Clips(frames=frames, targets=places, target_names=("dot_x", "dot_y"))
    return Clips(frames=frames, labels=labels, label_names=LABELS)


def parts(**options: Any) -> FoundClips:
    names = ("train", "val", "test")
    world = {name: made(seed=seed, **options) for seed, name in enumerate(names)}
    return FoundClips.of_world(world)


def model_of(task: FramesTask, **options: Any) -> FrameTagger:
    settings = {"widths": "8,8", "vector_size": 16, "hidden_size": 16, "dropout": 0.0, **options}
    return task.build(task.model_settings(**settings))


@pytest.mark.medium
@pytest.mark.parametrize("numbers", [False, True])
def test_a_run_is_the_task_that_it_was_made_of(tmp_path: Path, numbers: bool) -> None:
    clips = parts(numbers=numbers)
    run = rc.train(
        *(FramesTask.of_clips(clips),),
        **{"out": tmp_path / "run", "max_steps": 2, "view": None, "threads": 1},
    )
    assert isinstance(run.model, FrameTagger)
    assert run.model.scaling == measured_pixels(made(numbers=numbers).frames.reshape(-1, 1, 8, 8))
    names = run.model.target_names if numbers else run.model.labels
    assert names == (clips.target_names if numbers else LABELS)
    found = run.evaluate("test")
    assert found["steps"] == 240 * (2 if numbers else 1)
    said = FramesTask.say(found)
    assert ("distance" in said) == numbers
    assert ("events" in said) != numbers


@pytest.mark.medium
def test_the_world_of_gestures_is_trained_on_by_its_name(tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = {"widths": "4,4,4", "vector_size": 8, "hidden_size": 8}
    run = rc.train("frames", data=f"gestures:{FEW}", out=out, max_steps=1, view=None, **small)
    again = rc.Run.open(out)
    assert again.task.parts["train"].values.shape == (320, 4, 32, 32)
    assert again.task.background == 0
    assert again.model.labels == run.model.labels
    resumed = rc.train("frames", out=out, resume=True, max_steps=2, view=None)
    assert resumed.result is not None
    assert resumed.result.steps == 2


@pytest.mark.medium
def test_clips_of_a_world_are_drawn_anew_for_every_pass(tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = {"widths": "4,4,4", "vector_size": 8, "hidden_size": 8, "fresh": True}
    rc.train("frames", data=f"gestures:{FEW}", out=out, max_steps=1, view=None, **small)
    task = rc.Run.open(out).task
    passes = [task.source("train", task.training_settings(seed=0)).batch(n, 0).x for n in (0, 1)]
    assert not torch.equal(*passes)
    assert "drawn anew" in str(task.describe().lines)
    kept = task.source("val", task.training_settings(batch_size=2)).batch(1, 0)
    assert len(kept.examples) == 2


@pytest.mark.medium
@torch.no_grad()
def test_movement_is_learned_by_recurrence_and_not_without() -> None:
    clips = {"train": made(200), "val": made(50, seed=1), "test": made(50, seed=2)}
    task = FramesTask.of_clips(FoundClips.of_world(clips))
    found = {}
    for recurrence in (True, False):
        settings = task.model_settings(
            **{"widths": "16", "vector_size": 32, "hidden_size": 32, "cell": "gru"},
            **{"downsample": "pool", "dropout": 0.0, "input_dropout": 0.0},
        )
        torch.manual_seed(0)
        model = task.build(settings if recurrence else replace(settings, cell=framewise))
        training = task.training_settings(max_steps=200, eval_every=200, lr=4e-3, threads=1, seed=0)
        with torch.enable_grad():
            Trainer(task, model, training).fit()
        found[recurrence] = task.evaluate(model.eval(), "test")
    # of a frame alone the two directions are a toss; with memory all but the first is certain
    assert found[True]["accuracy"] > 0.85
    assert found[False]["accuracy"] < 0.75
    assert found[True]["found"] > 0.9


@pytest.mark.medium
def test_no_recurrence_is_a_cell_that_sees_one_frame(tmp_path: Path) -> None:
    small = {"widths": "4", "vector_size": 8, "hidden_size": 8, "recurrence": False}
    out = tmp_path / "run"
    task = FramesTask.of_clips(parts())
    rc.train(task, out=out, max_steps=1, view=None, threads=1, **small)
    model = rc.load(out)
    assert isinstance(model, FrameTagger)
    assert model.recurrent.cell.name == "framewise"
    x = torch.randint(256, (5, 1, 1, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(model(x)[3], model(x[3:4])[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "got none"),
        ({"data": ".", "fresh": True}, "fresh=: expected a world of clips"),
        ({"data": "nowhere"}, "nowhere: expected a file or a folder"),
        ({"data": "gestures", "test_data": "."}, "a world, which has parts"),
        ({"data": "gestures:trains=4"}, "expected gestures to be given train"),
        ({"data": f"gestures:{FEW}", "background": "nothing"}, "got 'nothing'"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises((DataError, ValueError), match=said):
        rc.train("frames", out=tmp_path / "run", max_steps=1, view=None, **settings)
    assert not (tmp_path / "run").exists()


def test_clips_with_other_labels_than_the_models_are_refused() -> None:
    task = FramesTask.of_clips(parts())
    model = model_of(task)
    found = FramesTask.for_model(model, parts()).evaluate(model.eval(), "test")
    assert found["steps"] == 240
    with pytest.raises(DataError, match="expected clips with background, left, right"):
        FramesTask.for_model(model, parts(numbers=True))


def test_labels_of_other_clips_are_told_by_their_names() -> None:
    task = FramesTask.of_clips(parts())
    model = model_of(task).eval()
    clips = made(seed=2)
    assert clips.labels is not None
    turned = replace(clips, labels=2 - clips.labels, label_names=LABELS[::-1])
    found = FramesTask.for_model(model, FoundClips.of_world({"test": turned}))
    np.testing.assert_array_equal(found.parts["test"].targets, task.parts["test"].targets)


@pytest.mark.medium
def test_clips_of_files_are_trained_on_and_predicted(tmp_path: Path) -> None:
    clips = made(12)
    assert clips.labels is not None
    for n, (frames, labels) in enumerate(zip(clips.frames, clips.labels, strict=True)):
        folder = tmp_path / "clips" / ("train", "val", "test")[n % 3]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{n}.npy", frames[: 10 - n % 4])
        names = [LABELS[label] for label in labels[: 10 - n % 4]]
        (folder / f"{n}.labels.csv").write_text("\n".join(["label", *names]))
    out = tmp_path / "run"
    small = {"widths": "4", "vector_size": 8, "hidden_size": 8}
    run = rc.train("frames", data=tmp_path / "clips", out=out, max_steps=1, view=None, **small)
    assert run.evaluate("test")["sequences"] == 4
    assert run.evaluate(data=tmp_path / "clips" / "val")["sequences"] == 4
    assert run.evaluate(data=tmp_path / "clips")["sequences"] == 12
    assert run.evaluate("train", data=tmp_path / "clips")["sequences"] == 4
    with pytest.raises(DataError, match="expected a folder val in it"):
        run.evaluate("val", data=tmp_path / "clips" / "train")
    [said] = run.model.predict([clips.frames[0]])
    record = next(
        iter(FramesTask.inputs(run.model, tmp_path / "clips/train/0.npy", run.data_settings))
    )
    assert run.model.predict([record.value])[0] == said
    assert set(said.labels) <= set(LABELS)
    rows = FramesTask.rows(said)
    assert [row["step"] for row in rows] == [*range(1, 11)]
    assert [row["labels"] for row in rows] == [*said.labels]


@torch.no_grad()
def test_clips_in_the_middle_of_equal_shares_are_shown() -> None:
    task = FramesTask.of_clips(parts())
    model = model_of(task).eval()
    found = task.timelines(model, "val")
    assert len(found) == 3
    right = [np.mean(np.array(each.true) == np.array(each.said)) for each in found]
    assert right == sorted(right, reverse=True)
    assert found[0].quiet == "background"
    assert [each.name for each in task.insights(model)] == ["timelines", "confusion"]

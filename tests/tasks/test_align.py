"""`recurra train align`: from pictures with sentences to a run in which each finds the other."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import recurra as rc
from recurra.data import worlds
from recurra.data.caption_store import open_boxes, write_boxes
from recurra.errors import DataError
from recurra.models.ranking import max_margin
from recurra.tasks import AlignTask
from recurra.tasks.align import _boxes_for
from recurra.tasks.align_scores import (
    Pointing,
    lie_in,
    recalls_by_chance,
    shapes_of,
    told_shapes,
)
from recurra.tasks.options import AlignerSettings, AlignSettings, AlignTraining
from recurra.training.settings import RunSettings
from recurra.training.task import Moment

pytestmark = pytest.mark.medium

WORLD = "scenes:train=24,val=10,test=12,unseen=4,size=24"
SMALL: dict[str, Any] = {
    "hidden_size": 12,
    "embedding_size": 8,
    "joint_size": 16,
    "encoder_width": 8,
    "encoder_stages": 2,
    "batch_size": 6,
    "view": None,
}


def prepared(folder: Path, **settings: Any) -> AlignTask:
    return AlignTask.prepare(folder, AlignSettings(data=WORLD, **settings))


# ---- shapes --------------------------------------------------------------------------------------


def test_every_colour_and_kind_told_is_of_its_shape() -> None:
    """In every style, against the scenes as they were painted; the middle of a box lies in it."""
    world = worlds.scenes(train=1, val=1, test=60, unseen=1, size=24)["test"]
    for scene, captions, boxes in zip(world.scenes, world.captions, world.boxes, strict=True):
        own = boxes[: len(scene)] / 24
        shapes = shapes_of(captions, own)
        assert shapes == [(shape.colour, shape.kind) for shape in scene]
        assert shapes_of(captions, boxes[:5]) == (shapes if len(scene) == 4 else None)
        for text in captions:
            words = text.replace(",", "").replace(":", "").split()
            told = told_shapes(words, shapes)
            assert len(told) == 2 * len(scene)
            for t, (number, kind) in told.items():
                assert words[t] == getattr(scene[number], kind)
        assert (lie_in(own, own) == np.eye(len(own), dtype=bool)).all()
    assert shapes_of(["a dog"], own) is None
    assert not lie_in(np.array([[0, 0, 1, 1]]), np.array([[0.2, 0.2, 0.8, 0.8]])).any()


def test_words_are_counted_where_they_look() -> None:
    inside = np.array([[True, False], [False, True], [False, False], [True, True]])
    told = {1: (0, "colour"), 2: (0, "kind"), 4: (1, "colour"), 5: (1, "kind")}
    counted = Pointing()
    counted.add(told, inside, [2, 0, 2, 2, 0, 1], [0] * 6, np.array([True, True, True, False]))
    assert counted.figures() == {
        "pointed": 0.5,
        "pointed_colour": 0.5,
        "pointed_kind": 0.5,
        "pointed_smoothed": 0.5,
        "pointed_chance": pytest.approx(1 / 3),
    }
    assert Pointing().figures() == {}


def test_chance_is_the_mean_of_random_orders() -> None:
    from recurra.tasks.caption_floors import recalls

    counts = [1, 5, 2, 4]
    which = [n for n, count in enumerate(counts) for _ in range(count)]
    draw = torch.Generator().manual_seed(0)
    drawn = [recalls(torch.rand(4, 12, generator=draw), which) for _ in range(3000)]
    expected = recalls_by_chance(counts)
    for name in ("text_to_image_1", "image_to_text_1", "image_to_text_5", "image_to_text_10"):
        assert np.mean([each[name] for each in drawn]) == pytest.approx(expected[name], abs=0.02)


# ---- a run ---------------------------------------------------------------------------------------


def test_boxes_are_kept_as_they_are(tmp_path: Path) -> None:
    task = prepared(tmp_path, size=36)  # pictures are scaled, boxes are shares
    world = worlds.make(WORLD, worlds.PICTURE_WORLDS)["train"]
    assert isinstance(world, worlds.Scenes)
    own = task.parts["train"].boxes
    assert own is not None
    for boxes, made, scene in zip(own, world.boxes, world.scenes, strict=True):
        np.testing.assert_allclose(boxes, made[: len(scene)] / 24, atol=1e-6)
    batch = task.parts["train"].gather(np.array([3, 0]))
    assert batch.boxes is not None
    assert batch.box_counts is not None
    assert batch.box_counts.tolist() == [len(own[3]), len(own[0])]
    np.testing.assert_array_equal(batch.boxes[1, : len(own[0])].numpy(), own[0])
    path = tmp_path / "some.boxes.safetensors"
    write_boxes(path, [own[0], np.zeros((0, 4), dtype=np.float32), own[1]])
    again = open_boxes(path)
    assert again is not None
    assert [each.tolist() for each in again] == [own[0].tolist(), [], own[1].tolist()]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError):
        open_boxes(path)


@pytest.mark.parametrize("kind", ["grid", "boxes"])
def test_the_loss_of_a_batch_is_of_its_own_scores(tmp_path: Path, kind: str) -> None:
    task = prepared(tmp_path)
    how: dict[str, Any] = {"margin": 0.5, "negatives": "hardest", "captions_per_image": "all"}
    task.training = AlignTraining(batch_size=6, **how)
    torch.manual_seed(0)
    sizes = {name: SMALL[name] for name in SMALL if name not in ("batch_size", "view")}
    model = task.build(AlignerSettings(regions=kind, **sizes)).eval()
    batch = task.source("train", task.training).batch(0, 0)
    found = task.loss(model, batch, None, Moment())
    pixels = model.pixels([each.numpy() for each in batch.images])
    scores = model(pixels, batch.captions, batch.lengths, **_boxes_for(model, batch))
    expected = max_margin(scores, batch.which, margin=0.5, negatives="hardest").mean()
    torch.testing.assert_close(found.mean, expected, rtol=1e-4, atol=1e-5)
    assert found.count == 30
    assert task.chance == 1.0


@torch.no_grad()
def test_a_place_tells_of_what_is_near_it_alone(tmp_path: Path) -> None:
    """As the default normalises: a word that is to find its shape must look at it."""
    model = prepared(tmp_path).build(AlignerSettings(encoder_width=4)).eval()
    blank, other = torch.zeros(2, 1, 3, 24, 24)
    other[:, :, :6, :6] = 1.0
    changed = (model.features(blank) != model.features(other)).any(2)[0]
    assert changed[0]
    assert not changed[-1]


def test_a_run_is_opened_evaluated_and_goes_on(tmp_path: Path) -> None:
    steady = {"seed": 3, "schedule": "constant", "warmup_steps": 0, "eval_every": 4}
    given = {"data": WORLD, **SMALL, **steady}
    whole = rc.train("align", out=tmp_path / "whole", max_steps=8, **given)
    part = rc.train("align", out=tmp_path / "part", max_steps=4, **given)
    found, expected = rc.Run.open(whole.folder).evaluate("test"), whole.evaluate("test")
    for name in set(found) - {"seconds"}:
        assert found[name] == expected[name], name
    assert {"recall", "text_to_image_5", "image_to_text_median", "pointed", "chance"} <= {*found}
    assert found["images"] == 12
    assert found["sentences"] == 60
    assert "words on their shape" in AlignTask.say(found)
    rc.train("align", out=part.folder, resume=True, max_steps=8, view=None)
    last = [load_file(each.folder / "training.safetensors") for each in (whole, part)]
    assert last[0].keys() == last[1].keys()
    assert all(tensor.equal(last[1][name]) for name, tensor in last[0].items())
    samples = (whole.folder / "samples.txt").read_text()
    assert "% across" in samples
    moved = tmp_path / "elsewhere"
    shutil.move(whole.folder, moved)
    shutil.rmtree(moved / "data")
    picture = np.full((24, 24, 3), 200, dtype=np.uint8)
    scores = rc.Aligner.load(moved).scores([picture], ["A small red circle!"])
    assert scores.shape == (1, 1)


def test_files_with_boxes_of_their_own(tmp_path: Path) -> None:
    """Pictures larger than they are seen, and boxes in their pixels; without any, one says so."""
    draw = np.random.default_rng(0)
    rows, boxes = ["image\tcaption"], ["image,left,top,right,bottom"]
    for n in range(24):
        Image.fromarray(draw.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(
            tmp_path / f"{n}.png"
        )
        rows.append(f"{n}.png\t{'A dog' if n % 2 else 'a cat'} runs.")
        boxes += [f"{n}.png,10,0,30,20", f"{n}.png,20,10,50,40"] if n else []
    (tmp_path / "captions.tsv").write_text("\n".join(rows))
    (tmp_path / "boxes.csv").write_text("\n".join(boxes))
    given = {"data": str(tmp_path / "captions.tsv"), "size": 20, "min_count": 1}
    task = AlignTask.prepare(
        tmp_path / "run", AlignSettings(**given, boxes=str(tmp_path / "boxes.csv"))
    )
    assert any("no boxes of 1 of 24 pictures" in note for _, note in task.describe().lines)
    own = task.parts["train"].boxes
    assert own is not None
    full = next(each for each in own if len(each))
    np.testing.assert_allclose(full, [[0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1]], atol=1e-6)
    assert not task.known_shapes
    model = task.build(AlignerSettings(regions="boxes", encoder_width=4, encoder_stages=2))
    assert task.evaluate(model.eval(), "test")["images"] == 1
    bare = AlignTask.prepare(tmp_path / "bare", AlignSettings(**given))
    with pytest.raises(ValueError, match="regions: expected data with boxes"):
        bare.build(AlignerSettings(regions="boxes"))


@pytest.mark.slow
def test_sentences_find_their_pictures_and_words_their_shapes(tmp_path: Path) -> None:
    """On scenes, after six minutes of one core, both are far from chance."""
    run = rc.train(
        "align",
        data="scenes:train=2000,val=200,test=200,unseen=50",
        out=tmp_path / "run",
        epochs=12,
        view=None,
        seed=1,
    )
    figures = run.evaluate("test")
    assert figures["text_to_image_1"] > 30 * figures["chance"]["text_to_image_1"]
    assert figures["pointed"] > 5 * figures["pointed_chance"]
    config = json.loads((run.folder / "config.json").read_text())
    assert config["model"]["class"] == "Aligner"


@pytest.mark.parametrize(
    ("data", "regions", "message"),
    [
        ({"data": "scenes", "boxes": "b.csv"}, "grid", "boxes: expected none where words look at"),
        ({"data": "some.jsonl"}, "boxes", "regions: expected boxes= with those of the pictures"),
    ],
)
def test_boxes_that_are_missing_or_not_looked_at_are_told_before_any_is_read(
    data: dict[str, Any], regions: str, message: str
) -> None:
    settings = RunSettings(
        data=AlignSettings(**data), model=AlignerSettings(regions=regions), training=AlignTraining()
    )
    with pytest.raises(ValueError, match=message):
        AlignTask.check(settings)


def test_scenes_bring_their_own_boxes() -> None:
    for data in (None, "scenes", "scenes:train=20"):
        settings = RunSettings(
            data=AlignSettings(data=data),
            model=AlignerSettings(regions="boxes"),
            training=AlignTraining(),
        )
        assert AlignTask.check(settings).data.boxes is None

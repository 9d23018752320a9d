"""`recurra train caption`: from pictures with captions to a run that captions others."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import recurra as rc
from recurra.data import worlds
from recurra.data.caption_store import CaptionExamples, SingleCaptions, open_images, write_images
from recurra.errors import CheckpointError, DataError
from recurra.nn.plain import evaluating
from recurra.tasks import CaptionTask, caption
from recurra.tasks.caption_encoders import encoder_for, pixels
from recurra.tasks.caption_floors import nearest, recalls
from recurra.tasks.caption_rewards import self_critical, written
from recurra.tasks.caption_scores import Consensus
from recurra.tasks.options import CaptionerSettings, CaptionSettings, CaptionTraining
from recurra.training.task import Moment

pytestmark = pytest.mark.medium

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220)}
PLACES = {"left": (0, 8), "right": (8, 16)}


@pytest.fixture(autouse=True, scope="module")
def _without_java() -> Iterator[None]:
    """METEOR has a test of its own; it starts a machine for each evaluation."""
    found = shutil.which
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: None if name == "java" else found(name))
        yield


def painted(colour: str, place: str, draw: np.random.Generator) -> np.ndarray:
    """A half of a picture in a colour."""
    picture = draw.integers(225, 256, (16, 16, 3)).astype(np.uint8)
    first, last = PLACES[place]
    noise = draw.integers(-15, 16, (16, 8, 3))
    picture[:, first:last] = np.clip(np.array(COLOURS[colour]) + noise, 0, 255)
    return picture


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a table of two captions of each."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    lines = ["image\tcaption"]
    for n in range(120):
        colour, place = [*COLOURS][n % 3], [*PLACES][n // 3 % 2]
        Image.fromarray(painted(colour, place, draw)).save(folder / f"{n}.png")
        lines += [
            f"{n}.png\t{colour.capitalize()} on the {place}.",
            f"{n}.png\tThe {place} is {colour}!",
        ]
    path = folder / "captions.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


SMALL: dict[str, Any] = {
    "size": 16,
    "min_count": 1,
    "hidden_size": 24,
    "embedding_size": 16,
    "encoder_width": 32,
    "encoder_stages": 2,
    "encoder_size": 64,
    "batch_size": 6,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "word_dropout": 0.0,
    "lr": 4e-3,
    "average": 0.0,
    "view": None,
}


def trained(table: Path, out: Path, **settings: Any) -> rc.Run:
    return rc.train("caption", data=table, out=out, **{**SMALL, **settings})


def learned(table: Path, folder: Path, inject: str) -> rc.Run:
    """A run to the end of training, whose pictures are gone since."""
    pictures = shutil.copytree(table.parent, folder / "pictures")
    epochs = {"attend": 16, "memory": 90}.get(inject, 45)  # a memory learns to say the image too
    run = trained(pictures / table.name, folder / "run", inject=inject, epochs=epochs, average=0.9)
    shutil.rmtree(pictures)
    return run


@pytest.fixture(scope="module")
def attending(table: Path, tmp_path_factory: pytest.TempPathFactory) -> rc.Run:
    return learned(table, tmp_path_factory.mktemp("attend"), "attend")


SLOWER = [
    pytest.param(inject, marks=pytest.mark.slow)
    for inject in ("first", "input", "every", "merge", "memory")
]


def test_it_learns_to_say_what_it_sees(attending: rc.Run) -> None:
    says_what_it_sees(attending)


@pytest.mark.parametrize("inject", SLOWER)
def test_it_learns_wherever_the_image_goes_in(table: Path, tmp_path: Path, inject: str) -> None:
    says_what_it_sees(learned(table, tmp_path, inject))


def says_what_it_sees(run: rc.Run) -> None:
    figures = run.evaluate("test")
    assert figures["exact"] == 1.0
    assert figures["unfinished"] == 0
    assert figures["images"] == 6
    floors = figures["floors"]
    assert figures["exact"] > floors["no image"]["exact"]
    assert figures["cider"] > floors["no image"]["cider"]
    assert {"nearest", "no image"} == {*floors}
    assert figures["text_to_image_10"] == 1.0
    draw = np.random.default_rng(5)
    said = run.model.predict([painted("green", "right", draw), painted("red", "left", draw)])
    assert said[0].text in ("green on the right", "the right is green")
    assert said[1].text in ("red on the left", "the left is red")
    table_of_scores = CaptionTask.say(figures)
    assert "nearest picture's" in table_of_scores
    assert "no image" in table_of_scores


def test_a_run_carries_everything(attending: rc.Run, tmp_path: Path) -> None:
    """The folder is moved, its data are gone, and a picture is captioned in another process."""
    picture = tmp_path / "picture.png"
    Image.fromarray(painted("blue", "left", np.random.default_rng(7))).resize((64, 64)).save(
        picture
    )
    expected = attending.model.predict([picture])[0]
    moved = shutil.copytree(attending.folder, tmp_path / "elsewhere")
    shutil.rmtree(moved / "data")
    program = (
        "import sys, recurra as rc\n"
        "[said] = rc.Captioner.load(sys.argv[1]).predict([sys.argv[2]])\n"
        "print(said.text)\nprint(said.log_probability)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(moved), str(picture)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=120,
    )
    text, log_p = done.stdout.splitlines()
    assert text == expected.text in ("blue on the left", "the left is blue")
    assert float(log_p) == pytest.approx(expected.log_probability, abs=1e-4)
    config = json.loads((moved / "config.json").read_text())
    assert config["preprocessing"]["digest"]
    config["preprocessing"]["mean"] = [0.1, 0.1, 0.1]  # pictures would be others
    (moved / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="expected settings of the digest"):
        rc.load(moved)


def test_a_run_is_opened_evaluated_and_goes_on(table: Path, tmp_path: Path) -> None:
    steady = {"seed": 3, "schedule": "constant", "warmup_steps": 0, "eval_every": 4}
    whole = trained(table, tmp_path / "whole", max_steps=8, **steady)
    part = trained(table, tmp_path / "part", max_steps=4, **steady)
    found, expected = rc.Run.open(whole.folder).evaluate("val"), whole.evaluate("val")
    for name in ("cider", "bleu4", "exact", "nll", "floors"):
        assert found[name] == expected[name]
    rc.train("caption", out=part.folder, resume=True, max_steps=8, view=None)
    last = [load_file(each.folder / "training.safetensors") for each in (whole, part)]
    assert last[0].keys() == last[1].keys()
    assert all(tensor.equal(last[1][name]) for name, tensor in last[0].items())
    assert (whole.folder / "samples.txt").read_text().count("says") >= 4
    with pytest.raises(ValueError, match="split: expected one of train, val, test, got 'unseen'"):
        whole.evaluate("unseen")


def test_with_a_curriculum_short_captions_come_first_and_a_stopped_run_goes_on(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = {"seed": 3, "eval_every": 4, "checkpoint_every": 1, "max_steps": 12}
    plain, longest = CaptionTask.loss, dict[int, int]()
    short = table.with_name("short.tsv")  # captions of one word and of four
    short.write_text(re.sub(r"The \w+ is (\w+)!", r"\1", table.read_text()))

    def noted(task: CaptionTask, model: Any, batch: Any, state: Any, moment: Any) -> Any:
        if model.training:
            if moment.step == stop_at:
                raise KeyboardInterrupt
            longest[moment.step] = int(batch.lengths.max())
        return plain(task, model, batch, state, moment)

    monkeypatch.setattr(CaptionTask, "loss", noted)
    stop_at = -1
    whole = trained(short, tmp_path / "whole", curriculum=0.5, **steady)
    assert [longest[step] for step in range(3)] == [1, 1, 1]
    assert max(longest.values()) == 4
    stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        trained(short, tmp_path / "part", curriculum=0.5, **steady)
    stop_at = -1
    seen = dict(longest)
    rc.train("caption", out=tmp_path / "part", resume=True, view=None)
    assert longest == seen
    last = [load_file(tmp_path / n / "training.safetensors") for n in ("whole", "part")]
    assert all(tensor.equal(last[1][name]) for name, tensor in last[0].items())
    said = dict(whole.task.batches(CaptionTraining(curriculum=0.5)))["curriculum"]
    assert said == "captions of 1 tokens and less at first, of all lengths from 50% of the run on"
    for bad in (1.0, -0.1):
        with pytest.raises(ValueError, match="curriculum: expected a number from 0 up to, not"):
            trained(short, tmp_path / "bad", curriculum=bad)


def prepared(table: Path, folder: Path, **settings: Any) -> CaptionTask:
    how = {"size": 16, "min_count": 1, **settings}
    return CaptionTask.prepare(folder, CaptionSettings(data=str(table), **how))


def test_what_is_stored_is_what_the_model_makes_of_the_file(table: Path, tmp_path: Path) -> None:
    task = prepared(table, tmp_path, size=12)
    model = task.build(CaptionerSettings())
    part = task.parts["train"]
    (name,) = [
        table.parent / f"{n}.png"
        for n in range(120)
        if task.texts["train"][0]
        and pixels(model, torch.from_numpy(part.images[:1].copy())).equal(
            model.pixels([table.parent / f"{n}.png"])
        )
    ]
    assert name.exists()
    assert task.texts["train"][0][0].split()[0] in COLOURS  # lower case, without marks
    assert (
        prepared(table, tmp_path / "a", punctuation=True, lower=False).texts["train"][0][0][-1]
        == "."
    )


def test_a_world_is_named_and_its_pictures_stay_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    sizes = "train=8,val=5,test=5"
    for name in ("scenes:unseen=4,size=32", "numbers:noise=0"):
        made = worlds.make(f"{name},{sizes}", worlds.PICTURE_WORLDS)
        shape = made["train"].pictures.shape[1:3]
        task = CaptionTask.prepare(tmp_path / name[:5], CaptionSettings(data=f"{name},{sizes}"))
        assert task.parts["train"].images.shape == (8, *shape, 3)
        assert task.is_of_scenes == name.startswith("scenes")
        assert ("unseen" in task.parts) == task.is_of_scenes
        sized = task.build(CaptionerSettings(hidden_size=8)).preprocessing
        assert sized is not None
        assert sized.size == shape


def test_a_convnet_halves_pictures_as_settings_say() -> None:
    """By strides, unless pooling is asked for; a resnet has no such choice."""
    asked = (
        CaptionerSettings(),
        CaptionerSettings(encoder_downsample="pool"),
        CaptionerSettings(encoder="resnet"),
    )
    made = [encoder_for(settings) for settings in asked]
    assert [each.config.get("downsample") for each in made] == ["stride", "pool", None]
    with pytest.raises(ValueError, match="encoder_downsample: expected one of pool, stride"):
        CaptionerSettings(encoder_downsample="half")


def test_the_other_pictures_of_a_step_tell_nothing(table: Path, tmp_path: Path) -> None:
    """Their captions are as long: what normalised by them would tell how much there is to say."""
    task = prepared(table, tmp_path)
    model = task.build(CaptionerSettings(encoder_width=4)).train()
    images = pixels(model, task.parts["train"].gather(np.arange(6)).images)
    torch.testing.assert_close(model.features(images)[:1], model.features(images[:1]))


def test_an_encoder_that_stays_as_it_is_reads_a_picture_once(table: Path, tmp_path: Path) -> None:
    task = prepared(table, tmp_path)
    model = task.build(CaptionerSettings(encoder_width=4, encoder_stages=2))
    assert model.encoder is not None
    task.training = CaptionTraining(encoder_rate=0.0)
    task.tune(model)
    model.eval()
    batch = task.source("train", CaptionTraining()).batch(0, 0)
    first = task.images(model, "train", batch)
    torch.testing.assert_close(first, model.features(pixels(model, batch.images)))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.zero_()
    assert task.images(model, "train", batch).equal(first)
    asked = {"data": table, "out": tmp_path / "run", "encoder_rate": 0.0, "view": None}
    with pytest.raises(ValueError, match="encoder_rate: expected more than 0 for an encoder whose"):
        rc.train("caption", **asked)
    with pytest.raises(DataError, match=r"none.pth: expected a file of weights, got no such file"):
        rc.train("caption", encoder_weights="none.pth", **asked)


def test_the_encoder_of_another_run_stays_as_it_is(table: Path, tmp_path: Path) -> None:
    seeing = trained(table, tmp_path / "seeing", max_steps=2)
    own = {"inject": "every", "encoder_rate": 0.0, "encoder_pool": 2, "encoder_size": 0}
    reading = trained(
        table, tmp_path / "reading", max_steps=2, init_from=seeing.folder, **own
    ).load()
    learned = seeing.load().encoder.state_dict()
    for name, value in reading.encoder.state_dict().items():
        torch.testing.assert_close(value, learned[name], rtol=0, atol=0)
    assert reading.encoder.size == 2 * 2 * reading.encoder.grid_size
    assert reading.image is not None
    assert reading.image.in_features == reading.encoder.size


def test_floors_are_made_once_and_again_for_another_encoder(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(table, tmp_path / "run", max_steps=2)
    made: list[int] = []
    whole = caption.vectors_of

    def noted(*given: Any) -> torch.Tensor:
        made.append(len(given[-1]))
        return whole(*given)

    monkeypatch.setattr(caption, "vectors_of", noted)
    first = run.evaluate("test")["floors"]
    assert first == run.evaluate("test")["floors"] == rc.Run.open(run.folder).evaluate()["floors"]
    assert made == [108]
    model = run.load()
    with torch.no_grad():
        next(model.encoder.parameters()).mul_(2.0)
    run.task.floors(model, "test", run.task._vectors(model, np.arange(7)), [["a"]] * 7)
    assert made == [108, 7, 108]
    assert first["nearest"]["among"] == first["nearest"]["of"] == 108


def test_captions_without_a_word_are_told_of_when_it_is_measured(
    table: Path, tmp_path: Path
) -> None:
    some = table.with_name("wordless.tsv")
    some.write_text(table.read_text() + "3.png\t ... \n5.png\t!\n")
    run = trained(some, tmp_path / "run", max_steps=1)
    assert "2 captions have no word and are left out" in run.evaluate("test")["warnings"]


def test_a_step_reads_all_captions_of_an_image_or_one(table: Path, tmp_path: Path) -> None:
    task = prepared(table, tmp_path)
    examples = task.parts["train"]
    alone = SingleCaptions(examples)
    captions = [(n, ids.tolist()) for n, each in enumerate(examples.captions) for ids in each]
    assert (len(examples), len(alone)) == (108, 216)
    assert alone.lengths.tolist() == [len(ids) for _, ids in captions]
    batch = alone.gather(np.array([7, 2, 6, 3]))
    assert batch.numbers.tolist() == [1, 3]  # each image once
    for m, chosen in enumerate([7, 2, 6, 3]):
        image, ids = captions[chosen]
        assert batch.captions[: len(ids), m].tolist() == ids
        assert batch.numbers[batch.which[m]] == image
    torch.testing.assert_close(batch.images, torch.from_numpy(examples.images[[1, 3]]))
    for how, count in (("all", 18), ("one", 36)):
        training = CaptionTraining(captions_per_image=how, batch_size=6)
        assert len(task.source("train", training)) == count


def test_words_that_are_dropped_are_told_from_the_image(table: Path, tmp_path: Path) -> None:
    """What is read has gaps, what is to be said has none; the mark before the first word stays."""
    task = prepared(table, tmp_path)
    model = task.build(CaptionerSettings(encoder_width=4, encoder_stages=2, dropout=0.0))
    read: list[torch.Tensor] = []
    model.embedding.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    batch = task.parts["train"].gather(np.arange(40))
    for rate in (0.0, 0.25, 0.9):
        task.training = CaptionTraining(word_dropout=rate)
        loss = task.loss(model.train(), batch, None, Moment())
        assert loss.count == int(batch.lengths.sum()) + len(batch.lengths)
        words = read[-1][1:][batch.captions > 0]
        assert (words == model.mark).float().mean() == pytest.approx(rate, abs=0.1)
        assert (read[-1][0] == model.mark).all()
    task.loss(model.eval(), batch, None, Moment())
    assert not (read[-1][1:][batch.captions > 0] == model.mark).any()


def features_of(table: Path, folder: Path, kind: str) -> Path:
    """What another program would make of the pictures: the means of their quarters' colours."""
    for file in table.parent.glob("*.png"):
        pixels = np.asarray(Image.open(file), dtype=np.float32) / 255
        means = pixels.reshape(2, 8, 2, 8, 3).mean(axis=(1, 3)).reshape(4, 3)
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{file.stem}.npy", means if kind == "grid" else means.ravel())
    return folder


@pytest.mark.parametrize("inject", ["attend", pytest.param("every", marks=pytest.mark.slow)])
def test_features_made_elsewhere_are_read_in_place_of_pictures(
    table: Path, tmp_path: Path, inject: str
) -> None:
    kind = "grid" if inject == "attend" else "vector"
    features = features_of(table, tmp_path / "features", kind)
    text = shutil.copy(table, tmp_path / "captions.tsv")  # no picture is beside it
    run = trained(
        Path(text), tmp_path / "run", features=features, inject=inject, epochs=25, average=0.9
    )
    figures = run.evaluate("test")
    assert figures["exact"] == 1.0
    progress = json.loads((run.folder / "training.json").read_text())["progress"]
    assert progress["best_step"] == progress["step"]  # of equally good ones the last is kept
    assert figures["floors"]["nearest"]["exact"] < 1.0 or inject == "every"
    assert run.model.encoder is None
    green = np.load(features / "1.npy")[None]
    said = run.model.predict(torch.from_numpy(green))
    assert "green" in said[0].text


def test_features_that_do_not_go_are_told(table: Path, tmp_path: Path) -> None:
    features = features_of(table, tmp_path / "features", "vector")
    asked: dict[str, Any] = {"data": table, "out": tmp_path / "run", "view": None}
    with pytest.raises(DataError, match="expected a grid of each picture, which inject=attend"):
        rc.train("caption", features=features, **asked)
    with pytest.raises(ValueError, match="feature_kind: expected vector, which inject=first reads"):
        rc.train("caption", features=features, feature_kind="grid", inject="first", **asked)
    with pytest.raises(ValueError, match="encoder_weights: expected none beside features="):
        rc.train("caption", features=features, encoder_weights="a.pth", inject="first", **asked)
    with pytest.raises(DataError, match=r"no features.*: expected a file or a folder, got no such"):
        rc.train("caption", features=tmp_path / "no features", inject="first", **asked)
    for n in (4, 9):
        (features / f"{n}.npy").unlink()
    some = {"min_count": 1, "features": str(features), "feature_kind": "vector"}
    task = CaptionTask.prepare(tmp_path / "data", CaptionSettings(data=str(table), **some))
    assert sum(map(len, task.parts.values())) == 118
    assert any("2 pictures that have no features" in note for note in task.description["notes"])
    with pytest.raises(DataError, match=r"expected features of the picture '4\.png'"):
        CaptionTask.prepare(
            tmp_path / "strict", CaptionSettings(data=str(table), strict=True, **some)
        )
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / "a.npy", np.zeros(3))
    some["features"] = str(other)
    with pytest.raises(
        DataError, match=r"expected features of the pictures for .*got those of 'a'"
    ):
        CaptionTask.prepare(tmp_path / "none", CaptionSettings(data=str(table), **some))


def test_what_is_drawn_is_rewarded_beside_what_is_most_probable(
    table: Path, tmp_path: Path
) -> None:
    """The gradient is that of -(r - r of the other) log p of what was drawn."""
    task = prepared(table, tmp_path)
    torch.manual_seed(1)
    model = task.build(
        CaptionerSettings(encoder_width=4, encoder_stages=2, dropout=0.0, input_dropout=0.0)
    )
    batch = task.parts["train"].gather(np.arange(6))
    images = pixels(model, batch.images)
    reward = Consensus(task.texts["train"])
    with torch.no_grad(), evaluating(model):  # in use, not by the averages of this batch
        features = model.features(images)
        said = model.predict(images, beam_size=1, max_length=5)
    drawn, lengths = written(model, features, 5, torch.Generator().manual_seed(9))
    plain, ends = written(model, features, 5, None)
    loss, count = self_critical(model, images, range(6), reward, max_length=5, seed=9)
    texts = [
        [
            " ".join(task.vocabulary.decode([i]) for i in ids[:n].tolist())
            for ids, n in zip(each.T, size, strict=True)
        ]
        for each, size in ((drawn, lengths), (plain, ends))
    ]
    gained = torch.from_numpy(reward(texts[0], range(6)) - reward(texts[1], range(6)))
    assert count == int(lengths.sum()) + 6
    log_p = model.log_probabilities(images, drawn, lengths).double()
    torch.testing.assert_close(loss.double(), -(gained * log_p).sum() / count)
    assert {*ends.tolist()} <= {*range(6)}
    assert [len(each.tokens) for each in said] == ends.tolist()


@pytest.mark.slow
def test_rewarded_by_cider_it_says_more_of_what_people_say(table: Path, tmp_path: Path) -> None:
    plain = trained(table, tmp_path / "plain", epochs=4, lr=3e-3)
    both = trained(table, tmp_path / "both", epochs=12, lr=3e-3, self_critical=0.6)
    assert both.evaluate("val")["cider"] >= plain.evaluate("val")["cider"]


def test_sentences_find_images() -> None:
    scores = torch.tensor([[5.0, 4.0, 0.0], [1.0, 9.0, 3.0]])  # captions of images 0, 0, 1
    found = recalls(scores, [0, 0, 1])
    assert found["image_to_text_1"] == 0.5  # image 1 likes the second caption best
    assert found["text_to_image_1"] == pytest.approx(2 / 3)
    assert found["image_to_text_median"] == 1  # ranks 1 and 2
    assert found["text_to_image_5"] == 1.0
    assert nearest(torch.tensor([[1.0, 0.1]]), torch.tensor([[0.0, 9.0], [5.0, 0.0]])) == [1]


def test_images_are_written_as_they_come(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    assert write_images(tmp_path / "a.npy", iter(images), (4, 5, 3), "uint8") == 3
    np.testing.assert_array_equal(open_images(tmp_path / "a.npy"), images)
    vectors = draw.normal(size=(2, 6)).astype(np.float32)
    write_images(tmp_path / "b.npy", vectors, (6,), "float32")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), vectors)
    (tmp_path / "c.npy").write_bytes(b"none")
    with pytest.raises(DataError, match="expected the images of the run"):
        open_images(tmp_path / "c.npy")
    with pytest.raises(DataError, match="expected some of each of 3 images, got those of 1"):
        CaptionExamples(images, [[]])


def test_the_loss_counts_each_token_once(table: Path, tmp_path: Path) -> None:
    task = prepared(table, tmp_path)
    model = task.build(CaptionerSettings(encoder_width=4, encoder_stages=2)).eval()
    batch = task.parts["val"].gather(np.arange(5))
    with torch.no_grad():
        loss = task.loss(model, batch, None, Moment())
    total = task.nll(model, "val", range(5)) * loss.count
    assert float(loss.mean) * loss.count == pytest.approx(total, rel=1e-5)
    assert loss.count == int(batch.lengths.sum()) + len(batch.lengths)
    with torch.no_grad():
        nothing = task.loss(model, task.parts["val"].gather(np.arange(2), 0.0), None, Moment())
    assert (float(nothing.mean), nothing.count) == (0.0, 0)
    assert task.chance == math.log(len(task.vocabulary) + 1)


def test_data_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a file or a folder, got no such file"):
        rc.train("caption", data=tmp_path / "none.tsv", out=tmp_path / "run", view=None)
    with pytest.raises(ValueError, match=r"encoder.*: expected one of .*convnet.*, got 'convnets'"):
        rc.train("caption", encoder="convnets", out=tmp_path / "run", view=None)

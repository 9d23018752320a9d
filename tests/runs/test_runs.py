import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recurra.errors import CheckpointError, DataError, DeviceError, RunError
from recurra.interrupts import Terminated
from recurra.models import load
from recurra.training import (
    SilentView,
    evaluate_run,
    load_checkpoint,
    load_run,
    train_language_model,
)

pytestmark = pytest.mark.medium

Synthetic = Callable[[int], str]

QUICK: dict[str, Any] = {
    "hidden_size": 8,
    "embedding_size": 4,
    "batch_size": 4,
    "bptt": 10,
    "max_steps": 6,
    "sample_length": 5,
    "device": "cpu",
}


RUN_FILES = {
    "config.json",
    "events.out",
    "metrics.csv",
    "model.safetensors",
    "report.html",
    "samples.txt",
    "tokens",
    "training.json",
    "training.safetensors",
}


@pytest.fixture
def data(tmp_path: Path, synthetic_text: Synthetic) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(synthetic_text(100))
    return path


@pytest.fixture
def settings(data: Path) -> dict[str, Any]:
    return {**QUICK, "data": str(data)}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_run_folder_has_what_it_promises(tmp_path: Path, settings: dict[str, Any]) -> None:
    result = train_language_model(tmp_path / "run", settings)
    names = {path.name.split(".tfevents")[0] for path in result.folder.iterdir()}
    assert names == RUN_FILES
    config = json.loads((result.folder / "config.json").read_text())
    parts = {"format", "task", "model", "vocabulary", "data", "training"}
    assert set(config) == parts | {"model_settings", "described"}
    assert (config["format"], config["task"]) == (1, "lm")
    assert config["model"]["hidden_size"] == 8
    assert config["training"]["bptt"] == 10
    sizes = config["data"]["tokens"]
    assert sum(sizes.values()) == len(Path(settings["data"]).read_text())
    assert sizes["val"] == pytest.approx(0.05 * sum(sizes.values()), abs=1)


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("char", {"bpc"}),
        ("byte", {"bpc"}),
        ("word", {"bpc", "ppl", "unk"}),
        ("whitespace", {"bpc", "ppl", "unk"}),
        ("bpe", {"bpc", "ppl"}),
    ],
)
def test_every_level_trains_and_is_evaluated(
    tmp_path: Path, settings: dict[str, Any], level: str, names: set[str]
) -> None:
    small = {"batch_size": 2, "bptt": 4, "vocab_size": 300 if level == "bpe" else None}
    train_language_model(tmp_path / "run", {**settings, **small, "level": level})
    figures = evaluate_run(tmp_path / "run")
    assert {"nll", *names, "tokens", "seconds", "split", "level", "run"} == set(figures)
    assert figures["level"] == level
    assert figures["split"] == "test"


def test_validation_and_test_texts_of_their_own(
    tmp_path: Path, settings: dict[str, Any], synthetic_text: Synthetic
) -> None:
    for name, count in (("val", 7), ("test", 9)):
        (tmp_path / name).write_text(synthetic_text(count))
    files = {"val_data": str(tmp_path / "val"), "test_data": str(tmp_path / "test")}
    train_language_model(tmp_path / "run", {**settings, **files})
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["tokens"] == {
        "train": len(synthetic_text(100)),
        "val": len(synthetic_text(7)),
        "test": len(synthetic_text(9)),
    }
    assert evaluate_run(tmp_path / "run")["tokens"] == len(synthetic_text(9)) - 1


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_text_of_its_own_may_have_characters_of_its_own(
    tmp_path: Path, settings: dict[str, Any], synthetic_text: Synthetic, name: str
) -> None:
    (tmp_path / "own").write_text(synthetic_text(9) + "Ω")
    given = {**settings, f"{name}_data": str(tmp_path / "own")}
    train_language_model(tmp_path / "run", given)
    assert math.isfinite(evaluate_run(tmp_path / "run", split=name)["nll"])


def test_a_run_is_evaluated_on_its_splits_and_on_other_files(
    tmp_path: Path, settings: dict[str, Any], data: Path
) -> None:
    result = train_language_model(tmp_path / "run", settings)
    val = evaluate_run(tmp_path / "run", split="val")
    assert val["nll"] == pytest.approx(result.best, rel=1e-6)
    length = len(data.read_text())
    assert evaluate_run(tmp_path / "run", data=str(data))["tokens"] == length - 1
    part = evaluate_run(tmp_path / "run", data=str(data), split="val")
    assert part["nll"] == pytest.approx(val["nll"], rel=1e-6)
    data.unlink()  # the run has its own tokens
    assert evaluate_run(tmp_path / "run", split="train")["tokens"] > 0.8 * length


def test_a_run_loads_as_its_best_model_and_vocabulary(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    train_language_model(tmp_path / "run", settings)
    run = load_run(tmp_path / "run")
    assert not run.model.training
    assert run.vocabulary.decode(run.vocabulary.encode("the cat")) == "the cat"


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path, settings: dict[str, Any]) -> None:
    train_language_model(tmp_path / "run", settings)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(
        RunError, match=r"holds a run already .*resume=True, or choose another name"
    ):
        train_language_model(tmp_path / "run", settings)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", "metrics.csv", "samples.txt", "training.json", "config.json"),
        *("model.safetensors", "events.out.tfevents.1.host", "tokens/mine.txt", ".a.part"),
    ],
)
def test_a_folder_that_holds_anything_is_refused_and_stays_as_it_was(
    tmp_path: Path, settings: dict[str, Any], name: str
) -> None:
    mine = tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    first = name.split("/")[0]
    with pytest.raises(RunError, match=rf"run: expected .* got one that holds {first} .*out="):
        train_language_model(tmp_path / "run", settings)
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "text.txt"}


def test_a_file_that_is_not_there_is_named_before_the_folder_is_looked_at(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    (tmp_path / "tokens").mkdir()
    with pytest.raises(DataError, match=r"typo\.txt"):
        train_language_model(tmp_path, {**settings, "data": "typo.txt"})
    assert (tmp_path / "tokens").is_dir()


@pytest.mark.parametrize("how", ["empty", "working folder", "parent that is read-only"])
def test_a_run_starts_in_an_empty_folder(
    tmp_path: Path, settings: dict[str, Any], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "parent" / "run"
    folder.mkdir(parents=True)
    identity = folder.stat().st_ino
    if how == "working folder":
        monkeypatch.chdir(folder)
    elif how == "parent that is read-only":
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder.parent)
    train_language_model("." if how == "working folder" else folder, settings)
    names = {path.name.split(".tfevents")[0] for path in folder.iterdir()}
    assert names == RUN_FILES
    assert (folder.stat().st_ino == identity) == (how != "empty")
    assert [path.name for path in folder.parent.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": "nowhere.txt"}, DataError, r"nowhere\.txt: expected a text file, got no such"),
        ({"batch_size": 10_000}, DataError, "expected at least 100001 tokens"),
        ({"prime": "Ω"}, DataError, "prime: "),
        ({"cell": "lsmt"}, ValueError, r"got 'lsmt'\. Did you mean lstm"),
        (
            {"hidden_size": 0},
            ValueError,
            "hidden_size: expected a whole number of at least 1, got 0",
        ),
        (
            {"num_layers": -1},
            ValueError,
            "num_layers: expected a whole number of at least 1, got -1",
        ),
        ({"dropout": 1.0}, ValueError, r"dropout: expected a number from 0 .* got 1\.0"),
        (
            {"tied": True},
            ValueError,
            r"tied: expected an embedding as large .* embedding_size=8",
        ),
        ({"level": "letters"}, ValueError, "level: expected one of char, byte, word, bpe"),
        ({"vocab_size": 0}, ValueError, "vocab_size: expected a whole number of at least 1, got 0"),
        ({"warp": 9}, ValueError, "expected known names, got warp"),
    ],
)
def test_a_mistake_leaves_no_folder_behind(
    tmp_path: Path,
    settings: dict[str, Any],
    changes: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        train_language_model(tmp_path / "deep" / "run", {**settings, **changes})
    assert not (tmp_path / "deep").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="expected a folder that can be made and written"):
        train_language_model(tmp_path / "file" / "run", settings)


def test_resuming_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected a run, got no config\.json there"):
        train_language_model(tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_resuming_needs_nothing_but_the_folder(tmp_path: Path, settings: dict[str, Any]) -> None:
    train_language_model(tmp_path / "run", settings)
    Path(settings["data"]).unlink()
    result = train_language_model(tmp_path / "run", {"max_steps": 9}, resume=True)
    assert result.steps == 9
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["max_steps"] == 9


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "given",
    [
        {"tied": True, "embedding_size": 8},
        {"precision": "64-true"},
        {"precision": "bf16-mixed"},
        {"num_layers": 2, "optimizer": "rmsprop"},
    ],
    ids=str,
)
def test_a_resumed_run_ends_as_one_in_one_go(
    tmp_path: Path, settings: dict[str, Any], given: dict[str, Any]
) -> None:
    settings = {**settings, **given, "schedule": "constant", "warmup_steps": 0, "eval_every": 4}
    train_language_model(tmp_path / "whole", {**settings, "max_steps": 8})
    train_language_model(tmp_path / "parts", {**settings, "max_steps": 4})
    train_language_model(tmp_path / "parts", {"max_steps": 8}, resume=True)
    one, other = (load_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("missing", ["training.safetensors", "tokens/text.tokens"])
@pytest.mark.parametrize("given", [{}, {"max_steps": 9}])
def test_a_run_without_what_it_goes_on_from_is_refused_and_stays_as_it_was(
    tmp_path: Path, settings: dict[str, Any], missing: str, given: dict[str, Any]
) -> None:
    train_language_model(tmp_path / "run", settings)
    (tmp_path / "run" / missing).unlink()
    before = content_of(tmp_path / "run")
    with pytest.raises((CheckpointError, DataError), match=missing):
        train_language_model(tmp_path / "run", given, resume=True)
    assert content_of(tmp_path / "run") == before


def test_resuming_with_other_settings_names_them_all(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    train_language_model(tmp_path / "run", settings)
    changes = {**settings, "lr": 0.5, "cell": "gru", "max_steps": 9}
    with pytest.raises(RunError) as caught:
        train_language_model(tmp_path / "run", changes, resume=True)
    message = str(caught.value)
    assert "lr=0.5 (the run has 0.003)" in message
    assert "cell=gru (the run has lstm)" in message
    assert "max_steps" not in message
    with pytest.raises(ValueError, match="max_steps: expected a whole number"):
        train_language_model(tmp_path / "run", {"max_steps": 0}, resume=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", r"config\.json: expected JSON, got"),
        ('{"format": 1, "task": "tag"}', "got 'tag'"),
        ('{"task": "tag"}', "expected format 1 of recurra, got None"),
    ],
)
def test_a_damaged_config(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=words):
        load_run(tmp_path)
    with pytest.raises(RunError, match=words):
        train_language_model(tmp_path, resume=True)


def test_a_run_without_its_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    train_language_model(tmp_path / "run", settings)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["training"]
    path.write_text(json.dumps(config))
    with pytest.raises(RunError, match="expected the settings of a run, got them without 'train"):
        train_language_model(tmp_path / "run", resume=True)


def test_a_checkpoint_of_other_sizes(tmp_path: Path, settings: dict[str, Any]) -> None:
    train_language_model(tmp_path / "run", settings)
    train_language_model(tmp_path / "other", {**settings, "hidden_size": 9})
    name = "training.safetensors"
    (tmp_path / "run" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(CheckpointError, match=r"expected .* of shape .* got .*other\s+sizes"):
        train_language_model(tmp_path / "run", {"max_steps": 9}, resume=True)


class Watching(SilentView):
    """Looks at the first row and keeps what is said."""

    def __init__(self, look: Callable[[], object] = lambda: None) -> None:
        self.notes: list[str] = []
        self.look, self.seen = look, None

    def progressed(self, status: Any) -> None:
        if self.seen is None:
            self.seen = self.look()

    def noted(self, message: str) -> None:
        self.notes.append(message)


def test_threads_are_set_for_the_run_alone_and_generators_stay(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    view, before = Watching(torch.get_num_threads), torch.get_rng_state()
    train_language_model(tmp_path / "run", {**settings, "threads": 2}, view=lambda _: view)
    assert view.seen == 2
    assert torch.get_num_threads() == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_that_is_trained_is_refused_to_others(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    run = tmp_path / "run"

    def second() -> str:
        with pytest.raises(RunError, match=r"run: .*another process is training now") as caught:
            train_language_model(run, {"max_steps": 50}, resume=True)
        return str(caught.value)

    view = Watching(second)
    assert train_language_model(run, settings, view=lambda _: view).steps == 6
    assert view.seen
    # the lock of a process that was killed is free, whatever file it left
    (run / ".lock").write_text("")
    assert train_language_model(run, {"max_steps": 8}, resume=True).steps == 8


def test_a_folder_that_is_moved_away_ends_its_run(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = tmp_path / "run"
    view = Watching(lambda: run.rename(tmp_path / "elsewhere"))
    settings |= {"max_steps": 40}
    with pytest.raises(RunError, match="got it moved or removed"):
        train_language_model(run, settings, view=lambda _: view)
    assert not run.exists()
    assert train_language_model(tmp_path / "elsewhere", resume=True).steps == 40


@pytest.mark.parametrize("where", ["prepare_text", "build_fabric", "save_checkpoint"])
def test_a_start_that_is_stopped_leaves_nothing(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def stopped(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    homes = {"prepare_text": "tasks.language", "build_fabric": "training.trainer"}
    monkeypatch.setattr(f"recurra.{homes.get(where, 'runs.logbook')}.{where}", stopped)
    with pytest.raises(Terminated) as caught:
        train_language_model(tmp_path / "deep" / "run", settings)
    assert caught.value.code == 143
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt"}


@pytest.mark.parametrize(
    ("started", "given", "ends"),
    [
        ({"max_minutes": 0.001, "max_steps": None}, {"max_steps": 20}, 20),
        ({"max_steps": 6}, {"max_steps": 12}, 12),
        ({"max_steps": 6}, {"max_steps": None, "max_minutes": 60.0, "epochs": 1}, 43),
        ({"max_steps": 6}, {"max_steps": 3}, 6),
    ],
)
def test_a_limit_that_is_given_takes_the_place_of_the_run_s(
    tmp_path: Path,
    settings: dict[str, Any],
    started: dict[str, Any],
    given: dict[str, Any],
    ends: int,
) -> None:
    train_language_model(tmp_path / "run", {**settings, **started})
    before = (tmp_path / "run" / "config.json").read_bytes()
    view = Watching()
    result = train_language_model(tmp_path / "run", given, resume=True, view=lambda _: view)
    assert result.steps == ends
    told = "nothing to train" if result.steps == result.steps_before else "resumed at step"
    assert any(told in note and f"step {result.steps_before}" in note for note in view.notes)
    changed = (tmp_path / "run" / "config.json").read_bytes() != before
    assert changed == (result.steps > result.steps_before)


@pytest.mark.parametrize("every", [1, 3])
def test_weights_that_ran_away_are_not_kept_and_a_lower_rate_goes_on(
    tmp_path: Path, settings: dict[str, Any], every: int
) -> None:
    wild = {"optimizer": "sgd", "lr": 1e5, "warmup_steps": 0, "clip_norm": None, "max_steps": 60}
    settings |= {"cell": "rnn_relu", "checkpoint_every": every, "schedule": "constant", **wild}
    with pytest.raises(RunError, match=r"last good checkpoint, that of step \d.*lower lr="):
        train_language_model(tmp_path / "run", settings)
    with pytest.raises(RunError, match=r"lr=200000.0 \(the run has 100000.0\)"):
        train_language_model(tmp_path / "run", {"lr": 2e5}, resume=True)
    result = train_language_model(tmp_path / "run", {"lr": 0.01}, resume=True)
    assert result.steps == 60
    assert result.best < 4


def test_words_and_merges_come_from_the_training_part_alone(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    Path(settings["data"]).write_text("one two three four\n" * 400 + "one two quokka four\n" * 10)
    for level in ("word", "bpe"):
        train_language_model(tmp_path / level, {**settings, "level": level})
        vocabulary = load_run(tmp_path / level).vocabulary
        assert len(vocabulary.encode("two three four")) == 3 + (level == "bpe")
        quokka = vocabulary.encode("quokka")
        assert len(quokka) > 3 or vocabulary.decode(quokka).strip() == "<unk>"


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta", "warp"])
def test_a_device_that_is_not_there_is_named(
    tmp_path: Path, settings: dict[str, Any], device: str
) -> None:
    train_language_model(tmp_path / "run", settings)
    for use in (load_run, evaluate_run, load):
        with pytest.raises(DeviceError, match=rf"^device: expected .* got '{device}'"):
            use(tmp_path / "run", device=device)
    assert load(tmp_path / "run", device="auto").config == load(tmp_path / "run").config


def test_a_cell_that_a_folder_spells_is_not_run(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Only what the user names in this very call is; a folder may come from anywhere."""
    run, evil = tmp_path / "run", tmp_path / "evil.py"
    train_language_model(run, settings)
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    config = json.loads((run / "config.json").read_text())
    config["model_settings"]["cell"] = f"{evil}:mine"
    (run / "config.json").write_text(json.dumps(config))
    train_language_model(run, {"max_steps": 8}, resume=True)
    evaluate_run(run)
    load(run)
    assert not (tmp_path / "ran").exists()

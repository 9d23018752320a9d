import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recurra.errors import CheckpointError, DataError, RunError
from recurra.training import LanguageSettings, evaluate_run, load_run, train_language_model

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
    assert names == {
        "config.json",
        "events.out",
        "metrics.csv",
        "model.safetensors",
        "samples.txt",
        "tokens",
        "training.json",
        "training.safetensors",
    }
    config = json.loads((result.folder / "config.json").read_text())
    assert {"format", "task", "model", "vocabulary", "data", "training"} == set(config)
    assert (config["format"], config["task"]) == (1, "lm")
    assert config["model"]["hidden_size"] == 8
    assert config["training"]["bptt"] == 10
    sizes = config["data"]["tokens"]
    assert sum(sizes.values()) == len(Path(settings["data"]).read_text())
    assert sizes["val"] == pytest.approx(0.05 * sum(sizes.values()), abs=1)


@pytest.mark.parametrize(
    ("level", "name"), [("char", "bpc"), ("byte", "bpc"), ("word", "ppl"), ("bpe", "ppl")]
)
def test_every_level_trains_and_is_evaluated(
    tmp_path: Path, settings: dict[str, Any], level: str, name: str
) -> None:
    small = {"batch_size": 2, "bptt": 4, "vocab_size": 300 if level == "bpe" else None}
    train_language_model(tmp_path / "run", {**settings, **small, "level": level})
    figures = evaluate_run(tmp_path / "run")
    assert {"nll", name, "tokens", "seconds", "split", "level", "run"} == set(figures)
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


def test_a_run_is_evaluated_on_its_splits_and_on_other_files(
    tmp_path: Path, settings: dict[str, Any], data: Path
) -> None:
    result = train_language_model(tmp_path / "run", settings)
    val = evaluate_run(tmp_path / "run", split="val")
    assert val["nll"] == pytest.approx(result.best_nll, rel=1e-6)
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
    with pytest.raises(RunError, match=r"holds a run already .*--resume, or choose another name"):
        train_language_model(tmp_path / "run", settings)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_a_folder_with_other_things_is_used_and_they_stay(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    train_language_model(tmp_path / "run", settings)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": "nowhere.txt"}, DataError, r"nowhere\.txt: expected a text file, got no such"),
        ({"batch_size": 10_000}, DataError, "expected at least 100001 tokens"),
        ({"prime": "Ω"}, DataError, "--prime: "),
        ({"cell": "lsmt"}, ValueError, r"got 'lsmt'\. Did you mean lstm"),
        ({"hidden_size": 0}, ValueError, "--hidden-size: expected at least 1, got 0"),
        ({"num_layers": -1}, ValueError, "--num-layers: expected at least 1, got -1"),
        ({"dropout": 1.0}, ValueError, r"--dropout: expected a share from 0 .* got 1\.0"),
        (
            {"tied": True},
            ValueError,
            r"--tied: expected an embedding as large .* --embedding-size 8",
        ),
        ({"level": "letters"}, ValueError, "--level: expected one of char, byte, word, bpe"),
        ({"vocab_size": 0}, ValueError, "--vocab-size: expected at least 1, got 0"),
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


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    train_language_model(tmp_path / "run", settings)
    model = (tmp_path / "run" / "model.safetensors").read_bytes()
    samples = (tmp_path / "run" / "samples.txt").read_bytes()
    for name in ("training.safetensors", "training.json", "model.safetensors"):
        (tmp_path / "run" / name).unlink()
    train_language_model(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == model
    assert (tmp_path / "run" / "samples.txt").read_bytes() == samples


def test_resuming_with_other_settings_names_them_all(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    train_language_model(tmp_path / "run", settings)
    changes = {**settings, "lr": 0.5, "cell": "gru", "max_steps": 9}
    with pytest.raises(RunError) as caught:
        train_language_model(tmp_path / "run", changes, resume=True)
    message = str(caught.value)
    assert "--lr 0.5 (the run has 0.003)" in message
    assert "--cell gru (the run has lstm)" in message
    assert "--max-steps" not in message
    with pytest.raises(ValueError, match="--max-steps: expected a whole number"):
        train_language_model(tmp_path / "run", {"max_steps": 0}, resume=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "expected the config of a run, got"), ('{"task": "tag"}', "got 'tag'")],
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


def test_threads_are_set(tmp_path: Path, settings: dict[str, Any]) -> None:
    train_language_model(tmp_path / "run", {**settings, "threads": 1})
    assert torch.get_num_threads() == 1


def test_every_setting_has_one_place() -> None:
    flat = LanguageSettings.of({}).flat()
    assert flat["cell"] == "lstm"
    assert flat["level"] == "char"
    assert flat["lr"] == 0.003
    assert LanguageSettings.of({"clip_value": 2.0}).training.clip_norm is None

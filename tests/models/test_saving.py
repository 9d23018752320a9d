"""Models to disk and back, and each way in which a folder can be wrong."""

import copy
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import recurra as rc
from recurra.errors import CheckpointError, DataError
from recurra.files import write_atomically
from recurra.lang import tanh
from recurra.models import Model, Names, Part, save
from recurra.text import CharacterVocabulary

V = 7


@rc.cell(state="h")
def own_cell(x, h, W_xh, W_hh, slope=0.5):
    """A cell that is not in the registry, with a constant."""
    return tanh(slope * (W_xh @ x + W_hh @ h))


class OtherModel(rc.LanguageModel):
    """Another class of model."""


class Averages(Model):
    """A model of no recurrence."""

    def __init__(
        self, size: int, *, backend: str = "auto", dtype: Any = None, device: Any = None
    ) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(size, 2, dtype=dtype, device=device)

    @property
    def config(self) -> dict[str, Any]:
        return {"size": self.linear.in_features}


def small(**options: Any) -> rc.LanguageModel:
    return rc.LanguageModel(V, **{"embedding_size": 4, "hidden_size": 4, **options})


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is tested here, not the disk: a busy one takes seconds to sync."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    small().save(tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["model"].update(changes)
    path.write_text(json.dumps(config))


def same_predictions(a: torch.nn.Module, b: torch.nn.Module) -> None:
    ids = torch.arange(V).unsqueeze(1)
    torch.testing.assert_close(a.eval()(ids)[0], b.eval()(ids)[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True, "num_layers": 2, "dropout": 0.5, "cell": "gru"},
        {"cell": "torch_lstm_projected", "sizes": {"P": 3}, "embedding_dropout": 0.1},
        {"dtype": torch.float64},
        {"dtype": torch.bfloat16},
    ],
)
def test_round_trip(tmp_path: Path, options: dict[str, Any]) -> None:
    model = small(**options)
    model.save(tmp_path / "new" / "folder")
    loaded = rc.load(tmp_path / "new" / "folder")
    assert isinstance(loaded, rc.LanguageModel)
    assert loaded.config == model.config
    assert loaded.recurrent.cell is model.recurrent.cell
    assert not loaded.training
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    same_predictions(loaded, model)


def test_a_model_without_a_cell_comes_back(tmp_path: Path) -> None:
    model = Averages(3)
    model.save(tmp_path)
    loaded = Averages.load(tmp_path)
    torch.testing.assert_close(loaded.linear.weight, model.linear.weight, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="a model without a cell, not one of 'gru'"):
        rc.load(tmp_path, cell="gru")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_files_have_the_usual_modes(folder: Path) -> None:
    (folder / "other").write_text("")
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_tied_weights_are_saved_once_and_tied_again(tmp_path: Path) -> None:
    small(tied=True).save(tmp_path)
    assert "decoder.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = rc.LanguageModel.load(tmp_path)
    assert loaded.decoder.weight is loaded.embedding.weight


def test_loading_leaves_the_seed_as_it_was(folder: Path) -> None:
    torch.manual_seed(1)
    rc.load(folder)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))


def test_run_folder_keeps_its_own_entries(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "task": "lm", "vocabulary": VOCABULARY.to_config()}))
    model = small(num_layers=2)
    model.save(folder)
    written = json.loads(path.read_text())
    assert written["task"] == "lm"
    assert written["vocabulary"] == VOCABULARY.to_config()
    assert written["model"]["num_layers"] == 2
    same_predictions(rc.load(folder), model)


def test_changed_constants_of_a_registered_cell_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rc.cells, "names", lambda: ("own_cell",))
    monkeypatch.setattr(rc.cells, "get", {"own_cell": own_cell}.__getitem__)
    model = small(cell=own_cell.with_constants(slope=2.0))
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())["model"]
    assert (config["constants"], config["equations"]) == ({"slope": 2.0}, None)
    same_predictions(rc.load(tmp_path), model)


def test_class_that_was_asked_for(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a OtherModel, got a LanguageModel"):
        OtherModel.load(folder)
    assert issubclass(rc.LanguageModel, Model)


def test_a_class_of_one_s_own_does_not_stand_in_for_ours(folder: Path) -> None:
    class LanguageModel(rc.LanguageModel):
        """Called as ours is."""

    assert type(rc.load(folder)) is rc.LanguageModel
    LanguageModel(V, hidden_size=4).save(folder / "own")
    assert type(rc.load(folder / "own")) is LanguageModel


# --- what can be wrong with a folder


def test_missing_folder_or_file(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none: expected the folder .* got nothing there"):
        rc.load(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"got a file"):
        rc.load(folder / "config.json")
    with pytest.raises(CheckpointError, match=r"config.json: expected the config .* got no file"):
        rc.load(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors: .* weights, got no file"):
        rc.load(folder)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_weights_cut_short(folder: Path, kept: float) -> None:
    path = folder / "model.safetensors"
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(CheckpointError, match=r"model.safetensors: expected a whole .* cut short"):
        rc.load(folder)


@pytest.mark.parametrize("text", ["", '{"format": 1, "mod', "\ufffd", "[1, 2]"])
def test_config_cut_short_or_not_ours(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config.json: expected (JSON|format 1 of recurra)"):
        rc.load(folder)


def test_config_that_is_not_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"config.json: expected JSON, got: 'utf-8'"):
        rc.load(folder)


def test_unknown_format_or_class(folder: Path) -> None:
    edit_config(folder, **{"class": "Oracle"})
    with pytest.raises(CheckpointError, match=r"of class .*LanguageModel.*, got 'Oracle'"):
        rc.load(folder)
    (folder / "config.json").write_text('{"format": 2, "model": {}}')
    with pytest.raises(CheckpointError, match=r"expected format 1 of recurra, got 2"):
        rc.load(folder)
    (folder / "config.json").write_text('{"format": 1}')
    with pytest.raises(CheckpointError, match=r"expected a model of class .*, got None"):
        rc.load(folder)


def test_other_sizes_name_the_tensor(folder: Path) -> None:
    edit_config(folder, vocab_size=V + 1)
    with pytest.raises(
        CheckpointError, match=r"tensor embedding.weight of shape \(8, 4\), got \(7, 4\)"
    ):
        rc.load(folder)


def test_missing_and_foreign_tensors_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "extra": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"none of that name for tensor extra, got one"):
        rc.load(folder)
    del tensors["decoder.bias"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"expected one for tensor decoder.bias, got none"):
        rc.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, r"expected vocab_size >= 1"),
        ({"depth": 3}, r"unexpected keyword argument 'depth'"),
        ({"cell": "gruu"}, r"'gruu'.*gru"),
        ({"dtype": "float31"}, r"float31"),
    ],
)
def test_config_with_wrong_arguments(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(
        CheckpointError, match=rf"config.json: expected .* LanguageModel.*{message}"
    ):
        rc.load(folder)


# --- writing


def test_foreign_config_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": "another program\'s"}')
    with pytest.raises(CheckpointError, match=r"expected format 1 of recurra, got None"):
        save(small(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_model_of_another_class_is_not_saved_over(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = rc.Classifier(2, input_size=3, hidden_size=4)
    with pytest.raises(CheckpointError, match=r"one of a Classifier, got one that holds a Lang"):
        other.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    small().save(folder)


def test_no_name_is_not_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (lambda: small().save(""), lambda: rc.load("")):
        with pytest.raises(ValueError, match="expected the name of a folder, got ''"):
            call()
    assert not [*tmp_path.iterdir()]


def test_failed_write_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*before is unchanged"):
        small().save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"expected to write it, got: .*Not a directory"):
        small().save(tmp_path / "file" / "model")


def test_write_atomically_syncs_and_replaces_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(path.read_text()))

    def write(part: Path) -> None:
        part.write_text("new")
        assert path.read_text() == "old"

    write_atomically(path, write)
    assert path.read_text() == "new"
    assert seen == ["old", "new"]  # the file before its rename, the folder after it
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


# --- parts


class Scale:
    """A part of the user's own: a number."""

    def __init__(self, by: float) -> None:
        self.by = by

    def to_config(self) -> dict[str, float]:
        return {"by": self.by}

    @staticmethod
    def from_config(config: dict[str, float]) -> "Scale":
        return Scale(float(config["by"]))


class Labelled(rc.LanguageModel):
    """A model with parts besides those of its base."""

    labels = Part(Names, convert=Names)
    scale = Part(Scale)

    def check_part(self, name: str, part: Any) -> None:
        super().check_part(name, part)
        if name == "labels" and len(part) != 2:
            raise ValueError(f"Labelled: expected 2 labels, got {len(part)}.")


def labelled(**options: Any) -> Labelled:
    return Labelled(V, embedding_size=4, hidden_size=4, **options)


VOCABULARY = CharacterVocabulary("abcdefg")


def test_parts_come_back(tmp_path: Path) -> None:
    model = labelled(vocabulary=VOCABULARY)
    model.labels, model.scale = ["neg", "pos"], Scale(0.5)
    assert isinstance(model.labels, Names)
    model.save(tmp_path / "here")
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    assert config["labels"] == ["neg", "pos"]
    assert config["vocabulary"] == VOCABULARY.to_config()
    assert config["format"] == 1
    (tmp_path / "here").rename(tmp_path / "moved")
    loaded = Labelled.load(tmp_path / "moved")
    assert loaded.vocabulary == VOCABULARY
    assert loaded.labels == ("neg", "pos")
    assert loaded.scale is not None
    assert loaded.scale.by == 0.5
    assert list(loaded.parts) == ["vocabulary", "labels", "scale"]


def test_a_model_without_parts_has_none(folder: Path) -> None:
    model = rc.load(folder)
    assert model.parts == {}
    assert model.vocabulary is None
    assert "vocabulary" not in json.loads((folder / "config.json").read_text())
    with pytest.raises(
        ValueError,
        match=r"^Tool: expected a model with vocabulary, got one without. Give it: "
        r"LanguageModel\(..., vocabulary=vocabulary\), or model.vocabulary = vocabulary.$",
    ):
        model.needed("vocabulary", "Tool")
    model.vocabulary = VOCABULARY
    assert model.needed("vocabulary", "Tool") is VOCABULARY


def test_a_part_goes_when_the_model_is_saved_without_it(tmp_path: Path) -> None:
    small(vocabulary=VOCABULARY).save(tmp_path)
    small().save(tmp_path)
    assert rc.load(tmp_path).parts == {}


def test_a_copy_has_the_parts_of_the_model() -> None:
    model = labelled(vocabulary=VOCABULARY)
    other = copy.deepcopy(model)
    other.labels = ["neg", "pos"]
    assert other.vocabulary == VOCABULARY
    assert model.labels is None
    assert pickle.loads(pickle.dumps(small(vocabulary=VOCABULARY))).vocabulary == VOCABULARY


def test_the_vocabulary_gives_its_size() -> None:
    assert rc.LanguageModel(vocabulary=VOCABULARY, hidden_size=4).vocab_size == V
    with pytest.raises(ValueError, match=r"expected vocab_size or a vocabulary, got neither"):
        rc.LanguageModel(hidden_size=4)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("vocabulary", CharacterVocabulary("ab"), r"the model's vocab_size, 7, got 2 symbols"),
        ("vocabulary", "abcdefg", r"vocabulary to be a Vocabulary, got 'abcdefg'"),
        ("labels", ["a", "b", "c"], r"Labelled: expected 2 labels, got 3"),
        ("labels", "ab", r"names: expected a list of strings, got 'ab'"),
        ("labels", ["a", 1], r"names: expected strings, got 1"),
        ("labels", ["a", "a"], r"names: expected each name once, got 'a'"),
        ("scale", 0.5, r"scale to be a Scale, got 0.5"),
    ],
)
def test_a_wrong_part_is_refused(name: str, value: object, message: str) -> None:
    model = labelled()
    with pytest.raises((ValueError, TypeError, DataError), match=message):
        setattr(model, name, value)
    assert model.parts == {}


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("vocabulary", {"level": "runes"}, r"vocabulary: .*expected one of .*char.* got 'runes'"),
        ("vocabulary", {"level": "char", "characters": "ab"}, r"vocab_size, 7, got 2 symbols"),
        ("vocabulary", {}, r"vocabulary: expected what a None vocabulary stores"),
        ("labels", {"a": 1}, r"labels: names: expected a list of strings, got {'a': 1}"),
        ("scale", {}, r"scale: KeyError\('by'\)"),
    ],
)
def test_a_damaged_part_is_named(tmp_path: Path, part: str, value: object, message: str) -> None:
    labelled().save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), part: value}))
    with pytest.raises(CheckpointError, match=rf"config.json: {part}: .*") as error:
        rc.load(tmp_path)
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)


def test_a_part_is_not_called_as_another_entry_of_a_config() -> None:
    with pytest.raises(TypeError, match=r"Wrong: expected another name for a part than 'model'"):

        class Wrong(rc.LanguageModel):
            model = Part(Names)

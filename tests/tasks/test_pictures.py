"""Pictures of a run in TensorBoard: read back as TensorBoard reads them."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from recurra.data import read_labelled
from recurra.insight import confusion_png
from recurra.models import Confusion
from recurra.runs import load_checkpoint, logbook
from recurra.tasks import ClassifyTask, classify, train

pytestmark = pytest.mark.medium

SETTINGS: dict[str, Any] = {"hidden_size": 4, "batch_size": 8, "view": None}
TEXTS, LABELS = ["a fine film", "so dull"] * 40, ["good", "bad"] * 40


def pictures(folder: Path) -> list[tuple[int, str, bytes]]:
    """Step, name and bytes of each picture in the events."""
    (path,) = folder.glob("events.out.tfevents.*")
    found = []
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "images":
                width, height, png = value.tensor.string_val
                assert int(width) > 100
                assert int(height) > 100
                found.append((event.step, value.tag, png))
    return found


def test_the_confusion_matrix_is_in_the_events_at_each_end(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    task = ClassifyTask.of(read_labelled((TEXTS, LABELS)))
    run = train(task, out=tmp_path / "run", max_steps=3, **SETTINGS)
    [(step, name, png)] = pictures(tmp_path / "run")
    assert (step, name) == (3, "confusion")
    assert png.startswith(b"\x89PNG")
    run.fit(max_steps=5)
    assert [step for step, *_ in pictures(tmp_path / "run")] == [3, 5]


def test_that_of_a_tagger_is_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    data = tmp_path / "tags.conll"
    data.write_text("a D\ndog N\n\n" * 20)
    train("tag", data=str(data), out=tmp_path / "run", max_steps=2, hidden_size=4, view=None)
    [(step, name, _)] = pictures(tmp_path / "run")
    assert (step, name) == (2, "confusion")


def test_where_nothing_can_draw_a_run_ends_without_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "find_spec", lambda name: None)
    task = ClassifyTask.of(read_labelled((TEXTS, LABELS)))
    train(task, out=tmp_path / "run", max_steps=1, **SETTINGS)
    assert pictures(tmp_path / "run") == []


@pytest.mark.parametrize("error", [ImportError("cannot import\n_image"), MemoryError("full")])
def test_a_picture_that_fails_costs_a_run_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, error: Exception
) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        # the run is whole already
        assert load_checkpoint(tmp_path / "run").record["progress"]["step"] == 3
        raise error

    monkeypatch.setattr(logbook, "find_spec", lambda name: True)
    monkeypatch.setattr(classify, "figure_of_confusion", fail)
    task = ClassifyTask.of(read_labelled((TEXTS, LABELS)))
    with caplog.at_level("WARNING", logger="recurra"):
        run = train(task, out=tmp_path / "run", max_steps=3, **SETTINGS)
    said = " ".join(str(error).split())
    assert f"no figure was drawn: {type(error).__name__}: {said}" in caplog.messages
    assert run.result is not None
    assert run.result.steps == 3
    assert pictures(tmp_path / "run") == []
    monkeypatch.undo()
    assert run.fit(max_steps=4).steps == 4


def test_a_picture_is_that_of_its_counts() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    right = Confusion.from_config({"labels": ["a", "b"], "counts": [[5, 0], [0, 5]]})
    wrong = Confusion.from_config({"labels": ["a", "b"], "counts": [[0, 5], [5, 0]]})
    assert confusion_png(right) == confusion_png(right) != confusion_png(wrong)

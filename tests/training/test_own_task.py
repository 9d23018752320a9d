"""A task outside the package: it trains, is loaded, evaluated and resumed like any other."""

import sys
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import recurra as rc
from recurra.errors import DataError, RunError
from recurra.training import Figure, Hook, Loss, Task, load_checkpoint

pytestmark = pytest.mark.medium

EXAMPLE = Path(__file__).parents[2] / "examples" / "next_step.py"


@pytest.fixture(scope="module")
def example() -> Any:
    spec = util.spec_from_file_location("next_step", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["next_step"] = module
    spec.loader.exec_module(module)
    return module


def test_it_trains_and_goes_on(example: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"view": None, "hidden_size": 8, "lr": 0.01, "length": 20}
    run = rc.train(example.NextStep, out=tmp_path / "run", epochs=1, **options)
    first = run.evaluate("test")["mse"]
    assert run.history()[-1]["step"] == 50
    longer = rc.train("next-step", out=tmp_path / "run", resume=True, epochs=4, view=None)
    assert longer.result is not None
    assert longer.result.steps == 200
    assert longer.evaluate("test")["mse"] < first
    assert rc.Run.open(tmp_path / "run").settings["length"] == 20


def test_one_that_has_its_data_trains_too(example: Any, tmp_path: Path) -> None:
    task = example.NextStep(example.WaveSettings(length=10))
    run = rc.train(task, out=tmp_path / "run", max_steps=10, view=None, hidden_size=4)
    assert run.task is task


def test_early_stopping(example: Any, tmp_path: Path) -> None:
    run = rc.train(
        example.NextStep,
        out=tmp_path / "run",
        view=None,
        hidden_size=4,
        epochs=20,
        lr=1e-12,
        length=5,
        eval_every=5,
        patience=2,
    )
    assert run.result is not None
    assert run.result.steps < 100
    assert run.result.stopped is not None
    assert "2 validations were no better" in run.result.stopped


def test_a_run_of_another_task_is_not_gone_on_with(example: Any, tmp_path: Path) -> None:
    rc.train(example.NextStep, out=tmp_path / "run", max_steps=1, view=None, hidden_size=4)
    with pytest.raises(RunError, match=r"expected the run of a task \('lm'\), got 'next-step'"):
        rc.train("lm", out=tmp_path / "run", resume=True, view=None)


def test_a_task_with_large_losses_keeps_its_checkpoints(example: Any, tmp_path: Path) -> None:
    class Large(example.NextStep):
        name = "large-losses"

        def loss(self, *arguments: Any) -> Any:
            found = super().loss(*arguments)
            return replace(found, mean=found.mean * 1e4)

    run = rc.train(Large, out=tmp_path / "run", max_steps=3, view=None, hidden_size=4)
    record = load_checkpoint(run.folder).record
    assert record["progress"]["step"] == 3


def test_problems_train_in_double_precision(tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 10, "max_steps": 2, "hidden_size": 4, "view": None}
    run = rc.train("adding", out=tmp_path / "run", precision="64-true", batch_size=8, **options)
    assert run.result is not None
    again = rc.Run.open(tmp_path / "run").evaluate("val")
    assert again["mse"] == pytest.approx(run.result.best, rel=1e-6)


def test_a_hook_stops_a_run(example: Any, tmp_path: Path) -> None:
    class At7(Hook):
        def stepped(self, trainer: Any, outcome: Any) -> None:
            if trainer.progress.step == 7:
                trainer.stop("seven is enough")

    task = example.NextStep
    run = rc.train(task, out=tmp_path / "run", view=None, hidden_size=4, hooks=[At7()])
    assert run.result is not None
    assert (run.result.steps, run.result.stopped) == (7, "seven is enough")


def test_it_starts_from_another_run(example: Any, tmp_path: Path, caplog: Any) -> None:
    options: dict[str, Any] = {"view": None, "hidden_size": 8, "lr": 0.01, "length": 20}
    first = rc.train(example.NextStep, out=tmp_path / "one", epochs=2, **options)
    with caplog.at_level("INFO", logger="recurra"):
        second = rc.train(
            example.NextStep, out=tmp_path / "two", max_steps=1, init_from=first.folder, **options
        )
    assert "recurrent.W_hr_l0" in caplog.text
    with pytest.raises(ValueError, match="init_from: expected it for a new run, got resume=True"):
        rc.train("next-step", out=tmp_path / "two", resume=True, init_from=first.folder)
    assert second.evaluate("test")["mse"] == pytest.approx(first.evaluate("test")["mse"], rel=0.2)


def test_a_misspelt_setting_is_answered_with_the_nearest(example: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got hiden_size\. Did you mean hidden_size\?"):
        rc.train(example.NextStep, out=tmp_path / "run", hiden_size=4)
    with pytest.raises(
        ValueError, match=r"task: expected one of .*'classfy'\. Did you mean classify"
    ):
        rc.train("classfy", out=tmp_path / "run")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_turned_off_are_on_in_training(
    example: Any, tmp_path: Path, mode: Any
) -> None:
    with mode():
        run = rc.train(example.NextStep, out=tmp_path / "run", max_steps=2, view=None)
        assert run.fit(max_steps=3).steps == 3


def test_numbers_of_numpy_are_numbers(example: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"hidden_size": np.int64(4), "lr": np.float32(0.5)}
    run = rc.train(example.NextStep, out=tmp_path / "run", max_steps=1, view=None, **options)
    assert (run.settings["hidden_size"], run.settings["lr"]) == (4, 0.5)


class Uneven(Task[Any, tuple[float, int]]):
    """Batches of a mean loss and how much counts in it, of which each is carried to the next."""

    loss_name = "mse"
    steps = 7  # of a batch

    def __init__(self, **parts: list[tuple[float, int]]) -> None:
        self.parts = parts
        self.seen: list[tuple[Any, int]] = []  # states, and steps in them
        self.batch_sizes: list[int] = []

    def describe(self) -> Any:
        raise NotImplementedError

    def build(self, model: Any, *, backend: str = "auto") -> Any:
        raise NotImplementedError

    def source(self, split: str, training: Any) -> Any:
        class Batches(list[tuple[float, int]]):
            def batch(self, epoch: int, index: int) -> tuple[float, int]:
                return self[index]

        self.batch_sizes.append(training.batch_size)
        return Batches(self.parts[split])

    def loss(self, model: Any, batch: tuple[float, int], state: Any, moment: Any) -> Loss:
        self.seen.append((state, moment.index))
        mean, count = batch
        carried = torch.tensor(float(count)) if count else None
        return Loss(mean=torch.tensor(mean), count=count, state=carried, steps=self.steps)


def test_what_a_task_reports_is_its_mean_loss_where_it_says_no_more() -> None:
    """Each thing that counts alike, and the state carried from batch to batch with its steps."""
    task = Uneven(val=[(1.0, 1), (4.0, 2), (9.0, 0), (3.0, 3)], test=[(2.0, 3)])
    model = rc.Classifier(2, input_size=1, hidden_size=1)
    assert task.evaluate(model, "test") == {"mse": 2.0}
    assert task.validate(model, torch.device("cpu")) == {"mse": 3.0}
    assert task.seen == [(None, 0), (None, 0), (1.0, 7), (2.0, 14), (None, 0)]
    assert [figure.name for figure in task.figures] == ["mse"]


def test_what_a_task_cannot_report_is_said_in_a_line() -> None:
    class Two(Uneven):
        @property
        def figures(self) -> tuple[Figure, ...]:
            return Figure(name="mse"), Figure(name="accuracy")

    model = rc.Classifier(2, input_size=1, hidden_size=1)
    with pytest.raises(ValueError, match=r"Two: expected evaluate to give .* none for accuracy\."):
        Two(val=[(1.0, 1)]).validate(model, torch.device("cpu"))
    for nothing in ([], [(1.0, 0)]):
        with pytest.raises(DataError, match="test: expected a batch of this part at least"):
            Uneven(test=nothing).evaluate(model, "test")


def test_a_run_is_evaluated_with_its_own_training_settings(example: Any, tmp_path: Path) -> None:
    sizes: list[int] = []

    class Watched(example.NextStep):
        name = "watched-sizes"

        def source(self, split: str, training: Any) -> Any:
            sizes.append(training.batch_size)
            return super().source(split, training)

        def evaluate(self, model: Any, split: str) -> Any:
            return Task.evaluate(self, model, split)

    task = Watched(example.WaveSettings(length=10))
    options: dict[str, Any] = {"max_steps": 1, "view": None, "hidden_size": 4}
    run = rc.train(task, out=tmp_path / "one", batch_size=5, **options)
    assert set(sizes) == {5}
    rc.train(task, out=tmp_path / "two", batch_size=6, **options)
    for again in (run, rc.Run.open(tmp_path / "one")):
        sizes.clear()
        again.evaluate("test")
        assert sizes == [5]

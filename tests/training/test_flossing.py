"""Flossing beside training: what it adds to gradients, what it does before the first step."""

import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.insight.flossing import flossing_loss, watched
from recurra.models.readout import Readout
from recurra.tasks.made_up import Adding
from recurra.tasks.problem_options import ReadoutSettings
from recurra.tasks.problems import AddingTask
from recurra.training import Hook, Moment, Trainer, TrainingSettings
from recurra.training.flossing import Flosser, spelled
from recurra.training.machine import build_fabric
from recurra.training.step import Stepper
from recurra.views import SilentView, Status


class Noting(SilentView):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.before: list[str] = []

    def progressed(self, status: Status) -> None:
        if status.before:
            self.before.append(f"{status.before} {status.step}/{status.total_steps}")

    def noted(self, message: str) -> None:
        self.notes.append(message)


def task_and_model() -> tuple[AddingTask, Readout]:
    task = AddingTask(Adding(steps=10))
    torch.manual_seed(0)
    return task, task.build(ReadoutSettings(cell=rc.cells.rnn, hidden_size=8), backend="reference")


def settings_of(**given: Any) -> TrainingSettings:
    own = {"max_steps": 4, "batch_size": 4, "device": "cpu", "eval_every": 4, "floss": 3}
    own["floss_every"] = 0
    return TrainingSettings(**{**own, **given})


def trained(**given: Any) -> tuple[Trainer[Any, Any], Noting]:
    task, model = task_and_model()
    view = Noting()
    trainer = Trainer(task, model, settings_of(**given), view=view)
    trainer.fit()
    return trainer, view


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.medium
def test_before_training_the_exponents_go_to_zero_and_the_run_says_so() -> None:
    _, view = trained(floss_before=80)
    assert view.notes[0] == "flossing for 80 steps before training"
    assert view.before == [f"flossing {step}/80" for step in range(1, 81)]
    [note] = [note for note in view.notes if note.startswith("flossed")]
    first, last = (
        [float(value) for value in part.split("..")]
        for part in note.removeprefix("flossed: exponents from ")
        .removesuffix(" nats a step")
        .split(" to ")
    )
    assert sum(value**2 for value in last) < 0.5 * sum(value**2 for value in first)


def test_nothing_is_flossed_unless_it_is_asked_for() -> None:
    plain, view = trained(floss=0)
    far, _ = trained(floss_before=0, floss_every=100, max_steps=1, eval_every=1)
    none, _ = trained(floss=0, max_steps=1, eval_every=1)
    assert not any("floss" in note for note in view.notes)
    assert not same(weights(far.model), weights(none.model))  # step 0 is one of every hundred
    assert plain.model.training is none.model.training


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"floss": 0, "floss_before": 5}, "floss_before: expected floss= beside it"),
        ({"floss": 0, "floss_every": 5}, "floss_every: expected floss= beside it"),
        ({"floss_weight": 2.0}, "floss_weight: expected floss_every= beside it"),
        ({"floss_before": 0}, "floss: expected steps that are flossed"),
    ],
)
def test_settings_without_effect_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of(**given)


def test_flossing_goes_on_beside_training_unless_it_is_refused() -> None:
    assert TrainingSettings(floss=3).floss_every == 10
    assert TrainingSettings(floss_every=0).floss == 0  # as runs of older versions have it


def test_the_average_of_weights_begins_behind_flossing() -> None:
    class Noted(Hook):
        averages: Any = None
        own: Any = None

        def stepped(self, trainer: Trainer[Any, Any], outcome: Any) -> None:
            self.own = weights(trainer.model)

        def validated(self, trainer: Trainer[Any, Any], figures: Any) -> None:
            self.averages = weights(trainer.model)  # what is validated

    task, model = task_and_model()
    hook = Noted()
    settings = settings_of(max_steps=1, eval_every=1, lr=1e-9, floss_before=20, average=0.99)
    Trainer(task, model, settings, hooks=[hook]).fit()
    for average, own in zip(hook.averages, hook.own, strict=True):
        torch.testing.assert_close(average, own, rtol=0, atol=1e-6)


def gradients_of(**given: Any) -> tuple[list[Tensor], Stepper, Any]:
    task, model = task_and_model()
    settings = settings_of(optimizer="sgd", clip_norm=None, **given)
    stepper = Stepper(task, model, settings, build_fabric(settings))
    batch = task.source("train", settings).batch(0, 0)
    stepper(batch, 0.0, Moment(step=0, seed=5))
    return [p.grad.clone() for p in model.parameters() if p.grad is not None], stepper, batch


def test_beside_training_the_weighted_gradient_is_added() -> None:
    plain, stepper, batch = gradients_of()
    both, _, _ = gradients_of(floss_every=2, floss_weight=0.5)
    model = stepper.model
    with watched([model.recurrent]) as reads:
        model(batch.x)
    loss, _ = flossing_loss(reads, 3, seed=5)
    extra = torch.autograd.grad(loss, list(model.recurrent.parameters()))
    for own, with_it, more in zip(plain, both, extra, strict=False):
        torch.testing.assert_close(with_it, own + 0.5 * more)
    assert same(plain[len(extra) :], both[len(extra) :])  # the read-out has none of it


def test_only_steps_that_are_due_are_flossed() -> None:
    _, model = task_and_model()
    every = Flosser(model, settings_of(floss_every=3))
    assert [step for step in range(8) if every.due(step)] == [0, 3, 6]
    assert not any(Flosser(model, settings_of()).due(step) for step in range(8))


def test_a_run_that_goes_on_flosses_as_one_that_was_never_stopped() -> None:
    whole, _ = trained(max_steps=6, floss_before=2, floss_every=2)

    class Keep(Hook):
        kept: Any = None

        def stepped(self, trainer: Trainer[Any, Any], outcome: Any) -> None:
            if trainer.progress.step == 3:
                self.kept = copy.deepcopy(trainer.checkpoint())  # weights are the model's own

    keep = Keep()
    settings = settings_of(max_steps=6, floss_before=2, floss_every=2)
    task, model = task_and_model()
    Trainer(task, model, settings, hooks=[keep]).fit()
    task, model = task_and_model()
    again = Trainer(task, model, settings)
    again.restore(keep.kept)
    again.fit()
    assert same(weights(whole.model), weights(again.model))


def test_a_gradient_that_is_not_finite_is_left_out() -> None:
    _, model = task_and_model()
    flosser = Flosser(model, settings_of())
    x = torch.full((5, 2, 2), torch.nan)
    with flosser.watching(), torch.no_grad():
        model(x)
    before = weights(model)
    flosser.step(0)
    assert same(weights(model), before)
    assert flosser.remark == "of 1 steps of flossing in 1 the gradient was not finite"


def test_a_run_says_where_it_could_not_floss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "recurra.training.flossing.watched", lambda layers: contextlib.nullcontext([])
    )
    _, view = trained(floss_before=3)
    assert not any(note.startswith("flossed") for note in view.notes)
    assert view.notes[-1] == (
        "of 3 steps of flossing in 3 no layer read more than one step at once"
    )


def test_a_model_without_recurrent_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="floss: expected a model with a recurrent layer, got Lin"):
        Flosser(nn.Linear(2, 2), settings_of())


def test_exponents_are_spelled_by_their_first_and_last() -> None:
    rows = torch.tensor([[0.5, 0.1, -0.25], [0.0, -1.0, torch.nan]])
    assert spelled(rows) == "0.50..-0.25, 0.00..-1.00"

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recurra import cells
from recurra.tasks.made_up import Adding
from recurra.tasks.problem_options import ReadoutSettings
from recurra.tasks.problems import AddingTask
from recurra.training import Hook, Trainer, TrainingSettings, clip_gradients
from recurra.training.clipping import Clipper, clip_groups, parts_of


def with_gradients(*values: list[float]) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(len(value))) for value in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor(value)
    return parameters


def gradients(parameters: list[nn.Parameter]) -> list[list[float]]:
    return [parameter.grad.tolist() for parameter in parameters if parameter.grad is not None]


def test_the_norm_is_that_of_all_gradients_together_and_before_clipping() -> None:
    parameters = with_gradients([3.0, 0.0], [4.0])
    assert clip_gradients(parameters, max_norm=1.0).item() == pytest.approx(5.0)
    assert gradients(parameters) == [pytest.approx([0.6, 0.0]), pytest.approx([0.8])]


def test_small_gradients_are_left_as_they_are() -> None:
    parameters = with_gradients([0.3], [0.4])
    clip_gradients(parameters, max_norm=1.0)
    assert gradients(parameters) == [[pytest.approx(0.3)], [pytest.approx(0.4)]]


def test_by_value_each_entry_is_limited() -> None:
    parameters = with_gradients([3.0, -4.0, 0.5])
    assert clip_gradients(parameters, max_value=1.0).item() == pytest.approx(math.sqrt(25.25))
    assert gradients(parameters) == [[1.0, -1.0, 0.5]]


def test_off_only_measures() -> None:
    parameters = with_gradients([3.0], [4.0])
    assert clip_gradients(parameters).item() == pytest.approx(5.0)
    assert gradients(parameters) == [[3.0], [4.0]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("limit", [{"max_norm": 1.0}, {"max_value": 1.0}])
def test_gradients_that_are_not_finite_are_noticed_and_left(
    bad: float, limit: dict[str, float]
) -> None:
    parameters = with_gradients([bad, 2.0], [3.0])
    assert not torch.isfinite(clip_gradients(parameters, **limit))
    assert gradients(parameters)[1] == [3.0]


def test_parameters_without_gradients_do_not_count() -> None:
    idle = nn.Parameter(torch.zeros(2))
    assert clip_gradients([idle], max_norm=1.0).item() == 0.0
    assert clip_gradients([idle, *with_gradients([2.0])], max_norm=1.0).item() == 2.0


# ---- by part


def test_each_part_is_clipped_by_its_own_norm() -> None:
    exploding, calm = with_gradients([30.0, 40.0]), with_gradients([0.3], [0.4])
    clipping = clip_groups([exploding, calm], 1.0)
    assert clipping.norm.item() == pytest.approx(math.sqrt(2500.25))
    assert bool(clipping.bit)
    assert gradients(exploding) == [pytest.approx([0.6, 0.8])]
    assert gradients(calm) == [[pytest.approx(0.3)], [pytest.approx(0.4)]]


def test_a_part_that_is_not_finite_leaves_all_as_they_were() -> None:
    bad, good = with_gradients([math.inf]), with_gradients([3.0, 4.0])
    clipping = clip_groups([bad, good, [nn.Parameter(torch.zeros(1))]], 1.0)
    assert not torch.isfinite(clipping.norm)
    assert not bool(clipping.bit)
    assert gradients(good) == [[3.0, 4.0]]


def test_parts_are_the_modules_of_a_model_and_what_they_share_is_the_firsts() -> None:
    model = nn.Module()
    model.embedding = nn.Embedding(3, 2)
    model.decoder = nn.Linear(2, 3)
    model.decoder.weight = model.embedding.weight
    model.scale = nn.Parameter(torch.ones(1))
    parts = parts_of(model)
    assert {name: len(own) for name, own in parts.items()} == {"": 1, "embedding": 1, "decoder": 1}
    assert parts["embedding"][0] is model.embedding.weight


# ---- by a percentile


def clipper_of(model: nn.Module, **settings: Any) -> Clipper:
    return Clipper(model, TrainingSettings(**{"clip_norm": None, **settings}))


def meet(clipper: Clipper, parameter: nn.Parameter, norm: float) -> tuple[float, bool]:
    """The norm of the gradient after clipping one of a norm, and whether it was changed."""
    parameter.grad = torch.tensor([0.6 * norm, 0.8 * norm])
    clipping = clipper()
    assert clipping.norm.item() == pytest.approx(norm) or not math.isfinite(norm)
    return float(parameter.grad.norm()), bool(clipping.bit)


def test_the_threshold_is_the_percentile_of_the_norms_so_far_this_one_included() -> None:
    model = nn.ParameterList([nn.Parameter(torch.zeros(2))])
    clipper = clipper_of(model, clip_percentile=25.0)
    met: list[float] = []
    for norm in (4.0, 2.0, 8.0, 1.0, 100.0):
        met.append(norm)
        expected = np.percentile(met, 25.0)
        after, bit = meet(clipper, model[0], norm)
        assert after == pytest.approx(min(norm, expected), rel=1e-5)
        assert bit == (norm > expected)


def test_norms_that_are_long_past_and_those_that_are_not_finite_do_not_count() -> None:
    model = nn.ParameterList([nn.Parameter(torch.zeros(2))])
    clipper = clipper_of(model, clip_percentile=50.0, clip_window=3)
    for norm in (1e6, 1e6, 1.0, 1.0, math.inf, math.nan):
        meet(clipper, model[0], norm)
    assert meet(clipper, model[0], 9.0)[0] == pytest.approx(1.0)
    assert clipper.tensors()["norms"].tolist() == pytest.approx([1.0, 1.0, 9.0])


def test_a_clipper_that_was_loaded_goes_on_as_the_one_that_was_kept() -> None:
    model = nn.ParameterList([nn.Parameter(torch.zeros(2))])
    settings = {"clip_percentile": 30.0, "clip_window": 5}
    first, second = clipper_of(model, **settings), clipper_of(model, **settings)
    for norm in (3.0, 1.0, 7.0, 5.0, 2.0, 9.0):
        meet(first, model[0], norm)
    second.load(first.tensors())
    for norm in (4.0, 8.0, 0.5):
        assert meet(first, model[0], norm) == meet(second, model[0], norm)


@pytest.mark.parametrize(
    "norms",
    [
        torch.ones(2),
        torch.ones(2, 2, dtype=torch.float64),
        torch.ones(9, dtype=torch.float64),
        torch.tensor([1.0, math.nan], dtype=torch.float64),
        torch.tensor([-1.0], dtype=torch.float64),
    ],
)
def test_norms_that_no_checkpoint_has_are_refused(norms: torch.Tensor) -> None:
    clipper = clipper_of(nn.Linear(2, 1), clip_percentile=30.0, clip_window=5)
    with pytest.raises(ValueError, match="recent norms of gradients"):
        clipper.load({"norms": norms})
    with pytest.raises(KeyError):
        clipper.load({})


def test_without_a_percentile_nothing_is_kept() -> None:
    clipper = Clipper(nn.Linear(2, 1), TrainingSettings())
    assert clipper.tensors() == {}
    clipper.load({})


@pytest.mark.parametrize(
    ("settings", "norm", "bit"),
    [
        ({"clip_norm": 1.0}, 2.0, True),
        ({"clip_norm": 1.0}, 0.5, False),
        ({"clip_value": 1.0}, 2.0, True),
        ({"clip_value": 1.0}, 1.2, False),
        ({"clip_group_norm": 1.0}, 2.0, True),
        ({"clip_group_norm": 1.0}, 0.5, False),
        ({}, 1e6, False),
    ],
)
def test_it_is_known_whether_clipping_bit(
    settings: dict[str, float], norm: float, bit: bool
) -> None:
    model = nn.ParameterList([nn.Parameter(torch.zeros(2))])
    assert meet(clipper_of(model, **settings), model[0], norm)[1] == bit


def test_a_run_that_goes_on_clips_as_one_that_was_never_stopped() -> None:
    task = AddingTask(Adding(steps=6))
    settings = TrainingSettings(
        clip_norm=None, clip_percentile=20.0, max_steps=8, batch_size=4, device="cpu", eval_every=8
    )

    def trainer(*hooks: Hook) -> Trainer[Any, Any]:
        torch.manual_seed(0)
        own = ReadoutSettings(cell=cells.gru, hidden_size=4)
        return Trainer(task, task.build(own, backend="reference"), settings, hooks=hooks)

    class Keep(Hook):
        kept: Any = None

        def stepped(self, trainer: Trainer[Any, Any], outcome: Any) -> None:
            if trainer.progress.step == 5:
                self.kept = copy.deepcopy(trainer.checkpoint())  # weights are the model's own

    keep = Keep()
    whole, again = trainer(keep), trainer()
    whole.fit()
    assert len(keep.kept.group("clipping")["norms"]) == 5
    again.restore(keep.kept)
    again.fit()
    ends = (each.checkpoint().tensors for each in (whole, again))
    a, b = ends
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a if not name.startswith("random"))


def test_by_percentile_a_gradient_no_longer_than_the_threshold_stays_to_the_bit() -> None:
    """Also one so short that what torch adds to norms, 1e-6, would halve it."""
    model = nn.Linear(1, 1, bias=False)
    clipper = Clipper(model, TrainingSettings(clip_norm=None, clip_percentile=100.0))
    for length in (1e-6, 1e-7, 1e-6):
        model.weight.grad = torch.tensor([[length]])
        assert not clipper().bit
        assert model.weight.grad.item() == torch.tensor(length).item()


def test_a_window_without_a_percentile_is_refused() -> None:
    with pytest.raises(ValueError, match="clip_window: expected clip_percentile= beside it"):
        TrainingSettings(clip_window=10)

import math

import pytest
import torch
from torch import nn

from recurra.training import clip_gradients


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

"""Max pooling as it is taught is torch's, forward and backward, and routes gradients to winners."""

import pytest
import torch
from torch.nn import functional

from recurra.vision.pooling import MaxPool, max_pool, unpool


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 2), (2, 1), (3, 3), (1, 2)])
@pytest.mark.parametrize("sides", [(8, 8), (7, 10)])
def test_it_is_torchs(size: int, stride: int | None, sides: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    layer = MaxPool(size, stride)
    ours = layer(x)
    theirs, switches = functional.max_pool2d(x, size, stride, return_indices=True)
    assert torch.equal(ours, theirs)
    assert layer.switches is not None
    assert torch.equal(layer.switches, switches)
    d_y = torch.randn_like(ours)
    (d_ours,) = torch.autograd.grad(ours, x, d_y)
    (d_theirs,) = torch.autograd.grad(theirs, x, d_y)
    torch.testing.assert_close(d_ours, d_theirs)


def test_the_gradient_goes_to_the_winner_alone() -> None:
    x = torch.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 7.0, 6.0]]]])
    values, switches = max_pool(x)
    assert values.tolist() == [[[[5.0, 7.0]]]]
    assert switches.tolist() == [[[[1, 6]]]]
    back = unpool(torch.tensor([[[[10.0, 20.0]]]]), switches, 2, 4)
    assert back.tolist() == [[[[0.0, 10.0, 0.0, 0.0], [0.0, 0.0, 20.0, 0.0]]]]


def test_a_winner_of_several_windows_gets_their_sum() -> None:
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1.0
    values, switches = max_pool(x, 2, 1)
    back = unpool(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), switches, 3, 3)
    assert values.min() == 1.0
    assert back[0, 0, 1, 1] == 10.0
    assert back.sum() == 10.0


def test_of_equals_the_first_wins_as_torch_has_it() -> None:
    x = torch.randint(0, 2, (2, 3, 8, 8)).float()
    _, want = functional.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(max_pool(x)[1], want)


def test_derivatives_are_those_of_differences() -> None:
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MaxPool(3, 2), (x,))


def test_windows_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match="expected windows within 2 x 5, got size=3"):
        max_pool(torch.zeros(1, 1, 2, 5), 3)

import pytest
import torch

from recurra.training import step as carried

TENSOR = torch.ones(1, 2, 3)
STATES = (None, TENSOR, (TENSOR, 2 * TENSOR))


@pytest.mark.parametrize("state", STATES)
def test_a_state_survives_a_file(state: carried.Carried) -> None:
    again = carried.from_tensors(carried.to_tensors(state), torch.device("cpu"))
    assert type(again) is type(state)
    if isinstance(state, tuple) and isinstance(again, tuple):
        assert all(torch.equal(a, b) for a, b in zip(again, state, strict=True))
    elif isinstance(state, torch.Tensor) and isinstance(again, torch.Tensor):
        assert torch.equal(again, state)


def test_detaching_keeps_values_and_cuts_gradients() -> None:
    part = (TENSOR.clone().requires_grad_() * 2,)
    detached = carried.detach(part)
    assert isinstance(detached, tuple)
    assert not detached[0].requires_grad
    assert torch.equal(detached[0], part[0])


def test_finite_looks_at_every_part() -> None:
    assert all(carried.is_finite(state) for state in STATES)
    assert not carried.is_finite((TENSOR, TENSOR * float("inf")))
    assert not carried.is_finite(TENSOR * float("nan"))

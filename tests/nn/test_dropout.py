"""Dropout: shares, means, gradients and seeds."""

import pytest
import torch

from recurra.nn.dropout import dropout


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_share_and_scale(p: float) -> None:
    torch.manual_seed(0)
    y = dropout(torch.ones(401, 499), p)
    zeros = (y == 0).float().mean().item()
    assert zeros == pytest.approx(p, abs=5 * (p * (1 - p) / y.numel()) ** 0.5)
    torch.testing.assert_close(
        y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)), rtol=1e-4, atol=0
    )


def test_elements_are_dropped_on_their_own() -> None:
    """Four share a draw: neither they nor elements at any other distance go together."""
    torch.manual_seed(1)
    kept = (dropout(torch.ones(200_003), 0.5) != 0).float() - 0.5
    for distance in (1, 2, 3, 4, 8, 64):
        together = (kept[:-distance] * kept[distance:]).mean().item()
        assert abs(together) < 5 * 0.25 / kept.numel() ** 0.5, distance


def test_all_and_nothing() -> None:
    x = torch.randn(3, 5)
    assert dropout(x, 0.0).equal(x)
    assert dropout(x, 1.0).equal(torch.zeros(3, 5))
    assert dropout(torch.empty(0, 4), 0.5).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradient_goes_where_the_value_went(dtype: torch.dtype) -> None:
    x = torch.full((7, 11), 2.0, dtype=dtype, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    assert y.dtype is dtype
    assert x.grad is not None
    torch.testing.assert_close(2 * x.grad, y.detach())


def test_seed_repeats() -> None:
    x = torch.ones(50, 3)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(dropout(x, 0.5))
    assert results[0].equal(results[1])
    assert not results[0].equal(dropout(x, 0.5))

"""Gradient clipping: by global norm, by value, or off; the norm before clipping is always known."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def clip_gradients(
    parameters: Iterable[nn.Parameter],
    *,
    max_norm: float | None = None,
    max_value: float | None = None,
) -> Tensor:
    """Clip the gradients in place and return their global norm as it was before.

    By norm, all gradients are scaled together by min(1, max_norm / norm), which keeps their
    direction; by value, each entry is limited to [-max_value, max_value]. Where the norm is not
    finite the gradients are left alone: the step is to be skipped.

    Returns:
        A scalar: sqrt of the sum of squares over all gradients; inf or nan when one of them is.

    Source: Pascanu, Mikolov, Bengio (2013), "On the difficulty of training recurrent neural
    networks", arXiv:1211.5063, algorithm 1.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = global_norm(gradients)
    if not torch.isfinite(norm):
        return norm
    if max_norm is not None:
        scale = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
        for gradient in gradients:
            gradient.mul_(scale)
    elif max_value is not None:
        for gradient in gradients:
            gradient.clamp_(-max_value, max_value)
    return norm


def global_norm(gradients: list[Tensor]) -> Tensor:
    """The Euclidean norm of all entries together; zero where there are none."""
    if not gradients:
        return torch.zeros((), dtype=torch.float32, device="cpu")
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))

"""Peers: cells as a PyTorch user writes them by hand, one step a turn, nothing hoisted."""

from collections.abc import Mapping

import torch
from torch import Tensor


def mut1(x: Tensor, h: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    """MUT1 over x [T, B, I] from h [B, H]: y [T, B, H]. Parameters as in `recurra.cells.mut1`."""
    outputs = []
    for x_t in x:
        z = torch.sigmoid(x_t @ p["W_xz"].t() + p["b_z"])
        r = torch.sigmoid(x_t @ p["W_xr"].t() + h @ p["W_hr"].t() + p["b_r"])
        candidate = torch.tanh((r * h) @ p["W_hh"].t() + torch.tanh(x_t @ p["W_xh"].t()) + p["b_h"])
        h = candidate * z + h * (1 - z)
        outputs.append(h)
    return torch.stack(outputs)

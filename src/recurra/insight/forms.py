"""What a loss gives to the outputs of a layer: drawn, or in the form in which these are."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.insight.calls import LayerCall
from recurra.nn.stack import CellStack


def drawn_cotangents(y: Tensor, seed: int) -> Tensor:
    """A direction for each step and sequence, of norm 1."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(y.shape, generator=generator, dtype=torch.float64, device="cpu")
    return F.normalize(drawn, dim=-1).to(y)


def in_form(layer: CellStack, call: LayerCall, d_y: Tensor) -> Tensor:
    """[T, B, D*O] of what has the form of the layer's output."""
    if d_y.dim() == 2:
        d_y = d_y.unsqueeze(1)
    elif getattr(layer, "batch_first", False):
        d_y = d_y.transpose(0, 1)
    if d_y.shape != call.y.shape:
        raise ValueError(
            f"{layer.where}: expected d_y of the output's shape, [time, batch, features] "
            f"{list(call.y.shape)}, got {list(d_y.shape)}. Give dL_t/dy_t of each step."
        )
    return d_y

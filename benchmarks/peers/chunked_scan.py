"""minGRU in plain PyTorch by a scan over chunks: what a linear recurrence allows beside a loop.

All chunks run their steps side by side from a state of zero; then the states at their ends are put
right, one chunk after the other. Letters: T time, B batch, C chunks, L steps of a chunk.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

STEPS = (
    64  # of a chunk: the square root of the longest T that is timed, so that both loops are short
)


class ChunkedMinGRU(nn.Module):
    """The layer; its parameters are those of recurra's cell, by name."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({n: p.detach().clone() for n, p in parameters.items()})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y [T, B, H] and the last state, from a state of zero; T is a multiple of `STEPS`."""
        w = self.weights
        z = torch.sigmoid(nn.functional.linear(x, w["W_z"], w["b_z"]))
        added = z * nn.functional.linear(x, w["W_h"], w["b_h"])
        y = scanned(1 - z, added)
        return y, y[-1:]


def scanned(kept: Tensor, added: Tensor) -> Tensor:
    """h_t = kept_t h_{t-1} + added_t from zero, for all t; [T, B, H]."""
    ks, news = (each.unflatten(0, (-1, STEPS)).unbind(1) for each in (kept, added))  # [C, B, H]
    within, product = [news[0]], [ks[0]]
    for k, a in zip(ks[1:], news[1:], strict=True):
        within.append(k * within[-1] + a)
        product.append(k * product[-1])
    starts = [torch.zeros_like(within[-1][0])]
    for c in range(len(within[-1]) - 1):
        starts.append(product[-1][c] * starts[-1] + within[-1][c])
    start = torch.stack(starts)
    return torch.stack([w + p * start for w, p in zip(within, product, strict=True)], 1).flatten(
        0, 1
    )

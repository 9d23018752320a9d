"""`torchrecurrent`'s layers (PyPI), where it has the cell, with the weights of ours.

It stacks the matrices of a cell in one parameter; `_STACKS` says in which order. Where its cell has
a second bias that adds nothing, it is turned off.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.grid import Job
from benchmarks.oracle import Results

# per cell: its class, arguments, and for each of its parameters the names of ours, in order (None:
# a bias that the equations do not have, held at zero)
_STACKS: dict[str, tuple[str, dict[str, Any], dict[str, tuple[str | None, ...]]]] = {
    "mut1": (
        "MUT1",
        {},
        {
            "weight_ih": ("W_xz", "W_xr", "W_xh"),
            "weight_hh": ("W_hr", "W_hh"),
            "bias_ih": ("b_z", None, None),
            "bias_hh": ("b_r", "b_h"),
        },
    ),
    "mut2": (
        "MUT2",
        {"recurrent_bias": False},
        {
            "weight_ih": ("W_xz", "W_xr", "W_xh"),
            "weight_hh": ("W_hz", "W_hr", "W_hh"),
            "bias_ih": ("b_z", "b_r", "b_h"),
        },
    ),
    "peephole_lstm": (
        "PeepholeLSTM",
        {"recurrent_bias": False},
        {
            "weight_ih": ("W_xi", "W_xf", "W_xg", "W_xo"),
            "weight_hh": ("W_hi", "W_hf", "W_hg", "W_ho"),
            "weight_ph": ("p_i", "p_f", "p_o"),
            "bias_ih": ("b_i", "b_f", "b_g", "b_o"),
        },
    ),
}


def has(name: str) -> bool:
    """Whether torchrecurrent has the cell."""
    return name in _STACKS


def build(name: str, parameters: Mapping[str, Tensor], input_size: int, hidden: int) -> nn.Module:
    """Its layer of that cell, with our weights."""
    import torchrecurrent

    made, arguments, stacks = _STACKS[name]
    layer = getattr(torchrecurrent, made)(input_size, hidden, **arguments)
    with torch.no_grad():
        for theirs, ours in stacks.items():
            parts = getattr(layer.cells[0], theirs).split(hidden)
            for part, own in zip(parts, ours, strict=True):
                part.copy_(parameters[own]) if own else part.zero_()
    return layer


def results(name: str, layer: nn.Module, job: Job) -> Results:
    """The output and the gradients, by our names."""
    stacked = job.results(layer)
    found = {key: stacked[key] for key in ("y", "x") if key in stacked}
    for theirs, ours in _STACKS[name][2].items():
        parts = stacked[f"cells.0.{theirs}"].split(job.shape.H)
        found |= {own: part for own, part in zip(ours, parts, strict=True) if own}
    return found

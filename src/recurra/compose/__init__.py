"""Composers: a cell in, a cell out, with what the literature adds to any recurrence; and the one
language in which cells are spelled where a name goes (`recurra.compose.spelling`).
"""

from recurra.compose.attention import attend
from recurra.compose.composers import (
    highway,
    layer_norm,
    peephole,
    recurrent_dropout,
    replace,
    residual,
    variational_dropout,
    weight_drop,
    zoneout,
)
from recurra.compose.output import deep_output, showing

__all__ = [
    "attend",
    "deep_output",
    "highway",
    "layer_norm",
    "peephole",
    "recurrent_dropout",
    "replace",
    "residual",
    "showing",
    "variational_dropout",
    "weight_drop",
    "zoneout",
]

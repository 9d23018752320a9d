"""What equations are written in: `@cell`, and the functions that a cell may use.

`from recurra.lang import *` leaves out abs, max and sum, which would hide Python's own: import them
by name.
"""

from recurra.ir import Dim
from recurra.lang.cell import Cell, cell
from recurra.lang.composition import replace
from recurra.lang.functions import (
    abs as abs,
)
from recurra.lang.functions import (
    chunk,
    clamp,
    concat,
    cos,
    detach,
    elu,
    exp,
    expand,
    expm1,
    floor,
    gelu,
    layer_norm,
    leaky_relu,
    log,
    log1p,
    log_sigmoid,
    maximum,
    mean,
    minimum,
    mod,
    relu,
    sigmoid,
    sign,
    silu,
    sin,
    softmax,
    softplus,
    split,
    sqrt,
    tanh,
    var,
    where,
    windows,
)
from recurra.lang.functions import (
    max as max,
)
from recurra.lang.functions import (
    sum as sum,
)
from recurra.lang.linalg import diag, eye, inverse, matrix_exp, solve
from recurra.lang.matrices import flatten, outer, rows

__all__ = [
    "Cell",
    "Dim",
    "cell",
    "chunk",
    "clamp",
    "concat",
    "cos",
    "detach",
    "diag",
    "elu",
    "exp",
    "expand",
    "expm1",
    "eye",
    "flatten",
    "floor",
    "gelu",
    "inverse",
    "layer_norm",
    "leaky_relu",
    "log",
    "log1p",
    "log_sigmoid",
    "matrix_exp",
    "maximum",
    "mean",
    "minimum",
    "mod",
    "outer",
    "relu",
    "replace",
    "rows",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "solve",
    "split",
    "sqrt",
    "tanh",
    "var",
    "where",
    "windows",
]

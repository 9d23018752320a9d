"""`torchrecurrent`'s layers (PyPI), where it has the cell, with the weights of ours.

It stacks the matrices of a cell in one parameter; `PEERS` says in which order. Where its cell has a
second bias that adds nothing, it is turned off; biases that the equations do not have are held at
zero. What its cells compute otherwise than their papers is said beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.grid import Job
from benchmarks.oracle import Results
from recurra import cells
from recurra.lang import Cell

_ONE_BIAS = {"recurrent_bias": False}
_NO_BIAS = {"bias": False, "recurrent_bias": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """How one of its layers is made equal to one of our cells.

    Attributes:
        layer: the name of its class.
        arguments: of its constructor, after the sizes.
        stacks: for each of its parameters the names of ours, in order; None is held at zero.
        constants: what our cell is given for both to be the same, where theirs is no choice.
        same_sizes: the input has to have the hidden size.
    """

    layer: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    stacks: Mapping[str, tuple[str | None, ...]]
    constants: Mapping[str, Any] = field(default_factory=dict)
    same_sizes: bool = False


PEERS: dict[str, Peer] = {
    "antisymmetric_rnn": Peer(
        layer="AntisymmetricRNN",
        arguments={**_ONE_BIAS, "epsilon": 0.1, "gamma": 0.01},
        stacks={"weight_ih": ("V",), "weight_hh": ("W",), "bias_ih": ("b",)},
    ),
    "atr": Peer(
        layer="ATR",
        arguments=_NO_BIAS,
        stacks={"weight_ih": ("W_xp",), "weight_hh": ("W_hq",)},
    ),
    "br": Peer(
        layer="BR",
        arguments=_NO_BIAS,
        stacks={"weight_ih": ("W_xa", "W_xc", "W_xh"), "weight_hh": ("w_a", "w_c")},
    ),
    "cfn": Peer(
        layer="CFN",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xo", "W_xe", "W_xh"),
            "weight_hh": ("W_ho", "W_he"),
            "bias_ih": ("b_o", "b_e", None),
        },
    ),
    "cornn": Peer(
        layer="coRNN",
        arguments={**_ONE_BIAS, "cell_bias": False, "dt": 0.1, "gamma": 1.0, "epsilon": 1.0},
        stacks={
            "weight_ih": ("V",),
            "weight_hh": ("W",),
            "weight_ch": ("W_z",),
            "bias_ih": ("b",),
        },
    ),
    "dsgu": Peer(  # its hard sigmoid is torch's, of slope 1/6; the paper's, Theano's, has 0.2
        layer="DSGU",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xh", "W_xz"),
            "weight_hh": ("W_zh", "W_hz"),
            "weight_ho": ("W_go",),
            "bias_ih": ("b_g", "b_z"),
        },
        constants={"slope": 1 / 6},
    ),
    "fastgrnn": Peer(  # its gate is tanh unless told otherwise; the paper's is the sigmoid
        layer="FastGRNN",
        arguments={**_ONE_BIAS, "nonlinearity": "sigmoid"},
        stacks={
            "weight_ih": ("W",),
            "weight_hh": ("U",),
            "bias_ih": ("b_z", "b_h"),
            "zeta": ("zeta",),
            "nu": ("nu",),
        },
    ),
    "fastrnn": Peer(
        layer="FastRNN",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W",),
            "weight_hh": ("U",),
            "bias_ih": ("b",),
            "alpha": ("alpha",),
            "beta": ("beta",),
        },
    ),
    "gated_antisymmetric_rnn": Peer(
        layer="GatedAntisymmetricRNN",
        arguments={**_ONE_BIAS, "epsilon": 0.1, "gamma": 0.01},
        stacks={"weight_ih": ("V_z", "V_h"), "weight_hh": ("W",), "bias_ih": ("b_z", "b_h")},
    ),
    "indrnn": Peer(  # tanh unless told otherwise; the paper uses relu
        layer="IndRNN",
        arguments={**_ONE_BIAS, "nonlinearity": "relu"},
        stacks={"weight_ih": ("W_xh",), "vector_u": ("u",), "bias_ih": ("b_h",)},
    ),
    "intersection_rnn": Peer(
        layer="IntersectionRNN",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xy", "W_xh", "W_xu", "W_xg"),
            "weight_hh": ("W_hy", "W_hh", "W_hu", "W_hg"),
            "bias_ih": ("b_y", "b_h", "b_u", "b_g"),
        },
        same_sizes=True,
    ),
    "janet": Peer(  # its beta is learned; the paper has it fixed
        layer="JANET",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xf", "W_xg"),
            "weight_hh": ("W_hf", "W_hg"),
            "bias_ih": ("b_f", "b_g"),
        },
    ),
    "lightru": Peer(
        layer="LightRU",
        arguments=_ONE_BIAS,
        stacks={"weight_ih": ("W_xh", "W_xf"), "weight_hh": ("W_hf",), "bias_ih": ("b_h", "b_f")},
    ),
    "ligru": Peer(
        layer="LiGRU",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xz", "W_xh"),
            "weight_hh": ("W_hz", "W_hh"),
            "bias_ih": ("b_z", "b_h"),
        },
    ),
    "lstm_1997": Peer(
        layer="OriginalLSTM",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xi", "W_xg", "W_xo"),
            "weight_hh": ("W_hi", "W_hg", "W_ho"),
            "bias_ih": ("b_i", "b_g", "b_o"),
        },
    ),
    "mc_lstm": Peer(
        layer="MCLSTM",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xf", "W_xi", "W_xo", "W_xm", "W_xg"),
            "weight_hh": ("W_vf", "W_vi", "W_vo", "W_vm", "W_vg"),
            "bias_ih": ("b_f", "b_i", "b_o", "b_m", "b_g"),
        },
    ),
    "mgu": Peer(
        layer="MGU",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xf", "W_xh"),
            "weight_hh": ("W_hf", "W_hh"),
            "bias_ih": ("b_f", "b_h"),
        },
    ),
    "minimalrnn": Peer(
        layer="MinimalRNN",
        stacks={
            "weight_ih": ("W_xz",),
            "weight_hh": ("W_hu",),
            "weight_mm": ("W_zu",),
            "bias_ih": ("b_z",),
            "bias_hh": ("b_u",),
        },
    ),
    "miru1": Peer(
        layer="MiRU1",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xr", "W_xh"),
            "weight_hh": ("W_hr", "W_hh"),
            "bias_ih": ("b_r", "b_h"),
        },
    ),
    "miru2": Peer(
        layer="MiRU2",
        arguments=_ONE_BIAS,
        stacks={"weight_ih": ("W_xh",), "weight_hh": ("W_hh",), "bias_ih": ("b_h",)},
    ),
    "multiplicative_lstm": Peer(
        layer="MultiplicativeLSTM",
        arguments={**_ONE_BIAS, "multiplicative_bias": False},
        stacks={
            "weight_ih": ("W_xm", "W_xi", "W_xf", "W_xg", "W_xo"),
            "weight_hh": ("W_hm",),
            "weight_mh": ("W_mi", "W_mf", "W_mg", "W_mo"),
            "bias_ih": (None, "b_i", "b_f", "b_g", "b_o"),
        },
    ),
    "mut1": Peer(
        layer="MUT1",
        stacks={
            "weight_ih": ("W_xz", "W_xr", "W_xh"),
            "weight_hh": ("W_hr", "W_hh"),
            "bias_ih": ("b_z", None, None),
            "bias_hh": ("b_r", "b_h"),
        },
    ),
    "mut2": Peer(
        layer="MUT2",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xz", "W_xr", "W_xh"),
            "weight_hh": ("W_hz", "W_hr", "W_hh"),
            "bias_ih": ("b_z", "b_r", "b_h"),
        },
    ),
    "mut3": Peer(
        layer="MUT3",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xz", "W_xr", "W_xh"),
            "weight_hh": ("W_hz", "W_hr", "W_hh"),
            "bias_ih": ("b_z", "b_r", "b_h"),
        },
    ),
    "nas": Peer(
        layer="NAS",
        arguments=_ONE_BIAS,
        stacks={"weight_ih": ("W",), "weight_hh": ("U",), "bias_ih": ("b",)},
    ),
    "nbr": Peer(
        layer="NBR",
        arguments=_NO_BIAS,
        stacks={"weight_ih": ("W_xa", "W_xc", "W_xh"), "weight_hh": ("W_ha", "W_hc")},
    ),
    "peephole_lstm": Peer(
        layer="PeepholeLSTM",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xi", "W_xf", "W_xg", "W_xo"),
            "weight_hh": ("W_hi", "W_hf", "W_hg", "W_ho"),
            "weight_ph": ("p_i", "p_f", "p_o"),
            "bias_ih": ("b_i", "b_f", "b_g", "b_o"),
        },
    ),
    "ran": Peer(
        layer="RAN",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xc", "W_xi", "W_xf"),
            "weight_hh": ("W_hi", "W_hf"),
            "bias_ih": ("b_i", "b_f"),
        },
    ),
    "residual_lstm": Peer(
        layer="ResLSTM",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xi", "W_xf", "W_xg", "W_xo"),
            "weight_hh": ("W_hi", "W_hf", "W_hg", "W_ho"),
            "weight_ph": ("p_i", "p_f", "p_o"),
            "weight_proj": ("W_p",),
            "weight_res": ("W_r",),
            "bias_ih": ("b_i", "b_f", "b_g", "b_o"),
        },
    ),
    "sgrn": Peer(
        layer="SGRN",
        stacks={
            "weight_ih": ("W",),
            "weight_hh": ("U",),
            "bias_ih": ("b",),
            "bias_hh": ("b_f",),
        },
    ),
    "sgu": Peer(  # see dsgu
        layer="SGU",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xh", "W_xz"),
            "weight_hh": ("W_zh", "W_hz"),
            "bias_ih": ("b_g", "b_z"),
        },
        constants={"slope": 1 / 6},
    ),
    "star": Peer(
        layer="STAR",
        arguments=_ONE_BIAS,
        stacks={"weight_ih": ("W_xz", "W_xk"), "weight_hh": ("W_hk",), "bias_ih": ("b_z", "b_k")},
    ),
    "taugru": Peer(
        layer="tauGRU",
        arguments={**_ONE_BIAS, "delay": 5},
        stacks={
            "weight_ih": ("U_u", "U_z", "U_g", "U_a"),
            "weight_hh": ("W_u", "W_z", "W_g", "W_a"),
            "bias_ih": ("b_u", "b_z", "b_g", "b_a"),
        },
    ),
    "tgru": Peer(
        layer="TGRU",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_z", "W_f", "W_o"),
            "weight_hh": ("V_z", "V_f", "V_o"),
            "bias_ih": ("b_z", "b_f", "b_o"),
        },
    ),
    "tlstm": Peer(
        layer="TLSTM",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_z", "W_f", "W_o"),
            "weight_hh": ("V_z", "V_f", "V_o"),
            "bias_ih": ("b_z", "b_f", "b_o"),
        },
    ),
    "trnn": Peer(
        layer="TRNN",
        stacks={"weight_ih": ("W", "V"), "bias_ih": ("b_z", "b")},
    ),
    "ugrnn": Peer(
        layer="UGRNN",
        arguments=_ONE_BIAS,
        stacks={
            "weight_ih": ("W_xc", "W_xg"),
            "weight_hh": ("W_hc", "W_hg"),
            "bias_ih": ("b_c", "b_g"),
        },
    ),
    "unicornn": Peer(
        layer="UnICORNN",
        arguments={**_ONE_BIAS, "dt": 0.1, "alpha": 1.0},
        stacks={
            "weight_ih": ("V",),
            "weight_hh": ("w",),
            "weight_ch": ("c",),
            "bias_ih": ("b",),
        },
    ),
    "wmc_lstm": Peer(
        layer="WMCLSTM",
        arguments={**_ONE_BIAS, "memory_bias": False},
        stacks={
            "weight_ih": ("W_xi", "W_xf", "W_xg", "W_xo"),
            "weight_hh": ("W_hi", "W_hf", "W_hg", "W_ho"),
            "weight_mh": ("W_ci", "W_cf", "W_co"),
            "bias_ih": ("b_i", "b_f", "b_g", "b_o"),
        },
    ),
}


def has(name: str) -> bool:
    """Whether torchrecurrent has the cell."""
    return name in PEERS


def cell(name: str) -> Cell:
    """Our cell, with the constants that theirs has no choice about."""
    return cells.get(name).with_constants(**PEERS[name].constants)


def build(name: str, parameters: Mapping[str, Tensor], input_size: int, hidden: int) -> nn.Module:
    """Its layer of that cell, with our weights."""
    import torchrecurrent

    peer = PEERS[name]
    layer = getattr(torchrecurrent, peer.layer)(input_size, hidden, **peer.arguments)
    layer = layer.to(next(iter(parameters.values())).dtype)
    with torch.no_grad():
        for theirs, ours in peer.stacks.items():
            parts = getattr(layer.cells[0], theirs).chunk(len(ours))
            for part, own in zip(parts, ours, strict=True):
                part.copy_(parameters[own]) if own else part.zero_()
    return layer


def results(name: str, layer: nn.Module, job: Job) -> Results:
    """The output and the gradients, by our names."""
    stacked = job.results(layer)
    found = {key: stacked[key] for key in ("y", "x") if key in stacked}
    for theirs, ours in PEERS[name].stacks.items():
        parts = stacked[f"cells.0.{theirs}"].chunk(len(ours))
        found |= {own: part for own, part in zip(ours, parts, strict=True) if own}
    return found

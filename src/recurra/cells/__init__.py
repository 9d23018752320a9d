"""The cells that recurra ships: each the equations of its source and nothing else.

A new cell is one function in a family module and one name here.
"""

from recurra.cells.gated import gru, mut1, mut2, mut3
from recurra.cells.memory import lstm, lstm_1997, lstm_stacked, naive_memory, peephole_lstm
from recurra.cells.registry import get, names
from recurra.cells.simple import driven_system, dynamical_system, rnn, rnn_relu
from recurra.cells.torch_notation import (
    torch_gru,
    torch_gru_no_bias,
    torch_lstm,
    torch_lstm_no_bias,
    torch_lstm_projected,
    torch_lstm_projected_no_bias,
    torch_rnn_relu,
    torch_rnn_relu_no_bias,
    torch_rnn_tanh,
    torch_rnn_tanh_no_bias,
)

__all__ = [
    "driven_system",
    "dynamical_system",
    "get",
    "gru",
    "lstm",
    "lstm_1997",
    "lstm_stacked",
    "mut1",
    "mut2",
    "mut3",
    "naive_memory",
    "names",
    "peephole_lstm",
    "rnn",
    "rnn_relu",
    "torch_gru",
    "torch_gru_no_bias",
    "torch_lstm",
    "torch_lstm_no_bias",
    "torch_lstm_projected",
    "torch_lstm_projected_no_bias",
    "torch_rnn_relu",
    "torch_rnn_relu_no_bias",
    "torch_rnn_tanh",
    "torch_rnn_tanh_no_bias",
]

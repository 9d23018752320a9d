"""The LSTM of "LSTM: A Search Space Odyssey" and its eight variants, each the base with one change.

Letters as in the paper: x input, y output, c memory; z block input, and gates i (input), f
(forget), o (output); W reads the input, R the output of the step before, p the memory.

Source of all: Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber (2017), "LSTM: A Search Space
Odyssey", IEEE TNNLS 28(10), 2222-2232, arXiv:1503.04069, section II and appendix A.3.
"""

from recurra.lang import cell, concat, replace, sigmoid, split, tanh

_SOURCE = """

Source: Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber (2017), "LSTM: A Search Space Odyssey",
IEEE TNNLS 28(10), 2222-2232, arXiv:1503.04069, appendix A.3."""


@cell(state=("y", "c"))
def vanilla_lstm(
    x, y, c, W_z, R_z, b_z, W_i, R_i, p_i, b_i, W_f, R_f, p_f, b_f, W_o, R_o, p_o, b_o
):
    """The LSTM that the Odyssey starts from: three gates, each with a peephole, and two tanh.

    Source: Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber (2017), "LSTM: A Search Space
    Odyssey", IEEE TNNLS 28(10), 2222-2232, arXiv:1503.04069, section II.A.
    """
    z_bar = W_z @ x + R_z @ y + b_z
    z = tanh(z_bar)
    i = sigmoid(W_i @ x + R_i @ y + p_i * c + b_i)
    f = sigmoid(W_f @ x + R_f @ y + p_f * c + b_f)
    c = z * i + c * f
    o = sigmoid(W_o @ x + R_o @ y + p_o * c + b_o)
    squashed = tanh(c)
    y = squashed * o
    return y, c


lstm_nig = replace(vanilla_lstm, "lstm_nig", "No input gate: i = 1." + _SOURCE, i=1)
lstm_nfg = replace(vanilla_lstm, "lstm_nfg", "No forget gate: f = 1." + _SOURCE, f=1)
lstm_nog = replace(vanilla_lstm, "lstm_nog", "No output gate: o = 1." + _SOURCE, o=1)
lstm_niaf = replace(
    vanilla_lstm,
    "lstm_niaf",
    "No input activation function: g(x) = x." + _SOURCE,
    z=lambda values: values.z_bar,
)
lstm_noaf = replace(
    vanilla_lstm,
    "lstm_noaf",
    "No output activation function: h(x) = x." + _SOURCE,
    squashed=lambda values: values.c,
)
lstm_cifg = replace(
    vanilla_lstm,
    "lstm_cifg",
    "Coupled input and forget gate: f = 1 - i." + _SOURCE,
    f=lambda values: 1 - values.i,
)
lstm_np = replace(
    vanilla_lstm, "lstm_np", "No peepholes: p = 0." + _SOURCE, p_i=0.0, p_f=0.0, p_o=0.0
)


@cell(
    state=("y", "c", "i", "f", "o"),
    sizes={"R_gates": ("3 * H", "3 * H"), "W": ("4 * H", "I"), "R": ("4 * H", "H"), "b": "4 * H"},
)
def lstm_fgr(x, y, c, i, f, o, W, R, b, R_gates, p_i, p_f, p_o):
    """Full gate recurrence: all gates of the step before reach each input gate of this one.

    Source: Greff, Srivastava, Koutnik, Steunebrink, Schmidhuber (2017), "LSTM: A Search Space
    Odyssey", IEEE TNNLS 28(10), 2222-2232, arXiv:1503.04069, appendix A.3, after Hochreiter,
    Schmidhuber (1997).
    Differences: the twelve matrices stand stacked as z, i, f, o in W and R, and the nine from gate
    to gate as i, f, o in R_gates.
    """
    z_bar, i_bar, f_bar, o_bar = split(W @ x + R @ y + b, 4)
    to_i, to_f, to_o = split(R_gates @ concat(i, f, o), 3)
    i = sigmoid(i_bar + to_i + p_i * c)
    f = sigmoid(f_bar + to_f + p_f * c)
    c = tanh(z_bar) * i + c * f
    o = sigmoid(o_bar + to_o + p_o * c)
    return tanh(c) * o, c, i, f, o

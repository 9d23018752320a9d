"""The cells of torch.nn in its own notation: names, shapes and order of parameters and gates.

With them the drop-ins (RNN, LSTM, GRU) share weights with torch.nn. For k gates weight_ih is
[kH, I] and weight_hh [kH, H]; each cell comes with both biases, [kH], and as `_no_bias` with none.
A cell weighs its input and its state; what the gates then do is written once for both forms.
"""

from recurra.lang import cell, relu, sigmoid, split, tanh


@cell(state="h")
def torch_rnn_tanh(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """Simple recurrent network with tanh. Source: torch.nn.RNN's documentation."""
    return tanh(weight_ih @ x + bias_ih + weight_hh @ h + bias_hh)


@cell(state="h")
def torch_rnn_tanh_no_bias(x, h, weight_ih, weight_hh):
    """Simple recurrent network with tanh, without biases. Source: torch.nn.RNN's documentation."""
    return tanh(weight_ih @ x + weight_hh @ h)


@cell(state="h")
def torch_rnn_relu(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """Simple recurrent network with relu. Source: torch.nn.RNN's documentation."""
    return relu(weight_ih @ x + bias_ih + weight_hh @ h + bias_hh)


@cell(state="h")
def torch_rnn_relu_no_bias(x, h, weight_ih, weight_hh):
    """Simple recurrent network with relu, without biases. Source: torch.nn.RNN's documentation."""
    return relu(weight_ih @ x + weight_hh @ h)


def _lstm_gates(c, gates):
    """New output and memory of an LSTM from the old memory and the stack that i, f, g, o are of."""
    i_bar, f_bar, g_bar, o_bar = split(gates, 4)
    i = sigmoid(i_bar)
    f = sigmoid(f_bar)
    g = tanh(g_bar)
    o = sigmoid(o_bar)
    c = f * c + i * g
    h = o * tanh(c)
    return h, c


@cell(state=("h", "c"))
def torch_lstm(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    """Long short-term memory, gates i, f, g, o. Source: torch.nn.LSTM's documentation."""
    return _lstm_gates(c, weight_ih @ x + bias_ih + weight_hh @ h + bias_hh)


@cell(state=("h", "c"))
def torch_lstm_no_bias(x, h, c, weight_ih, weight_hh):
    """Long short-term memory, no biases. Source: torch.nn.LSTM's documentation."""
    return _lstm_gates(c, weight_ih @ x + weight_hh @ h)


@cell(state=("h", "c"), sizes={"h": "P"}, default_sizes={"P": "H/2"})
def torch_lstm_projected(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr):
    """Long short-term memory whose output is projected to size P by weight_hr [P, H].

    Source: torch.nn.LSTM's documentation (proj_size), after Sak, Senior, Beaufays (2014),
    arXiv:1402.1128.
    """
    h, c = _lstm_gates(c, weight_ih @ x + bias_ih + weight_hh @ h + bias_hh)
    return weight_hr @ h, c


@cell(state=("h", "c"), sizes={"h": "P"}, default_sizes={"P": "H/2"})
def torch_lstm_projected_no_bias(x, h, c, weight_ih, weight_hh, weight_hr):
    """Long short-term memory with an output projected to size P by weight_hr [P, H], no biases.

    Source: torch.nn.LSTM's documentation (proj_size), after Sak, Senior, Beaufays (2014),
    arXiv:1402.1128.
    """
    h, c = _lstm_gates(c, weight_ih @ x + weight_hh @ h)
    return weight_hr @ h, c


def _gru_gates(h, from_x, from_h):
    """New state of a GRU from the old one and stacks r, z, n from input and state."""
    r_x, z_x, n_x = split(from_x, 3)
    r_h, z_h, n_h = split(from_h, 3)
    r = sigmoid(r_x + r_h)
    z = sigmoid(z_x + z_h)
    n = tanh(n_x + r * n_h)
    return (1 - z) * n + z * h


@cell(state="h")
def torch_gru(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """Gated recurrent unit, gates r, z, n; r gates the product W_hn h + b_hn, not its factor h.

    Source: torch.nn.GRU's documentation, which says where it differs from Cho et al. (2014), the
    cell `gru`.
    """
    return _gru_gates(h, weight_ih @ x + bias_ih, weight_hh @ h + bias_hh)


@cell(state="h")
def torch_gru_no_bias(x, h, weight_ih, weight_hh):
    """Gated recurrent unit, gates r, z, n, without biases; r gates the product W_hn h, not h.

    Source: torch.nn.GRU's documentation, which says where it differs from Cho et al. (2014), the
    cell `gru`.
    """
    return _gru_gates(h, weight_ih @ x, weight_hh @ h)

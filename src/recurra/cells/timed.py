"""Cells for what is not measured at even times, or not all of it: they read at each step how much
time has passed, or which features were seen, beside the input.

Letters: x input, dt the time since the step before (one number), h state, c memory, W and U what
reads the input and the state, b bias. A layer is called with all of it: `layer(x, dt=gaps)`.
"""

from recurra.lang import cell, concat, exp, floor, log, relu, sigmoid, softplus, tanh, where


@cell(state=("h", "last"), inputs=("x", "m", "delta"), sizes={"last": "I"})
def gru_d(
    x, h, last, m, delta, W_g, b_g, w_x, b_x, W_z, U_z, V_z, b_z, W_r, U_r, V_r, b_r, W, U, V, b
):
    """GRU for inputs with missing values: m says which features were seen at the step (1 or 0) and
    delta how long ago each was seen last; what was not seen, and the state, decay with that time.

    Source: Che, Purushotham, Cho, Sontag, Liu (2018), "Recurrent Neural Networks for Multivariate
    Time Series with Missing Values", Scientific Reports 8:6085, arXiv:1606.01865, the equations of
    GRU-D: decay rates, input decay, hidden state decay, and the update functions.
    Differences: features are standardised, so the mean that they decay to is 0. The second state
    is what was last seen of each. What x holds where m is 0 is not looked at.
    """
    seen = where(m, x, exp(-relu(w_x * delta + b_x)) * last)
    h = exp(-relu(W_g @ delta + b_g)) * h
    z = sigmoid(W_z @ seen + U_z @ h + V_z @ m + b_z)
    r = sigmoid(W_r @ seen + U_r @ h + V_r @ m + b_r)
    h_tilde = tanh(W @ seen + U @ (r * h) + V @ m + b)
    return (1 - z) * h + z * h_tilde, where(m, x, last)


@cell(state=("h", "c"), inputs=("x", "dt"), sizes={"dt": 1})
def time_aware_lstm(x, h, c, dt, W_d, b_d, W_f, U_f, b_f, W_i, U_i, b_i, W_o, U_o, b_o, W, U, b):
    """T-LSTM: of the memory a short-term part, found by W_d, fades with the time that has passed.

    Source: Baytas, Xiao, Zhang, Wang, Jain, Zhou (2017), "Patient Subtyping via Time-Aware LSTM
    Networks", KDD, doi:10.1145/3097983.3097997, its equations, with the decay
    g(dt) = 1 / log(e + dt) that it has for long times.
    """
    short = tanh(W_d @ c + b_d)
    c = c - short + short / log(exp(1) + dt)
    f = sigmoid(W_f @ x + U_f @ h + b_f)
    i = sigmoid(W_i @ x + U_i @ h + b_i)
    o = sigmoid(W_o @ x + U_o @ h + b_o)
    c = f * c + i * tanh(W @ x + U @ h + b)
    return o * tanh(c), c


@cell(state=("h", "c"), inputs=("x", "time"), sizes={"time": 1}, init={"rate": "uniform3"})
def phased_lstm(
    x, h, c, time, W_i, U_i, p_i, b_i, W_f, U_f, p_f, b_f, W_g, U_g, b_g, W_o, U_o, p_o, b_o,
    rate, shift, ratio=0.05, leak=0.001,
):  # fmt: skip
    """Phased LSTM: each unit has a clock of its own, and is open for a part of its period only; it
    reads the time at which x was measured, and not how much has passed.

    Source: Neil, Pfeiffer, Liu (2016), "Phased LSTM: Accelerating Recurrent Network Training for
    Long or Event-based Sequences", NeurIPS, arXiv:1610.09513, the gate k and the cell.
    Differences: 1 / tau is the softplus of `rate`, and the shift is counted in periods. The leak is
    there in evaluation too; `with_constants(leak=0.0)` takes it away.
    """
    turns = time * softplus(rate) + shift
    phase = turns - floor(turns)
    closing = where(phase < ratio, 2 - 2 / ratio * phase, leak * phase)
    k = where(phase < ratio / 2, 2 / ratio * phase, closing)
    i = sigmoid(W_i @ x + U_i @ h + p_i * c + b_i)
    f = sigmoid(W_f @ x + U_f @ h + p_f * c + b_f)
    c_tilde = f * c + i * tanh(W_g @ x + U_g @ h + b_g)
    o = sigmoid(W_o @ x + U_o @ h + p_o * c_tilde + b_o)
    h_tilde = o * tanh(c_tilde)
    return k * h_tilde + (1 - k) * h, k * c_tilde + (1 - k) * c


@cell(state="h", inputs=("x", "dt"), sizes={"dt": 1, "b_1": "R"}, default_sizes={"R": "H"})
def ode_rnn(
    x, h, dt, W_1, b_1, W_2, b_2, W_z, U_z, b_z, W_r, U_r, b_r, W_n, U_n, b_n, euler_steps=4
):
    """ODE-RNN: between steps the state follows a differential equation, at each step a GRU reads x.

    Source: Rubanova, Chen, Duvenaud (2019), "Latent ODEs for Irregularly-Sampled Time Series",
    NeurIPS, arXiv:1907.03907, the ODE-RNN, with a network of one hidden layer [R] as the equation.
    Differences: solved by Euler's method, in `euler_steps` steps from one input to the next.
    """
    for _ in range(euler_steps):
        h = h + dt / euler_steps * (W_2 @ tanh(W_1 @ h + b_1) + b_2)
    z = sigmoid(W_z @ x + U_z @ h + b_z)
    r = sigmoid(W_r @ x + U_r @ h + b_r)
    return z * h + (1 - z) * tanh(W_n @ x + U_n @ (r * h) + b_n)


@cell(state="h", inputs=("x", "dt"), sizes={"dt": 1})
def ltc(x, h, dt, W, U, b, A, leak, euler_steps=6):
    """Liquid time-constant network: how fast the state leaks, and towards what, follows the input.

    Source: Hasani, Lechner, Amini, Rus, Grosu (2021), "Liquid Time-constant Networks", AAAI,
    arXiv:2006.04439, the fused step of its ODE solver, `euler_steps` of them for an input.
    Differences: f is a sigmoid, and 1 / tau the softplus of `leak`, so that the state is bounded.
    """
    step = dt / euler_steps
    for _ in range(euler_steps):
        f = sigmoid(W @ x + U @ h + b)
        h = (h + step * f * A) / (1 + step * (softplus(leak) + f))
    return h


@cell(state="h", inputs=("x", "dt"), sizes={"dt": 1, "b": "R"}, default_sizes={"R": "H"})
def cfc(x, h, dt, W, b, W_f, b_f, W_g, b_g, W_h, b_h):
    """Closed-form continuous-time network: a gate of the time that has passed goes from one value
    of the state to another, both read from a layer [R] that they share.

    Source: Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl, Rus (2022), "Closed-form
    continuous-time neural networks", Nature Machine Intelligence 4, 992-1003, arXiv:2106.13898, the
    closed form with sigmoids in the place of the exponential decay, f, g and h behind a backbone.
    """
    shared = tanh(W @ concat(x, h) + b)
    gate = sigmoid(-(W_f @ shared + b_f) * dt)
    return gate * tanh(W_g @ shared + b_g) + (1 - gate) * tanh(W_h @ shared + b_h)

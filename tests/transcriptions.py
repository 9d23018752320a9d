"""One step of each cell, transcribed from its source with torch's operations alone.

p holds the cell's parameters by name; x is [B, I], every state [B, H] and a memory m [B, S, K]. No
code is shared with the cells themselves.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

import matrix_transcriptions

Parameters = dict[str, Tensor]
States = tuple[Tensor, ...]


def linear(parameters: Parameters, to: str, **values: Tensor) -> Tensor:
    """The sum of W_{from,to} value over the named values, plus b_to: one gate's argument."""
    total = parameters[f"b_{to}"]
    for name, value in values.items():
        total = total + torch.einsum("oi,bi->bo", parameters[f"W_{name}{to}"], value)
    return total


def weigh(matrix: Tensor, value: Tensor) -> Tensor:
    return torch.einsum("oi,bi->bo", matrix, value)


def step_dynamical_system(p: Parameters, x: Tensor, s: Tensor) -> States:
    return (torch.tanh(weigh(p["W"], s) + p["b"]),)


def step_driven_system(p: Parameters, x: Tensor, s: Tensor) -> States:
    return (torch.tanh(weigh(p["W"], s) + weigh(p["U"], x) + p["b"]),)


def step_rnn(p: Parameters, x: Tensor, h: Tensor) -> States:
    return (torch.tanh(linear(p, "h", x=x, h=h)),)


def step_rnn_relu(p: Parameters, x: Tensor, h: Tensor) -> States:
    return (linear(p, "h", x=x, h=h).clamp_min(0),)


def step_naive_memory(p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> States:
    new_c = weigh(p["W"], c) + weigh(p["W_g"], torch.tanh(linear(p, "g", x=x, h=h)))
    return torch.tanh(new_c), new_c


def step_lstm_1997(p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> States:
    i, o = (torch.sigmoid(linear(p, gate, x=x, h=h)) for gate in "io")
    new_c = c + i * torch.tanh(linear(p, "g", x=x, h=h))
    return o * torch.tanh(new_c), new_c


def step_lstm(p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> States:
    i, f, o = (torch.sigmoid(linear(p, gate, x=x, h=h)) for gate in "ifo")
    new_c = f * c + i * torch.tanh(linear(p, "g", x=x, h=h))
    return o * torch.tanh(new_c), new_c


def step_lstm_stacked(p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> States:
    H = h.shape[1]
    gates = weigh(p["W"], torch.cat([x, h], dim=1)) + p["b"]
    i, f, o = (torch.sigmoid(gates[:, k * H : (k + 1) * H]) for k in range(3))
    new_c = f * c + i * torch.tanh(gates[:, 3 * H :])
    return o * torch.tanh(new_c), new_c


def step_peephole_lstm(p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> States:
    i, f = (torch.sigmoid(linear(p, gate, x=x, h=h) + p[f"p_{gate}"] * c) for gate in "if")
    new_c = f * c + i * torch.tanh(linear(p, "g", x=x, h=h))
    o = torch.sigmoid(linear(p, "o", x=x, h=h) + p["p_o"] * new_c)
    return o * torch.tanh(new_c), new_c


def step_gru(p: Parameters, x: Tensor, h: Tensor) -> States:
    r, z = (torch.sigmoid(linear(p, gate, x=x, h=h)) for gate in "rz")
    return (torch.lerp(torch.tanh(linear(p, "h", x=x, h=r * h)), h, z),)


def step_mut1(p: Parameters, x: Tensor, h: Tensor) -> States:
    z = torch.sigmoid(linear(p, "z", x=x))
    r = torch.sigmoid(linear(p, "r", x=x, h=h))
    candidate = torch.tanh(linear(p, "h", h=r * h) + torch.tanh(weigh(p["W_xh"], x)))
    return (torch.lerp(h, candidate, z),)


def step_mut2(p: Parameters, x: Tensor, h: Tensor) -> States:
    z, r = (torch.sigmoid(linear(p, gate, x=x, h=h)) for gate in "zr")
    return (torch.lerp(h, torch.tanh(linear(p, "h", x=x, h=r * h)), z),)


def step_mut3(p: Parameters, x: Tensor, h: Tensor) -> States:
    z = torch.sigmoid(linear(p, "z", x=x, h=torch.tanh(h)))
    r = torch.sigmoid(linear(p, "r", x=x, h=h))
    return (torch.lerp(h, torch.tanh(linear(p, "h", x=x, h=r * h)), z),)


def step_irnn(p: Parameters, x: Tensor, h: Tensor) -> States:
    return step_rnn_relu(p, x, h)


def step_scrn(p: Parameters, x: Tensor, h: Tensor, s: Tensor) -> States:
    new_s = 0.05 * weigh(p["B"], x) + 0.95 * s
    new_h = torch.sigmoid(weigh(p["P"], new_s) + weigh(p["A"], x) + weigh(p["R"], h))
    return torch.cat([new_h, new_s], dim=1), new_h, new_s


def step_lem(p: Parameters, x: Tensor, y: Tensor, z: Tensor) -> States:
    dt, dt_bar = (torch.sigmoid(linear(p, gate, x=x, h=y)) for gate in "de")
    new_z = torch.lerp(z, torch.tanh(linear(p, "c", x=x, h=y)), dt)
    return torch.lerp(y, torch.tanh(linear(p, "h", x=x, c=new_z)), dt_bar), new_z


def step_rhn(p: Parameters, x: Tensor, s: Tensor) -> States:
    H = s.shape[1]
    for level in range(3):
        rows = slice(level * H, (level + 1) * H)
        candidate = weigh(p["R_h"][rows], s) + p["b_h"][rows]
        transform = weigh(p["R_t"][rows], s) + p["b_t"][rows]
        if level == 0:
            candidate = candidate + weigh(p["W_h"], x)
            transform = transform + weigh(p["W_t"], x)
        s = torch.lerp(s, torch.tanh(candidate), torch.sigmoid(transform))
    return (s,)


def block_diagonal(blocks: Tensor, heads: int) -> Tensor:
    return torch.block_diag(*blocks.chunk(heads))


def step_slstm(p: Parameters, x: Tensor, h: Tensor, c: Tensor, n: Tensor, m: Tensor) -> States:
    z, i, f, o = (
        weigh(p[f"W_{gate}"], x) + weigh(block_diagonal(p[f"R_{gate}"], 4), h) + p[f"b_{gate}"]
        for gate in "zifo"
    )
    # eq. (8)-(14) as they stand, without the stabiliser, on the memory that m had scaled down
    c, n = c * m.exp(), n * m.exp()
    c, n = f.exp() * c + i.exp() * torch.tanh(z), f.exp() * n + i.exp()
    new_m = torch.maximum(f + m, i)
    return torch.sigmoid(o) * c / n, c / new_m.exp(), n / new_m.exp(), new_m


# ---- the Odyssey


def odyssey(
    p: Parameters,
    x: Tensor,
    y: Tensor,
    c: Tensor,
    *,
    without: str = "",
    squash: str = "gh",
    coupled: bool = False,
) -> States:
    """The vanilla LSTM without some of its gates (held at 1), or without g or h."""

    def gate(name: str, memory: Tensor) -> Tensor:
        if name in without:
            return torch.ones_like(memory)
        peephole = p[f"p_{name}"] * memory if f"p_{name}" in p else 0
        total = weigh(p[f"W_{name}"], x) + weigh(p[f"R_{name}"], y) + p[f"b_{name}"]
        return torch.sigmoid(total + peephole)

    z = weigh(p["W_z"], x) + weigh(p["R_z"], y) + p["b_z"]
    z = torch.tanh(z) if "g" in squash else z
    i = gate("i", c)
    f = 1 - i if coupled else gate("f", c)
    new_c = z * i + c * f
    return (torch.tanh(new_c) if "h" in squash else new_c) * gate("o", new_c), new_c


def step_vanilla_lstm(p: Parameters, x: Tensor, y: Tensor, c: Tensor) -> States:
    return odyssey(p, x, y, c)


def step_lstm_nig(p: Parameters, x: Tensor, y: Tensor, c: Tensor) -> States:
    return odyssey(p, x, y, c, without="i")


def step_lstm_nfg(p: Parameters, x: Tensor, y: Tensor, c: Tensor) -> States:
    return odyssey(p, x, y, c, without="f")


def step_lstm_nog(p: Parameters, x: Tensor, y: Tensor, c: Tensor) -> States:
    return odyssey(p, x, y, c, without="o")


def step_lstm_niaf(p: Parameters, x: Tensor, y: Tensor, c: Tensor) -> States:
    return odyssey(p, x, y, c, squash="h")


def step_lstm_noaf(p: Parameters, x: Tensor, y: Tensor, c: Tensor) -> States:
    return odyssey(p, x, y, c, squash="g")


def step_lstm_np(p: Parameters, x: Tensor, y: Tensor, c: Tensor) -> States:
    assert not any(name.startswith("p_") for name in p)
    return odyssey(p, x, y, c)


def step_lstm_cifg(p: Parameters, x: Tensor, y: Tensor, c: Tensor) -> States:
    return odyssey(p, x, y, c, coupled=True)


def step_lstm_fgr(
    p: Parameters, x: Tensor, y: Tensor, c: Tensor, i: Tensor, f: Tensor, o: Tensor
) -> States:
    H = y.shape[1]
    old_gates = {"i": i, "f": f, "o": o}
    rows = {name: slice(k * H, (k + 1) * H) for k, name in enumerate("zifo")}
    total = {
        name: weigh(p["W"][at], x) + weigh(p["R"][at], y) + p["b"][at] for name, at in rows.items()
    }
    for to, name in enumerate("ifo"):
        for start, old in enumerate("ifo"):
            block = p["R_gates"][to * H : (to + 1) * H, start * H : (start + 1) * H]
            total[name] = total[name] + weigh(block, old_gates[old])
    new_i, new_f = (torch.sigmoid(total[name] + p[f"p_{name}"] * c) for name in "if")
    new_c = torch.tanh(total["z"]) * new_i + c * new_f
    new_o = torch.sigmoid(total["o"] + p["p_o"] * new_c)
    return torch.tanh(new_c) * new_o, new_c, new_i, new_f, new_o


# ---- linear in the state


def affine(p: Parameters, x: Tensor, to: str) -> Tensor:
    return weigh(p[f"W_{to}"], x) + p[f"b_{to}"]


def step_mingru(p: Parameters, x: Tensor, h: Tensor) -> States:
    return (torch.lerp(h, affine(p, x, "h"), torch.sigmoid(affine(p, x, "z"))),)


def step_minlstm(p: Parameters, x: Tensor, h: Tensor) -> States:
    f, i = (torch.sigmoid(affine(p, x, gate)) for gate in "fi")
    return ((f * h + i * affine(p, x, "h")) / (f + i),)


def windows(p: Parameters, x: Tensor, x_old: Tensor, names: str) -> list[Tensor]:
    """z, then the gates: convolutions of width two."""
    totals = [affine(p, x, name) + weigh(p[f"V_{name}"], x_old) for name in names]
    return [torch.tanh(totals[0]), *map(torch.sigmoid, totals[1:])]


def step_qrnn_fo(p: Parameters, x: Tensor, c: Tensor, x_old: Tensor) -> States:
    z, f, o = windows(p, x, x_old, "zfo")
    new_c = torch.lerp(z, c, f)
    return o * new_c, new_c, x


def step_qrnn_ifo(p: Parameters, x: Tensor, c: Tensor, x_old: Tensor) -> States:
    z, f, i, o = windows(p, x, x_old, "zfio")
    new_c = f * c + i * z
    return o * new_c, new_c, x


def step_sru(p: Parameters, x: Tensor, c: Tensor) -> States:
    f, r = (torch.sigmoid(affine(p, x, gate)) for gate in "fr")
    new_c = torch.lerp(weigh(p["W"], x), c, f)
    return torch.lerp(weigh(p["W_h"], x), torch.tanh(new_c), r), new_c


def step_sru_2018(p: Parameters, x: Tensor, c: Tensor) -> States:
    f, r = (torch.sigmoid(affine(p, x, gate) + p[f"v_{gate}"] * c) for gate in "fr")
    new_c = torch.lerp(weigh(p["W"], x), c, f)
    return torch.lerp(weigh(p["W_h"], x), new_c, r), new_c


def step_rg_lru(p: Parameters, x: Tensor, h: Tensor) -> States:
    u = weigh(p["W"], x)
    r, i = (
        torch.sigmoid(weigh(block_diagonal(p[f"W_{gate}"], 4), u) + p[f"b_{gate}"]) for gate in "ri"
    )
    a = torch.sigmoid(p["decay"]) ** (8 * r)
    return (a * h + (1 - a**2).sqrt() * (i * u),)


def gru_at(p: Parameters, x: Tensor, h: Tensor, names: str, more: Tensor | None = None) -> States:
    """The update gate, the reset gate and the candidate of a GRU, by the letters of their names."""

    def total(name: str, state: Tensor) -> Tensor:
        end = f"_{name}" if name.strip() else ""
        value = weigh(p[f"W{end}"], x) + weigh(p[f"U{end}"], state) + p[f"b{end}"]
        return value if more is None else value + weigh(p[f"V{end}"], more)

    update, reset = (torch.sigmoid(total(name, h)) for name in names[:2])
    return update, reset, torch.tanh(total(names[2], reset * h))


def step_gru_d(
    p: Parameters, x: Tensor, h: Tensor, last: Tensor, m: Tensor, delta: Tensor
) -> States:
    decay_x = torch.exp(-torch.clamp_min(delta * p["w_x"] + p["b_x"], 0))
    decay_h = torch.exp(-torch.clamp_min(weigh(p["W_g"], delta) + p["b_g"], 0))
    x_hat = m * x + (1 - m) * (decay_x * last)
    z, _, new = gru_at(p, x_hat, decay_h * h, "zr ", m)
    return torch.lerp(decay_h * h, new, z), m * x + (1 - m) * last


def step_time_aware_lstm(p: Parameters, x: Tensor, h: Tensor, c: Tensor, dt: Tensor) -> States:
    short = torch.tanh(weigh(p["W_d"], c) + p["b_d"])
    long = c - short
    adjusted = long + short * (1 / torch.log(math.e + dt))
    f, i, o = (
        torch.sigmoid(weigh(p[f"W_{g}"], x) + weigh(p[f"U_{g}"], h) + p[f"b_{g}"]) for g in "fio"
    )
    candidate = torch.tanh(weigh(p["W"], x) + weigh(p["U"], h) + p["b"])
    new_c = f * adjusted + i * candidate
    return o * torch.tanh(new_c), new_c


def step_phased_lstm(p: Parameters, x: Tensor, h: Tensor, c: Tensor, time: Tensor) -> States:
    period = 1 / torch.nn.functional.softplus(p["rate"])
    phase = torch.remainder(time + p["shift"] * period, period) / period
    k = torch.where(phase < 0.05, 2 - 2 * phase / 0.05, 0.001 * phase)
    k = torch.where(phase < 0.025, 2 * phase / 0.05, k)

    def total(name: str) -> Tensor:
        return weigh(p[f"W_{name}"], x) + weigh(p[f"U_{name}"], h) + p[f"b_{name}"]

    i, f = (torch.sigmoid(total(name) + p[f"p_{name}"] * c) for name in "if")
    inner = f * c + i * torch.tanh(total("g"))
    o = torch.sigmoid(total("o") + p["p_o"] * inner)
    return torch.lerp(h, o * torch.tanh(inner), k), torch.lerp(c, inner, k)


def step_ode_rnn(p: Parameters, x: Tensor, h: Tensor, dt: Tensor) -> States:
    for _ in range(4):
        hidden = torch.tanh(weigh(p["W_1"], h) + p["b_1"])
        h = h + (dt / 4) * (weigh(p["W_2"], hidden) + p["b_2"])
    z, _, new = gru_at(p, x, h, "zrn")
    return (torch.lerp(new, h, z),)


def step_ltc(p: Parameters, x: Tensor, h: Tensor, dt: Tensor) -> States:
    tau = 1 / torch.nn.functional.softplus(p["leak"])
    for _ in range(6):
        f = torch.sigmoid(weigh(p["W"], x) + weigh(p["U"], h) + p["b"])
        h = (h + dt / 6 * f * p["A"]) / (1 + dt / 6 * (1 / tau + f))
    return (h,)


def step_cfc(p: Parameters, x: Tensor, h: Tensor, dt: Tensor) -> States:
    shared = torch.tanh(weigh(p["W"], torch.cat([x, h], dim=-1)) + p["b"])
    f, g, h_new = (weigh(p[f"W_{name}"], shared) + p[f"b_{name}"] for name in "fgh")
    return (torch.lerp(torch.tanh(h_new), torch.tanh(g), torch.sigmoid(-f * dt)),)


def step_lmu(p: Parameters, x: Tensor, h: Tensor, m: Tensor) -> States:
    order, theta = 16, 64.0
    A = torch.zeros(order, order, dtype=torch.float64)
    for i in range(order):
        for j in range(order):
            A[i, j] = (2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1))
    B = torch.tensor([(2 * i + 1) * (-1) ** i for i in range(order)], dtype=torch.float64)
    over_a_step = torch.linalg.matrix_exp(A / theta)
    driven = torch.linalg.solve(A, (over_a_step - torch.eye(order, dtype=torch.float64)) @ B)
    u = torch.einsum("i,bi->b", p["e_x"], x) + torch.einsum("i,bi->b", p["e_h"], h)
    u = u + torch.einsum("i,bi->b", p["e_m"], m)
    new_m = weigh(over_a_step, m) + u[:, None] * driven
    total = weigh(p["W_x"], x) + weigh(p["W_h"], h) + weigh(p["W_m"], new_m)
    return torch.tanh(total), new_m


def attended(scores: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [B, S] and what is read [B, K]."""
    alpha = torch.softmax(scores, dim=1)
    return alpha, torch.bmm(alpha.unsqueeze(1), m).squeeze(1)


def scored(p: Parameters, query: Tensor, keys: Tensor) -> Tensor:
    """One score for each position of keys [B, S, A], which a query [B, A] is added to."""
    return torch.einsum("bsa,a->bs", torch.tanh(query.unsqueeze(1) + keys), p["v"])


def gru_of(p: Parameters, x: Tensor, h: Tensor, read: Tensor) -> Tensor:
    def total(end: str, state: Tensor) -> Tensor:
        parts = weigh(p[f"W{end}"], x) + weigh(p[f"U{end}"], state) + weigh(p[f"C{end}"], read)
        return parts + p[f"b{end}"]

    z, r = torch.sigmoid(total("_z", h)), torch.sigmoid(total("_r", h))
    return torch.lerp(h, torch.tanh(total("", r * h)), z)


def step_additive_attention_gru(p: Parameters, x: Tensor, h: Tensor, m: Tensor) -> States:
    _, read = attended(scored(p, weigh(p["W_a"], h), m @ p["U_a"].T), m)
    return (gru_of(p, x, h, read),)


def lstm_of(p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> States:
    i, f, o, g = (weigh(p["W"], torch.cat([x, h], 1)) + p["b"]).chunk(4, 1)
    new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(new_c), new_c


def fed(p: Parameters, x: Tensor, a: Tensor, h: Tensor, c: Tensor, m: Tensor) -> States:
    h, c = lstm_of(p, torch.cat([x, a], 1), h, c)
    query = h @ p["W_a"] if "W_a" in p else h
    _, read = attended(torch.bmm(m, query.unsqueeze(2)).squeeze(2), m)
    return torch.tanh(weigh(p["W_c"], torch.cat([read, h], 1))), h, c


step_dot_attention_lstm = step_general_attention_lstm = fed


def step_scaled_dot_attention_gru(p: Parameters, x: Tensor, h: Tensor, m: Tensor) -> States:
    query = weigh(p["W_q"], h).unsqueeze(1)
    read = torch.nn.functional.scaled_dot_product_attention(query, m @ p["W_k"].T, m @ p["W_v"].T)
    return (gru_of(p, x, h, read.squeeze(1)),)


def step_location_attention_gru(
    p: Parameters, x: Tensor, h: Tensor, alpha: Tensor, m: Tensor
) -> States:
    filters = p["F"].unsqueeze(1)
    found = torch.nn.functional.conv1d(alpha.unsqueeze(1), filters, padding=filters.shape[2] // 2)
    keys = m @ p["V_a"].T + found.transpose(1, 2) @ p["U_a"].T + p["b_a"]
    alpha, read = attended(scored(p, weigh(p["W_a"], h), keys), m)
    return gru_of(p, x, h, read), alpha


def step_coverage_gru(p: Parameters, x: Tensor, h: Tensor, cover: Tensor, m: Tensor) -> States:
    keys = m @ p["U_a"].T + torch.einsum("bs,a->bsa", cover, p["V_a"])
    alpha, read = attended(scored(p, weigh(p["W_a"], h), keys), m)
    return gru_of(p, x, h, read), cover + alpha / (2 * torch.sigmoid(m @ p["U_f"]))


def step_conditional_gru(p: Parameters, x: Tensor, h: Tensor, m: Tensor) -> States:
    def moved(read: Tensor, state: Tensor, a: str, b: str, c: str) -> Tensor:
        z, r = (
            torch.sigmoid(weigh(p[f"{a}_{g}"], read) + weigh(p[f"{b}_{g}"], state) + p[f"{c}_{g}"])
            for g in "zr"
        )
        new = torch.tanh(weigh(p[a], read) + r * weigh(p[b], state) + p[c])
        return torch.lerp(new, state, z)

    first = moved(x, h, "W", "U", "b")
    _, read = attended(scored(p, weigh(p["W_a"], first), m @ p["U_a"].T), m)
    return (moved(read, first, "C", "V", "d"),)


def step_pointer_lstm(p: Parameters, x: Tensor, h: Tensor, c: Tensor, m: Tensor) -> States:
    h, c = lstm_of(p, x, h, c)
    alpha, _ = attended(scored(p, weigh(p["W_2"], h), m @ p["W_1"].T), m)
    return alpha, h, c


def step_window_lstm(
    p: Parameters, x: Tensor, h: Tensor, c: Tensor, kappa: Tensor, w: Tensor, m: Tensor, u: Tensor
) -> States:
    h, c = lstm_of(p, torch.cat([x, w], 1), h, c)
    alpha, beta, forward = (weigh(p["W_w"], h) + p["b_w"]).exp().chunk(3, 1)
    kappa = kappa + forward
    bumps = torch.exp(-beta[:, None] * (kappa[:, None] - u) ** 2)  # [B, S, Q]
    w = torch.einsum("bsq,bq,bsk->bk", bumps, alpha, m)
    return torch.cat([h, w], 1), h, c, kappa, w


def mod_relu(z: Tensor, b: Tensor) -> Tensor:
    return z.sign() * (z.abs() + b).clamp_min(0)


def step_scornn(p: Parameters, x: Tensor, h: Tensor) -> States:
    A, H = p["A"] - p["A"].T, len(p["A"])
    identity = torch.eye(H, dtype=x.dtype)
    W = (
        torch.linalg.inv(identity + A)
        @ (identity - A)
        @ torch.diag(p["d"].sign() + p["d"] - p["d"].detach())
    )
    return (mod_relu(weigh(p["U"], x) + weigh(W, h), p["b"]),)


def step_exprnn(p: Parameters, x: Tensor, h: Tensor) -> States:
    W = torch.linalg.matrix_exp(p["A"] - p["A"].T)
    return (mod_relu(weigh(p["U"], x) + weigh(W, h), p["b"]),)


STEPS: dict[str, Callable[..., States]] = {
    name.removeprefix("step_"): step for name, step in globals().items() if name.startswith("step_")
}
STEPS |= matrix_transcriptions.STEPS

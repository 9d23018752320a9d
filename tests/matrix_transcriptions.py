"""One step of each cell with a matrix state, transcribed from its source with torch's operations.

p holds the cell's parameters by name; x is [B, I]. A state of n matrices one below the other is
[B, H, H / n] in the cell, and [B, n, H / n, H / n] here, as papers have heads. No code is shared
with the cells themselves.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Parameters = dict[str, Tensor]
States = tuple[Tensor, ...]
HEADS = 4


def heads(v: Tensor) -> Tensor:
    """[B, n, H / n], of a vector [B, H]."""
    return v.unflatten(1, (HEADS, -1))


def blocks(S: Tensor) -> Tensor:
    """[B, n, P, Q], of [B, n P, Q]."""
    return S.unflatten(1, (HEADS, -1))


def read(S: Tensor, q: Tensor) -> Tensor:
    """[B, n, P], of what each head [B, n, P, Q] has for its query [B, n, Q]."""
    return torch.einsum("bnpq,bnq->bnp", S, q)


def written(v: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bnp,bnq->bnpq", v, k)


def a_number(v: Tensor) -> Tensor:
    """[B, n] as what goes with matrices."""
    return v[:, :, None, None]


def group_normed(v: Tensor) -> Tensor:
    return F.group_norm(v.flatten(1), HEADS)


def step_fast_weights(p: Parameters, x: Tensor, h: Tensor, A: Tensor) -> States:
    A = 0.95 * A + 0.5 * h.unsqueeze(2) @ h.unsqueeze(1)
    slow = F.linear(h, p["W"]) + F.linear(x, p["C"])
    inner = slow + torch.einsum("bij,bj->bi", A, torch.tanh(slow))
    return torch.tanh(F.layer_norm(inner, inner.shape[1:], p["gain"], p["bias"])), A


def step_linear_transformer(p: Parameters, x: Tensor, S: Tensor, n: Tensor) -> States:
    q, k = (F.elu(F.linear(x, p[name])) + 1 for name in ("W_q", "W_k"))
    S = blocks(S) + written(heads(F.linear(x, p["W_v"])), heads(k))
    n = n + k
    size = (heads(n) * heads(q)).sum(2, keepdim=True)
    return (read(S, heads(q)) / (size + 1e-6)).flatten(1), S.flatten(1, 2), n


def step_mlstm(p: Parameters, x: Tensor, C: Tensor, n: Tensor, m: Tensor) -> States:
    def affine(name: str) -> Tensor:
        return F.linear(x, p[f"W_{name}"], p[f"b_{name}"])

    q, v, k = heads(affine("q")), heads(affine("v")), heads(affine("k"))
    k = k / k.shape[2] ** 0.5
    log_f = F.logsigmoid(affine("f"))
    new_m = torch.maximum(log_f + m, affine("i"))
    f, i = torch.exp(log_f + m - new_m), torch.exp(affine("i") - new_m)
    C = a_number(f) * blocks(C) + a_number(i) * written(v, k)
    n = f[..., None] * heads(n) + i[..., None] * k
    size = torch.maximum((n * q).sum(2).abs(), torch.exp(-new_m))
    h = torch.sigmoid(affine("o")) * (read(C, q) / size[..., None]).flatten(1)
    return h, C.flatten(1, 2), n.flatten(1), new_m


def delta(p: Parameters, x: Tensor, S: Tensor) -> States:
    """S (I - beta k k^T) + beta v k^T, as it is printed."""
    q, k = (heads(F.silu(F.linear(x, p[name]))) for name in ("W_q", "W_k"))
    q, k = (v / torch.sqrt((v * v).sum(2, keepdim=True) + 1e-6) for v in (q, k))
    beta = torch.sigmoid(F.linear(x, p["W"], p["b"]))
    eye = torch.eye(k.shape[2], dtype=x.dtype)
    S = S @ (eye - a_number(beta) * written(k, k))
    S = S + a_number(beta) * written(heads(F.linear(x, p["W_v"])), k)
    return read(S, q).flatten(1), S.flatten(1, 2)


def step_delta_net(p: Parameters, x: Tensor, S: Tensor) -> States:
    return delta(p, x, blocks(S))


def step_gated_delta_net(p: Parameters, x: Tensor, S: Tensor) -> States:
    alpha = torch.exp(-p["a"].exp() * F.softplus(F.linear(x, p["W_a"], p["b_a"])))
    return delta(p, x, a_number(alpha) * blocks(S))


def step_retnet(p: Parameters, x: Tensor, S: Tensor) -> States:
    gamma = 1 - 2.0 ** (-5 - torch.arange(HEADS, dtype=x.dtype))
    q, k, v = (heads(F.linear(x, p[f"W_{name}"])) for name in "qkv")
    S = gamma[:, None, None] * blocks(S) + written(v, k)
    y = F.silu(F.linear(x, p["W_g"])) * group_normed(read(S, q))
    return F.linear(y, p["W_o"]), S.flatten(1, 2)


def step_gla(p: Parameters, x: Tensor, S: Tensor) -> States:
    alpha = torch.sigmoid(F.linear(F.linear(x, p["W_a"]), p["U_a"], p["b_a"])) ** (1 / 16)
    q, k, v = (heads(F.linear(x, p[f"W_{name}"])) for name in "qkv")
    S = blocks(S) * heads(alpha).unsqueeze(2) + written(v, k)
    y = F.silu(F.linear(x, p["W_r"], p["b_r"])) * group_normed(read(S, q))
    return F.linear(y, p["W_o"]), S.flatten(1, 2)


def step_hgrn2(p: Parameters, x: Tensor, S: Tensor) -> States:
    f, o = (torch.sigmoid(F.linear(x, p[f"W_{n}"], p[f"b_{n}"])) for n in "fo")
    i = F.silu(F.linear(x, p["W_i"], p["b_i"]))
    S = blocks(S) @ torch.diag_embed(heads(f)) + written(heads(i), heads(1 - f))
    return read(S, heads(o)).flatten(1), S.flatten(1, 2)


def step_mamba(p: Parameters, x: Tensor, S: Tensor) -> States:
    u = F.silu(F.linear(x, p["W"], p["b"]))
    step = F.softplus(F.linear(u, p["W_d"], p["b_d"]))[..., None]
    S = torch.exp(step * -p["A"].exp()) * S + step * F.linear(u, p["W_B"])[:, None] * u[..., None]
    return torch.einsum("bhq,bq->bh", S, F.linear(u, p["W_C"])) + p["D"] * u, S


def step_ntm(p: Parameters, x: Tensor, h: Tensor, M: Tensor, r: Tensor, w: Tensor) -> States:
    def at(old: Tensor, W: str, b: str, u: str) -> Tensor:
        k = F.linear(h, p[f"{W}_k"], p[f"{b}_k"])
        products = torch.einsum("bsk,bk->bs", M, k)
        cosine = products / torch.sqrt((M**2).sum(2) * (k**2).sum(1, keepdim=True) + 1e-6)
        beta, g, gamma = ((p[f"{u}_{n}"] * h).sum(1, keepdim=True) for n in ("beta", "g", "gamma"))
        mixed = torch.lerp(old, torch.softmax(F.softplus(beta) * cosine, 1), torch.sigmoid(g))
        shifts = torch.softmax(F.linear(h, p[f"{W}_s"]), 1)
        moved = sum(
            shifts[:, i : i + 1] * mixed.roll(shift, 1) for i, shift in enumerate((-1, 0, 1))
        )
        sharp = moved.clamp_min(1e-6) ** (1 + F.softplus(gamma))
        return sharp / sharp.sum(1, keepdim=True)

    M = M + p["M_0"]
    found = torch.einsum("bs,bsk->bk", r, M)
    total = F.linear(x, p["W"]) + F.linear(h, p["U"]) + F.linear(found, p["R"])
    h = torch.tanh(total + p["b"])
    w = at(w, "V", "c", "v")
    e, a = (
        torch.sigmoid(F.linear(h, p["W_e"], p["b_e"])),
        torch.tanh(F.linear(h, p["W_a"], p["b_a"])),
    )
    where = w.unsqueeze(2)
    M = M * (1 - where * e.unsqueeze(1)) + where * a.unsqueeze(1)
    return h, M - p["M_0"], at(r, "W", "b", "u"), w


STEPS: dict[str, Callable[..., States]] = {
    name.removeprefix("step_"): step for name, step in globals().items() if name.startswith("step_")
}

"""What a cell reads at each step besides x: every form in which it comes, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import recurra as rc
from recurra.lang import exp, tanh
from recurra.nn import Bidirectional

pytestmark = pytest.mark.medium

T, B, IN, H, M = 6, 3, 3, 5, 2
LENGTHS = torch.tensor([6, 2, 4])


@rc.cell(inputs=("x", "dt", "m"), sizes={"dt": 1})
def timed(x, h, dt, m, W, U, V, b):
    """Reads a number and a vector at each step besides x."""
    return tanh(W @ x + exp(-dt) * (U @ h) + V @ m + b)


def by_hand(layer: rc.Recurrent, x: Tensor, dt: Tensor, m: Tensor, k: int = 0) -> Tensor:
    """y [T, B, H] of one layer, in torch."""
    W, U, V, b = (getattr(layer, f"{name}_l{k}") for name in ("W", "U", "V", "b"))
    h, rows = x.new_zeros(x.shape[1], H), []
    for t in range(len(x)):
        h = torch.tanh(x[t] @ W.T + torch.exp(-dt[t]).unsqueeze(-1) * (h @ U.T) + m[t] @ V.T + b)
        rows.append(h)
    return torch.stack(rows)


def make(layers: int = 1, **options: Any) -> rc.Recurrent:
    torch.manual_seed(0)
    given = {"dtype": torch.float64, "sizes": {"I_m": M}, **options}
    return rc.Recurrent(timed, IN, H, layers, **given)


def given(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    x, dt, m = torch.randn(T, B, IN), torch.rand(T, B), torch.randn(T, B, M)
    return tuple(each.to(dtype).requires_grad_() for each in (x, dt, m))  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_layer_reads_the_same(dtype: torch.dtype) -> None:
    layer, (x, dt, m) = make(2, dtype=dtype), given(dtype)
    y, _ = layer(x, dt=dt, m=m)
    expected = by_hand(layer, by_hand(layer, x, dt, m), dt, m, 1)
    torch.testing.assert_close(y, expected)
    leaves = [x, dt, m, *layer.parameters()]
    found = torch.autograd.grad(y.square().sum(), leaves)
    torch.testing.assert_close(found, torch.autograd.grad(expected.square().sum(), leaves))


def test_gradcheck() -> None:
    layer, (x, dt, m) = make(2, bidirectional=True), given()
    assert torch.autograd.gradcheck(lambda *a: layer(a[0], dt=a[1], m=a[2])[0], (x, dt, m))


def test_a_scalar_comes_with_and_without_its_size() -> None:
    layer, (x, dt, m) = make(), given()
    y, _ = layer(x, dt=dt, m=m)
    torch.testing.assert_close(layer(x, dt=dt.unsqueeze(-1), m=m)[0], y, rtol=0, atol=0)


def test_batch_first_and_one_sequence() -> None:
    layer, (x, dt, m) = make(), given()
    y, final = layer(x, dt=dt, m=m)
    first = make(batch_first=True)
    turned, again = first(*(x.transpose(0, 1),), dt=dt.T, m=m.transpose(0, 1))
    torch.testing.assert_close((turned.transpose(0, 1), again), (y, final), rtol=0, atol=0)
    for one in (layer, first):
        single, last = one(x[:, 1], dt=dt[:, 1], m=m[:, 1])
        torch.testing.assert_close((single, last), (y[:, 1], final[:, 1]))


def test_what_lies_past_a_length_is_not_looked_at() -> None:
    layer, (x, dt, m) = make(2, bidirectional=True), given()
    past = torch.arange(T)[:, None] >= LENGTHS
    y, final = layer(x, lengths=LENGTHS, dt=dt, m=m)
    with torch.no_grad():
        for each in (x, dt, m):
            each[past] = float("nan")
    again, same = layer(x, lengths=LENGTHS, dt=dt, m=m)
    torch.testing.assert_close((again, same), (y, final), rtol=0, atol=0)
    for d in torch.autograd.grad(again.square().sum(), [x, dt, m]):
        assert d.isfinite().all()
        assert (d[past] == 0).all()
    for b, length in enumerate(LENGTHS):
        alone, _ = layer(x[:length, b], dt=dt[:length, b], m=m[:length, b])
        torch.testing.assert_close(again[:length, b], alone)


def test_sequences_are_put_in_order_with_what_belongs_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recurra.nn.ragged._SORTING", 0)
    monkeypatch.setattr("recurra.nn.ragged._COPY", 0)
    layer, (x, dt, m) = make(dtype=torch.float32), given(torch.float32)
    y, final = layer(x, lengths=LENGTHS, dt=dt, m=m)
    reference = make(dtype=torch.float32, backend="reference")
    torch.testing.assert_close((y, final), reference(x, lengths=LENGTHS, dt=dt, m=m))


def test_reverse_reads_each_step_with_its_own() -> None:
    layer, (x, dt, m) = make(reverse=True), given()
    y, _ = layer(x, dt=dt, m=m)
    expected = by_hand(layer, x.flip(0), dt.flip(0), m.flip(0)).flip(0)
    torch.testing.assert_close(y, expected)


def test_two_layers_of_which_one_reads_more() -> None:
    (x, dt, m), other = given(), rc.Recurrent("gru", IN, H, dtype=torch.float64, reverse=True)
    both = Bidirectional(make(), other)
    y, _ = both(x, dt=dt, m=m)
    expected = [both.forwards(x, dt=dt, m=m)[0], other(x)[0]]
    torch.testing.assert_close(y, torch.cat(expected, -1))
    with pytest.raises(TypeError, match="expected dt, m besides x, got dt"):
        both(x, dt=dt)
    with pytest.raises(TypeError, match=r"got gap, dt, m.*and nothing else"):
        both(x, dt=dt, m=m, gap=dt)


def test_packed() -> None:
    layer, (x, dt, m) = make(), given()
    y, final = layer(x, lengths=LENGTHS, dt=dt, m=m)
    x_p, dt_p, m_p = (pack_padded_sequence(e, LENGTHS, enforce_sorted=False) for e in (x, dt, m))
    packed, last = layer(x_p, dt=dt_p, m=m_p)
    torch.testing.assert_close((pad_packed_sequence(packed)[0], last), (y, final))
    with pytest.raises(TypeError, match="expected dt as a PackedSequence, as x is, got Tensor"):
        layer(x_p, dt=dt, m=m_p)
    with pytest.raises(TypeError, match="expected m as a tensor, as x is, got PackedSequence"):
        layer(x, dt=dt, m=m_p)
    other = pack_padded_sequence(dt, torch.tensor([6, 4, 2]), enforce_sorted=False)
    with pytest.raises(ValueError, match="expected dt packed by the lengths of x"):
        layer(x_p, dt=other, m=m_p)


def test_token_ids_beside_them() -> None:
    layer, (_, dt, m) = make(dtype=torch.float32), given(torch.float32)
    ids, embedding = torch.randint(4, (T, B)), torch.randn(4, IN)
    y, _ = layer(ids, embedding=embedding, dt=dt, m=m)
    torch.testing.assert_close(y, layer(embedding[ids], dt=dt, m=m)[0])
    stream = layer.stream(B, embedding=embedding)
    steps = [stream(ids[t], dt=dt[t], m=m[t]) for t in range(T)]
    torch.testing.assert_close(torch.stack(steps), y.detach())


def test_no_steps_and_no_sequences() -> None:
    layer = make()
    for steps, batch in ((0, B), (T, 0)):
        x, dt, m = (torch.zeros(steps, batch, n, dtype=torch.float64) for n in (IN, 1, M))
        dt.requires_grad_()
        y, _ = layer(x, dt=dt, m=m)
        y.sum().backward()
        assert y.shape == (steps, batch, H)
        assert dt.grad is not None


def test_in_autocast() -> None:
    layer, (x, dt, m) = make(dtype=torch.float32), given(torch.float32)
    expected, _ = layer(x, dt=dt, m=m)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x.bfloat16(), dt=dt.bfloat16(), m=m)
    torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_second_derivatives_and_jacobians(backend: str) -> None:
    layer, (x, dt, m) = make(backend=backend), given()
    (first,) = torch.autograd.grad(layer(x, dt=dt, m=m)[0].sum(), dt, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), dt)
    (expected,) = torch.autograd.grad(by_hand(layer, x, dt, m).sum(), dt, create_graph=True)
    torch.testing.assert_close(second, torch.autograd.grad(expected.sum(), dt)[0])
    jacobian: Any = torch.func.jacrev(lambda d: layer(x, dt=d, m=m)[1])(dt)
    by_rows = torch.autograd.functional.jacobian(lambda d: layer(x, dt=d, m=m)[1], dt)
    torch.testing.assert_close(jacobian, by_rows)


# ---- one step at a time --------------------------------------------------------------------------


class Halved(rc.Recurrent):
    """A layer whose forward is the user's own."""

    def forward(self, *args: Any, **options: Any) -> Any:
        y, state = super().forward(*args, **options)
        return y / 2, state


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_stream(backend: str) -> None:
    layer, (x, dt, m) = make(2, backend=backend, dtype=torch.float32), given(torch.float32)
    expected, final = layer(x, dt=dt, m=m)
    stream = layer.stream(B)
    out = torch.empty(B, H)
    for t in range(T):
        gap = dt[t] if t % 2 else dt[t].unsqueeze(-1)
        y_t = stream(x[t], dt=gap, m=m[t], **({"out": out} if t == 2 else {}))
        torch.testing.assert_close(y_t, expected[t].detach(), msg=f"step {t}")
    torch.testing.assert_close(stream.state, final.detach())
    with pytest.raises(TypeError, match=r"stream: expected dt, m besides x, got none of them"):
        stream(x[0])
    with pytest.raises(ValueError, match=r"input m of shape \(3, 2\).*got \(2,\)"):
        stream(x[0], dt=dt[0], m=m[0, 0])
    torch.testing.assert_close(stream.state, final.detach())  # a step refused is no step


def test_stream_of_a_layer_with_its_own_forward() -> None:
    for batch_first in (False, True):
        layer = Halved(timed, IN, H, sizes={"I_m": M}, batch_first=batch_first)
        x, dt, m = given(torch.float32)
        plain = rc.Recurrent(timed, IN, H, sizes={"I_m": M})
        plain.load_state_dict(layer.state_dict())
        stream = layer.stream(B)
        steps = [stream(x[t], dt=dt[t], m=m[t]) for t in range(T)]
        torch.testing.assert_close(torch.stack(steps), plain(x, dt=dt, m=m)[0].detach() / 2)


def test_stream_of_a_plain_cell_refuses_more() -> None:
    stream = rc.Recurrent("gru", IN, H).stream()
    with pytest.raises(TypeError, match=r"expected no arguments but x_t, out, got dt"):
        stream(torch.zeros(1, IN), dt=torch.zeros(1))


# ---- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("dt",), r"expected dt, m besides x, got dt\. Pass dt=\.\.\., m=\.\.\.\.$"),
        ((), r"got none of them\. Pass dt"),
        (("dt", "m", "q"), r"got dt, m, q\. Pass dt=\.\.\., m=\.\.\. and nothing else\.$"),
        (("dt", "m", "length"), r"Did you mean 'lengths'\?"),
    ],
)
def test_wrong_names(names: tuple[str, ...], says: str) -> None:
    layer, (x, dt, m) = make(), given()
    with pytest.raises(TypeError, match=says):
        layer(x, **{name: m if name == "m" else dt for name in names})


def test_a_cell_that_reads_x_alone_refuses_more() -> None:
    layer, (x, dt, _) = rc.Recurrent("gru", IN, H, dtype=torch.float64), given()
    says = r"Recurrent\(gru\): expected no arguments but x, state, .*, got dt. What a cell reads"
    with pytest.raises(TypeError, match=says):
        layer(x, dt=dt)
    with pytest.raises(TypeError, match="Did you mean 'lengths'"):
        layer(x, length=LENGTHS)


@pytest.mark.parametrize(
    ("name", "change", "kind", "says"),
    [
        (
            "dt",
            lambda v: v[:-1],
            ValueError,
            r"input dt of shape \(6, 3\) or \(6, 3, 1\).*\(5, 3\)",
        ),
        ("dt", lambda v: v.T, ValueError, r"got \(3, 6\)\. Of timed it is one number at each step"),
        ("m", lambda v: v[..., 0], ValueError, r"\[I_m\], by the equations.*sizes={'m': 1}"),
        ("m", lambda v: v.float(), TypeError, r"input m of torch.float64, got torch.float32"),
    ],
)
def test_wrong_values(name: str, change: Any, kind: type[Exception], says: str) -> None:
    layer, (x, dt, m) = make(), given()
    values = {"dt": dt, "m": m}
    with pytest.raises(kind, match=says):
        layer(x, **{**values, name: change(values[name])})


def test_an_input_of_the_size_of_x_is_for_layers_that_read_the_same() -> None:
    @rc.cell(inputs=("x", "mask"))
    def masked(x, h, mask, W, U):
        return tanh(W @ (mask * x) + U @ h)

    assert rc.Recurrent(masked, H, H, 2).further_sizes == {"mask": (H,)}
    with pytest.raises(ValueError, match=r"input mask of one size in all layers.*\[\(3,\), \(5,\)"):
        rc.Recurrent(masked, IN, H, 2)


@pytest.mark.parametrize(
    "make_model",
    [
        lambda cell: rc.LanguageModel(7, cell=cell, sizes={"I_m": M}),
        lambda cell: rc.Classifier(3, input_size=4, cell=cell, sizes={"I_m": M}),
    ],
)
def test_models_say_that_they_give_x_alone(make_model: Any) -> None:
    says = r"expected a cell that reads x alone at each step, got timed, which reads dt, m too"
    with pytest.raises(ValueError, match=says):
        make_model(timed)

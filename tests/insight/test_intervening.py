"""`rc.intervene`: named values replaced at every step, and what follows from it."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from recurra import cell
from recurra.lang import sigmoid, tanh

T, B, I, H = 5, 3, 2, 4  # noqa: E741
FLOAT64 = torch.float64
EXACT = {"rtol": 0.0, "atol": 1e-12}


def layer_of(name: object, *args: int, **options: object) -> rc.Recurrent:
    sizes = args or (I, H)
    return rc.Recurrent(name, *sizes, dtype=FLOAT64, backend="reference", **options)  # type: ignore[arg-type]


def steps(*shape: int) -> Tensor:
    return torch.randn(*(shape or (T, B, I)), dtype=FLOAT64)


def by_hand(
    layer: rc.Recurrent, x: Tensor, forget: object = None, cell_of: object = None
) -> tuple[Tensor, Tensor]:
    """y and the last c of an LSTM whose forget gate or cell goes through a function."""
    p = layer.parameters_of(0)
    h = c = x.new_zeros(x.shape[1], H)
    outputs = []
    for t, x_t in enumerate(x):
        a = {k: x_t @ p[f"W_x{k}"].T + h @ p[f"W_h{k}"].T + p[f"b_{k}"] for k in "ifog"}
        f = a["f"].sigmoid()
        f = f if forget is None else forget(f, t)  # type: ignore[operator]
        c = f * c + a["i"].sigmoid() * a["g"].tanh()
        c = c if cell_of is None else cell_of(c, t)  # type: ignore[operator]
        h = a["o"].sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), c


def test_a_function_replaces_a_gate_and_gradients_flow_through_it() -> None:
    layer, x = layer_of("lstm"), steps().requires_grad_()
    scale = torch.tensor(0.7, dtype=FLOAT64, requires_grad=True)

    def patch(v: Tensor, s: int) -> Tensor:
        return v * scale + 0.1 * s

    y, (_, c) = rc.intervene(layer, x, f=patch)
    expected, last = by_hand(layer, x, forget=patch)
    torch.testing.assert_close((y, c[0]), (expected, last), **EXACT)
    leaves = [scale, x, *layer.parameters()]
    ours, theirs = (torch.autograd.grad(v.square().sum(), leaves) for v in (y, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_a_number_and_a_tensor_of_each_step() -> None:
    layer, x, values = layer_of("lstm"), steps(), steps(T, B, H).requires_grad_()
    y, _ = rc.intervene(layer, x, f=1.0)
    torch.testing.assert_close(y, by_hand(layer, x, lambda v, s: torch.ones_like(v))[0], **EXACT)
    y, _ = rc.intervene(layer, x, c=values)
    torch.testing.assert_close(y, by_hand(layer, x, cell_of=lambda v, s: values[s])[0], **EXACT)
    (gradient,) = torch.autograd.grad(y.sum(), values)
    assert gradient.ne(0).all()


def test_units_clamped_in_place() -> None:
    layer, x = layer_of("lstm"), steps()

    def clamped(v: Tensor, s: int) -> Tensor:
        v[:, 1] = -2.0
        return v

    y, (_, c) = rc.intervene(layer, x, c=clamped)
    torch.testing.assert_close(y, by_hand(layer, x, cell_of=clamped)[0], **EXACT)
    assert c[0, :, 1].eq(-2.0).all()


def test_states_of_another_run_give_its_output() -> None:
    layer, x, other = layer_of("gru", num_layers=2), steps(), steps()
    t = rc.trace(layer, other)
    found = rc.intervene(layer, x, replace={("h", 0): t.layer(0).h, ("h", 1): t.layer(1).h})
    torch.testing.assert_close(found, layer(other), **EXACT)


def test_each_value_replaced_by_itself_changes_nothing() -> None:
    layer, x = layer_of("lstm"), steps()
    for name in rc.trace(layer, x).names():
        torch.testing.assert_close(
            rc.intervene(layer, x, replace={name: lambda v, s: v}), layer(x), **EXACT
        )


def test_a_trace_has_what_stands_for_a_value() -> None:
    layer, x = layer_of("lstm"), steps()
    t = rc.trace(layer, x, replace={"f": 0.0})
    assert t.f.eq(0).all()
    torch.testing.assert_close(t.c, t.i * t.g, **EXACT)
    torch.testing.assert_close(t.result, rc.intervene(layer, x, f=0.0), **EXACT)


def test_where_it_holds_is_said_by_layer_and_direction() -> None:
    layer, x = layer_of("gru", num_layers=2, bidirectional=True), steps()
    t = rc.trace(layer, x, replace={("z", 1, True): 0.5})
    plain = rc.trace(layer, x)
    assert t.layer(1, reverse=True).z.eq(0.5).all()
    torch.testing.assert_close(t.layer(1).z, plain.layer(1).z, **EXACT)
    one = rc.intervene(layer, x, layer=1, reverse=True, z=0.5)
    torch.testing.assert_close(one, t.result, **EXACT)
    everywhere = rc.trace(layer, x, replace={"z": 0.5})
    assert all(
        everywhere.layer(k, reverse=r).z.eq(0.5).all() for k in (0, 1) for r in (False, True)
    )


def test_of_the_direction_from_the_end_a_step_has_its_number_in_the_sequence() -> None:
    layer, x = layer_of("gru", reverse=True), steps()
    seen: list[int] = []

    def look(v: Tensor, s: int) -> Tensor:
        seen.append(s)
        return v

    rc.intervene(layer, x, z=look)
    assert seen == [4, 3, 2, 1, 0]
    values = rc.trace(layer, x).z
    torch.testing.assert_close(rc.intervene(layer, x, z=values), layer(x), **EXACT)


def test_ends_of_sequences_hold() -> None:
    layer, x, lengths = layer_of("lstm"), steps(), torch.tensor([2, 5, 3])
    y, (_, c) = rc.intervene(layer, x, lengths=lengths, f=0.5)
    for b, length in enumerate(lengths.tolist()):
        alone = rc.intervene(layer, x[:length, b : b + 1], f=0.5)
        torch.testing.assert_close(y[:length, b], alone[0][:, 0], **EXACT)
        torch.testing.assert_close(c[0, b], alone[1][1][0, 0], **EXACT)
        assert y[length:, b].eq(0).all()


def test_what_came_before_the_loop_is_replaced_at_its_steps() -> None:
    layer, x = layer_of("mingru"), steps()
    z = rc.trace(layer, x).z
    y, _ = rc.intervene(layer, x, z=lambda v, s: v if s != 2 else torch.ones_like(v))
    patched = z.clone()
    patched[2] = 1.0
    torch.testing.assert_close(y, rc.intervene(layer, x, z=patched)[0], **EXACT)


def test_a_state_that_is_another_value_as_it_is() -> None:
    @cell(state=("h", "old"))
    def kept(x, h, old, W, U, V):
        return tanh(W @ x + U @ h + V @ old), h

    layer, x = layer_of(kept), steps()
    _, (h, old) = rc.intervene(layer, x, old=0.25)
    assert old.eq(0.25).all()
    plain = rc.trace(layer, x)
    torch.testing.assert_close(plain.old[1:], plain.h[:-1], **EXACT)
    assert not torch.allclose(h, plain.h[-1:])


def test_a_matrix_of_parameters_is_one_for_all_sequences() -> None:
    @cell(state="h")
    def skewed(x, h, W, U):
        A = U - U.T
        return tanh(W @ x + A @ h)

    layer, x = layer_of(skewed), steps()
    y, _ = rc.intervene(layer, x, A=lambda v, s: v * 0)
    expected = torch.tanh(x @ layer.parameters_of(0)["W"].T)
    torch.testing.assert_close(y, expected, **EXACT)


def test_names_that_a_call_has_too_are_replaced_by_their_keys() -> None:
    @cell(state="h", inputs=("x", "dt"), sizes={"dt": "1"})
    def timed(x, h, dt, W, U, b):
        lengths = sigmoid(W @ x + b)
        return tanh(lengths * dt + U @ h)

    layer, x, gaps = layer_of(timed), steps(), steps(T, B, 1)
    y, _ = rc.intervene(layer, x, dt=gaps, replace={"lengths": 0.0})
    assert not torch.allclose(y, layer(x, dt=gaps)[0])
    torch.testing.assert_close(y, torch.zeros_like(y), **EXACT)


def test_of_a_language_model_the_logits_follow() -> None:
    model = rc.LanguageModel(7, hidden_size=H, num_layers=2, dtype=FLOAT64)
    ids = torch.randint(7, (T, B))
    logits, _ = rc.intervene(model, ids, layer=1, h=lambda v, s: v * 0)
    torch.testing.assert_close(logits, model.decoder.bias.expand_as(logits), **EXACT)
    assert not torch.allclose(logits, model(ids)[0])
    unchanged, _ = rc.intervene(model, ids, layer=1, part="recurrent", c=lambda v, s: v)
    torch.testing.assert_close(unchanged, model(ids)[0], **EXACT)


def test_numbers_of_steps_go_on_where_a_layer_is_called_again() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = layer_of("gru")

        def forward(self, x: Tensor) -> Tensor:
            first, state = self.rnn(x[:2])
            return torch.cat([first, self.rnn(x[2:], state)[0]])

    module, x = Twice(), steps()
    values = rc.trace(module.rnn, x).z * 0.5
    torch.testing.assert_close(
        rc.intervene(module, x, z=values), rc.intervene(module.rnn, x, z=values)[0], **EXACT
    )


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"forget": 1.0}, ValueError, r"value of lstm, got 'forget'\. Use one of i, f, o, g, c, h"),
        ({"layer": 3, "f": 1.0}, ValueError, r"expected one of layer 0, got f of layer 3"),
        ({"reverse": True, "f": 1.0}, ValueError, r"expected one of layer 0, got f, reverse"),
        ({"f": "open"}, TypeError, r"a function of \(v, s\), a tensor or a number for f, got str"),
        ({"replace": {("f", 0, False, 1): 1.0}}, TypeError, "."),
        ({"f": lambda v, s: v[:1]}, ValueError, r"f of shape \(3, 4\) at each step, got \(1, 4\)"),
        ({"f": lambda v, s: None}, ValueError, r"f of shape \(3, 4\) at each step, got NoneType"),
        ({"f": lambda v, s: v.float()}, TypeError, r"f of torch\.float64 on cpu, like the layer"),
        ({"f": steps(2, B, H)}, ValueError, r"one for each of 5 steps, got \(2, 3, 4\)"),
        ({"f": steps(9, B, H)}, ValueError, r"one for each of 5 steps, got \(9, 3, 4\)"),
        (
            {"f": torch.tensor(1.0)},
            ValueError,
            r"one for each of 5 steps, got \(\)",
        ),
        ({"f": steps(B, H)}, ValueError, r"f as \[T, B, size\]"),
        ({"f": steps(T, H, B)}, ValueError, r"f of shape \(3, 4\) at each step, got \(4, 3\)"),
    ],
)
def test_mistakes_are_told_in_a_line(given: dict[str, object], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        rc.intervene(layer_of("lstm"), steps(), **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) or message == "."


def test_a_tensor_without_steps_is_refused_of_no_steps_too() -> None:
    with pytest.raises(ValueError, match=r"one for each of 0 steps, got \(\)\. Time comes first"):
        rc.intervene(layer_of("lstm"), steps(0, B, I), f=torch.tensor(1.0))


def test_numbers_of_numpy_are_numbers() -> None:
    layer, x = layer_of("lstm"), steps()
    expected = rc.intervene(layer, x, f=0.5)
    torch.testing.assert_close(rc.intervene(layer, x, f=np.float32(0.5)), expected, **EXACT)


def test_what_is_compiled_takes_its_own_arguments() -> None:
    class Compiled(nn.Module):  # as torch.compile wraps a module
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

        def forward(self, *args: object, **kwargs: object) -> object:
            raise AssertionError("what is looked into runs as Python")

    layer, x, lengths = layer_of("gru"), steps(), torch.tensor([2, 5, 3])
    expected = rc.intervene(layer, x, lengths=lengths, z=0.5)
    found = rc.intervene(Compiled(layer), x, lengths=lengths, z=0.5)
    torch.testing.assert_close(found, expected, **EXACT)


def test_states_of_a_run_in_few_bits_fit_another_whose_cell_reads_the_step() -> None:
    @cell(state="h")
    def clocked(x, h, t, W, U):
        return tanh(W @ x + U @ h + 0.1 * t)

    layer = rc.Recurrent(clocked, I, H, dtype=torch.bfloat16, backend="reference")
    x = steps().bfloat16()
    seen = []
    y, _ = rc.intervene(layer, x, h=rc.trace(layer, x).h)
    rc.intervene(layer, x, h=lambda v, s: seen.append(v.dtype) or v)
    assert torch.equal(y, layer(x)[0])
    assert set(seen) == {torch.bfloat16}

"""The oracle chain: eager equations -> reference under autograd -> the reference's own adjoint.

Every cell of the registry, and cells that reach what the registry does not, in float64: outputs,
final states, and the gradient of everything that has one, with cotangents on the final states too.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from oracle import Case, Eager, assert_same, beyond_the_core, fitted, reference_results, results
from recurra import cells
from recurra.backends import ReferenceBackend
from recurra.lang import (
    Cell,
    cell,
    concat,
    cos,
    elu,
    layer_norm,
    log,
    max,
    mean,
    minimum,
    relu,
    sigmoid,
    softmax,
    split,
    sqrt,
    sum,
    tanh,
    where,
)

SIZES = {"I": 3, "H": 6, "P": 2, "C": 4, "C_u": 2, "C_v": 5}
TOLERANCE = 1e-11
GRADIENTS = ("autograd", "adjoint")


def check(of: Cell, case: Case) -> None:
    """Eager, autograd and adjoint agree."""
    of = fitted(of, case.sizes)
    expected = results(Eager(of, case.sizes), case.tensors(of))
    for way, found in reference_results(of, case):
        assert_same(found, expected, TOLERANCE, f"{of.name}, {way}, {case}")


# ---- cells that reach what the registry does not -------------------------------------------------


@cell(sizes={"gain": "1", "shift": "1"})
def learned_scalars(x, h, W, U, gain, shift):
    return tanh(gain * (W @ x + U @ h) + shift) + gain * shift


@cell(context=("u", "v"))
def two_contexts(x, h, u, v, W, U, V, M):
    once = tanh(V @ v)
    return tanh(W @ x + U @ u + once * h) + M @ h * mean(u)


@cell
def clockwork(x, h, t, W, U, b):
    new = tanh(W @ x + U @ h + b * cos(0.5 * t))
    return where(t < 3, new, 0.5 * (h + new))


@cell(state=("h", "c"), output=True)
def with_output(x, h, c, W, U, V, b):
    c = 0.7 * c + tanh(W @ x)
    h = tanh(U @ h + c)
    return sigmoid(V @ (h * c) + b + x), h, c


@cell(output=True)
def scalar_output(x, h, W):
    h = tanh(W @ x + h)
    return sum(h * h), h


@cell(output=True)
def input_as_output(x, h, W):
    return x, tanh(W @ x + h)


@cell(output=True)
def constant_output(x, h, W):
    return 0.25, tanh(W @ x + h)


@cell
def ignores_its_input(x, h, U):
    return tanh(U @ h)


@cell
def ignores_its_state(x, h, W, b):
    return tanh(W @ x + b)


@cell(state=("h", "c", "d"))
def passes_states_on(x, h, c, d, W):
    return tanh(W @ x + c), h, d


@cell(state=("h", "c"))
def exchanges_states(x, h, c, W):
    return c, h + W @ x


@cell(state=("h", "c"))
def returns_one_twice(x, h, c, W, U):
    new = tanh(W @ x + U @ h + c)
    return new, new


@cell(state=("h", "k"))
def state_from_parameters(x, h, k, W, b):
    return tanh(W @ x + h * k), tanh(b)


@cell(state=("h", "count"), sizes={"count": "1", "a": "1"})
def scalar_state(x, h, count, W, a):
    count = tanh(count + a * mean(h))
    return tanh(W @ x + h * count), count


@cell(state=("h", "s"), sizes={"s": "1", "a": "1"})
def scalar_state_from_parameter(x, h, s, W, a):
    return tanh(W @ x + h * s), tanh(a)


@cell(state="s")
def no_input(s, W, b):
    return tanh(W @ s + b)


@cell(state="s", context="v")
def no_input_but_context(s, v, W, V):
    return tanh(W @ s + V @ v)


@cell
def reads_input_in_the_loop(x, h, W, U, M):
    return tanh(W @ x + U @ h) * mean(x * (M @ h))


@cell(sizes={"U": ("H", "H")})
def transposed(x, h, W, U):
    return tanh(W @ x + U.T @ h + U @ tanh(h) + (2.0 * U).T @ (h * h))


@cell(sizes={"A": ("R", "I"), "M": ("H", "H")})
def products_of_matrices(x, h, A, B, M):
    return tanh((B @ A.T.T) @ x + (M * tanh(M)) @ h)


@cell
def shares_a_product(x, h, W, U, a, b):
    u = W @ x + U @ h
    return sigmoid(u + a) * h + tanh(u + b) * (W @ x)


@cell(state=("h", "c"))
def normalised(x, h, c, W, U, g, b):
    i, f, o = split(layer_norm(W @ x, g, b) + layer_norm(U @ h, eps=0.1), 3)
    c = sigmoid(f) * c + sigmoid(i) * softmax(o)
    return layer_norm(c, eps=0.1) * max(o), c


@cell
def whole_and_parts(x, h, W, U, a, b):
    both = U @ h
    p, q = split(both, 2)
    return tanh(p + a) * sigmoid(q + b + W @ x) + 0.3 * mean(both) * h


@cell
def halves(x, h, W, U):
    a, b = split(h, 2)
    p, q = split(W @ x, 2)
    return concat(tanh(U @ b + p), minimum(relu(a), q) + elu(b))


@cell(sizes={"p": "1"})
def learned_powers(x, h, W, p, q):
    u = sqrt(1.5 + (W @ x) ** 2)
    return tanh(u**p * h + (0.5 + sigmoid(h)) ** q)


@cell(sizes={"b": "R"})
def biases_that_are_products(x, h, W, V, U, M, b):
    return tanh(V @ b + W @ x) * sigmoid(U @ b + M @ x) + 0.1 * h


@cell(context="v")
def says_its_context(x, h, v, W):
    return tanh(W @ v)


EXTRA = [value for value in list(globals().values()) if isinstance(value, Cell)]
ALL = [cells.get(name) for name in cells.names()] + EXTRA
each_cell = pytest.mark.parametrize("of", ALL, ids=lambda of: of.name)

SIZES = {**SIZES, "R": 2, "K": 4, "A": 2, "Q": 2}

# ---- the chain -----------------------------------------------------------------------------------


@pytest.mark.medium
@each_cell
def test_plain(of: Cell) -> None:
    check(of, Case(T=5, B=3, sizes=SIZES))


@pytest.mark.medium
@each_cell
def test_one_step_one_sequence_size_one(of: Cell) -> None:
    check(of, Case(T=1, B=1, sizes=SIZES))
    check(of, Case(T=3, B=1, sizes={**SIZES, "I": 1, "P": 1}))
    if of is not halves:  # whose sizes must be even
        check(of, Case(T=2, B=2, sizes=dict.fromkeys(SIZES, 1)))
    # a shape tells nothing of what its dimensions are
    check(of, Case(T=4, B=4, sizes=dict.fromkeys(SIZES, 4)))


@pytest.mark.medium
@each_cell
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_ragged(of: Cell, reverse: bool) -> None:
    """Padding is NaN in x: nothing of it may reach a result."""
    check(of, Case(T=5, B=4, sizes=SIZES, lengths=(5, 1, 3, 4), reverse=reverse))


@pytest.mark.medium
@each_cell
def test_reverse(of: Cell) -> None:
    check(of, Case(T=4, B=2, sizes=SIZES, reverse=True))


WITH_INPUT = [of for of in ALL if of.input is not None]
ONE_HOT = [of for of in WITH_INPUT if of is not ignores_its_input]


@pytest.mark.medium
@pytest.mark.parametrize("lengths", [None, (4, 1, 2)], ids=["whole", "ragged"])
@pytest.mark.parametrize("of", ONE_HOT, ids=lambda of: of.name)
def test_token_ids_as_one_hot_vectors(of: Cell, lengths: tuple[int, ...] | None) -> None:
    check(of, Case(T=4, B=3, sizes=SIZES, ids="one-hot", lengths=lengths))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("of", "vocabulary"),
    [
        pytest.param(
            of,
            vocabulary,
            id=f"{of.name}-V={vocabulary}",
            marks=pytest.mark.slow if vocabulary != 5 and of.name in beyond_the_core() else (),
        )
        for of in WITH_INPUT
        for vocabulary in (1, 5, 50)
    ],
)
def test_token_ids_as_rows_of_an_embedding(of: Cell, vocabulary: int) -> None:
    """Below T * B rows the input product is a table of the vocabulary, above it is not."""
    case = Case(T=4, B=3, sizes=SIZES, ids="embedding", vocabulary=vocabulary)
    check(of, case)
    check(of, Case(**{**vars(case), "lengths": (2, 4, 1), "reverse": True}))


@pytest.mark.medium
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_start_index(reverse: bool) -> None:
    for start in (0, 1, 7):
        check(clockwork, Case(T=4, B=2, sizes=SIZES, start=start, reverse=reverse))
    check(clockwork, Case(T=4, B=2, sizes=SIZES, start=1, lengths=(4, 2), reverse=reverse))


@pytest.mark.medium
def test_two_calls_continue_one_another() -> None:
    case = Case(T=6, B=2, sizes=SIZES)
    inputs = case.tensors(clockwork)
    backend = ReferenceBackend(clockwork)
    whole, finals = inputs.run(backend)
    first, middle = backend.run(inputs.x[:2], inputs.states, inputs.parameters)
    second, last = backend.run(inputs.x[2:], middle, inputs.parameters, start=2)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(last, finals)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["lstm", "gru", "mut1", "torch_lstm_projected"])
def test_odd_and_larger_sizes(name: str) -> None:
    sizes = {"I": 13, "H": 17, "P": 5}
    check(cells.get(name), Case(T=11, B=5, sizes=sizes, lengths=(11, 3, 1, 8, 11)))
    check(cells.get(name), Case(T=11, B=5, sizes=sizes))


# ---- what has a gradient -------------------------------------------------------------------------


def needing(inputs: Any, wanted: set[str]) -> None:
    for name, value in inputs.leaves().items():
        value.requires_grad_(name in wanted)


@pytest.mark.medium
@pytest.mark.parametrize("of", [cells.lstm, cells.mut1, two_contexts], ids=lambda of: of.name)
@pytest.mark.parametrize("ids", [None, "embedding"])
def test_each_leaf_alone(of: Cell, ids: str | None) -> None:
    """What needs no gradient is left out of the backward pass, and of nothing else."""
    case = Case(T=3, B=2, sizes=SIZES, ids=ids, vocabulary=3)
    expected = results(Eager(of, case.sizes), case.tensors(of))
    for name in case.tensors(of).leaves():
        inputs = case.tensors(of)
        needing(inputs, {name})
        y, finals = inputs.run(ReferenceBackend(of))
        generator = torch.Generator().manual_seed(11)
        loss = torch.zeros((), dtype=torch.float64)
        for value in (y, *finals):
            weight = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            loss = loss + (weight * value).sum()
        (found,) = torch.autograd.grad(loss, inputs.leaves()[name])
        torch.testing.assert_close(found, expected[f"d {name}"], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.medium
def test_nothing_needs_a_gradient() -> None:
    inputs = Case(sizes=SIZES).tensors(cells.gru)
    needing(inputs, set())
    y, finals = inputs.run(ReferenceBackend(cells.gru))
    assert not y.requires_grad
    assert not finals[0].requires_grad


@pytest.mark.medium
def test_no_grad_and_inference_mode() -> None:
    inputs = Case(sizes=SIZES).tensors(cells.lstm)
    expected, _ = inputs.run(ReferenceBackend(cells.lstm))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y, _ = inputs.run(ReferenceBackend(cells.lstm))
        assert not y.requires_grad
        torch.testing.assert_close(y, expected)


@pytest.mark.medium
def test_loss_on_the_final_state_alone() -> None:
    case = Case(T=4, B=3, sizes=SIZES, lengths=(1, 4, 2))
    found = []
    for backend in (Eager(cells.lstm), ReferenceBackend(cells.lstm)):
        inputs = case.tensors(cells.lstm)
        _, finals = inputs.run(backend)
        found.append(torch.autograd.grad(finals[1].sum(), inputs.leaves().values()))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.medium
def test_states_that_pass_through_are_not_the_tensors_that_went_in() -> None:
    inputs = Case(sizes=SIZES).tensors(passes_states_on)
    for gradients in GRADIENTS:
        _, finals = inputs.run(ReferenceBackend(passes_states_on, gradients=gradients))
        torch.testing.assert_close(finals[2], inputs.states[2])
        (gradient,) = torch.autograd.grad(finals[2].sum(), inputs.states[2])
        torch.testing.assert_close(gradient, torch.ones_like(gradient))


@pytest.mark.medium
def test_inputs_are_left_as_they_were() -> None:
    case = Case(T=4, B=3, sizes=SIZES, lengths=(4, 2, 1), nan_padding=False)
    inputs, again = case.tensors(cells.lstm), case.tensors(cells.lstm)
    results(ReferenceBackend(cells.lstm), inputs)
    for name, value in again.leaves().items():
        torch.testing.assert_close(inputs.leaves()[name], value, rtol=0, atol=0)


@pytest.mark.medium
def test_calls_do_not_share_memory() -> None:
    backend = ReferenceBackend(cells.lstm)
    first = Case(sizes=SIZES, seed=1).tensors(cells.lstm)
    y, finals = first.run(backend)
    kept = [y.clone(), *(final.clone() for final in finals)]
    Case(sizes=SIZES, seed=2).tensors(cells.lstm).run(backend)
    for value, copy in zip((y, *finals), kept, strict=True):
        torch.testing.assert_close(value, copy, rtol=0, atol=0)


@pytest.mark.medium
def test_backward_twice_over_one_forward() -> None:
    inputs = Case(sizes=SIZES).tensors(cells.gru)
    y, _ = inputs.run(ReferenceBackend(cells.gru))
    first = torch.autograd.grad(y.sum(), inputs.x, retain_graph=True)
    second = torch.autograd.grad(y.sum(), inputs.x)
    torch.testing.assert_close(first, second)


# ---- second derivatives --------------------------------------------------------------------------

TWICE = [cells.lstm, cells.mut1, two_contexts, passes_states_on, no_input, learned_scalars]


@pytest.mark.medium
@pytest.mark.parametrize("of", TWICE, ids=lambda of: of.name)
def test_gradcheck_and_gradgradcheck(of: Cell) -> None:
    sizes = dict.fromkeys(SIZES, 2)
    inputs = Case(T=2, B=2, sizes=sizes).tensors(of)
    names = list(inputs.leaves())
    backend = ReferenceBackend(of)

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(names, values, strict=True))
        states = tuple(given[f"state {i}"] for i in range(len(of.states)))
        context = tuple(given[f"context {i}"] for i in range(len(of.context)))
        parameters = {name: given[name] for name in of.parameters}
        y, finals = backend.run(given["x"], states, parameters, context=context)
        return (y, *finals)

    leaves = tuple(inputs.leaves().values())
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.medium
def test_gradient_penalty_on_some_parameters_alone() -> None:
    """With create_graph, where a final state depends on nothing that needs a gradient."""
    inputs = Case(sizes=SIZES).tensors(passes_states_on)
    needing(inputs, {"W"})
    y, finals = inputs.run(ReferenceBackend(passes_states_on))
    W = inputs.parameters["W"]
    (gradient,) = torch.autograd.grad(y.sum() + finals[2].sum(), W, create_graph=True)
    (second,) = torch.autograd.grad(gradient.pow(2).sum(), W)
    assert torch.isfinite(second).all()
    assert second.abs().max() > 0


# ---- padding -------------------------------------------------------------------------------------


@cell
def takes_positive_input(x, h, W, U):
    return tanh(W @ log(x) + U @ h)


@pytest.mark.medium
@pytest.mark.parametrize("padding", [float("nan"), float("inf"), -1.0, 0.0])
@pytest.mark.parametrize("of", [cells.lstm, takes_positive_input], ids=lambda of: of.name)
def test_padding_does_not_leak(of: Cell, padding: float) -> None:
    """Not into results, and not into gradients: zeros would do that where log(x) is taken."""
    lengths = torch.tensor([2, 4, 1])
    inputs = Case(T=4, B=3, sizes=SIZES, lengths=(2, 4, 1)).tensors(of)
    padded = torch.arange(4)[:, None] >= lengths
    found = []
    for value in (padding, 0.5):
        x = inputs.x.detach().abs() + 0.1
        x[padded] = value
        x.requires_grad_()
        y, finals = ReferenceBackend(of).run(x, inputs.states, inputs.parameters, lengths=lengths)
        loss = y.sum() + finals[0].pow(2).sum()
        leaves = [x, *inputs.states, *inputs.parameters.values()]
        found.append((y, *finals, *torch.autograd.grad(loss, leaves)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours, theirs)
    assert (found[0][0][padded] == 0).all()


@pytest.mark.medium
@pytest.mark.parametrize("embedded", [False, True], ids=["one-hot", "embedding"])
def test_padding_of_token_ids_may_be_any_number(embedded: bool) -> None:
    case = Case(
        T=4,
        B=2,
        sizes=SIZES,
        lengths=(4, 2),
        ids="embedding" if embedded else "one-hot",
        vocabulary=3,
    )
    expected = results(Eager(cells.gru, case.sizes), case.tensors(cells.gru))
    inputs = case.tensors(cells.gru)
    inputs.x[2:, 1] = -100
    assert_same(results(ReferenceBackend(cells.gru), inputs), expected, TOLERANCE)


# ---- edges ---------------------------------------------------------------------------------------


@pytest.mark.medium
@pytest.mark.parametrize("of", [cells.lstm, with_output, no_input], ids=lambda of: of.name)
def test_no_steps(of: Cell) -> None:
    inputs = Case(T=3, B=2, sizes=SIZES).tensors(of)
    size = of.output_size.evaluate(SIZES)
    for gradients in GRADIENTS:
        y, finals = ReferenceBackend(of, gradients=gradients).run(
            inputs.x[:0], inputs.states, inputs.parameters
        )
        assert y.shape == (0, 2, size)
        torch.testing.assert_close(finals, inputs.states)


@pytest.mark.medium
def test_no_steps_of_token_ids() -> None:
    inputs = Case(T=3, B=2, sizes=SIZES, ids="one-hot").tensors(cells.gru)
    y, _ = ReferenceBackend(cells.gru).run(inputs.x[:0], inputs.states, inputs.parameters)
    assert y.shape == (0, 2, 6)


@pytest.mark.medium
def test_no_sequences() -> None:
    inputs = Case(T=3, B=2, sizes=SIZES).tensors(cells.lstm)
    states = tuple(state[:0] for state in inputs.states)
    y, finals = ReferenceBackend(cells.lstm).run(inputs.x[:, :0], states, inputs.parameters)
    assert y.shape == (3, 0, 6)
    assert [final.shape for final in finals] == [(0, 6)] * 2
    gradients = torch.autograd.grad(y.sum(), list(inputs.parameters.values()))
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.medium
def test_elu_at_zero_has_the_derivative_of_torch() -> None:
    @cell
    def f(x, h, W):
        return elu(W @ x + h, 1.0)

    case = Case(sizes=SIZES)
    found = []
    for backend in (Eager(f), ReferenceBackend(f)):
        inputs = case.tensors(f)
        zero = torch.zeros_like(inputs.states[0], requires_grad=True)
        y, _ = backend.run(torch.zeros_like(inputs.x), (zero,), inputs.parameters)
        found.append(torch.autograd.grad(y.sum(), zero)[0])
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.medium
def test_not_a_number_in_the_input_is_passed_on() -> None:
    inputs = Case(T=3, B=2, sizes=SIZES).tensors(cells.gru)
    x = inputs.x.detach().clone()
    x[1, 0, 0] = float("nan")
    y, _ = ReferenceBackend(cells.gru).run(x, inputs.states, inputs.parameters)
    assert torch.isfinite(y[0]).all()
    assert torch.isfinite(y[:, 1]).all()
    assert torch.isnan(y[1:, 0]).any()


# ---- dtypes --------------------------------------------------------------------------------------


@pytest.mark.medium
@each_cell
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.bfloat16, 0.25)],
    ids=["float32", "bfloat16"],
)
def test_narrow_dtypes(of: Cell, dtype: torch.dtype, tolerance: float) -> None:
    case, of = Case(T=4, B=3, sizes=SIZES, lengths=(4, 1, 3)), fitted(of, SIZES)
    inputs = case.tensors(of, dtype)
    found = results(ReferenceBackend(of), inputs)
    assert all(value.dtype == dtype for value in found.values())
    expected = results(ReferenceBackend(of), case.tensors(of))
    wide = {name: value.double() for name, value in found.items()}
    assert_same(wide, expected, tolerance, of.name)


@pytest.mark.medium
def test_what_waits_for_a_gpu_is_never_part_of_a_recording() -> None:
    names = [
        name for name in cells.names() if not ReferenceBackend(cells.get(name)).can_be_recorded
    ]
    assert names == ["exprnn", "scornn"]

"""Gradient flow and immediate partial derivatives, against torch's autograd."""

import random
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import recurra as rc
from one_cell import ByAutograd, layer_and_call
from oracle import Case, beyond_the_core, in_part_slow
from random_cells import random_case, random_cell, random_composition, source_of
from recurra import cells
from recurra.insight.calls import captured, checked_layer
from recurra.insight.flossing import watched
from recurra.insight.gradient_flow import (
    compare_flows,
    gradient_flow,
    gradient_flow_of_loss,
    walk,
)
from recurra.insight.linearized import flat
from recurra.insight.lyapunov import lyapunov_spectrum
from recurra.insight.partials import immediate_partials, partials_of_call, terms
from recurra.insight.vanishing import vanishing
from recurra.lang import Cell

TOLERANCE = {"rtol": 1e-8, "atol": 1e-10}
SIZES = {"I": 3, "H": 4, "P": 2, "C": 4, "R": 2, "K": 3, "A": 4, "Q": 2}


def case_of(cell: Cell, **options: object) -> Case:
    sizes = {**cell.usual_sizes(3, 4), **{n: SIZES[n] for n in cell.size_names if n in SIZES}}
    return Case(T=4, B=2, sizes=sizes, **options)


def check_flow(cell: Cell, case: Case, message: str = "") -> None:
    """Every dL_t/ds_k is that of autograd."""
    _, call, inputs = layer_and_call(cell, case)
    generator = torch.Generator().manual_seed(1)
    d_y = torch.randn(call.y.shape, generator=generator, dtype=torch.float64)
    expected = ByAutograd(cell, inputs).flow(d_y)
    found: dict[tuple[int, int], Tensor] = {}

    def visit(place: int, k: int, rows: slice, d_states: tuple[Tensor, ...]) -> None:
        for t, d in zip(range(rows.start, rows.stop), flat(d_states, by.shapes), strict=True):
            found[t, k] = d

    by = ByAutograd(cell, inputs)
    walk(call, d_y, None, range(case.T), visit)
    assert found.keys() == expected.keys()
    for pair, d in expected.items():
        torch.testing.assert_close(
            found[pair], d, **TOLERANCE, msg=lambda m, pair=pair: f"{pair} {m}\n{message}"
        )


def check_partials(cell: Cell, case: Case, message: str = "") -> None:
    """The terms of all steps sum to autograd's gradient."""
    layer, call, inputs = layer_and_call(cell, case)
    d_y = torch.randn(call.y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by = ByAutograd(cell, inputs)
    y, _ = by.run(by.first(), slice(0, case.T))
    names = list(cell.parameters)
    parameters = [inputs.parameters[name] for name in names]
    expected = (
        torch.autograd.grad((y * d_y).sum(), parameters, allow_unused=True, materialize_grads=True)
        if y.requires_grad and names
        else [torch.zeros_like(parameter) for parameter in parameters]
    )
    sums = {full: torch.zeros_like(getattr(layer, full)) for full in layer.names_of(0)}

    def term(name: str, k: int, value: Tensor) -> None:
        assert 0 <= k < case.T
        with torch.no_grad():
            sums[name] += value

    terms(call, d_y, None, term)
    for full, d in zip(layer.names_of(0), expected, strict=True):
        torch.testing.assert_close(
            sums[full], d, rtol=1e-8, atol=1e-8, msg=lambda m, n=full: f"{n} {m}\n{message}"
        )
    assert partials_of_call(call, d_y).error < 1e-9


def check(cell: Cell, case: Case, message: str = "") -> None:
    check_flow(cell, case, message)
    check_partials(cell, case, message)


CELLS = in_part_slow({name: name for name in cells.names()}, beyond_the_core())


@pytest.mark.medium
@pytest.mark.parametrize("name", CELLS)
def test_the_flow_of_a_cell_is_that_of_autograd(name: str) -> None:
    cell = cells.get(name)
    check(cell, case_of(cell, lengths=(4, 2)), name)


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(12))
def test_the_flow_of_a_random_cell_is_that_of_autograd(seed: int) -> None:
    check_random(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 200, 20))
def test_the_flow_of_many_random_cells_is_that_of_autograd(first: int) -> None:
    for seed in range(first, first + 20):
        check_random(seed)


def check_random(seed: int) -> None:
    rng = random.Random(seed)
    of = random_composition(rng) if seed % 4 == 3 else random_cell(rng)
    case = random_case(of, rng)
    check(of, case, f"seed {seed}, {case}\n{source_of(of)}")


# ---- layers and directions -----------------------------------------------------------------------


def flow_by_autograd(layer: rc.Recurrent, x: Tensor, d_y: Tensor) -> np.ndarray:
    """Norms [P, R, T] of a layer whose cell has one state, which is its output: what is added to
    every state of a run by hand, and so differentiated by."""
    T, B = x.shape[:2]
    D, H = layer.num_directions, layer.hidden_size
    added = [torch.zeros(T, B, H, dtype=torch.float64, requires_grad=True) for _ in layer.places]
    below = x
    for index in range(layer.num_layers):
        outputs = []
        for direction in range(D):
            place = index * D + direction
            order = range(T) if direction == 0 else reversed(range(T))
            one = rc.Recurrent(
                layer.cell, below.shape[-1], H, dtype=torch.float64, backend="reference"
            )
            for name, full in zip(one.names_of(0), layer.names_of(index, direction), strict=True):
                getattr(one, name).data = getattr(layer, full).data
            h, out = torch.zeros(1, B, H, dtype=torch.float64), {}
            for t in order:
                _, h = one(below[t : t + 1], h)
                h = h + added[place][t]
                out[t] = h[0]
            outputs.append(torch.stack([out[t] for t in range(T)]))
        below = torch.cat(outputs, -1)
    found = np.zeros((len(added), T, T))
    for t in range(T):
        grads = torch.autograd.grad((below[t] * d_y[t]).sum(), added, retain_graph=True)
        for place, d in enumerate(grads):
            found[place, t] = d.norm(dim=-1).mean(-1).numpy()
    return found


@pytest.mark.medium
@pytest.mark.parametrize("options", [{"num_layers": 3}, {"num_layers": 2, "bidirectional": True}])
def test_losses_reach_all_layers_and_directions(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    layer = rc.Recurrent("gru", 3, 4, dtype=torch.float64, backend="reference", **options)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    d_y = torch.randn(5, 2, 4 * layer.num_directions, dtype=torch.float64)
    flow = gradient_flow(layer, x, d_y)
    expected = flow_by_autograd(layer, x, d_y)
    np.testing.assert_allclose(np.nan_to_num(flow.joint), expected, rtol=1e-9, atol=1e-12)
    assert (expected[np.isnan(flow.joint)] == 0).all()
    assert flow.places == layer.places


def test_losses_are_taken_back_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = rc.Recurrent("lstm", 3, 4, 2, dtype=torch.float64, backend="reference")
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    whole = gradient_flow(layer, x)
    monkeypatch.setattr(sys.modules[gradient_flow.__module__], "_ROWS", 6)
    np.testing.assert_allclose(gradient_flow(layer, x).norms, whole.norms, rtol=1e-12)


def test_only_the_losses_asked_for_are_looked_at() -> None:
    layer = rc.Recurrent("gru", 3, 4, dtype=torch.float64, backend="reference")
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    every, some = gradient_flow(layer, x), gradient_flow(layer, x, losses=[-1, 2])
    assert some.losses.tolist() == [2, 5]
    np.testing.assert_allclose(some.joint, every.joint[:, [2, 5]], rtol=1e-12)


def test_by_lag_is_the_mean_of_a_diagonal() -> None:
    layer = rc.Recurrent("lstm", 3, 4, bidirectional=True, dtype=torch.float64, backend="reference")
    flow = gradient_flow(layer, torch.randn(6, 2, 3, dtype=torch.float64))
    for lag in range(6):
        forward = np.diagonal(flow.norms[0, 1], -lag)
        assert flow.by_lag(0, "c")[lag] == pytest.approx(forward.mean())
        backward = np.diagonal(flow.joint[1], lag)
        assert flow.by_lag(1)[lag] == pytest.approx(backward.mean())


def test_a_sequence_counts_where_it_has_both_steps() -> None:
    layer = rc.Recurrent("gru", 3, 4, dtype=torch.float64, backend="reference")
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    d_y = torch.randn(6, 2, 4, dtype=torch.float64)
    flow = gradient_flow(layer, x, d_y, lengths=[6, 3])
    first = gradient_flow(layer, x[:, :1], d_y[:, :1])
    second = gradient_flow(layer, x[:3, 1:], d_y[:3, 1:])
    expected = first.joint.copy()
    expected[:, :3, :3] = (first.joint[:, :3, :3] + second.joint) / 2
    np.testing.assert_allclose(flow.joint, expected, rtol=1e-10)


# ---- of models -----------------------------------------------------------------------------------


def test_a_models_own_loss_flows_as_its_outputs_say() -> None:
    layer = rc.GRU(3, 4, batch_first=True).double()
    readout = nn.Linear(4, 2).double()
    x, target = torch.randn(2, 5, 3).double(), torch.randn(2, 5, 2).double()
    flow = gradient_flow_of_loss(layer, lambda: (readout(layer(x)[0]) - target).square().sum())
    y = layer(x)[0].detach().requires_grad_()
    (d_y,) = torch.autograd.grad((readout(y) - target).square().sum(), y)
    np.testing.assert_allclose(flow.joint, gradient_flow(layer, x, d_y).joint, rtol=1e-9)


def test_a_loss_on_the_final_state_is_one_of_the_last_step() -> None:
    layer = rc.LSTM(3, 4).double()
    x = torch.randn(5, 2, 3).double()
    flow = gradient_flow_of_loss(layer, lambda: layer(x)[1][0].sum())
    assert flow.losses.tolist() == [4]
    d_y = torch.zeros(5, 2, 4).double()
    d_y[-1] = 1.0
    np.testing.assert_allclose(
        flow.joint, gradient_flow(layer, x, d_y, losses=[4]).joint, rtol=1e-9
    )


def test_a_loss_that_calls_the_layer_twice_is_refused() -> None:
    layer, x = rc.GRU(3, 4), torch.randn(5, 2, 3)
    with pytest.raises(ValueError, match="calls GRU once, got 2 calls"):
        gradient_flow_of_loss(layer, lambda: layer(x)[0].sum() + layer(x)[0].sum())


def test_fresh_cells_are_compared_on_the_same_data(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(6, 2, 3)
    flows = compare_flows(["rnn", "lstm"], x, 4)
    assert list(flows) == ["rnn", "lstm"]
    before = torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("GPUs are seeded"))
    again = compare_flows(["lstm"], x, 4)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(flows["lstm"].norms, again["lstm"].norms)


def test_the_derivatives_have_the_form_of_the_output() -> None:
    layer = rc.GRU(3, 4)
    with pytest.raises(ValueError, match=r"features\] \[5, 2, 4\], got \[5, 2, 3\]"):
        gradient_flow(layer, torch.randn(5, 2, 3), torch.randn(5, 2, 3))


# ---- terms of the gradient -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"num_layers": 2, "bidirectional": True}])
def test_terms_sum_to_the_gradient_in_all_layers(options: dict[str, object]) -> None:
    layer = rc.Recurrent("lstm", 3, 4, dtype=torch.float64, backend="reference", **options)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    d_y = torch.randn(5, 2, 4 * layer.num_directions, dtype=torch.float64)
    found = immediate_partials(layer, x, d_y)
    assert found.error < 1e-12
    (layer(x)[0] * d_y).sum().backward()
    expected = [float(getattr(layer, name).grad.norm()) for name in found.parameters]
    np.testing.assert_allclose(found.totals, expected, rtol=1e-9)
    np.testing.assert_allclose(found.shares.sum(1), 1.0)


def test_a_loss_at_one_step_has_no_terms_after_it() -> None:
    layer = rc.Recurrent("gru", 3, 4, dtype=torch.float64, backend="reference")
    found = immediate_partials(layer, torch.randn(6, 2, 3, dtype=torch.float64), at=3)
    assert (found.norms[:, 4:] == 0).all()
    assert (found.norms[:, :4] > 0).any(0).all()


# ---- what is not there ---------------------------------------------------------------------------


def test_a_sequence_counts_where_it_has_a_loss() -> None:
    layer = rc.Recurrent("gru", 3, 4, dtype=torch.float64, backend="reference")
    x, lengths = torch.randn(6, 2, 3, dtype=torch.float64), [6, 3]
    d_y = torch.zeros(6, 2, 4, dtype=torch.float64)
    for b, length in enumerate(lengths):  # as a classifier's, of the last step of each
        d_y[length - 1, b] = torch.randn(4, dtype=torch.float64)
    flow = gradient_flow(layer, x, d_y, lengths=lengths)
    for b, length in enumerate(lengths):
        own = slice(b, b + 1)
        alone = gradient_flow(layer, x[:length, own], d_y[:length, own])
        expected = alone.joint[:, length - 1]
        np.testing.assert_allclose(flow.joint[:, length - 1, :length], expected, rtol=1e-10)
    assert np.isnan(flow.joint[:, [0, 1, 3, 4]]).all()


def test_of_many_losses_some_are_looked_at() -> None:
    layer = rc.GRU(3, 4).double()
    x = torch.randn(9, 2, 3).double()
    weights = torch.tensor([0, 1, 1, 0, 1, 1, 1, 0, 1])[:, None, None]
    flow = gradient_flow_of_loss(layer, lambda: (layer(x)[0] * weights).sum(), most=3)
    assert flow.losses.tolist() == [1, 4, 8]
    last = gradient_flow_of_loss(layer, lambda: layer(x)[0][-1].sum(), most=3)
    assert last.losses.tolist() == [8]


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (lambda y: y.detach().sum(), r"\[\] without gradients"),
        (lambda y: float(y.detach().sum()), "float"),
        (lambda y: y.sum(-1), r"\[5, 2\]"),
    ],
)
def test_what_is_no_loss_is_refused(loss: object, got: str) -> None:
    layer, x = rc.GRU(3, 4), torch.randn(5, 2, 3)
    with pytest.raises(ValueError, match=f"expected a loss of one number .* got {got}"):
        gradient_flow_of_loss(layer, lambda: loss(layer(x)[0]))  # type: ignore[operator]


def test_steps_and_sequences_that_there_are_not_are_refused() -> None:
    layer, x = rc.GRU(3, 4), torch.randn(5, 2, 3)
    with pytest.raises(ValueError, match=r"losses: expected steps in 0..4, .* got 5"):
        gradient_flow(layer, x, losses=[1, 5])
    with pytest.raises(ValueError, match=r"immediate_partials, at: expected steps in 0..4"):
        immediate_partials(layer, x, at=5)
    for steps, batch in ((0, 2), (5, 0)):
        for looks in (gradient_flow, immediate_partials, vanishing, lyapunov_spectrum):
            with pytest.raises(ValueError, match=f"got {steps} steps of {batch} sequences"):
                looks(layer, x[:steps, :batch])


def test_what_is_no_layer_is_refused() -> None:
    for module in (nn.GRU(3, 4), rc.Classifier(2, input_size=3, hidden_size=4)):
        with pytest.raises(TypeError, match=f"layer: expected .* got {type(module).__name__}"):
            checked_layer(module)


def test_who_looks_inside_another_leaves_it_in_place() -> None:
    layer, x = rc.GRU(3, 4), torch.randn(5, 2, 3)
    with captured(layer) as outer:
        with captured(layer) as inner:
            layer(x)
        layer(x)
        with watched([layer, layer]) as reads:
            layer(x)
    layer(x)
    assert (len(outer), len(inner), len(reads)) == (3, 1, 1)
    assert "run_layers" not in vars(layer)

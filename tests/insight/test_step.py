"""Steps linearised, against torch's autograd: every registered cell, and random ones."""

import random

import pytest
import torch
from torch import Tensor

import recurra as rc
from one_cell import ByAutograd, layer_and_call
from oracle import Case, beyond_the_core, in_part_slow
from random_cells import random_case, random_cell, random_composition, source_of
from recurra import cells
from recurra.insight.calls import call_of
from recurra.insight.linearized import Linearized, flat
from recurra.insight.step import OneStep
from recurra.lang import Cell

SIZES = {"I": 3, "H": 4, "P": 2, "C": 4, "R": 2, "K": 3, "A": 4, "Q": 2}
TOLERANCE = {"rtol": 1e-8, "atol": 1e-10}


def sizes_of(cell: Cell) -> dict[str, int]:
    return {**cell.usual_sizes(3, 4), **{n: SIZES[n] for n in cell.size_names if n in SIZES}}


def linearized(cell: Cell, case: Case) -> tuple[Linearized, ByAutograd]:
    layer, call, inputs = layer_and_call(cell, case)
    with torch.no_grad():
        run = Linearized(
            layer,
            (0, 0),
            call.x,
            [state[0] for state in call.states],
            lengths=call.lengths,
            inputs=call.inputs,
            context=call.context,
            memory=call.memory,
            memory_lengths=call.memory_lengths,
            embedding=call.embedding,
            start=call.start,
        )
        torch.testing.assert_close(run.y, call.y, rtol=1e-12, atol=1e-12)
    return run, ByAutograd(cell, inputs)


def check_jacobians(cell: Cell, case: Case, message: str = "") -> None:
    run, by_autograd = linearized(cell, case)
    for k in range(case.T):
        with torch.no_grad():
            found = run.jacobian(k)
        expected = by_autograd.jacobian(k)
        torch.testing.assert_close(found, expected, **TOLERANCE, msg=lambda m: f"{m}\n{message}")


CELLS = in_part_slow({name: name for name in cells.names()}, beyond_the_core())


@pytest.mark.parametrize("name", CELLS)
def test_jacobians_of_a_cell_are_those_of_autograd(name: str) -> None:
    cell = cells.get(name)
    check_jacobians(cell, Case(T=2, B=2, sizes=sizes_of(cell)), name)


@pytest.mark.medium
@pytest.mark.parametrize("seed", range(12))
def test_jacobians_of_a_random_cell_are_those_of_autograd(seed: int) -> None:
    check_random(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 200, 20))
def test_jacobians_of_many_random_cells_are_those_of_autograd(first: int) -> None:
    for seed in range(first, first + 20):
        check_random(seed)


def check_random(seed: int) -> None:
    rng = random.Random(seed)
    of = random_composition(rng) if seed % 4 == 3 else random_cell(rng)
    case = random_case(of, rng)
    check_jacobians(of, case, f"seed {seed}, {case}\n{source_of(of)}")


# ---- the map itself ------------------------------------------------------------------------------


def layer_of(name: str = "lstm", **options: object) -> rc.Recurrent:
    torch.manual_seed(0)
    return rc.Recurrent(name, 3, 4, dtype=torch.float64, backend="reference", **options)


def test_a_step_is_the_layers_own() -> None:
    layer, x = layer_of(num_layers=2, bidirectional=True), torch.randn(1, 2, 3, dtype=torch.float64)
    _, (h, c) = layer(x)
    step = OneStep(layer, index=0, reverse=True)
    found = step(step.first(2), x[0])
    torch.testing.assert_close(found, step.flat([h[1], c[1]]))
    upper = OneStep(layer, index=1)
    below = torch.cat([h[0], h[1]], -1)
    torch.testing.assert_close(upper(upper.first(2), below), upper.flat([h[2], c[2]]))


@pytest.mark.parametrize("kind", [rc.RNN, rc.GRU, rc.LSTM])
def test_a_drop_in_has_a_step(kind: type) -> None:
    layer = kind(3, 4).double()
    x = torch.randn(1, 2, 3, dtype=torch.float64)
    step = OneStep(layer)
    torch.testing.assert_close(step(step.first(2), x[0])[:, :4], layer(x)[0][0])


@pytest.mark.medium
def test_the_map_and_its_jacobian_can_be_differentiated_by_everything() -> None:
    layer = layer_of("gru")
    step, names = OneStep(layer), list(dict(layer.named_parameters()))
    h, x = (torch.randn(1, n, dtype=torch.float64, requires_grad=True) for n in (4, 3))
    given = [h, x, *(getattr(layer, name).detach().requires_grad_() for name in names)]

    def run(h: Tensor, x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        def at() -> tuple[Tensor, Tensor]:
            return step(h, x), step.jacobian(h, x)

        return torch.func.functional_call(
            Called(layer, at), {f"layer.{n}": w for n, w in zip(names, weights, strict=True)}, ()
        )

    assert torch.autograd.gradcheck(run, given)


class Called(torch.nn.Module):
    """What `functional_call` can replace the parameters of."""

    def __init__(self, layer: rc.Recurrent, run: object) -> None:
        super().__init__()
        self.layer, self.run = layer, run

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.run()


def test_pull_and_push_are_the_jacobian_from_both_sides() -> None:
    step = OneStep(layer_of())
    states, x = torch.randn(2, 8, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    rows = torch.randn(5, 2, 8, dtype=torch.float64)
    at = step.at(states, x)
    J = at.jacobian(0)
    pulled, _ = at.pull(0, at.split(rows))
    torch.testing.assert_close(flat(pulled, at.shapes), torch.einsum("rbi,bij->rbj", rows, J))
    torch.testing.assert_close(at.push(0, rows), torch.einsum("bij,rbj->rbi", J, rows))
    with torch.no_grad():
        torch.testing.assert_close(step.at(states, x).push(0, rows), at.push(0, rows))


def test_cotangents_of_the_input_are_those_of_autograd() -> None:
    step = OneStep(layer_of())
    states = torch.randn(1, 8, dtype=torch.float64)
    x = torch.randn(1, 3, dtype=torch.float64)
    at = step.at(states, x)
    seeds = torch.eye(8, dtype=torch.float64)[:, None]
    _, found = at.pull(0, at.split(seeds), to_input=True)
    expected = torch.autograd.functional.jacobian(lambda x: step(states, x)[0], x)
    assert found is not None
    torch.testing.assert_close(found, expected)


def test_one_input_stands_for_all_states() -> None:
    step = OneStep(layer_of("gru"))
    states, x = torch.randn(6, 4, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    torch.testing.assert_close(step(states, x), step(states, x.expand(6, 3)))


def test_ids_are_rows_of_an_embedding_or_one_hot() -> None:
    layer = layer_of("gru")
    rows = torch.randn(5, 3, dtype=torch.float64)
    states = torch.randn(2, 4, dtype=torch.float64)
    ids = torch.tensor([1, 2])
    step = OneStep(layer, embedding=rows)
    torch.testing.assert_close(step.jacobian(states, ids), step.jacobian(states, rows[ids]))
    one_hot = torch.eye(3, dtype=torch.float64)[ids]
    step = OneStep(layer)
    torch.testing.assert_close(step.jacobian(states, ids), step.jacobian(states, one_hot))


def test_states_of_a_matrix_are_numbers_of_the_vector() -> None:
    layer = layer_of("linear_transformer")
    step = OneStep(layer)
    states = torch.randn(2, step.size, dtype=torch.float64)
    assert step.size == sum(torch.Size(shape).numel() for shape in step.shapes)
    torch.testing.assert_close(step.flat(step.split(states)), states)
    x = torch.randn(2, 3, dtype=torch.float64)
    assert step.jacobian(states, x).shape == (2, step.size, step.size)


def test_narrow_layers_are_computed_in_float32() -> None:
    step = OneStep(rc.Recurrent("gru", 3, 4, dtype=torch.bfloat16))
    assert step(step.first(1), torch.zeros(1, 3)).dtype == torch.float32


def test_random_masks_stand_at_their_means() -> None:
    layer = layer_of("zoneout(gru, 0.5)").train()
    step, x = OneStep(layer), torch.randn(1, 3, dtype=torch.float64)
    first = torch.randn(1, 4, dtype=torch.float64)
    y, _ = layer.eval()(x[None], first[None])
    torch.testing.assert_close(step(first, x), y[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": 1}, "expected one of its layers 0..0, in one direction, got index 1"),
        ({"reverse": True}, "got index 0, reverse"),
        ({"context": torch.zeros(1, 2)}, "expected no context, got 1"),
    ],
)
def test_a_place_that_a_layer_lacks_is_said(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OneStep(layer_of(), **options)


def test_wrong_shapes_are_said() -> None:
    step = OneStep(layer_of())
    with pytest.raises(ValueError, match=r"expected states \[batch, 8\], got \[2, 4\]"):
        step(torch.zeros(2, 4), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"expected x_t \[2, 3\], or one for all, got \[2, 5\]"):
        step(torch.zeros(2, 8), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="zeros are one"):
        step(torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r"expected token ids in 0..2, got 3"):
        step(torch.zeros(2, 8), torch.tensor([0, 3]))
    upper = OneStep(layer_of(num_layers=2), index=1)
    with pytest.raises(ValueError, match=r"Only the first layer reads ids"):
        upper(torch.zeros(2, 8), torch.tensor([0, 1]))


def test_calls_are_what_the_layer_is_given_after_its_checks() -> None:
    layer = layer_of("gru", batch_first=True)
    call = call_of(layer, torch.zeros(2, 5, 3, dtype=torch.float64), lengths=[5, 2])
    assert call.x.shape == (5, 2, 3)
    assert call.y.is_leaf
    assert "run_layers" not in vars(layer)


def test_states_of_no_sequence_are_states() -> None:
    for cell in ("rnn", "lstm", "mlstm"):
        step = OneStep(rc.Recurrent(cell, 3, 8))
        first = step.first(0)
        assert first.shape == (0, step.size)
        assert step(first, torch.zeros(0, 3)).shape == (0, step.size)

"""The registry, and each cell against a transcription that shares no code with it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recurra import cells
from recurra.backends import load
from recurra.lang import Cell

SIZES = {"I": 3, "H": 5, "P": 2}
TIME, BATCH = 4, 2

Parameters = dict[str, Tensor]
States = tuple[Tensor, ...]


def shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(dim.evaluate(SIZES) for dim in dims) for name, dims in cell.parameters.items()
    }


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def draw_parameters(cell: Cell) -> Parameters:
    return {name: random(*shape) for name, shape in shapes(cell).items()}


def draw_states(cell: Cell) -> States:
    return tuple(random(BATCH, dim.evaluate(SIZES)) for dim in cell.state_sizes)


def run(cell: Cell, x: Tensor, states: States, parameters: Parameters) -> States:
    """The output over time, then the final states."""
    y, final = load(cell, backend="reference").run(x, states, parameters)
    return (y, *final)


def gradients(results: States, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a random projection of all results, the same projection on every call."""
    generator = torch.Generator().manual_seed(7)
    loss = torch.zeros((), dtype=torch.float64)
    for result in results:
        weight = torch.randn(result.shape, generator=generator, dtype=torch.float64)
        loss = loss + (weight * result).sum()
    return torch.autograd.grad(loss, inputs)


def linear(parameters: Parameters, to: str, **values: Tensor) -> Tensor:
    """The sum of W_{from,to} value over the named values, plus b_to: one gate's argument."""
    total = parameters[f"b_{to}"]
    for name, value in values.items():
        total = total + torch.einsum("oi,bi->bo", parameters[f"W_{name}{to}"], value)
    return total


def weigh(matrix: Tensor, value: Tensor) -> Tensor:
    return torch.einsum("oi,bi->bo", matrix, value)


# ---- one step of each cell, transcribed from its source ------------------------------------------


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


STEPS: dict[str, Callable[..., States]] = {
    name.removeprefix("step_"): step for name, step in globals().items() if name.startswith("step_")
}

# torch.nn itself is the independent word on the cells in its notation.
MODULES: dict[str, Callable[[bool], torch.nn.RNNBase]] = {
    "torch_rnn_tanh": lambda bias: torch.nn.RNN(3, 5, bias=bias),
    "torch_rnn_relu": lambda bias: torch.nn.RNN(3, 5, nonlinearity="relu", bias=bias),
    "torch_lstm": lambda bias: torch.nn.LSTM(3, 5, bias=bias),
    "torch_lstm_projected": lambda bias: torch.nn.LSTM(3, 5, proj_size=2, bias=bias),
    "torch_gru": lambda bias: torch.nn.GRU(3, 5, bias=bias),
}


# ---- the registry --------------------------------------------------------------------------------


def test_names_are_sorted_and_are_the_public_names() -> None:
    assert list(cells.names()) == sorted(cells.names())
    assert set(cells.names()) == set(cells.__all__) - {"get", "names"}


@pytest.mark.parametrize("name", cells.names())
def test_each_cell_is_an_attribute_and_says_its_source(name: str) -> None:
    cell = cells.get(name)
    assert cell is getattr(cells, name)
    assert cell.name == name
    assert "Source:" in cell.doc


def test_every_cell_is_checked_against_another_source() -> None:
    checked = {*STEPS, *MODULES, *(f"{name}_no_bias" for name in MODULES)}
    assert checked == set(cells.names())


def test_a_misspelt_name_gets_the_nearest_names() -> None:
    with pytest.raises(ValueError, match=r"cells\.get: expected a cell name, got 'ltsm'") as caught:
        cells.get("ltsm")
    assert "Did you mean lstm" in str(caught.value)


def test_a_name_like_no_other_gets_all_names() -> None:
    with pytest.raises(ValueError, match=r"got 'zebra'\. Use one of driven_system, .*torch_rnn"):
        cells.get("zebra")


# ---- the equations -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPS)
def test_one_step_equals_the_transcription(name: str) -> None:
    cell = cells.get(name)
    x, states, parameters = random(1, BATCH, 3), draw_states(cell), draw_parameters(cell)
    expected = STEPS[name](parameters, x[0], *states)
    y, *final = run(cell, x, states, parameters)
    torch.testing.assert_close(y[0], expected[0])
    torch.testing.assert_close(tuple(final), expected)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("name", MODULES)
def test_cell_in_torch_notation_equals_torch(name: str, bias: bool) -> None:
    cell = cells.get(name if bias else f"{name}_no_bias")
    module = MODULES[name](bias).double()
    parameters = {key.removesuffix("_l0"): value for key, value in module.named_parameters()}
    assert list(cell.parameters) == list(parameters)
    assert shapes(cell) == {key: tuple(value.shape) for key, value in parameters.items()}

    x, states = random(TIME, BATCH, 3), draw_states(cell)
    first = tuple(state[None] for state in states)
    y, final = module(x, first if len(states) > 1 else first[0])
    expected = (y, *(state[0] for state in (final if isinstance(final, tuple) else (final,))))
    results = run(cell, x, states, parameters)
    torch.testing.assert_close(results, expected)
    inputs = [x, *states, *parameters.values()]
    torch.testing.assert_close(gradients(results, inputs), gradients(expected, inputs))


# ---- cells that must be equal --------------------------------------------------------------------


def stack_lstm(p: Parameters) -> Parameters:
    """The parameters of the stacked LSTM made from those of the gate form."""
    rows = [torch.cat([p[f"W_x{gate}"], p[f"W_h{gate}"]], dim=1) for gate in "ifog"]
    return {"W": torch.cat(rows), "b": torch.cat([p[f"b_{gate}"] for gate in "ifog"])}


def test_stacked_lstm_equals_the_gate_form() -> None:
    x, states = random(TIME, BATCH, 3), draw_states(cells.lstm)
    parameters = draw_parameters(cells.lstm)
    gate_form = run(cells.lstm, x, states, parameters)
    stacked = run(cells.lstm_stacked, x, states, stack_lstm(parameters))
    torch.testing.assert_close(stacked, gate_form)
    inputs = [x, *states, *parameters.values()]
    torch.testing.assert_close(gradients(stacked, inputs), gradients(gate_form, inputs))


def test_peephole_lstm_with_zero_peepholes_is_the_lstm() -> None:
    x, states = random(TIME, BATCH, 3), draw_states(cells.lstm)
    parameters = draw_parameters(cells.lstm)
    peepholes = {f"p_{gate}": torch.zeros(5, dtype=torch.float64) for gate in "ifo"}
    torch.testing.assert_close(
        run(cells.peephole_lstm, x, states, {**parameters, **peepholes}),
        run(cells.lstm, x, states, parameters),
    )


def test_lstm_that_never_forgets_is_the_lstm_of_1997() -> None:
    x, states = random(TIME, BATCH, 3), draw_states(cells.lstm_1997)
    parameters = draw_parameters(cells.lstm_1997)
    forget = {
        "W_xf": torch.zeros(5, 3, dtype=torch.float64),
        "W_hf": torch.zeros(5, 5, dtype=torch.float64),
        "b_f": torch.full((5,), 50.0, dtype=torch.float64),
    }
    torch.testing.assert_close(
        run(cells.lstm, x, states, {**parameters, **forget}),
        run(cells.lstm_1997, x, states, parameters),
    )


def test_forget_biases_start_at_one() -> None:
    assert cells.lstm.init == {"b_f": 1.0}
    assert cells.peephole_lstm.init == {"b_f": 1.0}


def test_dynamical_system_reads_no_input() -> None:
    assert cells.dynamical_system.input is None
    assert cells.dynamical_system.states == ("s",)

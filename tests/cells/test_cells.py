"""The registry, and each cell against a transcription that shares no code with it."""

import ast
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks.peers import torchrecurrent_layers
from torch import Tensor

from recurra import cells
from recurra.backends import load, within_memory
from recurra.ir import POSITIONS, Dim
from recurra.lang import Cell
from transcriptions import STEPS, Parameters, States

SIZES = {"I": 3, "H": 8, "P": 2, "C": 4, "R": 5, "K": 6, "A": 4, "Q": 2}
POSITIONS_HERE = 5
SIZES |= dict.fromkeys(POSITIONS.names, POSITIONS_HERE)
TIME, BATCH = 4, 2


def shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(dim.evaluate(SIZES) for dim in dims) for name, dims in cell.parameters.items()
    }


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def draw_parameters(cell: Cell) -> Parameters:
    return {name: random(*shape) for name, shape in shapes(cell).items()}


def draw_states(cell: Cell) -> States:
    shapes = cell.state_shapes
    return tuple(random(BATCH, *(dim.evaluate(SIZES) for dim in shape)) for shape in shapes)


def draw_further(cell: Cell) -> dict[str, Tensor]:
    """What the cell reads at one step besides x: above 0, as times are; a mask is 0 or 1."""
    sizes = cell.further_shapes.items()
    numbers = {
        name: (BATCH, *(d.evaluate(SIZES) for d in dims or (Dim.of(1),))) for name, dims in sizes
    }
    return {
        name: (random(*own) > 0).double() if name == "m" else random(*own).detach().abs()
        for name, own in numbers.items()
    }


def run(
    cell: Cell,
    x: Tensor,
    states: States,
    parameters: Parameters,
    inputs: Sequence[Tensor] = (),
    memory: Sequence[Tensor] = (),
) -> States:
    """The output over time, then the final states."""
    arrays = {name: torch.tensor(array) for name, array in cell.arrays.items()}
    runner = load(cell, backend="reference").run
    if memory:
        runner = partial(within_memory(cell, runner), memory=tuple(memory))
    y, final = runner(x, states, {**parameters, **arrays}, inputs=tuple(inputs))
    return (y, *final)


def draw_memory(cell: Cell) -> dict[str, Tensor]:
    """The memories of each sequence, whole, by their names in the equations."""
    sizes = zip(cell.memory, cell.memory_sizes, strict=True)
    return {name: random(BATCH, POSITIONS_HERE, d.evaluate(SIZES)) for name, d in sizes}


def gradients(results: States, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a random projection of all results, the same projection on every call."""
    generator = torch.Generator().manual_seed(7)
    loss = torch.zeros((), dtype=torch.float64)
    for result in results:
        weight = torch.randn(result.shape, generator=generator, dtype=torch.float64)
        loss = loss + (weight * result).sum()
    return torch.autograd.grad(loss, inputs)


# torch.nn itself is the independent word on the cells in its notation.
MODULES: dict[str, Callable[[bool], torch.nn.RNNBase]] = {
    "torch_rnn_tanh": lambda bias: torch.nn.RNN(3, 8, bias=bias),
    "torch_rnn_relu": lambda bias: torch.nn.RNN(3, 8, nonlinearity="relu", bias=bias),
    "torch_lstm": lambda bias: torch.nn.LSTM(3, 8, bias=bias),
    "torch_lstm_projected": lambda bias: torch.nn.LSTM(3, 8, proj_size=2, bias=bias),
    "torch_gru": lambda bias: torch.nn.GRU(3, 8, bias=bias),
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
    of_torch = {*MODULES, *(f"{name}_no_bias" for name in MODULES)}
    checked = {*STEPS, *of_torch, *torchrecurrent_layers.PEERS}
    assert checked == set(cells.names())


def test_a_misspelt_name_gets_the_nearest_names() -> None:
    with pytest.raises(ValueError, match=r"expected the name of a cell, got 'ltsm'") as caught:
        cells.get("ltsm")
    assert "Did you mean lstm" in str(caught.value)


def test_a_name_like_no_other_gets_where_all_names_are() -> None:
    with pytest.raises(ValueError, match=r"got 'zebra'\. See all: recurra\.cells\.names\(\)"):
        cells.get("zebra")


# ---- the equations -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPS)
def test_one_step_equals_the_transcription(name: str) -> None:
    cell = cells.get(name)
    x, states, parameters = random(1, BATCH, 3), draw_states(cell), draw_parameters(cell)
    further, memory = draw_further(cell), draw_memory(cell)
    expected = STEPS[name](parameters, x[0], *states, **further, **memory)
    steps = [each[None] for each in further.values()]
    y, *final = run(cell, x, states, parameters, steps, tuple(memory.values()))
    torch.testing.assert_close(y[0], expected[0])
    # an output that is no state stands before the states
    torch.testing.assert_close(tuple(final), expected[len(expected) - len(states) :])


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
    peepholes = {f"p_{gate}": torch.zeros(8, dtype=torch.float64) for gate in "ifo"}
    torch.testing.assert_close(
        run(cells.peephole_lstm, x, states, {**parameters, **peepholes}),
        run(cells.lstm, x, states, parameters),
    )


def test_lstm_that_never_forgets_is_the_lstm_of_1997() -> None:
    x, states = random(TIME, BATCH, 3), draw_states(cells.lstm_1997)
    parameters = draw_parameters(cells.lstm_1997)
    forget = {
        "W_xf": torch.zeros(8, 3, dtype=torch.float64),
        "W_hf": torch.zeros(8, 8, dtype=torch.float64),
        "b_f": torch.full((8,), 50.0, dtype=torch.float64),
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


# ---- how they are written ------------------------------------------------------------------------


def body_length(cell: Cell) -> int:
    """Lines of the function's body, docstring apart; a cell made by `replace` is one statement."""
    if hasattr(cell.function, "names_its_values"):
        module = inspect.getsource(sys.modules[cell.function.__module__])
        assigned = (node for node in ast.parse(module).body if isinstance(node, ast.Assign))
        [found] = [n for n in assigned if ast.unparse(n.targets[0]) == cell.name]
        return (found.end_lineno or 0) - found.lineno + 1
    [function] = ast.parse(inspect.getsource(cell.function)).body
    assert isinstance(function, ast.FunctionDef)
    _, *body = function.body  # the docstring
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_cells_are_short() -> None:
    lengths = sorted(body_length(cells.get(name)) for name in cells.names())
    assert len(lengths) >= 100
    assert lengths[len(lengths) // 2] <= 12
    assert lengths[-1] <= 25


def test_cells_are_equations_alone() -> None:
    """No kernel and no backward pass: a family imports the language and nothing else."""
    folder = Path(cells.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                ours = (node.module or "").startswith(("recurra.cells", "recurra.lang"))
                family = file.name not in ("registry.py", "__init__.py")  # which find the cells
                assert ours or not family, f"{file.name} imports {node.module}"

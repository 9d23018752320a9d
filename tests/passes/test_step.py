"""Whole steps: what is left in a step when nothing can be computed for all steps at once."""

from recurra import cells
from recurra.ir import Graph
from recurra.lang import cell, tanh
from recurra.passes import whole_step


@cell(state=("h", "s"), context="v", output=True, sizes={"W_hy": ("O", "H"), "s": "I"})
def everything(x, h, s, v, t, W_xh, W_hh, W_vh, b_h, W_hy, g):
    """A cell with a context, the index of the step, an output, and a state that is not read."""
    h = tanh(W_xh @ x + W_hh @ h + W_vh @ v + b_h) / (1 + t)
    return W_hy @ h, h, g * x


def products(graph: Graph) -> int:
    return sum(node.op == "matvec" for node in graph.nodes())


def kinds(graph: Graph) -> set[str]:
    return {leaf.attr("kind") for leaf in graph.inputs if leaf.op == "input"}


def test_products_of_the_input_are_in_the_step() -> None:
    step = whole_step(cells.lstm.equations)
    assert step is not None
    assert [name for name, _ in step.body.outputs] == ["h", "c"]
    assert step.output is step.body.output("h")
    assert products(step.body) == 2
    assert not step.rows.outputs
    assert "input" in kinds(step.body)


def test_a_table_takes_the_products_of_the_input_out() -> None:
    step = whole_step(cells.lstm.equations, table=True)
    assert step is not None
    assert products(step.body) == 1
    assert products(step.rows) == 1
    assert kinds(step.body) == {"state", "made once", "made for a step"}


def test_what_depends_on_the_context_alone_leaves_the_step() -> None:
    step = whole_step(everything.equations)
    assert step is not None
    assert products(step.context) == 1
    assert products(step.body) == 3
    assert [name for name, _ in step.body.outputs] == ["h", "s", "output"]
    assert {state.name for state in step.states} == {"h", "s"}
    assert set(step.states) <= set(step.body.inputs)


def test_there_is_no_table_where_the_index_of_the_step_matters() -> None:
    @cell(state="h")
    def late(x, h, t, W_xh):
        """A product of the index of the step, and of the input."""
        return tanh(h + W_xh @ (t * x))

    assert whole_step(late.equations, table=True) is None
    assert whole_step(late.equations) is not None

"""Nodes, graphs, and the legality check."""

import copy
import gc
import os
import pickle
import subprocess
import sys

import pytest

from recurra.ir import (
    Dim,
    Graph,
    Node,
    Stage,
    apply,
    const,
    intern,
    leaf,
    rebuild,
    shape_text,
    substitute,
    topological,
    use_counts,
    verify,
)
from recurra.ir.graph import _interned

H, I = Dim.named("H"), Dim.named("I")  # noqa: E741 - the input size
X = leaf("input", "x", (I,))
STATE = leaf("state", "h", (H,))
W = leaf("parameter", "W", (H, I))


def graph(*outputs: Node, inputs: tuple[Node, ...] = (X, STATE, W)) -> Graph:
    return Graph(inputs=inputs, outputs=tuple((f"y{i}", node) for i, node in enumerate(outputs)))


# ---- interning -----------------------------------------------------------------------------------


def test_equal_structure_is_the_same_node() -> None:
    assert apply("tanh", apply("matvec", W, X)) is apply("tanh", apply("matvec", W, X))
    assert const(0.5) is const(1 / 2)
    assert leaf("state", "h", (H,)) is STATE


def test_other_structure_is_another_node() -> None:
    assert leaf("state", "h", (I,)) is not STATE
    assert leaf("context", "h", (H,)) is not STATE
    assert apply("sub", STATE, 1.0) is not apply("sub", 1.0, STATE)
    assert apply("clamp", STATE, lo=0.0, hi=1.0) is not apply("clamp", STATE, lo=0.0, hi=2.0)


def test_attributes_of_equal_value_and_other_type_differ() -> None:
    nodes = {intern("slice", (STATE,), (("axis", axis),), (H,)) for axis in (1, 1.0, True)}
    assert len(nodes) == 3


@pytest.mark.medium
def test_nodes_that_nothing_holds_are_forgotten() -> None:
    def tag() -> int:
        return id(apply("tanh", leaf("parameter", "only here", (H,))))

    tag()
    gc.collect()
    assert not any("only here" in str(key) for key in list(_interned))


def test_nodes_travel() -> None:
    node = apply("clamp", apply("matvec", W, X), lo=-1.0, hi=1.0)
    assert pickle.loads(pickle.dumps(node)) is node
    assert copy.deepcopy(node) is node
    assert copy.copy(node) is node


def test_nodes_show_what_they_are() -> None:
    assert repr(W) == "<input kind=parameter name=W HxI>"
    assert repr(const(2.0)) == "<const value=2.0 scalar>"
    assert shape_text(W.shape) == "[H, I]"
    assert shape_text(()) == "scalar"


def test_numbers_become_constants() -> None:
    assert apply("mul", 2.0, STATE).inputs[0] is const(2.0)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sizes \[H\] and \[I\] differ"):
        apply("add", STATE, X)
    with pytest.raises(ValueError, match=r"\[H, I\] does not multiply \[H\]"):
        apply("matvec", W, STATE)
    with pytest.raises(ValueError, match=r"\[H\] does not multiply \[H\]"):
        apply("matvec", STATE, STATE)


# ---- walking and rebuilding ----------------------------------------------------------------------


def test_every_node_comes_after_what_it_reads() -> None:
    product = apply("matvec", W, X)
    top = apply("mul", apply("tanh", product), apply("sigmoid", product))
    order = topological([top])
    assert len(order) == len(set(order)) == 6
    place = {node: i for i, node in enumerate(order)}
    assert all(place[child] < place[node] for node in order for child in node.inputs)


def test_walk_does_not_look_behind_the_inputs() -> None:
    product = apply("matvec", W, X)
    top = apply("tanh", product)
    assert Graph(inputs=(product,), outputs=(("y", top),)).nodes() == (top,)
    assert Graph(inputs=(top,), outputs=(("y", top),)).nodes() == ()


@pytest.mark.medium
def test_long_chains_need_no_recursion() -> None:
    node = STATE
    for _ in range(5_000):
        node = apply("tanh", node)
    whole = graph(node)
    assert len(whole.nodes()) == 5_000
    assert rebuild(whole, lambda old, inputs: apply(old.op, *inputs)).output("y0") is node


def test_rebuild_replaces_from_the_inputs_up() -> None:
    u = apply("tanh", STATE)
    before = Graph(
        inputs=(STATE,), outputs=(("y", apply("mul", u, u)), ("u", u)), names={u: "u", STATE: "h"}
    )

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        return apply("sigmoid" if node.op == "tanh" else node.op, *inputs)

    after = rebuild(before, rule)
    s = apply("sigmoid", STATE)
    assert after.outputs == (("y", apply("mul", s, s)), ("u", s))
    assert after.names == {s: "u", STATE: "h"}
    assert before.output("u") is u


def test_substitute_replaces_inputs_and_nothing_else() -> None:
    other = leaf("given", "0", (H,))
    before = graph(apply("add", apply("mul", 1.0, STATE), apply("matvec", W, X)))
    after = substitute(before, {STATE: other})
    assert after.inputs == (X, other, W)
    assert after.output("y0") is apply("add", apply("mul", 1.0, other), apply("matvec", W, X))
    back = substitute(after, {other: STATE})
    assert (back.inputs, back.outputs) == (before.inputs, before.outputs)


def test_use_counts() -> None:
    u = apply("tanh", STATE)
    counts = use_counts(graph(apply("mul", u, u), u))
    assert counts == {X: 0, W: 0, STATE: 1, u: 3, apply("mul", u, u): 1}


def test_output_by_name() -> None:
    whole = graph(STATE, X)
    assert whole.output("y1") is X
    assert whole.output_nodes == (STATE, X)


# ---- verify --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", Stage)
def test_legal_graph_is_given_back(stage: Stage) -> None:
    whole = graph(apply("tanh", apply("add", apply("matvec", W, X), STATE)), STATE)
    assert verify(whole, stage) is whole


MEAN = apply("mean", STATE)
TOTAL = apply("total", STATE)


@pytest.mark.parametrize(
    ("node", "allowed"),
    [
        (MEAN, {Stage.CELL}),
        (TOTAL, {Stage.BACKWARD}),
        (apply("outer", STATE, X), {Stage.BACKWARD}),
        (apply("expand", 0.0, shape=(H,)), set(Stage)),
    ],
)
def test_what_each_stage_may_hold(node: Node, allowed: set[Stage]) -> None:
    for stage in Stage:
        if stage in allowed:
            verify(graph(node), stage)
        else:
            with pytest.raises(AssertionError, match="has no place here"):
                verify(graph(node), stage)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (graph(STATE, inputs=(STATE, STATE)), "an input is listed twice"),
        (graph(STATE, inputs=(X,)), "is read but is not an input of the graph"),
        (
            Graph(inputs=(X, STATE), outputs=(("y", X), ("y", STATE))),
            "an output name is used twice",
        ),
        (graph(intern("tangh", (STATE,), (), (H,))), "no row for"),
        (graph(intern("tanh", (STATE,), (), (I,))), "should have shape"),
        (graph(intern("add", (STATE, const(1.0)), (), ())), "should have shape"),
    ],
)
def test_broken_graph(broken: Graph, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        verify(broken, Stage.CELL)


def test_open_size() -> None:
    state = leaf("state", "s", (Dim.named("?0"),))
    with pytest.raises(AssertionError, match="has an open size"):
        verify(graph(apply("tanh", state), inputs=(state,)), Stage.CELL)


def test_sum_of_sizes_that_differ() -> None:
    broken = graph(intern("add", (STATE, X), (), (H,)))
    with pytest.raises(ValueError, match="differ"):
        verify(broken, Stage.CELL)


@pytest.mark.medium
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_makes_nodes() -> None:
    """A child has no use for the lock of a thread that stayed with its parent."""
    program = (
        "import os, threading, time\nfrom recurra.ir import graph\n"
        "def hold():\n    with graph._interning: time.sleep(1)\n"
        "threading.Thread(target=hold).start()\ntime.sleep(0.2)\nchild = os.fork()\n"
        "if child == 0:\n    graph.intern('const', (), (('value', 2.5),), ())\n    os._exit(0)\n"
        "time.sleep(0.1)\nassert os.waitpid(child, 0)[1] == 0\n"
        "graph.intern('const', (), (('value', 3.5),), ())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr

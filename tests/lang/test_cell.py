"""What a cell is made of: its graph, its names, its constants; how it travels and composes."""

import builtins
import copy
import functools
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import recurra
from recurra import cells, lang
from recurra.ir import Node, apply, const, leaf
from recurra.lang import Cell, Dim, cell, sigmoid, split, tanh, where
from recurra.lang.symbols import FUNCTIONS, TORCH_FUNCTIONS

H, I = Dim.named("H"), Dim.named("I")  # noqa: E741 - the input size


def body(function: Callable[..., Any], **options: Any) -> tuple[Node, ...]:
    """The output nodes of the cell that `function` makes."""
    return cell(**options)(function).equations.output_nodes


@cell(state="h")
def leaky(x, h, W, rate=0.25, steps=2):
    for _ in range(steps):
        h = rate * h + (1 - rate) * tanh(W @ x)
    return h


# ---- the graph -----------------------------------------------------------------------------------


def test_graph_of_a_cell() -> None:
    @cell
    def f(x, h, W, b):
        u = W @ x + b
        return tanh(u) * h

    x, h = leaf("input", "x", (I,)), leaf("state", "h", (H,))
    W, b = leaf("parameter", "W", (H, I)), leaf("parameter", "b", (H,))
    u = apply("add", apply("matvec", W, x), b)
    new = apply("mul", apply("tanh", u), h)
    assert f.equations.inputs == (x, h, W, b)
    assert f.equations.outputs == (("output", new), ("h", new))
    assert f.equations.names == {u: "u"}


def test_local_variables_name_what_they_hold_last() -> None:
    names = cells.lstm.equations.names
    assert set(names.values()) == {"i", "f", "o", "g", "c", "h"}
    ops = {name: node.op for node, name in names.items()}
    assert [ops[name] for name in "ifogch"] == [*["sigmoid"] * 3, "tanh", "add", "mul"]
    assert names[cells.lstm.equations.output("c")] == "c"


@pytest.mark.parametrize("watch", ["setprofile", "settrace"])
def test_names_are_the_same_where_a_profiler_or_debugger_watches(watch: str) -> None:
    def watcher(*_: object) -> None: ...

    def equations(x, h, W):
        r = sigmoid(W @ x + h)

        def helper(v):
            return 2 * v

        new = helper(r)
        return new * h

    getattr(sys, watch)(watcher)
    try:
        watched = cell(equations)
        assert getattr(sys, watch.replace("set", "get"))() is watcher
    finally:
        getattr(sys, watch)(None)
    expected = dict(cell(equations).equations.names.items())
    assert watched.equations.names == expected
    assert set(expected.values()) == {"r", "new"}


def test_output_comes_before_the_states() -> None:
    @cell(state=("h", "c"), output=True)
    def f(x, h, c, W):
        c = W @ x + c
        return sigmoid(h), tanh(c), c

    outputs = dict(f.equations.outputs)
    assert list(outputs) == ["output", "h", "c"]
    assert [outputs[name].op for name in outputs] == ["sigmoid", "tanh", "add"]


def test_list_is_returned_like_a_tuple() -> None:
    @cell(state=("h", "c"))
    def f(x, h, c):
        return [c, h]

    assert f.equations.output("h").name == "c"


def test_step_index() -> None:
    @cell
    def f(x, h, t, W):
        return where(t < 3, tanh(W @ x), h)

    assert f.step == "t"
    assert list(f.parameters) == ["W"]
    assert [node.attr("kind") for node in f.equations.inputs] == [
        "input",
        "state",
        "step",
        "parameter",
    ]


@pytest.mark.parametrize("role", ["state", "constant", "input"])
def test_t_is_the_step_only_where_it_is_free(role: str) -> None:
    if role == "state":
        of = cell(state="t")(lambda x, t: tanh(t))
    elif role == "constant":
        of = cell(lambda x, h, t=2.0: t * h)
    else:
        of = cell(lambda t, h, W: W @ t + h)
    assert of.step is None


def test_cell_says_what_it_is() -> None:
    assert repr(cells.lstm) == "<cell lstm(h, c)>"
    assert cells.lstm.name == "lstm"
    assert cells.lstm.doc.startswith("Long short-term memory")
    assert cells.lstm.__doc__ == cells.lstm.function.__doc__
    assert recurra.cell is lang.cell


# ---- ordinary Python runs once -------------------------------------------------------------------


def test_loops_and_ifs_over_constants_unroll() -> None:
    @cell
    def looped(x, h, W, squash=True, n=3):
        u = W @ x + h
        for k in range(n):
            u = u + 0.5**k * h
        if squash:
            u = tanh(u)
        return u

    @cell
    def written(x, h, W):
        return tanh(W @ x + h + 1.0 * h + 0.5 * h + 0.25 * h)

    assert looped.equations.outputs == written.equations.outputs


def test_constants_alone_may_go_through_functions() -> None:
    @cell
    def f(x, h, rate=0.3):
        return sigmoid(rate) * h

    state = leaf("state", "h", (H,))
    expected = apply("mul", apply("sigmoid", const(0.3)), state)
    assert f.equations.output("h") is expected


def test_helper_functions_and_comprehensions() -> None:
    def gate(W, b, x):
        return sigmoid(W @ x + b)

    @cell
    def helped(x, h, W, V, b):
        i, f = (gate(M, b, x) for M in (W, V))
        return i * h + f

    @cell
    def written(x, h, W, V, b):
        return sigmoid(W @ x + b) * h + sigmoid(V @ x + b)

    assert helped.equations.outputs == written.equations.outputs


# ---- torch's functions ---------------------------------------------------------------------------

TORCH = {
    "sigmoid": [torch.sigmoid],
    "tanh": [torch.tanh, np.tanh],
    "relu": [torch.relu, F.relu, lambda v: F.relu(v, inplace=False)],
    "exp": [torch.exp, np.exp],
    "expm1": [torch.expm1, np.expm1],
    "log": [torch.log, np.log],
    "log1p": [torch.log1p, np.log1p],
    "log_sigmoid": [F.logsigmoid],
    "sqrt": [torch.sqrt, np.sqrt],
    "sin": [torch.sin, np.sin],
    "cos": [torch.cos, np.cos],
    "sign": [torch.sign, np.sign],
    "floor": [torch.floor, np.floor],
    "detach": [torch.detach],
    "abs": [torch.abs, abs, np.abs, np.absolute, np.fabs],
    "softplus": [F.softplus],
    "silu": [F.silu],
    "gelu": [F.gelu, lambda v: F.gelu(v, approximate="none")],
    "leaky_relu": [F.leaky_relu],
    "elu": [F.elu],
    "sum": [torch.sum, lambda v: torch.sum(v, dim=-1), np.sum, lambda v: np.sum(v, axis=0)],
    "mean": [torch.mean, lambda v: torch.mean(v, -1), np.mean],
    "var": [np.var, lambda v: np.var(v, axis=-1)],
    "max": [torch.amax, np.max, np.amax],
    "softmax": [lambda v: torch.softmax(v, -1), lambda v: F.softmax(v, dim=-1)],
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_function_means_the_same(name: str) -> None:
    ours = body(lambda x, h: h * getattr(lang, name)(h))
    for theirs in TORCH[name]:
        assert body(lambda x, h, theirs=theirs: h * theirs(h)) == ours


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x, h, W: W @ x + h, lambda x, h, W: torch.add(torch.matmul(W, x), h)),
        (lambda x, h, W: W @ x - h, lambda x, h, W: torch.sub(torch.mv(W, x), h)),
        (lambda x, h, W: W @ x * h, lambda x, h, W: torch.mul(W @ x, h)),
        (lambda x, h, W: W @ x / h, lambda x, h, W: torch.div(W @ x, h)),
        (lambda x, h: h**2.0, lambda x, h: torch.pow(h, 2.0)),
        (lambda x, h: h * h, lambda x, h: torch.square(h)),
        (lambda x, h: -h, lambda x, h: torch.neg(h)),
        (lambda x, h, W: W @ x + h, lambda x, h, W: np.add(np.dot(W, x), h)),
        (lambda x, h, W: W @ x + h, lambda x, h, W: np.matmul(W, x) + h),
        (lambda x, h, W: W @ x + h, lambda x, h, W: F.linear(x, W, h)),
        (lambda x, h: h * h / 2, lambda x, h: np.divide(np.multiply(h, h), np.float32(2))),
        (lambda x, h: h**2.0 - h, lambda x, h: np.subtract(np.power(h, 2.0), h)),
        (lambda x, h: h * h, lambda x, h: np.square(h)),
        (lambda x, h: h % 2, lambda x, h: lang.mod(h, 2)),
        (lambda x, h: 2 % h, lambda x, h: torch.remainder(2, h)),
        (lambda x, h: h % 2, lambda x, h: np.mod(h, 2)),
        (lambda x, h: h // 2, lambda x, h: lang.floor(h / 2)),
        (lambda x, h: 2 // h, lambda x, h: np.floor_divide(2, h)),
        (lambda x, h: lang.concat(h, 0.5), lambda x, h: torch.cat([h, lang.expand(0.5, 1)])),
        (lambda x, h: -h, lambda x, h: np.negative(h)),
        (lambda x, h: h * (h >= 0.0), lambda x, h: h * np.greater_equal(h, np.float64(0.0))),
        (lambda x, h: 0.5 * h, lambda x, h: np.float32(0.5) * h),
        (lambda x, h: 0.5 + h, lambda x, h: np.array(0.5) + h),
        (lambda x, h: 0.5 * h, lambda x, h: torch.tensor(0.5) * h),
        (lambda x, h: lang.maximum(h, -h), lambda x, h: np.maximum(h, -h)),
        (lambda x, h: lang.minimum(h, 0), lambda x, h: np.minimum(h, np.int64(0))),
        (lambda x, h: lang.clamp(h, -1, 1), lambda x, h: np.clip(h, -1, 1)),
        (lambda x, h: where(h > 0, h, 0.0), lambda x, h: np.where(h > 0, h, 0.0)),
        (lambda x, h, W: lang.concat(h, W @ x), lambda x, h, W: np.concatenate([h, W @ x])),
        (lambda x, h, W: lang.concat(h, W @ x), lambda x, h, W: np.hstack((h, W @ x))),
        (lambda x, h: split(h, 2)[0] * 1.5, lambda x, h: np.split(h, 2)[0] * 1.5),
        (lambda x, h, W: W.T @ h, lambda x, h, W: np.transpose(W) @ h),
        (lambda x, h: h * (h > 0.0), lambda x, h: h * torch.gt(h, 0.0)),
        (lambda x, h: h * (h == 0.0), lambda x, h: h * torch.eq(h, 0.0)),
        (lambda x, h: lang.minimum(h, -h), lambda x, h: torch.minimum(h, -h)),
        (lambda x, h: lang.maximum(h, -h), lambda x, h: torch.maximum(h, -h)),
        (lambda x, h: lang.clamp(h, -1.0, 1.0), lambda x, h: torch.clamp(h, min=-1.0, max=1.0)),
        (lambda x, h: where(h > 0, h, 0.0), lambda x, h: torch.where(h > 0, h, 0.0)),
        (lambda x, h: lang.leaky_relu(h, 0.2), lambda x, h: F.leaky_relu(h, 0.2)),
        (lambda x, h: lang.elu(h, 0.5), lambda x, h: F.elu(h, alpha=0.5)),
        (
            lambda x, h, W, V: lang.concat(h, V @ x),
            lambda x, h, W, V: torch.cat([h, V @ x], dim=-1),
        ),
        (
            lambda x, h: split(h, 2)[0] * lang.mean(split(h, 2)[1]),
            lambda x, h: torch.chunk(h, 2, dim=-1)[0] * lang.mean(torch.chunk(h, 2)[1]),
        ),
    ],
)
def test_torch_operator_means_the_same(ours: Any, theirs: Any) -> None:
    def whole(function: Any) -> tuple[Node, ...]:
        def of(x, h, W, V):
            rows = V @ x + W @ x + h
            return rows * lang.sum(function(*arguments(function, x, h, W, V)))

        return body(of)

    def arguments(function: Any, *given: Any) -> tuple[Any, ...]:
        return given[: function.__code__.co_argcount]

    assert whole(theirs) == whole(ours)


def test_every_torch_name_in_the_table_is_tried() -> None:
    by_operators = {"minimum", "maximum", "clamp", "where", "concat", "split", "mod"}
    by_operators |= {"outer", "flatten"}  # of matrices, which test_matrices.py has
    by_operators |= {"inverse", "solve", "matrix_exp", "diag"}  # in test_linalg
    from_torch = {function.__name__ for function in TORCH_FUNCTIONS.values()} & set(FUNCTIONS)
    assert from_torch == set(TORCH) - {"var"} | by_operators


@pytest.mark.parametrize("inner", [np.dot, np.inner, torch.dot, torch.inner])
def test_inner_product_of_two_vectors(inner: Any) -> None:
    assert body(lambda x, h: inner(h, h) * h) == body(lambda x, h: lang.sum(h * h) * h)


@pytest.mark.parametrize("left", ["open", "matrix"])
def test_dot_of_a_matrix_is_a_product(left: str) -> None:
    @cell
    def f(x, h, W, U):
        return tanh(W @ x + (U @ h if left == "matrix" else 0) + np.dot(U, h))

    assert f.parameters["U"] == (H, H)


def test_functions_of_the_language_are_exported() -> None:
    of_python = {"abs", "max", "sum"}  # which `import *` shall not hide
    assert set(FUNCTIONS) - of_python == set(lang.__all__) - {"Cell", "Dim", "cell", "replace"}
    assert of_python <= set(FUNCTIONS) & set(vars(lang)) & set(vars(builtins))
    assert not set(lang.__all__) & set(vars(builtins))


# ---- constants -----------------------------------------------------------------------------------


def test_constants_are_those_with_a_default() -> None:
    assert leaky.constants == {"rate": 0.25, "steps": 2}
    assert list(leaky.parameters) == ["W"]


def test_with_constants() -> None:
    changed = leaky.with_constants(rate=0.5, steps=1)
    assert changed.constants == {"rate": 0.5, "steps": 1}
    assert leaky.constants == {"rate": 0.25, "steps": 2}
    assert changed.equations.outputs != leaky.equations.outputs
    assert changed.with_constants(steps=2).constants == {"rate": 0.5, "steps": 2}
    again = changed.with_constants(rate=0.25, steps=2)
    assert again.equations.outputs == leaky.equations.outputs


def test_with_constants_keeps_the_options() -> None:
    @cell(state=("h", "c"), context="v", sizes={"h": "P"}, init={"b": 1.0}, output=True)
    def f(x, h, c, v, W, b, rate=0.5):
        c = c + b
        return rate * c, W @ x + h * v, c

    changed = f.with_constants(rate=0.1)
    assert (changed.states, changed.context, changed.init) == (f.states, f.context, f.init)
    assert changed.parameters == f.parameters
    assert [name for name, _ in changed.equations.outputs] == ["output", "h", "c"]


def test_unknown_constant_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected one of \['rate', 'steps'\], got 'W'"):
        leaky.with_constants(W=1.0)


# ---- travelling ----------------------------------------------------------------------------------


def test_pickled_cell_is_the_same_cell() -> None:
    assert pickle.loads(pickle.dumps(cells.gru)) is cells.gru


def test_pickled_cell_with_constants() -> None:
    restored = pickle.loads(pickle.dumps(cells.gru.with_constants()))
    assert restored.equations.outputs == cells.gru.equations.outputs


def test_pickled_graph_is_the_same_graph() -> None:
    outputs = cells.lstm.equations.outputs
    assert pickle.loads(pickle.dumps(outputs)) == outputs


def test_copies_are_the_cell_itself() -> None:
    assert copy.deepcopy(cells.gru) is cells.gru
    assert copy.copy({"cell": cells.gru})["cell"] is cells.gru
    node = cells.gru.equations.output("h")
    assert copy.deepcopy(node) is node


# ---- composing -----------------------------------------------------------------------------------


def test_cell_within_a_cell() -> None:
    @cell
    def simple(x, h, W, U, b):
        return tanh(W @ x + U @ h + b)

    @cell(state=("h", "g"))
    def stacked(x, h, g, W, U, b, V):
        h = simple(x, h, W, U, b)
        return simple(h, g, V, V, b), h

    @cell(state=("h", "g"))
    def written(x, h, g, W, U, b, V):
        h = tanh(W @ x + U @ h + b)
        return tanh(V @ h + V @ g + b), h

    assert stacked.equations.outputs == written.equations.outputs


def test_constants_of_an_inner_cell() -> None:
    @cell
    def inner(x, h, W, rate=0.5):
        return rate * h + W @ x

    slow = inner.with_constants(rate=0.125)

    def outputs(of: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Node, ...]:
        return body(lambda x, h, W: of(x, h, W, *args, **kwargs))

    assert outputs(inner) == body(lambda x, h, W: 0.5 * h + W @ x)
    assert outputs(slow) == body(lambda x, h, W: 0.125 * h + W @ x)
    assert outputs(slow, 0.25) == outputs(slow, rate=0.25) == outputs(inner, 0.25)


def test_cell_under_another_decorator() -> None:
    def named(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @cell
    @named
    def f(x, h, W):
        u = W @ x
        return tanh(u + h)

    assert list(f.equations.names.values()) == ["u"]


def test_cell_is_defined_while_another_is() -> None:
    @cell
    def outer(x, h, W):
        @cell
        def inner(x, h, V):
            return tanh(V @ x + h)

        return tanh(0.5) * inner(x, h, W)

    assert isinstance(outer, Cell)
    assert list(outer.parameters) == ["W"]

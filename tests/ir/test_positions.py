"""The operations over a memory against torch and its autograd, and what past its end is seen of."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recurra.ir import (
    OPS,
    POSITIONS,
    Dim,
    Graph,
    Group,
    Node,
    apply,
    cotangents,
    inside,
    is_matrix,
    is_rows,
    leaf,
    positions,
    topological,
)
from recurra.passes.decompose import decompose

SIZES = {"K": 3, "A": 2, **dict.fromkeys(POSITIONS.names, 5)}
WITHIN = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
COUNT = 3

K, A = Dim.named("K"), Dim.named("A")
ALPHA, ROWS = leaf("state", "a", (POSITIONS,)), leaf("memory", "m", (POSITIONS, K))
VECTOR, MATRIX = leaf("state", "h", (K,)), leaf("parameter", "U", (A, K))
INSIDE = inside()


def on_rows(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An elementwise function where some operands have no positions, or no features."""

    def spread(node: Node, *values: Tensor) -> Tensor:
        if not is_rows(node.shape):
            return function(*values)
        given = []
        for child, value in zip(node.inputs, values, strict=True):
            given.append(value[:, None] if child.shape == (POSITIONS,) else value)
        return function(*given)

    return spread


# spelled without the backends: what is here of all operations are those that the samples come to
EVALUATE: dict[str, Callable[..., Tensor]] = {
    "const": lambda node: torch.tensor(node.attr("value"), dtype=torch.float64),
    "add": on_rows(torch.add),
    "sub": on_rows(torch.sub),
    "mul": on_rows(torch.mul),
    "div": on_rows(torch.div),
    "exp": on_rows(torch.exp),
    "eq": on_rows(lambda a, b: (a == b).double()),
    "where": on_rows(lambda c, a, b: torch.where(c != 0, a, b)),
    "neg": on_rows(torch.neg),
    "transpose": lambda node, m: m.T,
    "sum": lambda node, v: v.sum() if is_matrix(node.inputs[0].shape) else v.sum(-1),
    "max": lambda node, v: v.amax(-1),
    "expand": lambda node, v: (v[:, None] if node.inputs[0].shape == (POSITIONS,) else v).expand(
        *(SIZES.get(str(d), 5) for d in node.shape)
    ),
    "outer": lambda node, a, b: torch.einsum("...i,...j->ij", a, b),
    "rows_product": lambda node, matrix, rows: torch.stack([matrix @ row for row in rows]),
    "rows_dot": lambda node, rows, v: torch.stack([(row * v).sum() for row in rows]),
    "weighted_sum": lambda node, a, rows: sum(x * row for x, row in zip(a, rows, strict=True)),
    "sum_rows": lambda node, rows: rows.sum(0),
    "max_rows": lambda node, rows: rows.amax(0),
    "windows": lambda node, v: windows(v, node.attr("width")),
    "overlaps": lambda node, w: torch.autograd.functional.vjp(
        lambda v: windows(v, w.shape[1]), torch.zeros(len(w), dtype=w.dtype), w, create_graph=True
    )[1],
}


def windows(v: Tensor, width: int) -> Tensor:
    wide = F.pad(v, (width // 2, width // 2))
    return torch.stack([wide[i : i + width] for i in range(len(v))])


def evaluate(root: Node, values: dict[Node, Tensor]) -> Tensor:
    found = dict(values)
    for node in topological([root], stop=values):
        found[node] = EVALUATE[node.op](node, *(found[child] for child in node.inputs))
    return found[root]


# each operation, and what it is of the numbers and rows within the memory alone
SAMPLES: list[tuple[Node, Callable[..., Tensor]]] = [
    (apply("rows_product", MATRIX, ROWS), lambda U, m: m @ U.T),
    (apply("rows_dot", ROWS, VECTOR), lambda m, h: m @ h),
    (apply("positions_softmax", ALPHA, INSIDE), lambda a: torch.softmax(a, 0)),
    (apply("positions_sum", ALPHA, INSIDE), lambda a: a.sum()),
    (apply("positions_sum", ROWS, INSIDE), lambda m: m.sum(0)),
    (apply("positions_mean", ALPHA, INSIDE), lambda a: a.mean()),
    (apply("positions_mean", ROWS, INSIDE), lambda m: m.mean(0)),
    (apply("positions_max", ALPHA, INSIDE), lambda a: a.amax()),
    (apply("positions_max", ROWS, INSIDE), lambda m: m.amax(0)),
    (apply("read", ALPHA, ROWS, INSIDE), lambda a, m: a @ m),
    (
        apply("read", apply("positions_softmax", ALPHA, INSIDE), ROWS, INSIDE),
        lambda a, m: torch.softmax(a, 0) @ m,
    ),
    (apply("neighbours", ALPHA, INSIDE, width=3), lambda a: windows(a, 3)),
    (apply("mul", ALPHA, ROWS), lambda a, m: a[:, None] * m),
    (apply("mul", ALPHA, VECTOR), lambda a, h: a[:, None] * h),
    (apply("add", VECTOR, ROWS), lambda h, m: h + m),
    (apply("sum", ROWS), lambda m: m.sum(1)),
    (apply("max", ROWS), lambda m: m.amax(1)),
]


@pytest.mark.parametrize(("sample", "theirs"), SAMPLES, ids=lambda s: getattr(s, "op", ""))
@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
def test_value_and_cotangents_equal_torch(sample: Node, theirs: Callable, ties: bool) -> None:
    """Within the memory they are torch's; past its end, whatever stands there, they are zero."""
    leaves = [node for node in topological([sample]) if node.op == "input" and node is not INSIDE]
    graph = decompose(Graph(inputs=(*leaves, INSIDE), outputs=(("y", sample),)))
    values, own = {INSIDE: WITHIN}, []
    for node in leaves:
        shape = [SIZES[name] for dim in node.shape for name in dim.names]
        drawn = torch.randint(3, shape).double() if ties else torch.randn(shape).double()
        values[node] = drawn
        over = node.shape[0] == POSITIONS
        own.append((drawn[:COUNT] if over else drawn).clone().requires_grad_())
    expected = theirs(*own)
    found = evaluate(graph.output("y"), values)
    over = bool(sample.shape) and sample.shape[0] == POSITIONS
    torch.testing.assert_close(found[:COUNT] if over else found, expected.detach())

    seed = torch.randn(found.shape, dtype=torch.float64)
    seed = seed * (WITHIN if found.dim() == 1 else WITHIN[:, None]) if over else seed
    gradients = torch.autograd.grad(expected, own, seed[:COUNT] if over else seed)
    d = leaf("cotangent", "y", sample.shape)
    table = {graph.output("y"): d}
    for node in reversed(graph.nodes()):
        for child, cotangent in zip(
            node.inputs, cotangents(node, table[node]) if node in table else (), strict=False
        ):
            if cotangent is not None:
                assert cotangent.shape == child.shape
                known = table.get(child)
                table[child] = cotangent if known is None else apply("add", known, cotangent)
    for node, gradient in zip(leaves, gradients, strict=True):
        ours = evaluate(table[node], {**values, d: seed})
        if node.shape[0] == POSITIONS:
            assert not ours[COUNT:].any()
            ours = ours[:COUNT]
        torch.testing.assert_close(ours, gradient)


def test_every_operation_is_tried() -> None:
    graphs = [decompose(Graph(inputs=(), outputs=(("y", sample),))) for sample, _ in SAMPLES]
    used = {node.op for graph in graphs for node in graph.nodes()}
    used |= {sample.op for sample, _ in SAMPLES}
    adjoint_only = {"overlaps", "outer_time"}
    assert {op.name for op in positions.TABLE} <= used | adjoint_only
    assert all(OPS[name].group is not Group.LEAF for name in used - {"input", "const"})


def test_shapes_over_positions_and_others_do_not_mix() -> None:
    wrong = leaf("state", "w", (A,))
    for op, operands in {
        "add": (ROWS, wrong),
        "mul": (ROWS, MATRIX),
        "rows_product": (MATRIX, ALPHA),
        "rows_dot": (ROWS, wrong),
        "weighted_sum": (VECTOR, ROWS),
        "sum_rows": (VECTOR,),
    }.items():
        with pytest.raises(ValueError):
            apply(op, *operands)


def test_s_is_printed_and_is_no_size_of_a_cell() -> None:
    assert str(POSITIONS) == "S"
    assert Dim.named("S") != POSITIONS

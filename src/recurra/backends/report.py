"""A plan in words: what `explain()` prints."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

import torch

from recurra.ir import OPS, POSITIONS, Graph, Group, Node, is_rows, topological
from recurra.lang import Cell
from recurra.passes import Plan, is_linear
from recurra.passes.opened import opened
from recurra.show.spelling import TextWriter

_OVER_MEMORY = ("rows_product", "rows_dot", "weighted_sum", "outer_time")
_PRODUCTS = ("matvec", "outer", *_OVER_MEMORY)
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
_PLURALS = {
    "add": "sums",
    "sub": "differences",
    "mul": "products of two values",
    "div": "ratios",
    "matvec": "products with a matrix",
}
_SINGULARS = {
    "add": "a sum",
    "sub": "a difference",
    "mul": "a product of two values",
    "div": "a ratio",
    "matvec": "a product with a matrix",
}
_EXAMPLE = (100, 32)  # steps, sequences
EXAMPLE_POSITIONS = 32  # of a memory
_LONGEST_MATRIX = 40  # of a matrix that is written out
_NUMBER_BYTES = 4
_RATE_SIZE = 768
_MOST_LINES = 100  # of the table of a plan; unrolled cells have thousands


def describe(cell: Cell, plan: Plan, sizes: Mapping[str, int]) -> str:
    """What a plan does, section by section, with the sizes put in."""
    from recurra.backends.table import table  # which loads networkx; nothing else here needs it

    plan = opened(plan)
    lines = [f"cell {cell.name}: " + ", ".join(f"{k} = {v}" for k, v in sizes.items())]
    if cell.memory:
        sizes = {**sizes, **dict.fromkeys(POSITIONS.names, EXAMPLE_POSITIONS)}
        lines.append(f"  numbers are those of memories of {EXAMPLE_POSITIONS} vectors")
    if is_linear(cell.equations):
        lines.append(
            "  linear in the state, unit by unit: given the input, its steps are a scan over time"
        )
    for title, entries in (
        ("merged, so that what multiplies the same vector is one product", _merged(plan, sizes)),
        ("out of the time loop", _hoisted(plan, sizes)),
        ("in the time loop, each step", _section(plan.loop.body, sizes)),
        ("after it, for all steps at once", _section(plan.loop.after, sizes)),
        ("backward, before its loop", _section(plan.reverse.before, sizes, backward=True)),
        ("backward, each step", _section(plan.reverse.body, sizes, backward=True)),
        ("backward, after its loop, for all steps at once", _late(plan, sizes)),
        ("kept for backward", _kept(plan, sizes)),
        ("arithmetic of the products", _arithmetic(plan, sizes)),
    ):
        if entries:
            lines.append(f"  {title}:")
            lines.extend(f"    {entry}" for entry in entries)
    placed = table(plan)
    lines.append("  where every value is computed:")
    lines.extend(f"    {line}" for line in placed[:_MOST_LINES])
    if len(placed) > _MOST_LINES:
        lines.append(f"    and {len(placed) - _MOST_LINES} more lines")
    return "\n".join(lines)


def describe_threads(
    plan: Plan, sizes: Mapping[str, int], *, threads: int, cache_bytes: int
) -> str:
    """How a compiled loop is split over threads.

    Args:
        cache_bytes: the largest matrix that each thread reads for itself.
    """
    title = f"  {threads} thread{'s' * (threads != 1)}"
    products = _products(plan.loop.body)
    if threads == 1 or not products:
        how = "take the sequences of a batch in equal parts" if threads > 1 else "runs the loop"
        return f"{title}: {how}"
    largest = max((node.inputs[0] for node in products), key=lambda m: _count(m, sizes))
    num_bytes = _NUMBER_BYTES * _count(largest, sizes)
    shared = "share the columns of each product, and meet before and after it"
    apart = "take sequences of their own through all steps, and never meet"
    if num_bytes > cache_bytes:
        return (
            f"{title}: {shared}, because the largest matrix, {_shape(largest, sizes)}, has "
            f"{_bytes(num_bytes)} and a core's cache is taken to hold {_bytes(cache_bytes)}"
        )
    return f"{title}: with {2 * threads} sequences or more {apart}; with fewer they {shared}"


# ---- sections ------------------------------------------------------------------------------------


def _merged(plan: Plan, sizes: Mapping[str, int]) -> list[str]:
    """The stacks of parameters that were made once a call."""
    return [
        f"{', '.join(part.name for part in node.inputs)} -> {_shape(node, sizes)}"
        for node in plan.once.graph.output_nodes
        if node.op == "concat"
        and len(node.shape) == 2
        and all(part.op == "input" for part in node.inputs)
    ]


def _hoisted(plan: Plan, sizes: Mapping[str, int]) -> list[str]:
    parts = (("once a call", plan.once), ("once a sequence", plan.context))
    lines = []
    for when, part in (*parts, ("for all steps at once", plan.sequence)):
        entries = _section(part.graph, sizes)
        lines += [f"{when}: {', and '.join(entries)}"] if entries else []
    if plan.table and _products(plan.sequence.graph):
        lines.append("for token ids: the product with the input is a table, a row for each token")
    return lines


def _late(plan: Plan, sizes: Mapping[str, int]) -> list[str]:
    graphs = (plan.reverse.after, plan.sequence.adjoint, plan.context.adjoint, plan.once.adjoint)
    return [entry for graph in graphs for entry in _section(graph, sizes, backward=True)]


def _section(graph: Graph, sizes: Mapping[str, int], *, backward: bool = False) -> list[str]:
    """The products of a graph, a line each, and how many other operations there are."""
    lines = [_product(node, sizes, backward) for node in _products(graph)]
    groups = Counter(OPS[node.op].group for node in _computed(graph))
    for group, name in (
        (Group.ELEMENTWISE, "elementwise operation"),
        (Group.REDUCTION, "reduction"),
    ):
        if groups[group]:
            lines.append(f"{groups[group]} {name}{'s' * (groups[group] != 1)}")
    return lines


def _kept(plan: Plan, sizes: Mapping[str, int]) -> list[str]:
    """What the forward loop writes down for the reverse one, and what that computes again."""
    numbers = sum(_count(node, sizes) for node in plan.residuals)
    steps, batch = _EXAMPLE
    whole = _bytes(_NUMBER_BYTES * numbers * steps * batch)
    lines = [
        f"{_kinds(plan.residuals)}",
        f"in float32 {_bytes(_NUMBER_BYTES * numbers)} a step of a sequence: {whole} for {steps} "
        f"steps of {batch} sequences",
    ]
    again = _computed(plan.reverse.before) | _computed(plan.reverse.body)
    again &= _computed(plan.loop.body) | _computed(plan.sequence.graph)
    kinds = sorted(node.op for node in again if OPS[node.op].group is Group.ELEMENTWISE)
    if kinds:
        lines.append(f"computed again instead: {_counted(kinds)}")
    return lines


def _arithmetic(plan: Plan, sizes: Mapping[str, int]) -> list[str]:
    forward = _flops((plan.sequence.graph, plan.loop.body, plan.loop.after), sizes)
    reverse = (plan.reverse.before, plan.reverse.body, plan.reverse.after, plan.sequence.adjoint)
    backward = _flops(reverse, sizes)
    threads, (steps, batch) = torch.get_num_threads(), _EXAMPLE
    rate = product_rate(threads)
    forward_s, backward_s = (flops * steps * batch / rate for flops in (forward, backward))
    return [
        f"{forward:,} operations forward, {backward:,} backward, a step of a sequence",
        f"torch multiplies large matrices at about {rate / 1e9:.0f} GF/s here with {threads} "
        f"thread{'s' * (threads != 1)} (measured once in this process): "
        f"{steps} steps of {batch} sequences take at least "
        f"{_time(forward_s)} forward, {_time(backward_s)} backward",
    ]


@cache
def product_rate(threads: int) -> float:
    """Floating-point operations a second of torch's product of float32 matrices on the CPU.

    Args:
        threads: as torch is set to now; measured once for each.

    Cost: tens of milliseconds.
    """
    shape = (_RATE_SIZE, _RATE_SIZE)
    a, b, out = (torch.ones(shape, dtype=torch.float32, device="cpu") for _ in range(3))
    best_s = float("inf")
    for _ in range(4):  # the first one starts the threads
        begun = time.perf_counter()
        torch.mm(a, b, out=out)
        best_s = min(best_s, time.perf_counter() - begun)
    return 2.0 * _RATE_SIZE**3 / best_s


# ---- nodes ---------------------------------------------------------------------------------------


def _computed(graph: Graph) -> set[Node]:
    return set(graph.nodes()).difference(graph.inputs)


def _products(graph: Graph) -> list[Node]:
    given = set(graph.inputs)
    return [node for node in graph.nodes() if node.op in _PRODUCTS and node not in given]


def _flops(graphs: Iterable[Graph], sizes: Mapping[str, int]) -> int:
    """Two for each number of each matrix that is multiplied, or is the gradient of one."""
    total = 0
    for graph in graphs:
        for node in _products(graph):
            matrix = node if node.op == "outer" else node.inputs[0]
            rows = [child for child in node.inputs if is_rows(child.shape)]
            if node.op in ("rows_dot", "weighted_sum", "outer_time"):
                total += 2 * _count(rows[0] if rows else node, sizes)
            else:  # of each row
                each = rows[0].shape[0].evaluate(sizes) if rows else 1
                total += 2 * _count(matrix, sizes) * each
    return total


def _product(node: Node, sizes: Mapping[str, int], backward: bool) -> str:
    if node.op == "outer":
        is_sum = any(is_rows(child.shape) for child in node.inputs)
        how = "of all rows, step by step" if is_sum else "one product over all steps"
        return f"weight gradient {_shape(node, sizes)}, {how}"
    matrix, operand = node.inputs
    if node.op == "outer_time":
        return f"gradient of a memory {_shape(node, sizes)}, one product over all steps"
    if node.op == "rows_dot":
        what = "cotangents" if backward else _operand(operand)
        return f"each row of {_operand(matrix)} {_shape(matrix, sizes)} @ {what}"
    if node.op == "weighted_sum":
        return f"the weighted sum of the rows of {_operand(operand)} {_shape(operand, sizes)}"
    what = "cotangents" if backward else _operand(operand)
    what = f"each row of {what}" if node.op == "rows_product" else what
    return f"{_matrix(matrix)} {_shape(matrix, sizes)} @ {what}"


def _matrix(node: Node) -> str:
    """A matrix by its parameters: "(W_hr, W_hz)", transposed "W_hh.T"."""
    if node.op == "transpose":
        return f"{_matrix(node.inputs[0])}.T"
    if node.op == "concat":
        return f"({', '.join(_matrix(part) for part in node.inputs)})"
    if node.op == "slice":
        return _part(node)
    return node.name if node.op == "input" else _written(node)


def _written(node: Node) -> str:
    """A matrix that is computed once a call, as it is written, or by its operation if long."""
    leaves = {n: n.name for n in topological([node]) if n.op == "input"}
    text = TextWriter(leaves).operand(node, 4)
    return text if len(text) <= _LONGEST_MATRIX else node.op


def _part(node: Node) -> str:
    """Rows of a matrix or vector: "R_z[H/4 : H/2]"."""
    start = node.attr("start")
    return f"{_matrix(node.inputs[0])}[{start} : {start + node.attr('size')}]"


def _operand(node: Node) -> str:
    """What a product multiplies: a name, or the operation that makes it and its named operands."""
    if node.op == "input":
        return node.name
    if node.op == "slice" and node.inputs[0].op == "input":
        return _part(node)
    if node.op in _SIGNS:
        left, right = (_operand_of_operand(child) for child in node.inputs)
        return f"({left} {_SIGNS[node.op]} {right})"
    return f"{node.op}({', '.join(_operand_of_operand(child) for child in node.inputs)})"


def _operand_of_operand(node: Node) -> str:
    if node.op == "input":
        return node.name
    if node.op == "const":
        return f"{node.attr('value'):g}"
    return "…" if node.op in _SIGNS or node.op in ("slice", "matvec") else f"{node.op}(…)"


def _kinds(nodes: Iterable[Node]) -> str:
    """Values by what makes them: "2 sigmoid, tanh, a sum, h"."""
    return _counted(node.name if node.op == "input" else node.op for node in nodes)


def _counted(names: Iterable[str]) -> str:
    return ", ".join(
        f"{count} {_PLURALS.get(name, name)}" if count > 1 else _SINGULARS.get(name, name)
        for name, count in Counter(names).items()
    )


def _count(node: Node, sizes: Mapping[str, int]) -> int:
    count = 1
    for dim in node.shape:
        count *= dim.evaluate(sizes)
    return count


def _shape(node: Node, sizes: Mapping[str, int]) -> str:
    return f"[{', '.join(str(dim.evaluate(sizes)) for dim in node.shape)}]"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"


def _bytes(count: int) -> str:
    """12 B, 3.4 kB, 5.6 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"

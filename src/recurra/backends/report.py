"""A plan in words: what `explain()` prints."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

import torch

from recurra.backends import words
from recurra.ir import OPS, POSITIONS, Graph, Group, Node, has_positions, is_rows
from recurra.lang import Cell
from recurra.passes import Plan, is_linear
from recurra.passes.opened import opened

_OVER_MEMORY = ("rows_product", "rows_dot", "weighted_sum", "outer_time")
_PRODUCTS = ("matvec", "outer", *_OVER_MEMORY)
_EXAMPLE = (100, 32)  # steps, sequences
EXAMPLE_POSITIONS = 32  # of a memory
_NUMBER_BYTES = 4
_RATE_SIZE = 768
_MOST_LINES = 100  # of the table of a plan; unrolled cells have thousands


def describe(cell: Cell, plan: Plan, sizes: Mapping[str, int]) -> str:
    """What a plan does, section by section, with the sizes put in."""
    from recurra.backends.table import folded, table  # which loads networkx; nothing else needs it

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
    placed = placed if len(placed) <= _MOST_LINES else folded(placed)
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
    # what multiplies a memory has no size before a call
    found = _products(plan.loop.body)
    products = [node for node in found if not has_positions(node.inputs[0].shape)]
    if threads == 1 or not products:
        how = "take the sequences of a batch in equal parts" if threads > 1 else "runs the loop"
        return f"{title}: {how}"
    largest = max((node.inputs[0] for node in products), key=lambda m: words.size(m, sizes))
    num_bytes = _NUMBER_BYTES * words.size(largest, sizes)
    shared = "share the columns of each product, and meet before and after it"
    apart = "take sequences of their own through all steps, and never meet"
    if num_bytes > cache_bytes:
        return (
            f"{title}: {shared}, because the largest matrix, {words.shape(largest, sizes)}, has "
            f"{words.in_bytes(num_bytes)} and a core's cache is taken to hold "
            f"{words.in_bytes(cache_bytes)}"
        )
    return f"{title}: with {2 * threads} sequences or more {apart}; with fewer they {shared}"


# ---- sections ------------------------------------------------------------------------------------


def _merged(plan: Plan, sizes: Mapping[str, int]) -> list[str]:
    """The stacks of parameters that were made once a call."""
    return [
        f"{', '.join(part.name for part in node.inputs)} -> {words.shape(node, sizes)}"
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
    """The products of a graph, a line for all that read alike, and how many other operations."""
    products = Counter(words.product(node, sizes, backward) for node in _products(graph))
    lines = [each + f", {times} times" * (times > 1) for each, times in products.items()]
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
    numbers = sum(words.size(node, sizes) for node in plan.residuals)
    steps, batch = _EXAMPLE
    whole = words.in_bytes(_NUMBER_BYTES * numbers * steps * batch)
    lines = [
        f"{words.kinds(plan.residuals)}",
        f"in float32 {words.in_bytes(_NUMBER_BYTES * numbers)} a step of a sequence: {whole} for "
        f"{steps} steps of {batch} sequences",
    ]
    again = _computed(plan.reverse.before) | _computed(plan.reverse.body)
    again &= _computed(plan.loop.body) | _computed(plan.sequence.graph)
    kinds = sorted(node.op for node in again if OPS[node.op].group is Group.ELEMENTWISE)
    if kinds:
        lines.append(f"computed again instead: {words.counted(kinds)}")
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
        f"{words.duration(forward_s)} forward, {words.duration(backward_s)} backward",
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
                total += 2 * words.size(rows[0] if rows else node, sizes)
            else:  # of each row
                each = rows[0].shape[0].evaluate(sizes) if rows else 1
                total += 2 * words.size(matrix, sizes) * each
    return total

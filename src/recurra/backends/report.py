"""A plan in words: what `explain()` prints."""

from collections.abc import Mapping

from recurra.ir import Graph, Node
from recurra.lang import Cell
from recurra.passes import Plan


def describe(cell: Cell, plan: Plan, sizes: Mapping[str, int]) -> str:
    """The sections of a plan, line by line, with the sizes put in."""
    parts = [
        ("once a call", plan.once.graph),
        ("once a sequence", plan.context.graph),
        ("for all steps at once", plan.sequence.graph),
        ("in the loop", plan.loop.body),
        ("after the loop", plan.loop.after),
        ("backward, before the loop", plan.reverse.before),
        ("backward, in the loop", plan.reverse.body),
        ("backward, after the loop", plan.reverse.after),
    ]
    lines = [f"cell {cell.name}: " + ", ".join(f"{k} = {v}" for k, v in sizes.items())]
    for title, graph in parts:
        if graph.nodes():
            lines.append(f"  {title}: {_counted(graph)}")
            lines.extend(f"    {_product(node, sizes)}" for node in _products(graph))
    saved = sum(_elements(node, sizes) for node in plan.residuals)
    lines.append(f"  kept for backward: {len(plan.residuals)} values, {saved} numbers a step")
    if plan.table:
        lines.append("  token ids: the input product becomes a table with one row for each token")
    return "\n".join(lines)


def _counted(graph: Graph) -> str:
    products = len(_products(graph))
    others = len([node for node in graph.nodes() if node.inputs]) - products
    return f"{products} product{'s' * (products != 1)}, {others} other operations"


def _products(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if node.op in ("matvec", "outer")]


def _product(node: Node, sizes: Mapping[str, int]) -> str:
    if node.op == "outer":
        rows, columns = (dim.evaluate(sizes) for dim in node.shape)
        return f"weight gradient [{rows}, {columns}], summed over all steps in one product"
    matrix = node.inputs[0]
    rows, columns = (dim.evaluate(sizes) for dim in matrix.shape)
    return f"[{rows}, {columns}] @ {_name(node.inputs[1])}{_merged(matrix)}"


def _name(node: Node) -> str:
    return node.name if node.op == "input" else f"({node.op})"


def _merged(matrix: Node) -> str:
    """Which parameters a stacked matrix was made of."""
    base = matrix.inputs[0] if matrix.op == "transpose" else matrix
    if base.op != "concat":
        return f"  {base.name}" if base.op == "input" else ""
    names = [part.name for part in base.inputs if part.op == "input"]
    return f"  merged: {', '.join(names)}" if names else ""


def _elements(node: Node, sizes: Mapping[str, int]) -> int:
    count = 1
    for dim in node.shape:
        count *= dim.evaluate(sizes)
    return count

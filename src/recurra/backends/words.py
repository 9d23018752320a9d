"""Values of a plan in words: products, operands and sizes as `explain()` names them."""

from collections import Counter
from collections.abc import Iterable, Mapping

from recurra.ir import Node, is_rows, topological
from recurra.show.spelling import TextWriter

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
_LONGEST_MATRIX = 40  # of a matrix that is written out


def product(node: Node, sizes: Mapping[str, int], backward: bool) -> str:
    """A product, a reduction over rows, or a gradient that is one: what is multiplied, and sizes.

    Args:
        backward: what it multiplies are cotangents.
    """
    if node.op == "outer":
        is_sum = any(is_rows(child.shape) for child in node.inputs)
        how = "of all rows, step by step" if is_sum else "one product over all steps"
        return f"weight gradient {shape(node, sizes)}, {how}"
    matrix, operand = node.inputs
    if node.op == "outer_time":
        return f"gradient of a memory {shape(node, sizes)}, one product over all steps"
    if node.op == "rows_dot":
        what = "cotangents" if backward else _operand(operand)
        return f"each row of {_operand(matrix)} {shape(matrix, sizes)} @ {what}"
    if node.op == "weighted_sum":
        return f"the weighted sum of the rows of {_operand(operand)} {shape(operand, sizes)}"
    what = "cotangents" if backward else _operand(operand)
    what = f"each row of {what}" if node.op == "rows_product" else what
    return f"{_matrix(matrix)} {shape(matrix, sizes)} @ {what}"


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


def kinds(nodes: Iterable[Node]) -> str:
    """Values by what makes them: "2 sigmoid, tanh, a sum, h"."""
    return counted(node.name if node.op == "input" else node.op for node in nodes)


def counted(names: Iterable[str]) -> str:
    """Operations by name, equal ones counted: "2 sums, tanh"."""
    return ", ".join(
        f"{count} {_PLURALS.get(name, name)}" if count > 1 else _SINGULARS.get(name, name)
        for name, count in Counter(names).items()
    )


def size(node: Node, sizes: Mapping[str, int]) -> int:
    """How many numbers a value has."""
    count = 1
    for dim in node.shape:
        count *= dim.evaluate(sizes)
    return count


def shape(node: Node, sizes: Mapping[str, int]) -> str:
    """Its shape in numbers: "[12, 6]"."""
    return f"[{', '.join(str(dim.evaluate(sizes)) for dim in node.shape)}]"


def duration(seconds: float) -> str:
    """1.2 ms, or below one 345 us."""
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"


def in_bytes(count: int) -> str:
    """12 B, 3.4 kB, 5.6 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"

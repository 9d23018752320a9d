"""simplify: fold constants and remove what does nothing.

Common subexpressions need no rule: nodes are interned, so equal ones are one node already.
"""

from collections.abc import Callable

from recurra.ir import OPS, Dim, Graph, Group, Node, apply, const, has_rows, rebuild

Rule = Callable[[Node], Node | None]


def simplify(graph: Graph) -> Graph:
    """The graph with every node in its simplest form."""

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        return simplest(apply(node.op, *inputs, **dict(node.attrs))) if inputs else node

    return rebuild(graph, rule)


def simplest(node: Node) -> Node:
    """The node after every rule that holds for it; its inputs are taken to be simple already."""
    while True:
        for rule in (_fold, _RULES.get(node.op)):
            simpler = rule(node) if rule is not None else None
            if simpler is not None and simpler is not node:
                break
        else:
            return node
        node = simpler


def is_const(node: Node, value: float | None = None) -> bool:
    """Whether the node is a number, and this one if `value` is given."""
    return node.op == "const" and (value is None or node.attr("value") == value)


def zeros(shape: tuple[Dim, ...]) -> Node:
    """Zeros of a shape."""
    return apply("expand", const(0.0), shape=shape) if shape else const(0.0)


def is_zeros(node: Node) -> bool:
    """Whether the node is the number 0 or an array of it."""
    return is_const(node, 0.0) or (node.op == "expand" and is_const(node.inputs[0], 0.0))


def _fold(node: Node) -> Node | None:
    value = OPS[node.op].value
    if value is None or not node.inputs or not all(map(is_const, node.inputs)):
        return None
    try:
        return const(value(*(child.attr("value") for child in node.inputs)))
    except (ArithmeticError, ValueError, TypeError):  # TypeError: (-8) ** 0.5 is complex
        return None  # left to the backend, which answers as IEEE arithmetic does


def _shaped(result: Node, like: Node) -> Node | None:
    """`result` if it can stand for `like`: a scalar cannot stand for a vector."""
    return result if result.shape == like.shape else None


def _add(node: Node) -> Node | None:
    a, b = node.inputs
    if is_zeros(a):
        return _shaped(b, node)
    if is_zeros(b):
        return _shaped(a, node)
    return apply("sub", a, b.inputs[0]) if b.op == "neg" else None


def _sub(node: Node) -> Node | None:
    a, b = node.inputs
    if is_zeros(b):
        return _shaped(a, node)
    if is_zeros(a):
        return _shaped(apply("neg", b), node)
    return apply("add", a, b.inputs[0]) if b.op == "neg" else None


def _mul(node: Node) -> Node | None:
    a, b = node.inputs
    if is_const(b) and not is_const(a):
        return apply("mul", b, a)  # numbers first, so that they meet
    if is_const(a, 1.0):
        return b
    if is_const(a, -1.0):
        return apply("neg", b)
    if is_const(a) and b.op == "mul" and is_const(b.inputs[0]):
        return apply("mul", a.attr("value") * b.inputs[0].attr("value"), b.inputs[1])
    # signs go outward, where a sum absorbs them
    for one, other in ((a, b), (b, a)):
        if one.op == "neg":
            return apply("neg", simplest(apply("mul", one.inputs[0], other)))
    return None


def _div(node: Node) -> Node | None:
    a, b = node.inputs
    if is_const(b, 1.0):
        return a
    if a.op == "neg":
        return apply("neg", apply("div", a.inputs[0], b))
    return None


def _neg(node: Node) -> Node | None:
    (a,) = node.inputs
    if a.op == "neg":
        return a.inputs[0]
    return apply("sub", a.inputs[1], a.inputs[0]) if a.op == "sub" else None


def _pow(node: Node) -> Node | None:
    a, b = node.inputs
    if is_const(b, 1.0):
        return a
    if is_const(b, 2.0):
        return apply("mul", a, a)
    if is_const(b, 3.0):
        return apply("mul", simplest(apply("mul", a, a)), a)
    if is_const(b, 0.5):
        return apply("sqrt", a)
    if is_const(b, -1.0):
        return apply("div", 1.0, a)
    return None


def _where(node: Node) -> Node | None:
    condition, a, b = node.inputs
    if is_const(condition):
        return _shaped(a if condition.attr("value") else b, node)
    if is_zeros(a) and is_zeros(b):
        return zeros(node.shape)
    return None


def _transpose(node: Node) -> Node | None:
    (a,) = node.inputs
    if a.op == "transpose":
        return a.inputs[0]
    return apply("outer", *reversed(a.inputs)) if a.op == "outer" else None


def _expand(node: Node) -> Node | None:
    (a,) = node.inputs
    return a if a.shape == node.shape else None


def _sum(node: Node) -> Node | None:
    (a,) = node.inputs
    if a.op == "expand" and a.shape == (Dim.of(1),) and not a.inputs[0].shape:
        return a.inputs[0]
    return a if not a.shape else None


def _slice(node: Node) -> Node | None:
    (a,) = node.inputs
    axis, start, size = node.attr("axis"), node.attr("start"), node.attr("size")
    if start.is_zero and a.shape[axis] == size:
        return a
    if a.op == "slice" and a.attr("axis") == axis:
        return cut(a.inputs[0], axis, a.attr("start") + start, size)
    if a.op == "concat" and a.attr("axis") == axis:
        return _slice_of_concat(a, axis, start, size)
    if a.op == "expand" and (not a.inputs[0].shape or has_rows(a.inputs[0].shape)):
        return apply("expand", a.inputs[0], shape=node.shape)
    return None


def cut(node: Node, axis: int, start: Dim, size: Dim) -> Node:
    """`size` rows (axis 0) or columns (axis 1) of `node`, in simplest form."""
    return simplest(apply("slice", node, axis=axis, start=start, size=size))


def _slice_of_concat(a: Node, axis: int, start: Dim, size: Dim) -> Node | None:
    """The parts that the slice is made of, when it starts and ends where parts do, or what it is
    of the one part that it lies in."""
    at, taken, parts = Dim(), Dim(), []
    for part in a.inputs:
        before, after = start - at, at + part.shape[axis] - start - size
        if before.is_never_negative and after.is_never_negative:
            return cut(part, axis, before, size)
        if parts or at == start:
            parts.append(part)
            taken = taken + part.shape[axis]
            if taken == size:
                return join(parts, axis)
        at = at + part.shape[axis]
    return None


def join(parts: list[Node], axis: int) -> Node:
    """The parts one behind the other, in simplest form."""
    return simplest(apply("concat", *parts, axis=axis))


def _concat(node: Node) -> Node | None:
    axis = node.attr("axis")
    parts: list[Node] = []
    for part in node.inputs:
        nested = part.op == "concat" and part.attr("axis") == axis
        parts.extend(part.inputs if nested else (part,))
    merged: list[Node] = []
    for part in parts:
        joined = _adjacent(merged[-1], part, axis) if merged else None
        if joined is not None:
            merged[-1] = joined
        else:
            merged.append(part)
    if len(merged) == 1:
        return merged[0]
    return apply("concat", *merged, axis=axis) if tuple(merged) != node.inputs else None


def _adjacent(a: Node, b: Node, axis: int) -> Node | None:
    """The slice that two neighbouring slices of one node make together; or the same elementwise
    operation on such slices as one."""
    if is_zeros(a) and is_zeros(b):
        total = a.shape[axis] + b.shape[axis]
        return zeros((*a.shape[:axis], total, *a.shape[axis + 1 :]))
    if a.op == b.op and OPS[a.op].group is Group.ELEMENTWISE and a.attrs == b.attrs:
        if any(len(child.shape) != len(a.shape) for child in (*a.inputs, *b.inputs)):
            return None
        parts = [_adjacent(x, y, axis) for x, y in zip(a.inputs, b.inputs, strict=True)]
        found = [part for part in parts if part is not None]
        whole = len(found) == len(parts)
        return simplest(apply(a.op, *found, **dict(a.attrs))) if whole else None
    both = a.op == b.op == "slice" and a.inputs == b.inputs
    if not both or not a.attr("axis") == b.attr("axis") == axis:
        return None
    if a.attr("start") + a.attr("size") != b.attr("start"):
        return None
    return cut(a.inputs[0], axis, a.attr("start"), a.attr("size") + b.attr("size"))


def _pad(node: Node) -> Node | None:
    (a,) = node.inputs
    if node.attr("before").is_zero and node.attr("after").is_zero:
        return a
    return zeros(node.shape) if is_zeros(a) else None


_BACK = {"vector": "column", "column": "vector", "flatten": "rows", "rows": "flatten"}


def _there_and_back(node: Node) -> Node | None:
    """The same numbers seen as something else and again as what they were."""
    (a,) = node.inputs
    return _shaped(a.inputs[0], node) if a.op == _BACK[node.op] else None


_RULES: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "pow": _pow,
    "where": _where,
    "transpose": _transpose,
    "expand": _expand,
    "sum": _sum,
    "slice": _slice,
    "concat": _concat,
    "pad": _pad,
    **dict.fromkeys(_BACK, _there_and_back),
}

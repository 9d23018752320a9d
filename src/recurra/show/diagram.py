"""A graph as boxes and arrows: what its picture shows, before anything has a place.

A product with a parameter is one box with the parameter's name, a sum of sums is one sum, and a
number stands in the box of the operation that reads it. Values keep the names their author gave.
"""

from dataclasses import dataclass, field
from enum import Enum

from recurra.ir import OPS, Graph, Group, Node, const, is_inside, is_transparent, use_counts
from recurra.show.names import plain_symbol
from recurra.show.spelling import TextWriter

# What an operation is called in its box, where that is not its name.
_SIGNS = {
    "add": "+",
    "sub": "−",
    "mul": "×",
    "div": "÷",
    "neg": "−",
    "pow": "^",
    "sigmoid": "σ",
    "matvec": "@",
    **dict.fromkeys(("blocks_product", "rows_product", "rows_dot", "weighted_sum", "read"), "@"),
    "columns_read": "@",
    "outer_vectors": "⊗",
    "column": "⊗ 1",
    "repeat": "⊗ 1",
    **{f"positions_{name}": name for name in ("softmax", "sum", "max", "mean")},
    "neighbours": "windows",
    "transpose": "ᵀ",
    "minimum": "min",
    "maximum": "max",
    "layer_norm": "LN",
    "le": "≤",
    "ge": "≥",
    "lt": "<",
    "gt": ">",
    "eq": "=",
    "ne": "≠",
}
_COMMUTATIVE = ("add", "mul", "minimum", "maximum", "eq", "ne")


class Kind(Enum):
    """What a box stands for."""

    INPUT = "input"
    STATE = "state"
    PARAMETER = "parameter"
    OPERATION = "operation"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is written: a symbol with its subscript, or the sign of an operation."""

    text: str
    subscript: str = ""
    is_symbol: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One box; its caption is the author's name for the value."""

    kind: Kind
    label: Label
    caption: Label | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """From one place in the list of boxes to another, as which operand (0: order is no matter)."""

    start: int
    stop: int
    operand: int = 0


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes, and arrows between them."""

    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)

    def add(self, box: Box) -> int:
        """Put in a box; its place in the list."""
        self.boxes.append(box)
        return len(self.boxes) - 1


def make_diagram(graph: Graph) -> Diagram:
    """The boxes and arrows of a graph."""
    diagram, places, graph = Diagram(), dict[Node, int](), _named_through(graph)
    inputs, merged = set(graph.inputs), _merged(graph)
    for node in graph.inputs:
        if not _is_parameter(node) and not is_inside(node):
            places[node] = diagram.add(_input_box(node, graph))
    for node in graph.nodes():
        if node in merged or OPS[node.op].group is Group.LEAF:
            continue
        if is_transparent(node):
            places[node] = _place(node.inputs[0], places, diagram)
            continue
        read = [n for n in _operands(node, merged) if n in inputs or n.op != "const"]
        arrows = [_place(operand, places, diagram) for operand in read]
        places[node] = diagram.add(_operation_box(node, graph))
        numbered = len(read) > 1 and node.op not in _COMMUTATIVE
        for number, start in enumerate(arrows, 1):
            operand = number if numbered else 0
            diagram.arrows.append(Arrow(start=start, stop=places[node], operand=operand))
    for name, node in _results(graph):
        start = _place(node, places, diagram)
        label = _symbol("y" if name == "output" else name, "t")
        stop = diagram.add(Box(kind=Kind.OUTPUT, label=label))
        diagram.arrows.append(Arrow(start=start, stop=stop))
    return diagram


def _named_through(graph: Graph) -> Graph:
    """The graph with names of what is no box of its own at what it reads."""
    names = dict(graph.names)
    for node, name in graph.names.items():
        if is_transparent(node) and node not in graph.output_nodes:
            names.setdefault(node.inputs[0], name)
    return Graph(inputs=graph.inputs, outputs=graph.outputs, names=names)


def _results(graph: Graph) -> tuple[tuple[str, Node], ...]:
    """The outputs; that of the layer is left out where it is the first state."""
    outputs = graph.outputs
    repeated = len(outputs) > 1 and outputs[0][0] == "output" and outputs[0][1] is outputs[1][1]
    return outputs[1:] if repeated else outputs


# ---- what becomes one box ------------------------------------------------------------------------


def _merged(graph: Graph) -> set[Node]:
    """Nodes drawn as a part of their reader: sums within sums, and transposed weights."""
    counts, merged = use_counts(graph), set[Node]()
    for node in graph.nodes():
        if _weight(node) and node.inputs[0].op == "transpose":
            merged.add(node.inputs[0])
        if node.op == "add" and not _has_number(node):
            merged.update(
                child
                for child in node.inputs
                if child.op == "add" and not _has_number(child)
                if counts[child] == 1 and child not in graph.names and child not in graph.inputs
            )
    return merged


def _operands(node: Node, merged: set[Node]) -> list[Node]:
    """What arrows come from; the terms of merged sums in their order."""
    if _weight(node):
        return [node.inputs[1]]
    operands: list[Node] = []
    for child in node.inputs:
        if is_inside(child):
            continue
        operands += _operands(child, merged) if child in merged else [child]
    return operands


def _weight(node: Node) -> Label | None:
    """The parameter that a product multiplies by, as a label; None if there is none."""
    if node.op not in ("matvec", "blocks_product", "rows_product"):
        return None
    matrix = node.inputs[0]
    is_transposed = matrix.op == "transpose"
    matrix = matrix.inputs[0] if is_transposed else matrix
    if not _is_parameter(matrix):
        return None
    symbol, subscript = plain_symbol(matrix.name)
    return Label(text=symbol + "ᵀ" * is_transposed, subscript=subscript, is_symbol=True)


def _is_parameter(node: Node) -> bool:
    return node.op == "input" and node.attr("kind") in ("parameter", "array")


def _has_number(node: Node) -> bool:
    return any(child.op == "const" for child in node.inputs)


# ---- boxes ---------------------------------------------------------------------------------------


def _input_box(node: Node, graph: Graph) -> Box:
    if node.op != "input":  # of a graph that a pass has cut
        return Box(kind=Kind.INPUT, label=_symbol(graph.names.get(node, "u"), "t"))
    kind = node.attr("kind")
    time = {"input": "t", "further": "t", "state": "t−1"}.get(kind)
    return Box(kind=Kind.STATE if kind == "state" else Kind.INPUT, label=_symbol(node.name, time))


def _operation_box(node: Node, graph: Graph) -> Box:
    name = graph.names.get(node) if node not in graph.output_nodes else None
    caption = _symbol(name) if name else None
    weight = _weight(node)
    if weight:
        return Box(kind=Kind.PARAMETER, label=weight, caption=caption)
    if node.op == "slice" and caption:
        return Box(kind=Kind.OPERATION, label=caption)
    return Box(kind=Kind.OPERATION, label=Label(text=_sign(node)), caption=caption)


def _sign(node: Node) -> str:
    """The sign of an operation, beside the number that it reads, if it reads one."""
    if node.op == "slice":
        return f"{node.attr('start')} : {node.attr('start') + node.attr('size')}"
    sign = _SIGNS.get(node.op, node.op)
    if not _has_number(node) or len(node.inputs) != 2:
        return sign
    first, second = ("" if child.op != "const" else _number(child) for child in node.inputs)
    return f"{first} {sign} {second}".strip()


def _place(node: Node, places: dict[Node, int], diagram: Diagram) -> int:
    """The box of a value; a parameter or number gets one beside each of its readers."""
    if node in places:
        return places[node]
    if _is_parameter(node):
        return diagram.add(Box(kind=Kind.PARAMETER, label=_symbol(node.name)))
    return diagram.add(Box(kind=Kind.OPERATION, label=Label(text=_number(node))))


def _number(node: Node) -> str:
    """A constant in four figures: a picture shows what is computed, the listing how exactly."""
    value = node.attr("value")
    return TextWriter({}).operand(const(float(f"{value:.4g}")))


def _symbol(name: str, time: str | None = None) -> Label:
    text, subscript = plain_symbol(name, time)
    return Label(text=text, subscript=subscript, is_symbol=True)

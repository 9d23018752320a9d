"""A graph for reading: as text, in the language it was written in, or as a paper's LaTeX."""

from recurra.ir import OPS, Graph, Group, Node, blocks_of, is_inside, is_matrix, is_rows, shape_text
from recurra.show.listing import make_listing
from recurra.show.names import latex_symbol
from recurra.show.spelling import LatexWriter, TextWriter

_HEADINGS = {
    "input": "input",
    "further": "input",
    "state": "state",
    "context": "context",
    "memory": "memory",
    "step": "step index",
    "mask": "random, each step",
    "sequence mask": "random, each sequence",
    "call mask": "random, each call",
    "parameter": "learned",
    "array": "constant",
}


def text(name: str, graph: Graph) -> str:
    """The equations as text: what they read, with sizes, then one assignment a line.

    The assignments are in the language of cells: put into a function, they are the cell again.
    """
    listing = make_listing(graph, graph.names, reassign=True)
    writer = TextWriter({**_input_labels(graph), **listing.names})
    lines = []
    for statement in listing.statements:
        targets = ", ".join(listing.names[node] if node else "_" for node in statement.targets)
        if statement.is_split:
            comma = "," if len(statement.targets) == 1 else ""
            whole, parts = writer.operand(statement.value), len(statement.targets)
            rows = ", dim=0" if is_matrix(statement.value.shape) else ""
            lines.append(f"{targets}{comma} = split({whole}, {parts}{rows})")
        else:
            lines.append(f"{targets} = {writer.value(statement.value)}")
    lines.append("return " + ", ".join(writer.operand(node) for node in listing.results))
    return "\n".join([name, *_header(graph), "", *(f"    {line}" for line in lines)])


def latex(name: str, graph: Graph) -> str:
    r"""The equations as a paper prints them: one aligned block, new states as h_t, old as h_{t-1}.

    It stands in math mode, as in \[ ... \], and needs amsmath, KaTeX or MathJax; its first line is
    a comment with `name`.
    """
    names, repeats = _latex_names(graph)
    listing = make_listing(graph, names, reassign=False)
    varying = _varying(graph)
    taken: dict[str, str] = {}
    labels = _latex_inputs(graph, taken)
    for node, label in listing.names.items():
        changes = node in varying or node in graph.output_nodes
        labels[node] = _distinct(label, "t" if changes else None, taken)
    writer = LatexWriter(labels)
    lines = []
    for statement in listing.statements:
        targets = [labels[node] if node else r"\cdot" for node in statement.targets]
        if statement.is_split:
            stacked = r"\begin{bmatrix} " + r" \\ ".join(targets) + r" \end{bmatrix}"
            lines.append(f"{stacked} &= {writer.operand(statement.value)}")
        else:
            lines.append(f"{targets[0]} &= {writer.value(statement.value)}")
    lines += [f"{latex_symbol(label, 't')} &= {writer.operand(node)}" for label, node in repeats]
    body = " \\\\\n".join(f"  {line}" for line in lines)
    return f"% {name}\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


# ---- what stands above the text ------------------------------------------------------------------


def inputs_by_kind(graph: Graph) -> list[tuple[str, str, list[str]]]:
    """What the equations read: kind and size in words, and the names of what is of both."""
    blocks = {
        node.inputs[0]: node.attr("heads") for node in graph.nodes() if node.op == "blocks_product"
    }
    names: dict[tuple[str, str], list[str]] = {}
    for node, label in _input_labels(graph).items():
        kind = node.attr("kind") if node.op == "input" else "given"
        size = shape_text(node.shape)
        if node in blocks:
            size += f" ({blocks[node]} blocks)"
        elif is_rows(node.shape) and blocks_of(node.shape) > 1:
            size += f" ({blocks_of(node.shape)} blocks)"
        names.setdefault((_HEADINGS.get(kind, kind), size), []).append(label)
    return [(kind, size, labels) for (kind, size), labels in names.items()]


def _header(graph: Graph) -> list[str]:
    """One line for each kind of input and each size."""
    found = inputs_by_kind(graph)
    width = max(len("parameters"), *(len(kind) for kind, _, _ in found))
    lines, above = [], ""
    for kind, size, labels in found:
        shown = kind if kind != above else ""
        lines.append(f"    {shown:<{width}}  {', '.join(labels)} {size}")
        above = kind
    return lines


def _input_labels(graph: Graph) -> dict[Node, str]:
    """What to call the inputs; those of a cut graph may be any nodes."""
    labels: dict[Node, str] = {}
    for place, node in enumerate(graph.inputs, 1):
        if is_inside(node):
            continue  # what is over positions is always within the memory
        own = node.name if node.op == "input" else graph.names.get(node)
        labels[node] = own or f"u{place}"
    return labels


# ---- symbols with an index of time ---------------------------------------------------------------


def _latex_names(graph: Graph) -> tuple[dict[Node, str], list[tuple[str, Node]]]:
    """What to call values: a new state by the state's name, an output y, the rest as the user did.

    Also the results that are no value of their own: an input, a number, or another result again.
    """
    outputs = list(graph.outputs)
    if outputs[0][0] == "output":  # a state is called by its own name first
        first = outputs.pop(0)[1]
        if not outputs or first is not outputs[0][1]:
            outputs.append((graph.names.get(first, "y"), first))
    of_result: dict[Node, str] = {}
    repeats: list[tuple[str, Node]] = []
    for label, node in outputs:
        if node in graph.inputs or node in of_result or OPS[node.op].group is Group.LEAF:
            repeats.append((label, node))
        else:
            of_result[node] = label
    taken = {*of_result.values(), *_input_labels(graph).values()}
    of_user = {
        node: f"{name}_prime" if name in taken else name
        for node, name in graph.names.items()
        if node not in of_result
    }
    return {**of_user, **of_result}, repeats


def _distinct(name: str, time: str | None, taken: dict[str, str]) -> str:
    """The name as a symbol; as it stands in the code where another one has that symbol, as W1 and
    W_1 have. `taken` is what stands for what so far."""
    symbol = latex_symbol(name, time)
    if taken.setdefault(symbol, name) != name:
        code = name.replace("_", r"\_")
        symbol = rf"\mathtt{{{code}}}" + (f"_{{{time}}}" if time else "")
    return symbol


def _latex_inputs(graph: Graph, taken: dict[str, str]) -> dict[Node, str]:
    """The inputs as symbols: x_t, h_{t-1}, and what does not change without an index."""
    labels = {}
    times = {"input": "t", "further": "t", "state": "t-1", "mask": "t"}
    for node, label in _input_labels(graph).items():
        time = times.get(node.attr("kind")) if node.op == "input" else "t"
        labels[node] = _distinct(label, time, taken)
    return labels


def _varying(graph: Graph) -> set[Node]:
    """The nodes that depend on the input, a state or the step."""
    constant = ("parameter", "array", "context", "memory", "positions")
    constant = (*constant, "sequence mask", "call mask")
    varying = {n for n in graph.inputs if n.op != "input" or n.attr("kind") not in constant}
    for node in graph.nodes():
        if any(child in varying for child in node.inputs):
            varying.add(node)
    return varying

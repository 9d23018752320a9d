"""Which cells torch has kernels for, known by their equations, however they are written.

Letters: x input, h state (of an LSTM: its output), c memory of an LSTM; G the number of gates.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from recurra.ir import Graph, Node, apply
from recurra.passes.decompose import decompose
from recurra.passes.products import separate
from recurra.passes.rates import Rate, leaf_rates, rates
from recurra.passes.simplify import is_const, join, simplest, simplify, zeros


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelForm:
    """A cell as torch's kernels take it.

    Attributes:
        mode: of torch.nn: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        order: where h and, for an LSTM, c stand among the cell's states.
        weights: from the cell's parameters to weight_ih [G*H, I], weight_hh [G*H, H], and where
            there are any bias_ih and bias_hh [G*H], and weight_hr [P, H] of a projection.
        biases: whether there are any.
    """

    mode: str
    order: tuple[int, ...]
    weights: Graph
    biases: bool


def form_of(equations: Graph) -> KernelForm | None:
    """The form of a cell whose equations are those of a kernel; None for any other cell."""
    graph = simplify(separate(simplify(decompose(equations))))
    leaves = {kind: [n for n in graph.inputs if n.attr("kind") == kind] for kind in _KINDS}
    states = leaves["state"]
    if len(leaves["input"]) != 1 or sum(map(len, leaves.values())) != len(graph.inputs):
        return None
    if len(states) not in (1, 2) or graph.output("output") not in graph.output_nodes[1:]:
        return None
    read = _Reader(graph, leaves["input"][0], states)
    for recognize in (_lstm, _gru, _rnn):
        gates = recognize(read)
        if gates is not None:
            return gates
    return None


_KINDS = ("input", "state", "parameter")


# ---- patterns ------------------------------------------------------------------------------------

# What a node is held against: a node is itself alone, a function takes any node it is true of, a
# string is a name for whatever stands there, and a tuple is an operation on such patterns.
Pattern = Node | str | tuple | Callable[[Node], bool]
Found = dict[str, Node]

_COMMUTES = ("add", "mul")


def _matches(pattern: Pattern, node: Node, found: Found) -> Iterable[Found]:
    """Every way in which a node has the form of a pattern, `found` being settled already."""
    if isinstance(pattern, Node):
        if node is pattern:
            yield found
    elif isinstance(pattern, str):
        if found.get(pattern, node) is node:
            yield {**found, pattern: node}
    elif isinstance(pattern, tuple):
        op, *parts = pattern
        if node.op == op and len(node.inputs) == len(parts):
            orders = [node.inputs, node.inputs[::-1]] if op in _COMMUTES else [node.inputs]
            for order in orders:
                yield from _all_match(parts, order, found)
    elif pattern(node):
        yield found


def _all_match(patterns: list[Pattern], nodes: tuple[Node, ...], found: Found) -> Iterable[Found]:
    if not patterns:
        yield found
        return
    for each in _matches(patterns[0], nodes[0], found):
        yield from _all_match(patterns[1:], nodes[1:], each)


def _first(patterns: Iterable[Pattern], node: Node) -> Found | None:
    """How the node has the form of one of the patterns."""
    return next((found for pattern in patterns for found in _matches(pattern, node, {})), None)


def _one_minus(pattern: Pattern) -> Pattern:
    return ("sub", lambda node: is_const(node, 1.0), pattern)


# ---- sums of products ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Affine:
    """W_x @ x + W_h @ v + biases; each matrix or None, and the biases in their order."""

    of_x: Node | None
    of_h: Node | None
    biases: tuple[Node, ...]

    def negated(self) -> "_Affine":
        """What gives minus as much."""
        minus = [
            None if node is None else simplest(apply("neg", node))
            for node in (self.of_x, self.of_h, *self.biases)
        ]
        biases = tuple(node for node in minus[2:] if node is not None)
        return _Affine(of_x=minus[0], of_h=minus[1], biases=biases)


class _Reader:
    """The equations of a cell, and what of them is known once a call."""

    def __init__(self, graph: Graph, x: Node, states: list[Node]) -> None:
        self.graph = graph
        self.x = x
        self.states = states
        self.rates: Mapping[Node, Rate] = rates(graph, leaf_rates(graph))

    def new(self, state: Node) -> Node:
        """The value of a state after the step."""
        return self.graph.output(state.name)

    def affine(self, node: Node, h: Node) -> _Affine | None:
        """A sum of products of x and of h with matrices, and of biases; None if it is another."""
        terms: dict[Node | None, list[tuple[Node, int]]] = {self.x: [], h: [], None: []}
        if not self._collect(node, 1, terms):
            return None
        of_x, of_h = _sum(terms[self.x]), _sum(terms[h])
        biases = tuple(_signed(bias, sign) for bias, sign in terms[None])
        return _Affine(of_x=of_x, of_h=of_h, biases=biases)

    def _collect(
        self, node: Node, sign: int, terms: dict[Node | None, list[tuple[Node, int]]]
    ) -> bool:
        """Add the terms of a sum; False where one is of another kind."""
        if self.rates[node] is Rate.ONCE and len(node.shape) == 1:
            terms[None].append((node, sign))
            return True
        if node.op in ("add", "sub"):
            second = sign if node.op == "add" else -sign
            a, b = node.inputs
            whole = a.shape == b.shape == node.shape  # a number added to all would be no bias
            return whole and self._collect(a, sign, terms) and self._collect(b, second, terms)
        if node.op == "neg":
            return self._collect(node.inputs[0], -sign, terms)
        is_product = node.op == "matvec" and self.rates[node.inputs[0]] is Rate.ONCE
        if is_product and node.inputs[1] in terms:
            terms[node.inputs[1]].append((node.inputs[0], sign))
            return True
        return False


def _signed(node: Node, sign: int) -> Node:
    return node if sign > 0 else simplest(apply("neg", node))


def _sum(terms: list[tuple[Node, int]]) -> Node | None:
    total: Node | None = None
    for node, sign in terms:
        one = _signed(node, sign)
        total = one if total is None else simplest(apply("add", total, one))
    return total


# ---- the cells that torch has --------------------------------------------------------------------


def _lstm(read: _Reader) -> KernelForm | None:
    """c = sigmoid(f) * c + sigmoid(i) * tanh(g); h = sigmoid(o) * tanh(c), or weight_hr @ that."""
    if len(read.states) != 2:
        return None
    for h, c in (read.states, read.states[::-1]):
        new_c, new_h = read.new(c), read.new(h)
        if read.graph.output("output") is not new_h:
            continue
        memory = ("add", ("mul", ("sigmoid", "f"), c), ("mul", ("sigmoid", "i"), ("tanh", "g")))
        found = _first([memory], new_c)
        gated = ("mul", ("sigmoid", "o"), ("tanh", new_c))
        out = _first([gated, ("matvec", "projection", gated)], new_h)
        if found is None or out is None:
            continue
        projection = out.get("projection")
        if projection is not None and read.rates[projection] is not Rate.ONCE:
            continue
        gates = [read.affine(node, h) for node in (found["i"], found["f"], found["g"], out["o"])]
        order = (read.states.index(h), read.states.index(c))
        return _form("LSTM", order, read, h, gates, projection=projection)
    return None


def _gru(read: _Reader) -> KernelForm | None:
    """h = (1 - z) * n + z * h with n = tanh(a + r * b): the reset gate follows its product."""
    if len(read.states) != 1:
        return None
    (h,) = read.states
    new = read.new(h)
    keeps: list[Pattern] = [  # z keeps the old state
        ("add", ("mul", _one_minus("z"), "n"), ("mul", "z", h)),
        ("add", "n", ("mul", "z", ("sub", h, "n"))),
    ]
    takes: list[Pattern] = [  # z takes the new one
        ("add", ("mul", _one_minus("z"), h), ("mul", "z", "n")),
        ("add", h, ("mul", "z", ("sub", "n", h))),
    ]
    for patterns, sign in ((keeps, 1), (takes, -1)):
        found = _first(patterns, new)
        if found is None:
            continue
        z = _first([("sigmoid", "a")], found["z"])
        n = _first([("tanh", ("add", "of_x", ("mul", ("sigmoid", "r"), "of_h")))], found["n"])
        if z is None or n is None:
            continue
        update = read.affine(z["a"], h)
        gates = [read.affine(n["r"], h), update and (update if sign > 0 else update.negated())]
        new_x, new_h = read.affine(n["of_x"], h), read.affine(n["of_h"], h)
        if new_x is None or new_x.of_h is not None or new_h is None or new_h.of_x is not None:
            return None
        return _form("GRU", (0,), read, h, gates, apart=(new_x, new_h))
    return None


def resets_before_product(equations: Graph) -> bool:
    """Whether it is a GRU as of Cho et al. (2014), whose matrix multiplies the state behind r."""
    graph = simplify(separate(simplify(decompose(equations))))
    leaves = {kind: [n for n in graph.inputs if n.attr("kind") == kind] for kind in _KINDS}
    if len(leaves["input"]) != 1 or len(leaves["state"]) != 1:
        return False
    (h,) = leaves["state"]
    read = _Reader(graph, leaves["input"][0], leaves["state"])
    mixed: list[Pattern] = [
        ("add", ("mul", keep, kept), ("mul", let, "n"))
        for keep, kept, let in (
            (("sigmoid", "z"), h, _one_minus(("sigmoid", "z"))),
            (_one_minus(("sigmoid", "z")), h, ("sigmoid", "z")),
        )
    ]
    found = _first(mixed, read.new(h))
    behind = ("matvec", "U", ("mul", ("sigmoid", "r"), h))
    gates = [found["z"]] if found else []
    for node in graph.nodes():
        reset = _first([behind], node)
        gates += [reset["r"]] if reset else []
    known = [read.affine(gate, h) for gate in gates]
    return len(set(gates)) == len(known) == 2 and all(
        gate and gate.of_x and gate.of_h for gate in known
    )


def _rnn(read: _Reader) -> KernelForm | None:
    """h = tanh(W_x @ x + W_h @ h + b), or relu of it."""
    if len(read.states) != 1:
        return None
    (h,) = read.states
    new = read.new(h)
    for mode, function in (("RNN_TANH", "tanh"), ("RNN_RELU", "relu")):
        found = _first([(function, "a")], new)
        if found is not None:
            return _form(mode, (0,), read, h, [read.affine(found["a"], h)])
    return None


def _form(
    mode: str,
    order: tuple[int, ...],
    read: _Reader,
    h: Node,
    gates: list[_Affine | None],
    *,
    apart: tuple[_Affine, _Affine] | None = None,
    projection: Node | None = None,
) -> KernelForm | None:
    """The form with these gates one behind the other; None where a gate is no affine map.

    Args:
        apart: the GRU's last gate, whose products with x and with h are added later.
    """
    known = [gate for gate in gates if gate is not None]
    if len(known) != len(gates):
        return None
    size = read.states[order[-1]].shape  # [H], of a projected LSTM that of c
    of_x = [(gate.of_x, size) for gate in known]
    of_h = [(gate.of_h, size) for gate in known]
    first = [gate.biases[:1] for gate in known]
    second = [gate.biases[1:] for gate in known]
    if apart is not None:
        of_x.append((apart[0].of_x, size))
        of_h.append((apart[1].of_h, size))
        first.append(apart[0].biases)
        second.append(apart[1].biases)
    outputs = [
        ("weight_ih", join([_matrix(m, s, read.x) for m, s in of_x], 0)),
        ("weight_hh", join([_matrix(m, s, h) for m, s in of_h], 0)),
    ]
    biases = any(first) or any(second)
    if biases:
        for name, parts in (("bias_ih", first), ("bias_hh", second)):
            outputs.append((name, join([_vector(part, size) for part in parts], 0)))
    if projection is not None:
        outputs.append(("weight_hr", projection))
    parameters = tuple(node for node in read.graph.inputs if node.attr("kind") == "parameter")
    return KernelForm(
        mode=mode,
        order=order,
        weights=Graph(inputs=parameters, outputs=tuple(outputs)),
        biases=biases,
    )


def _matrix(matrix: Node | None, size: tuple, operand: Node) -> Node:
    return zeros((*size, *operand.shape)) if matrix is None else matrix


def _vector(biases: tuple[Node, ...], size: tuple) -> Node:
    total = _sum([(bias, 1) for bias in biases])
    return zeros(size) if total is None else total

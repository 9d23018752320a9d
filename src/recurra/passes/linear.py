"""linear: which cells are linear in their state, unit by unit, so that a scan can run them.

Such a step is s_t = a_t * s_{t-1} + b_t with a_t and b_t made of the input alone (Martin, Cundy
(2018), "Parallelizing Linear Recurrent Neural Nets Over Sequence Length", arXiv:1709.04057): all of
its products leave the loop. States may follow one another: once the values of one are known for all
steps, they count as input for the next.
"""

from recurra.ir import Graph, Node, has_own_rows

_INDEPENDENT, _LINEAR, _OTHERWISE = range(3)


def is_linear(graph: Graph) -> bool:
    """Whether every state of a cell follows from the input by scans over time.

    A matrix state does not: a scan would hold a matrix for each step.
    """
    states = {node.name: node for node in graph.inputs if _is_state(node)}
    if any(has_own_rows(node.shape) for node in states.values()):
        return False
    known: set[Node] = set()
    while len(known) < len(states):
        found = {
            state
            for name, state in states.items()
            if state not in known and _follows(graph, state, graph.output(name), known)
        }
        if not found:
            return False
        known |= found
    return True


def _is_state(node: Node) -> bool:
    return node.op == "input" and node.attr("kind") == "state"


def _follows(graph: Graph, state: Node, new: Node, known: set[Node]) -> bool:
    """Whether `new` is linear in `state`, unit by unit, and reads no state but those known."""
    degree = dict.fromkeys(graph.inputs, _INDEPENDENT)
    degree.update({n: _OTHERWISE for n in graph.inputs if _is_state(n) and n not in known})
    degree[state] = _LINEAR
    for node in graph.nodes():
        degree[node] = _degree(node, [degree[child] for child in node.inputs])
    return degree[new] <= _LINEAR


def _degree(node: Node, inputs: list[int]) -> int:
    """How a value depends on the state, from how its operands do."""
    if max(inputs, default=_INDEPENDENT) == _INDEPENDENT:
        return _INDEPENDENT
    linear = {
        "neg": True,
        "add": True,
        "sub": True,
        "mul": _INDEPENDENT in inputs,
        "div": inputs[-1] == _INDEPENDENT,
        "where": inputs[0] == _INDEPENDENT,
    }
    return max(inputs) if linear.get(node.op, False) else _OTHERWISE

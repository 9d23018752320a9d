"""Attention for any cell: a read of a memory beside its input.

```python
from recurra import Recurrent, compose

layer = Recurrent(compose.attend("lstm"), 64, 256, sizes={"K": 128})
y, state = layer(x, memory=m)
```
"""

from collections.abc import Mapping

from recurra.compose.composers import doc_with, fresh, spelled
from recurra.errors import CellError
from recurra.ir import POSITIONS, Dim, Shape
from recurra.lang import Cell, concat, expand, mean, softmax, sqrt, tanh
from recurra.lang import sum as total
from recurra.lang.composition import Composition, composed
from recurra.lang.symbols import Symbol

_SCORES = ("additive", "dot", "scaled_dot", "general", "mean")


@spelled
def attend(base: Cell, score: str = "additive", *, state: str | None = None) -> Cell:
    """The cell reads a memory: what its old state attends to stands beside the input.

    Source: Bahdanau, Cho, Bengio (2015), arXiv:1409.0473, appendix A.1.2 and A.2.2 (additive:
    v tanh(W h + U m)); Luong, Pham, Manning (2015), arXiv:1508.04025, section 3.1 (dot: m h;
    general: (W m) h); Vaswani et al. (2017), arXiv:1706.03762, eq. 1 (scaled_dot: m h / sqrt(H)).

    Args:
        base: the cell.
        score: how a position is scored: "additive", "dot", "scaled_dot" or "general". The memory's
            vectors are of the size of the state for dot and scaled_dot, else of size K. With "mean"
            nothing is scored, and the mean of the memory is read: of one vector that vector, as a
            decoder reads a summary at each step in Cho et al. (2014), arXiv:1406.1078.
        state: the state that attends; None for the first.

    Raises:
        CellError: when the cell has no input, no such state, or a memory already.
    """
    state = base.states[0] if state is None else state
    shapes = {node.name: node.shape for node in base.equations.inputs}
    if base.input is None or base.memory:
        has = f"reads {', '.join(base.memory)}" if base.memory else "has no input"
        raise CellError(
            f"attend: expected a cell that reads x and no memory, got {base.name}, "
            f"which {has}. Write its attention into its equations."
        )
    if state not in base.states or len(shapes[state]) != 1:
        vectors = [name for name in base.states if len(shapes[name]) == 1]
        use = (
            f"Use state= one of {', '.join(vectors)}." if vectors else "Such a cell cannot attend."
        )
        raise CellError(
            f"attend: expected a state of {base.name} that is a vector, got {state!r}. {use}"
        )
    if score not in _SCORES:
        raise CellError(
            f"attend: expected one of {', '.join(_SCORES)} as score, got {score!r}. Use one."
        )
    m, W, U, v = (fresh(base, name) for name in ("m", "W_a", "U_a", "v_a"))
    alpha, read_name = fresh(base, "alpha"), fresh(base, "read")
    K, A = (_size(base, name) for name in "KA")
    (H,), (I,) = shapes[state], shapes[base.input]  # noqa: E741 - the input size
    parameters: dict[str, dict[str, Shape]] = {
        "additive": {W: (A, H), U: (A, K), v: (A,)},
        "general": {W: (H, K)},
    }
    of_memory = H if score in ("dot", "scaled_dot") else K

    def feed(given: Mapping[str, Symbol]) -> dict[str, Symbol]:
        h, rows = given[state], given[m]
        if score == "mean":
            read = mean(rows, dim=0)
            h.trace.names[read] = read_name
            return {str(base.input): concat(given[str(base.input)], read)}
        if score == "additive":
            scores = tanh(given[W] @ h + given[U] @ rows) @ given[v]
        elif score == "general":
            scores = (given[W] @ rows) @ h
        else:
            scores = rows @ h
            if score == "scaled_dot":
                scores = scores / sqrt(total(expand(1, str(H))))
        weights = softmax(scores)
        read = weights @ rows
        h.trace.names.update({weights: alpha, read: read_name})
        return {str(base.input): concat(given[str(base.input)], read)}

    how = Composition(
        name=f"attend_{base.name}",
        doc=doc_with(base, f"{score.replace('_', ' ')} attention to a memory beside its input"),
        composer=attend,
        options={"score": score, "state": state},
        parameters=parameters.get(score, {}),
        memory={m: (POSITIONS, of_memory)},
        feed=feed,
        sizes={"I": I + of_memory},
        shapes={str(base.input): (I,)},
        default_sizes={str(A): str(H)} if score == "additive" else {},
    )
    return composed(base, how)


def _size(base: Cell, name: str) -> Dim:
    """A size that the cell does not have, called by a letter."""
    names = (name, *(f"{name}_{number}" for number in range(2, 99)))
    return Dim.named(next(free for free in names if free not in base.size_names))

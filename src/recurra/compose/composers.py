"""Composers: a cell in, a cell out, with what the literature adds to any recurrence.

```python
from recurra import Recurrent, cells, compose

cell = compose.layer_norm(compose.zoneout(cells.lstm, 0.1))
layer = Recurrent(cell, 64, 256)
```

They change the equations, so the compiler sees one recurrence, whatever was composed. Random masks
are drawn by the layer in training, with torch's generator: a seed gives the same ones again. In
evaluation each is its mean.
"""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from numbers import Real
from typing import Any, Concatenate, ParamSpec
from weakref import WeakKeyDictionary

from recurra.compose.spelling import COMPOSERS, resolved
from recurra.errors import CellError
from recurra.ir import OPS, Group, Node, Shape, shape_text, topological
from recurra.lang import Cell, sigmoid
from recurra.lang import composition as made_of_cells
from recurra.lang import layer_norm as normalised
from recurra.lang.composition import Composition, NamedSymbols, composed
from recurra.lang.masks import choosing, dropping
from recurra.lang.symbols import Symbol

Arguments = ParamSpec("Arguments")
_CANDIDATES = ("g", "h_tilde", "z")  # what the registry's cells call what they write


def spelled(
    composer: Callable[Concatenate[Cell, Arguments], Cell],
) -> Callable[Concatenate[Cell | str, Arguments], Cell]:
    """The composer, which takes the spelling of a cell as well, and is one that can be spelled."""

    @wraps(composer)
    def named(base: Cell | str, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Cell:
        return composer(resolved(f"compose.{composer.__name__}", base), *args, **kwargs)

    COMPOSERS[composer.__name__] = named
    return named


@spelled
def replace(base: Cell, name: str, doc: str = "", /, **values: Any) -> Cell:
    """`recurra.lang.replace`, which takes the spelling of a cell as well."""
    return made_of_cells.replace(base, name, doc, **values)


# ---- normalisation -------------------------------------------------------------------------------


@spelled
def layer_norm(base: Cell, *, each_product: bool = False, memory: bool = True) -> Cell:
    """Layer normalisation of what the matrices give, with a gain for each unit.

    Each matrix is normalised over its own rows: over the units of a gate, and over all gates in
    cells that stack them in one matrix, as the paper's LSTM does.

    Source: Ba, Kiros, Hinton (2016), "Layer Normalization", arXiv:1607.06450: eq. (4) for the sum
    of all products in a gate; eq. (20)-(22), for the LSTM, normalise the product with the input and
    that with the state each by itself, and the memory where the output reads it.

    Args:
        base: the cell.
        each_product: normalise each product by itself, not the sum that it stands in. The biases
            of the cell serve both as the paper's.
        memory: with `each_product`, normalise also the memory under the tanh of the output.

    Raises:
        CellError: when no matrix multiplies a vector in the cell.
    """
    places = _products(base) if each_product else _sums_of_products(base)
    if not places:
        raise CellError(f"layer_norm: expected a cell with products, got {base.name}. It has none.")
    squashed = _squashed_memories(base) if each_product and memory else {}
    labelled = {**places, **squashed}
    of_gain, of_bias = _fresh_for(base, "gain", labelled), _fresh_for(base, "bias", squashed)

    def edit(node: Node, symbol: Symbol, values: NamedSymbols) -> Symbol:
        if node not in of_gain:
            return symbol
        gain = values.old(of_gain[node])
        if node not in of_bias:
            return normalised(symbol, gain)
        (memory,) = node.inputs
        return values.made(node, (normalised(values.of(memory), gain, values.old(of_bias[node])),))

    names = {**{of_gain[n]: n.shape for n in of_gain}, **{of_bias[n]: n.shape for n in of_bias}}
    how = Composition(
        name=f"layer_norm_{base.name}",
        doc=doc_with(base, "layer normalisation (Ba et al., 2016)"),
        composer=layer_norm,
        options={"each_product": each_product, "memory": memory},
        edit=edit,
        parameters=names,
        init={**dict.fromkeys(of_gain.values(), 1.0), **dict.fromkeys(of_bias.values(), 0.0)},
    )
    return composed(base, how)


def _products(base: Cell) -> dict[Node, str]:
    """Products with vectors, each with the name of its matrix."""
    found: dict[Node, str] = {}
    for node in base.equations.nodes():
        if _is_product(node):
            found[node] = _matrix_name(node)
    return found


def _sums_of_products(base: Cell) -> dict[Node, str]:
    """The largest sums of products alone, each with the name of the first matrix in it.

    In W @ x + U @ h + b that is W @ x + U @ h: gain and bias come after the normalisation.
    """
    nodes = base.equations.nodes()
    is_sum: dict[Node, bool] = {}
    for node in nodes:
        is_sum[node] = _is_product(node) or (
            node.op == "add" and all(is_sum.get(child, False) for child in node.inputs)
        )
    inner = {
        child for node in nodes if is_sum[node] and not _is_product(node) for child in node.inputs
    }
    return {n: _matrix_name(_first_product(n)) for n in nodes if is_sum[n] and n not in inner}


def _is_product(node: Node) -> bool:
    return node.op in ("matvec", "blocks_product") and len(node.shape) == 1


def _first_product(node: Node) -> Node:
    while not _is_product(node):
        node = node.inputs[0]
    return node


def _matrix_name(product: Node) -> str:
    """The name of the parameter that a product multiplies by, or of the first it is made of."""
    leaves = (node for node in topological([product.inputs[0]]) if node.op == "input")
    return next((leaf.name for leaf in leaves), "matrix")


def _squashed_memories(base: Cell) -> dict[Node, str]:
    """Where the equations squash a new state, as in o * tanh(c), with the state's name."""
    state_of = {node: name for name, node in base.equations.outputs if name in base.states}
    return {
        node: state_of[node.inputs[0]]
        for node in base.equations.nodes()
        if node.op == "tanh" and node.inputs[0] in state_of
    }


# ---- random masks --------------------------------------------------------------------------------


@spelled
def zoneout(base: Cell, p: float = 0.1, states: Sequence[str] | None = None) -> Cell:
    """Zoneout: a unit keeps its state of the step before with probability `p`.

    Source: Krueger, Maharaj, Kramar et al. (2017), "Zoneout: Regularizing RNNs by Randomly
    Preserving Hidden Activations", ICLR, arXiv:1606.01305, section 3.2.

    Args:
        base: the cell.
        p: the probability; in evaluation a state moves by 1 - p of its change.
        states: which of its states; None for all. The output is the first state as it is kept,
            unless the cell has an output of its own.
    """
    chosen = _states(base, "zoneout", p, states)
    mask_of = {state: fresh(base, f"zoneout_{state}") for state in chosen}

    def finish(values: NamedSymbols, returned: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
        first = len(returned) - len(base.states)
        news = list(returned)
        for place, state in enumerate(base.states, first):
            if state in mask_of:
                keep = values.old(mask_of[state])
                news[place] = keep * values.old(state) + (1 - keep) * news[place]
        return tuple(news)

    how = Composition(
        name=f"zoneout_{base.name}",
        doc=doc_with(base, f"zoneout of {', '.join(chosen)} (Krueger et al., 2017)"),
        composer=zoneout,
        options={"p": p, "states": list(chosen)},
        finish=finish,
        masks={mask_of[s]: choosing(p, _state_shape(base, s), "step") for s in chosen},
    )
    return composed(base, how)


@spelled
def recurrent_dropout(base: Cell, p: float = 0.25, of: str | None = None) -> Cell:
    """Dropout of what is written to the state, and of nothing that is kept in it.

    Source: Semeniuta, Severyn, Barth (2016), "Recurrent Dropout without Memory Loss", COLING,
    arXiv:1603.05118, eq. (7) for the LSTM's g and section 3.2 for the GRU's candidate.

    Args:
        base: the cell.
        p: the probability of dropping a unit at a step.
        of: the name of the value that is dropped; None for g, h_tilde or z, whichever the cell has.

    Raises:
        CellError: when the cell has no value of that name.
    """
    _check(base, "recurrent_dropout", p)
    named = {name: node for node, name in base.equations.names.items()}
    names = [name for name in ([of] if of else _CANDIDATES) if name in named]
    if not names:
        raise CellError(
            f"recurrent_dropout: expected a value of {base.name} to drop, got "
            f"{of or 'none of ' + ', '.join(_CANDIDATES)}. Give of= one of {', '.join(named)}."
        )
    node, mask = named[names[0]], fresh(base, f"drop_{names[0]}")

    def edit(at: Node, symbol: Symbol, values: NamedSymbols) -> Symbol:
        return symbol * values.old(mask) if at is node else symbol

    how = Composition(
        name=f"recurrent_dropout_{base.name}",
        doc=doc_with(base, f"dropout of {names[0]} (Semeniuta et al., 2016)"),
        composer=recurrent_dropout,
        options={"p": p, "of": names[0]},
        edit=edit,
        masks={mask: dropping(p, node.shape, "step")},
    )
    return composed(base, how)


@spelled
def variational_dropout(base: Cell, p: float = 0.25, *, of_input: float | None = None) -> Cell:
    """Dropout of what the matrices read, by one mask for a whole sequence.

    Each product reads the input and the states through masks that stay the same from step to step
    of a call. A layer in training draws new ones at each call: for each window of truncated
    backpropagation, and taken step by step for each step, which is then said once.

    Source: Gal, Ghahramani (2016), "A Theoretically Grounded Application of Dropout in Recurrent
    Neural Networks", NeurIPS, arXiv:1512.05287, eq. (7); one mask for all gates, as its untied
    weights with tied masks.

    Args:
        base: the cell.
        p: the probability of dropping a unit of a state.
        of_input: the probability of dropping a feature of the input; None for `p`.
    """
    _check(base, "variational_dropout", p)
    rate_of = dict.fromkeys(base.states, p)
    if base.input is not None:
        rate_of[base.input] = p if of_input is None else of_input
        _check(base, "variational_dropout", rate_of[base.input])
    leaves = {n: fresh(base, f"drop_{n.name}") for n in base.equations.inputs if n.name in rate_of}
    read = _read_by_products(base)
    leaves = {n: mask for n, mask in leaves.items() if n in read and rate_of[n.name] > 0}
    masked: WeakKeyDictionary[NamedSymbols, dict[Node, Symbol]] = WeakKeyDictionary()

    def dropped(node: Node, values: NamedSymbols) -> Symbol:
        """The value with masks on what it is made of, down to the products in it."""
        known = masked.setdefault(values, {})
        if node not in known:
            if node in leaves:
                known[node] = values.of(node) * values.old(leaves[node])
            else:
                known[node] = values.of(node)
                before = tuple(values.of(child) for child in node.inputs)
                after = tuple(dropped(child, values) for child in node.inputs)
                if _passes_masks(node) and not all(map(operator.is_, before, after)):
                    known[node] = values.made(node, after)
        return known[node]

    def edit(node: Node, symbol: Symbol, values: NamedSymbols) -> Symbol:
        if not _is_product(node):
            return symbol
        matrix, operand = node.inputs
        return values.made(node, (values.of(matrix), dropped(operand, values)))

    how = Composition(
        name=f"variational_dropout_{base.name}",
        doc=doc_with(base, "dropout by one mask for a sequence (Gal, Ghahramani, 2016)"),
        composer=variational_dropout,
        options={"p": p, "of_input": of_input},
        edit=edit,
        masks={
            mask: dropping(rate_of[node.name], node.shape, "sequence")
            for node, mask in leaves.items()
        },
    )
    return composed(base, how)


def _read_by_products(base: Cell) -> set[Node]:
    """The leaves that products read, other products left out."""
    found: set[Node] = set()
    stack = [node.inputs[1] for node in base.equations.nodes() if _is_product(node)]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack += node.inputs if _passes_masks(node) else ()
    return found


def _passes_masks(node: Node) -> bool:
    """Whether a mask on an operand is a mask on what is read; a gate is made of products."""
    return bool(node.inputs) and (
        OPS[node.op].group is Group.ELEMENTWISE or node.op in ("concat", "slice")
    )


@spelled
def weight_drop(base: Cell, p: float = 0.5, matrices: Sequence[str] | None = None) -> Cell:
    """DropConnect of matrices that read a state: their entries are dropped, once a call.

    A layer in training draws which at each call: for each window of truncated backpropagation, and
    taken step by step for each step, which is then said once.

    Source: Merity, Keskar, Socher (2018), "Regularizing and Optimizing LSTM Language Models", ICLR,
    arXiv:1708.02182, section 2 (the AWD-LSTM), after Wan et al. (2013).

    Args:
        base: the cell.
        p: the probability of dropping an entry.
        matrices: their names; None for every matrix that multiplies something made of a state.

    Raises:
        CellError: when the cell has no such matrix.
    """
    _check(base, "weight_drop", p)
    recurrent = _recurrent_matrices(base)
    chosen = recurrent if matrices is None else list(matrices)
    shapes = {name: shape for name, shape in base.parameters.items() if len(shape) == 2}
    unknown = [name for name in chosen if name not in shapes]
    if unknown or not chosen:
        raise CellError(
            f"weight_drop: expected matrices of {base.name}, got {', '.join(unknown) or 'none'}. "
            f"Give some of {', '.join(shapes)}."
        )
    mask_of = {name: fresh(base, f"drop_{name}") for name in chosen}
    leaves = {n: mask_of[n.name] for n in base.equations.inputs if n.name in mask_of}

    def edit(node: Node, symbol: Symbol, values: NamedSymbols) -> Symbol:
        if node.op not in ("matvec", "blocks_product") or node.inputs[0] not in leaves:
            return symbol
        matrix, operand = node.inputs
        dropped = values.of(matrix) * values.old(leaves[matrix])
        return values.made(node, (dropped, values.of(operand)))

    how = Composition(
        name=f"weight_drop_{base.name}",
        doc=doc_with(base, f"dropped entries of {', '.join(chosen)} (Merity et al., 2018)"),
        composer=weight_drop,
        options={"p": p, "matrices": list(chosen)},
        edit=edit,
        masks={mask_of[name]: dropping(p, shapes[name], "call") for name in chosen},
    )
    return composed(base, how)


def _recurrent_matrices(base: Cell) -> list[str]:
    """The parameters that multiply something that depends on a state."""
    varying = {n for n in base.equations.inputs if n.name in base.states}
    learned = {n for n in base.equations.inputs if n.name in base.parameters}
    found: dict[str, None] = {}
    for node in base.equations.nodes():
        if any(child in varying for child in node.inputs):
            varying.add(node)
            if _is_product(node) and node.inputs[0] in learned:
                found[node.inputs[0].name] = None
    return list(found)


# ---- connections between layers ------------------------------------------------------------------


@spelled
def residual(base: Cell) -> Cell:
    """The input is added to the output, which must have its size.

    Source: He, Zhang, Ren, Sun (2016), "Deep Residual Learning for Image Recognition", CVPR,
    arXiv:1512.03385, eq. (1); between recurrent layers Wu et al. (2016), arXiv:1609.08144, eq. (6).
    """
    return _around(base, residual, "a residual connection around it", lambda v, x, y: x + y)


@spelled
def highway(base: Cell) -> Cell:
    """A gate that reads the input mixes it with the output, which must have its size.

    Source: Srivastava, Greff, Schmidhuber (2015), "Highway Networks", arXiv:1505.00387, eq. (3);
    the gate's bias starts at -2, as in section 2.2.
    """
    weight, bias = fresh(base, "W_gate"), fresh(base, "b_gate")

    def mixed(values: NamedSymbols, x: Symbol, y: Symbol) -> Symbol:
        gate = sigmoid(values.old(weight) @ x + values.old(bias))
        return gate * y + (1 - gate) * x

    return _around(base, highway, "a highway around it", mixed, weight, bias)


def _around(
    base: Cell,
    composer: Callable[..., Cell],
    what: str,
    mixed: Callable[[NamedSymbols, Symbol, Symbol], Symbol],
    *gate: str,
) -> Cell:
    """The cell with an output that is made of the input and the output of `base`."""
    name = composer.__name__
    if base.input is None:
        raise CellError(f"{name}: expected a cell with an input, got {base.name}, which has none.")
    if not base.equations.output("output").shape:
        raise CellError(
            f"{name}: expected a cell whose output is of the size of its input, got {base.name}, "
            f"whose output is a scalar. Return a vector, expand(s, 'I') for a scalar s."
        )
    x = base.input

    def finish(values: NamedSymbols, returned: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
        y, *states = returned if base.options.output else (returned[0], *returned)
        return (mixed(values, values.old(x), y), *states)

    size = base.output_size
    shapes = ((size, size), (size,))
    how = Composition(
        name=f"{name}_{base.name}",
        doc=doc_with(base, what),
        composer=composer,
        finish=finish,
        output=True,
        parameters=dict(zip(gate, shapes, strict=False)),
        sizes={"I": size},
        init=dict(zip(gate[1:], (-2.0,), strict=False)),
    )
    return composed(base, how)


@spelled
def peephole(base: Cell, memory: str = "c", gates: Sequence[str] = ("i", "f", "o")) -> Cell:
    """Gates see the memory: those that make the new memory the old one, the others the new one.

    Source: Gers, Schraudolph, Schmidhuber (2002), "Learning Precise Timing with LSTM Recurrent
    Networks", JMLR 3, 115-143.

    Args:
        base: the cell.
        memory: the state that is seen.
        gates: the names of values that are a function (the sigmoid) of a sum; those that the cell
            does not have are left out.

    Raises:
        CellError: when the cell has no such state or none of the gates.
    """
    named = {name: node for node, name in base.equations.names.items()}
    found = [name for name in gates if name in named and len(named[name].inputs) == 1]
    if memory not in base.states or not found:
        raise CellError(
            f"peephole: expected a state {memory!r} and gates {', '.join(gates)}, got "
            f"{base.name} of states {', '.join(base.states)}. Name them: memory=, gates=."
        )
    new = base.equations.output(memory)
    if len(new.shape) > 1:
        raise CellError(
            f"peephole: expected a state that is a vector, got {memory} {shape_text(new.shape)} of "
            f"{base.name}. Name another: memory=."
        )
    early = _below(new)
    weight_of = {named[name]: fresh(base, f"p_{name}") for name in found}

    def edit(node: Node, symbol: Symbol, values: NamedSymbols) -> Symbol:
        if node not in weight_of:
            return symbol
        seen = values.old(memory) if node in early else values.of(new)
        (argument,) = node.inputs
        return values.made(node, (values.of(argument) + values.old(weight_of[node]) * seen,))

    how = Composition(
        name=f"peephole_{base.name}",
        doc=doc_with(base, f"peepholes from {memory} (Gers et al., 2002)"),
        composer=peephole,
        options={"memory": memory, "gates": list(gates)},
        edit=edit,
        parameters={weight: _state_shape(base, memory) for weight in weight_of.values()},
    )
    return composed(base, how)


def _below(node: Node) -> set[Node]:
    found: set[Node] = set()
    stack = [node]
    while stack:
        top = stack.pop()
        if top not in found:
            found.add(top)
            stack += top.inputs
    return found


# ---- what they share -----------------------------------------------------------------------------


def fresh(base: Cell, name: str, others: Iterable[str] = ()) -> str:
    """The name, or the name with a number that makes it new in the cell and among the others."""
    taken = {node.name for node in base.equations.inputs} | set(base.equations.names.values())
    taken |= set(others)
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _fresh_for(base: Cell, prefix: str, labels: Mapping[Node, str]) -> dict[Node, str]:
    """A new name for each node, also where two have one label."""
    found: dict[Node, str] = {}
    for node, label in labels.items():
        found[node] = fresh(base, f"{prefix}_{label}", found.values())
    return found


def doc_with(base: Cell, what: str) -> str:
    """The docstring of a composed cell."""
    return f"{base.name} with {what}.\n\n{base.doc}"


def _state_shape(base: Cell, state: str) -> Shape:
    return next(node.shape for node in base.equations.inputs if node.name == state)


def _states(base: Cell, where: str, p: float, states: Sequence[str] | None) -> tuple[str, ...]:
    _check(base, where, p)
    chosen = (
        (states,) if isinstance(states, str) else tuple(base.states if states is None else states)
    )
    for state in chosen:
        if state not in base.states:
            raise CellError(
                f"{where}: expected states of {base.name}, got {state!r}. "
                f"Use some of {', '.join(base.states)}."
            )
    return chosen


def _check(base: Cell, where: str, p: float) -> None:
    if not isinstance(p, Real) or not 0.0 <= p < 1.0:
        raise CellError(
            f"{where}({base.name}): expected a probability in 0..1, got {p!r}. Give one."
        )

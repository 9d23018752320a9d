"""What a cell gives out besides its state: values of its equations by name, and a deep output."""

from collections.abc import Sequence
from typing import Any

from recurra.compose.composers import doc_with, fresh, spelled
from recurra.errors import CellError
from recurra.ir import Dim, has_positions
from recurra.lang import Cell, concat, tanh
from recurra.lang.composition import Composition, NamedSymbols, composed
from recurra.lang.symbols import Symbol


@spelled
def showing(base: Cell, names: str | Sequence[str]) -> Cell:
    """The cell with the named values of its equations as its output, joined if they are several.

    `showing("bahdanau", "alpha")` gives the weights of attention, a number for each position.

    Args:
        base: the cell.
        names: of values of its equations, vectors or numbers over positions, as it prints them.

    Raises:
        CellError: when the equations have no value of a name.
    """
    asked = [names] if isinstance(names, str) else list(names)
    known = set(base.equations.names.values())
    for name in asked:
        if name not in known:
            raise CellError(
                f"showing: expected a value of {base.name}, one of {', '.join(sorted(known))}, got "
                f"{name!r}. Use one that print(cell) shows."
            )

    def finish(values: NamedSymbols, returned: tuple[Symbol, ...]) -> tuple[Any, ...]:
        shown = [getattr(values, name) for name in asked]
        states = returned[1:] if base.options.output else returned
        return (concat(*shown) if len(shown) > 1 else shown[0], *states)

    how = Composition(
        name=f"{base.name}_showing_{'_'.join(asked)}",
        doc=doc_with(base, f"its output is {', '.join(asked)}"),
        composer=showing,
        options={"names": asked},
        finish=finish,
        output=True,
    )
    return composed(base, how)


@spelled
def deep_output(base: Cell) -> Cell:
    """The cell with a layer over its output, over what it has read of a memory, and its input.

    o = tanh(W_o [y; read; x] + b_o), of O features, as many as the input unless a layer says.

    Source: Pascanu, Gulcehre, Cho, Bengio (2014), "How to Construct Deep Recurrent Neural
    Networks", ICLR, arXiv:1312.6026, section 3.3.2 (deep output); over state, input and what is
    attended to as Bahdanau, Cho, Bengio (2015), arXiv:1409.0473, appendix A.2.2, with tanh for
    maxout.

    Raises:
        CellError: when the cell has no input, or its output is no vector of features.
    """
    if base.input is None:
        raise CellError(
            f"deep_output: expected a cell that reads x, got {base.name}, which has no input. "
            f"Compose one that has."
        )
    nodes = {name: node for node, name in base.equations.names.items()}
    x = next(node for node in base.equations.inputs if node.name == base.input)
    y = base.equations.outputs[0][1]
    if len(y.shape) != 1 or len(x.shape) != 1 or has_positions(y.shape):
        raise CellError(
            f"deep_output: expected a cell whose input and output are vectors of features, got "
            f"{base.name}. Write the layer into its equations."
        )
    read = nodes.get("read") if base.memory else None
    W, b, o = (fresh(base, name) for name in ("W_o", "b_o", "o"))
    O = _free_size(base)  # noqa: E741 - the output size
    inputs: Dim = y.shape[0] + x.shape[0]
    if read is not None:
        inputs = inputs + read.shape[0]

    def finish(values: NamedSymbols, returned: tuple[Symbol, ...]) -> tuple[Any, ...]:
        states = returned[1:] if base.options.output else returned
        joined = [returned[0], *([] if read is None else [values.of(read)])]
        joined.append(values.old(str(base.input)))
        out = tanh(values.old(W) @ concat(*joined) + values.old(b))
        out.trace.names[out] = o
        return (out, *states)

    how = Composition(
        name=f"deep_output_{base.name}",
        doc=doc_with(base, "its output is a layer over its state, what it reads and its input"),
        composer=deep_output,
        options={},
        parameters={W: (O, inputs), b: (O,)},
        default_sizes={str(O): str(x.shape[0])},
        finish=finish,
        output=True,
    )
    return composed(base, how)


def _free_size(base: Cell) -> Dim:
    names = ("O", *(f"O_{number}" for number in range(2, 99)))
    return Dim.named(next(name for name in names if name not in base.size_names))

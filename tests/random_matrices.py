"""Random cells with matrix states: outer products, reads and heads among their statements."""

import random
from collections.abc import Callable
from typing import NamedTuple

from random_cells import Writer, written_by
from recurra.lang import Cell

_OF_MATRICES = (
    "tanh({m} * {n} + {s})",
    "sigmoid({m}) * {n} - {m}",
    "{m} / (1.5 + {n} * {n})",
    "where({m} > 0.12345, {m}, 0.5 * {n})",
    "maximum({m}, {n}) * {s}",
    "0.5 * softmax({m}) + {n}",
    "tanh(layer_norm({m}, eps=0.1))",
)
_BESIDE = (
    "tanh({m} * {row} + {column})",
    "sigmoid({column}) * {m} + {row}",
    "sin({m} + {column} * {row})",
    "{m} * (1 - {column} * tanh({row}))",
    "layer_norm({m}, {row}, eps=0.1)",
    "cos({row} - {m} * {column})",
)
_OF_ROWS = (
    "{m} @ {q}",
    "{q} @ {m}.T",
    "mean({m} * {m})",
    "max({m})",
    "sum({m}) / 4.0",
    "var({m} + {q})",
)
_OF_COLUMNS = (
    "{v} @ {m}",
    "{m}.T @ {v}",
    "mean({m}, dim=0)",
    "max({m}, dim=0)",
    "sum({m} * {m}, dim=0) / 8.0",
)
_PER_HEAD = (
    "flatten(softmax(rows({v}, 2)))",
    "flatten(layer_norm(rows({v}, 2), eps=0.1))",
    "flatten(rows({v}, 2) / outer(sqrt(sum(rows({v} * {v}, 2)) + 0.5), 1))",
    "expand(mean(rows({v}, 2)), '{size}') * {v}",
    "flatten(tanh(rows({v}, 2)) * outer(max(rows({v}, 2)), 1))",
)


def random_matrix_cell(rng: random.Random) -> Cell:
    """A random cell of which at least one state is a matrix."""
    return written_by(_MatrixWriter(rng))


class _Form(NamedTuple):
    """Sizes of a matrix: of its rows, of a vector beside each, and its number of blocks."""

    rows: str
    beside: str
    blocks: int

    @property
    def columns(self) -> str:
        return self.beside if self.blocks == 1 else f"{self.beside}/{self.blocks}"


class _MatrixWriter(Writer):
    """Writes a cell with matrices of each sequence, by name with their form."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        forms = (_Form("P", "H", 1), _Form("H", "H", 1), _Form("H", "4", 1), _Form("H", "H", 2))
        self.own = {f"M{i}": rng.choice(forms) for i in range(rng.choice((1, 1, 2)))}
        self.matrices = dict(self.own)

    def source(self, explicit: bool) -> str:
        """As `Writer.source`, with the matrix states behind the others."""
        kept = self.states, self.state_sizes, self.heads
        self.states = [*self.states, *self.own]
        shapes = {name: (form.rows, form.columns) for name, form in self.own.items()}
        self.state_sizes = {**self.state_sizes, **shapes}  # type: ignore[dict-item]
        blocks = {name: form.blocks for name, form in self.own.items() if form.blocks > 1}
        self.heads = {**self.heads, **blocks}
        text = super().source(explicit)
        self.states, self.state_sizes, self.heads = kept
        return text

    def _statements(self) -> tuple[Callable[[], object], ...]:
        found = list(super()._statements())
        found[2], found[6], found[7], found[9] = self._read, self._new, self._new, self._by_head
        return tuple(found)

    def _return(self) -> None:
        super()._return()
        for name, form in self.own.items():
            same = [m for m, other in self.matrices.items() if other == form and m != name]
            new = self.rng.choice(same) if same and self.rng.random() < 0.5 else self._new(form)
            decay = self.rng.choice(("0.5", self._of_size("1"), f"sigmoid({name})"))
            self.returned.append(f"{decay} * {name} + tanh({new})")

    def _vectors(self, form: _Form) -> dict[str, str]:
        column, blocks = self._of_size(form.rows), f", {form.blocks}" * (form.blocks > 1)
        return {
            "column": f"outer({column}, 1{blocks})",
            "row": self._of_size(form.beside),
            "v": self._of_size(form.rows),
            "q": self._of_size(form.beside),
            "s": self._of_size("1"),
        }

    def _new(self, form: _Form | None = None) -> str:
        """A matrix of others, of vectors beside one, or of two vectors."""
        rng = self.rng
        form = form or rng.choice(list(self.matrices.values()))
        name = rng.choice([m for m, other in self.matrices.items() if other == form])
        given = self._vectors(form)
        turn = rng.random()
        if turn < 0.4:
            blocks = f", {form.blocks}" * (form.blocks > 1)
            text = f"tanh(outer({given['v']}, {given['q']}{blocks}))"
        elif turn < 0.7:
            text = rng.choice(_BESIDE).format(m=name, **given)
        elif turn < 0.8 and form.blocks == 1:
            text = f"tanh({name} @ {self._sized(form.beside, form.beside)})"
        elif turn < 0.9 and form.blocks == 1:
            column = self._parameter((form.rows,))
            text = f"tanh({name} + {self._sized(form.rows, form.beside)} * outer({column}, 1))"
        else:
            other = rng.choice([m for m, own in self.matrices.items() if own == form])
            text = rng.choice(_OF_MATRICES).format(m=name, n=other, **given)
        made = f"N{len(self.matrices)}"
        self.lines.append(f"{made} = {text}")
        self.matrices[made] = form
        return made

    def _sized(self, rows: str, columns: str) -> str:
        """A matrix of parameters, where what it stands beside would make it a vector."""
        matrix = self._parameter((rows, columns))
        self.sized.add(matrix)
        return matrix

    def _read(self) -> str:
        """A vector of a matrix."""
        name, form = self.rng.choice(list(self.matrices.items()))
        given = self._vectors(form)
        over_rows = self.rng.random() < 0.5
        text = self.rng.choice(_OF_ROWS if over_rows else _OF_COLUMNS).format(m=name, **given)
        return self._assign(form.rows if over_rows else form.beside, self._squashed(text))

    def _by_head(self) -> None:
        """Of each half of a vector."""
        vector = self._any()
        if vector is not None:
            size = self.values[vector]
            text = self.rng.choice(_PER_HEAD).format(v=vector, size=size)
            self._assign(size, self._squashed(text))

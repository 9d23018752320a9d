"""Random cells that read a memory: rows and numbers over its positions among their statements."""

import random
from collections.abc import Callable
from dataclasses import replace

from oracle import Case
from random_cells import Writer, random_case, written_by
from recurra.lang import Cell

_ROWS_OF_ROWS = (
    "tanh({0} * {1} + {2})",
    "layer_norm({0}, {1}, eps=0.1)",
    "sigmoid({0} + {2} * {1})",
    "maximum({0}, {1}) * {2}",
    "0.5 * softmax({0}) + {0}",
)
_NUMBERS_OF_ROWS = (
    "tanh({0} @ {1})",
    "sum({0}) / 4.0",
    "tanh(max({0}))",
    "mean({0} * {1})",
    "sin(var({0}))",
)
_NUMBERS = (
    "softmax({0})",
    "tanh({0} + {1} * mean({0}))",
    "{0} * {1} - max({0})",
    "sigmoid({0}) / (1.5 + {1} * {1})",
    "where({0} > 0.12345, {0}, 0.5 * {1})",
    "sin({0} + sum({1}) / 8.0)",
)
_READS = (
    "{1} @ {0}",
    "softmax({1}) @ {0}",
    "mean({0}, dim=0)",
    "sum({0} * {1}, dim=0) / 8.0",
    "max({0}, dim=0)",
)


def random_memory_cell(rng: random.Random) -> Cell:
    """A random cell of which at least one value was read from a memory."""
    return written_by(_MemoryWriter(rng))


def random_memory_case(cell: Cell, rng: random.Random) -> Case:
    """A random case, with memories of one position or several, ragged or not."""
    positions, whole = rng.choice((1, 2, 3, 4, 7)), rng.random() < 0.3
    return replace(random_case(cell, rng), positions=positions, whole_memories=whole)


class _MemoryWriter(Writer):
    """Writes a cell with rows (by name, with their size) and numbers over positions."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.memories = ["m"] if rng.random() < 0.7 else ["m", "n"]
        self.over = ["a"] if rng.random() < 0.5 else []
        one = len(self.memories) == 1
        self.rows = {name: "K" if one else f"K_{name}" for name in self.memories}
        self.numbers = list(self.over)

    def source(self, explicit: bool) -> str:
        """As `Writer.source`, with the memories and the states over their positions."""
        states = self.states
        self.states = [*states, *self.over]
        self.state_sizes |= dict.fromkeys(self.over, "S")
        text = super().source(explicit)
        self.states, given = states, ", ".join([*states, *self.over])
        text = text.replace("@cell(", f"@cell(memory={tuple(self.memories)!r}, ", 1)
        head, end = text.split("def random_cell(", 1)
        more = ", ".join((given, *self.memories))
        return f"{head}def random_cell({end.replace(given, more, 1)}"

    def _statements(self) -> tuple[Callable[[], object], ...]:
        found = list(super()._statements())
        found[2], found[6], found[7], found[9] = self._read, self._row, self._row, self._number
        return tuple(found)

    def _return(self) -> None:
        read = self._read()
        super()._return()
        self.returned[-1] += f" + mean({read})"
        for _ in self.over:
            self.returned.append(self._number())

    def _row(self) -> str:
        """New rows: a matrix times rows, with what is added to each, or a function of rows."""
        name, size = self.rng.choice(list(self.rows.items()))
        turn = self.rng.random()
        if self.numbers and turn < 0.15:
            matrix = self._parameter(("H", "3"))
            return self._over("H", f"tanh({matrix} @ windows({self.rng.choice(self.numbers)}, 3))")
        if turn < 0.6 or size.startswith("K"):
            rows, vector = self.rng.choice(("H", "H", "P")), self._any()
            text = f"{self._parameter((rows, size))} @ {name}"
            if vector is not None and self.rng.random() < 0.7:
                text = f"{text} + {self._product(rows, vector)}"
            return self._over(rows, f"{self._squashed(text)}")
        vector, other = self._of_size(size), self._of_size("1")
        if self.numbers and self.rng.random() < 0.4:
            other = self.rng.choice(self.numbers)
            self.explicit = True  # beside numbers, a vector of open size would be numbers too
        return self._over(size, self.rng.choice(_ROWS_OF_ROWS).format(name, vector, other))

    def _over(self, size: str, text: str) -> str:
        name = f"r{len(self.rows)}"
        self.lines.append(f"{name} = {text}")
        self.rows[name] = size
        return name

    def _number(self) -> str:
        """New numbers, one for each position."""
        made = [name for name, size in self.rows.items() if not size.startswith("K")]
        if self.numbers and self.rng.random() < 0.5:
            pair = (self.rng.choice(self.numbers), self.rng.choice(self.numbers))
            text = self.rng.choice(_NUMBERS).format(*pair)
        else:
            rows = self.rng.choice(made) if made else self._row()
            vector = self._of_size(self.rows[rows])
            text = self.rng.choice(_NUMBERS_OF_ROWS).format(rows, vector)
        name = f"n{len(self.numbers)}_"
        self.lines.append(f"{name} = {text}")
        self.numbers.append(name)
        return name

    def _read(self) -> str:
        """A vector of the memory."""
        name, size = self.rng.choice(list(self.rows.items()))
        numbers = self.rng.choice(self.numbers) if self.numbers else self._number()
        text = self.rng.choice(_READS).format(name, numbers)
        return self._assign(size, self._squashed(text))

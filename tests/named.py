"""The values of a cell's equations by name: from the lines that it prints, run on torch tensors.

`Looking` is the oracle's loop with each value kept, and some replaced. `Stepped` is what
`recurra.trace` runs, as the oracle's inputs run a backend.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from oracle import Case, Eager, Inputs, assert_same, in_torch, results, written
from over_memory import plain
from own_rows import plain as plain_rows
from recurra.backends.reference.stepped import run_stepped
from recurra.ir import Node, has_positions, is_matrix
from recurra.lang import Cell
from recurra.show.listing import make_listing
from recurra.show.values import named_values

# takes a value, of one sequence or of a batch, and the number of the step
Patch = Callable[[Any, int], Any]


class Stepped:
    """Stands in for a backend: the equations by name."""

    def __init__(self, cell: Cell, changes: Mapping[str, Patch] | None = None) -> None:
        self.cell, self.changes = cell, changes
        self.values: dict[str, Tensor] = {}

    def run(self, *given: Any, **options: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `Backend.run`."""
        done = run_stepped(self.cell, *given, **options, changes=self.changes)
        self.values = done.values
        return done.y, done.finals


class Looking(Eager):
    """The printed lines, one sequence and step after the other; `seen[b, t]` has their values."""

    def __init__(
        self,
        cell: Cell,
        inputs: Inputs,
        sizes: Mapping[str, int],
        changes: Mapping[str, Patch] | None = None,
    ) -> None:
        super().__init__(cell, sizes)
        listing = make_listing(cell.equations, cell.equations.names, reassign=True)
        self._printed, self._results = listing.names, listing.results
        self._of_node = {named_values(cell.equations)[n]: f for n, f in (changes or {}).items()}
        T, B = inputs.x.shape[:2]
        counts = [T] * B if inputs.lengths is None else inputs.lengths.tolist()
        forwards = [range(count) for count in counts]
        steps = [reversed(each) for each in forwards] if inputs.reverse else forwards
        self._places = iter([(b, t) for b in range(B) for t in steps[b]])
        self._place = (0, 0)
        self.seen: dict[tuple[int, int], dict[str, Any]] = {}
        scope = self.function.__globals__
        run = in_torch(written(cell, self.sizes, self._rewritten))
        run.__globals__.update(expand=scope["expand"], eye=scope["eye"])
        run.__globals__.update(changed=self._changed, ended=self._ended)
        self.function = lambda **values: self._look(run, values)

    def _rewritten(self, body: str) -> str:
        """Behind each line that has a value which is replaced, what replaces it; and at the end,
        all local values are looked at."""
        names = {self._printed[n]: i for i, n in enumerate(self._of_node) if n in self._printed}
        lines = []
        for line in body.split("\n"):
            targets = re.match(r"    ([\w, ]+?),? = ", line)
            lines.append(re.sub(r"^    return (.*)$", r"    return ended(locals(), (\1))", line))
            made = targets[1].split(", ") if targets else []
            lines += [f"    {n} = changed({names[n]}, {n})" for n in made if n in names]
        return "\n".join(lines)

    def _look(self, run: Callable[..., Any], values: dict[str, Any]) -> Any:
        self._place = next(self._places)
        return run(**values)

    def _changed(self, number: int, value: Any) -> Any:
        return list(self._of_node.values())[number](value, self._place[1])

    def _ended(self, values: dict[str, Any], returned: Any) -> Any:
        """What a step gives, with what is replaced there alone; its values are kept."""
        found = list(returned) if isinstance(returned, tuple) else [returned]
        for place, node in enumerate(self._results):
            if node in self._of_node and node not in self._printed:
                found[place] = self._of_node[node](found[place], self._place[1])
        results = dict(zip(self._results, found, strict=True))
        named, self.seen[self._place] = named_values(self.cell.equations), {}
        for name, node in named.items():
            made = results[node] if node in results else values[self._printed[node]]
            self.seen[self._place][name] = made
        return tuple(found) if isinstance(returned, tuple) else found[0]


def numbers(value: Any) -> Tensor:
    """A value of one sequence at one step, flat."""
    if not isinstance(value, Tensor):
        return torch.tensor([float(value)], dtype=torch.float64)
    return plain_rows(plain(value)).reshape(-1)


def check_values(
    cell: Cell, case: Case, message: str = "", changes: Mapping[str, Patch] | None = None
) -> None:
    """Fail unless each named value is what the printed lines have, and zero where nothing is; and
    the output, the final states and the gradients of all that was given are the same."""
    looking = Looking(cell, case.tensors(cell), case.sizes, changes)
    stepped = Stepped(cell, changes)
    assert_same(
        results(stepped, case.tensors(cell)), results(looking, case.tensors(cell)), 1e-9, message
    )
    nodes = named_values(cell.equations)
    assert tuple(stepped.values) == tuple(nodes), message
    found, expected = {}, {}
    for name, value in stepped.values.items():
        pair = _pair(value, nodes[name], name, looking.seen)
        found[name], expected[name] = (each.detach() for each in pair)
    assert_same(found, expected, 1e-12, message)


def _pair(
    value: Tensor, node: Node, name: str, seen: Mapping[tuple[int, int], dict[str, Any]]
) -> tuple[Tensor, Tensor]:
    """A value as it was found, [T, B, all], and as it is expected: zero where nothing was seen."""
    if is_matrix(node.shape):  # one for all sequences
        steps = {t: numbers(values[name]) for (_, t), values in seen.items()}
        rows = [steps[t] for t in sorted(steps)]
        return value[sorted(steps)].flatten(1), torch.stack(rows)
    flat = value.flatten(2)
    expected = torch.zeros_like(flat)
    for (b, t), values in seen.items():
        own = numbers(values[name])
        # past the end of a memory it is zero; a number may stand for a vector
        is_number = len(own) == 1 and not has_positions(node.shape)
        count = flat.shape[2] if is_number else len(own)
        expected[t, b, :count] = own
    return flat, expected

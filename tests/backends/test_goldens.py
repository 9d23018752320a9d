"""Three loops as they are scheduled and printed: a change of either is seen, and looked at.

What is meant to change is written anew by `python tests/backends/test_goldens.py`.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest
import torch

from recurra import cells, compose
from recurra.backends.cpu.backend import CpuEngine
from recurra.backends.cpu.execute import CpuLoops
from recurra.backends.cpu.printer import print_loop
from recurra.backends.cpu.schedule import Bulk, Phase, Place, Schedule, schedule, size_names
from recurra.backends.runtime.attempts import Attempts
from recurra.backends.runtime.parts import Parts
from recurra.backends.runtime.program import Programs
from recurra.ir import Dim, Node
from recurra.lang import Cell

FOLDER = Path(__file__).with_name("goldens")
LOOPS: Mapping[str, tuple[Cell, bool]] = {
    "gru_forward": (cells.gru, False),
    "layer_norm_lstm_reverse": (compose.layer_norm(cells.lstm), True),
    "dot_attention_lstm_forward": (cells.dot_attention_lstm, False),
}


def scheduled(of: Cell, reverse: bool) -> tuple[Schedule, tuple[str, ...]]:
    """The loop that trains, and the names of its sizes."""
    engine = CpuEngine(Attempts())
    parts = Parts(engine.plan(of, variant=False, low=False), writes_output=engine.writes_output)
    like = torch.empty(0, dtype=torch.float32, device="cpu")
    loops = CpuLoops(parts, Programs({}, like, parts.x), {})
    before: list[Bulk] = list(loops.heads.values())
    after: tuple[Bulk, ...] = ()
    body, carried = parts.bodies[True], parts.plan.states
    if reverse:
        tail = loops._tails[False]
        body, carried = loops._reverse_body, parts.plan.step.seeds[1:]
        before = [item for item in before if item.node in body.inputs] + loops._reverse_heads
        after = (*tail.after, *tail.rows)
    made = schedule(body, carried, len(carried), before=before, after=after)
    return made, size_names(body, before, after)


class Words:
    """A schedule as text: each value by the operation that makes it, and a number."""

    def __init__(self, plan: Schedule) -> None:
        self._plan, self._names, self._numbers = plan, dict[Node, str](), count(1)

    def _name(self, node: Node) -> str:
        if node.op == "slice" and node not in self._plan.inputs:
            start = node.attr("start")
            return f"{self._name(node.inputs[0])}[{start} : {start + node.attr('size')}]"
        if node.op == "transpose":
            return f"{self._name(node.inputs[0])}.T"
        if node.op == "const":
            return f"{node.attr('value'):g}"
        if node not in self._names:
            own = node.name if node.op == "input" else f"{node.op}{next(self._numbers)}"
            self._names[node] = own
        return self._names[node]

    def _value(self, node: Node) -> str:
        return f"{self._name(node)} = {node.op}({', '.join(map(self._name, node.inputs))})"

    def _list(self, nodes: Iterable[Node]) -> str:
        return ", ".join(self._name(node) for node in nodes)

    def _bulk(self, item: Bulk) -> str:
        read = [item.matrix, item.operand, item.right, item.bias]
        return f"{self._name(item.node)} of {self._list(node for node in read if node is not None)}"

    def lines(self) -> Iterator[str]:
        plan = self._plan
        yield f"carried: {self._list(plan.carried)}"
        yield f"inputs: {self._list(plan.inputs)}"
        yield f"matrices: {self._list(plan.matrices)}"
        yield f"unit: {plan.unit}"
        yield from (f"before some steps: {self._bulk(item)}" for item in plan.before)
        for number, phase in enumerate(plan.phases):
            yield f"phase {number}"
            yield from (f"  {line}" for line in self._phase(phase))
        yield from (f"after some steps: {self._bulk(item)}" for item in plan.after)

    def _phase(self, phase: Phase) -> Iterator[str]:
        for product in phase.products:
            read = f"matrix {product.matrix} @ {self._name(product.operand)}"
            yield f"product {self._name(product.node)} = {read}{self._stored(product.node)}"
        groups = [*_groups("features", phase.groups), *_groups("rows", phase.rows)]
        for title, nodes in groups:
            yield title
            yield from (f"  {self._value(node)}{self._stored(node)}" for node in nodes)
        yield from (f"reduction {self._value(node)}" for node in phase.reductions)
        for title, moved in (("gather", phase.gathers), ("copy", phase.copies)):
            yield from (f"{title} {self._name(node)} to {_place(place)}" for node, place in moved)

    def _stored(self, node: Node) -> str:
        places = self._plan.stores.get(node, ())
        if not places and node in self._plan.places:
            places = (self._plan.places[node],)
        return "".join(f" -> {_place(place)}" for place in places)


def _groups(what: str, groups: Mapping[object, list[Node]]) -> Iterator[tuple[str, list[Node]]]:
    for size, nodes in groups.items():
        named = size if isinstance(size, Dim) else " x ".join(map(str, size))  # pyright: ignore
        yield f"{what} {named}", nodes


def _place(place: Place) -> str:
    return f"{place.kind} {place.index}" + ("" if place.offset.is_zero else f" + {place.offset}")


def texts(name: str) -> dict[str, str]:
    """By file name, what a loop's schedule and its C++ are."""
    of, reverse = LOOPS[name]
    made, names = scheduled(of, reverse)
    return {
        f"{name}.txt": "\n".join(Words(made).lines()) + "\n",
        f"{name}.cpp": print_loop("run", made, names, skip=reverse).rstrip() + "\n",
    }


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_scheduled_and_printed_as_before(name: str) -> None:
    for file, text in texts(name).items():
        assert text == (FOLDER / file).read_text(), f"see the head of {__file__}"


def test_goldens_are_of_these_loops() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == LOOPS.keys()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in LOOPS:
        for file, text in texts(name).items():
            (FOLDER / file).write_text(text)
    sys.stdout.write(f"written: {FOLDER}\n")

"""Where the values of a scheduled loop lie at a step, in C++."""

from recurra.backends.cpu.dialect import dim
from recurra.backends.cpu.schedule import Place, Schedule, resolve
from recurra.ir import Node, is_rows


class Addresses:
    """Where values lie, by the schedule of a loop.

    In what is printed r is a sequence, and what a step has at hand has names: `array0` and so on
    are arrays at this step, `previous0` and `next0` carried values before and after it, `scratch0`
    the memory of a thread.

    Args:
        plan: the schedule.
    """

    def __init__(self, plan: Schedule) -> None:
        self.plan = plan
        self.given = frozenset(plan.graph.inputs)

    def base(self, place: Place) -> tuple[str, str]:
        """Where row 0 of a value lies at this step, and the distance between rows."""
        i = place.index
        shift = shifted_by(place)
        if place.kind == "scratch":
            return f"scratch{i}{shift}", f"ld{i}"
        if place.kind == "array":
            return f"array{i}{shift}", f"c.arrays[{i}].row"
        return f"{place.kind}{i}{shift}", size_of(self.plan.carried[i])

    def row(self, place: Place) -> str:
        """Where row r of a value lies at this step."""
        base, stride = self.base(place)
        r = "r"
        if place.kind == "scratch" and place.index in self.plan.passing:
            r = "rows.first"  # the memory of a thread's first sequence serves all that it has
        if place.count is not None:
            return f"{base} + {r} * {dim(place.count)} * {stride}"
        if place.kind == "array" and place.index < len(self.plan.inputs):
            found = f"row_of(c.arrays[{place.index}], array{place.index}, ids, r)"
            return f"{found}{shifted_by(place)}"
        return f"{base} + {r} * {stride}"

    def row_of(self, node: Node) -> str:
        """Where row r of a value begins that has a place of its own."""
        return self.row(self.plan.places[node])

    def apart(self, place: Place) -> str:
        """How far apart the rows are that a sequence has at a place."""
        return self.base(place)[1] if place.apart is None else dim(place.apart)

    def behind(self, node: Node) -> Node:
        """What is stored where a value is asked for that is spread from a number, and has no place
        of its own; else the value."""
        spread = node.op == "expand" and node not in self.plan.places
        return node.inputs[0] if spread else node

    def part_of(self, node: Node) -> tuple[Node, str]:
        """The value that this is a part of, and where in it the part begins, to be added."""
        base, start = resolve(node, self.given)
        return base, "" if start.is_zero else f" + {dim(start)}"


def shifted_by(place: Place) -> str:
    """Where in a row the value begins, to be added."""
    return "" if place.offset.is_zero else f" + {dim(place.offset)}"


def size_of(node: Node) -> str:
    """The size of a value, or of each of its rows."""
    return dim(node.shape[-1]) if node.shape else "1"


def whole_size_of(node: Node) -> str:
    """How many numbers a sequence has of a value whose rows lie one behind the other."""
    size = size_of(node)
    return f"{dim(node.shape[0])} * {size}" if is_rows(node.shape) else size

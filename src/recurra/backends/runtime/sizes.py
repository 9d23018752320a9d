"""What a cell's size names stand for, from the shapes of the tensors of a call."""

from collections.abc import Mapping

from torch import Tensor

from recurra.ir import Dim, Node


def solve(values: Mapping[Node, Tensor]) -> dict[str, int]:
    """The sizes for which every node has the shape of its tensor, as far as they follow."""
    sizes: dict[str, int] = {}
    pending = [
        (dim, int(length))  # which a trace may know by a symbol only
        for node, value in values.items()
        for dim, length in zip(node.shape[::-1], value.shape[::-1], strict=False)
    ]
    while pending:
        left = []
        for dim, length in pending:
            open_terms = [(name, c) for name, c in dim.terms if name not in sizes]
            if len(open_terms) == 1:
                name, coefficient = open_terms[0]
                rest = dim.constant + sum(c * sizes[n] for n, c in dim.terms if n in sizes)
                sizes[name] = int((length - rest) / coefficient)
            elif open_terms:
                left.append((dim, length))
        if len(left) == len(pending):
            return sizes | _solve_sums(left, sizes)
        pending = left
    return sizes


def _solve_sums(sums: list[tuple[Dim, int]], known: Mapping[str, int]) -> dict[str, int]:
    """Sizes that occur in sums alone, by elimination; what the sums leave open is 0, as nothing
    depends on it."""
    solved: dict[str, Dim] = {}
    numbers = {name: Dim.of(value) for name, value in known.items()}
    for dim, length in sums:
        rest = (dim - Dim.of(length)).substitute(numbers).substitute(solved)
        if not rest.terms:
            continue
        name, coefficient = rest.terms[0]
        value = (rest - Dim.named(name) * coefficient) / -coefficient
        solved = {n: d.substitute({name: value}) for n, d in solved.items()} | {name: value}
    free = {name: 0 for value in solved.values() for name in value.names}
    return free | {name: int(value.constant) for name, value in solved.items()}

"""The time loop that both directions of a plan share, printed as Python and compiled.

A call to torch on a small step costs about as much as the Python around it, so the loop is printed
as straight lines instead of being interpreted node by node.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.backends.runtime.call import LoopResult, shape_of
from recurra.backends.runtime.ops import IN_PLACE, kernel, outer
from recurra.backends.runtime.program import fused_products, number
from recurra.ir import Graph, Node, has_rows, is_rows, topological
from recurra.passes.place import is_summed_in_loop
from recurra.passes.rates import SHARED_KINDS


class Record:
    """One value at every step: rows of one tensor, written in place, or a list under autograd and
    wherever else torch has to follow (`plain`)."""

    def __init__(self, rows: int, like: Tensor, shape: tuple[int, ...], plain: bool) -> None:
        self._whole: Tensor | None = None
        self.rows: list[Tensor | None] = [None] * rows
        if not (plain or torch.is_grad_enabled()):
            self._whole = like.new_empty(rows, like.shape[0], *shape)
            self.rows = list(self._whole.unbind(0))

    def stacked(self, first: int, count: int) -> Tensor:
        """[count, B, size]: the rows from `first` on."""
        if self._whole is not None:
            whole = count == len(self.rows)
            return self._whole if whole else self._whole[first : first + count]
        return torch.stack([row for row in self.rows[first : first + count] if row is not None])


class _Sum(Record):
    """A value that is added up over the steps, in the one row that there is."""

    def __init__(self) -> None:
        super().__init__(1, torch.empty(0, device="cpu", dtype=torch.float32), (), True)

    def stacked(self, first: int, count: int) -> Tensor:
        """The sum."""
        (total,) = self.rows
        assert total is not None, "a loop has a step at least"
        return total


class TimeLoop:
    """A loop body over all steps, with torch operations.

    Args:
        body: its first outputs become `carried` in the next step, the others are recorded.
        carried: the inputs of the body that come from the step before.
        stepped: the inputs that have time in front.
        sizes: the number behind each size name.
        like: a tensor of the dtype and device to compute with.
        skip: what becomes of a step past a sequence's end. False holds the carried values (a
            forward loop). True also lets nothing flow through it: the step sees zeros (a reverse
            loop, where carried values are cotangents).
    """

    def __init__(
        self,
        body: Graph,
        carried: Sequence[Node],
        stepped: set[Node],
        sizes: Mapping[str, int],
        like: Tensor,
        *,
        skip: bool,
    ) -> None:
        self._carried = tuple(carried)
        self._extra = body.output_nodes[len(self._carried) :]
        self._sizes = dict(sizes)
        given = [node for node in body.inputs if node not in self._carried]
        self._fixed = tuple(node for node in given if node not in stepped)
        self._stepped = tuple(node for node in given if node in stepped)
        printer = _Printer(body, self._carried, self._fixed, self._stepped, sizes, like, skip)
        self.source = printer.text()
        self._loop: Callable[..., list[Tensor]] = printer.compiled(self.source)

    def run(
        self,
        values: Mapping[Node, Tensor],
        first: Sequence[Tensor],
        order: range,
        *,
        history: Mapping[Node, Node],
        active: Tensor | None,
        early: Callable[[slice], Mapping[Node, Tensor]] | None = None,
        chunk: int | None = None,
        plain: bool = False,
        positions: int = 0,
    ) -> LoopResult:
        """Run the body for every step in `order`.

        Args:
            values: by node, for the inputs of the body.
            first: the carried values before the first step, [B, size] each.
            history: carried nodes to record as the step found them, each with the node of its
                next value, recorded with it at no cost.
            active: [T, B, 1] bool, False past a sequence's end; None when all steps are taken.
            early: gives the stepped inputs that are not in `values`, for some steps at a time.
            chunk: for how many.
            plain: see `Call`.
            positions: see `Call`.
        """
        steps, ahead = len(order), 1 if order.step > 0 else 0
        start = order.start + 1 - ahead
        past: list[Record | None] = []
        carried = list(first)
        for i, node in enumerate(self._carried):
            record = None
            if node in history:
                record = Record(steps + 1, first[i], first[i].shape[1:], plain)
                carried[i] = record.rows[start] = _put(record.rows[start], carried[i])
            past.append(record)
        extra = [
            _Sum()
            if is_summed_in_loop(node)
            else Record(steps, first[0], shape_of(node, self._sizes, positions), plain)
            for node in self._extra
        ]
        stepped: dict[Node, list[Tensor | None]] = {
            node: list(values[node].unbind(0)) if node in values else [None] * steps
            for node in self._stepped
        }
        for some in _chunks(order, chunk or steps):
            now = slice(min(some), max(some) + 1)
            for node, value in (early(now) if early else {}).items():
                stepped[node][now] = value.unbind(0)
            carried = self._loop(
                [values[node] for node in self._fixed],
                list(stepped.values()),
                carried,
                [[None] * (steps + 1) if record is None else record.rows for record in past],
                [record.rows for record in extra],
                some,
                ahead,
                None if active is None else active.unbind(0),
            )
        records = {node: r.stacked(0, steps) for node, r in zip(self._extra, extra, strict=True)}
        for node, record in zip(self._carried, past, strict=True):
            if record is not None:
                records[node] = record.stacked(1 - ahead, steps)
                records[history[node]] = record.stacked(ahead, steps)
        return LoopResult(carried=carried, records=records)


def _chunks(order: range, size: int) -> list[range]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def _put(target: Tensor | None, value: Tensor) -> Tensor:
    """`value`, moved into `target` where there is one and it is not there already."""
    if target is None or target is value:
        return value
    return target.copy_(value)


def _add(total: Tensor | None, value: Tensor) -> Tensor:
    """`total` with `value` added, which is nobody else's."""
    return value.clone() if total is None else total.add_(value)


class _Printer:
    """The loop as Python source: one line for each operation of the body."""

    def __init__(
        self,
        body: Graph,
        carried: tuple[Node, ...],
        fixed: tuple[Node, ...],
        stepped: tuple[Node, ...],
        sizes: Mapping[str, int],
        like: Tensor,
        skip: bool,
    ) -> None:
        self._body, self._sizes, self._skip = body, sizes, skip
        self._carried, self._fixed, self._stepped = carried, fixed, stepped
        self._names = {node: f"f{i}" for i, node in enumerate(fixed)}
        self._names.update({node: f"s{i}[t]" for i, node in enumerate(stepped)})
        self._names.update({node: f"c{i}" for i, node in enumerate(carried)})
        self._scope: dict[str, Any] = {
            "put": _put,
            "add": _add,
            "outer": outer,
            "where": torch.where,
            "addmm": torch.addmm,
            "mm": torch.mm,
        }
        self._transposed: dict[Node, str] = {}
        for i, node in enumerate(body.nodes()):
            if not node.inputs:
                self._names[node] = f"n{i}"
                self._scope[f"n{i}"] = number(node, sizes, like)

    def compiled(self, source: str) -> Callable[..., list[Tensor]]:
        """The function that the source defines."""
        exec(compile(source, "<recurra time loop>", "exec"), self._scope)
        return self._scope["loop"]

    def text(self) -> str:
        """The source of `loop(fixed, stepped, carried, past, extra, order, ahead, active)`."""
        steps = [*self._enter(), *self._operations(), *self._leave()]
        transposed = self._transposed.items()
        head = [
            *_unpacked("f", self._fixed, "fixed"),
            *_unpacked("s", self._stepped, "stepped"),
            *_unpacked("c", self._carried, "carried"),
            *_unpacked("p", self._carried, "past"),
            *_unpacked("e", self._body.output_nodes[len(self._carried) :], "extra"),
            # contiguous, because small products with a transposed matrix are half as fast again
            *(f"{name} = {self._names[m]}.t().contiguous()" for m, name in transposed),
        ]
        return "\n".join(
            [
                "def loop(fixed, stepped, carried, past, extra, order, ahead, active):",
                *(f"    {line}" for line in head),
                "    for t in order:",
                *(f"        {line}" for line in steps),
                f"    return [{', '.join(f'c{i}' for i in range(len(self._carried)))}]",
                "",
            ]
        )

    def _enter(self) -> list[str]:
        """Before a masked step: what to hold, and what the step sees."""
        lines = ["if active is not None:", "    a = active[t]"]
        for i in range(len(self._carried)):
            lines.append(f"    h{i} = c{i}")
            if self._skip:
                lines.append(f"    c{i} = where({_mask(self._carried[i])}, c{i}, 0.0)")
        return lines

    def _operations(self) -> list[str]:
        lines: list[str] = []
        fused = fused_products(self._body)
        inside = set(fused.values())
        outputs, count = self._body.output_nodes, len(self._carried)
        places = {node: f"e{i}[t]" for i, node in enumerate(outputs[count:])}
        places.update({node: f"p{i}[t + ahead]" for i, node in enumerate(outputs[:count])})
        for i, node in enumerate(self._body.nodes()):
            if not node.inputs or node in inside:
                continue
            name = f"v{i}"
            product = fused.get(node)
            if product is not None:
                (other,) = (child for child in node.inputs if child is not product)
                matrix, vector = product.inputs
                call = f"addmm({self._names[other]}, {self._names[vector]}, {self._turned(matrix)}"
            elif node.op == "matvec":
                matrix, vector = node.inputs
                call = f"mm({self._names[vector]}, {self._turned(matrix)}"
            else:
                function = f"k{i}"
                self._scope[function] = kernel(node, self._sizes)
                call = f"{function}({', '.join(self._names[child] for child in node.inputs)}"
            if is_summed_in_loop(node):
                lines += self._summed(name, node)
                self._names[node] = name
                continue
            in_place = node in places and node.op in IN_PLACE and _has_batch(node)
            in_place = in_place and not has_rows(node.shape)
            lines.append(f"{name} = {call}{f', out={places[node]}' if in_place else ''})")
            self._names[node] = name
        return lines

    def _summed(self, name: str, node: Node) -> list[str]:
        """What a step adds to a sum over time; of steps past a sequence's end nothing."""
        given = [self._names[child] for child in node.inputs]
        own = [f"g{i}" for i in range(len(given))]
        lines = [f"{', '.join(own)}, = {', '.join(given)},"]
        if self._skip:
            pairs = zip(own, node.inputs, strict=True)
            lines.append("if active is not None:")
            lines += [f"    {g} = where({_mask(child)}, {g}, 0.0)" for g, child in pairs]
        call = f"outer({', '.join(own)})" if node.op == "outer" else own[0]
        return [*lines, f"{name} = {call}"]

    def _turned(self, matrix: Node) -> str:
        """The name of a matrix's transpose, which is made before the loop when the matrix is."""
        if matrix not in self._fixed:
            return f"{self._names[matrix]}.t()"
        return self._transposed.setdefault(matrix, f"m{len(self._transposed)}")

    def _leave(self) -> list[str]:
        """After a step: records, and the carried values of the next one."""
        outputs = self._body.output_nodes
        count = len(self._carried)
        extra = list(enumerate(outputs[count:]))
        sums = [i for i, node in extra if is_summed_in_loop(node)]
        lines = [
            f"e{i}[0] = add(e{i}[0], {self._names[node]})"
            if i in sums
            else f"e{i}[t] = put(e{i}[t], {self._names[node]})"
            for i, node in extra
        ]
        if self._skip:
            # what was kept of a step past the end may not be finite, and zero times that is NaN
            lines += [
                f"if active is not None: e{i}[t] = put(e{i}[t], where({_mask(node)}, e{i}[t], 0.0))"
                for i, node in extra
                if _has_batch(node) and i not in sums
            ]
        for i, node in enumerate(outputs[:count]):
            spread = "" if _has_batch(node) else f".expand_as(c{i})"
            lines.append(f"x{i} = {self._names[node]}{spread}")
        lines.append("if active is not None:")
        lines += [
            f"    x{i} = where({_mask(node)}, x{i}, h{i})" for i, node in enumerate(self._carried)
        ]
        lines += [f"c{i} = p{i}[t + ahead] = put(p{i}[t + ahead], x{i})" for i in range(count)]
        return lines


def _mask(node: Node) -> str:
    """The steps inside their sequence, with as many dimensions as the node's value."""
    return "a.unsqueeze(-1)" if is_rows(node.shape) else "a"


def _unpacked(prefix: str, nodes: Sequence[Node], source: str) -> list[str]:
    names = "".join(f"{prefix}{i}, " for i in range(len(nodes)))
    return [f"{names}= {source}"] if nodes else []


def _has_batch(node: Node) -> bool:
    """Whether each sequence has its own value; what depends on parameters or the step has one."""
    leaves = (leaf for leaf in topological([node]) if leaf.op == "input")
    return any(leaf.attr("kind") not in SHARED_KINDS for leaf in leaves)

"""What a loop takes at given sizes: how large its values are, its working memory, its threads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from recurra.backends.cpu.abi import BLOCK_ROWS, LARGE_SUM, MAX_DEPTH, PANEL, TILE
from recurra.backends.cpu.invocation import Wanted
from recurra.backends.cpu.loop_sizes import count_of, dims_of, padded, shape_of, width_of
from recurra.backends.cpu.schedule import Schedule

CACHE_BYTES = 1 << 20
# Sequences times steps of a chunk. What a chunk computes should stay in the L2; sums that do not
# fit there go through memory once a chunk, which larger ones make rarer.
_CHUNK_ROWS, _CHUNK_ROWS_OF_LARGE = 256, 1024
# Of multiplications: from which threads share a step, meeting in it, or the steps of a chunk; and
# how many an elementwise result counts for.
_SHARED_STEP, _SHARED_CHUNK, _ELEMENTWISE = 1 << 15, 1 << 18, 8
_NUMBER_BYTES = 4
WANTED, UNWANTED = -1, -2  # of what has no place in the working memory


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingMemory:
    """The working memory of a run: where each part begins, in bytes.

    Attributes:
        chunk: steps that are computed before what follows them is.
        by_panel: see `Extents.by_panel`.
        arrays: for each array that the loop computes, or that it is wanted (and so has memory of
            its own) or that nobody wants it.
        packed: for each matrix, or that nobody wants what is computed with it; they come first.
        packed_size: numbers that they take together.
        carried: for each carried value two of them, or that it is wanted.
        space_size: numbers that threads have for packing, in all.
        size: numbers of the whole.
    """

    chunk: int
    by_panel: bool
    arrays: tuple[int, ...]
    packed: tuple[int, ...]
    packed_size: int
    carried: tuple[int, ...]
    scratch: int
    space: int
    space_size: int
    size: int


class Extents:
    """How large all that a scheduled loop reads and writes is, worked out once for its sizes.

    Args:
        plan: the schedule of the loop.
        sizes: the number behind each size name.
        halved: operands of products are rounded to half as many bytes.

    Attributes:
        made: the arrays that the loop computes.
        widths, counts: of each of them the size of a row, and the rows of a sequence.
        input_shapes, matrix_shapes, carried_shapes: in the order of the schedule's.
        bias_widths: likewise.
        sum_shapes, total_shapes: by node.
        packed_sizes: numbers that each matrix takes when it is packed.
    """

    def __init__(self, plan: Schedule, sizes: Mapping[str, int], *, halved: bool) -> None:
        self._plan, self._halved = plan, halved
        self.made = plan.arrays[len(plan.inputs) :]
        self.widths = [width_of(node, sizes) for node in self.made]
        self.counts = [count_of(node, sizes) for node in self.made]
        self.sum_shapes = {node: shape_of(node, sizes) for node in plan.sums}
        self.total_shapes = {node: shape_of(node, sizes) for node in plan.totals}
        self.input_shapes = [shape_of(node, sizes) or (1,) for node in plan.inputs]
        self.carried_shapes = [shape_of(node, sizes) or (1,) for node in plan.carried]
        self.bias_widths = [width_of(node, sizes) for node in plan.biases]
        self.matrix_shapes = shapes = [shape_of(matrix, sizes) for matrix in plan.matrices]
        self.packed_sizes = [padded(rows) * self._stored(columns) for rows, columns in shapes]
        self._deepest = max((self._stored(columns) for _, columns in shapes), default=0)
        self._scratch = sum(
            count.evaluate(sizes) * padded(size.evaluate(sizes)) for count, size in plan.scratch
        )
        in_step = {product.matrix for phase in plan.phases for product in phase.products}
        self._unless_wanted = {
            plan.matrices.index(item.matrix): item.node
            for item in plan.after
            if item.matrix is not None
        }
        before = (plan.matrices.index(b.matrix) for b in plan.before if b.matrix is not None)
        for i in (*in_step, *before):
            self._unless_wanted.pop(i, None)
        # the rows of a sequence that a product takes at most
        self._most_rows = max(
            (count_of(p.node, sizes) for phase in plan.phases for p in phase.products), default=1
        )
        self._summed_rows = max(
            (count_of(item.operand, sizes) for item in plan.after if item.is_sum), default=1
        )
        rows = sum(math.prod(dims_of(shape, sizes)) for p in plan.phases for shape in p.rows)
        rows += sum(map(math.prod, self.carried_shapes))
        elementwise = _ELEMENTWISE * (sum(self.widths) + rows)
        self._step_work = elementwise + sum(math.prod(shapes[i]) for i in in_step)
        self._row_work = elementwise + sum(math.prod(shape) for shape in shapes)
        self._largest = max((4 * math.prod(shapes[i]) for i in in_step), default=0)
        large = any(math.prod(shape) > LARGE_SUM for shape in self.sum_shapes.values())
        self._chunk_rows = _CHUNK_ROWS_OF_LARGE if large or halved else _CHUNK_ROWS
        self._widest = max((shape[0] for shape in self.sum_shapes.values()), default=0)
        unit = 0 if plan.unit is None else plan.unit.evaluate(sizes)
        self._parts = max(self._widest // unit if unit else 0, 1)  # of columns that a thread packs
        self._bulk = bool(plan.before or plan.after)

    def working_memory(self, steps: int, batch: int, threads: int, wanted: Wanted) -> WorkingMemory:
        """Where in its working memory a run of such a shape has what."""
        plan = self._plan
        chunk = min(steps, -(-self._chunk_rows // max(batch, 1))) if self._bulk else steps
        by_panel = self.by_panel(batch, threads)
        at = 0

        def taken(numbers: int) -> int:
            nonlocal at
            start, at = at, at + _NUMBER_BYTES * padded(numbers)
            return start

        packed = [
            UNWANTED
            if self._unless_wanted.get(i, node) not in (*wanted.arrays, node)
            else taken(size)
            for i, (node, size) in enumerate(zip(plan.matrices, self.packed_sizes, strict=True))
        ]
        packed_size = at // _NUMBER_BYTES
        late = {item.node for item in plan.after}
        arrays: list[int] = []
        for node, width, count in zip(self.made, self.widths, self.counts, strict=True):
            if node in wanted.arrays:
                arrays.append(WANTED)
            elif node in late:
                arrays.append(UNWANTED)
            else:
                arrays.append(taken(chunk * batch * count * padded(width)))
        # the system may give fewer threads than it is asked for, which then share the whole
        space_size = max(
            team
            * self._space(chunk * batch, batch, team, by_panel=by_panel, summed=bool(wanted.sums))
            for team in range(1, threads + 1)
        )
        return WorkingMemory(
            chunk=max(chunk, 1),
            by_panel=by_panel,
            arrays=tuple(arrays),
            packed=tuple(packed),
            packed_size=packed_size,
            carried=tuple(
                WANTED if i in wanted.carried else taken(2 * batch * math.prod(shape))
                for i, shape in enumerate(self.carried_shapes)
            ),
            scratch=taken(batch * self._scratch),
            space=taken(space_size),
            space_size=space_size,
            size=at // _NUMBER_BYTES + PANEL,
        )

    def _space(self, rows: int, batch: int, threads: int, *, by_panel: bool, summed: bool) -> int:
        """Numbers that each thread of a team takes for packing, for chunks of so many rows."""
        size = 0
        if summed:
            columns = padded(-(-self._widest // threads)) + (self._parts + 1) * PANEL
            size = columns * self._stored(min(rows * self._summed_rows, MAX_DEPTH))
        if self._halved:  # operands of products are rounded there
            own = (batch if by_panel else -(-batch // threads)) * self._most_rows
            own = max(own, BLOCK_ROWS if self._bulk else 0)
            size = max(size, padded(own) * self._deepest)
        return padded(size)

    def useful_threads(self, steps: int, batch: int, threads: int) -> int:
        """One where there is so little to do between two meetings of the threads that waiting for
        each other costs more: on a busy machine, where another has no core, milliseconds."""
        if self.by_panel(batch, threads):
            return threads if batch * self._step_work >= _SHARED_STEP else 1
        rows = min(self._chunk_rows, steps * batch) if self._bulk else steps * batch
        return threads if rows * self._row_work >= _SHARED_CHUNK else 1

    def by_panel(self, batch: int, threads: int) -> bool:
        """Whether threads share the columns of each product, meeting after it, instead of each
        taking sequences of its own: for few sequences, and for weights that then fit its cache."""
        return threads > 1 and (batch < 2 * threads or self._largest > CACHE_BYTES)

    def _stored(self, depth: int) -> int:
        """The room for so many numbers that a product sums over, in numbers of float32."""
        return -(-depth // TILE) * TILE // 2 if self._halved else depth

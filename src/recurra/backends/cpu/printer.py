"""A scheduled loop as C++: one function that runs all steps on all threads.

Here is the frame: the threads, the chunks of steps, what is done before and after each, and what
holds past a sequence's end. What a step computes is in `step_body.py`.
"""

from collections.abc import Collection

from recurra.backends.cpu.addresses import Addresses, size_of, whole_size_of
from recurra.backends.cpu.dialect import dim, size_text
from recurra.backends.cpu.lines import Lines
from recurra.backends.cpu.schedule import Bulk, Place, Schedule, resolve
from recurra.backends.cpu.step_body import StepBody
from recurra.ir import Dim, Node, is_rows


def print_loop(name: str, plan: Schedule, size_names: tuple[str, ...], *, skip: bool) -> str:
    """The C++ function `name` for a scheduled loop.

    Args:
        skip: what a step past a sequence's end does to the carried values and records: False holds
            the values (forward); True also records zeros (reverse: nothing flows through it).
    """
    return _Frame(plan, size_names, skip).text(name)


class _Frame:
    def __init__(self, plan: Schedule, size_names: tuple[str, ...], skip: bool) -> None:
        self._plan, self._size_names, self._skip = plan, size_names, skip
        self._addresses, self._out = Addresses(plan), Lines()
        self._body = StepBody(self._addresses, size_names, self._out)

    def text(self, name: str) -> str:
        out = self._out
        self._body.print_functions()
        with out.block(f'extern "C" void {name}(const Call *call) {{'):
            self._print_call()
            team = "Barrier &barrier, const int threads, const int me"
            opening = f"on_threads(c.threads, *c.kernels->crowding, [&]({team}) {{"
            with out.block(opening, "});"):
                self._print_thread()
        return out.text()

    def _print_call(self) -> None:
        """What all threads know of the call."""
        out = self._out
        out.line("const Call c = *call;")
        out.line("const long B = c.batch;")
        for i, name in enumerate(self._size_names):
            out.line(f"const long {size_text(name)} = c.sizes[{i}];")
        offset = "0"
        for i, (count, size) in enumerate(self._plan.scratch):
            out.line(f"const long ld{i} = panels({dim(size)}) * PW;")
            out.line(f"float *const scratch{i} = c.scratch + {offset};")
            rows = "B" if count == Dim.of(1) else f"B * {dim(count)}"
            offset = f"(scratch{i} - c.scratch) + {rows} * ld{i}"

    def _print_thread(self) -> None:
        """What one of the team does."""
        out, plan = self._out, self._plan
        unit = "0" if plan.unit is None else dim(plan.unit)
        out.line(f"const long unit = c.by_panel && {unit} % VL == 0 ? {unit} : 0;")
        out.line("const Share share = {me, threads, c.by_panel != 0, unit};")
        out.line("[[maybe_unused]] const Thread thread(*c.kernels);")
        out.line("[[maybe_unused]] float *const space = space_of(c, threads, me);")
        out.line("[[maybe_unused]] Meter meter(c, me);")
        self._print_packing()
        with out.block("for (long k0 = 0; k0 < c.steps; k0 += c.chunk) {"):
            out.line("const long k1 = k0 + c.chunk < c.steps ? k0 + c.chunk : c.steps;")
            out.line("const long t0 = c.direction > 0 ? c.first + k0 : c.first - k1 + 1;")
            # of sequences from the longest to the shortest those of a chunk's first step are all
            out.line("const long live = c.live ? c.live[t0] : B;")
            out.line("const Range own_rows = share.rows(live), ended = share.rows(B - live);")
            if plan.before or plan.after:
                out.line("const Chunk chunk = {t0, t0 + k1 - k0, B, live, share};")
            self._print_bulk(plan.before, "BEFORE")
            out.line("meter.in(ELEMENTWISE);")
            with out.block("for (long k = k0; k < k1; ++k) {"):
                self._print_step()
            self._print_bulk(plan.after, "AFTER")

    def _print_packing(self) -> None:
        if not self._plan.matrices:
            return
        with self._out.block("if (!c.packed_already) {"):
            for i, matrix in enumerate(self._plan.matrices):
                rows, columns = (dim(size) for size in matrix.shape)
                self._out.line(
                    f"c.kernels->pack(c.matrices[{i}], {rows}, {columns}, "
                    f"panels({rows}) * me / threads, panels({rows}) * (me + 1) / threads);"
                )
            self._out.line("meter.wait(barrier, threads);")

    # ---- before and after the steps of a chunk

    def _print_bulk(self, work: tuple[Bulk, ...], part: str) -> None:
        """What is done for all steps of a chunk; threads meet before it and after it."""
        if not work:
            return
        plan, out = self._plan, self._out
        out.line(f"meter.in({part});")
        out.line("meter.wait(barrier, threads);")
        for item in work:
            # what comes before the steps reads inputs, even where a step records the same
            known = plan.inputs if item in plan.before else plan.arrays
            if item.matrix is None:
                continue
            left, left_shift = self._operand_array(item.operand, known)
            rows, columns = (dim(size) for size in item.matrix.shape)
            bias = "nullptr" if item.bias is None else f"c.biases[{plan.biases.index(item.bias)}]"
            out.line(
                f"c.kernels->bulk_product(chunk, {left}, {left_shift}, "
                f"c.matrices[{plan.matrices.index(item.matrix)}], {rows}, {columns}, "
                f"{bias}, c.arrays[{plan.arrays.index(item.node)}], space);"
            )
        sums: dict[Node, list[Bulk]] = {}
        for item in work:
            if item.is_sum:
                sums.setdefault(item.operand, []).append(item)
        for operand, items in sums.items():
            with out.block("{"):
                self._print_sums(operand, items)
        out.line("meter.wait(barrier, threads);")

    def _print_sums(self, operand: Node, items: list[Bulk]) -> None:
        """Sums over a chunk with the same left operand, which is packed once for all."""
        plan, out = self._plan, self._out
        left, left_shift = self._operand_array(operand, plan.arrays)
        with out.block("const Sum sums[] = {", "};"):
            for item in items:
                right, shift, columns = "nullptr", "0", "1"
                if item.right is not None:
                    array, shift = self._operand_array(item.right, plan.arrays)
                    right, columns = f"&{array}", size_of(item.right)
                out.line(f"{{{right}, {shift}, {columns}, c.sums[{plan.sums.index(item.node)}]}},")
        chunk = "chunk"
        if is_rows(operand.shape):  # rows of the sequences are as more sequences
            count = dim(operand.shape[0])
            chunk = f"Chunk{{t0, t0 + k1 - k0, B * {count}, live * {count}, share}}"
        out.line(
            f"c.kernels->bulk_sums({chunk}, {left}, {left_shift}, {size_of(operand)}, sums, "
            f"{len(items)}, k0 > 0, space);"
        )

    def _operand_array(self, node: Node, known: Collection[Node]) -> tuple[str, str]:
        base, start = resolve(node, known)
        return f"c.arrays[{self._plan.arrays.index(base)}]", dim(start)

    # ---- a step

    def _print_step(self) -> None:
        plan, out = self._plan, self._out
        out.line("const long t = c.first + k * c.direction;")
        out.line("[[maybe_unused]] const long R = c.live ? c.live[t] : B;")
        out.line("[[maybe_unused]] const Range rows = own_rows.within(0, R);")
        out.line("[[maybe_unused]] const Range all_or_own = c.by_panel ? Range{0, R} : rows;")
        if self._body.has_products:
            # a step goes through its matrices from where the step before has ended
            out.line("const bool descending = (k & 1) != (c.direction < 0);")
        for i, node in enumerate(plan.carried):
            size, whole = whole_size_of(node), f"c.carried[{i}].whole"
            out.line(f"const long at{i} = {whole} ? t + (c.direction < 0) : (k & 1);")
            out.line(f"const long to{i} = {whole} ? t + (c.direction > 0) : !(k & 1);")
            out.line(f"float *const previous{i} = c.carried[{i}].data + at{i} * B * {size};")
            out.line(f"float *const next{i} = c.carried[{i}].data + to{i} * B * {size};")
        for i in sorted(self._arrays_in_step()):
            out.line(f"float *const array{i} = at(c.arrays[{i}], t, t0);")
        if plan.inputs:
            out.line("const int64_t *const ids = c.ids ? c.ids + t * B : nullptr;")
        self._body.print()
        self._print_masking()

    def _arrays_in_step(self) -> set[int]:
        """The arrays that a step reads or writes, not only what comes before and after steps."""
        plan = self._plan
        places = [place for stores in plan.stores.values() for place in stores]
        places += plan.places.values()
        places += [p for phase in plan.phases for _, p in (*phase.gathers, *phase.copies)]
        return {place.index for place in places if place.kind == "array"}

    def _print_masking(self) -> None:
        out, has_products = self._out, self._body.has_products
        # rows are masked whole, whoever has computed which features of them
        apart = "c.by_panel" if has_products else "unit"
        if not has_products:  # else threads have met already
            out.line("if (c.lengths && unit) meter.wait(barrier, threads);")
        with out.block("const auto stay = [&](long r) {", "};"):
            for i, node in enumerate(self._plan.carried):
                size = whole_size_of(node)
                out.line(
                    f"std::memcpy(next{i} + r * {size}, previous{i} + r * {size}, "
                    f"{size} * sizeof(float));"
                )
        # Records of steps that are left out have no value of their own; sums read those of a chunk.
        cleared = "const auto clear = [&]([[maybe_unused]] long r, [[maybe_unused]] bool summed) {"
        with out.block(cleared, "};"):
            first = len(self._plan.inputs) + len(self._plan.before)
            for i, node in enumerate(self._plan.records, start=first):
                place = Place("array", i, count=node.shape[0] if is_rows(node.shape) else None)
                size = size_of(node)
                if place.count is not None:
                    size = f"{dim(place.count)} * {self._addresses.base(place)[1]}"
                out.line(
                    f"if (summed || !c.arrays[{i}].local) "
                    f"std::memset({self._addresses.row(place)}, 0, {size} * sizeof(float));"
                )
        with out.block("if (c.lengths) {"):
            ended = "for (long r = own_rows.first; r < own_rows.last; ++r) if (t >= c.lengths[r]) {"
            with out.block(ended):
                out.line("stay(r);")
                out.line("clear(r, true);" if self._skip else "if (c.live) clear(r, true);")
            with out.block("for (long r = live + ended.first; r < live + ended.last; ++r) {"):
                out.line("stay(r);")
                out.line("clear(r, false);")
        out.line(f"if (c.lengths && {apart}) meter.wait(barrier, threads);")

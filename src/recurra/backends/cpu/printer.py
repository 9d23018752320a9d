"""A scheduled loop body as C++: one function that runs all steps on all threads."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from recurra.backends.cpu.rows import OVER_FEATURES, RowGroup
from recurra.backends.cpu.schedule import (
    Bulk,
    Phase,
    Place,
    Product,
    Schedule,
    apart_in_vector,
    divides_by_number,
    resolve,
)
from recurra.backends.cpu.spelling import dim, number_text, size_text, spelled
from recurra.ir import Dim, Node, is_rows

_MANY_PHASES = 24  # from which the compiler takes longer than a loop can gain


def print_loop(name: str, plan: Schedule, size_names: tuple[str, ...], *, skip: bool) -> str:
    """The C++ function `name` for a scheduled loop.

    Args:
        skip: what a step past a sequence's end does to the carried values and records: False holds
            the values (forward); True also records zeros (reverse: nothing flows through it).
    """
    return _Printer(name, plan, size_names, skip).text()


@dataclass(slots=True)
class _Group:
    """A fused elementwise group on its way to text: names for values, rows and loads."""

    size: Dim
    inside: dict[Node, str]
    pointers: dict[str, str] = field(default_factory=dict)
    loads: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    begin: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    end: list[str] = field(default_factory=list)

    def pointer(self, row: str) -> str:
        """A name for the start of a row, which is found once and not for every vector."""
        return self.pointers.setdefault(row, f"p{len(self.pointers)}")

    def load(self, row: str) -> str:
        """A name for the vector at j of a row."""
        pointer = self.pointer(row)
        name = f"m{pointer[1:]}"
        self.loads.setdefault(pointer, f"const vf {name} = get<TAIL>({pointer} + j, n - j);")
        return name

    def number(self, text: str) -> str:
        """A name for a number in all lanes, which is read once."""
        return self.numbers.setdefault(text, f"s{len(self.numbers)}")

    def reduce(self, op: str, name: str, value: str, row: str) -> None:
        """Sum the values of all features, or find the largest, and store it where `row` begins."""
        begin, more, end = OVER_FEATURES[op]
        self.begin.append(f"vf {name} = {begin};")
        kept = f"kept<TAIL>({value}, n - j, {begin})"
        self.body.append(f"{name} = {more.format(name, kept)};")
        self.end.append(f"*{self.pointer(row)} = {end}({name});")

    def lines(self) -> tuple[str, ...]:
        """What is done with the rows, for the features `own` of the n that there are."""
        return (
            *self.begin,
            "auto body = [&](auto tail, long j) __attribute__((always_inline)) {",
            "    constexpr bool TAIL = decltype(tail)::value;",
            *(f"    {line}" for line in (*self.loads.values(), *self.body)),
            "};",
            "long j = own.first;",
            "for (; j + VL <= own.last; j += VL) body(std::false_type{}, j);",
            "if (j < own.last) body(std::true_type{}, j);",
            *self.end,
        )


class _Printer:
    def __init__(self, name: str, plan: Schedule, size_names: tuple[str, ...], skip: bool) -> None:
        self.name, self.plan, self.size_names, self.skip = name, plan, size_names, skip
        self.given = set(plan.graph.inputs)
        self.lines: list[str] = []
        self.functions: dict[tuple[str, ...], str] = {}  # by what they do
        self.depth = 0

    def line(self, text: str = "") -> None:
        self.lines.append("    " * self.depth + text if text else "")

    def open(self, text: str) -> None:
        self.line(text)
        self.depth += 1

    def close(self, text: str = "}") -> None:
        self.depth -= 1
        self.line(text)

    def text(self) -> str:
        self._print_functions()
        self.open(f'extern "C" void {self.name}(const Call *call) {{')
        self.line("const Call c = *call;")
        self.line("const long B = c.batch;")
        for i, name in enumerate(self.size_names):
            self.line(f"const long {size_text(name)} = c.sizes[{i}];")
        offset = "0"
        for i, (count, size) in enumerate(self.plan.scratch):
            self.line(f"const long ld{i} = panels({dim(size)}) * PW;")
            self.line(f"float *const scratch{i} = c.scratch + {offset};")
            rows = "B" if count == Dim.of(1) else f"B * {dim(count)}"
            offset = f"(scratch{i} - c.scratch) + {rows} * ld{i}"
        team = "Barrier &barrier, const int threads, const int me"
        self.open(f"on_threads(c.threads, *c.kernels->crowding, [&]({team}) {{")
        unit = "0" if self.plan.unit is None else dim(self.plan.unit)
        self.line(f"const long unit = c.by_panel && {unit} % VL == 0 ? {unit} : 0;")
        self.line("const Share share = {me, threads, c.by_panel != 0, unit};")
        self.line("[[maybe_unused]] const Thread thread(*c.kernels);")
        self.line("[[maybe_unused]] float *const space = space_of(c, threads, me);")
        self.line("[[maybe_unused]] Meter meter(c, me);")
        self._print_packing()
        self.open("for (long k0 = 0; k0 < c.steps; k0 += c.chunk) {")
        self.line("const long k1 = k0 + c.chunk < c.steps ? k0 + c.chunk : c.steps;")
        self.line("const long t0 = c.direction > 0 ? c.first + k0 : c.first - k1 + 1;")
        # of sequences from the longest to the shortest those of a chunk's first step are all
        self.line("const long live = c.live ? c.live[t0] : B;")
        self.line("const Range own_rows = share.rows(live), ended = share.rows(B - live);")
        if self.plan.before or self.plan.after:
            self.line("const Chunk chunk = {t0, t0 + k1 - k0, B, live, share};")
        self._print_bulk(self.plan.before, "BEFORE")
        self.line("meter.in(ELEMENTWISE);")
        self.open("for (long k = k0; k < k1; ++k) {")
        self._print_step()
        self.close()
        self._print_bulk(self.plan.after, "AFTER")
        self.close()
        self.close("});")
        self.close()
        return "\n".join(self.lines) + "\n"

    def _print_packing(self) -> None:
        if not self.plan.matrices:
            return
        self.open("if (!c.packed_already) {")
        for i, matrix in enumerate(self.plan.matrices):
            rows, columns = (dim(size) for size in matrix.shape)
            self.line(
                f"c.kernels->pack(c.matrices[{i}], {rows}, {columns}, "
                f"panels({rows}) * me / threads, panels({rows}) * (me + 1) / threads);"
            )
        self.line("meter.wait(barrier, threads);")
        self.close()

    def _print_bulk(self, work: tuple[Bulk, ...], part: str) -> None:
        """What is done for all steps of a chunk; threads meet before it and after it."""
        if not work:
            return
        self.line(f"meter.in({part});")
        self.line("meter.wait(barrier, threads);")
        for item in work:
            # what comes before the steps reads inputs, even where a step records the same
            known = self.plan.inputs if item in self.plan.before else self.plan.arrays
            if item.matrix is None:
                continue
            left, left_shift = self._operand_array(item.operand, known)
            rows, columns = (dim(size) for size in item.matrix.shape)
            bias = "nullptr"
            if item.bias is not None:
                bias = f"c.biases[{self.plan.biases.index(item.bias)}]"
            self.line(
                f"c.kernels->bulk_product(chunk, {left}, {left_shift}, "
                f"c.matrices[{self.plan.matrices.index(item.matrix)}], {rows}, {columns}, "
                f"{bias}, c.arrays[{self.plan.arrays.index(item.node)}], space);"
            )
        sums: dict[Node, list[Bulk]] = {}
        for item in work:
            if item.is_sum:
                sums.setdefault(item.operand, []).append(item)
        for operand, items in sums.items():
            self._print_sums(operand, items)
        self.line("meter.wait(barrier, threads);")

    def _print_sums(self, operand: Node, items: list[Bulk]) -> None:
        """Sums over a chunk with the same left operand, which is packed once for all."""
        left, left_shift = self._operand_array(operand, self.plan.arrays)
        self.open("{")
        self.open("const Sum sums[] = {")
        for item in items:
            right, shift, columns = "nullptr", "0", "1"
            if item.right is not None:
                array, shift = self._operand_array(item.right, self.plan.arrays)
                right, columns = f"&{array}", _size(item.right)
            out = f"c.sums[{self.plan.sums.index(item.node)}]"
            self.line(f"{{{right}, {shift}, {columns}, {out}}},")
        self.close("};")
        chunk = "chunk"
        if is_rows(operand.shape):  # rows of the sequences are as more sequences
            count = dim(operand.shape[0])
            chunk = f"Chunk{{t0, t0 + k1 - k0, B * {count}, live * {count}, share}}"
        self.line(
            f"c.kernels->bulk_sums({chunk}, {left}, {left_shift}, {_size(operand)}, sums, "
            f"{len(items)}, k0 > 0, space);"
        )
        self.close()

    def _operand_array(self, node: Node, known: Collection[Node]) -> tuple[str, str]:
        base, start = resolve(node, known)
        return f"c.arrays[{self.plan.arrays.index(base)}]", dim(start)

    def _print_step(self) -> None:
        self.line("const long t = c.first + k * c.direction;")
        self.line("[[maybe_unused]] const long R = c.live ? c.live[t] : B;")
        self.line("[[maybe_unused]] const Range rows = own_rows.within(0, R);")
        self.line("[[maybe_unused]] const Range all_or_own = c.by_panel ? Range{0, R} : rows;")
        if self._has_products():
            # a step goes through its matrices from where the step before has ended
            self.line("const bool descending = (k & 1) != (c.direction < 0);")
        for i, node in enumerate(self.plan.carried):
            size = _whole(node)
            self.line(f"const long at{i} = c.carried[{i}].whole ? t + (c.direction < 0) : (k & 1);")
            self.line(
                f"const long to{i} = c.carried[{i}].whole ? t + (c.direction > 0) : !(k & 1);"
            )
            self.line(f"float *const previous{i} = c.carried[{i}].data + at{i} * B * {size};")
            self.line(f"float *const next{i} = c.carried[{i}].data + to{i} * B * {size};")
        for i in sorted(self._arrays_in_step()):
            self.line(f"float *const array{i} = at(c.arrays[{i}], t, t0);")
        if self.plan.inputs:
            self.line("const int64_t *const ids = c.ids ? c.ids + t * B : nullptr;")
        for phases in self.plan.stretches:
            self._print_products(phases[0].products)
            self._print_sequences(phases)
        self._print_masking()

    def _arrays_in_step(self) -> set[int]:
        """The arrays that a step reads or writes, not only what comes before and after steps."""
        places = [p for n, p in self.plan.places.items() if n in self.given]
        places += [place for stores in self.plan.stores.values() for place in stores]
        places += list(self.plan.places.values())
        places += [p for phase in self.plan.phases for _, p in (*phase.gathers, *phase.copies)]
        return {place.index for place in places if place.kind == "array"}

    # ---- phases

    def _print_products(self, products: list[Product]) -> None:
        count = len(products)
        if count:
            self.line("meter.in(PRODUCTS);")
        if count == 1:
            self._print_product(products[0])
        elif count:
            turn = f"Range{{0, {count}}}.at(i, descending)"
            self.open(f"for (long i = 0; i < {count}; ++i) switch ({turn}) {{")
            for i, product in enumerate(products):
                self.open(f"case {i}:")
                self._print_product(product)
                self.close("break;")
            self.close()
        if count:
            self.line("meter.in(ELEMENTWISE);")

    def _print_sequences(self, phases: Sequence[Phase]) -> None:
        """What each sequence does by itself after the products of the first of some phases."""
        if not any(p.groups or p.rows or p.gathers or p.reductions or p.copies for p in phases):
            self.line("if (c.by_panel) meter.wait(barrier, threads);")
            return
        if phases[0].products:
            self.line("if (c.by_panel && !unit) meter.wait(barrier, threads);")
        if self.plan.unit is None:
            self.open("for (long r = rows.first; r < rows.last; ++r) {")
        else:
            self.open("for (long r = unit ? 0 : rows.first; r < (unit ? R : rows.last); ++r) {")
        rows = [node for phase in phases for nodes in phase.rows.values() for node in nodes]
        if any(node in self.plan.totals for node in rows):
            self.line("if (c.lengths && t >= c.lengths[r]) continue;")
        for phase in phases:
            self._print_phase(phase)
        self.close()
        if self._has_products():
            self.line("if (c.by_panel) meter.wait(barrier, threads);")

    def _print_phase(self, phase: Phase) -> None:
        """What sequence r does in a phase."""
        for size, nodes in phase.groups.items():
            self._print_group(size, nodes)
        for shape, nodes in phase.rows.items():
            group = RowGroup(
                shape,
                nodes,
                self.plan,
                row=self._row,
                apart=self._apart,
                number_of=self._number_of,
            )
            for line in group.lines():
                self.line(line)
        for node, place in phase.gathers:
            self._print_copy(node, place)
        for node in phase.reductions:
            self._print_reduction(node)
        for node, place in phase.copies:
            self._print_copy(node, place)

    def _print_product(self, product: Product) -> None:
        rows, columns = (dim(size) for size in self.plan.matrices[product.matrix].shape)
        operand, start = resolve(product.operand, self.given)
        base, stride = self._base(self.plan.places[operand])
        shift = "" if start.is_zero else f" + {dim(start)}"
        target, target_stride = self._base(self.plan.places[product.node])
        each = "all_or_own"
        if is_rows(product.node.shape):
            each = f"all_or_own.times({dim(product.node.shape[0])})"
        self.line(f"// {rows} x {columns}")
        self.line(
            f"c.kernels->product({base}{shift}, {stride}, "
            f"c.matrices[{product.matrix}].packed, {columns}, {rows}, {each}, "
            f"share.columns({rows}), descending, {target}, {target_stride}, space);"
        )

    def _has_products(self) -> bool:
        return any(phase.products for phase in self.plan.phases)

    def _group(self, size: Dim, nodes: list[Node]) -> _Group:
        group = _Group(size, {node: f"v{i}" for i, node in enumerate(nodes)})
        for node, name in group.inside.items():
            if node.op in OVER_FEATURES:
                value = self._operand(node.inputs[0], group)
                group.reduce(node.op, name, value, self._row(self.plan.places[node]))
                continue
            group.body.append(f"const vf {name} = {self._value(node, group)};")
            group.body += [
                f"put<TAIL>({group.pointer(self._row(place))} + j, {name}, n - j);"
                for place in self.plan.stores.get(node, ())
            ]
        return group

    def _print_functions(self) -> None:
        """Of unrolled steps, groups that occur more than once are functions: the compiler takes a
        long time for each, and for what it has to do well."""
        if len(self.plan.phases) <= _MANY_PHASES:
            return
        groups = [self._group(*item) for phase in self.plan.phases for item in phase.groups.items()]
        times = Counter(group.lines() for group in groups)
        for group in groups:
            lines = group.lines()
            if times[lines] == 1 or lines in self.functions:
                continue
            self.functions[lines] = name = f"group{len(self.functions)}"
            numbers = [f"const vf &{number}" for number in group.numbers.values()]
            pointers = [f"float *const {pointer}" for pointer in group.pointers.values()]
            sizes = [f"const long {size_text(name)}" for name in self.size_names]
            given = ", ".join(("const Range own", "const long n", *sizes, *pointers, *numbers))
            self.open(f"static __attribute__((noinline)) void {name}({given}) {{")
            for line in lines:
                self.line(line)
            self.close()
        self.line('#pragma GCC optimize("O1")')

    def _print_group(self, size: Dim, nodes: list[Node]) -> None:
        group = self._group(size, nodes)
        self.open("{")
        self.line(f"const long n = {dim(size)};")
        for row, name in group.pointers.items():
            self.line(f"float *const {name} = {row};")
        for text, name in group.numbers.items():
            self.line(f"const vf {name} = {text};")
        own = "Range{0, n}"
        if self.plan.unit is not None:
            own = f"unit ? share.columns(n).each : {own}"
        self.line(f"const Range own = {own};")
        lines = group.lines()
        if lines in self.functions:
            sizes = map(size_text, self.size_names)
            numbers = group.numbers.values()
            given = ", ".join(("own", "n", *sizes, *group.pointers.values(), *numbers))
            self.line(f"{self.functions[lines]}({given});")
        else:
            for line in lines:
                self.line(line)
        self.close()

    def _value(self, node: Node, group: _Group) -> str:
        """What a group computes for a vector of features."""
        if group.size == Dim.of(1) or not divides_by_number(node):
            return spelled(node, [self._operand(child, group) for child in node.inputs])
        divided, number = (self._operand(child, group) for child in node.inputs)
        base, _ = resolve(node.inputs[1], self.given)
        reciprocal = group.number(f"splat(1.0f / *({self._row(self.plan.places[base])}))")
        return f"divided({divided}, {number}, {reciprocal})"

    def _operand(self, child: Node, group: "_Group") -> str:
        seen, at = resolve(child, self.given)
        if at.is_zero and seen in group.inside:  # a vector, or numbers of rows
            return group.inside[seen]
        number = self._number_of(child)
        if number is not None:
            return f"splat({number})"
        base, start = resolve(child, self.given)
        if base.op == "expand" and base not in self.plan.places:
            (base,) = base.inputs
            number = self._number_of(base)
            if number is not None:
                return f"splat({number})"
        row = self._row(self.plan.places[base])
        if not base.shape and group.size != Dim.of(1):
            return group.number(f"splat(*({row}))")
        return group.load(row if start.is_zero else f"{row} + {dim(start)}")

    def _number_of(self, node: Node) -> str | None:
        if node.op == "const":
            return number_text(node.attr("value"))
        return f"(float)({dim(node.attr('dim'))})" if node.op == "size" else None

    def _print_reduction(self, node: Node) -> None:
        base, start = resolve(node.inputs[0], self.given)
        shift = "" if start.is_zero else f" + {dim(start)}"
        target = self._row(self.plan.places[node])
        size = dim(node.inputs[0].shape[-1])
        if base.op == "expand" and base not in self.plan.places:
            raise AssertionError(f"{node}: a reduction of a number should have been folded")
        source = self._row(self.plan.places[base])
        if node.op == "overlaps":
            apart = self._base(self.plan.places[base])[1]
            count = dim(node.shape[0])
            self.line(f"overlaps_of({source}{shift}, {apart}, {count}, {size}, {target});")
            return
        self.line(f"*({target}) = {node.op}_over({source}{shift}, {size});")

    def _print_copy(self, node: Node, place: Place) -> None:
        base, start = resolve(node, self.given)
        target, size = self._row(place), _size(node)
        number = self._number_of(base)
        if base.op == "expand" and base not in self.plan.places:
            number = self._number_of(base.inputs[0])
        if node.op == "flatten" and self.plan.places[node] == place:
            self._print_flattened(node, target)
            return
        if place.count is not None:
            self.open(f"for (long s = 0; s < {dim(place.count)}; ++s) {{")
            target = f"{target} + s * {self._base(place)[1]}"
        if number is not None:
            self.line(f"for (long j = 0; j < {size}; ++j) ({target})[j] = {number};")
        elif node.op == "windows" and self.plan.places[node] == place:
            numbers, begin = resolve(node.inputs[0], self.given)
            source = self._row(self.plan.places[numbers].shifted(begin))
            width = node.attr("width")
            self.line(f"window_of({source}, {dim(node.shape[0])}, s, {width}, {target});")
        else:
            source_place = self.plan.places[base].shifted(start)
            source = self._row(source_place)
            if place.count is not None:
                apart = apart_in_vector(node, self.given)
                source_place = replace(source_place, apart=apart)
                source = f"{source} + s * {self._apart(source_place)}"
            self.line(f"std::memcpy({target}, {source}, {size} * sizeof(float));")
        if place.count is not None:
            self.close()

    def _print_flattened(self, node: Node, target: str) -> None:
        """Rows that no group computes, one behind the other."""
        (rows,) = node.inputs
        base, start = resolve(rows, self.given)
        apart = apart_in_vector(rows, self.given)
        place = replace(self.plan.places[base].shifted(start), apart=apart)
        source, size = f"{self._row(place)} + s * {self._apart(place)}", _size(rows)
        self.line(
            f"for (long s = 0; s < {dim(rows.shape[0])}; ++s) "
            f"std::memcpy({target} + s * {size}, {source}, {size} * sizeof(float));"
        )

    def _print_masking(self) -> None:
        # rows are masked whole, whoever has computed which features of them
        apart = "c.by_panel" if self._has_products() else "unit"
        if not self._has_products():  # else threads have met already
            self.line("if (c.lengths && unit) meter.wait(barrier, threads);")
        self.open("const auto stay = [&](long r) {")
        for i, node in enumerate(self.plan.carried):
            size = _whole(node)
            self.line(
                f"std::memcpy(next{i} + r * {size}, previous{i} + r * {size}, "
                f"{size} * sizeof(float));"
            )
        self.close("};")
        # Records of steps that are left out have no value of their own; sums read those of a chunk.
        self.open("const auto clear = [&]([[maybe_unused]] long r, [[maybe_unused]] bool summed) {")
        first = len(self.plan.inputs) + len(self.plan.before)
        for i, node in enumerate(self.plan.records, start=first):
            place = Place("array", i, count=node.shape[0] if is_rows(node.shape) else None)
            size = _size(node)
            if place.count is not None:
                size = f"{dim(place.count)} * {self._base(place)[1]}"
            self.line(
                f"if (summed || !c.arrays[{i}].local) "
                f"std::memset({self._row(place)}, 0, {size} * sizeof(float));"
            )
        self.close("};")
        self.open("if (c.lengths) {")
        self.open("for (long r = own_rows.first; r < own_rows.last; ++r) if (t >= c.lengths[r]) {")
        self.line("stay(r);")
        self.line("clear(r, true);" if self.skip else "if (c.live) clear(r, true);")
        self.close()
        self.open("for (long r = live + ended.first; r < live + ended.last; ++r) {")
        self.line("stay(r);")
        self.line("clear(r, false);")
        self.close()
        self.close()
        self.line(f"if (c.lengths && {apart}) meter.wait(barrier, threads);")

    # ---- memory

    def _apart(self, place: Place) -> str:
        """How far apart the rows are that a sequence has at a place."""
        return self._base(place)[1] if place.apart is None else dim(place.apart)

    def _base(self, place: Place) -> tuple[str, str]:
        """Where row 0 of a value lies at this step, and the distance between rows."""
        i = place.index
        shift = "" if place.offset.is_zero else f" + {dim(place.offset)}"
        if place.kind == "scratch":
            return f"scratch{i}{shift}", f"ld{i}"
        if place.kind == "array":
            return f"array{i}{shift}", f"c.arrays[{i}].row"
        size = _size(self.plan.carried[i])
        return f"{place.kind}{i}{shift}", size

    def _row(self, place: Place) -> str:
        """Where row r of a value lies at this step."""
        base, stride = self._base(place)
        r = "r"
        if place.kind == "scratch" and place.index in self.plan.passing:
            r = "rows.first"  # the memory of a thread's first sequence serves all that it has
        if place.count is not None:
            return f"{base} + {r} * {dim(place.count)} * {stride}"
        if place.kind == "array" and place.index < len(self.plan.inputs):
            shift = "" if place.offset.is_zero else f" + {dim(place.offset)}"
            return f"row_of(c.arrays[{place.index}], array{place.index}, ids, r){shift}"
        return f"{base} + {r} * {stride}"


def _whole(node: Node) -> str:
    """How many numbers a sequence has of a value whose rows lie one behind the other."""
    return f"{dim(node.shape[0])} * {_size(node)}" if is_rows(node.shape) else _size(node)


def _size(node: Node) -> str:
    """The size of a value, or of each of its rows."""
    return dim(node.shape[-1]) if node.shape else "1"

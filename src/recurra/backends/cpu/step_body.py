"""What one step of a scheduled loop computes, in C++: products, and what each sequence does."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from recurra.backends.cpu.addresses import Addresses, size_of
from recurra.backends.cpu.dialect import dim, number_of, size_text
from recurra.backends.cpu.group import VectorGroup
from recurra.backends.cpu.lines import Lines
from recurra.backends.cpu.rows import RowGroup
from recurra.backends.cpu.schedule import Phase, Place, Product, apart_in_vector, resolve
from recurra.ir import Dim, Node, is_rows

_MANY_PHASES = 24  # from which the compiler takes longer than a loop can gain


class StepBody:
    """Prints the phases of a step.

    Args:
        addresses: where values lie, by the schedule.
        size_names: the sizes that the loop is given.
        out: where it is printed to.
    """

    def __init__(self, addresses: Addresses, size_names: tuple[str, ...], out: Lines) -> None:
        self._addresses, self._plan = addresses, addresses.plan
        self._size_names, self._out = size_names, out
        self._functions: dict[tuple[str, ...], str] = {}  # by what they do
        self.has_products = any(phase.products for phase in self._plan.phases)

    def print_functions(self) -> None:
        """Of unrolled steps, groups that occur more than once are functions: the compiler takes a
        long time for each, and for what it has to do well."""
        phases = self._plan.phases
        if len(phases) <= _MANY_PHASES:
            return
        groups = [self._group(*item) for phase in phases for item in phase.groups.items()]
        times = Counter(group.lines() for group in groups)
        for group in groups:
            lines = group.lines()
            if times[lines] == 1 or lines in self._functions:
                continue
            self._functions[lines] = name = f"group{len(self._functions)}"
            numbers = [f"const vf &{number}" for number in group.numbers.values()]
            pointers = [f"float *const {pointer}" for pointer in group.pointers.values()]
            sizes = [f"const long {size_text(size)}" for size in self._size_names]
            given = ", ".join(("const Range own", "const long n", *sizes, *pointers, *numbers))
            opening = f"static __attribute__((noinline)) void {name}({given}) {{"
            with self._out.block(opening):
                self._out.lines(lines)
        self._out.line('#pragma GCC optimize("O1")')

    def print(self) -> None:
        """All phases, after what of a step has a name."""
        for phases in self._plan.stretches:
            self._print_products(phases[0].products)
            self._print_sequences(phases)

    # ---- products

    def _print_products(self, products: list[Product]) -> None:
        count, out = len(products), self._out
        if count:
            out.line("meter.in(PRODUCTS);")
        if count == 1:
            self._print_product(products[0])
        elif count:
            turn = f"Range{{0, {count}}}.at(i, descending)"
            with out.block(f"for (long i = 0; i < {count}; ++i) switch ({turn}) {{"):
                for i, product in enumerate(products):
                    with out.block(f"case {i}:", "break;"):
                        self._print_product(product)
        if count:
            out.line("meter.in(ELEMENTWISE);")

    def _print_product(self, product: Product) -> None:
        rows, columns = (dim(size) for size in self._plan.matrices[product.matrix].shape)
        operand, shift = self._addresses.part_of(product.operand)
        base, stride = self._addresses.base(self._plan.places[operand])
        target, target_stride = self._addresses.base(self._plan.places[product.node])
        each = "all_or_own"
        if is_rows(product.node.shape):
            each = f"all_or_own.times({dim(product.node.shape[0])})"
        self._out.line(f"// {rows} x {columns}")
        self._out.line(
            f"c.kernels->product({base}{shift}, {stride}, "
            f"c.matrices[{product.matrix}].packed, {columns}, {rows}, {each}, "
            f"share.columns({rows}), descending, {target}, {target_stride}, space);"
        )

    # ---- what each sequence does

    def _print_sequences(self, phases: Sequence[Phase]) -> None:
        """What each sequence does by itself after the products of the first of some phases."""
        out = self._out
        if not any(p.groups or p.rows or p.gathers or p.reductions or p.copies for p in phases):
            out.line("if (c.by_panel) meter.wait(barrier, threads);")
            return
        if phases[0].products:
            out.line("if (c.by_panel && !unit) meter.wait(barrier, threads);")
        first, last = "rows.first", "rows.last"
        if self._plan.unit is not None:
            first, last = f"unit ? 0 : {first}", f"(unit ? R : {last})"
        with out.block(f"for (long r = {first}; r < {last}; ++r) {{"):
            rows = [node for phase in phases for nodes in phase.rows.values() for node in nodes]
            if any(node in self._plan.totals for node in rows):
                out.line("if (c.lengths && t >= c.lengths[r]) continue;")
            for phase in phases:
                self._print_phase(phase)
        if self.has_products:
            out.line("if (c.by_panel) meter.wait(barrier, threads);")

    def _print_phase(self, phase: Phase) -> None:
        """What sequence r does in a phase."""
        for size, nodes in phase.groups.items():
            self._print_group(size, nodes)
        for shape, nodes in phase.rows.items():
            self._out.lines(RowGroup(shape, nodes, self._addresses).lines())
        for node, place in phase.gathers:
            self._print_copy(node, place)
        for node in phase.reductions:
            self._print_reduction(node)
        for node, place in phase.copies:
            self._print_copy(node, place)

    def _group(self, size: Dim, nodes: list[Node]) -> VectorGroup:
        return VectorGroup(size, nodes, self._addresses)

    def _print_group(self, size: Dim, nodes: list[Node]) -> None:
        group, out = self._group(size, nodes), self._out
        with out.block("{"):
            out.line(f"const long n = {dim(size)};")
            out.lines(f"float *const {name} = {row};" for row, name in group.pointers.items())
            out.lines(f"const vf {name} = {text};" for text, name in group.numbers.items())
            own = "Range{0, n}"
            if self._plan.unit is not None:
                own = f"unit ? share.columns(n).each : {own}"
            out.line(f"const Range own = {own};")
            lines = group.lines()
            if lines in self._functions:
                sizes = map(size_text, self._size_names)
                numbers = group.numbers.values()
                given = ", ".join(("own", "n", *sizes, *group.pointers.values(), *numbers))
                out.line(f"{self._functions[lines]}({given});")
            else:
                out.lines(lines)

    def _print_reduction(self, node: Node) -> None:
        base, shift = self._addresses.part_of(node.inputs[0])
        if self._addresses.behind(base) is not base:
            raise AssertionError(f"{node}: a reduction of a number should have been folded")
        source, target = self._addresses.row_of(base), self._addresses.row_of(node)
        size = dim(node.inputs[0].shape[-1])
        if node.op == "overlaps":
            apart = self._addresses.base(self._plan.places[base])[1]
            count = dim(node.shape[0])
            self._out.line(f"overlaps_of({source}{shift}, {apart}, {count}, {size}, {target});")
            return
        self._out.line(f"*({target}) = {node.op}_over({source}{shift}, {size});")

    # ---- copies

    def _print_copy(self, node: Node, place: Place) -> None:
        base, _ = resolve(node, self._addresses.given)
        target, size, out = self._addresses.row(place), size_of(node), self._out
        own = self._plan.places.get(node) == place
        if node.op == "flatten" and own:
            self._print_flattened(node, target)
            return
        number = number_of(self._addresses.behind(base))
        if number is not None:
            copied = f"for (long j = 0; j < {size}; ++j) ({{target}})[j] = {number};"
        elif node.op == "windows" and own:
            numbers, begin = resolve(node.inputs[0], self._addresses.given)
            source = self._addresses.row(self._plan.places[numbers].shifted(begin))
            given = f"{source}, {dim(node.shape[0])}, s, {node.attr('width')}"
            copied = f"window_of({given}, {{target}});"
        else:
            copied = (
                f"std::memcpy({{target}}, {self._source(node, place)}, {size} * sizeof(float));"
            )
        if place.count is None:
            out.line(copied.format(target=target))
            return
        with out.block(f"for (long s = 0; s < {dim(place.count)}; ++s) {{"):
            apart = self._addresses.base(place)[1]
            out.line(copied.format(target=f"{target} + s * {apart}"))

    def _source(self, node: Node, place: Place) -> str:
        """Where what is copied to a place begins: there, if it has rows, row s."""
        base, start = resolve(node, self._addresses.given)
        source = self._plan.places[base].shifted(start)
        row = self._addresses.row(source)
        if place.count is None:
            return row
        source = replace(source, apart=apart_in_vector(node, self._addresses.given))
        return f"{row} + s * {self._addresses.apart(source)}"

    def _print_flattened(self, node: Node, target: str) -> None:
        """Rows that no group computes, one behind the other."""
        (rows,) = node.inputs
        base, start = resolve(rows, self._addresses.given)
        apart = apart_in_vector(rows, self._addresses.given)
        place = replace(self._plan.places[base].shifted(start), apart=apart)
        addresses, size = self._addresses, size_of(rows)
        source = f"{addresses.row(place)} + s * {addresses.apart(place)}"
        self._out.line(
            f"for (long s = 0; s < {dim(rows.shape[0])}; ++s) "
            f"std::memcpy({target} + s * {size}, {source}, {size} * sizeof(float));"
        )

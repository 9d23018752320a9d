"""A scheduled loop body as C++: one function that runs all steps on all threads."""

from recurra.backends.cpu.schedule import Phase, Place, Schedule, resolve
from recurra.ir import Dim, Node

_SPELLING = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "lt": "from_mask({0} < {1})",
    "le": "from_mask({0} <= {1})",
    "gt": "from_mask({0} > {1})",
    "ge": "from_mask({0} >= {1})",
    "eq": "from_mask({0} == {1})",
    "ne": "from_mask({0} != {1})",
    "where": "where({0}, {1}, {2})",
    "expand": "{0}",
    "clamp": "v_clamp({0}, {lo}, {hi})",
}
_FUNCTIONS = (
    *("abs", "exp", "expm1", "log", "sqrt", "sigmoid", "tanh", "relu", "softplus", "erf", "sin"),
    *("cos", "sign", "pow", "minimum", "maximum"),
)
_SPELLING.update({name: f"v_{name}({{0}})" for name in _FUNCTIONS})
_SPELLING.update({name: f"v_{name}({{0}}, {{1}})" for name in ("pow", "minimum", "maximum")})


def print_loop(name: str, plan: Schedule, size_names: tuple[str, ...], *, skip: bool) -> str:
    """The C++ function `name` for a scheduled loop.

    Args:
        skip: what a step past a sequence's end does to the carried values and records: False holds
            the values (forward); True also records zeros (reverse: nothing flows through it).
    """
    return _Printer(name, plan, size_names, skip).text()


class _Printer:
    def __init__(self, name: str, plan: Schedule, size_names: tuple[str, ...], skip: bool) -> None:
        self.name, self.plan, self.size_names, self.skip = name, plan, size_names, skip
        self.given = set(plan.graph.inputs)
        self.lines: list[str] = []
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
        self.open(f'extern "C" void {self.name}(const Call *call) {{')
        self.line("const Call c = *call;")
        self.line("const long B = c.batch;")
        for i, name in enumerate(self.size_names):
            self.line(f"const long n_{name} = c.sizes[{i}];")
        offset = "0"
        for i, size in enumerate(self.plan.scratch):
            self.line(f"const long ld{i} = panels({dim(size)}) * PW;")
            self.line(f"float *const scratch{i} = c.scratch + {offset};")
            offset = f"(scratch{i} - c.scratch) + B * ld{i}"
        self.line("Barrier barrier;")
        self.line("#pragma omp parallel num_threads((int)c.threads)")
        self.open("{")
        self.line("const int threads = omp_get_num_threads(), me = omp_get_thread_num();")
        self.line("const long row0 = B * me / threads, row1 = B * (me + 1) / threads;")
        self._print_packing()
        self.open("for (long k = 0; k < c.steps; ++k) {")
        self.line("const long t = c.first + k * c.direction;")
        self._print_carried()
        for phase in self.plan.phases:
            self._print_phase(phase)
        self._print_masking()
        self.close()
        self.close()
        self.close()
        return "\n".join(self.lines) + "\n"

    def _print_packing(self) -> None:
        if not self.plan.matrices:
            return
        self.open("if (!c.packed_already) {")
        for i, matrix in enumerate(self.plan.matrices):
            rows, columns = (dim(size) for size in matrix.shape)
            self.line(
                f"pack(c.matrices[{i}].data, c.matrices[{i}].row_stride, "
                f"c.matrices[{i}].column_stride, {rows}, {columns}, "
                f"panels({rows}) * me / threads, panels({rows}) * (me + 1) / threads, "
                f"c.matrices[{i}].packed);"
            )
        self.line("barrier.wait(threads);")
        self.close()

    def _print_carried(self) -> None:
        for i, node in enumerate(self.plan.carried):
            size = _size(node)
            self.line(f"const long at{i} = c.carried[{i}].whole ? t + (c.direction < 0) : (k & 1);")
            self.line(
                f"const long to{i} = c.carried[{i}].whole ? t + (c.direction > 0) : !(k & 1);"
            )
            self.line(f"float *const previous{i} = c.carried[{i}].data + at{i} * B * {size};")
            self.line(f"float *const next{i} = c.carried[{i}].data + to{i} * B * {size};")

    # ---- one phase

    def _print_phase(self, phase: Phase) -> None:
        for product in phase.products:
            rows, columns = (dim(size) for size in self.plan.matrices[product.matrix].shape)
            operand, start = resolve(product.operand, self.given)
            base, stride = self._base(self.plan.places[operand])
            shift = "" if start.is_zero else f" + {dim(start)}"
            target = self.plan.places[product.node].index
            self.line(f"// {rows} x {columns}")
            self.open("{")
            self.line(f"const long count = panels({rows});")
            self.line(
                f"product({base}{shift}, {stride}, c.matrices[{product.matrix}].packed, {columns}, "
                f"{rows}, c.by_panel ? 0 : row0, c.by_panel ? B : row1, "
                f"c.by_panel ? count * me / threads : 0, "
                f"c.by_panel ? count * (me + 1) / threads : count, scratch{target}, ld{target});"
            )
            self.close()
        if phase.products:
            self.line("if (c.by_panel) barrier.wait(threads);")
        self.open("for (long r = row0; r < row1; ++r) {")
        for size, nodes in phase.groups.items():
            self._print_group(size, nodes, phase)
        for node, place in phase.gathers:
            self._print_copy(node, place)
        for node in phase.reductions:
            self._print_reduction(node)
        for node, place in phase.copies:
            self._print_copy(node, place)
        self.close()
        if self._has_products():
            self.line("if (c.by_panel) barrier.wait(threads);")

    def _has_products(self) -> bool:
        return any(phase.products for phase in self.plan.phases)

    def _print_group(self, size: Dim, nodes: list[Node], phase: Phase) -> None:
        inside = {node: f"v{i}" for i, node in enumerate(nodes)}
        loads: dict[str, str] = {}
        head: list[str] = []
        body: list[str] = []
        for node, name in inside.items():
            operands = [self._operand(child, size, inside, loads, head) for child in node.inputs]
            attrs = {key: _number(value) for key, value in node.attrs if isinstance(value, float)}
            body.append(f"const vf {name} = {_SPELLING[node.op].format(*operands, **attrs)};")
            body += [
                f"put<TAIL>({self._row(place)} + j, {name}, n - j);"
                for place in self.plan.stores.get(node, ())
            ]
        self.open("{")
        self.line(f"const long n = {dim(size)};")
        for line in head:
            self.line(line)
        self.open("auto body = [&](auto tail, long j) __attribute__((always_inline)) {")
        self.line("constexpr bool TAIL = decltype(tail)::value;")
        for line in (*loads.values(), *body):
            self.line(line)
        self.close("};")
        self.line("long j = 0;")
        self.line("for (; j + VL <= n; j += VL) body(std::false_type{}, j);")
        self.line("if (j < n) body(std::true_type{}, j);")
        self.close()

    def _operand(
        self,
        child: Node,
        size: Dim,
        inside: dict[Node, str],
        loads: dict[str, str],
        head: list[str],
    ) -> str:
        if child in inside:
            return inside[child]
        number = self._number_of(child)
        if number is not None:
            return f"splat({number})"
        base, start = resolve(child, self.given)
        if base.op == "expand" and base not in self.plan.places:
            (base,) = base.inputs
            number = self._number_of(base)
            if number is not None:
                return f"splat({number})"
        pointer = self._row(self.plan.places[base])
        if not base.shape and size != Dim.of(1):
            name = f"s{len(head)}"
            head.append(f"const vf {name} = splat(*({pointer}));")
            return name
        shift = "" if start.is_zero else f" + {dim(start)}"
        address = f"{pointer}{shift} + j"
        if address not in loads:
            loads[address] = f"const vf m{len(loads)} = get<TAIL>({address}, n - j);"
        return loads[address].split()[2]

    def _number_of(self, node: Node) -> str | None:
        if node.op == "const":
            return _number(node.attr("value"))
        return f"(float)({dim(node.attr('dim'))})" if node.op == "size" else None

    def _print_reduction(self, node: Node) -> None:
        base, start = resolve(node.inputs[0], self.given)
        shift = "" if start.is_zero else f" + {dim(start)}"
        target = self._row(self.plan.places[node])
        size = dim(node.inputs[0].shape[0])
        if base.op == "expand" and base not in self.plan.places:
            raise AssertionError(f"{node}: a reduction of a number should have been folded")
        source = self._row(self.plan.places[base])
        self.line(f"*({target}) = {node.op}_over({source}{shift}, {size});")

    def _print_copy(self, node: Node, place: Place) -> None:
        base, start = resolve(node, self.given)
        target, size = self._row(place), _size(node)
        number = self._number_of(base)
        if base.op == "expand" and base not in self.plan.places:
            number = self._number_of(base.inputs[0])
        if number is not None:
            self.line(f"for (long j = 0; j < {size}; ++j) ({target})[j] = {number};")
            return
        shift = "" if start.is_zero else f" + {dim(start)}"
        source = self._row(self.plan.places[base])
        self.line(f"std::memcpy({target}, {source}{shift}, {size} * sizeof(float));")

    def _print_masking(self) -> None:
        self.open("if (c.lengths) for (long r = row0; r < row1; ++r) if (t >= c.lengths[r]) {")
        for i, node in enumerate(self.plan.carried):
            size = _size(node)
            self.line(
                f"std::memcpy(next{i} + r * {size}, previous{i} + r * {size}, "
                f"{size} * sizeof(float));"
            )
        if self.skip:
            for i, node in enumerate(self._records()):
                size = _size(node)
                row = f"c.records[{i}] + (t * B + r) * {size}"
                self.line(f"std::memset({row}, 0, {size} * sizeof(float));")
        self.close()
        if self._has_products():
            self.line("if (c.lengths && c.by_panel) barrier.wait(threads);")

    def _records(self) -> tuple[Node, ...]:
        return self.plan.graph.output_nodes[len(self.plan.carried) :]

    # ---- memory

    def _base(self, place: Place) -> tuple[str, str]:
        """Where row 0 of a value lies at this step, and the distance between rows."""
        i = place.index
        shift = "" if place.offset.is_zero else f" + {dim(place.offset)}"
        if place.kind == "scratch":
            return f"scratch{i}{shift}", f"ld{i}"
        if place.kind == "input":
            return (
                f"c.inputs[{i}].data + t * c.inputs[{i}].step_stride{shift}",
                f"c.inputs[{i}].row_stride",
            )
        if place.kind == "record":
            size = _size(self._records()[i])
            return f"c.records[{i}] + t * B * {size}{shift}", size
        size = _size(self.plan.carried[i])
        return f"{place.kind}{i}{shift}", size

    def _row(self, place: Place) -> str:
        base, stride = self._base(place)
        return f"{base} + r * {stride}"


def dim(size: Dim) -> str:
    """A symbolic size as a C++ expression."""
    parts = []
    for name, coefficient in size.terms:
        text = f"n_{name}"
        if coefficient.numerator != 1:
            text = f"{coefficient.numerator} * {text}"
        if coefficient.denominator != 1:
            text = f"{text} / {coefficient.denominator}"
        parts.append(text)
    if size.constant or not parts:
        parts.append(str(size.constant))
    return f"({' + '.join(parts)})"


def _size(node: Node) -> str:
    return dim(node.shape[0]) if node.shape else "1"


def _number(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return f"{'-' if value < 0 else ''}std::numeric_limits<float>::infinity()"
    text = repr(float(value))
    return text + "f"

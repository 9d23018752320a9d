"""Layers and directions of one cell: their sizes, their parameters, and the loop over them.

Letters: T time, B batch, I input, O output, S size of a state, L layers, D directions (1 or 2).
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recurra import backends
from recurra.compose.spelling import resolved
from recurra.errors import BackendError
from recurra.ir import POSITIONS, shape_text
from recurra.lang import Cell
from recurra.nn import checks, initial
from recurra.nn import sizes as sizing
from recurra.nn.checks import Home
from recurra.nn.dropout import chosen, dropout
from recurra.nn.known import KnownCalls
from recurra.nn.ragged import LongestFirst
from recurra.nn.watched import watcher_of

State = Tensor | tuple[Tensor, ...]


class CellStack(nn.Module):
    """L layers of a cell in D directions, on tensors in the form that backends take.

    `Recurrent` is this with a forward that accepts every form in which sequences come.
    """

    _own_shapes: tuple[tuple[int, ...], ...] | None = None
    _first_home: Home | None = None
    _known: KnownCalls | None = None

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
        memory: str = "normal",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        sizes: Mapping[str, int | str] | None = None,
        init: Mapping[str, initial.Rule] | None = None,
        learned_state: bool = False,
        reverse: bool = False,
    ) -> None:
        nn.Module.__init__(self)  # none of another base that a layer has besides
        self.cell = resolved(type(self).__name__, cell)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.backend = backend
        self.memory = memory
        self.sizes: dict[str, Any] = dict(sizes or {})
        self.init = dict(init or {})
        self.learned_state = learned_state
        self.reverse = reverse
        self._check_arguments(dtype)
        self.dropout = float(dropout)
        self.layer_sizes = tuple(self._each_layer_sizes())
        self._check_state_sizes()
        if POSITIONS not in self.cell.state_sizes:
            self._own_shapes = self.own_shapes()  # once, not at every call
        self._make_parameters(dtype, device)
        self.reset_parameters()
        self._first_home = self.home
        self._equations = backends.fingerprint([self.cell.equations])
        # A wrong name, or a backend that cannot run here, shall be known before training.
        backends.load(self.cell, backend, self.home.device, memory=memory)

    def _check_arguments(self, dtype: torch.dtype | None) -> None:
        where = self.where
        checks.check_sizes(where, hidden_size=self.hidden_size, num_layers=self.num_layers)
        if self.cell.input is not None:
            checks.check_sizes(where, input_size=self.input_size)
        elif self.input_size != 0 or self.num_layers > 1:
            raise ValueError(
                f"{where}: expected input_size=0 and num_layers=1 for a cell that reads no input, "
                f"got input_size={self.input_size}, num_layers={self.num_layers}. "
                f"Layers of such a cell cannot be connected."
            )
        sizes = sizing.numbers_of_sizes(where, self.sizes, self.input_size, self.hidden_size)
        sizing.check_size_names(where, self.cell, sizes)
        known = {"I": self.input_size, "H": self.hidden_size, **sizes}
        sizing.check_state_is_hidden(where, self.cell, known)
        self.sizes = {**self.cell.own_sizes(self.input_size, self.hidden_size), **sizes}
        checks.check_init_names(where, self.cell, self.init)
        checks.check_dropout(where, "dropout", self.dropout)
        checks.check_flags(
            where,
            bidirectional=self.bidirectional,
            learned_state=self.learned_state,
            reverse=self.reverse,
        )
        if self.reverse and self.bidirectional:
            raise ValueError(
                f"{where}: expected reverse=True or bidirectional=True, got both. "
                f"A bidirectional layer reads both ways already."
            )
        checks.check_dtype(where, dtype)
        sizing.check_numbers(where, self.cell, dtype or torch.get_default_dtype())
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn(
                f"{where}: dropout={self.dropout} does nothing with num_layers=1, because it "
                f"works between layers. Add a layer, or drop features of the output instead.",
                stacklevel=4,
            )

    def _each_layer_sizes(self) -> Iterator[dict[str, int]]:
        """What every size name of the cell stands for, layer by layer."""
        input_size = self.input_size
        for layer in range(self.num_layers):
            sizes = {"I": input_size, "H": self.hidden_size, **self.sizes}
            for leaf in self.cell.equations.inputs:
                if leaf.attr("kind") == "input" and leaf.shape[0].evaluate(sizes) != input_size:
                    raise ValueError(
                        f"{self.where}: expected layer {layer} to read {leaf.shape[0]} = "
                        f"{leaf.shape[0].evaluate(sizes)} features, as the cell says, got "
                        f"{input_size}. Choose sizes that agree."
                    )
            sizing.check_heads(self.where, self.cell, sizes)
            sizing.check_slices(self.where, self.cell, sizes)
            yield sizes
            output = self.cell.output_size
            if output != POSITIONS:  # which no layer reads
                input_size = self.num_directions * output.evaluate(sizes)

    def _check_state_sizes(self) -> None:
        sizing.check_states(
            self.where, self.cell, self.layer_sizes, learned_state=self.learned_state
        )
        further = [self._further_sizes(sizes) for sizes in self.layer_sizes]
        sizing.check_further(self.where, self.cell, further)

    def _make_parameters(
        self, dtype: torch.dtype | None, device: torch.device | str | None
    ) -> None:
        if not self.cell.parameters:  # something that moves with the layer
            like = torch.empty(0, dtype=dtype, device=device)
            self.register_buffer(_NO_PARAMETERS, like, persistent=False)
        self._array_shapes = {n: torch.Size(array.shape) for n, array in self.cell.arrays.items()}
        for name, array in self.cell.arrays.items():
            like = torch.empty(0, dtype=dtype, device=device)
            values = torch.tensor(array, dtype=like.dtype, device=like.device)
            self.register_buffer(_buffer_name(name), values)
        self._parameter_shapes = tuple(
            {
                name: torch.Size([dim.evaluate(sizes) for dim in shape])
                for name, shape in self.cell.parameters.items()
            }
            for sizes in self.layer_sizes
        )
        for name, numbers in (
            entry for shapes in self._parameter_shapes for entry in shapes.items()
        ):
            if 0 in numbers:
                shape = shape_text(self.cell.parameters[name])
                raise ValueError(
                    f"{self.where}: expected sizes above 0 for {name} {shape}, got "
                    f"{tuple(numbers)}. Choose other sizes."
                )
        for layer, shapes in enumerate(self._parameter_shapes):
            for direction in range(self.num_directions):
                for name, numbers in shapes.items():
                    parameter = nn.Parameter(torch.empty(numbers, dtype=dtype, device=device))
                    self.register_parameter(_full_name(name, layer, direction), parameter)
                if self.learned_state:
                    for name, shape in zip(self.cell.states, self.own_shapes(), strict=True):
                        first = nn.Parameter(torch.zeros(shape, dtype=dtype, device=device))
                        self.register_parameter(_first_name(name, layer, direction), first)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        """As torch.nn's, which float(), to() and their like call; numbers must fit a new dtype."""
        before = self.home.dtype
        moved = super()._apply(fn, recurse)
        if self.home.dtype != before:
            sizing.check_numbers(self.where, self.cell, self.home.dtype)
        return moved

    def reset_parameters(self) -> None:
        """Draw all parameters anew: by `init`, by the cell's own rules, else +-1/sqrt(H)."""
        rules = {**self.cell.init, **self.init}
        for layer in range(self.num_layers):
            for direction in range(self.num_directions):
                parameters = self.parameters_of(layer, direction)
                initial.draw(parameters, rules, self.hidden_size, self.where)
                for name in self.cell.states if self.learned_state else ():
                    nn.init.zeros_(getattr(self, _first_name(name, layer, direction)))

    @property
    def where(self) -> str:
        """What messages call this layer."""
        return f"{type(self).__name__}({self.cell.name})"

    @property
    def num_directions(self) -> int:
        """D."""
        return 2 if self.bidirectional else 1

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Each layer and direction, in the order of the states."""
        return tuple(itertools.product(range(self.num_layers), range(self.num_directions)))

    @property
    def output_size(self) -> int:
        """Features of y: the cell's output size, times the directions.

        Raises:
            ValueError: when y has a number for each position of a memory, as many as a call says.
        """
        if self.cell.output_size == POSITIONS:
            raise ValueError(
                f"{self.where}: expected an output of a size of the layer, got one number for each "
                f"position of a memory. Take the size of y."
            )
        return self.num_directions * self.cell.output_size.evaluate(self.layer_sizes[-1])

    @property
    def context_sizes(self) -> tuple[int, ...]:
        """Features of each context input."""
        return tuple(size.evaluate(self.layer_sizes[0]) for size in self.cell.context_sizes)

    @property
    def further_sizes(self) -> dict[str, tuple[int, ...]]:
        """What the cell reads at each step besides x: the size of each, () of a scalar."""
        return self._further_sizes(self.layer_sizes[0])

    def _further_sizes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        shapes = self.cell.further_shapes
        return {name: tuple(d.evaluate(sizes) for d in shape) for name, shape in shapes.items()}

    @property
    def home(self) -> Home:
        """The dtype and device that the parameters have now."""
        # looked up by name: a walk over the module's parameters takes as long as a small step
        first = next(iter(self.cell.parameters), None)
        name = _NO_PARAMETERS if first is None else _full_name(first, 0, 0)
        parameter = self._parameters.get(name)
        if parameter is None:  # computed at each use: what it is computed from lives there too
            parameter = next(self.parameters(), None)
        if parameter is None:
            parameter = getattr(self, name)
        made = self._first_home  # small calls do without another one
        if made is not None and made.dtype is parameter.dtype and made.device == parameter.device:
            return made
        return Home(where=self.where, dtype=parameter.dtype, device=parameter.device)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: nothing that a reader of weights alone would have to trust besides."""
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        state.pop("_first_home", None)
        state.pop("_known", None)
        return state

    def has_computed_parameters(self) -> bool:
        """Whether a parameter is computed from others at each use; it is not computed here."""
        return not all(
            _full_name(name, *place) in self._parameters
            for place in self.places
            for name in self.cell.parameters
        )

    def parameters_of(self, layer: int, direction: int = 0) -> dict[str, Tensor]:
        """The parameters of one layer and direction (1 is reverse), by the cell's names."""
        own, found = self._parameters, {}
        for name in self.cell.parameters:
            full = _full_name(name, layer, direction)
            parameter = own.get(full)  # without torch's own way there, which takes a microsecond
            found[name] = getattr(self, full) if parameter is None else parameter
        return found

    def arrays(self) -> dict[str, Tensor]:
        """The cell's constant arrays, which are buffers of the layer, by the cell's names."""
        return {name: getattr(self, _buffer_name(name)) for name in self._array_shapes}

    def names_of(self, layer: int, direction: int = 0) -> tuple[str, ...]:
        """What the parameters of one layer and direction are called in `named_parameters`."""
        return tuple(_full_name(name, layer, direction) for name in self.cell.parameters)

    def checked_parameters(
        self, layer: int, direction: int = 0, *, home: Home | None = None
    ) -> dict[str, Tensor]:
        """`parameters_of` and `arrays`, all of the layer's dtype, on its device and of the cell's
        shapes: they may have been replaced since they were made."""
        home = home or self.home
        parameters = self.parameters_of(layer, direction)
        arrays = self.arrays() if self._array_shapes else {}
        for name, array in arrays.items():
            shape = self._array_shapes[name]
            if (array.dtype, array.device, array.shape) != (home.dtype, home.device, shape):
                raise checks.wrong_parameter(home, _buffer_name(name), array, shape)
        shapes = self._parameter_shapes[layer]
        for name, parameter in parameters.items():
            if (
                parameter.dtype != home.dtype
                or parameter.device != home.device
                or parameter.shape != shapes[name]
            ):
                full = _full_name(name, layer, direction)
                raise checks.wrong_parameter(home, full, parameter, shapes[name])
        return {**parameters, **arrays} if arrays else parameters

    def own_shapes(self, positions: int = 0) -> tuple[tuple[int, ...], ...]:
        """The shape of each of the cell's states in one sequence, [S], or [P, Q] of a matrix, where
        a memory has so many positions."""
        if self._own_shapes is not None:
            return self._own_shapes
        sizes = {**self.layer_sizes[0], **dict.fromkeys(POSITIONS.names, positions)}
        return tuple(
            tuple(size.evaluate(sizes) for size in shape) for shape in self.cell.state_shapes
        )

    def state_shapes(self, batch_size: int, positions: int = 0) -> tuple[tuple[int, ...], ...]:
        """The shape of each of the cell's states: [L*D, B, S], or [L*D, B, P, Q] of a matrix."""
        count = self.num_layers * self.num_directions
        return tuple((count, batch_size, *shape) for shape in self.own_shapes(positions))

    def initial_state(self, batch_size: int = 1, positions: int | None = None) -> State:
        """The state that sequences start from, zeros or learned: one tensor [L*D, B, H], or
        [L*D, B, P, Q] of a matrix state, or a tuple of them for several states.

        Args:
            batch_size: B.
            positions: of the call's memory, for cells with a state for each of them.
        """
        where = f"{self.where}.initial_state"
        checks.check_sizes(where, least=0, batch_size=batch_size)
        if POSITIONS in self.cell.state_sizes and positions is None:
            raise ValueError(
                f"{where}: expected positions for a cell with a state for each position of a "
                f"memory, got none. Pass positions=memory.shape[0]."
            )
        return one_or_all(self.first_states(batch_size, positions or 0))

    def first_states(self, batch_size: int, positions: int = 0) -> tuple[Tensor, ...]:
        """What each of the cell's states starts from, [L*D, B, S]."""
        if self.learned_state:
            rows = (
                torch.stack([getattr(self, _first_name(name, *place)) for place in self.places])
                for name in self.cell.states
            )
            return tuple(
                row[:, None].repeat(1, batch_size, *(1 for _ in row.shape[1:])) for row in rows
            )
        home = self.home
        return tuple(
            torch.zeros(shape, dtype=home.dtype, device=home.device)
            for shape in self.state_shapes(batch_size, positions)
        )

    def run_layers(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        *,
        lengths: Tensor | None = None,
        inputs: tuple[Tensor, ...] = (),
        context: tuple[Tensor, ...] = (),
        memory: tuple[Tensor, ...] = (),
        memory_lengths: Tensor | None = None,
        embedding: Tensor | None = None,
        dropout: float = 0.0,
        random: bool = False,
        start: int = 0,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output [T, B, D*O] and final states [L*D, B, S] on arguments already checked.

        Args:
            x: [T, B, I] features or [T, B] int64 token ids.
            states: [L*D, B, S] each.
            lengths: [B] int64 in 0..T.
            inputs: what else the cell reads at each step, [T, B, size] each, for every layer.
            context: [B, C] each, the same for every layer.
            memory: [B, S, K] each, the same for every layer.
            memory_lengths: [B] int64 in 1..S.
            embedding: [V, I], for token ids.
            dropout: probability of dropping each feature between layers, now.
            random: whether the cell's random masks are drawn, or at their means.
            start: what the step index, for cells that read it, is at the first step.
        """
        T, B = x.shape[:2]
        home, watcher = self.home, watcher_of(self)
        if (T == 0 or B == 0) and watcher is None:
            nothing = self._nothing((x, *states, *inputs, *context, *memory, embedding))
            over = self.cell.output_size == POSITIONS
            size = self.num_directions * memory[0].shape[1] if over else self.output_size
            y = torch.zeros(T, B, size, dtype=home.dtype, device=home.device)
            return y + nothing, tuple(state.to(home.dtype) + nothing for state in states)
        if home.in_autocast:
            # The step decides what it computes in low precision; what enters it has one dtype.
            x = x if x.dtype == torch.int64 else x.to(home.dtype)
            states = tuple(state.to(home.dtype) for state in states)
            inputs = tuple(tensor.to(home.dtype) for tensor in inputs)
            context = tuple(tensor.to(home.dtype) for tensor in context)
            memory = tuple(tensor.to(home.dtype) for tensor in memory)
            embedding = None if embedding is None else embedding.to(home.dtype)
        cell = self.cell if random else self.cell.evaluation
        backend = None  # where Python is traced, operators run
        if not torch.compiler.is_compiling():
            backend = backends.load(cell, self.backend, x.device, memory=self.memory)
        whole = None if watcher else self._in_one_call(backend, x, states, embedding)
        if whole is not None:
            return whole.run_layers(
                x,
                states,
                [self.checked_parameters(*place, home=home) for place in self.places],
                embedding=embedding,
                lengths=lengths,
                bidirectional=self.bidirectional,
                reverse=self.reverse,
                dropout=dropout if self.num_layers > 1 else 0.0,
            )
        usual = self._traced_run(cell) if backend is None else backend.run
        positions = memory[0].shape[1] if memory else 0
        order = None if lengths is None or watcher else self._longest_first(x, lengths)
        in_order = lengths
        if order is not None and lengths is not None:
            x, in_order = order.arranged(x, 1), lengths[order.order]
            states = tuple(order.arranged(state, 1) for state in states)
            inputs = tuple(order.arranged(each, 1) for each in inputs)
            context = tuple(order.arranged(each, 0) for each in context)
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.num_directions):
                run = watcher.run_of(self, layer, direction, cell) if watcher else usual
                if memory:
                    given = {"memory": memory, "memory_lengths": memory_lengths}
                    run = partial(backends.within_memory(cell, run), **given)
                y, final = run(
                    x,
                    tuple(state[len(finals)] for state in states),
                    self.checked_parameters(layer, direction, home=home),
                    inputs=inputs,
                    context=(*context, *self._drawn(cell, layer, T, B, order, positions)),
                    embedding=embedding if layer == 0 else None,
                    lengths=in_order,
                    reverse=self.reverse or direction == 1,
                    start=start,
                )
                outputs.append(y)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
            if dropout > 0 and layer + 1 < self.num_layers:
                # dropped in the order of the caller: a seed drops what it drops in a trace
                x = x if order is None else order.restored(x, 1)
                x = self._dropped(x, dropout, lengths)
                x = x if order is None else order.arranged(x, 1)
        ends = tuple(map(_stacked, zip(*finals, strict=True)))
        if order is None:
            return x, ends
        return order.restored(x, 1), tuple(order.restored(end, 1) for end in ends)

    def _longest_first(self, x: Tensor, lengths: Tensor) -> LongestFirst | None:
        """The order in which compiled loops leave out sequences that ended; None for as it is."""
        home = self.home
        if home.device.type != "cpu" or home.dtype not in _COMPILED or self.backend == "reference":
            return None
        if backends.is_followed() or torch.compiler.is_compiling() or self.cell.memory:
            return None
        multiplications = sum(
            math.prod(shape)
            for shapes in self._parameter_shapes
            for shape in shapes.values()
            if len(shape) > 1
        )
        copied = (x.shape[-1] if x.dim() == 3 else 1) + self.output_size
        return LongestFirst.of(lengths, len(x), multiplications, copied)

    def _slow_forward(self, *given: object, **options: object) -> object:
        """What torch calls instead of `forward` where it records for torch.jit, ONNX with arguments
        of its own making."""
        backends.refuse_recording(self)
        return super()._slow_forward(*given, **options)

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script asks of every module before it reads its source."""
        raise BackendError(
            f"{self.where}: expected no torch.jit.script, which cannot read what this layer runs. "
            f"Use torch.export.export, or load the state_dict of rc.RNN, rc.LSTM or rc.GRU into "
            f"torch.nn's layer of that name."
        )

    def _nothing(self, given: Iterable[Tensor | None]) -> Tensor:
        """Zero, of which what was given and all parameters have gradients of zero."""
        sources = [*(tensor for tensor in given if tensor is not None), *self.parameters()]
        nothing = torch.zeros((), dtype=self.home.dtype, device=self.home.device)
        for source in sources:
            nothing = nothing + source.reshape(-1)[:0].sum()
        return nothing

    def _dropped(self, x: Tensor, p: float, lengths: Tensor | None) -> Tensor:
        """What one layer hands to the next in training; past `lengths` it is zero already."""
        return dropout(x, p)

    def _drawn(
        self,
        cell: Cell,
        layer: int,
        steps: int,
        batch: int,
        order: LongestFirst | None,
        positions: int,
    ) -> Iterator[Tensor]:
        """The random masks of a layer, in the order of the cell's inputs."""
        if not cell.masks:
            return
        home = self.home
        lead = {"step": (steps, batch), "sequence": (batch,), "call": ()}
        sizes = {**self.layer_sizes[layer], **dict.fromkeys(POSITIONS.names, positions)}
        like = torch.empty(0, dtype=home.dtype, device=home.device)
        for node in cell.equations.inputs:
            mask = cell.masks.get(node.name)
            if mask is not None:
                own = [dim.evaluate(sizes) for dim in mask.shape] or [1]
                drawn = chosen((*lead[mask.each], *own), mask.rate, like).mul_(mask.scale)
                if order is not None and mask.each != "call":
                    drawn = order.arranged(drawn, len(lead[mask.each]) - 1)
                yield drawn

    def _in_one_call(
        self,
        backend: backends.Backend | None,
        x: Tensor,
        states: tuple[Tensor, ...],
        embedding: Tensor | None,
    ) -> backends.NativeBackend | None:
        """What runs all layers and directions at once, where something does."""
        if isinstance(backend, backends.AutoBackend):
            first = partial(self.parameters_of, 0)
            return backend.in_one_call(x, states, first, embedding, layers=len(states[0]))
        return backend if isinstance(backend, backends.NativeBackend) else None

    def _traced_run(self, cell: Cell) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
        """What runs one layer and direction where Python is traced: an operator."""
        keys = self._traced_keys(self.backend, self._equations, cell is self.cell)
        return partial(backends.traced_run, keys)

    @backends.constant_result
    def _traced_keys(self, backend: str, equations: str, in_training: bool) -> str:
        """What names the operators; torch traces anew for other arguments, not for another cell."""
        cell = self.cell if in_training else self.cell.evaluation
        return backends.traced_keys(cell, backend, self.memory)


_NO_PARAMETERS = "_like"
_COMPILED = (torch.float32, torch.bfloat16)  # dtypes of compiled loops


def _stacked(ends: tuple[Tensor, ...]) -> Tensor:
    """[L*D, B, S] of one state; no view of a result, which could not be detached in place."""
    first, *others = ends
    if others or torch.compiler.is_compiling() or torch.is_grad_enabled() or first._is_view():
        return torch.stack(ends)
    return first.unsqueeze_(0)


def one_or_all(states: tuple[Tensor, ...]) -> State:
    """The form that users see: the state itself where there is one, else the tuple."""
    return states[0] if len(states) == 1 else states


def _buffer_name(array: str) -> str:
    return f"constant_{array}"


def _first_name(state: str, layer: int, direction: int) -> str:
    return _full_name(f"first_{state}", layer, direction)


def _full_name(parameter: str, layer: int, direction: int) -> str:
    return f"{parameter}_l{layer}" + ("_reverse" if direction else "")

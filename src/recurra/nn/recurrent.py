"""The recurrent layer: any cell as a torch module, for every form in which sequences come.

Letters: T time, B batch, I input, H hidden, O output, V vocabulary, C context, L layers,
D directions (1 or 2).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import handle_torch_function, has_torch_function

from recurra import backends
from recurra.errors import BackendError
from recurra.lang import Cell
from recurra.nn import checks, initial
from recurra.nn.batch_form import BatchForm, batch_form
from recurra.nn.known import KnownCalls
from recurra.nn.measured import measured_lines
from recurra.nn.memories import Memory, checked_memories
from recurra.nn.said import say_once
from recurra.nn.stack import CellStack, State, one_or_all
from recurra.nn.stream import Stream
from recurra.nn.watched import watcher_of

_MEASURED = (100, 32)  # steps, sequences
# what a call goes through that a subclass may have in its own way
_GOES_THROUGH = ("run_layers", "parameters_of", "checked_parameters", "names_of", "first_states")
_WAYS = {name: getattr(CellStack, name) for name in _GOES_THROUGH}


class Recurrent(CellStack):
    """Any cell over a batch of sequences: L layers, in one or both directions.

    Layer k reads the output of layer k-1, whose directions are concatenated on features, forward
    first. Parameters are named `<parameter of the cell>_l<layer>`, with `_reverse` after it for the
    reverse direction, and start by the cell's own rules, else uniform in +-1/sqrt(H).

    Args:
        cell: the cell, or its spelling: "gru" of `recurra.cells.names()`, "zoneout(lstm, 0.1)",
            "my_file.py:my_cell"; docs/language.md has them all.
        input_size: I; 0 for a cell that reads no input.
        hidden_size: H.
        num_layers: L.
        bidirectional: a second set of cells reads each sequence from its end.
        batch_first: x and y are [B, T, ...]; states stay [L*D, B, H], as in torch.nn, or
            [L*D, B, P, Q] where one is a matrix.
        dropout: probability of dropping an output feature of all layers but the last, in training.
        backend: "auto", or the name of one; a backend asked for by name is never swapped.
        memory: "low" keeps only the states for the backward pass and computes the rest again, which
            takes about a third longer.
        sizes: the cell's size names besides I and H, such as {"P": 32} for a projection, in
            numbers or in I and H: {"P": "H/2"}.
        init: how parameters start, by the cell's names, in place of the cell's own rules: a number,
            "orthogonal", "identity", or a function of `recurra.nn.initial`.
        learned_state: sequences start from parameters, `first_<state>_l<layer>`, that begin at
            zero, where no state is given.
        reverse: read each sequence from its end.

    Raises:
        ValueError: when a size, probability, cell name or backend name is wrong.
        BackendError: when the backend asked for cannot run here.
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        batch_first: bool = False,
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
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            backend=backend,
            memory=memory,
            dtype=dtype,
            device=device,
            sizes=sizes,
            init=init,
            learned_state=learned_state,
            reverse=reverse,
        )
        checks.check_flags(self.where, batch_first=batch_first)
        self.batch_first = batch_first

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: Tensor | Sequence[Tensor] | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        context: Tensor | Sequence[Tensor] | None = None,
        *,
        memory: Memory | None = None,
        memory_lengths: Tensor | Sequence[int] | None = None,
        embedding: Tensor | None = None,
        start: int = 0,
        **inputs: Tensor | PackedSequence,
    ) -> tuple[Any, State]:
        """Run the layer over whole sequences, or on from a state.

        A sequence cut into calls gives what it gives in one, with each call's state handed to the
        next, and for a cell that reads the index of the step also where it is: `start`. Masks that
        a composed cell draws for a whole sequence (variational dropout, weight drop) are an
        exception: in training each call draws new ones.

        NaN in the input propagates: to every later step of its sequence, and to no other sequence.
        With T = 0, y is empty and the state is a copy of the one given; a batch of no sequences
        gives empty tensors. Both have gradients, of zero.

        Args:
            x: [T, B, I] features or [T, B] int64 token ids; [B, T, ...] with batch_first; without B
                for one sequence; or a PackedSequence of either.
            state: [L*D, B, H], ordered layer 0 forward, layer 0 reverse, layer 1 forward and so on;
                [L*D, B, P, Q] of a matrix state; a tuple of them for a cell of several states; None
                means zeros, or what is learned.
            lengths: [B] integers in 0..T, true steps of each sequence; None means all T. What x
                holds past them is not looked at, token ids of -100 or NaN included. A sequence
                of length 0 ends in the state that it starts from.
            context: [B, C], what stays constant through time, read by all layers; a tuple of them
                for a cell of several.
            memory: [S, B, K], a sequence of vectors that stays constant through time, read by all
                layers; [B, S, K] with batch_first; without B for one sequence; a tuple of them for
                a cell of several; or a PackedSequence, which has its own lengths.
            memory_lengths: [B] integers in 1..S; None means all S. What a memory holds past them is
                not looked at, and states over positions are zero there.
            embedding: [V, I], what each token id stands for in the first layer; without it an id is
                the one-hot vector of size I.
            start: the index of the first step, for cells that read it (`t`); others don't.
            inputs: what the cell reads at each step besides x, by name (`dt=gaps`), in the form of
                x: [T, B, size], for a scalar [T, B] too. All layers are given the same. What they
                hold past `lengths` is not looked at.

        Returns:
            y: [T, B, D*O] in the form of x; rows past `lengths` are zero.
            state: in the form of the argument, at each sequence's last true step (of the reverse
                direction: at its first).

        Raises:
            ValueError: when a shape, length or token id is wrong.
            TypeError: when a dtype is, or an argument's name.
        """
        alone = not (
            context is not None
            or memory is not None
            or memory_lengths is not None
            or embedding is not None
            or start
            or inputs
            or torch.compiler.is_compiling()
            or self._has_own_ways()
            or not self._all_steps(x, lengths)
        )
        if alone:
            backends.settle_after_fork()
            known = None if self._known is None else self._known.run(self, x, state)
            if known is not None:
                return known[0], one_or_all(known[1])
        backends.refuse_recording(self, x)
        if type(x) is not Tensor and has_torch_function((x,)):  # a subclass comes out as it went in
            given = (self, x, state, lengths, context)
            options = {"embedding": embedding, "start": start, **inputs}
            options |= {"memory": memory, "memory_lengths": memory_lengths}
            return handle_torch_function(Recurrent.forward, (x,), *given, **options)
        backends.settle_after_fork()
        home = self.home
        checks.check_input(home, x, self.input_size)
        # who looks into a layer sees sequences in the caller's order
        sort = watcher_of(self) is None
        form = batch_form(home.where, x, lengths, self.batch_first, sort=sort)
        if start:
            checks.check_start(home.where, self.cell, home.dtype, start, len(form.x))
        checks.check_ids(home, form.x, embedding, self.cell, self.input_size, form.lengths)
        if self.training and state is not None and len(form.x) == 1:
            self._say_of_masks()
        further = self._further_in(form, inputs) if inputs or self.cell.further else ()
        contexts = self._context_in(form, context)
        memories, counts = (), None
        if self.cell.memory or memory is not None or memory_lengths is not None:
            memories, counts = self._memory_in(form, memory, memory_lengths)
        positions = memories[0].shape[1] if memories else 0
        y, states = self.run_layers(
            form.x,
            self._states_in(form, state, positions),
            lengths=form.lengths,
            inputs=further,
            context=contexts,
            memory=memories,
            memory_lengths=counts,
            embedding=embedding,
            dropout=self.dropout if self.training else 0.0,
            random=self.training,
            start=start,
        )
        found = form.output(y), one_or_all(tuple(form.handed_back(s) for s in states))
        if alone:
            self._known = self._known or KnownCalls()
            self._known.note(self, x, state)
        return found

    def _all_steps(self, x: object, lengths: object) -> bool:
        """Whether all steps of all sequences are true ones, and it takes no time to know that."""
        if lengths is None:
            return True
        if type(x) is not Tensor or type(lengths) is not Tensor or backends.is_followed():
            return False
        if x.dim() != 3 or x.is_nested or lengths.dtype is not torch.int64 or not lengths.is_cpu:
            return False
        if lengths.layout is not torch.strided or lengths.is_nested:
            return False
        steps, batch = x.shape[:2][:: -1 if self.batch_first else 1]
        return lengths.tolist() == [steps] * batch

    def _has_own_ways(self) -> bool:
        """Whether a subclass, or who looks into the layer, has put something in the place of what a
        call goes through."""
        own, of_class = vars(self), type(self)
        return any(n in own or getattr(of_class, n) is not way for n, way in _WAYS.items())

    def _say_of_masks(self) -> None:
        """That a sequence taken step by step has other masks at each step, if that is so."""
        drawn = {mask.each for mask in self.cell.masks.values()} & {"sequence", "call"}
        if drawn:
            say_once(
                self,
                f"{self.where}: step by step in training it draws, at each step, the random masks "
                f"that are meant for a whole {' or '.join(sorted(drawn))}. Pass whole sequences, "
                f"or call layer.eval() first, which has none.",
            )

    def _states_in(
        self, form: BatchForm, state: Tensor | Sequence[Tensor] | None, positions: int
    ) -> tuple[Tensor, ...]:
        """The caller's state, checked, with a batch dimension and in the order of the batch."""
        B = form.batch_size
        if state is None:
            return self.first_states(B, positions)
        shapes = tuple(form.outside_shape(s, 1) for s in self.state_shapes(B, positions))
        states = checks.checked_states(self.home, state, self.cell.states, shapes)
        return tuple(form.to_internal(tensor, 1) for tensor in states)

    def _context_in(
        self, form: BatchForm, context: Tensor | Sequence[Tensor] | None
    ) -> tuple[Tensor, ...]:
        """The caller's context, checked, with a batch dimension and in the order of the batch."""
        B = form.batch_size
        shapes = tuple(form.outside_shape((B, size), 0) for size in self.context_sizes)
        contexts = checks.checked_context(self.home, context, self.cell, shapes)
        return tuple(form.to_internal(tensor, 0) for tensor in contexts)

    def _memory_in(
        self, form: BatchForm, memory: Memory | None, lengths: Tensor | Sequence[int] | None
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """The caller's memories, checked, [B, S, K] each, and their lengths, in the order of x."""
        memories, counts = checked_memories(
            self,
            memory,
            lengths,
            form.batch_size,
            batch_first=self.batch_first,
            unbatched=form.unbatched,
        )
        memories = tuple(form.in_order(each) for each in memories)
        return memories, None if counts is None else form.in_order(counts)

    def _further_in(
        self, form: BatchForm, inputs: Mapping[str, Tensor | PackedSequence]
    ) -> tuple[Tensor, ...]:
        """What else the caller gives at each step, checked, as [T, B, size] in the order of x."""
        checks.check_input_names(self.where, self.cell, inputs)
        found = []
        for name, size in self.further_sizes.items():
            given = form.unpacked(self.where, name, inputs[name])
            given = checks.checked_steps(self.home, self.cell, name, given, form.lead, size)
            found.append(form.to_steps(given))
        return tuple(found)

    def stream(
        self,
        batch_size: int = 1,
        *,
        context: Tensor | Sequence[Tensor] | None = None,
        memory: Memory | None = None,
        memory_lengths: Tensor | Sequence[int] | None = None,
        embedding: Tensor | None = None,
        weights: torch.dtype | None = None,
    ) -> Stream:
        """This layer one step at a time, without gradients or dropout, keeping its state.

        Args:
            batch_size: B, how many sequences run side by side.
            context: [B, C], as for `forward`.
            memory: [S, B, K], and
            memory_lengths: [B], as for `forward`.
            embedding: [V, I], as for `forward`.
            weights: torch.bfloat16 packs the weights at half the size, for layers that outgrow the
                cache: states and sums stay in float32.

        Raises:
            ValueError: when the layer is bidirectional, or batch or context have wrong sizes.
        """
        return Stream(
            self,
            batch_size,
            context=context,
            memory=memory,
            memory_lengths=memory_lengths,
            embedding=embedding,
            weights=weights,
        )

    def explain(self, *, details: bool = False, measured: bool | tuple[int, int] = False) -> str:
        """Which backend runs this layer, by which plan, and why not another.

        Args:
            details: the numbers of the plan for layers of each size, not of the first alone.
            measured: also run it, on random numbers, and say what compiled loops spend their time
                on; True for 100 steps of 32 sequences, or (steps, sequences). Takes a few seconds.
        """
        device = self.home.device
        backend = backends.load(self.cell, self.backend, device, memory=self.memory)
        layers_of: dict[tuple[tuple[str, int], ...], list[str]] = {}
        for layer, sizes in enumerate(self.layer_sizes):
            layers_of.setdefault(tuple(sizes.items()), []).append(str(layer))
        directions = ", both directions" if self.bidirectional else ""
        parts = [f"{self.where}: backend {backend.name} (asked for: {self.backend})"]
        if self.has_computed_parameters():
            parts[0] += "\na parameter is computed from others at each call"
        for i, (items, layers) in enumerate(layers_of.items()):
            heading = f"layer{'s' if len(layers) > 1 else ''} {', '.join(layers)}{directions}"
            if details or i == 0:
                plan = backend.explain(dict(items))
                if measured and backend.name != "cpu":
                    plan += "\n  not measured: only compiled loops count their time"
                elif measured:
                    shape = _MEASURED if measured is True else measured
                    try:
                        lines = measured_lines(self, int(layers[0]), *shape)
                    except BackendError as error:  # of float64, or of a memory
                        lines = [f"  not measured: {error}"]
                    plan = "\n".join((plan, *lines))
            else:
                sizes = ", ".join(f"{name} = {size}" for name, size in items)
                plan = f"  the same with {sizes}; in numbers: explain(details=True)"
            parts.append(f"{heading}\n{plan}")
        return "\n\n".join(parts)

    def extra_repr(self) -> str:
        """The cell, the sizes, and the arguments that are not at their defaults."""
        parts = [self.cell.name, f"input_size={self.input_size}", f"hidden_size={self.hidden_size}"]
        defaults = {"num_layers": 1, "bidirectional": False, "batch_first": False}
        defaults |= {"dropout": 0.0, "backend": "auto", "memory": "normal", "sizes": {}}
        defaults |= {"learned_state": False, "reverse": False}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

"""One step at a time: a layer that keeps its state between calls, for data as it arrives.

Letters: B batch, I input, O output, S size of a state, L layers, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from recurra import backends
from recurra.backends import cpu
from recurra.backends.forks import settle_after_fork
from recurra.backends.watching import is_followed, what_records
from recurra.errors import BackendError
from recurra.ir import POSITIONS
from recurra.nn import checks
from recurra.nn.memories import Memory
from recurra.nn.plain import hooks_of
from recurra.nn.said import say_once
from recurra.nn.stack import CellStack, State, one_or_all
from recurra.nn.stream_parts import Constants, Parts

_in_autocast = torch._C._is_any_autocast_enabled
_is_compiling = torch.compiler.is_dynamo_compiling
_empty_like = torch.empty_like
_address_of_step = cpu.address_of_step


class Stream:
    """A unidirectional layer run step by step, without gradients or dropout: `layer.stream()`.

    Calling it with the input of one step returns the output of that step and keeps the state. A
    step gives what the layer in evaluation mode would give if it were called now. The parameters
    are the layer's own: what an optimizer or anything else in this process changes, the next step
    sees. What nobody counts (a write through `parameter.data`, by numpy, by another process) is
    looked for in the memory itself: the next step sees it if most of a tensor changed, or if the
    layer is small (32 KiB), and else one of the steps that follow, as many as it has 8 KiB, and
    `reset`.

    For float32 and bfloat16 on the CPU the weights are packed once, and a step is one call of
    compiled code that computes in float32. What else there is runs as the layer does, which is
    logged once, and `explain()` says so. A layer with hooks, or of a class whose `forward` is the
    user's own, is called.

    Args:
        layer: what to run.
        batch_size: B.
        context: [B, C] each, what stays constant through time; copied.
        memory: [S, B, K] each, sequences of vectors that stay constant through time; copied.
        memory_lengths: [B] integers in 1..S.
        embedding: what token ids stand for: rows [V, I], or the module that makes them.
        decoder: applied to each output, which then is its output.
        weights: torch.bfloat16 packs the weights of a float32 layer at half the size; None at their
            own. Only where steps are compiled.
        model: what has these as its parts; called as `model(ids, state)` if it does more than they.
    """

    def __init__(
        self,
        layer: CellStack,
        batch_size: int = 1,
        *,
        context: Tensor | Sequence[Tensor] | None = None,
        memory: Memory | None = None,
        memory_lengths: Tensor | Sequence[int] | None = None,
        embedding: Tensor | nn.Module | None = None,
        decoder: nn.Module | None = None,
        weights: torch.dtype | None = None,
        model: nn.Module | None = None,
    ) -> None:
        checks.check_sizes(f"{layer.where}.stream", batch_size=batch_size)
        if layer.bidirectional or layer.reverse:
            got = "bidirectional=True" if layer.bidirectional else "reverse=True"
            raise ValueError(
                f"{layer.where}.stream: expected a unidirectional layer, got {got}. "
                f"The reverse direction needs the end of the sequence; make the layer one-way."
            )
        self.layer = layer
        self.batch_size = batch_size
        self._parts = Parts(layer, embedding, decoder, model)
        self._constants = Constants.given(layer, batch_size, context, memory, memory_lengths)
        if weights not in (None, torch.float32, torch.bfloat16):
            raise ValueError(
                f"{layer.where}.stream: expected weights of torch.float32 or torch.bfloat16, got "
                f"{weights}. Leave it out to keep them as they are."
            )
        self._weights = weights
        self._stepper: cpu.Stepper | None = None
        self._writer: cpu.TokenWriter | None = None
        self._failure: str | None = None  # why the layer could not be compiled, when it was tried
        self.reset()

    def _state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.layer.state_shapes(self.batch_size, self._constants.positions)

    @property
    def state(self) -> State:
        """The state after the last step, as the layer returns it: [L, B, S] each."""
        if self._stepper is not None:
            return one_or_all(self._compiled_states(self._stepper))
        return one_or_all(tuple(state.clone() for state in self._states))

    @property
    def is_compiled(self) -> bool:
        """Whether the last step was: then its weights are packed."""
        return self._stepper is not None

    def is_of(self, *parts: Tensor | nn.Module | None) -> bool:
        """Whether it runs this layer, embedding and decoder, and no others."""
        own = (self.layer, self._parts.embedding, self._parts.decoder)
        return all(one is other for one, other in zip(own, parts, strict=True))

    def reset(
        self,
        state: State | None = None,
        *,
        start: int = 0,
        batch_size: int | None = None,
        context: Tensor | Sequence[Tensor] | None = None,
        memory: Memory | None = None,
        memory_lengths: Tensor | Sequence[int] | None = None,
    ) -> None:
        """Start again: from `state`, such as a layer returned, or as the layer starts.

        With other contexts and memories, for which the weights need not be packed again.

        Args:
            state: [L, B, S] each; None for the layer's first.
            start: the index of the next step, for cells that read it: how many were before `state`.
            batch_size: how many sequences there are from now on; None for as many as before.
            context, memory, memory_lengths: as for a new stream. Those that there are stay, where
                none of the three and no `batch_size` is given.
        """
        where, dtype = f"{self.layer.where}.stream", self.layer.home.dtype
        checks.check_start(where, self.layer.cell, dtype, start, 1)
        constants, count = self._constants, batch_size or self.batch_size
        if batch_size is not None:
            checks.check_sizes(where, batch_size=batch_size)
        given = (batch_size, context, memory, memory_lengths)
        is_other = any(each is not None for each in given)
        if is_other:
            constants = Constants.given(self.layer, count, context, memory, memory_lengths)
        if state is None:
            state = self.layer.initial_state(count, constants.positions)
        names = self.layer.cell.states
        shapes = self.layer.state_shapes(count, constants.positions)
        states = checks.checked_states(self.layer.home, state, names, shapes)
        self._states = tuple(state.detach().clone() for state in states)
        self._num_steps = start
        self.batch_size, self._constants = count, constants
        if self._stepper is None:
            return
        as_packed = self._snapshot.is_of(self._parts.tensors()) and self._stepper.unchanged()
        if not as_packed or self.why_not_compiled() is not None:
            self._stepper = self._writer = None
        elif is_other:
            self._begin(self._stepper)
        else:
            self._stepper.restart(self._layer_states(), start)

    def reorder(self, rows: Tensor) -> None:
        """Sequence i goes on as sequence rows[i] would; contexts and memories stay where they are.

        Args:
            rows: [B] integers in 0..B-1, such as the beams that a search goes on from.
        """
        if rows.shape != (self.batch_size,):
            raise ValueError(
                f"{self.layer.where}.stream: expected rows [{self.batch_size}], got shape "
                f"{tuple(rows.shape)}. Give one for each sequence, or `select` some."
            )
        if self._stepper is not None:
            self._stepper.reorder(rows)
        else:
            self._states = tuple(state[:, rows] for state in self._states)

    def select(self, rows: Tensor) -> None:
        """Go on with sequence rows[i] as sequence i, with its contexts and memories.

        Memories lose the positions that are past the ends of all that are left.

        Args:
            rows: [B'] integers in 0..B-1, from now on as many as there are sequences.
        """
        if rows.dim() != 1 or not len(rows):
            raise ValueError(
                f"{self.layer.where}.stream: expected rows [1 or more], got shape "
                f"{tuple(rows.shape)}. Give the sequences to go on with."
            )
        stepper = self._stepper
        states = self._states if stepper is None else self._compiled_states(stepper)
        self._constants = self._constants.of_rows(rows)
        self.batch_size, longest = len(rows), self._constants.positions
        self._states = tuple(
            state[:, rows, :longest] if size == POSITIONS else state[:, rows]
            for state, size in zip(states, self.layer.cell.state_sizes, strict=True)
        )
        if stepper is not None:
            self._num_steps = stepper.index
            self._begin(stepper)

    def __call__(self, x_t: Tensor, *, out: Tensor | None = None, **inputs: Tensor) -> Tensor:
        """The output of one step.

        Args:
            x_t: features [B, I] or token ids [B].
            out: [B, O] to write to; without it the output is a new tensor.
            inputs: what else the cell reads at each step, by name: [B, size], of a scalar [B] too.

        Returns:
            y_t: [B, O].

        Raises:
            BackendError: when the call is traced or transformed: what is recorded would lack the
                state.
        """
        if _is_compiling():
            return _step_outside_of_graphs(self, x_t, out, inputs)
        # What follows is most of a small layer's step: each check is one that torch answers fast.
        stepper = self._stepper
        if (
            stepper is None
            or is_followed()
            or out is not None
            or inputs
            or self._checks_all
            or x_t.dtype is not self._x_dtype
            or x_t.shape != self._x_shape
            or not x_t.is_cpu
            or not x_t.is_contiguous()
            or not (x_at := _address_of_step(x_t))
            or any(self._hooks)
            or "forward" in self.layer.__dict__
            or not self._snapshot.holds(self._parts.tensors())
            or _in_autocast()
        ):
            return self._checked_call(x_t, out, inputs)
        y_t = _empty_like(self._like)
        done = self._step(x_at, y_t.data_ptr())
        return y_t if done else self._checked_call(x_t, out, {}, changed=True)

    def _checked_call(
        self,
        x_t: Tensor,
        out: Tensor | None,
        inputs: Mapping[str, Tensor],
        changed: bool = False,
    ) -> Tensor:
        """A step after every check, by compiled code that is up to date, or as the layer runs.

        Args:
            changed: whether the weights, or an id, were seen not to be what they should.
        """
        self._refuse_if_recorded(x_t)
        self._check(x_t, out)
        further = self._checked_inputs(inputs)
        with torch.no_grad():
            if not self._compiled(x_t.dtype, changed=changed):
                y_t = self._uncompiled_step(x_t, further)
            elif out is not None and self._takes(out):
                if not out.is_inference():
                    increment_version(out)
                return self._run(x_t, out, further)
            else:
                y_t = self._run(x_t, torch.empty_like(self._like), further)
                y_t = y_t.to(self.layer.home.dtype)
            return y_t if out is None else out.copy_(y_t)

    def _takes(self, out: Tensor) -> bool:
        """Whether a step can write its output there, instead of having it copied."""
        plain = out.is_cpu and out.is_contiguous() and not self._narrow
        return plain and cpu.address_of_step(out) != 0

    def _run(self, x_t: Tensor, y_t: Tensor, further: Sequence[Tensor]) -> Tensor:
        """One compiled step on input that was checked."""
        assert self._stepper is not None
        if further:
            self._stepper.give(further)
        on_ids = self._x_dtype is torch.int64
        x_t = x_t.detach() if on_ids else x_t.detach().to(self._like)
        x_t, x_at = cpu.bound(x_t.contiguous(), "x", x_t.dtype)
        y_at = cpu.address_of_step(y_t)
        if not self._step(x_at, y_at):
            self._renew(self._stepper)
            self._step(x_at, y_at)
        if self._constants.within is not None and self.layer.cell.output_size == POSITIONS:
            y_t.masked_fill_(~self._constants.within, 0.0)
        return y_t

    def _refuse_if_recorded(self, x_t: Tensor) -> None:
        recorder = what_records(x_t) if is_followed() else None
        if recorder is not None:
            raise BackendError(
                f"{self.layer.where}.stream: expected to be called by itself, got a call under "
                f"{recorder}, whose program would lack the state. Use the layer there, which takes "
                f"the state and returns it."
            )

    def _check(self, x_t: Tensor, out: Tensor | None) -> None:
        layer = self.layer
        rank = 1 if x_t.dtype == torch.int64 else 2
        if x_t.dim() != rank or x_t.shape[0] != self.batch_size:
            form = "token ids [batch]" if rank == 1 else "features [batch, input_size]"
            raise ValueError(
                f"{layer.where}.stream: expected {form} of batch {self.batch_size}, got shape "
                f"{tuple(x_t.shape)}. Pass one step at a time, x[t]."
            )
        home, x = layer.home, x_t.unsqueeze(0)
        checks.check_input(home, x, layer.input_size)
        rows = self._parts.rows
        if rows is not None or not isinstance(self._parts.embedding, nn.Module):
            checks.check_ids(home, x, rows, layer.cell, layer.input_size)
        shape = (self.batch_size, self._parts.output_size(self._constants.positions))
        if out is not None and (out.shape != shape or out.dtype != home.dtype):
            raise ValueError(
                f"{layer.where}.stream: expected out of shape {shape} and {home.dtype}, got "
                f"{tuple(out.shape)} and {out.dtype}. Leave it out to get a new tensor."
            )

    def _checked_inputs(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """What is given besides x, in the order of the cell, [B, size] each."""
        layer, cell = self.layer, self.layer.cell
        if not inputs and not cell.further:
            return ()
        where, home = f"{layer.where}.stream", layer.home
        checks.check_input_names(where, cell, inputs, arguments=("x_t", "out"))
        return tuple(
            checks.checked_steps(home, cell, name, inputs[name], (self.batch_size,), size)
            for name, size in layer.further_sizes.items()
        )

    # ---- as the layer runs

    def _uncompiled_step(self, x_t: Tensor, further: Sequence[Tensor]) -> Tensor:
        self._settle()
        home, inputs = self.layer.home, tuple(each.unsqueeze(0) for each in further)
        # the layer may have moved since
        states = tuple(state.to(home.device, home.dtype) for state in self._states)
        self._constants = self._constants.at(home)
        y, self._states = self._parts.step(
            x_t.unsqueeze(0), states, inputs, self._constants, self._num_steps
        )
        self._num_steps += 1
        return y.squeeze(0).clone()  # of memory that the state is not in

    def _settle(self) -> None:
        """Take the state back from the compiled code, which is then dropped."""
        if self._stepper is not None:
            self._states = self._compiled_states(self._stepper)
            self._num_steps = self._stepper.index
            self._stepper = self._writer = None

    def _compiled_states(self, stepper: cpu.Stepper) -> tuple[Tensor, ...]:
        """[L, B, S] each, without that of the decoder's layer."""
        layers = stepper.states()[: self.layer.num_layers]
        states = (torch.stack(each) for each in zip(*layers, strict=True))
        found = tuple(state.to(self.layer.home.dtype) for state in states)
        return self._over_positions(found, lambda state, within: state.masked_fill(~within, 0.0))

    def _over_positions(
        self, states: tuple[Tensor, ...], change: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, ...]:
        """The states with a change to those over positions, of memories of several lengths."""
        within, sizes = self._constants.within, self.layer.cell.state_sizes
        if within is None:
            return states
        pairs = zip(states, sizes, strict=True)
        return tuple(change(s, within) if size == POSITIONS else s for s, size in pairs)

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        made_again = ("_snapshot", "_hooks", "_step")
        return {name: value for name, value in self.__dict__.items() if name not in made_again}

    # ---- compiled

    def compiles(self) -> bool:
        """Whether steps can be compiled now; if not, that is logged, unless it was asked for."""
        reason = self.why_not_compiled()
        if reason is not None and not self._is_asked_for():
            of_cell = reason == cpu.why_not_stepped(self.layer.cell)  # the same for all its layers
            of = self.layer.cell if of_cell else self.layer
            say_once(of, f"{self.layer.where}.stream is not compiled: {reason}")
        return reason is None

    def _compiled(self, x_dtype: torch.dtype, changed: bool = False) -> bool:
        """Whether steps on such input are compiled; they are from here on, if that is possible."""
        if not self.compiles():
            return False
        stepper = self._stepper
        if stepper is not None:
            tensors = self._parts.tensors()
            if self._x_dtype is x_dtype and self._snapshot.is_of(tensors):
                if not self._snapshot.holds(tensors):
                    # first what is counted, then a look: what changes in between is seen later
                    self._snapshot = cpu.Snapshot(tensors)
                    changed = True
                if changed and not stepper.unchanged():
                    self._renew(stepper)
                return True
            self._settle()
        try:
            self._compile(x_dtype)
        except BackendError as error:
            if self.layer.backend != "auto":
                raise
            self._failure = str(error)
            say_once(self.layer, f"{self.layer.where}.stream is not compiled: {error}")
            return False
        return True

    def _compile(self, x_dtype: torch.dtype) -> None:
        settle_after_fork()
        layer = self.layer
        tensors = self._parts.tensors()
        snapshot = cpu.Snapshot(tensors)
        self._x_dtype = x_dtype
        self._stepper = cpu.Stepper(
            self._step_layers(),
            self._layer_states(),
            context=self._constants.context,
            tokens=self._tokens(),
            start=self._num_steps,
            threads=torch.get_num_threads(),
            weights=self._weights or layer.home.dtype,
            watched=tensors,
        )
        if any(tensor.is_inference() for tensor in tensors):
            say_once(
                layer,
                f"{layer.where}.stream: made in inference mode, where changes are not counted: "
                f"each step looks at all weights, which may take as long again. Make it outside.",
            )
        self._snapshot = snapshot
        self._hooks = hooks_of(*self._parts.called)
        self._narrow = layer.home.dtype is not torch.float32
        over = layer.cell.output_size == POSITIONS
        self._checks_all = self._narrow or over or bool(layer.cell.further)
        self._bind(self._stepper)

    def _begin(self, stepper: cpu.Stepper) -> None:
        """Go on with the sequences that there are now, by the weights as they are packed."""
        stepper.begin(
            self._step_layers(),
            self._layer_states(),
            context=self._constants.context,
            start=self._num_steps,
        )
        self._writer = None
        self._bind(stepper)

    def _bind(self, stepper: cpu.Stepper) -> None:
        """Take from a stepper what each step needs."""
        batch, on_ids = self.batch_size, self._x_dtype is torch.int64
        self._step = stepper.step_on_ids if on_ids else stepper.step
        self._x_shape = (batch,) if on_ids else (batch, self.layer.input_size)
        size = self._parts.output_size(self._constants.positions)
        self._like = torch.empty(batch, size, dtype=torch.float32, device="cpu")

    def _renew(self, stepper: cpu.Stepper) -> None:
        """Pack the weights as they are now."""
        stepper.renew(self._step_layers(), self._tokens())

    def _step_layers(self) -> list[cpu.StepLayer]:
        layer = self.layer
        layers = [
            cpu.StepLayer(
                cell=layer.cell.evaluation,
                sizes=sizes,
                parameters=layer.checked_parameters(i),
                memory=self._constants.filled,
            )
            for i, sizes in enumerate(layer.layer_sizes)
        ]
        decoder = self._parts.decoder
        if isinstance(decoder, nn.Linear):
            layers.append(cpu.affine_layer(decoder.weight, decoder.bias))
        return layers

    def _tokens(self) -> cpu.Tokens | None:
        return cpu.Tokens(embedding=self._parts.rows) if self._x_dtype is torch.int64 else None

    def _layer_states(self) -> list[tuple[Tensor, ...]]:
        """The state of each layer, that of the decoder's layer too."""
        states = self._over_positions(self._states, backends.filled_state)
        each = list(zip(*(state.unbind(0) for state in states), strict=True))
        if self._parts.decoder is not None:
            each.append((torch.zeros(self.batch_size, 1, dtype=torch.float32, device="cpu"),))
        return each

    def _is_asked_for(self) -> bool:
        return self.layer.backend not in ("auto", "cpu")

    def why_not_compiled(self) -> str | None:
        """Why steps run as the layer does now; None where they are compiled."""
        if self._is_asked_for():
            return f"backend={self.layer.backend!r} was asked for"
        if self._failure is not None:
            return self._failure
        if cpu.why_not_stepped(self.layer.cell):
            return cpu.why_not_stepped(self.layer.cell)
        if self._parts.why_called() is not None:
            return self._parts.why_called()
        if is_followed():
            return "something watches torch's operations"
        constants = self._constants
        return cpu.obstacle([*self._parts.tensors(), *constants.context, *constants.memory])

    def explain(self) -> str:
        """How steps run, and why not compiled where they are not."""
        reason = self.why_not_compiled()
        if reason is not None:
            return f"{self}: not compiled: {reason}; each step runs as the layer does"
        if self._stepper is None:
            return f"{self}: will be compiled by the first step"
        return f"{self}: {self._stepper.explain()}"

    def choose(
        self, ids: Tensor, count: int, *, mark: int, left_out: bool, log_probabilities: bool
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """A step, and the largest of its outputs as scores; see `cpu.Stepper.choose`.

        None where nothing is compiled: then nothing was read.

        Args:
            ids: [B] token ids.
        """
        stepper, ids = self._stepper, ids.contiguous()
        options = {"left_out": left_out, "log_probabilities": log_probabilities}
        found, is_as_before = None, False
        if (
            stepper is not None
            and not is_followed()
            and not self._checks_all
            and self._x_dtype is torch.int64
            and ids.dtype is torch.int64
            and ids.shape == self._x_shape
            and ids.is_cpu
            and not any(self._hooks)
            and "forward" not in self.layer.__dict__
            and self._snapshot.holds(self._parts.tensors())
            and not _in_autocast()
        ):
            is_as_before = True
            found = stepper.choose(_address_of_step(ids), count, mark, **options)
        if found is not None:
            return found
        self._refuse_if_recorded(ids)
        self._check(ids, None)
        with torch.no_grad():
            if not self._compiled(torch.int64, changed=is_as_before) or self._checks_all:
                return None
            assert self._stepper is not None
            ids, at = cpu.bound(ids.detach(), "ids", torch.int64)
            found = self._stepper.choose(at, count, mark, **options)
            if found is None:
                self._renew(self._stepper)
                found = self._stepper.choose(at, count, mark, **options)
            return found

    def write(self, token_id: int, uniforms: Tensor, **choice: Any) -> cpu.Written | None:
        """Read a token, draw the next from the output, and so on; see `cpu.TokenWriter.write`.

        For one sequence with a decoder to the vocabulary it reads. None where nothing is compiled:
        then nothing was read.
        """
        with torch.no_grad():
            if not self._compiled(torch.int64):
                return None
            assert self._stepper is not None
            if self._writer is None:
                self._writer = cpu.TokenWriter(self._stepper)
            written = self._writer.write(token_id, uniforms, **choice)
            ids = written.ids
            while written.outdated:  # weights changed in between, by what nobody counts
                self._renew(self._stepper)
                last = ids[-1] if ids else token_id
                written = self._writer.write(last, uniforms[len(ids) :], **choice)
                ids += written.ids
            return cpu.Written(ids=ids, largest=written.largest)

    def __repr__(self) -> str:
        return f"Stream({self.layer.where}, batch_size={self.batch_size})"


def _step_outside_of_graphs(
    stream: Stream, x_t: Tensor, out: Tensor | None, inputs: Mapping[str, Tensor]
) -> Tensor:
    """A step where Python is traced: the graph ends before it, and another begins after it."""
    reason = "a stream keeps its state outside of graphs: use the layer, which takes and returns it"
    # not as a decorator: that would load torch's compiler for everyone
    step: Any = torch.compiler.disable(Stream.__call__, reason=reason)
    return step(stream, x_t, out=out, **inputs)

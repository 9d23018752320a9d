"""One step at a time: a layer that keeps its state between calls, for data as it arrives.

Letters: B batch, I input, O output, S size of a state, L layers, V vocabulary.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recurra.backends import cpu
from recurra.backends.forks import settle_after_fork
from recurra.errors import BackendError
from recurra.nn import checks
from recurra.nn.stack import CellStack, State, one_or_all

logger = logging.getLogger("recurra")


class Stream:
    """A unidirectional layer run step by step, without gradients or dropout: `layer.stream()`.

    Calling it with the input of one step returns the output of that step and keeps the state. The
    parameters are the layer's own: what an optimizer changes, the next step sees. (A change that
    torch does not count, written through `parameter.data`, is seen by a new stream only.)

    For float32 and bfloat16 on the CPU the weights are packed once, and a step is one call of
    compiled code that computes in float32. What else there is runs as the layer does, and
    `explain()` says so.

    Args:
        layer: what to run.
        batch_size: B.
        context: [B, C] each, what stays constant through time.
        embedding: what token ids stand for: rows [V, I], or the module that has them.
        decoder: applied to each output, which then is its output.
        weights: torch.bfloat16 packs the weights of a float32 layer at half the size; None at their
            own. Only where steps are compiled.
    """

    def __init__(
        self,
        layer: CellStack,
        batch_size: int = 1,
        *,
        context: Tensor | Sequence[Tensor] | None = None,
        embedding: Tensor | nn.Embedding | None = None,
        decoder: nn.Linear | None = None,
        weights: torch.dtype | None = None,
    ) -> None:
        checks.check_sizes(f"{layer.where}.stream", batch_size=batch_size)
        if layer.bidirectional or layer.reverse:
            got = "bidirectional=True" if layer.bidirectional else "reverse=True"
            raise ValueError(
                f"{layer.where}.stream: expected a unidirectional layer, got {got}. "
                f"The reverse direction needs the end of the sequence; make the layer one-way."
            )
        home = layer.home
        shapes = tuple((batch_size, size) for size in layer.context_sizes)
        self.layer = layer
        self.batch_size = batch_size
        self._context = checks.checked_context(home, context, layer.cell.context, shapes)
        self._table, self._decoder = embedding, decoder
        self._others = tuple(other for other in (embedding, decoder) if other is not None)
        if weights not in (None, torch.float32, torch.bfloat16):
            raise ValueError(
                f"{layer.where}.stream: expected weights of torch.float32 or torch.bfloat16, got "
                f"{weights}. Leave it out to keep them as they are."
            )
        self._weights = weights
        self._stepper: cpu.Stepper | None = None
        self._writer: cpu.Writer | None = None
        self._failure: str | None = None  # why the layer could not be compiled, when it was tried
        self.reset()

    @property
    def state(self) -> State:
        """The state after the last step, as the layer returns it: [L, B, S] each."""
        if self._stepper is not None:
            return one_or_all(self._compiled_states(self._stepper))
        return one_or_all(self._states)

    def reset(self, state: State | None = None) -> None:
        """Start again at step 0: from `state`, such as a layer returned, or as the layer starts."""
        if state is None:
            state = self.layer.initial_state(self.batch_size)
        names, shapes = self.layer.cell.states, self.layer.state_shapes(self.batch_size)
        states = checks.checked_states(self.layer.home, state, names, shapes)
        self._states = tuple(state.detach() for state in states)
        self._dtype = self.layer.home.dtype
        self._num_steps = 0
        if self._stepper is not None:
            self._stepper.restart(self._layer_states())

    def __call__(self, x_t: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The output of one step.

        Args:
            x_t: features [B, I] or token ids [B].
            out: [B, O] to write to; without it the output is a new tensor.

        Returns:
            y_t: [B, O].
        """
        # What follows is most of a small layer's step: each check is one that torch answers fast.
        stepper = self._stepper
        if (
            stepper is None
            or out is not None
            or self._narrow
            or x_t.dtype is not self._x_dtype
            or x_t.shape != self._x_shape
            or not x_t.is_cpu
            or not x_t.is_contiguous()
            or not self._snapshot.holds(self._tensors())
            or torch.is_autocast_enabled("cpu")
        ):
            return self._checked_call(x_t, out)
        y_t = torch.empty_like(self._like)
        if self._x_dtype is torch.int64:
            if not stepper.step_on_ids(x_t.data_ptr(), y_t.data_ptr()):
                return self._checked_call(x_t, out)
        else:
            stepper.step(x_t.data_ptr(), y_t.data_ptr())
        return y_t

    def _checked_call(self, x_t: Tensor, out: Tensor | None) -> Tensor:
        """A step after every check, by compiled code that is up to date, or as the layer runs."""
        self._check(x_t, out)
        with torch.no_grad():
            if not self._compiled(x_t.dtype):
                y_t = self._uncompiled_step(x_t)
            elif out is not None and out.is_contiguous() and not self._narrow:
                return self._run(x_t, out)
            else:
                y_t = self._run(x_t, torch.empty_like(self._like)).to(self.layer.home.dtype)
            return y_t if out is None else out.copy_(y_t)

    def _run(self, x_t: Tensor, y_t: Tensor) -> Tensor:
        """One compiled step on input that was checked."""
        assert self._stepper is not None
        if self._x_dtype is torch.int64:
            x_t = x_t.contiguous()
            self._stepper.step_on_ids(x_t.data_ptr(), y_t.data_ptr())
        else:
            x_t = x_t.detach().to(self._like).contiguous()
            self._stepper.step(x_t.data_ptr(), y_t.data_ptr())
        return y_t

    def _check(self, x_t: Tensor, out: Tensor | None) -> None:
        layer = self.layer
        rank = 1 if x_t.dtype == torch.int64 else 2
        if x_t.dim() != rank or x_t.shape[0] != self.batch_size:
            form = "token ids [batch]" if rank == 1 else "features [batch, input_size]"
            raise ValueError(
                f"{layer.where}.stream: expected {form} of batch {self.batch_size}, got shape "
                f"{tuple(x_t.shape)}. Pass one step at a time, x[t]."
            )
        x = x_t.unsqueeze(0)
        checks.check_input(layer.home, x, layer.input_size)
        checks.check_ids(layer.home, x, self._embedding, layer.cell, layer.input_size)
        shape = (self.batch_size, self._output_size)
        if out is not None and (out.shape != shape or out.dtype != layer.home.dtype):
            raise ValueError(
                f"{layer.where}.stream: expected out of shape {shape} and {layer.home.dtype}, got "
                f"{tuple(out.shape)} and {out.dtype}. Leave it out to get a new tensor."
            )

    @property
    def _embedding(self) -> Tensor | None:
        return self._table.weight if isinstance(self._table, nn.Embedding) else self._table

    @property
    def _output_size(self) -> int:
        return self.layer.output_size if self._decoder is None else self._decoder.out_features

    def _tensors(self) -> list[Any]:
        """All that is packed."""
        tensors: list[Any] = [*self.layer._parameters.values()]
        for other in self._others:
            if isinstance(other, nn.Module):
                tensors += (t for t in other._parameters.values() if t is not None)
            else:
                tensors.append(other)
        return tensors

    # ---- as the layer runs

    def _uncompiled_step(self, x_t: Tensor) -> Tensor:
        self._settle()
        y, self._states = self.layer.run_layers(
            x_t.unsqueeze(0),
            self._states,
            context=self._context,
            embedding=self._embedding,
            start=self._num_steps,
        )
        self._num_steps += 1
        return (y if self._decoder is None else self._decoder(y)).squeeze(0)

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
        return tuple(state.to(self._dtype) for state in states)

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return self.__dict__.copy()

    # ---- compiled

    def _compiled(self, x_dtype: torch.dtype) -> bool:
        """Whether steps on such input are compiled; they are from here on, if that is possible."""
        if self.why_not_compiled() is not None:
            return False
        tensors = self._tensors()
        if self._stepper is not None:
            if self._x_dtype is x_dtype and self._snapshot.holds(tensors):
                return True
            self._settle()
        try:
            self._compile(x_dtype, tensors)
        except BackendError as error:
            if self.layer.backend != "auto":
                raise
            self._failure = str(error)
            logger.warning("%s.stream is not compiled: %s", self.layer.where, error)
            return False
        return True

    def _compile(self, x_dtype: torch.dtype, tensors: list[Tensor]) -> None:
        settle_after_fork()
        layer, batch = self.layer, self.batch_size
        on_ids = x_dtype is torch.int64
        cell = layer.cell.evaluation
        layers = [
            cpu.StepLayer(cell=cell, sizes=sizes, parameters=layer.checked_parameters(i))
            for i, sizes in enumerate(layer.layer_sizes)
        ]
        if self._decoder is not None:
            layers.append(cpu.affine_layer(self._decoder.weight, self._decoder.bias))
        snapshot = cpu.Snapshot(tensors)
        self._stepper = cpu.Stepper(
            layers,
            self._layer_states(),
            context=self._context,
            tokens=cpu.Tokens(embedding=self._embedding) if on_ids else None,
            start=self._num_steps,
            threads=torch.get_num_threads(),
            weights=self._weights or layer.home.dtype,
        )
        self._snapshot, self._x_dtype = snapshot, x_dtype
        self._x_shape = (batch,) if on_ids else (batch, layer.input_size)
        self._like = torch.empty(batch, self._output_size, dtype=torch.float32, device="cpu")
        self._narrow = layer.home.dtype is not torch.float32

    def _layer_states(self) -> list[tuple[Tensor, ...]]:
        """The state of each layer, that of the decoder's layer too."""
        each = list(zip(*(state.unbind(0) for state in self._states), strict=True))
        if self._decoder is not None:
            each.append((torch.zeros(self.batch_size, 1, dtype=torch.float32, device="cpu"),))
        return each

    def why_not_compiled(self) -> str | None:
        """Why steps run as the layer does now; None where they are compiled."""
        layer = self.layer
        if layer.backend not in ("auto", "cpu"):
            return f"backend={layer.backend!r} was asked for"
        if self._failure is not None:
            return self._failure
        tensors = self._tensors()
        packed = {id(tensor) for tensor in tensors}
        if not all(id(tensor) in packed for tensor in self._used_tensors()):
            return "a parameter is computed from others at each use"
        return cpu.obstacle([*tensors, *self._context])

    def _used_tensors(self) -> Iterator[Tensor]:
        """What the layer computes with; what `_tensors` lists, unless something stands in."""
        for i in range(self.layer.num_layers):
            yield from self.layer.parameters_of(i).values()
        if self._embedding is not None:
            yield self._embedding
        if self._decoder is not None:
            yield self._decoder.weight

    def explain(self) -> str:
        """How steps run, and why not compiled where they are not."""
        reason = self.why_not_compiled()
        if reason is not None:
            return f"{self}: not compiled: {reason}; each step runs as the layer does"
        if self._stepper is None:
            return f"{self}: will be compiled by the first step"
        return f"{self}: {self._stepper.explain()}"

    def write(self, token_id: int, uniforms: Tensor, **choice: Any) -> cpu.Written | None:
        """Read a token, draw the next from the output, and so on; see `backends.cpu.Writer.write`.

        For one sequence with a decoder to the vocabulary it reads. None where nothing is compiled:
        then nothing was read.
        """
        with torch.no_grad():
            if not self._compiled(torch.int64):
                return None
        assert self._stepper is not None
        if self._writer is None:
            self._writer = cpu.Writer(self._stepper)
        return self._writer.write(token_id, uniforms, **choice)

    def __repr__(self) -> str:
        return f"Stream({self.layer.where}, batch_size={self.batch_size})"

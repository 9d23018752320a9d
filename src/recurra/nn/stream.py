"""One step at a time: a layer that keeps its state between calls, for data as it arrives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.nn import checks
from recurra.nn.stack import CellStack, State, one_or_all


class Stream:
    """A unidirectional layer run step by step, without gradients or dropout: `layer.stream()`.

    Calling it with the input of one step returns the output of that step and keeps the state. The
    parameters are the layer's own: what an optimizer changes, the next step sees.
    """

    def __init__(
        self,
        layer: CellStack,
        batch_size: int = 1,
        *,
        context: Tensor | Sequence[Tensor] | None = None,
        embedding: Tensor | None = None,
    ) -> None:
        checks.check_sizes(f"{layer.where}.stream", batch_size=batch_size)
        if layer.bidirectional:
            raise ValueError(
                f"{layer.where}.stream: expected a unidirectional layer, got bidirectional=True. "
                f"The reverse direction needs the end of the sequence; make the layer one-way."
            )
        home = layer.home
        shapes = tuple((batch_size, size) for size in layer.context_sizes)
        self.layer = layer
        self.batch_size = batch_size
        self._context = checks.checked_context(home, context, layer.cell.context, shapes)
        self._embedding = embedding
        self.reset()

    @property
    def state(self) -> State:
        """The state after the last step, as the layer returns it: [L, B, H] each."""
        return one_or_all(self._states)

    def reset(self, state: State | None = None) -> None:
        """Start again at step 0: from `state`, such as a layer returned for a prefix, or zeros."""
        if state is None:
            state = self.layer.initial_state(self.batch_size)
        names, shapes = self.layer.cell.states, self.layer.state_shapes(self.batch_size)
        states = checks.checked_states(self.layer.home, state, names, shapes)
        self._states = tuple(state.detach() for state in states)
        self._num_steps = 0

    @torch.no_grad()
    def __call__(self, x_t: Tensor) -> Tensor:
        """The output [B, O] of one step on features x_t [B, I] or token ids x_t [B]."""
        rank = 1 if x_t.dtype == torch.int64 else 2
        if x_t.dim() != rank or x_t.shape[0] != self.batch_size:
            form = "token ids [batch]" if rank == 1 else "features [batch, input_size]"
            raise ValueError(
                f"{self.layer.where}.stream: expected {form} of batch {self.batch_size}, got shape "
                f"{tuple(x_t.shape)}. Pass one step at a time, x[t]."
            )
        x, layer = x_t.unsqueeze(0), self.layer
        checks.check_input(layer.home, x, layer.input_size)
        checks.check_ids(layer.home, x, self._embedding, layer.cell, layer.input_size)
        y, self._states = layer.run_layers(
            x,
            self._states,
            context=self._context,
            embedding=self._embedding,
            start=self._num_steps,
        )
        self._num_steps += 1
        return y.squeeze(0)

    def __repr__(self) -> str:
        return f"Stream({self.layer.where}, batch_size={self.batch_size})"

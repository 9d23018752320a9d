"""The one-step map of a layer: what its equations make of the states and an input, with Jacobians.

Letters: B batch, R rows of cotangents or tangents, I input, N numbers in all states together.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from recurra.insight.calls import checked_layer
from recurra.insight.linearized import Linearized, computing_dtype, flat, split
from recurra.nn.stack import CellStack


class OneStep:
    """The map h_t = F(h_{t-1}, x_t) of one layer and direction, all states as one vector.

    The numbers of the vector are those of the cell's states in their order, matrices row by row:
    for an LSTM of H units the H of h, then the H of c. What it computes is what the layer does in
    evaluation, by the reference backend; where autograd is on, the map and its Jacobian can be
    differentiated by states, input and parameters.

    ```python
    step = OneStep(layer)
    J = step.jacobian(h, x_t)          # [B, N, N], exact
    h = step(h, x_t)                   # [B, N]
    ```

    Of a stack it is the first layer, forward, unless `index` and `reverse` say otherwise. Fixed
    points, where rounding decides whether a map stands still, want `dtype=torch.float64`.

    Args:
        layer: an `rc.Recurrent` or a drop-in.
        index: which of its layers, from 0, the first.
        reverse: the direction that reads from the end, of a bidirectional layer.
        context: [B, C] each, what stays constant through time; one row stands for all.
        memory: [S, B, K] each, sequences of vectors that stay constant through time; one for all.
        memory_lengths: [B] integers in 1..S.
        embedding: [V, I], what token ids stand for; without it an id is a one-hot vector.
        dtype: to compute in; None for that of the layer, at least float32.

    Attributes:
        names: of the states.
        shapes: of each state in one sequence.
        size: N.

    Raises:
        ValueError: when the layer has no such place, or the cell wants contexts or memories that
            are not given.
    """

    def __init__(
        self,
        layer: CellStack,
        *,
        index: int = 0,
        reverse: bool = False,
        context: Tensor | Sequence[Tensor] = (),
        memory: Tensor | Sequence[Tensor] = (),
        memory_lengths: Tensor | None = None,
        embedding: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.layer = checked_layer(layer)
        self.place = place_of(layer, index, reverse)
        self.dtype = dtype or computing_dtype(layer)
        self.names = layer.cell.states
        self._context, self._memory = _tensors(context), _tensors(memory)
        self._memory_lengths, self._embedding = memory_lengths, embedding
        for what, names, given in (
            ("context", layer.cell.context, self._context),
            ("memory", layer.cell.memory, self._memory),
        ):
            if len(names) != len(given):
                wanted = f"{what} of {', '.join(names)}" if names else f"no {what}"
                raise ValueError(
                    f"OneStep({layer.cell.name}): expected {wanted}, got {len(given) or 'none'}. "
                    f"Give what the layer is called with."
                )
        positions = self._memory[0].shape[0] if self._memory else 0
        self.shapes = layer.own_shapes(positions)
        self.size = sum(torch.Size(shape).numel() for shape in self.shapes)

    @property
    def input_size(self) -> int:
        """I: what this layer reads, the layer below or the input."""
        return self.layer.layer_sizes[self.place[0]]["I"]

    def flat(self, states: Tensor | Sequence[Tensor]) -> Tensor:
        """[B, N]: the states [B, S] or [B, P, Q] as one vector each."""
        return flat(_tensors(states), self.shapes)

    def split(self, states: Tensor) -> tuple[Tensor, ...]:
        """The other way."""
        return split(states, self.shapes)

    def first(self, batch_size: int = 1) -> Tensor:
        """[B, N]: what sequences start from, zeros or learned."""
        positions = self._memory[0].shape[0] if self._memory else 0
        row = self.place[0] * self.layer.num_directions + self.place[1]
        states = self.layer.first_states(batch_size, positions)
        return self.flat([state[row] for state in states]).to(self.dtype)

    def __call__(
        self, states: Tensor, x_t: Tensor | None = None, *, t: int = 0, **inputs: Tensor
    ) -> Tensor:
        """The states after a step.

        Args:
            states: [B, N].
            x_t: features [B, I] or, of the first layer, token ids [B]; without B, or with B = 1,
                for all; None for a cell that reads no input.
            t: the index of the step, for cells that read it.
            inputs: what else the cell reads at each step, by name, [B, size].

        Returns:
            [B, N].
        """
        return flat(self.at(states, x_t, t=t, **inputs).finals, self.shapes)

    def jacobian(
        self, states: Tensor, x_t: Tensor | None = None, *, t: int = 0, **inputs: Tensor
    ) -> Tensor:
        """[B, N, N]: the derivatives of the states after a step by those before it.

        `J[b, i, j]` is that of the i-th number after it by the j-th before it. They come from the
        graph's own adjoint, one pass over N rows. Arguments as for a call.
        """
        return self.at(states, x_t, t=t, **inputs).jacobian(0)

    def at(
        self, states: Tensor, x_t: Tensor | None = None, *, t: int = 0, **inputs: Tensor
    ) -> Linearized:
        """The step linearised there: a run of one step, 0. Arguments as for a call.

        Its `pull` takes cotangents back, its `push` tangents on, without the whole Jacobian.
        """
        if states.dim() != 2 or states.shape[1] != self.size:
            raise ValueError(
                f"OneStep({self.layer.cell.name}): expected states [batch, {self.size}], got "
                f"{list(states.shape)}. Make one vector of several states with `flat`."
            )
        batch = states.shape[0]
        return Linearized(
            self.layer,
            self.place,
            self._x(x_t, batch),
            self.split(states),
            inputs=self._further(inputs, batch),
            context=[_rows(each, batch) for each in self._context],
            memory=[_rows(each.transpose(0, 1), batch) for each in self._memory],
            memory_lengths=None
            if self._memory_lengths is None
            else _rows(self._memory_lengths, batch),
            embedding=self._embedding if self.place[0] == 0 else None,
            start=t,
            dtype=self.dtype,
        )

    def _x(self, x_t: Tensor | None, batch: int) -> Tensor:
        """[1, B, I], or ids [1, B]."""
        where = f"OneStep({self.layer.cell.name})"
        if x_t is None:
            if self.layer.cell.input is not None:
                raise ValueError(
                    f"{where}: expected x_t, [batch, {self.input_size}], got none. The cell reads "
                    f"an input; zeros are one."
                )
            return torch.empty(1, batch, 0, dtype=self.dtype, device=self.layer.home.device)
        ids = x_t.dtype == torch.int64
        if ids and self.place[0] > 0:
            raise ValueError(
                f"{where}: expected x_t [{batch}, {self.input_size}], what layer {self.place[0]} "
                f"reads of the layer below, got token ids. Only the first layer reads ids."
            )
        if ids:
            self._check_ids(where, x_t)
        rank = 0 if ids else 1
        x_t = x_t if x_t.dim() > rank else x_t[None]
        expected = (*(() if ids else (self.input_size,)),)
        if tuple(x_t.shape[1:]) != expected or x_t.shape[0] not in (1, batch):
            form = f"token ids [{batch}]" if ids else f"x_t [{batch}, {self.input_size}]"
            raise ValueError(
                f"{where}: expected {form}, or one for all, got {list(x_t.shape)}. Give one input "
                f"a state."
            )
        return _rows(x_t, batch)[None]

    def _check_ids(self, where: str, ids: Tensor) -> None:
        size = self.input_size if self._embedding is None else len(self._embedding)
        wrong = ids[(ids < 0) | (ids >= size)]
        if len(wrong):
            raise ValueError(
                f"{where}: expected token ids in 0..{size - 1}, got {int(wrong[0])}. Look up what "
                f"the vocabulary has."
            )

    def _further(self, inputs: Mapping[str, Tensor], batch: int) -> list[Tensor]:
        """[1, B, size] each, in the order of the cell."""
        names = self.layer.cell.further
        if set(inputs) != set(names):
            raise ValueError(
                f"OneStep({self.layer.cell.name}): expected besides x_t "
                f"{', '.join(names) or 'nothing'}, got {', '.join(inputs) or 'nothing'}. Give what "
                f"the cell reads at each step, by name."
            )
        sizes = self.layer.further_sizes
        return [
            _rows(inputs[name].reshape(-1, *(sizes[name] or (1,))), batch)[None] for name in names
        ]


def place_of(layer: CellStack, index: int, reverse: bool) -> tuple[int, int]:
    """One of a layer's `places`."""
    place = (index, int(reverse))
    if place not in checked_layer(layer).places:
        ways = "both directions" if layer.bidirectional else "one direction"
        raise ValueError(
            f"{layer.where}: expected one of its layers 0..{layer.num_layers - 1}, in {ways}, got "
            f"index {index}{', reverse' if reverse else ''}. Choose one that it has."
        )
    return place


def _rows(value: Tensor, batch: int) -> Tensor:
    """[B, ...] of one for all."""
    return value if value.shape[0] == batch else value.expand(batch, *value.shape[1:])


def _tensors(given: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (given,) if isinstance(given, Tensor) else tuple(given)

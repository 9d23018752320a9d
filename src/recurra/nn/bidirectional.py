"""Two layers that read the same sequences from both ends, each with a cell of its own."""

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recurra.nn.memories import Memory
from recurra.nn.recurrent import Recurrent
from recurra.nn.stack import State


class Bidirectional(nn.Module):
    """One layer from the start and another from the end; their outputs are joined on features.

    `Recurrent(..., bidirectional=True)` has one cell for both ways. Here each way is a layer of its
    own, of any cell and hidden size:

    ```python
    layer = Bidirectional(Recurrent("lstm", 40, 64), Recurrent("gru", 40, 32, reverse=True))
    ```

    Source: Schuster, Paliwal (1997), "Bidirectional Recurrent Neural Networks", IEEE Transactions
    on Signal Processing 45(11), 2673-2681.

    Args:
        forwards: the layer that reads from the start.
        backwards: the layer that reads from the end, made with reverse=True.

    Raises:
        ValueError: when the two do not read the same input, or in these directions.
    """

    def __init__(self, forwards: Recurrent, backwards: Recurrent) -> None:
        super().__init__()
        if forwards.reverse or forwards.bidirectional or not backwards.reverse:
            raise ValueError(
                "Bidirectional: expected a layer that reads from the start and one with "
                f"reverse=True, got {forwards} and {backwards}. Make the second with reverse=True."
            )
        of_input = [(layer.input_size, layer.batch_first) for layer in (forwards, backwards)]
        if of_input[0] != of_input[1]:
            raise ValueError(
                "Bidirectional: expected layers of one input_size and batch_first, got "
                f"{forwards} and {backwards}. Make them alike."
            )
        self.forwards, self.backwards = forwards, backwards

    @property
    def output_size(self) -> int:
        """Features of y: those of both layers."""
        return self.forwards.output_size + self.backwards.output_size

    @property
    def input_size(self) -> int:
        """I, of both layers."""
        return self.forwards.input_size

    @property
    def batch_first(self) -> bool:
        """Whether x and y are [B, T, ...], for both layers."""
        return self.forwards.batch_first

    def initial_state(self, batch_size: int = 1) -> tuple[State, State]:
        """The states that sequences start from: one for each layer."""
        return self.forwards.initial_state(batch_size), self.backwards.initial_state(batch_size)

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: Sequence[Any] | None = None,
        lengths: Tensor | Sequence[int] | None = None,
        context: Tensor | Sequence[Tensor] | None = None,
        *,
        memory: Memory | None = None,
        memory_lengths: Tensor | Sequence[int] | None = None,
        embedding: Tensor | None = None,
        start: int = 0,
        **inputs: Tensor | PackedSequence,
    ) -> tuple[Any, tuple[State, State]]:
        """Run both layers over whole sequences.

        Args:
            x: as `Recurrent.forward` takes it, token ids too.
            state: a state for each layer; None means zeros, or what they have learned.
            lengths: [B] integers in 0..T.
            context: [B, C], for each layer whose cell reads one.
            memory: [S, B, K], and
            memory_lengths: [B], for each layer whose cell reads a memory.
            embedding: [V, I], what each token id stands for, in both layers.
            start: the index of the first step, for each layer whose cell reads it.
            inputs: what else is given at each step, by name, for each layer whose cell reads it.

        Returns:
            y: [T, B, O + O'] in the form of x; the state of each layer.

        Raises:
            ValueError: when a shape, length or token id is wrong.
            TypeError: when a dtype is, or an argument's name.
        """
        first = (None, None) if state is None else self._pair(state)
        none_reads = not (self.forwards.cell.context or self.backwards.cell.context)
        given = {"memory": memory, "memory_lengths": memory_lengths}
        no_memory = not (self.forwards.cell.memory or self.backwards.cell.memory)
        read = {*self.forwards.cell.further, *self.backwards.cell.further}
        unread = {name: each for name, each in inputs.items() if name not in read}
        (ahead, last), (back, last_back) = (
            layer(
                x,
                begun,
                lengths,
                context if layer.cell.context or none_reads else None,
                embedding=embedding,
                **({"start": start} if layer.cell.step is not None else {}),
                **(given if layer.cell.memory or no_memory else {}),
                **unread,
                **{name: inputs[name] for name in layer.cell.further if name in inputs},
            )
            for layer, begun in zip((self.forwards, self.backwards), first, strict=True)
        )
        if isinstance(ahead, PackedSequence):
            joined = torch.cat([ahead.data, back.data], dim=-1)
            return ahead._replace(data=joined), (last, last_back)
        return torch.cat([ahead, back], dim=-1), (last, last_back)

    def _pair(self, state: object) -> tuple[Any, Any]:
        if isinstance(state, tuple | list) and len(state) == 2:
            return state[0], state[1]
        got = f"{len(state)}" if isinstance(state, tuple | list) else type(state).__name__
        raise ValueError(
            f"Bidirectional: expected state to be a pair, one of each layer, got {got}. "
            f"Pass what the layer returned as its state."
        )

    def stream(self, *args: object, **options: object) -> NoReturn:
        """Not offered: a step would need the end of its sequence.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "Bidirectional.stream: expected a layer that reads from the start alone, got one that "
            "reads from the end too. Stream its `forwards` layer, or run whole sequences."
        )

    def explain(self) -> str:
        """Which backend runs each of the two layers, by which plan, and why not another."""
        each = (("forwards", self.forwards), ("backwards", self.backwards))
        return "\n\n".join(f"{name}: {layer.explain()}" for name, layer in each)

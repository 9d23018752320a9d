"""Two layers that read the same sequences from both ends, each with a cell of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

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

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: tuple[Any, Any] | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Any, tuple[State, State]]:
        """Run both layers over whole sequences.

        Args:
            x: as `Recurrent.forward` takes it.
            state: a state for each layer; None means zeros, or what they have learned.
            lengths: [B] integers in 1..T.

        Returns:
            y: [T, B, O + O'] in the form of x; the state of each layer.
        """
        first = (None, None) if state is None else state
        ahead, last = self.forwards(x, first[0], lengths)
        back, last_back = self.backwards(x, first[1], lengths)
        if isinstance(ahead, PackedSequence):
            joined = torch.cat([ahead.data, back.data], dim=-1)
            return ahead._replace(data=joined), (last, last_back)
        return torch.cat([ahead, back], dim=-1), (last, last_back)

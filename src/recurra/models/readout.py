"""The plainest model of a sequence: recurrent layers and a linear read-out, nothing between them.

What cells are tried with on made-up problems. Letters: T time, B batch, I input, O output.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.compose.spelling import resolved
from recurra.lang import Cell
from recurra.models.cell_entries import cell_config
from recurra.models.saving import Model
from recurra.nn import Recurrent
from recurra.nn.checks import check_dropout, check_flags, check_reads_x_alone, check_sizes
from recurra.nn.initial import Rule, words_of


class Readout(Model):
    """Recurrent layers, read out at each step, or at the end of each sequence.

    Tokens enter as one-hot vectors do: each is a column of the input matrices.

    Args:
        input_size: I, features of a step, or the number of tokens.
        output_size: O.
        at_each_step: whether it is read out at each step, not at the end.
        cell: a cell, or how one is spelled.
        hidden_size: H of each layer.
        num_layers: L.
        sizes: the cell's size names besides I and H.
        dropout: probability of dropping a feature of each layer's output, in training.
        init, learned_state, memory, backend: of the recurrent layers; see `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        at_each_step: bool = False,
        cell: Cell | str = "lstm",
        hidden_size: int = 128,
        num_layers: int = 1,
        sizes: Mapping[str, int | str] | None = None,
        dropout: float = 0.0,
        init: Mapping[str, Rule] | None = None,
        learned_state: bool = False,
        memory: str = "normal",
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_sizes("Readout", output_size=output_size)
        check_flags("Readout", at_each_step=at_each_step)
        check_dropout("Readout", "dropout", dropout)
        self.at_each_step = at_each_step
        self.dropout = dropout
        cell = resolved("Readout", cell)
        check_reads_x_alone("Readout", cell)
        self.recurrent = Recurrent(
            cell,
            input_size,
            hidden_size,
            num_layers,
            sizes=sizes,
            dropout=dropout if num_layers > 1 else 0.0,
            init=init,
            learned_state=learned_state,
            memory=memory,
            backend=backend,
            dtype=dtype,
            device=device,
        )
        self.decoder = nn.Linear(
            self.recurrent.output_size, output_size, dtype=dtype, device=device
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What is read out.

        Args:
            x: [T, B, I] features, or [T, B] int64 tokens.
            lengths: [B] int64 in 1..T, steps of each sequence; None means all T.
        Returns:
            [T, B, O] at each step; [B, O] at the end.
        """
        y, _ = self.recurrent(x, lengths=lengths)
        if not self.at_each_step:
            y = y[-1] if lengths is None else y[lengths - 1, _each(y)]
        return self.decoder(functional.dropout(y, self.dropout, self.training))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this model again."""
        return {
            "input_size": self.recurrent.input_size,
            "output_size": self.decoder.out_features,
            "at_each_step": self.at_each_step,
            **cell_config(self.recurrent.cell),
            "hidden_size": self.recurrent.hidden_size,
            "num_layers": self.recurrent.num_layers,
            "sizes": dict(self.recurrent.sizes),
            "dropout": self.dropout,
            "init": words_of(self.recurrent.init),
            "learned_state": self.recurrent.learned_state,
            "memory": self.recurrent.memory,
            "dtype": str(self.decoder.weight.dtype).removeprefix("torch."),
        }


def _each(y: Tensor) -> Tensor:
    """The number of each sequence."""
    return torch.arange(y.shape[1], dtype=torch.int64, device=y.device)

"""RNN, LSTM and GRU as torch.nn has them: the same constructor, call, PackedSequence, state_dict.

Each only chooses its cell, whose parameters have torch.nn's names and order, so a state_dict moves
both ways unchanged and the same seed draws the same weights. Where torch.nn raises RuntimeError for
wrong arguments, these raise ValueError or TypeError.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from recurra.nn.recurrent import Recurrent
from recurra.nn.stack import State


class _TorchNamed(Recurrent):
    """What the three share: torch.nn's attributes, and the names of its call's arguments."""

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        proj_size: int = 0,
        sizes: Mapping[str, int] | None = None,
        **others: Any,
    ) -> None:
        name = cell if bias else f"{cell}_no_bias"
        super().__init__(name, input_size, hidden_size, num_layers, sizes=sizes, **others)
        self.bias = bias
        self.proj_size = proj_size

    @property
    def where(self) -> str:
        """What messages call this layer."""
        return type(self).__name__

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters layer by layer, direction by direction, as torch.nn lists them."""
        return [
            list(self.parameters_of(layer, direction).values())
            for layer in range(self.num_layers)
            for direction in range(self.num_directions)
        ]

    def flatten_parameters(self) -> None:
        """Nothing: kept because programs written for torch.nn call it."""

    def _dropped(self, x: Tensor, p: float) -> Tensor:
        return functional.dropout(x, p)  # a seed drops what it drops in torch.nn

    def extra_repr(self) -> str:
        """The arguments as torch.nn prints them, those at their defaults left out."""
        parts = [str(self.input_size), str(self.hidden_size)]
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False}
        defaults |= {"dropout": 0.0, "bidirectional": False, "backend": "auto", "memory": "normal"}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] torch.nn's argument names
        self,
        input: Tensor | PackedSequence,
        hx: Tensor | Sequence[Tensor] | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        embedding: Tensor | None = None,
    ) -> tuple[Any, State]:
        """Run over whole sequences, as torch.nn does; `Recurrent.forward` says more.

        Args:
            input: [T, B, I], [B, T, I] with batch_first, [T, I], a PackedSequence; or token ids.
            hx: [L*D, B, H], for LSTM the pair (h_0, c_0); None means zeros.
            lengths: [B] true steps, in place of a PackedSequence.
            embedding: [V, I], what token ids stand for.

        Returns:
            The output in the form of the input, and the final state in the form of hx.
        """
        return super().forward(input, hx, lengths, embedding=embedding)


class RNN(_TorchNamed):
    """torch.nn.RNN: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu in place of tanh."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
        memory: str = "normal",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"RNN: expected nonlinearity 'tanh' or 'relu', got {nonlinearity!r}. "
                f"For another, write the cell with @recurra.cell."
            )
        super().__init__(
            f"torch_rnn_{nonlinearity}",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            backend=backend,
            memory=memory,
            dtype=dtype,
            device=device,
        )
        self.nonlinearity = nonlinearity


class LSTM(_TorchNamed):
    """torch.nn.LSTM, gates stacked as i, f, g, o; with proj_size, h_t = W_hr (o * tanh(c_t))."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
        memory: str = "normal",
    ) -> None:
        if proj_size and not 0 < proj_size < hidden_size:
            raise ValueError(
                f"LSTM: expected proj_size below hidden_size = {hidden_size}, got {proj_size}. "
                f"A projection makes the output smaller; 0 means none."
            )
        super().__init__(
            "torch_lstm_projected" if proj_size else "torch_lstm",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            proj_size=proj_size,
            sizes={"P": proj_size} if proj_size else None,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            backend=backend,
            memory=memory,
            dtype=dtype,
            device=device,
        )


class GRU(_TorchNamed):
    """torch.nn.GRU, gates stacked as r, z, n; r gates the product W_hn h + b_hn."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
        memory: str = "normal",
    ) -> None:
        super().__init__(
            "torch_gru",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            backend=backend,
            memory=memory,
            dtype=dtype,
            device=device,
        )

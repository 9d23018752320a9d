"""RNN, LSTM and GRU as torch.nn has them: the same constructor, call, PackedSequence, state_dict.

Each only chooses its cell, whose parameters have torch.nn's names and order, so a state_dict moves
both ways unchanged and the same seed draws the same weights. Each is an `nn.RNNBase`, which keeps
its lists of weights. None is an `nn.LSTM`, `nn.RNN` or `nn.GRU`, because torch.compile refuses
whatever is; where a library asks for one, `class LSTM(recurra.LSTM, torch.nn.LSTM)` is both.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from recurra.nn import checks
from recurra.nn.recurrent import Recurrent
from recurra.nn.stack import State

logger = logging.getLogger("recurra")


class _TorchNamed(Recurrent, nn.RNNBase):
    """What the three share: torch.nn's attributes, and the names of its call's arguments."""

    def __init__(
        self,
        mode: str,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        bidirectional: bool,
        proj_size: int = 0,
        sizes: Mapping[str, int] | None = None,
        **others: Any,
    ) -> None:
        checks.check_flags(self.where, bias=bias)
        super().__init__(
            cell if bias else f"{cell}_no_bias",
            input_size,
            hidden_size,
            num_layers,
            sizes=sizes,
            # torch.nn takes 1 as well
            bidirectional=bool(bidirectional) if isinstance(bidirectional, int) else bidirectional,
            **others,
        )
        self.mode = mode
        self.bias = bias
        self.proj_size = proj_size
        self._all_weights = [list(self.names_of(*place)) for place in self.places]
        self._flat_weights_names = [name for names in self._all_weights for name in names]
        self._init_flat_weights()

    def __setattr__(self, attr: str, value: Any) -> None:
        if attr == "qconfig":  # how torch.ao tells a module what becomes of it
            _announce_not_quantized(self.where)
        super().__setattr__(attr, value)

    @property
    def where(self) -> str:
        """What messages call this layer."""
        return type(self).__name__

    def flatten_parameters(self) -> None:
        """On a GPU, all weights go into one piece of memory, as cuDNN would have them; elsewhere
        nothing happens."""
        if self.home.device.type == "cuda":
            super().flatten_parameters()

    def _dropped(self, x: Tensor, p: float, lengths: Tensor | None) -> Tensor:
        """With torch.nn's own draws: a seed drops what it drops there, which packs what is ragged.

        A graph that is traced draws otherwise than torch.nn does anyway.
        """
        if lengths is None or torch.compiler.is_compiling():
            return functional.dropout(x, p)
        steps = torch.arange(x.shape[0], dtype=torch.int64, device=x.device)
        order = _packing_order(lengths)
        inside = (steps[:, None] < lengths[order]).nonzero(as_tuple=True)
        scales = functional.dropout(x.new_ones(inside[0].numel(), x.shape[-1]), p)
        scale = torch.zeros_like(x).index_put((inside[0], order[inside[1]]), scales)
        return x * scale

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
            The output in the form of the input, and the final state in the form of hx; under
            autocast of the dtype that torch.nn gives there, the layer's own where it is float64.
        """
        y, state = super().forward(input, hx, lengths, embedding=embedding)
        first = state if isinstance(state, Tensor) else state[0]
        if not checks.in_autocast(first.device) or first.dtype is torch.float64:
            return y, state
        dtype = self._autocast_dtype(first.device.type)
        if isinstance(state, Tensor):
            return y.to(dtype), state.to(dtype)
        return y.to(dtype), tuple(each.to(dtype) for each in state)

    def _autocast_dtype(self, device_type: str) -> torch.dtype:
        """What torch.nn's layer gives under autocast."""
        return torch.get_autocast_dtype(device_type)


def _check_projection(where: str, proj_size: int, hidden_size: int) -> None:
    if proj_size < 0:
        raise ValueError(
            f"{where}: expected proj_size >= 0, got {proj_size}. "
            f"proj_size should be a positive integer or zero to disable projections."
        )
    if proj_size >= max(hidden_size, 1):
        raise ValueError(
            f"{where}: expected proj_size below hidden_size = {hidden_size}, got {proj_size}. "
            f"proj_size has to be smaller than hidden_size, and 0 means no projection."
        )


def _refuse_projection(where: str, proj_size: int) -> None:
    if proj_size:
        raise ValueError(
            f"{where}: expected no proj_size, got {proj_size}. "
            f"proj_size argument is only supported for LSTM, not RNN or GRU."
        )


def _packing_order(lengths: Tensor) -> Tensor:
    """The order in which `pack_padded_sequence` has sequences: as they are, if that is sorted."""
    own = lengths.cpu()
    if bool((own[1:] <= own[:-1]).all()):
        order = torch.arange(len(own), dtype=torch.int64, device="cpu")
    else:  # the call that torch makes, because what is equal has no order of its own
        order = torch.sort(own, descending=True).indices
    return order.to(lengths.device)


@cache
def _announce_not_quantized(where: str) -> None:
    logger.warning(
        "%s is not quantized by torch.ao: it computes in the dtype that it has. To have it "
        "quantized, load its state_dict into torch.nn.%s.",
        where,
        where,
    )


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
        proj_size: int = 0,
    ) -> None:
        _refuse_projection(self.where, proj_size)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"{self.where}: expected nonlinearity 'tanh' or 'relu', got {nonlinearity!r}. "
                f"Unknown nonlinearity: write a cell of its own, with @recurra.cell."
            )
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
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
        _check_projection(self.where, proj_size, hidden_size)
        super().__init__(
            "LSTM",
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

    def get_expected_cell_size(
        self, input: Tensor, batch_sizes: Tensor | None
    ) -> tuple[int, int, int]:
        """The shape [L*D, B, H] of c_0, which a projection leaves as it is."""
        shape = self.get_expected_hidden_size(input, batch_sizes)
        return (*shape[:2], self.hidden_size)

    def check_forward_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Tensor, hidden: tuple[Tensor, Tensor], batch_sizes: Tensor | None
    ) -> None:
        """Raise as torch.nn does where the input or the pair (h_0, c_0) has another shape."""
        self.check_input(input, batch_sizes)
        h, c = hidden
        expected = self.get_expected_hidden_size(input, batch_sizes)
        self.check_hidden_size(h, expected, "Expected hidden[0] size {}, got {}")
        expected = self.get_expected_cell_size(input, batch_sizes)
        self.check_hidden_size(c, expected, "Expected hidden[1] size {}, got {}")

    def permute_hidden(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, hx: tuple[Tensor, Tensor], permutation: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The pair (h_0, c_0) with its sequences in another order."""
        if permutation is None:
            return hx
        h, c = hx
        return h.index_select(1, permutation), c.index_select(1, permutation)


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
        proj_size: int = 0,
    ) -> None:
        _refuse_projection(self.where, proj_size)
        super().__init__(
            "GRU",
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

    def _autocast_dtype(self, device_type: str) -> torch.dtype:
        if device_type == "cpu":  # where torch.nn.GRU, unlike the others, keeps its own
            return self.home.dtype
        return super()._autocast_dtype(device_type)

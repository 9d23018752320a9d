"""Pooling over time: from what a recurrence gives at each step to one vector for each sequence.

What lies past a sequence's length never counts, whatever it is: neither in the result nor in its
gradients.

Letters: T time, B batch, H features of a step, P features of the result, A size of the attention.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recurra.nn import checks

KINDS = ("last", "mean", "max", "attention")


class Pooling(nn.Module):
    """y [T, B, H] of a recurrent layer, and the lengths of its sequences, become [B, P].

    "last" is the output after the last true step: of a bidirectional layer that of the forward
    direction, and of the reverse direction what it gives after its own last, which is step 0.
    "mean" and "max" are taken over the true steps, feature by feature. "attention" is a mean whose
    weights are learned: u_t = tanh(W y_t + b), alpha = softmax over t of q . u_t, sum of
    alpha_t y_t. Kinds joined by "+" stand side by side in the result: "last+max+mean" is the
    concat pooling of Howard and Ruder. A sequence of length 0 becomes zeros.

    Args:
        kind: "last", "mean", "max", "attention", or several joined by "+".
        size: H.
        bidirectional: whether the second half of y's features is of a reverse direction.
        batch_first: y is [B, T, H].
        attention_size: A; None means H.

    Raises:
        ValueError: when a kind is unknown or named twice, or a size is wrong.

    Source: attention as Yang, Yang, Dyer, He, Smola, Hovy (2016), "Hierarchical Attention Networks
    for Document Classification", NAACL, eq. (5)-(7); concat pooling as Howard, Ruder (2018),
    "Universal Language Model Fine-tuning for Text Classification", ACL, arXiv:1801.06146, section
    3.3.
    """

    def __init__(
        self,
        kind: str,
        size: int,
        *,
        bidirectional: bool = False,
        batch_first: bool = False,
        attention_size: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.kinds = _checked_kinds(kind)
        checks.check_sizes("Pooling", size=size)
        if bidirectional and size % 2:
            raise ValueError(
                f"Pooling: expected an even size, half of it for each direction, got {size}. "
                f"Pass the size of y, which is that of both directions."
            )
        self.kind = kind
        self.size = size
        self.bidirectional = bidirectional
        self.batch_first = batch_first
        self.attention_size: int | None = None
        if "attention" in self.kinds:
            checks.check_sizes("Pooling", **_given(attention_size=attention_size))
            self.attention_size = attention_size or size
            self.projection = nn.Linear(size, self.attention_size, dtype=dtype, device=device)
            query = torch.empty(self.attention_size, dtype=dtype, device=device)
            self.query = nn.Parameter(query)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew; at first the attention is close to a mean."""
        if self.attention_size is not None:
            self.projection.reset_parameters()
            bound = 1 / math.sqrt(self.attention_size)
            nn.init.uniform_(self.query, -bound, bound)

    @property
    def output_size(self) -> int:
        """P."""
        return len(self.kinds) * self.size

    def forward(
        self,
        y: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> Tensor:
        """One vector for each sequence.

        Args:
            y: [T, B, H]; [B, T, H] with batch_first.
            lengths: [B] integers in 0..T, true steps of each sequence; None means all T.

        Returns:
            pooled: [B, P], kind after kind.

        Raises:
            ValueError: when y has another shape, or a length is out of range.
        """
        y, lengths, past = self._arranged(y, lengths)
        parts = [self._pooled(kind, y, lengths, past) for kind in self.kinds]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def weights(
        self,
        y: Tensor,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> Tensor:
        """How much each step counts for the attention: [T, B] ([B, T] with batch_first), 0 past
        the lengths, of sum 1 over the true steps. Arguments are those of a call.

        Raises:
            ValueError: when this is no pooling by attention, or as for a call.
        """
        if "attention" not in self.kinds:
            raise ValueError(
                f"Pooling.weights: expected a pooling by attention, got kind {self.kind!r}, whose "
                f"steps have no weights. Make it with kind='attention'."
            )
        y, _, past = self._arranged(y, lengths)
        weights = self._weights(_without(y, past, 0.0), past)
        return weights.transpose(0, 1) if self.batch_first else weights

    def _arranged(
        self, y: Tensor, lengths: Tensor | Sequence[int] | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """y [T, B, H], the lengths, and which steps lie past them, [T, B]."""
        if y.dim() != 3 or y.shape[-1] != self.size:
            form = "[batch, time, size]" if self.batch_first else "[time, batch, size]"
            raise ValueError(
                f"Pooling: expected y {form} of size {self.size}, got shape {tuple(y.shape)}. "
                f"Pass what the recurrent layer returned."
            )
        if self.batch_first:
            y = y.transpose(0, 1)
        if lengths is None:
            return y, None, None
        T, B = y.shape[:2]
        lengths = checks.checked_lengths("Pooling", lengths, T, B, y.device)
        steps = torch.arange(T, dtype=torch.int64, device=y.device)
        return y, lengths, steps[:, None] >= lengths

    def _pooled(self, kind: str, y: Tensor, lengths: Tensor | None, past: Tensor | None) -> Tensor:
        if len(y) == 0:
            return y.sum(dim=0)
        if kind == "last":
            return self._last(y, lengths)
        if kind == "max":
            return _max(y, lengths, past)
        y = _without(y, past, 0.0)
        if kind == "attention":
            return (self._weights(y, past)[..., None] * y).sum(dim=0)
        counts = len(y) if lengths is None else lengths.clamp(min=1)[:, None].to(y.dtype)
        return y.sum(dim=0) / counts

    def _last(self, y: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            at_end, empty = y[-1], None
        else:
            sequences = torch.arange(y.shape[1], dtype=torch.int64, device=y.device)
            at_end, empty = y[(lengths - 1).clamp(min=0), sequences], lengths == 0
        if self.bidirectional:
            half = self.size // 2
            at_end = torch.cat([at_end[:, :half], y[0, :, half:]], dim=-1)
        return _without(at_end, empty, 0.0)

    def _weights(self, y: Tensor, past: Tensor | None) -> Tensor:
        """Of steps [T, B, H] that are finite past the lengths too."""
        scores = torch.tanh(self.projection(y)) @ self.query  # [T, B]
        # the least number, not minus infinity: a sequence of no steps has a softmax then
        scores = _without(scores, past, torch.finfo(scores.dtype).min)
        return _without(scores.softmax(dim=0), past, 0.0)

    def running(self) -> "RunningPooling":
        """The same pooling over steps that arrive one at a time.

        Raises:
            ValueError: of a bidirectional layer, or with attention, which need all steps.
        """
        if self.bidirectional or "attention" in self.kinds:
            got = "bidirectional=True" if self.bidirectional else f"kind {self.kind!r}"
            raise ValueError(
                f"Pooling.running: expected one direction and kinds last, mean or max, got {got}. "
                f"It needs the whole sequence: call it on that."
            )
        return RunningPooling(self.kinds)

    def extra_repr(self) -> str:
        """Kind and size, and what is not at its default."""
        parts = [f"{self.kind!r}", f"{self.size}"]
        parts += [f"{n}=True" for n in ("bidirectional", "batch_first") if getattr(self, n)]
        return ", ".join(parts)


class RunningPooling:
    """What pooling gives after each step, as steps arrive: called with y_t [B, H] it returns
    [B, P] over all steps so far. `reset` begins new sequences."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = tuple(kinds)
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        self._count = 0
        self._sum: Tensor | None = None
        self._max: Tensor | None = None

    def __call__(self, y_t: Tensor) -> Tensor:
        """The vector of each sequence as far as it has come."""
        self._count += 1
        if "mean" in self.kinds:
            self._sum = y_t if self._sum is None else self._sum + y_t
        if "max" in self.kinds:
            self._max = y_t if self._max is None else torch.maximum(self._max, y_t)
        parts = []
        for kind in self.kinds:
            if kind == "mean":
                assert self._sum is not None
                parts.append(self._sum / self._count)
            else:
                found = y_t if kind == "last" else self._max
                assert found is not None
                parts.append(found)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _checked_kinds(kind: str) -> tuple[str, ...]:
    kinds = tuple(part.strip() for part in str(kind).split("+"))
    if not set(kinds) <= set(KINDS) or len(set(kinds)) < len(kinds):
        raise ValueError(
            f"pooling: expected one of {', '.join(KINDS)}, or some of them joined by +, got "
            f"{kind!r}. Use max+mean when in doubt."
        )
    return kinds


def _given(**sizes: int | None) -> dict[str, int]:
    return {name: size for name, size in sizes.items() if size is not None}


def _without(y: Tensor, mask: Tensor | None, value: float) -> Tensor:
    """`y`, with `value` where the mask of its first dimensions is true; there no gradient flows."""
    if mask is None:
        return y
    return y.masked_fill(mask.reshape(*mask.shape, *([1] * (y.dim() - mask.dim()))), value)


def _max(y: Tensor, lengths: Tensor | None, past: Tensor | None) -> Tensor:
    found = _without(y, past, -math.inf).max(dim=0).values
    return _without(found, None if lengths is None else lengths == 0, 0.0)

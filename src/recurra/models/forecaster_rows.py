"""What a forecaster's recurrence reads, row by row, and how rows are cut into segments.

Letters: T steps of the past, F steps to come, B batch, C channels, P covariates of the past, K
known covariates, I input, L steps of a segment, R rows: B, or B C where channels share weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from recurra.nn.checks import checked_lengths

if TYPE_CHECKING:
    from recurra.models.forecaster import Forecaster


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the recurrence reads, row by row.

    Attributes:
        model: whose layers read it.
        lengths: [R], or None.
        values: [T, R, 1 or C], without gaps, the last value taken away where it is to be.
        gaps: which of them were missing.
        past: [T, R, P].
        known: [T, R, K], of the past.
        ahead: [F, R, K].
        own: [R, size], the vectors of the series.
        last: [R, 1 or C], what was taken away; zeros where nothing was.
        last_read: [R, 1 or C], the last of the values.
    """

    model: "Forecaster"
    lengths: Tensor | None
    values: Tensor
    gaps: Tensor
    past: Tensor
    known: Tensor
    ahead: Tensor
    own: Tensor
    last: Tensor
    last_read: Tensor

    @classmethod
    def of(
        cls,
        model: "Forecaster",
        x: Tensor,
        lengths: Tensor | Sequence[int] | None,
        past: Tensor | None,
        known: Tensor | None,
        ahead: Tensor | None,
        series: Tensor | None,
    ) -> "Rows":
        """The rows of what a call of the model is given."""
        T, B, C = x.shape
        times = C if model.shared_channels else 1
        if lengths is not None:
            lengths = checked_lengths(
                "Forecaster", lengths, T, B, x.device, name="lengths of series"
            )
            steps = torch.arange(T, dtype=torch.int64, device=x.device)
            x = x.masked_fill((steps[:, None] >= lengths)[..., None], 0)
            lengths = lengths.repeat_interleave(times)
        values, gaps = carried(model.apart(x))
        last_read = at_end(values, lengths)
        last = last_read if model.subtract_last else torch.zeros_like(last_read)
        empty = x.new_zeros(T, B, 0)
        beside = [empty if each is None else each for each in (past, known)]
        future = x.new_zeros(model.horizon, B, 0) if ahead is None else ahead
        own = (
            x.new_zeros(B, 0) if series is None or model.vectors is None else model.vectors(series)
        )
        past, known, future = (e.repeat_interleave(times, 1) for e in (*beside, future))
        return cls(
            model=model,
            lengths=lengths,
            values=values - last,
            gaps=gaps,
            past=past,
            known=known,
            ahead=future,
            own=own.repeat_interleave(times, 0),
            last=last,
            last_read=last_read - last,
        )

    def steps(self, *, shifted: bool = False) -> Tensor:
        """[T, R, I], what is read of the past.

        Args:
            shifted: known covariates are those of the step behind, which is forecast of it.
        """
        known = self.known
        if shifted and known.shape[-1]:
            known = torch.cat([known[1:], self.ahead[:1]])
            if self.lengths is not None:
                rows = torch.arange(known.shape[1], dtype=torch.int64, device=known.device)
                known = known.index_put((self.lengths - 1, rows), self.ahead[0])
        return self._joined(self.values, self.gaps, self.past, known)

    def fed(self, values: Tensor, gaps: Tensor | None, first: int = 0) -> Tensor:
        """[n, R, I], what is read of steps to come, from the step `first` on: covariates of the
        past stay what they were last."""
        n = len(values)
        gaps = torch.zeros_like(values, dtype=torch.bool) if gaps is None else gaps
        past = at_end(self.past, self.lengths).expand(n, -1, -1)
        return self._joined(values, gaps, past, self.ahead[first + 1 : first + 1 + n])

    def _joined(self, values: Tensor, gaps: Tensor, past: Tensor, known: Tensor) -> Tensor:
        own = self.own.expand(len(values), -1, -1)
        masks = [gaps.to(values.dtype)] if self.model.missing == "mask" else []
        parts = [each for each in (values, *masks, past, known, own) if each.shape[-1]]
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]


def carried(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [T, R, C] with the last value before in each gap, 0 where there is none; and the gaps."""
    gaps = x.isnan()
    steps = torch.arange(len(x), dtype=torch.int64, device=x.device)[:, None, None]
    last = steps.where(~gaps, 0).cummax(dim=0).values
    return x.gather(0, last).nan_to_num(nan=0.0), gaps


def at_end(y: Tensor, lengths: Tensor | None) -> Tensor:
    """[R, ...] of the last true step of each row of y [T, R, ...]."""
    if lengths is None:
        return y[-1]
    return y[lengths - 1, torch.arange(y.shape[1], dtype=torch.int64, device=y.device)]


def cut(steps: Tensor, lengths: Tensor | None, length: int) -> tuple[Tensor, Tensor | None]:
    """Segments [ceil(T / L), R, L I] that end where their row does, and how many each row has; the
    first of a row begins with zeros where the row does not fill it."""
    more = -len(steps) % length
    steps = functional.pad(steps, (0, 0, 0, 0, more, 0))
    if lengths is not None:
        # padded in front to whole segments, row by row: place j has what stood at j - shift
        shift = more - (-lengths) % length
        place = torch.arange(len(steps), dtype=torch.int64, device=steps.device)[:, None] + shift
        inside = (place >= more) & (place < len(steps))
        place = place.clamp(0, len(steps) - 1)[..., None].expand(-1, -1, steps.shape[-1])
        steps = steps.gather(0, place) * inside[..., None]
        lengths = (lengths + length - 1) // length
    return steps.unflatten(0, (-1, length)).transpose(1, 2).flatten(2), lengths

"""Windows of series: the steps that are read, and those that are to be forecast.

Letters: S steps of all series together, N series, W windows, T steps of the past, F steps to come,
B batch, C channels, P covariates of the past, K known covariates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from recurra.data.panels import Panel
from recurra.errors import CheckpointError, DataError, argument
from recurra.files import read_tensors, tensor_bytes, write_atomically

PARTS = ("train", "val", "test")
_WHAT = "file of series"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Series end to end, and which steps of each are of which part.

    Attributes:
        values: [S, C] float64, in the units of the data; NaN where one is missing.
        past: [S, P].
        known: [S, K].
        dates: [S] int64, seconds since 1970; None without dates.
        offsets: [N + 1], where each series begins, and the end.
        bounds: [N, 3, 2], the first step of each part in its series, and the one behind its last.
        names: [N]; "" of one without a name.
    """

    values: np.ndarray
    past: np.ndarray
    known: np.ndarray
    dates: np.ndarray | None
    offsets: np.ndarray
    bounds: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, panels: Mapping[str, Panel], shares: Sequence[float]) -> "Stored":
        """The series of panels, those of "train" divided by position unless others are given.

        Args:
            panels: by part, "train" at least. A part that has its own is no share of the others.
            shares: of train, val and test; as fractions of each series, or as counts of steps.
        """
        rows: dict[str, list[np.ndarray]] = {"values": [], "past": [], "known": [], "dates": []}
        bounds, names = [], []
        for part, panel in panels.items():
            for series in panel.series:
                T = len(series)
                rows["values"].append(series.values)
                for name in ("past", "known"):
                    beside = getattr(series, name)
                    rows[name].append(np.zeros((T, 0)) if beside is None else beside[:T])
                if series.dates is not None:
                    rows["dates"].append(series.dates.astype(np.int64))
                bounds.append(_bounds(T, part, shares, [p for p in PARTS if p in panels]))
                names.append(series.name or "")
        together = {name: np.concatenate(each) if each else None for name, each in rows.items()}
        offsets = np.cumsum([0, *map(len, rows["values"])], dtype=np.int64)
        return cls(
            **together,  # type: ignore[arg-type]
            offsets=offsets,
            bounds=np.array(bounds, dtype=np.int64),
            names=tuple(names),
        )

    def of_part(self, part: str) -> list[np.ndarray]:
        """The values of each series that are of a part, [T, C] each; none where it has no step."""
        at = PARTS.index(part)
        found = []
        for start, (first, last) in zip(self.offsets[:-1], self.bounds[:, at], strict=True):
            found.append(self.values[start + first : start + last])
        return found

    def rows_of(self, part: str) -> np.ndarray:
        """The places of all steps of a part."""
        at = PARTS.index(part)
        spans = zip(self.offsets[:-1], self.bounds[:, at], strict=True)
        return np.concatenate([np.arange(s + first, s + last) for s, (first, last) in spans])

    def write(self, path: Path) -> None:
        """Write them into a file of a run's folder."""
        arrays = {
            name: getattr(self, name)
            for name in ("values", "past", "known", "dates", "offsets", "bounds")
        }
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
            if array is not None
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        content = tensor_bytes(tensors, {str(n): name for n, name in enumerate(self.names)})
        write_atomically(path, lambda part: part.write_bytes(content))

    @classmethod
    def read(cls, path: Path) -> "Stored":
        """What `write` wrote.

        Raises:
            DataError: when the file is damaged or gone.
        """
        try:
            tensors, note = read_tensors(path, _WHAT)
            arrays: dict[str, Any] = {name: each.numpy() for name, each in tensors.items()}
            names = tuple(note[str(n)] for n in range(len(arrays["bounds"])))
            return cls(**{"dates": None, **arrays}, names=names)
        except (CheckpointError, LookupError, TypeError) as error:
            raise DataError(
                f"{path}: expected the series of the run, got {error!s:.100}. The file is damaged "
                "or gone: start the run again."
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowBatch:
    """Windows side by side, scaled.

    Attributes:
        x: [T, B, C], the past; NaN where a value is missing; zeros past the lengths.
        lengths: [B]; None where all have T steps.
        target: [F, B, C], what comes; NaN where a value is missing.
        past: [T, B, P].
        known: [T, B, K].
        ahead: [F, B, K].
        series: [B], the number of each one's series.
        weight: how much it counts: 1, or 0 of a batch that only keeps a process in step.
        starts: [B], the place of the first step to come among all steps.
    """

    x: Float32[Tensor, "time batch channels"]
    lengths: Int64[Tensor, " batch"] | None
    target: Float32[Tensor, "ahead batch channels"]
    past: Float32[Tensor, "time batch past"]
    known: Float32[Tensor, "time batch known"]
    ahead: Float32[Tensor, "ahead batch known"]
    series: Int64[Tensor, " batch"]
    weight: float
    starts: np.ndarray


class Windows:
    """All windows of a part: those whose steps to come lie in it, whatever part their past is of.

    A window has the whole look-back, as far as its series goes back: of a series that is too short
    for one, the windows have all that there is.
    """

    def __init__(
        self,
        part: str,
        stored: Stored,
        values: np.ndarray,
        past: np.ndarray,
        known: np.ndarray,
        *,
        look_back: int,
        horizon: int,
    ) -> None:
        """Lay windows over the series.

        Args:
            part: "train", "val" or "test".
            stored: where series and parts begin.
            values: [S, C] float32, scaled.
            past: [S, P] float32, scaled, without gaps.
            known: [S, K] float32, likewise.
            look_back: T.
            horizon: F.
        """
        self.values, self.past, self.known = values, past, known
        self.look_back, self.horizon = look_back, horizon
        starts, firsts, series = [], [], []
        at = PARTS.index(part)
        for number, offset in enumerate(stored.offsets[:-1].tolist()):
            begin, end = (int(each) for each in stored.bounds[number, at])
            last = end - horizon  # of the first steps to come
            first = max(begin, min(look_back, last), 1)
            own = np.arange(first, last + 1, dtype=np.int64) + offset
            starts.append(own)
            firsts.append(np.maximum(own - look_back, offset))
            series.append(np.full(len(own), number, dtype=np.int64))
        self.starts = np.concatenate(starts)
        self.firsts = np.concatenate(firsts)
        self.series = np.concatenate(series)

    def __len__(self) -> int:
        """W."""
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """[W], the steps of the past of each."""
        return self.starts - self.firsts

    def gather(self, chosen: np.ndarray, weight: float = 1.0) -> WindowBatch:
        """These windows, in this order."""
        starts, firsts = self.starts[chosen], self.firsts[chosen]
        lengths = starts - firsts
        T = int(lengths.max())
        steps = np.arange(T)[:, None]
        at = np.minimum(firsts + steps, starts - 1)
        to_come = starts + np.arange(self.horizon)[:, None]
        x = self.values[at]
        ragged = bool((lengths < T).any())
        if ragged:
            x[steps >= lengths] = 0
        return WindowBatch(
            x=torch.from_numpy(x),
            lengths=torch.from_numpy(lengths) if ragged else None,
            target=torch.from_numpy(self.values[to_come]),
            past=torch.from_numpy(self.past[at]),
            known=torch.from_numpy(self.known[at]),
            ahead=torch.from_numpy(self.known[to_come]),
            series=torch.from_numpy(self.series[chosen]),
            weight=weight,
            starts=starts,
        )


def check_long_enough(part: str, windows: Windows, stored: Stored) -> None:
    """Raise DataError where a part has no window, and say how long its series are."""
    if len(windows):
        return
    longest = max((len(each) for each in stored.of_part(part)), default=0)
    beside = " and a step before them" if part == "train" else ""
    raise DataError(
        f"{part}: expected a series of {windows.horizon} steps or more, which is the horizon"
        f"{beside}, got {longest} in the longest. Lower {argument('horizon=')}, divide otherwise, "
        f"{argument('parts=')}, or give longer series."
    )


def _bounds(
    steps: int, part: str, shares: Sequence[float], given: Sequence[str]
) -> list[tuple[int, int]]:
    """Where each part begins and ends in a series of so many steps.

    Args:
        steps: of the series.
        part: that it was given for.
        shares: of the parts, of a series that was given for "train".
        given: the parts that have series of their own.
    """
    if part != "train":
        return [(0, steps if name == part else 0) for name in PARTS]
    own = [
        0.0 if name != "train" and name in given else share
        for name, share in zip(PARTS, shares, strict=True)
    ]
    if max(shares) < 1:  # fractions: what others have is trained on
        own[0] += sum(shares) - sum(own)
        edges = np.rint(np.cumsum(own) * steps).astype(np.int64)
        if abs(sum(shares) - 1) < 1e-9:
            edges[-1] = steps
    else:
        edges = np.minimum(np.cumsum(own).astype(np.int64), steps)
    low = [0, *edges[:-1].tolist()]
    return list(zip(low, edges.tolist(), strict=True))

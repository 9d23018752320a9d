"""The three files that grow during a run, opened, marked and closed together."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from recurra.terminal import printable
from recurra.training.measures import measure, measure_name
from recurra.training.metrics import EventLog, MetricsTable
from recurra.training.progress import Progress
from recurra.training.samples import Sample, SampleLog
from recurra.training.view import Status


def columns(level: str) -> tuple[str, ...]:
    """The columns of metrics.csv; `nll` is the training loss since the row before."""
    name = measure_name(level)
    return (
        "step",
        "epoch",
        "nll",
        name,
        "val_nll",
        f"val_{name}",
        "lr",
        "grad_norm",
        "tokens_per_s",
        "skipped",
        "elapsed_s",
    )


class RunLogs:
    """metrics.csv, the TensorBoard events and samples.txt of one run folder.

    Args:
        folder: of the run.
        level: of the vocabulary, which names the loss.
        marks: lengths that `marks()` returned at the checkpoint; what is beyond them is dropped.
    """

    names: ClassVar[tuple[str, ...]] = ("metrics", "events", "samples")

    def __init__(self, folder: Path, level: str, marks: Mapping[str, int]) -> None:
        self._level = level
        metrics, samples = folder / "metrics.csv", folder / "samples.txt"
        with contextlib.ExitStack() as opened:  # all three or none
            self._metrics = MetricsTable(metrics, columns(level), keep=marks["metrics"])
            opened.callback(self._metrics.close)
            self._events = EventLog(folder, keep=marks["events"])
            opened.callback(self._events.close)
            self._samples = SampleLog(samples, keep=marks["samples"])
            opened.pop_all()

    def row(self, status: Status, *, validated: bool) -> None:
        """Write one row; the validation loss only where it is new."""
        name = measure_name(self._level)
        row = {
            "step": status.step,
            "epoch": status.epoch,
            "nll": status.nll,
            name: status.measure,
            "val_nll": status.val_nll if validated else None,
            f"val_{name}": status.val_measure if validated else None,
            "lr": status.lr,
            "grad_norm": status.grad_norm,
            "tokens_per_s": status.tokens_per_s,
            "skipped": status.skipped,
            "elapsed_s": status.elapsed_s,
        }
        self._metrics.append(row)
        self._events.append(row)

    def sample(self, sample: Sample) -> None:
        """Write one sample."""
        self._samples.append(sample)
        self._events.append_text("sample", printable(sample.text), sample.step)

    def marks(self) -> dict[str, int]:
        """The lengths of the files, once they are on the disk."""
        return {
            "metrics": self._metrics.mark(),
            "events": self._events.mark(),
            "samples": self._samples.mark(),
        }

    def close(self) -> None:
        """Close all three."""
        self._metrics.close()
        self._events.close()
        self._samples.close()


def status_of(
    progress: Progress,
    *,
    level: str,
    total_steps: int | None,
    epoch: float,
    fraction: float,
    lr: float,
    seconds_left: float | None,
) -> Status:
    """The status that `progress` amounts to."""
    nll, val_nll = progress.interval.mean_nll, progress.val_nll
    return Status(
        step=progress.step,
        total_steps=total_steps,
        epoch=epoch,
        fraction=fraction,
        nll=nll,
        measure_name=measure_name(level),
        measure=None if nll is None else measure(level, nll),
        val_nll=val_nll,
        val_measure=None if val_nll is None else measure(level, val_nll),
        tokens_per_s=progress.interval.tokens_per_s,
        lr=lr,
        grad_norm=progress.interval.mean_grad_norm,
        skipped=progress.skipped,
        elapsed_s=progress.elapsed_s,
        seconds_left=seconds_left,
    )

"""The three files that grow during a run: metrics.csv, TensorBoard events, samples.txt."""

import contextlib
import csv
import io
import math
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

# Generated classes, which a type checker cannot see.
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import (
    Summary,  # pyright: ignore[reportAttributeAccessIssue]
    SummaryMetadata,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.compat.proto.tensor_pb2 import (
    TensorProto,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.compat.proto.tensor_shape_pb2 import (
    TensorShapeProto,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboard.summary.writer.record_writer import RecordWriter

from recurra.files import AppendLog
from recurra.terminal import printable
from recurra.views import Sample, Status

METRICS_NAME = "metrics.csv"
SAMPLES_NAME = "samples.txt"
EVENTS = "events.out.tfevents.*"

Row = Mapping[str, float | int | None]


class RunLogs:
    """metrics.csv, the TensorBoard events and samples.txt of one run folder.

    Args:
        folder: of the run.
        columns: of metrics.csv, see `columns_of`.
        marks: lengths that `marks()` returned at the checkpoint; what is beyond them is dropped.
    """

    names: ClassVar[tuple[str, ...]] = ("metrics", "events", "samples")

    def __init__(self, folder: Path, columns: Sequence[str], marks: Mapping[str, int]) -> None:
        with contextlib.ExitStack() as opened:  # all three or none
            self._metrics = MetricsTable(folder / METRICS_NAME, columns, keep=marks["metrics"])
            opened.callback(self._metrics.close)
            self._events = EventLog(folder, keep=marks["events"])
            opened.callback(self._events.close)
            self._samples = AppendLog(folder / SAMPLES_NAME, keep=marks["samples"])
            opened.pop_all()

    def row(self, status: Status, *, validated: bool) -> None:
        """Write one row; the validation figures only where they are new."""
        row = {
            "step": status.step,
            "epoch": status.epoch,
            **status.train,
            **({f"val_{name}": value for name, value in status.val.items()} if validated else {}),
            "lr": status.lr,
            "grad_norm": status.grad_norm,
            f"{status.counted}_per_s": status.per_s,
            "skipped": status.skipped,
            "elapsed_s": status.elapsed_s,
        }
        self._metrics.append(row)
        self._events.append(row)

    def sample(self, sample: Sample) -> None:
        """Write one sample under its heading."""
        self._samples.append(f"=== {sample.heading} ===\n{sample.text}\n\n".encode())
        self._events.append_text("sample", printable(sample.text), sample.step)

    def picture(self, name: str, png: bytes, step: int) -> None:
        """Write a picture, which TensorBoard shows."""
        self._events.append_image(name, png, step)

    def text(self, tag: str, text: str) -> None:
        """Write a text that TensorBoard shows, of the run's start."""
        self._events.append_text(tag, printable(text), 0)

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


def columns_of(train: Sequence[str], val: Sequence[str], counted: str) -> tuple[str, ...]:
    """The columns of metrics.csv; the training loss is that since the row before."""
    return (
        *("step", "epoch", *train),
        *(f"val_{name}" for name in val),
        *("lr", "grad_norm", f"{counted}_per_s", "skipped", "elapsed_s"),
    )


class MetricsTable:
    """metrics.csv: a row for every few steps and every validation; unknown values are empty."""

    def __init__(self, path: Path, columns: Sequence[str], *, keep: int | None = None) -> None:
        self._columns = columns
        self._log = AppendLog(path, keep=keep)
        if self._log.size == 0:
            self._write(columns)

    def append(self, row: Row) -> None:
        """Add one row; its keys are columns."""
        self._write([_spell(row.get(column)) for column in self._columns])

    def mark(self) -> int:
        """The file's length, once it is on the disk; a checkpoint keeps it."""
        return self._log.mark()

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _write(self, values: Sequence[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        self._log.append(line.getvalue().encode())


class EventLog:
    """A TensorBoard event file: scalars by step, in one file that a resumed run goes on writing.

    TensorBoard's own writer hands records to a thread; here they are written in place, so that a
    checkpoint can say how long the file was and a full disk is noticed where it happens.
    """

    def __init__(self, folder: Path, *, keep: int | None = None) -> None:
        known = sorted(folder.glob(EVENTS))
        new = folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self._log = AppendLog(known[0] if known else new, keep=keep)
        if self._log.size == 0:
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def append(self, row: Row) -> None:
        """Add the numbers of one row, but its step, each under its name."""
        values = [
            Summary.Value(tag=name, simple_value=float(value))
            for name, value in row.items()
            if name != "step" and value is not None
        ]
        step = int(row["step"] or 0)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def append_text(self, tag: str, text: str, step: int) -> None:
        """Add a text, which TensorBoard's text plugin shows with its line ends."""
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        content = "\n".join(f"    {line}" for line in text.split("\n")).encode()  # Markdown's code
        value = Summary.Value(
            tag=tag,
            metadata=metadata,
            tensor=TensorProto(
                dtype="DT_STRING",
                string_val=[content],
                tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
            ),
        )
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def append_image(self, tag: str, png: bytes, step: int) -> None:
        """Add a picture, the bytes of a PNG file."""
        width, height = struct.unpack_from(">II", png, 16)  # of IHDR, behind 16 bytes
        image = Summary.Image(width=width, height=height, encoded_image_string=png)
        value = Summary.Value(tag=tag, image=image)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def mark(self) -> int:
        """The file's length, once it is on the disk; a checkpoint keeps it."""
        return self._log.mark()

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _write(self, event: Event) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self._log.append(record.getvalue())


def _spell(value: float | int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.6g}"

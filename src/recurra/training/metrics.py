"""metrics.csv and TensorBoard events: the same numbers, written as they come."""

import csv
import io
import math
import socket
import time
from collections.abc import Mapping
from pathlib import Path

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

Row = Mapping[str, float | int | None]


class MetricsTable:
    """metrics.csv: a row for every few steps and every validation; unknown values are empty."""

    def __init__(self, path: Path, columns: tuple[str, ...], *, keep: int | None = None) -> None:
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

    def _write(self, values: list[str] | tuple[str, ...]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        self._log.append(line.getvalue().encode())


class EventLog:
    """A TensorBoard event file: scalars by step, in one file that a resumed run goes on writing.

    TensorBoard's own writer hands records to a thread; here they are written in place, so that a
    checkpoint can say how long the file was and a full disk is noticed where it happens.
    """

    def __init__(self, folder: Path, *, keep: int | None = None) -> None:
        known = sorted(folder.glob("events.out.tfevents.*"))
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

"""Numbers by step in files that grow: metrics.csv, and events that TensorBoard shows."""

import csv
import io
import math
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

from recurra.files.growing import AppendLog

EVENTS = "events.out.tfevents.*"

Row = Mapping[str, float | int | None]


class MetricsTable(AppendLog):
    """metrics.csv: a row for every few steps and every validation; unknown values are empty.

    A file that has rows keeps the columns that it began with.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, keep: int | None = None) -> None:
        super().__init__(path, keep=keep)
        self._columns = columns
        if self.size == 0:
            self._write(columns)
        else:
            with path.open(newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file), columns)

    def add(self, row: Row) -> None:
        """Add one row; its keys are columns."""
        self._write([_spell(row.get(column)) for column in self._columns])

    def _write(self, values: Sequence[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        self.append(line.getvalue().encode())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.csv, numbers by column, None where there is none; no rows where there
    is no file. A row that was cut short lacks what it has not."""
    try:
        with path.open(newline="") as file:
            rows = [
                {k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        return []
    for row in rows:
        row |= {k: int(v) for k, v in row.items() if k in ("step", "skipped") and v is not None}
    return rows


class EventLog(AppendLog):
    """A TensorBoard event file: scalars by step, in one file that a resumed run goes on writing.

    TensorBoard's own writer hands records to a thread; here they are written in place, so that a
    checkpoint can say how long the file was and a full disk is noticed where it happens.
    """

    def __init__(self, folder: Path, *, keep: int | None = None) -> None:
        known = sorted(folder.glob(EVENTS))
        new = folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        super().__init__(known[0] if known else new, keep=keep)
        if self.size == 0:
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, row: Row) -> None:
        """Add the numbers of one row, but its step, each under its name."""
        values = [
            Summary.Value(tag=name, simple_value=float(value))
            for name, value in row.items()
            if name != "step" and value is not None
        ]
        step = int(row["step"] or 0)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def add_text(self, tag: str, text: str, step: int) -> None:
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

    def add_image(self, tag: str, png: bytes, step: int) -> None:
        """Add a picture, the bytes of a PNG file."""
        width, height = struct.unpack_from(">II", png, 16)  # of IHDR, behind 16 bytes
        image = Summary.Image(width=width, height=height, encoded_image_string=png)
        value = Summary.Value(tag=tag, image=image)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def _write(self, event: Event) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self.append(record.getvalue())


def _spell(value: float | int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.6g}"

import csv
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from recurra.files.metrics import EventLog, MetricsTable

COLUMNS = ("step", "nll", "val_nll")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    (path,) = folder.glob("events.out.tfevents.*")
    return [
        (event.step, value.tag, value.tensor.float_val[0])
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv", COLUMNS)
    table.add({"step": 10, "nll": 2.5, "val_nll": None})
    assert rows(tmp_path / "metrics.csv") == [{"step": "10", "nll": "2.5", "val_nll": ""}]
    table.close()


def test_a_resumed_table_has_one_header_and_no_row_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path, COLUMNS)
    table.add({"step": 10, "nll": 2.5})
    mark = table.mark()
    table.add({"step": 20, "nll": 2.0})
    table.close()
    table = MetricsTable(path, COLUMNS, keep=mark)
    table.add({"step": 20, "nll": 2.0})
    table.close()
    assert [row["step"] for row in rows(path)] == ["10", "20"]


def test_tensorboard_reads_the_events_and_finds_none_twice(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.add({"step": 10, "nll": 2.5, "val_nll": None})
    mark = log.mark()
    log.add({"step": 20, "nll": 2.25})
    log.close()
    log = EventLog(tmp_path, keep=mark)
    log.add({"step": 20, "nll": 2.0, "skipped": 1})
    log.close()
    assert scalars(tmp_path) == [(10, "nll", 2.5), (20, "nll", 2.0), (20, "skipped", 1.0)]

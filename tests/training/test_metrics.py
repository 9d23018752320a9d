import csv
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from recurra.data import Vocabulary
from recurra.tasks.measures import measure, measure_name, of_text
from recurra.training.logbook import EventLog, MetricsTable

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
    table.append({"step": 10, "nll": 2.5, "val_nll": None})
    assert rows(tmp_path / "metrics.csv") == [{"step": "10", "nll": "2.5", "val_nll": ""}]
    table.close()


def test_a_resumed_table_has_one_header_and_no_row_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path, COLUMNS)
    table.append({"step": 10, "nll": 2.5})
    mark = table.mark()
    table.append({"step": 20, "nll": 2.0})
    table.close()
    table = MetricsTable(path, COLUMNS, keep=mark)
    table.append({"step": 20, "nll": 2.0})
    table.close()
    assert [row["step"] for row in rows(path)] == ["10", "20"]


def test_tensorboard_reads_the_events_and_finds_none_twice(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.append({"step": 10, "nll": 2.5, "val_nll": None})
    mark = log.mark()
    log.append({"step": 20, "nll": 2.25})
    log.close()
    log = EventLog(tmp_path, keep=mark)
    log.append({"step": 20, "nll": 2.0, "skipped": 1})
    log.close()
    assert scalars(tmp_path) == [(10, "nll", 2.5), (20, "nll", 2.0), (20, "skipped", 1.0)]


@pytest.mark.parametrize(
    ("level", "name", "expected"),
    [("char", "bpc", 2.0), ("byte", "bpc", 2.0), ("word", "ppl", 4.0), ("bpe", "ppl", 4.0)],
)
def test_a_loss_is_quoted_in_the_unit_of_its_level(level: str, name: str, expected: float) -> None:
    assert measure_name(level) == name
    assert measure(level, 1.3862943611198906) == pytest.approx(expected)


def test_a_perplexity_beyond_all_floats_is_infinite() -> None:
    assert measure("word", 1e4) == float("inf")


@pytest.mark.parametrize("level", ["char", "byte", "word", "whitespace", "bpe"])
def test_bits_per_character_are_of_the_text(level: str) -> None:
    text = "früher war alles besser\n" * 20
    vocabulary = Vocabulary.of_level(level).build([text])
    tokens = vocabulary.encode("\n" + text)
    figures = {"nll": 0.5, "tokens": len(tokens) - 1}
    found = of_text(figures, tokens, vocabulary)
    whole = 0.5 * (len(tokens) - 1) / math.log(2)
    assert found["bpc"] == pytest.approx(whole / len(text))
    assert found.get("unk", 0.0) == 0.0


def test_the_share_of_unknown_words() -> None:
    vocabulary = Vocabulary.of_level("word").build(["one two"])
    tokens = vocabulary.encode("one three two three", unknown="replace")
    found = of_text({"nll": 0.5, "tokens": 3}, tokens, vocabulary)
    assert found["unk"] == pytest.approx(2 / 3)

"""Tables of predictions: what is in them, and what they never replace."""

import csv
import json
from datetime import date
from pathlib import Path

import pytest

from recurra.data.predictions import FORMATS, check_table, with_others, written_table
from recurra.errors import DataError

ROWS = [
    {"input": 'a "fine", film\n', "label": "1", "p": 0.75},
    {"input": "ü", "label": "0", "p": 0.5},
]
NAMES = ("label", "p")


def read(path: Path) -> list[list[str]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        return [list(map(str, row.values())) for row in parquet.read_table(path).to_pylist()]
    if suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        return [list(map(str, json.loads(line).values())) for line in lines]
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file, delimiter="," if suffix == ".csv" else "\t"))
    assert found[0] == ["input", "label", "p"]
    return found[1:]


@pytest.mark.medium
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_come_in_their_order_and_replace_older_predictions(
    tmp_path: Path, suffix: str, upper: bool
) -> None:
    path = tmp_path / "new" / f"table{suffix.upper() if upper else suffix}"
    for rows in (ROWS, ROWS[:1], ROWS):
        check_table(path, NAMES)
        with written_table(path) as put:
            for row in rows:
                put([row])
        assert [row[:2] for row in read(path)] == [[r["input"], r["label"]] for r in rows]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_cells_of_the_input_stand_behind_under_names_of_their_own() -> None:
    row = {"input": "a", "label": "1"}
    columns = ("id", "label", "label of the input", "more")
    cells = {"id": 7, "label": "0", "label of the input": "x"}
    assert list(with_others(row, columns, cells).items()) == [
        *row.items(),
        ("id", 7),
        ("label of the input", "0"),
        ("label of the input of the input", "x"),
        ("more", None),
    ]
    assert row == {"input": "a", "label": "1"}


def test_cells_of_any_kind_are_written(tmp_path: Path) -> None:
    rows = [
        {"input": "a", "day": date(2020, 1, 2), "n": [1, "x"], "late": None, "id": 7},
        {"input": "b", "day": None, "n": [], "late": 5, "id": 8},
    ]
    for suffix in FORMATS[:3]:
        with written_table(tmp_path / f"a{suffix}") as put:
            put(rows)
    text = (tmp_path / "a.csv").read_text().splitlines()
    assert text == ["input,day,n,late,id", 'a,2020-01-02,"[1, ""x""]",,7', "b,,[],5,8"]
    line = (tmp_path / "a.jsonl").read_text().splitlines()[0]
    assert json.loads(line) == {**rows[0], "day": "2020-01-02"}


def test_parquet_keeps_the_kinds_of_columns(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"input": "a", "id": 7, "day": date(2020, 1, 2), "late": None, "mixed": 1},
        {"input": "b", "id": None, "day": None, "late": None, "mixed": "x"},
    ]
    path = tmp_path / "a.parquet"
    with written_table(path) as put:
        put(rows)
        put([{**rows[0], "late": 5}])
    found = parquet.read_table(path).to_pylist()
    assert found == [
        {**rows[0], "mixed": "1"},
        rows[1],
        {**rows[0], "late": "5", "mixed": "1"},
    ]
    before = path.read_bytes()

    def write() -> None:
        with written_table(path) as put:
            put(rows)
            put([{**rows[0], "id": "seven"}])

    with pytest.raises(DataError, match="out: expected int64 in the column 'id' as in the first"):
        write()
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_ends_early_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    with written_table(path) as put:
        put(ROWS)
    before = path.read_bytes()

    def write() -> None:
        with written_table(path) as put:
            put(ROWS[:1])
            raise DataError("line 7")

    with pytest.raises(DataError, match="line 7"):
        write()
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "input,output\nx,y\n"),
        ("b.csv", "my notes\n"),
        ("c.tsv", "input,label,p\n"),
        ("d.jsonl", '["input", "label"]\n'),
        ("e.jsonl", "no json\n"),
        ("f.parquet", "PAR1 and so on"),
        ("g.csv", b"\xff\xfe\0"),
    ],
)
def test_what_is_no_table_of_predictions_is_not_replaced(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="out: expected a new file, or older predictions"):
        check_table(path, NAMES)


def test_only_files_of_known_formats_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out: expected a file that ends in \.csv, \.tsv"):
        check_table(tmp_path / "a.xlsx", NAMES)
    (tmp_path / "b.csv").mkdir()
    (tmp_path / "c.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d.csv").touch()
    for name, got in (("b.csv", "no file"), ("c.csv", "a symbolic link")):
        with pytest.raises(ValueError, match=got):
            check_table(tmp_path / name, NAMES)
    check_table(tmp_path / "d.csv", NAMES)
    (tmp_path / "file").touch()
    message = "expected to write predictions, got "
    with pytest.raises(DataError, match=message), written_table(tmp_path / "file/a.csv") as put:
        put(ROWS)


def test_new_folders_go_with_what_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()

    def write(path: Path) -> None:
        with written_table(path):
            raise DataError("line 7")

    for path in (tmp_path / "old" / "a.csv", tmp_path / "new" / "newer" / "a.csv"):
        with pytest.raises(DataError, match="line 7"):
            write(path)
    assert [each.name for each in tmp_path.iterdir()] == ["old"]
    assert list((tmp_path / "old").iterdir()) == []

"""Tables of examples: what programs write is read, and what is unclear refused."""

import gzip
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recurra.data.opening import open_records
from recurra.data.records import Record
from recurra.data.tables import SeparatedRecords
from recurra.errors import DataError

TEXTS = ["good, really good", "bad", 'the "plot" thickens', "why not"]
LABELS = ["pos", "neg", "pos", "neg"]


def written(tmp_path: Path, content: str | bytes, name: str = "data.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(path: Path, **options: object) -> list[tuple[object, str]]:
    return [(record.value, record.label) for record in open_records(path, **options)]


def table(separator: str = "\t", quoted: bool = False, header: str = "") -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quoted else text

    rows = [f"{cell(t)}{separator}{cell(n)}\n" for t, n in zip(TEXTS, LABELS, strict=True)]
    return header + "".join(rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", table()),
        ("a.tsv", table(header="sentence\tlabel\n")),
        ("a.tsv", table(header="Satz\tKlasse\n")),
        ("a.tsv", table(quoted=True)),
        ("a.TSV", table().replace("\n", "\r\n")),
        ("a.txt", table().rstrip("\n")),
        ("a.csv", table(",", quoted=True)),
        ("a.CSV", table(";", quoted=True, header='"text";"class"\n')),
        ("a.csv", "\ufeff" + table("\t", quoted=True, header="text\tlabel\n")),
        ("a.tsv", table().encode("utf-16")),
        ("a.tsv.gz", gzip.compress(table().encode(), mtime=0)),
        ("a.tsv", gzip.compress(table().encode(), mtime=0)),  # gzip that does not say so
    ],
)
def test_texts_and_labels_are_found(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert pairs(written(tmp_path, content, name)) == list(zip(TEXTS, LABELS, strict=True))


def test_a_zip_archive_of_one_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.tsv", table())
    assert pairs(path) == list(zip(TEXTS, LABELS, strict=True))


def test_a_first_row_with_labels_is_no_header(tmp_path: Path) -> None:
    path = written(tmp_path, "question\tneg\n" + table())
    assert pairs(path) == [("question", "neg"), *zip(TEXTS, LABELS, strict=True)]


def test_a_known_name_makes_a_header_whatever_the_others_are_called(tmp_path: Path) -> None:
    rows = "text,label,date of last visit\na good film,1,7\na bad dull film,0,8\n"
    assert pairs(written(tmp_path, rows, "a.csv")) == [
        ("a good film", "1"),
        ("a bad dull film", "0"),
    ]


def test_a_name_above_numbers_is_a_header(tmp_path: Path) -> None:
    assert pairs(written(tmp_path, "Satz\tWert\na b\t1\nc d\t0\n")) == [("a b", "1"), ("c d", "0")]
    bare = written(tmp_path, "a b\t\nc d\t1\ne f\t0\n")  # an example without a label
    assert pairs(bare)[0] == ("a b", "")


def test_a_quoted_text_may_have_line_ends_and_is_named_by_its_last_line(tmp_path: Path) -> None:
    path = written(tmp_path, 'text,label\n"two\r\nlines",1\nb,0\n', "a.csv")
    assert [*open_records(path)] == [
        Record(value="two\nlines", label="1", place=f"{path}, line 3"),
        Record(value="b", label="0", place=f"{path}, line 4"),
    ]


def test_in_tsv_a_quote_is_a_character_like_any_other(tmp_path: Path) -> None:
    path = written(tmp_path, '" odd\t1\n"even"\t0\n')
    assert pairs(path) == [('" odd', "1"), ('"even"', "0")]


def test_a_text_may_be_long(tmp_path: Path) -> None:
    long = "a" * 200_000
    assert pairs(written(tmp_path, f"{long}\t1\nb\t0\n"))[0] == (long, "1")


def test_columns_are_chosen_by_name_and_by_number(tmp_path: Path) -> None:
    rows = "id,title,text,label,stars\n7,t1,a b,x,1\n8,t2,c d,y,2\n"
    path = written(tmp_path, rows, "a.csv")
    assert pairs(path) == [("a b", "x"), ("c d", "y")]
    assert open_records(path).notes == (
        "columns: text 'text', label 'label' (by the header, 3 others not used)",
    )
    assert pairs(path, text_column="title", label_column="stars") == [("t1", "1"), ("t2", "2")]
    assert pairs(path, text_column=2, label_column="5") == [("t1", "1"), ("t2", "2")]
    bare = written(tmp_path, "x,a b\ny,c d\n", "b.csv")
    assert pairs(bare, text_column=2, label_column=1) == [("a b", "x"), ("c d", "y")]
    rated = written(tmp_path, "a b,2\nc d,1\n", "d.csv")  # and a number is none
    assert pairs(rated, label_column="2") == [("a b", "2"), ("c d", "1")]
    odd = written(tmp_path, "foo,bar\na b,c\n", "c.csv")  # a name asked for is a header
    assert pairs(odd, text_column="foo", label_column="bar") == [("a b", "c")]


def test_the_one_column_of_few_values_is_the_label(tmp_path: Path) -> None:
    rows = "".join(f"{n % 3}\t{n}\tsome words {n}\n" for n in range(30))
    path = written(tmp_path, rows)
    assert pairs(path)[4] == ("some words 4", "1")
    assert open_records(path).notes == ("columns: text 3, label 1 (no header)",)


def test_a_column_of_measured_numbers_is_no_label(tmp_path: Path) -> None:
    rows = "".join(f"{n % 2 + 0.5};{n % 2};words {n}\n" for n in range(30))
    assert pairs(written(tmp_path, rows, "a.csv"))[1] == ("words 1", "1")


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "text": "a", "label": True},
        {"text": "b\tc", "label": False, "more": [1]},
        {"text": "d", "label": None},
        {"label": 2.0},
    ]
    content = "\n\n".join(map(json.dumps, rows))
    assert pairs(written(tmp_path, content, "a.jsonl")) == [
        ("a", "true"),
        ("b\tc", "false"),
        ("d", ""),
        ("", "2"),
    ]


def test_series_in_json_lines(tmp_path: Path) -> None:
    rows = [{"values": [1, 2.5, None], "class": "x"}, {"values": [4], "class": "y"}]
    path = written(tmp_path, "\n".join(map(json.dumps, rows)), "a.ndjson")
    (first, _), (second, _) = pairs(path)
    np.testing.assert_array_equal(first, np.array([[1], [2.5], [np.nan]], dtype=np.float32))
    np.testing.assert_array_equal(second, np.array([[4]], dtype=np.float32))


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet is read by pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read by pyarrow")
    path = tmp_path / "a.parquet"
    columns = {"idx": [5, 6, 7], "sentence": ["a", "b", None], "label": [0, 1, 0]}
    parquet.write_table(pa.table(columns), path, row_group_size=2)
    assert pairs(path) == [("a", "0"), ("b", "1"), ("", "0")]
    assert next(iter(open_records(path))).place == f"{path}, row 1"
    series = {"values": [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], "target": ["x", "y"]}
    parquet.write_table(pa.table(series), path)
    assert [len(value) for value, _ in pairs(path)] == [1, 2]  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.parquet: expected a Parquet file, got: .*again"):
        open_records(path)
    renamed = written(tmp_path, b"PAR1" + bytes(20), "b.csv")
    with pytest.raises(DataError, match=r"got a Parquet file. Give it a name.*\.parquet"):
        open_records(renamed)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "a\t1\nb\t0\nc\td\t1\n", r"line 3: expected 2 columns.*got 3.*no tab inside"),
        ("a.csv", "text,label\na,1\nb,c,0\n", r"line 3: expected 2 columns.*got 3.*\"quotes\""),
        ("a.csv", 'a,1\n"b,0\nc,1\n', r"line 2: expected a row of a table, got: unexpected end"),
        ("a.tsv", "", "expected text, got an empty file"),
        ("a.tsv", "\n \n", "expected rows of examples, got none"),
        ("a.tsv", "text\tlabel\n", "below the header, got none"),
        ("a.tsv", "one\ntwo\n", "expected a column of texts and one of labels, got one column"),
        ("a.csv", "a,b\nc,d\ne,f\ng,h\ni,j\n", "the labels, got none among.*label_column=: 1, 2"),
        ("a.csv", "a,1,x\nb,0,y\nc,1,x\nd,0,y\n", "the labels, got 2 among.*label_column=: 2, 3"),
        ("a.tsv", b"\xe9t\xe9\t1\n", r"expected UTF-8 text, got byte 0xe9"),
        ("a.tsv", "a\t1\n".encode("utf-16-le"), "It looks like UTF-16-LE without a byte order"),
        ("a.csv", b"PK\x03\x04..[Content_Types].xml", "an Excel workbook. Save the sheet as CSV"),
        ("a.tsv.gz", gzip.compress(b"a\t1\n" * 99, mtime=0)[:-9], "expected a whole gzip file"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "line 2: expected one JSON object"),
        ("a.jsonl", '[{"text": "a"}]\n', r"line 1: expected an object such as .*one object a line"),
        ("a.xlsx", "x", r"expected a file that ends in \.tsv.*got \.xlsx"),
        ("a", "x", "got a name without an end"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = written(tmp_path, content, name)
    with pytest.raises(DataError, match=message) as caught:
        list(open_records(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_column": "review"}, "a column 'review', got the columns text, label. Choose one"),
        ({"label_column": 3}, "expected a column 3, got the columns text, label.*label_column="),
        ({"label_column": "text", "text_column": 1}, "expected two columns, got 'text' for both"),
    ],
)
def test_a_missing_column_is_named(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    path = written(tmp_path, "text\tlabel\na\t1\nb\t0\n")
    with pytest.raises(DataError, match=message):
        open_records(path, **options)


def test_another_encoding_is_read_where_it_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "Größe\t1\nb\t0\n".encode("latin-1"))
    assert pairs(path, encoding="latin-1")[0] == ("Größe", "1")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.tsv: expected a file or a folder, got no such file"):
        open_records(tmp_path / "b.tsv")


def test_other_tables_have_the_columns_of_the_first(tmp_path: Path) -> None:
    first = open_records(written(tmp_path, "Satz;Art\na b;x\nc d;x\ne;y\nf g;y\n", "a.csv"))
    same = written(tmp_path, "Art;Satz\nx;one class\n", "b.csv")
    bare = written(tmp_path, "one class;x\nagain;x\n", "c.csv")
    other = written(tmp_path, "text;label\none class;x\n", "d.csv")
    for path in (same, bare, other):
        (record, *_) = open_records(path, like=first)
        assert (record.value, record.label) == ("one class", "x")


def test_what_a_file_really_is_is_said(tmp_path: Path) -> None:
    packed = open_records(written(tmp_path, gzip.compress(table().encode()), "a.tsv"))
    assert packed.notes[0] == "a.tsv is a gzip file, whatever its name says"
    wide = open_records(written(tmp_path, table().encode("utf-16"), "b.tsv"))
    assert wide.notes[0] == "b.tsv is UTF-16, as its first bytes say"
    both = open_records(written(tmp_path, gzip.compress(table().encode()), "c.tsv.gz"))
    assert both.notes == ("columns: text 1, label 2 (no header)",)


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"a\.parquet: expected pyarrow.*pip install pyarrow"):
        open_records(written(tmp_path, b"PAR1", "a.parquet"))


def test_an_empty_cell_of_a_table_of_one_column_is_a_row_and_a_blank_line_is_none(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, 'text\nfine\n\n""\n  \ndull\n', "data.csv")
    records = SeparatedRecords(path, labelled=False, text_column="text")
    read = [(record.value, record.place.rpartition(" ")[2]) for record in records]
    assert read == [("fine", "2"), ("", "4"), ("", "5"), ("dull", "6")]
    path = written(tmp_path, 'text,label\nfine,1\n\n  \n"",0\n', "data.csv")
    assert pairs(path) == [("fine", "1"), ("", "0")]
    path = written(tmp_path, 'text,label\nfine,1\n""\n', "data.csv")
    with pytest.raises(DataError, match=r"line 3: expected 2 columns .* got 1"):
        pairs(path)

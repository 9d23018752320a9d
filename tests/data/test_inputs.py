"""Examples without labels: what files of them hold, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data.inputs import in_chunks
from recurra.data.opening import may_be_inputs, open_inputs
from recurra.errors import DataError

TS = "@problemName walks\n@univariate true\n{}\n@data\n0.5,0.25:{}\n1,?,2:{}\n"


def values(path: Path, *, series: bool = False, **how: Any) -> list[Any]:
    found = [record.value for record in open_inputs(path, series=series, **how)]
    return [value.tolist() for value in found] if series else found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "a fine film\nso, dull\n"),
        ("b.txt", "0\ta fine film\n1\tso, dull\n"),  # as training reads it
        ("c.csv", 'text\na fine film\n"so, dull"\n'),
        ("d.csv", "id;text\r\n1;a fine film\r\n2;so, dull\r\n"),
        ("e.tsv", "id\tsentence\n7\ta fine film\n8\tso, dull\n"),
        ("f.csv", 'label,text\npos,a fine film\nneg,"so, dull"\n'),
        ("g.jsonl", '{"text": "a fine film"}\n{"text": "so, dull"}\n'),
        ("h.csv", 'a fine film\n"so, dull"\n'),
    ],
)
def test_texts_are_found_with_labels_or_without(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert values(tmp_path / name) == ["a fine film", "so, dull"]


@pytest.mark.parametrize("content", ["1.5\n2\n", "x,y\n0,1\n-0.5,2\n", "0;1\n-0.5;2\n"])
def test_numbers_alone_are_no_texts_unless_they_are_said_to_be(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"a\.csv: expected a column of texts, got numbers alone"):
        values(path)
    assert values(path, text_column=1)[-2:] in (["1.5", "2"], ["0", "-0.5"])
    path.write_text("id,text\n1,5\n2,7\n")
    assert values(path) == ["5", "7"]


def test_a_row_has_the_cells_of_other_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,label,,id\n7,a fine film, pos,x,8\n")
    records = open_inputs(tmp_path / "a.csv", series=False, text_column="text")
    names = ("id", "label", "column 4", "id column 5")
    assert records.others == names
    (record,) = records
    assert record.others == dict(zip(names, ("7", " pos", "x", "8"), strict=True))
    (tmp_path / "b.tsv").write_text("7\ta fine film\n")
    (record,) = open_inputs(tmp_path / "b.tsv", series=False)
    assert record.others == {"column 1": "7"}
    (tmp_path / "c.jsonl").write_text('{"n": [1, 2], "text": "a"}\n{"text": "b", "k": null}\n')
    records = open_inputs(tmp_path / "c.jsonl", series=False)
    assert [each.others for each in records] == [{"n": [1, 2], "k": None}, {"n": None, "k": None}]
    (tmp_path / "d.txt").write_text("a\n")
    (record,) = open_inputs(tmp_path / "d.txt", series=False)
    assert record.others is None


def test_a_column_may_be_named_and_a_folder_has_a_text_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("one,two\naaaa,1\ncccc,2\n")
    assert values(tmp_path / "a.csv", text_column="two") == ["1", "2"]
    assert values(tmp_path / "a.csv", text_column=2)[-1] == "2"
    with pytest.raises(DataError, match=r"expected a column 'three', got the columns one, two"):
        values(tmp_path / "a.csv", text_column="three")
    (tmp_path / "b.txt").write_text("more\n")
    (tmp_path / "a.txt").write_bytes("Größe\nund mehr".encode("latin-1"))
    records = open_inputs(tmp_path, series=False, encoding="latin-1")
    assert [record.value for record in records] == ["Größe\nund mehr", "more"]
    assert records.left_out == ("a.csv",)


@pytest.mark.parametrize(
    ("header", "label"),
    [("@classLabel false", ""), ("@missing true", ""), ("@classLabel true a b", "a")],
)
def test_series_of_a_ts_file_need_no_classes(tmp_path: Path, header: str, label: str) -> None:
    text = TS.format(header, label, label)
    (tmp_path / "a.ts").write_text(text if label else text.replace(":\n", "\n"))
    first, second = values(tmp_path / "a.ts", series=True)
    assert first == [[0.5], [0.25]]
    assert second[0] + second[2] == [1.0, 2.0]


def test_series_of_arrays_and_tables(tmp_path: Path) -> None:
    series = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    np.save(tmp_path / "a.npy", np.array(series))
    (tmp_path / "b.csv").write_text("x;y\n1;2\n3;4\n5;6\n")
    (tmp_path / "c.txt").write_text("notes")
    for name in ("a.npy", "b.csv"):
        assert values(tmp_path / name, series=True) == [series]
    assert values(tmp_path, series=True) == [series, series]
    (tmp_path / "d.jsonl").write_text(json.dumps({"values": series}) + "\n")
    assert values(tmp_path / "d.jsonl", series=True) == [series]


@pytest.mark.parametrize(
    ("name", "content", "series", "message"),
    [
        ("a.csv", "", False, r"expected text, got an empty file"),
        ("a.csv", "\ufeff", False, r"expected text, got an empty file"),
        ("a.csv", "text\n", False, r"below the header, got none"),
        ("a.csv", "text,id\na,1\nb\n", False, r"line 3: expected 2 columns"),
        ("a.csv", "text,id\na,1\n,2\n", False, r"a\.csv, line 3: expected a text at least"),
        ("a.txt", "a\n\nb\n", False, r"a\.txt, line 2: expected a text at least, got none"),
        ("a.npy", "", False, r"expected texts in a file that ends in \.tsv, .*got \.npy"),
        ("a.doc", "x", False, r"expected texts in a file that ends in .*got \.doc"),
        ("a.txt", "x", True, r"expected series in a file that ends in \.ts, .*got \.txt"),
        ("a.jsonl", '{"text": "words"}\n', True, r"line 1: expected a series, as the model reads"),
        ("a.jsonl", '{"text": [1, 2]}\n', False, r"line 1: expected a text, as the model reads"),
    ],
)
def test_what_has_nothing_to_read_is_refused_by_its_place(
    tmp_path: Path, name: str, content: str, series: bool, message: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(in_chunks(open_inputs(tmp_path / name, series=series), 2, series=series))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv: expected a file or a folder, got no such file"):
        open_inputs(tmp_path / "a.csv", series=False)
    with pytest.raises(DataError, match=r"expected files that end in \.txt.*got none"):
        open_inputs(tmp_path, series=False)


def test_a_word_that_names_a_file_is_no_text() -> None:
    assert all(
        map(may_be_inputs, ("a.csv", "b/c.jsonl.gz", "d.ts", "e.NPY", "f.parquet", "g.conllu"))
    )
    texts = ("fine", "a.csv is a file", "dull.", "", "it ended...", "see recurra.com")
    assert not any(map(may_be_inputs, texts))

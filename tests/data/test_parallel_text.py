"""Pairs of a source and a target: files of lines, tables, parts, and what is wrong with them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from recurra.data.parallel_text import (
    SourceRecords,
    open_pairs,
    pairs_in_memory,
    read_pairs,
    write_pairs,
)
from recurra.errors import DataError


def lines(path: Path, *texts: str) -> Path:
    content = "".join(f"{text}\n" for text in texts).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 3), ("dev", 2), ("test_2016", 1), ("test_2017", 2)):
        lines(tmp_path / f"{part}.en.gz", *(f"{part} word {n}" for n in range(count)))
        lines(tmp_path / f"{part}.de", *(f"{part}  Wort {n}" for n in range(count)))
    return tmp_path


def test_a_folder_with_two_files_a_part(folder: Path) -> None:
    found = read_pairs(folder, source="en", target="de")
    assert {name: len(pairs) for name, pairs in found.parts.items()} == {
        "train": 3,
        "val": 2,
        "test": 1,
    }
    first = found.parts["train"][0]
    assert (first.source, first.target) == ("train word 0", "train Wort 0")
    assert first.place.endswith("train.en.gz, line 1")
    assert found.notes == ("test: test_2016, of test_2016, test_2017",)
    back = read_pairs(folder, source="de", target="en")
    assert back.parts["train"][0].source == "train Wort 0"


def test_files_that_programs_leave_behind_are_no_part(folder: Path) -> None:
    for name in ("._train", ".train.old"):
        lines(folder / f"{name}.en", "other word")
        lines(folder / f"{name}.de", "anderes Wort")
    assert len(read_pairs(folder, source="en", target="de").parts["train"]) == 3


def test_a_part_with_one_side_is_said_to_be_left_out(folder: Path) -> None:
    (folder / "dev.de").unlink()
    found = read_pairs(folder, source="en", target="de")
    assert "val: dev.en is left out, without a dev.de" in found.notes


def test_rows_of_objects_are_read_by_the_names_of_the_first(tmp_path: Path) -> None:
    rows = '{"en": "one", "de": "eins"}\n{"de": "zwei", "en": "two"}\n'
    path = tmp_path / "pairs.jsonl"
    path.write_text(rows)
    pairs = read_pairs(path, whole=True).parts["train"]
    assert [(pair.source, pair.target) for pair in pairs] == [("one", "eins"), ("two", "zwei")]
    path.write_text(rows + '{"en": "three", "fr": "trois"}\n')
    with pytest.raises(DataError, match=r"line 3.*column 'de'"):
        read_pairs(path, whole=True)


def test_two_files_by_what_their_names_begin_with(folder: Path) -> None:
    found = read_pairs(
        str(folder / "test_2017"),
        val_data=folder / "dev",
        test_data=folder / "test_2016",
        source="en",
        target="de",
    )
    assert [len(found.parts[name]) for name in ("train", "val", "test")] == [2, 2, 1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs.tsv", "source\ttarget\none\teins\ntwo\tzwei\n"),
        ("pairs.tsv", "one\teins\ntwo\tzwei\n"),
        ("pairs.txt", "one\teins\tCC-BY\ntwo\tzwei\tCC-BY\n"),
        ("pairs.csv", 'target,source\n"eins",one\nzwei,"two"\n'),
        ("pairs.jsonl", '{"source": "one", "target": "eins"}\n{"source":"two","target":"zwei"}\n'),
        ("pairs.jsonl", '{"translation": {"en": "one", "de": "eins"}}\n' * 1
         + '{"translation": {"en": "two", "de": "zwei"}}\n'),
    ],
)  # fmt: skip
def test_a_table(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    found = read_pairs(tmp_path / name, whole=True).parts["train"]
    assert [(pair.source, pair.target) for pair in found] == [("one", "eins"), ("two", "zwei")]


def test_columns_by_name_and_number(tmp_path: Path) -> None:
    path = lines(tmp_path / "pairs.csv", "source,target,more", "a,b,c")
    for names in (("more", "source"), ("3", "1")):
        (pair,) = read_pairs(path, source=names[0], target=names[1], whole=True).parts["train"]
        assert (pair.source, pair.target) == ("c", "a")


def test_a_table_of_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"src": ["a"], "tgt": ["b"]}), tmp_path / "pairs.parquet")
    (pair,) = read_pairs(tmp_path / "pairs.parquet", whole=True).parts["train"]
    assert (pair.source, pair.target) == ("a", "b")


def test_parts_are_drawn_alike_each_time_and_empty_sides_left_out(tmp_path: Path) -> None:
    texts = [f"{n}\tx {n}" for n in range(40)]
    path = lines(tmp_path / "pairs.tsv", *texts[:3], "\talone", *texts[3:], "only\t")
    found, again = read_pairs(path), read_pairs(path)
    assert found == again
    assert [len(found.parts[name]) for name in ("train", "val", "test")] == [36, 2, 2]
    every = {pair.source for pairs in found.parts.values() for pair in pairs}
    assert every == {str(n) for n in range(40)}
    assert found.notes[0] == (
        f"train: 2 pairs with an empty side are left out, the first of {path}, line 4"
    )


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (["a", "b", "c"], ["x", "y"],
         "p.de: expected as many lines as p.en, 3, got 2: line 3 of p.en is the first without"),
        (["a"], ["x", "y"], "p.en: expected as many lines as p.de, 2, got 1: line 2 of p.de"),
        (["", ""], ["x", "y"], "expected at least one pair with both sides, got none"),
    ],
)  # fmt: skip
def test_lines_that_do_not_pair(
    tmp_path: Path, source: list[str], target: list[str], message: str
) -> None:
    lines(tmp_path / "p.en", *source)
    lines(tmp_path / "p.de", *target)
    with pytest.raises(DataError) as error:
        read_pairs(tmp_path / "p", source="en", target="de")
    assert message in str(error.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (".", {}, "expected to be told which files are sources and which are targets, got names "
         "that end in de, en"),
        (".", {"source": "en", "target": "fr"}, "names end in .fr, as target=fr says, got de, en"),
        ("none", {}, "expected a table of pairs, or the ends of two files of lines, got no such"),
        ("none", {"source": "en", "target": "de"}, "none.en: expected a file of lines"),
        ("train", {"source": "en", "target": "en"}, "sources and targets in different files"),
        ("one.tsv", {}, "expected two columns with a tab or a comma between, got 'alone'"),
        ("two.tsv", {}, "line 2: expected 2 columns as in the lines above it, got 1"),
        ("two.tsv", {"source": "5"}, "expected a column for source=, of 1, 2, got source=5"),
        ("pairs.pdf", {}, "expected a table of pairs that ends in .tsv"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(
    folder: Path, given: str, options: dict[str, str], message: str
) -> None:
    for old in folder.glob("test*"):
        old.unlink()
    where = folder
    if given.endswith((".tsv", ".pdf")):
        (folder / "tables").mkdir()
        where = folder / "tables"
        lines(where / "one.tsv", "alone")
        lines(where / "two.tsv", "a\tb", "c")
        lines(where / "pairs.pdf", "a\tb")
    with pytest.raises(DataError) as error:
        read_pairs(where / given, **options)
    assert message in str(error.value)


def test_nothing_in_an_object_is_an_empty_side(tmp_path: Path) -> None:
    """As it is in a table of text."""
    rows = [{"source": f"a {i}", "target": f"b {i}"} for i in range(30)]
    rows[3]["target"] = rows[5]["source"] = None
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_pairs(path, whole=True)
    assert len(found.parts["train"]) == 28
    assert any("2 pairs with an empty side are left out" in note for note in found.notes)
    sources = [record.value for record in SourceRecords(path, None, None)]
    assert sources[4:7] == ["a 4", "", "a 6"]
    path.write_text('{"source": ["a"], "target": "b"}')
    with pytest.raises(DataError, match="expected a text as source"):
        read_pairs(path)


def test_encoded_pairs_in_a_file_and_in_memory(tmp_path: Path) -> None:
    pairs = [(np.array([3, 1, 2]), np.array([5])), (np.array([7]), np.array([8, 9]))]
    write_pairs(tmp_path / "val.examples", pairs)
    for each in (open_pairs(tmp_path / "val.examples"), pairs_in_memory(pairs)):
        assert each.lengths.tolist() == [4, 3]
        batch = each.gather(np.array([1, 0]))
        assert batch.source.T.tolist() == [[7, 0, 0], [3, 1, 2]]
        assert batch.target.T.tolist() == [[8, 9], [5, 0]]
        assert batch.source_lengths.tolist() == [1, 3]
        assert batch.target_lengths.tolist() == [2, 1]
    write_pairs(tmp_path / "other", pairs[:1])
    (tmp_path / "other.targets").rename(tmp_path / "val.examples.targets")
    (tmp_path / "other.targets.json").rename(tmp_path / "val.examples.targets.json")
    with pytest.raises(DataError, match="expected as many targets beside it"):
        open_pairs(tmp_path / "val.examples")


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("p.csv", ["le chat, the cat, indeed"], r'line 3: .* 2 columns .* got 3.*"," in quotes'),
        ("p.tsv", ["un\tone\ttwo"], "line 3: expected 2 columns as in the lines above it, got 3"),
        ("p.csv", ['"un,one', "deux,two"], "line 3: expected a row of a table.*Close every quote"),
        ("p.csv", ["un," + 200_000 * "x"], None),  # a long text is none the worse
        ("p.tsv", ["un\tone\t"], None),  # an end that is empty says nothing
    ],
)
def test_nothing_of_a_row_is_dropped(
    tmp_path: Path, name: str, rows: list[str], message: str | None
) -> None:
    sign = "," if name.endswith(".csv") else "\t"
    path = lines(tmp_path / name, f"source{sign}target", f"a{sign}b", *rows, f"c{sign}d")
    if message is None:
        assert len(read_pairs(path, whole=True).parts["train"]) == 3
        return
    with pytest.raises(DataError, match=message):
        read_pairs(path, whole=True)


def test_columns_have_names_of_their_own(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.tsv", "source\ttarget\ttarget", "a\tb\tc")
    with pytest.raises(DataError, match="different names, got 'target' twice"):
        read_pairs(path)

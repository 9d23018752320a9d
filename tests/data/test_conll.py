"""Sentences in columns."""

import gzip
from pathlib import Path

import pytest

from recurra.data.conll import read_conll
from recurra.errors import DataError

UNIVERSAL = """# sent_id = 1
# text = I don't
1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_

# sent_id = 2
1\t#\t#\tSYM\tNN\t_\t0\troot\t_\t_
"""


def test_conllu_has_words_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu.gz"
    path.write_bytes(gzip.compress(UNIVERSAL.encode()))
    one, other = read_conll(path)
    assert one.words == ("I", "do", "n't")
    assert one.tags == ("PRON", "AUX", "PART")
    assert one.place == f"{path}, line 3"
    assert (other.words, other.tags) == (("#",), ("SYM",))


def test_an_end_in_capitals_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "A.CONLLU"
    path.write_text(UNIVERSAL)
    assert next(read_conll(path)).words == ("I", "do", "n't")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# id 1\nthe\tDET\n# of it\ncat\tN\n", [("the", "cat")]),
        ("\n# id\n\n#\tSYM\ncat\tN\n", [("#", "cat")]),
        ("# SYM\n1 NUM\n\n# SYM\n", [("#", "1"), ("#",)]),
        ("the\tDET \ncat \tN\n", [("the", "cat")]),
    ],
)
def test_comments_and_spaces_are_no_words(
    content: str, words: list[tuple[str, ...]], tmp_path: Path
) -> None:
    path = tmp_path / "a.conll"
    path.write_text(content)
    found = list(read_conll(path))
    assert [each.words for each in found] == words
    assert {tag for each in found for tag in each.tags} <= {"DET", "N", "SYM", "NUM"}


def test_a_word_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("the\tDET\n\tN\n")
    with pytest.raises(DataError, match="line 2: expected a word"):
        list(read_conll(path))


@pytest.mark.parametrize("column", ["xpos", "XPOS", "5"])
def test_a_column_has_a_name_or_a_number(column: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(UNIVERSAL)
    assert next(read_conll(path, tag_column=column)).tags == ("PRP", "VBP", "RB")


def test_older_tables_take_the_first_and_the_last_column(tmp_path: Path) -> None:
    path = tmp_path / "ner.conll"
    path.write_bytes(b"-DOCSTART- -X- -X- O\r\n\r\nU.N. NNP I-NP B-ORG\r\n# NN I-NP O\r\n\r\n\r\n")
    [only] = read_conll(path)
    assert only.words == ("U.N.", "#")
    assert only.tags == ("B-ORG", "O")


def test_words_with_spaces_are_divided_by_tabs(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("New York\tPLACE\nis\tO\n")
    [only] = read_conll(path)
    assert only.words == ("New York", "is")


def test_a_line_whose_columns_part_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("a X\nb Y\n\nc\n")
    with pytest.raises(DataError, match=r"a\.conll, line 4: expected 2 columns .* got 1: 'c'"):
        list(read_conll(path))


@pytest.mark.parametrize("column", ["11", "0", "tag"])
def test_a_column_that_is_not_there(column: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(UNIVERSAL)
    with pytest.raises(DataError, match="expected a column that is there, a number from 1 to 10"):
        list(read_conll(path, tag_column=column))


def test_words_without_labels_are_named_where_they_need_some(tmp_path: Path) -> None:
    """What is divided by commas has one column, whose words were no labels."""
    path = tmp_path / "a.conll"
    path.write_text("They,PRON\nsleep,VERB\n")
    said = r"line 1: expected a word and its label in columns, .* got one column: 'They,PRON'"
    with pytest.raises(DataError, match=said):
        list(read_conll(path))
    [only] = read_conll(path, has_tags=False)
    assert only.words == ("They,PRON", "sleep,VERB")
    path.write_text("They PRON\n")
    with pytest.raises(DataError, match="got one for both: 'They PRON'"):
        list(read_conll(path, tag_column="1"))


def test_the_lines_of_a_sentence_are_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(f"\n# about it\n{UNIVERSAL}\n\n{UNIVERSAL}")
    first, _, third, _ = read_conll(path)
    assert first.lines[0] == "# about it"
    assert [first.lines[row].split("\t")[1] for row in first.rows] == [*first.words]
    assert first.lines[1:] == third.lines
    assert first.is_universal


def test_a_first_line_may_name_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("Word\tPOS\tTag\nword\tNN\tO\n\nParis\tNNP\tB-LOC\n")
    first, second = read_conll(path)
    assert (first.words, first.tags, first.lines) == (("word",), ("O",), ("word\tNN\tO",))
    assert (second.words, second.tags) == (("Paris",), ("B-LOC",))
    assert next(read_conll(path, tag_column="pos")).tags == ("NN",)
    with pytest.raises(DataError, match="or one of word, pos, tag, got tag_column=ner"):
        next(read_conll(path, tag_column="ner"))

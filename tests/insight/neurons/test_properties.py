"""Properties of texts, place by place."""

import io
import tokenize
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from recurra.errors import DataError
from recurra.insight.neurons import lexing
from recurra.insight.neurons.properties import PROPERTIES, check_changes, property_of


def marks(name: str, text: str) -> str:
    """The text's values as digits below it."""
    return "".join(str(min(9, int(value))) for value in PROPERTIES[name].values(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("f('ab') x", "001110000"),
        ('"a" + "b"', "110000110"),
        ("don't won't", "00000000000"),
        ("the cats' tails' end", "00000000000000000000"),
        (r"'a\'b' c", "11111000"),
        ("rb'ab', u'c'", "001110000110"),
        ("x = 'it", "0000000"),
        ("x[k]'s 'a'", "0000000110"),
        ("“ab” «c»", "11100110"),
        ("# don't 'do' it\n'a'", "0000000000000000110"),
        ("'#' # 'a'", "110000000"),
        ('say, "I\ngo" so', "00000111110000"),
    ],
)
def test_quotes(text: str, wanted: str) -> None:
    assert marks("inside quotes", text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a # b\nc", "0011100"),
        ("#!x\ny", "11100"),
        ("#include <a>\n", "0000000000000"),
        ("a#b", "000"),
        ("7 // 2", "000000"),
        ("i; // b\nc", "000011100"),
        ("/* a\n b */ c", "011111111000"),
    ],
)
def test_comments(text: str, wanted: str) -> None:
    assert marks("inside comments", text) == wanted


def test_docstrings_keep_what_is_in_them() -> None:
    text = 'd = """a "b" \'c\' # d"""  # e'
    assert marks("inside docstrings", text) == "0" * 6 + "1" * 16 + "0" * 6
    assert marks("inside quotes", text) == "0" * len(text)
    assert marks("inside comments", text) == "0" * 25 + "111"


def test_a_text_that_begins_within_a_docstring_is_right_after_the_next_definition() -> None:
    rest = 'def f():\n    """A."""\n    return "x"\n'
    cut = f'the end of it.\n"""\n\n{rest}'
    before = len(cut) - len(rest)
    for name in ("inside docstrings", "inside quotes"):
        assert marks(name, cut)[before:] == marks(name, rest)


def test_python_is_read_as_its_own_tokenizer_reads_it() -> None:
    for module in (lexing, tokenize, pytest):
        text = Path(str(module.__file__)).read_text("utf-8")
        wanted = {
            kind: np.zeros(len(text), dtype=bool) for kind in ("quote", "docstring", "comment")
        }
        ends = [0, *accumulate(map(len, text.splitlines(keepends=True)))]
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            start, stop = (ends[row - 1] + column for row, column in (token.start, token.end))
            if token.type == tokenize.COMMENT:
                wanted["comment"][start:stop] = True
            elif token.type == tokenize.STRING:
                bare = token.string.lstrip("rbufRBUF")
                kind, width = ("docstring", 3) if bare[:3] in ('"""', "'''") else ("quote", 1)
                opened = start + len(token.string) - len(bare) + width - 1
                wanted[kind][opened : stop - 1] = True
        for kind, each in wanted.items():
            np.testing.assert_array_equal(lexing.inside(text, kind), each, err_msg=kind)


def test_closers_are_what_ends_a_quote() -> None:
    which = PROPERTIES["inside quotes"]
    assert which.closers is not None
    found = which.closers("f('a', \"b\")")
    assert found.kinds == ("'", '"')
    assert found.which.tolist() == [-1, -1, 0, 0, -1, -1, -1, 1, 1, -1, -1]


def test_places_in_lines_and_words() -> None:
    assert marks("line position", "ab\n\nc") == "12001"
    assert marks("word position", "ab, c1_d") == "12001234"
    assert PROPERTIES["line position"].values("x" * 500).max() == 120


def test_indentation_grows_as_it_is_read_and_stays_to_the_end_of_the_line() -> None:
    assert marks("indentation", "a\n  b c\n\td") == "0012222" + "0" + "88"


def test_brackets_count_where_they_are_closed_again_in_code() -> None:
    assert marks("bracket depth", "f(a[1], {b})") == "011221112210"
    assert marks("bracket depth", "f((a) b") == "0011000"
    assert marks("bracket depth", "(')') ]") == "1111000"


def test_what_is_found_by_an_expression() -> None:
    assert marks("inside URLs", "at <http://a.b/c>, so") == "0000" + "1" * 12 + "0" * 5
    assert marks("inside conditions", "  if a: \n while:\n") == "00111100001111100"
    assert marks("inside definitions", "def f(a): # b\n") == "11111111000000"
    found = property_of("/[0-9]+/").values("a12b")
    assert found.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("inside quotes", "inside quotes"),
        ("Quotes", "inside quotes"),
        ("indentation", "indentation"),
        ("  line   position ", "line position"),
    ],
)
def test_a_property_is_found_by_its_name_or_a_part_of_it(spelled: str, name: str) -> None:
    assert property_of(spelled).name == name


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("inside", "which may be several"),
        ("mood", "expected inside quotes, .*got 'mood'"),
        ("", "got ''"),
        ("/(/", "expected a regular expression between the slashes"),
    ],
)
def test_what_is_no_property_is_refused(spelled: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        property_of(spelled)


def test_a_property_that_never_changes_cannot_be_tracked() -> None:
    which = PROPERTIES["inside quotes"]
    with pytest.raises(DataError, match=r"'inside quotes' .* changes, got 3 places"):
        check_changes(which, which.values("abc"))


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("text", ["", "\n", "a", "'" * 5, '"""', "))((", "\ud800 é 字\n\n"])
def test_every_property_has_a_number_for_each_character(name: str, text: str) -> None:
    values = PROPERTIES[name].values(text)
    assert values.shape == (len(text),)
    assert values.dtype == np.float32

"""Sentences in columns: CoNLL-U of Universal Dependencies, and the older tables of the CoNLL tasks.

A word stands on a line, its columns are divided by tabs or spaces, and an empty line ends a
sentence. Comments are passed over: lines that begin with # in CoNLL-U, and of other files those
without a tab where words have tabs. So are, of CoNLL-U, the lines of words that were written as one
(3-4) and of words that are not there (8.1).

Source: universaldependencies.org/format.html; Tjong Kim Sang, De Meulder (2003), "Introduction to
the CoNLL-2003 Shared Task", arXiv:cs/0306050.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recurra.data.tables import lines_of
from recurra.errors import DataError, argument

UNIVERSAL_END = ".conllu"
WORDS_ALONE = (UNIVERSAL_END, ".conll", ".bio", ".iob", ".iob2", ".pos")  # ends of no other tables
UNIVERSAL = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_UNDIVIDED = re.compile(r"\d+[-.]\d+")  # a range of words, or one that is not there
_NOTHING = "_"
_MAY_LACK = (3, 4)  # UPOS and XPOS; of FEATS _ says that there are none
DOCUMENT = "-DOCSTART-"  # what the line of a new document begins with
_WORDS = ("word", "words", "token", "tokens", "form")
_TAGS = (
    *("tag", "tags", "label", "labels", "pos", "upos", "xpos", "ner", "ner_tag", "slot"),
    *("gold", "predicted"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedSentence:
    """A sentence whose words have a tag each.

    Attributes:
        words, tags: of the same number; "" where a word has no tag, which UPOS and XPOS of CoNLL-U
            write as _.
        place: the file and the line that it begins on, for messages.
        lines: all lines of the sentence as they are written, comments and the like too, and
            those that stand between it and the sentence before.
        rows: which of the lines have the words, from 0.
        is_universal: whether the lines are those of CoNLL-U.
        head: the line before the first sentence that names the columns; "" where there is none.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    place: str
    lines: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    is_universal: bool = False
    head: str = ""


def read_conll(
    path: Path,
    *,
    word_column: str | int | None = None,
    tag_column: str | int | None = None,
    encoding: str | None = None,
    has_tags: bool = True,
) -> Iterator[TaggedSentence]:
    """The sentences of a file in columns, one by one.

    Args:
        path: the file, compressed or not; .conllu has the ten columns of Universal Dependencies.
        word_column: of the words: a name of CoNLL-U, or a number from 1; None takes "form", or the
            first column.
        tag_column: of the tags, likewise; None takes "upos", or the last column.
        encoding: of the file, see `read_pieces`.
        has_tags: whether the words have tags; else what is in the column of tags counts for
            nothing, and may be the words themselves.
    Raises:
        DataError: when a line has other columns than the first, or there is no such column, naming
            the line.

    A first line that names the columns of words and tags is no sentence; columns may be named so.
    """
    is_universal = UNIVERSAL_END in (suffix.lower() for suffix in path.suffixes)
    words: list[str] = []
    tags: list[str] = []
    held: list[str] = []
    rows: list[int] = []
    width: int | None = None
    begins, word_at, tag_at, names_line = 0, 0, 0, ""
    names: Sequence[str] = ()

    def sentence() -> TaggedSentence:
        return TaggedSentence(
            words=tuple(words),
            tags=tuple(tags),
            place=f"{path}, line {begins}",
            lines=tuple(held),
            rows=tuple(rows),
            is_universal=is_universal,
            head=names_line,
        )

    for number, line, is_comment in _lines(lines_of(path, encoding), is_universal):
        if not line.strip() and words:
            yield sentence()
            words, tags, held, rows, names_line = [], [], [], [], ""
            continue
        if line.strip() or held:
            held.append(line)
        if is_comment or not line.strip():
            continue
        cells = [cell.strip(" ") for cell in line.split("\t")] if "\t" in line else line.split()
        if width is None:
            width = len(cells)
            head = _head(cells)
            names = UNIVERSAL if is_universal and width == len(UNIVERSAL) else head
            word_at = _column(word_column, "word_column", 0, width, names, path)
            tag_at = _column(tag_column, "tag_column", width - 1, width, names, path)
            if has_tags and word_at == tag_at:
                raise DataError(
                    f"{path}, line {number}: expected a word and its label in columns, with tabs "
                    f"or spaces between, got {'one column' if width == 1 else 'one for both'}: "
                    f"{line!r:.60}. Write the label behind the word, or name another column: "
                    f"{argument('tag_column=')}."
                )
            if head:
                names_line = held.pop()
                continue
        if len(cells) != width:
            raise DataError(
                f"{path}, line {number}: expected {width} columns as in the lines above it, got "
                f"{len(cells)}: {line!r:.60}. An empty line ends a sentence; correct the line."
            )
        if is_universal and _UNDIVIDED.fullmatch(cells[0]):
            continue
        if cells[0].startswith(DOCUMENT):
            continue
        if not cells[word_at]:
            raise DataError(
                f"{path}, line {number}: expected a word in column {word_at + 1}, got none: "
                f"{line!r:.60}. An empty line ends a sentence; correct the line."
            )
        if not words:
            begins = number
        rows.append(len(held) - 1)
        words.append(cells[word_at])
        is_tagless = tag_at in _MAY_LACK and names is UNIVERSAL and cells[tag_at] == _NOTHING
        tags.append("" if is_tagless else cells[tag_at])
    if words:
        yield sentence()


def _lines(lines: Iterable[str], is_universal: bool) -> Iterator[tuple[int, str, bool]]:
    """The lines with their numbers, and whether each is a comment.

    Where words stand between spaces, # may be one: the first line that tells decides.
    """
    held: list[tuple[int, str]] = []  # that are comments if the words have tabs
    has_tabs: bool | None = True if is_universal else None
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if line.startswith("#") and (is_universal or (has_tabs and "\t" not in line)):
            yield number, line, True
            continue
        if has_tabs is None and "\t" not in line and (line.startswith("#") or not line.strip()):
            held.append((number, line))
            continue
        if has_tabs is None:
            has_tabs = "\t" in line
            yield from _told(held, has_tabs)
        yield number, line, False
    if has_tabs is None:
        yield from _told(held, False)


def _told(held: Iterable[tuple[int, str]], has_tabs: bool) -> Iterator[tuple[int, str, bool]]:
    """What lines were that did not tell: comments, or empty, or else words."""
    for number, line in held:
        yield number, line, has_tabs and line.startswith("#")


def _head(cells: Sequence[str]) -> tuple[str, ...]:
    """The names of columns where the line has them, in lower case; none of words and labels."""
    names = tuple(cell.lower() for cell in cells)
    is_head = len(names) > 1 and names[0] in _WORDS and names[-1] in _TAGS
    return names if is_head else ()


def _column(
    given: str | int | None, name: str, otherwise: int, width: int, names: Sequence[str], path: Path
) -> int:
    """The place of a column, from 0."""
    if given is None:
        if names is not UNIVERSAL:
            return otherwise
        return names.index("form" if name == "word_column" else "upos")
    if isinstance(given, str) and given.lower() in names:
        return names.index(given.lower())
    if isinstance(given, int) or given.isdecimal():
        place = int(given) - 1
        if 0 <= place < width:
            return place
    known = f"a number from 1 to {width}" + (f", or one of {', '.join(names)}" if names else "")
    raise DataError(
        f"{path}: expected a column that is there, {known}, got {argument(f'{name}={given}')}. "
        "Choose one."
    )

"""Properties of a text that a unit may track: a number for each character, once it is read.

Letters: N characters.
Source: the properties of Karpathy, Johnson, Fei-Fei (2015), "Visualizing and Understanding
Recurrent Networks", arXiv:1506.02078, section 4.2 and figure 2, and some more.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from recurra.errors import DataError
from recurra.insight.neurons import lexing

_LONGEST_LINE = 120  # characters after which a line is just long
_DEEPEST = 40  # columns of indentation
_MOST_OPEN = 10  # brackets
_LONGEST_WORD = 20
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_INDENT = re.compile(r"^[ \t]*", re.MULTILINE)
_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\"'`)\]}]+|\bwww\.[^\s<>\"'`)\]}]+")
_CONDITION = re.compile(r"^[ \t]*(?:if|elif|while)\b[^\n]*?(?=:[ \t]*(?:$|\#))", re.MULTILINE)
_DEFINITION = re.compile(
    r"^[ \t]*(?:async def|def|class)\b[^\n]*?(?=:[ \t]*(?:$|\#))", re.MULTILINE
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """Something that is true of each place in a text.

    Attributes:
        name: as `--find` takes it.
        about: what the number says, in a few words.
        values: [N] float32 of a text of N characters: after character n is read, not before.
        closers: of a property that something closes, what closes it at each place of the text,
            one of several strings; None where nothing does.
    """

    name: str
    about: str
    values: Callable[[str], np.ndarray]
    closers: Callable[[str], "Closers"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closers:
    """What would end a property at each place where it holds.

    Attributes:
        kinds: the strings that close it, such as ("'", '"').
        which: [N] int, the index of the string among `kinds`; -1 where it does not hold.
    """

    kinds: tuple[str, ...]
    which: np.ndarray


def _inside(text: str, *, kind: str) -> np.ndarray:
    return lexing.inside(text, kind).astype(np.float32)


def _closers(text: str, *, kind: str) -> Closers:
    which = np.full(len(text), -1, dtype=np.int64)
    kinds: dict[str, int] = {}
    for span in lexing.spans(text):
        if span.kind == kind:
            which[span.start : span.stop] = kinds.setdefault(span.closer, len(kinds))
    return Closers(kinds=tuple(kinds), which=which)


def _matched(text: str, *, pattern: re.Pattern[str]) -> np.ndarray:
    """1 at each character of a match, but for blanks before it."""
    marked = np.zeros(len(text), dtype=np.float32)
    for found in pattern.finditer(text):
        start = found.end() - len(found[0].lstrip())
        marked[start : found.end()] = 1.0
    return marked


def _line_position(text: str) -> np.ndarray:
    """How many characters of its line were read."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    place = np.arange(1, len(codes) + 1)
    ended = np.maximum.accumulate(np.where(codes == ord("\n"), place, 0))
    return np.minimum(place - ended, _LONGEST_LINE).astype(np.float32)


def _indentation(text: str) -> np.ndarray:
    """The columns that the line is indented by, as far as they are read; a tab is 8."""
    columns = np.zeros(len(text), dtype=np.float32)
    for found in _INDENT.finditer(text):
        start, stop = found.span()
        width = 0
        for place in range(start, stop):
            width = min(width + (8 - width % 8 if text[place] == "\t" else 1), _DEEPEST)
            columns[place] = width
        end = text.find("\n", stop)
        end = len(text) if end < 0 else end
        columns[stop:end] = width
    return columns


def _bracket_depth(text: str) -> np.ndarray:
    """How many brackets are open, of those in code that are closed again."""
    hidden = np.zeros(len(text), dtype=bool)
    for span in lexing.spans(text):
        hidden[span.start : span.stop + 1] = True
    change = np.zeros(len(text) + 1, dtype=np.int64)
    opened: list[int] = []
    for found in re.finditer(r"[()\[\]{}]", text):
        place, mark = found.start(), found[0]
        if hidden[place]:
            continue
        if mark not in _BRACKETS:
            opened.append(place)
            continue
        partner = next(
            (i for i in reversed(range(len(opened))) if text[opened[i]] == _BRACKETS[mark]), None
        )
        if partner is not None:  # what was opened since, and is not closed, was none
            change[opened[partner]] += 1
            change[place] -= 1
            del opened[partner:]
    return np.minimum(np.cumsum(change[:-1]), _MOST_OPEN).astype(np.float32)


def _word_position(text: str) -> np.ndarray:
    """How many letters of its word were read; 0 between words."""
    position = np.zeros(len(text), dtype=np.float32)
    for found in _WORD.finditer(text):
        counts = np.arange(1, len(found[0]) + 1)
        position[found.start() : found.end()] = np.minimum(counts, _LONGEST_WORD)
    return position


PROPERTIES: dict[str, Property] = {
    each.name: each
    for each in (
        Property(
            name="inside quotes",
            about="1 between a quote and the one that closes it",
            values=partial(_inside, kind=lexing.QUOTE),
            closers=partial(_closers, kind=lexing.QUOTE),
        ),
        Property(
            name="inside docstrings",
            about="1 between three quotes and the three that close them",
            values=partial(_inside, kind=lexing.DOCSTRING),
            closers=partial(_closers, kind=lexing.DOCSTRING),
        ),
        Property(
            name="inside comments",
            about="1 from the mark that begins a comment to its end",
            values=partial(_inside, kind=lexing.COMMENT),
            closers=partial(_closers, kind=lexing.COMMENT),
        ),
        Property(
            name="line position",
            about="characters of the line so far, up to 120",
            values=_line_position,
        ),
        Property(
            name="indentation",
            about="columns that the line is indented by, up to 40",
            values=_indentation,
        ),
        Property(
            name="bracket depth",
            about="brackets that are open, up to 10",
            values=_bracket_depth,
        ),
        Property(
            name="inside URLs",
            about="1 within an address such as https://...",
            values=partial(_matched, pattern=_URL),
        ),
        Property(
            name="inside conditions",
            about="1 from if, elif or while to the colon of the line",
            values=partial(_matched, pattern=_CONDITION),
        ),
        Property(
            name="inside definitions",
            about="1 from def or class to the colon of the line",
            values=partial(_matched, pattern=_DEFINITION),
        ),
        Property(
            name="word position",
            about="letters of the word so far, up to 20",
            values=_word_position,
        ),
    )
}


def property_of(spelled: str) -> Property:
    """The property of a name, of a part of one, or of a regular expression in slashes.

    Args:
        spelled: "inside quotes", "quotes", or "/[A-Z]{2,}/", which is 1 within each match.
    Raises:
        ValueError: when no property or several are meant, or the expression is none.
    """
    wanted = " ".join(spelled.split()).lower()
    if len(spelled) > 2 and spelled.startswith("/") and spelled.endswith("/"):
        return _of_expression(spelled)
    named = {name: each for name, each in PROPERTIES.items() if wanted and wanted in name.lower()}
    exact = [each for name, each in named.items() if name.lower() == wanted]
    if len(exact) == 1 or len(named) == 1:
        return exact[0] if exact else next(iter(named.values()))
    raise ValueError(
        f"find: expected {', '.join(PROPERTIES)}, or a regular expression in slashes such as "
        f"/[0-9]+/, got {spelled!r}{', which may be several' if named else ''}. Choose one of them."
    )


def _of_expression(spelled: str) -> Property:
    try:
        pattern = re.compile(spelled[1:-1], re.MULTILINE)
    except re.error as error:
        raise ValueError(
            f"find: expected a regular expression between the slashes, got {spelled!r}: {error}. "
            f"Mend it; a backslash before a sign takes it as it is."
        ) from None
    return Property(
        name=spelled,
        about="1 within each match of the expression",
        values=partial(_matched, pattern=pattern),
    )


def check_changes(which: Property, values: np.ndarray) -> np.ndarray:
    """The property's values [N] over a text.

    Raises:
        DataError: when they are the same everywhere: nothing can track the property.
    """
    if len(values) == 0 or values.min() == values.max():
        raise DataError(
            f"text: expected one in which {which.name!r} ({which.about}) changes, got "
            f"{len(values):,} places in which it does not. Give more text, or another property."
        )
    return values

"""Where quotes, comments and docstrings are in a text, of source code or of prose, in one pass.

A text may be a piece of a longer one that is cut anywhere, so nothing here trusts its beginning: a
quote opens only where its partner is found near by, and a docstring ends before a line that begins
a definition, whatever was taken for its start.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

QUOTE, DOCSTRING, COMMENT = "quote", "docstring", "comment"
_FAR = 20_000  # characters within which a docstring or a block comment ends

_OPENERS = re.compile(
    r"""
    (?P<docstring> \"{3} | '{3} )
  | (?P<block> /\* )
  | (?P<slashes> (?: ^ | (?<=[;{}]) ) [ \t]* // )
  | (?P<hash> (?: ^ | (?<=\s) ) \# (?! include|define|ifdef|ifndef|endif|pragma|undef|error\b ) )
  | (?P<double> \" )
  | (?P<single> (?: (?<![\w'\])]) | (?<![\w]) (?:[rRbBuUfF]|[rR][bBfF]|[bBfF][rR]) ) ' )
  | (?P<low> [“«] )
    """,
    re.VERBOSE | re.MULTILINE,
)
# What is between an opening quote and its partner; \1 would not tell a quote in a quote apart.
_BODIES = {
    '"': re.compile(r'(?:\\.|[^"\\\n])*(?=")'),
    "'": re.compile(r"(?:\\.|[^'\\\n]|'(?=\w))*(?=')"),
    "“": re.compile(r"(?:[^”\n]|\n(?!\s*\n)){0,4000}(?=”)"),
    "«": re.compile(r"(?:[^»\n]|\n(?!\s*\n)){0,4000}(?=»)"),
}
# Speech may go on over lines, up to the end of its paragraph.
_SPOKEN = re.compile(r'(?<=[\s(\[—-]")(?=\w)(?:[^"\n]|\n(?!\s*\n)){1,4000}(?=")')
_DEFINES = re.compile(
    r"""
    ^[ \t]* (?:async[ ])? def[ ]\w+\( | ^[ \t]* class[ ]\w+[(:]
  | ^import[ ]\w+ | ^from[ ][\w.]+[ ]import
    """,
    re.VERBOSE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A quote, a docstring or a comment.

    Attributes:
        kind: "quote", "docstring" or "comment".
        start: the character with which it has begun: the last of what opens it.
        stop: the character with which it has ended: the last of what closes it, or the line end.
        closer: what closes it: a quote, three of them, `*/`, or the line end.
    """

    kind: str
    start: int
    stop: int
    closer: str


def spans(text: str) -> Iterator[Span]:
    r"""The quotes, docstrings and comments of a text, one after the other; none is in another.

    Quotes are "...", '...', “...” and «...»; an apostrophe is none. Docstrings have three quotes.
    Comments are those of Python and the shell (#), and of C and its kin (//, /* */).
    """
    place = 0
    while found := _OPENERS.search(text, place):
        kind, opened = found.lastgroup, found.end()
        if kind == "docstring":
            span = _far(text, DOCSTRING, opened, found[0])
        elif kind == "block":
            span = _far(text, COMMENT, opened, "*/")
        elif kind in ("hash", "slashes"):
            end = text.find("\n", opened)
            end = len(text) if end < 0 else end
            span = Span(kind=COMMENT, start=opened - 1, stop=end, closer="\n")
        else:
            span = _quote(text, opened)
        if span is not None:
            yield span
        place = opened if span is None else min(span.stop + 1, len(text))


def _far(text: str, kind: str, opened: int, closer: str) -> Span | None:
    """What ends with a mark further down; None where that is not so, and its start was none."""
    end = text.find(closer, opened, opened + _FAR)
    if end < 0:
        return None
    if kind == DOCSTRING and _DEFINES.search(text, opened, end):
        return None
    return Span(kind=kind, start=opened - 1, stop=end + len(closer) - 1, closer=closer)


def _quote(text: str, opened: int) -> Span | None:
    mark = text[opened - 1]
    body = _BODIES[mark].match(text, opened)
    if body is None and mark == '"':
        body = _SPOKEN.match(text, opened)
    if body is None:
        return None
    end = body.end()
    return Span(kind=QUOTE, start=opened - 1, stop=end, closer=text[end])


def inside(text: str, kind: str, found: list[Span] | None = None) -> np.ndarray:
    """[N] bool: whether, once a character is read, a span of this kind has begun and not ended."""
    marked = np.zeros(len(text), dtype=bool)
    for span in spans(text) if found is None else found:
        if span.kind == kind:
            marked[span.start : span.stop] = True
    return marked

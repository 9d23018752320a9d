"""How cells are spelled, text to a tree; nothing is looked up, and nothing is run.

    spelled = cell {":" PARAMETER "=" RULE}        lstm:b_f=chrono400:b_i=-b_f
    cell    = NAME                                 lstm
            | NAME "(" [spelled ","] options ")"   zoneout(layer_norm(lstm), 0.1), taugru(delay=5)
            | FILE ".py:" NAME                     my cells/first.py:mine
            | MODULE ":" NAME                      cells_of_mine.first:mine

Options are numbers, strings, True, False, None and lists of them, by position or by keyword. A
comma, colon or bracket in a file's name needs quotes around the name.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FORMS = (
    "lstm, zoneout(lstm, 0.1), my_file.py:my_cell or my_module:my_cell, "
    "and behind one of them how parameters start, :b_f=1"
)
_LONGEST, _DEEPEST = 4096, 32  # characters of a spelling, brackets in brackets
_PAIRS = {"(": ")", "[": "]"}
_SETTING = re.compile(r"\s*(?P<parameter>[^\W\d]\w*)\s*=\s*(?P<rule>\S*)\s*")
_KEYWORD = re.compile(r"\s*[^\W\d]\w*\s*=[^=]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A registered cell."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A composer around a cell, or a registered cell and constants for it."""

    name: str
    of: "Spelled | None"
    args: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A cell of the user's own, kept in a file or in a module under its name."""

    origin: str
    name: str
    is_file: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelled:
    """A cell, and how some of its parameters start, in words."""

    text: str
    cell: Named | Called | Kept
    init: Mapping[str, str] = field(default_factory=dict)


def parse(text: str) -> Spelled:
    """The tree of one cell's spelling.

    Raises:
        ValueError: when it is none; the message begins with "cell: expected".
    """
    if len(text) > _LONGEST:
        raise ValueError(f"cell: expected at most {_LONGEST} characters, got {len(text)}.")
    parts = split(text, ":")
    init: dict[str, str] = {}
    while len(parts) > 1 and (setting := _SETTING.fullmatch(parts[-1])):
        if setting["parameter"] in init:
            raise ValueError(
                f"cell: expected one rule for each parameter, got two for "
                f"{setting['parameter']} in {text!r}. Leave one of them out."
            )
        init = {setting["parameter"]: setting["rule"], **init}
        parts.pop()
    return Spelled(text=text.strip(), cell=_cell(":".join(parts).strip()), init=init)


def split(text: str, at: str = ",") -> list[str]:
    """The parts of a list between its commas, those in brackets and quotes left whole.

    Raises:
        ValueError: when a bracket or a quote is not closed.
    """
    parts, closing, quote, before = [""], [], "", at
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'" and before in ",:([=":  # elsewhere it is the apostrophe of a name
            quote = sign
        elif sign in _PAIRS:
            closing.append(_PAIRS[sign])
        elif sign in _PAIRS.values() and (not closing or closing.pop() != sign):
            raise ValueError(
                f"cell: expected brackets in pairs, got {sign!r} alone in {text!r:.200}. "
                f"Open it first; a file's name that has one needs quotes."
            )
        if len(closing) > _DEEPEST:
            raise ValueError(f"cell: expected at most {_DEEPEST} brackets in brackets, got more.")
        if sign == at and not closing and not quote:
            parts.append("")
        else:
            parts[-1] += sign
        before = before if sign.isspace() else sign
    if closing or quote:
        raise ValueError(
            f"cell: expected {(quote or closing[-1])!r} at the end of {text!r:.200}, got none. "
            f"Close what is open."
        )
    return parts


def _cell(text: str) -> Named | Called | Kept:
    if text.isidentifier():
        return Named(name=text)
    called = re.fullmatch(r"([^\W\d]\w*)\s*\((.*)\)", text, re.DOTALL)
    if called is not None:
        return _called(called[1], called[2])
    origin, _, name = (part.strip() for part in text.rpartition(":"))
    is_quoted = len(origin) > 1 and origin[0] == origin[-1] and origin[0] in "\"'"
    origin = origin[1:-1] if is_quoted else origin
    is_file = is_quoted or origin.endswith(".py")
    if name.isidentifier() and (is_file or all(map(str.isidentifier, origin.split(".")))):
        return Kept(origin=origin, name=name, is_file=is_file)
    if text.endswith(".py"):
        raise ValueError(
            f"cell: expected FILE.py:NAME, got the file alone, {text!r}. Name the cell in it."
        )
    raise ValueError(f"cell: expected a cell, got {text!r:.200}. Write one as in {FORMS}.")


def _called(name: str, inside: str) -> Called:
    first, *others = split(inside)
    is_cell = bool(first.strip()) and not _KEYWORD.match(first)
    of = parse(first) if is_cell else None
    args, options = _options(name, ",".join(others) if is_cell else inside)
    return Called(name=name, of=of, args=args, options=options)


def _options(name: str, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Options by position and by keyword, read and not evaluated."""
    try:
        call = ast.parse(f"_({text.strip()})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(
            f"cell: expected options of {name}, got {text.strip()!r:.200}. "
            f"Write them as in zoneout(lstm, 0.1) or zoneout(lstm, p=0.1)."
        )
    options: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError(f"cell: expected options of {name} by name, got **. Write them out.")
        options[keyword.arg] = _value(name, keyword.value)
    return tuple(_value(name, arg) for arg in call.args), options


def _value(name: str, node: ast.expr) -> Any:
    """What a number, a string, True, False, None or a list of them stands for."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(name, node.operand)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(name, part) for part in node.elts]
    got = ast.unparse(node)
    hint = f"Write it in quotes, {got!r}, if it is a name." if isinstance(node, ast.Name) else ""
    raise ValueError(
        f"cell: expected options of {name} that are numbers, strings, True, False, None or lists "
        f"of them, got {got:.80}. {hint or 'Nothing is computed here: write the value.'}"
    )

"""Tasks as one line, NAME or NAME:SETTING=VALUE,SETTING=VALUE: what a trial keeps of its task.

A setting is any of the task's: of its data, its model, or how it is trained. A value with a comma
stands in quotes: 'classify:data="Gestures, 2021"'. What may be given more than once is: one text of
two files is lm:data=a.txt,data=b.txt.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recurra.settings import Settings, declared, kind_of, names, nearest, option_of

# KEY=VALUE up to a comma; a value may stand in quotes, and outside them a comma behind a backslash
_SETTING = re.compile(
    r"""\s*(?P<key>[^=,]*?)\s*=\s*
    (?: "(?P<double>[^"]*)"\s* | '(?P<single>[^']*)'\s* | (?P<plain>(?:\\,|[^,])*) )
    (?:,|$)""",
    re.VERBOSE,
)
_FLAGS = {"yes": True, "true": True, "no": False, "false": False}

_NUM_NAMED = 5  # settings in a message
_PATHS = {"text": "path", "folder": "path"}

# Tasks of version 0.1, which read files before there were others that do: now another task, with
# the settings that say what they did. What they called `path` and `steps` is called otherwise too.
_FORMER: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "text": ("lm", {"path": "data", "steps": "bptt"}, {"dropout": "0"}),
    "folder": (
        "classify",
        {"path": "data"},
        {"bidirectional": "no", "pooling": "last", "dropout": "0"},
    ),
}


def parse(text: str) -> tuple[str, dict[str, str | tuple[str, ...]]]:
    """The task's name, and its settings as they are written: several where one is repeated.

    Raises:
        ValueError: when the line is not one.
    """
    name, _, settings = text.partition(":")
    name = name.strip()
    given: dict[str, str | tuple[str, ...]] = {}
    for part, key, value in _parts(settings):
        if not key or not value:
            raise ValueError(
                f"task: expected settings of {name} such as {name}:KEY=VALUE, got {part!r}. "
                f'A value with a comma stands in quotes, as in {_PATHS.get(name, "data")}="a, b".'
            )
        given[key] = value if key not in given else (*_several(given[key]), value)
    if name not in _FORMER:
        return name, given
    task, renamed, more = _FORMER[name]
    if unknown := [key for key in given if key not in renamed]:
        raise ValueError(
            f"task: expected settings of {name} such as {', '.join(f'{k}=...' for k in renamed)}, "
            f"got {unknown[0]!r}. Use one of them; a value with a comma stands in quotes."
        )
    if "path" not in given:
        raise ValueError(f"task: expected {name}:path=..., got {text!r}. Say where it is.")
    return task, {**more, **{renamed[key]: value for key, value in given.items()}}


def spelled(name: str, given: Mapping[str, Any]) -> str:
    """The line that `parse` reads so."""
    parts = [f"{key}={_quoted(v)}" for key, value in given.items() for v in _several(value)]
    return f"{name}:{','.join(parts)}" if parts else name


def renewed(text: str) -> str:
    """The line as it is; of a task of version 0.1 what it is now."""
    return spelled(*parse(text)) if text.partition(":")[0].strip() in _FORMER else text


def typed(
    task: str,
    kinds: tuple[type[Settings], ...],
    given: Mapping[str, str | tuple[str, ...]],
) -> dict[str, Any]:
    """Settings as they are written, as values of the types that the classes declare.

    Raises:
        ValueError: when there is no such setting, or the value is of another type.
    """
    found: dict[str, Any] = {}
    for key, value in given.items():
        kind = next((kind for kind in kinds if key in names(kind)), None)
        if kind is None:
            such = ", ".join(f"{name}=..." for name in names(*kinds)[:_NUM_NAMED])
            raise ValueError(
                f"task: expected settings of {task} such as {such}, got {f'{key}={value}'!r}. "
                f"{nearest(key, names(*kinds))}"
            )
        found[key] = _typed(task, kind, key, value)
    return found


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _typed(task: str, kind: type[Settings], key: str, value: str | tuple[str, ...]) -> Any:
    hint, _ = kind_of(kind, key)
    [option] = [option_of(each) for each in declared(kind) if each.name == key]
    if not isinstance(value, str):
        if not option.several:
            raise ValueError(f"task: expected {key} once, got it twice. Leave one out.")
        return value
    words = {int: "a whole number", float: "a number", bool: "yes or no"}
    try:
        if hint is bool:
            return _FLAGS[value.lower()]
        number = hint(value) if hint in (int, float) else None
    except (KeyError, ValueError):
        raise ValueError(
            f"task: expected {task}:{key}=N with {words[hint]} N, got {key}={value!r}. "
            "Write such a value."
        ) from None
    if hint is not int:
        return value if number is None else number
    assert isinstance(number, int)
    if not option.least <= number <= option.most:
        raise ValueError(
            f"task: expected {task}:{key}=N with N from {option.least} to {option.most:,}, got "
            f"{number}. Give such a number."
        )
    return number


def _parts(text: str) -> Iterator[tuple[str, str, str]]:
    """Each setting as it is written, its key and its value."""
    at = 0
    while at < len(text):
        found = _SETTING.match(text, at)
        if found is None:  # no =, or no value
            part = text[at:].partition(",")[0]
            at += len(part) + 1
            if part.strip():
                yield part, "", ""
            continue
        at = found.end()
        plain = found["plain"]
        value = (
            found["double"] or found["single"]
            if plain is None
            else plain.replace("\\,", ",").rstrip()
        )
        yield found[0].removesuffix(","), found["key"], value or ""


def _quoted(value: Any) -> str:
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    if "," not in text and text == text.strip() and not text.startswith(("'", '"')):
        return text
    quote = "'" if '"' in text else '"'
    return f"{quote}{text}{quote}"

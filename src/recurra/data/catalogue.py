"""Tasks by name, as `recurra compare` takes them."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields

from recurra.data.recorded import FolderTask, TextTask
from recurra.data.tasks import Adding, Arithmetic, Copying, Nesting, Task, TemporalOrder

TASKS: dict[str, type[Task]] = {
    "adding": Adding,
    "arithmetic": Arithmetic,
    "copying": Copying,
    "folder": FolderTask,
    "nesting": Nesting,
    "temporal-order": TemporalOrder,
    "text": TextTask,
}

# KEY=VALUE up to a comma; a value may stand in quotes, and outside them a comma behind a backslash
_SETTING = re.compile(
    r"""\s*(?P<key>[^=,]*?)\s*=\s*
    (?: "(?P<double>[^"]*)"\s* | '(?P<single>[^']*)'\s* | (?P<plain>(?:\\,|[^,])*) )
    (?:,|$)""",
    re.VERBOSE,
)


def make_task(text: str) -> Task:
    """The task of that name, its settings after a colon: "copying:delay=200,symbols=10".

    Those of the user's own data name it: "text:path=input.txt", "folder:path=gestures". A path
    with commas stands in quotes: 'folder:path="Gestures, 2021"'.

    Raises:
        ValueError: when no task has the name, or the task no such setting.
    """
    name, _, settings = text.partition(":")
    name = name.strip()
    if name not in TASKS:
        raise ValueError(f"task: expected one of {', '.join(TASKS)}, got {name!r}. Name one.")
    kinds = {f.name: f.type for f in fields(TASKS[name]) if f.init}  # type: ignore[arg-type]
    given: dict[str, int | str] = {}
    for part, key, value in _settings(settings):
        if key not in kinds or not value:
            raise ValueError(
                f"task: expected settings of {name} such as "
                f"{', '.join(f'{field}=...' for field in kinds)}, got {part!r}. Use one of them; "
                'a value with a comma stands in quotes, as in path="a, b".'
            )
        if key in given:
            raise ValueError(f"task: expected {key} once, got it twice. Leave one out.")
        given[key] = _whole(name, key, value) if kinds[key] in (int, "int") else value
    wanted = [f for f in fields(TASKS[name]) if f.init and f.default is MISSING]  # type: ignore[arg-type]
    if missing := [f.name for f in wanted if f.name not in given]:
        raise ValueError(f"task: expected {name}:{missing[0]}=..., got {text!r}. Say where it is.")
    return TASKS[name](**given)


def _settings(text: str) -> Iterator[tuple[str, str, str]]:
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
        value = found["double"] or found["single"] if plain is None else plain.replace("\\,", ",")
        yield found[0].removesuffix(","), found["key"], value or ""


def _whole(task: str, key: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError(
            f"task: expected {task}:{key}=N with a whole number N, got {key}={value!r}. "
            "Write it in digits."
        ) from None

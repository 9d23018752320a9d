"""Tasks by name, as `recurra compare` takes them."""

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


def make_task(text: str) -> Task:
    """The task of that name, its settings after a colon: "copying:delay=200,symbols=10".

    Those of the user's own data name it: "text:path=input.txt", "folder:path=gestures".

    Raises:
        ValueError: when no task has the name, or the task no such setting.
    """
    name, _, settings = text.partition(":")
    if name not in TASKS:
        raise ValueError(f"task: expected one of {', '.join(TASKS)}, got {name!r}. Name one.")
    kinds = {field.name: field.type for field in fields(TASKS[name])}  # type: ignore[arg-type]
    given: dict[str, int | str] = {}
    for part in filter(None, settings.split(",")):
        key, _, value = part.partition("=")
        if key not in kinds or not value or (kinds[key] in (int, "int") and not value.isdecimal()):
            raise ValueError(
                f"task: expected settings of {name} such as "
                f"{', '.join(f'{field}=...' for field in kinds)}, got {part!r}. Use one of them."
            )
        given[key] = int(value) if kinds[key] in (int, "int") else value
    wanted = [f.name for f in fields(TASKS[name]) if f.default is MISSING]  # type: ignore[arg-type]
    if missing := [key for key in wanted if key not in given]:
        raise ValueError(f"task: expected {name}:{missing[0]}=..., got {text!r}. Say where it is.")
    return TASKS[name](**given)

"""What a model makes of inputs, however many there are: some at a time, each with its place."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recurra.data.inputs import in_chunks
from recurra.data.records import Record
from recurra.errors import DataError
from recurra.training.task import Task

CHUNK = 1024  # inputs that are held at a time


def predictions(
    task: type[Task[Any, Any]],
    model: Any,
    records: Iterable[Record],
    *,
    first: int = 0,
    **options: Any,
) -> Iterator[list[tuple[Record, Any]]]:
    """Each input with what the model makes of it, some at a time, in their order.

    Args:
        first: how many inputs there were before these, where what is drawn depends on that.
        options: of the model's `predict`.
    Raises:
        DataError: where the model cannot read one, naming its place.
    """
    series, empty = not task.reads_texts(model), task.takes_empty
    for some in in_chunks(records, CHUNK, series=series, may_be_empty=empty):
        said = _predicted(model, some, options, first if task.draws else None)
        yield list(zip(some, said, strict=True))
        first += len(some)


def _predicted(
    model: Any, some: list[Record], options: Mapping[str, Any], first: int | None
) -> list[Any]:
    drawn = {} if first is None else {"first": first}
    try:
        return model.predict([record.value for record in some], **options, **drawn)
    except (DataError, ValueError) as error:
        name, colon, rest = str(error).partition(": expected ")
        if name.strip("-=").replace("-", "_") in options:  # which is of no input
            raise
        if len(some) > 1:  # one by one, to know which it was
            places = [None if first is None else first + n for n in range(len(some))]
            return [
                said
                for record, place in zip(some, places, strict=True)
                for said in _predicted(model, [record], options, place)
            ]
        raise DataError(f"{some[0].place}{colon}{rest}" if colon else str(error)) from error

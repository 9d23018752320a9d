"""Pictures decoded ahead of need by threads, in their order; damaged ones are left out, or refused.

What comes out, and in which order, does not depend on how many threads there are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recurra.data.captions import CaptionData, Captioned
from recurra.data.defects import Defect, Defects
from recurra.errors import DataError
from recurra.vision import check_picture, open_picture
from recurra.vision.pictures import require_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

WORKERS = 2  # threads that decode while one trains
_AHEAD = 4  # items of each thread that are begun before they are asked for

DAMAGED = Defect(
    many="pictures that cannot be read are left out",
    one="picture that cannot be read is left out",
    expected="pictures that can be read",
)

ItemT = TypeVar("ItemT")
MadeT = TypeVar("MadeT")


def ahead(
    items: Iterable[ItemT], make: Callable[[ItemT], MadeT], *, workers: int = WORKERS
) -> Iterator[tuple[ItemT, MadeT | DataError]]:
    """Each item with what is made of it, in order, made by threads before it is asked for.

    Args:
        items: in any number; only some are taken at a time.
        make: called in a thread for one item; Pillow and numpy let others run meanwhile.
        workers: threads; 0 makes each when it is asked for.
    Returns:
        The item, and what was made or the DataError that was raised; others are raised here.
    Raises:
        ValueError: with fewer than 0 workers.
    """
    if workers < 0:
        raise ValueError(f"workers: expected 0 or more, got {workers}. 2 decode ahead of need.")
    if workers == 0:
        for item in items:
            yield item, _tried(make, item)
        return
    rest = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="recurra-decoding")
    waiting: deque[tuple[ItemT, Future[MadeT | DataError]]] = deque()
    try:
        for item in islice(rest, workers * _AHEAD):
            waiting.append((item, pool.submit(_tried, make, item)))
        while waiting:
            item, made = waiting.popleft()
            found = made.result()
            for following in islice(rest, 1):
                waiting.append((following, pool.submit(_tried, make, following)))
            yield item, found
    finally:  # whoever asks may stop before the end
        pool.shutdown(wait=True, cancel_futures=True)


def _tried(make: Callable[[ItemT], MadeT], item: ItemT) -> MadeT | DataError:
    try:
        return make(item)
    except DataError as error:
        return error


def decoded(
    pictures: Iterable[Captioned],
    make: Callable[["Image"], MadeT],
    defects: Defects,
    *,
    workers: int = WORKERS,
) -> Iterator[tuple[Captioned, MadeT]]:
    """What is made of each picture that can be read, in their order.

    Args:
        pictures: with a file or an array each.
        make: of an image of Pillow in RGB; a `Preprocessing` gives the numbers of an encoder.
        defects: counts those that cannot be read.
        workers: threads that decode and call `make`.
    Raises:
        DataError: when one cannot be read and `defects` is strict.
        ModuleNotFoundError: without Pillow.
    """

    def read(each: Captioned) -> MadeT:
        return make(opened(each))

    for each, found in ahead(pictures, read, workers=workers):
        if isinstance(found, DataError):
            add_error(defects, DAMAGED, found)
        else:
            yield each, found


def opened(each: Captioned) -> "Image":
    """The picture of one, in RGB.

    Raises:
        DataError: when it cannot be read, or was not looked for.
        ModuleNotFoundError: without Pillow.
    """
    if isinstance(each.image, Path):
        return open_picture(each.image)
    if each.image is None:
        raise DataError(
            f"{each.name}: expected a picture, got its captions alone. Read them with their images."
        )
    require_pillow()
    from PIL import Image

    return Image.fromarray(np.asarray(each.image)).convert("RGB")


def add_error(defects: Defects, kind: Defect, error: DataError) -> None:
    """Count what an error says, or raise it where nothing is to be left out."""
    if defects.strict:
        raise error
    place, _, said = str(error).partition(": ")
    defects.add(kind, place, said.partition(" got ")[2].rpartition(". ")[0] or said)


def without_damaged(
    data: CaptionData, *, strict: bool = False, whole: bool = True, workers: int = WORKERS
) -> CaptionData:
    """The data without pictures that cannot be read: which they are is known before training.

    Args:
        data: as `read_captions` gives it.
        strict: whether one that cannot be read is an error.
        whole: whether each is decoded to its end; otherwise only headers are read, which finds
            what is no picture or too large, and not what is cut short.
        workers: threads.
    Raises:
        DataError: when one cannot be read and that is to be an error; when a part has none left.
    Cost: a JPEG of 500 x 375 takes about 2 ms of a core, a header 0.1 ms.
    """
    defects = Defects(strict=strict)

    def check(each: Captioned) -> Any:
        if whole or not isinstance(each.image, Path):
            opened(each)
        else:
            check_picture(each.image)

    parts: Mapping[str, Sequence[Captioned]] = {}
    for part, pictures in data.parts.items():
        kept: list[Captioned] = []
        for each, found in ahead(pictures, check, workers=workers):
            if isinstance(found, DataError):
                add_error(defects, DAMAGED, found)
            else:
                kept.append(each)
        if not kept:
            raise DataError(
                f"{pictures[0].place}: expected pictures that can be read for {part}, got none: "
                f"{defects.notes[0]}. Copy them again."
            )
        parts[part] = tuple(kept)
    return replace(data, parts=parts, notes=(*data.notes, *defects.notes))

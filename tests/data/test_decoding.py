"""Pictures decoded ahead: in order, alike however many threads, damaged ones out or refused."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from recurra.data.captions import Captioned, read_captions
from recurra.data.decoding import ahead, decoded, without_damaged
from recurra.data.defects import Defects
from recurra.errors import DataError

Image = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_items_come_in_order_and_are_begun_before_they_are_asked_for(workers: int) -> None:
    begun: list[int] = []

    def make(item: int) -> int:
        begun.append(item)
        time.sleep(0.002 * (item % 3))
        if item == 5:
            raise DataError("five")
        return item * item

    found = ahead(range(40), make, workers=workers)
    number, made = next(found)
    assert (number, made) == (0, 0)
    deadline = time.monotonic() + 10
    while len(begun) < 1 + 4 * workers and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(begun) == 1 + 4 * workers  # and no more than that
    rest = list(found)
    assert [number for number, _ in rest] == list(range(1, 40))
    assert [str(made) for _, made in rest] == [
        "five" if n == 5 else str(n * n) for n in range(1, 40)
    ]


def test_who_stops_early_leaves_no_thread_behind() -> None:
    found = ahead(range(1000), abs, workers=2)
    next(found)
    found.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("recurra-decoding")]


def test_other_errors_are_raised_where_the_item_is_asked_for() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ahead([1, 0], lambda item: 1 / item, workers=1))
    with pytest.raises(ValueError, match="workers: expected 0 or more, got -1"):
        list(ahead([1], abs, workers=-1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of all kinds, one cut short and one that is none."""
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    noise.save(tmp_path / "a.png")
    noise.convert("L").save(tmp_path / "b.jpg")
    noise.convert("CMYK").save(tmp_path / "c.jpg")
    noise.save(tmp_path / "d.jpg")
    whole = (tmp_path / "d.jpg").read_bytes()
    (tmp_path / "d.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "e.jpg").write_text("no picture")
    noise.convert("RGBA").save(tmp_path / "f.png")
    (tmp_path / "captions.tsv").write_text(
        "image\tcaption\n" + "".join(f"{name}\tone\n" for name in
                                     ("a.png", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.png"))
    )  # fmt: skip
    return tmp_path


def test_damaged_pictures_are_named_and_left_out_or_refused(folder: Path) -> None:
    data = read_captions(folder, draw=False)
    kept = without_damaged(data)
    assert [each.name for each in kept.parts["train"]] == ["a.png", "b.jpg", "c.jpg", "f.png"]
    (note,) = kept.notes
    assert note.startswith(
        f"2 pictures that cannot be read are left out, the first: {folder}/d.jpg: one that is cut "
        "short or damaged"
    )
    assert "\n" not in note
    headers = without_damaged(data, whole=False)
    assert [each.name for each in headers.parts["train"]] == [
        "a.png", "b.jpg", "c.jpg", "d.jpg", "f.png",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"d.jpg: expected a whole picture, got one that is cut"):
        without_damaged(data, strict=True)


def test_nothing_that_can_be_read(folder: Path) -> None:
    (folder / "captions.tsv").write_text("image\tcaption\ne.jpg\tone\n")
    with pytest.raises(DataError, match="expected pictures that can be read for train, got none"):
        without_damaged(read_captions(folder, draw=False))


def test_what_is_made_does_not_depend_on_threads(folder: Path) -> None:
    pictures = read_captions(folder, draw=False).parts["train"]
    each: list[list[tuple[str, np.ndarray]]] = []
    for workers in (0, 1, 3):
        defects = Defects()
        found = decoded(pictures, np.asarray, defects, workers=workers)
        each.append([(one.name, pixels) for one, pixels in found])
        assert defects.count == 2
    for other in each[1:]:
        assert [name for name, _ in other] == [name for name, _ in each[0]]
        assert all((a == b).all() for (_, a), (_, b) in zip(each[0], other, strict=True))
    assert each[0][0][1].shape == (30, 40, 3)


def test_pictures_in_memory_and_none() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    inside = Captioned(name="a", image=pixels, captions=("x",), part="train")
    [(_, read)] = decoded([inside], np.asarray, Defects())
    assert (read == pixels).all()
    without = Captioned(name="b", image=None, captions=("x",), part="train")
    with pytest.raises(DataError, match="b: expected a picture, got its captions alone"):
        list(decoded([without], np.asarray, Defects(strict=True)))

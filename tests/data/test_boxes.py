"""Boxes of pictures from files, and where they are in what a model sees."""

import json
from pathlib import Path

import numpy as np
import pytest

from recurra.data.boxes import boxes_of, read_boxes, with_boxes
from recurra.data.captions import CaptionData, Captioned
from recurra.errors import DataError

EXPECTED = {"a.jpg": [[1, 2, 11, 22], [0, 0, 5, 5]], "b.jpg": [[3, 4, 5, 6]]}
ROWS = [(name, *box) for name, each in EXPECTED.items() for box in each]
LINES = [",".join(map(str, row)) for row in ROWS]


def coco() -> str:
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}]
    number = {"a.jpg": 7, "b.jpg": 9}
    annotations = [
        {"image_id": number[name], "bbox": [x, y, right - x, bottom - y]}
        for name, x, y, right, bottom in ROWS
    ]
    return json.dumps({"images": images, "annotations": annotations})


FILES = {
    "boxes.csv": "image,left,top,right,bottom\n" + "\n".join(LINES),
    "bare.csv": "\n".join(LINES) + "\n\n",
    "more.tsv": "score\tRight\tbottom\ttop\tleft\timage\n"
    + "\n".join(f"0.9\t{r}\t{b}\t{t}\t{x}\t{name}" for name, x, t, r, b in ROWS),
    "rows.jsonl": "\n".join(
        json.dumps(dict(zip(("image", "left", "top", "right", "bottom"), row, strict=True)))
        for row in ROWS
    ),
    "all.jsonl": "\n".join(
        json.dumps({"image": name, "boxes": each}) for name, each in EXPECTED.items()
    ),
    "instances.json": coco(),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    found = read_boxes(path)
    assert {name: each.tolist() for name, each in found.items()} == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "image,left,top,right\nx.jpg,1,2,3", "bottom is missing"),
        ("a.csv", "x.jpg,1,2,3", "line 1: expected a box"),
        ("a.csv", f"{LINES[0]}\nb.jpg,5,0,4,9", "line 2: expected a box, .* got .'5', '0'"),
        ("a.csv", f"{LINES[0]}\nb.jpg,5,0,nan,9", "line 2: expected a box"),
        ("a.csv", f"{LINES[0]}\nb.jpg,1,2,3,4,5", "line 2: expected 5 columns.* got 6"),
        ("a.csv", f'{LINES[0]}\n"b.jpg,1,2,3,4', "line 2: expected a row of a table"),
        ("a.csv", "image,left,top,right,bottom\n", "expected boxes of pictures, got none"),
        ("a.jsonl", '{"image": 3, "boxes": []}', "line 1: expected the name of a picture as image"),
        ("a.jsonl", '{"image": "a.jpg", "boxes": 3}', "expected a list of boxes, got 3"),
        ("a.json", '{"images": []}', "expected COCO's instances"),
        ("a.json", "[", "expected COCO's instances"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        read_boxes(path)
    assert str(raised.value).startswith(str(path))


def test_pictures_find_their_boxes_by_name() -> None:
    boxes = {name: np.array(each) for name, each in EXPECTED.items()}
    pictures = [
        Captioned(name=name, image=None, captions=("a dog",), part="train")
        for name in ("folder/a.jpg", "b.jpg", "c.jpg")
    ]
    data = with_boxes(CaptionData(parts={"train": pictures}), boxes, "boxes.csv")
    counts = [0 if each.boxes is None else len(each.boxes) for each in data.parts["train"]]
    assert counts == [2, 1, 0]
    assert data.notes == ("no boxes of 1 of 3 pictures: their region is the whole picture",)
    assert boxes_of("other\\b.jpg", boxes) is not None
    with pytest.raises(DataError, match=r"boxes.csv: expected boxes of the pictures .* c.jpg"):
        with_boxes(CaptionData(parts={"train": pictures[2:]}), boxes, "boxes.csv")


def test_pictures_of_one_name_in_two_folders_have_their_own() -> None:
    boxes = {"a/1.jpg": np.array([[0, 0, 1, 1]]), "b/1.jpg": np.array([[2, 2, 3, 3]])}
    for folder in ("", "some/", "/other/some/", "some\\"):
        for name, own in boxes.items():
            assert boxes_of(f"{folder}{name}", boxes) is own
    assert boxes_of("c/1.jpg", boxes) is None
    pictures = [
        Captioned(name=name, image=None, captions=("a dog",), part="train") for name in boxes
    ]
    data = CaptionData(parts={"train": pictures})
    found = with_boxes(data, boxes, "boxes.csv").parts["train"]
    assert [each.boxes.tolist() for each in found] == [[[0, 0, 1, 1]], [[2, 2, 3, 3]]]
    with pytest.raises(DataError, match=r"got 1.jpg for both a/1.jpg and b/1.jpg. Write the fold"):
        with_boxes(data, {"1.jpg": boxes["a/1.jpg"]}, "boxes.csv")

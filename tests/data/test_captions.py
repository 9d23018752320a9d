"""Pictures with captions: COCO, Karpathy's splits, Flickr8k, tables, and what is wrong in them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from recurra.data.caption_files import CaptionColumns
from recurra.data.captions import CaptionData, Captioned, read_captions
from recurra.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    """Files of these names; the readers of captions look whether they are there, not into them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def sizes(found: CaptionData) -> dict[str, int]:
    return {part: len(each) for part, each in found.parts.items()}


def one(found: CaptionData, part: str = "train") -> Captioned:
    (found,) = found.parts[part]
    return found


def coco(path: Path, images: list[Any], annotations: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "info": {"year": 2014},
        "licenses": [],
        "images": [{"license": 5, "height": 480, **each} for each in images],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))
    return path


def test_coco_with_its_folders(tmp_path: Path) -> None:
    for part, number in (("train", 9), ("val", 42)):
        name = f"COCO_{part}2014_{number:012}.jpg"
        touch(tmp_path / f"{part}2014", name)
        touch(tmp_path / "annotations", f"instances_{part}2014.json")
        coco(
            tmp_path / "annotations" / f"captions_{part}2014.json",
            [{"id": number, "file_name": name}],
            [{"image_id": number, "id": 1, "caption": "A  dog\n"},
             {"image_id": number, "id": 2, "caption": "A cat"}],
        )  # fmt: skip
    found = read_captions(tmp_path, draw=False)
    assert sizes(found) == {"train": 1, "val": 1}
    read = one(found, "val")
    assert read.captions == ("A dog", "A cat")
    assert read.image == tmp_path / "val2014" / "COCO_val2014_000000000042.jpg"
    assert read.place.endswith("captions_val2014.json, annotations[0]")
    alone = read_captions(
        tmp_path / "annotations/captions_train2014.json",
        val_data=tmp_path / "annotations/captions_val2014.json",
        images=tmp_path,
        draw=False,
    )
    assert sizes(alone) == {"train": 1, "val": 1}


def karpathy(path: Path, *images: tuple[str, str, str, list[Any]]) -> Path:
    entries = [
        {"filepath": folder, "filename": name, "imgid": number, "split": split,
         "sentids": [0], "sentences": sentences}
        for number, (folder, name, split, sentences) in enumerate(images)
    ]  # fmt: skip
    path.write_text(json.dumps({"dataset": "coco", "images": entries}))
    return path


def test_karpathys_splits(tmp_path: Path) -> None:
    raw = [{"raw": "A dog.", "tokens": ["a", "dog"], "imgid": 0, "sentid": 0}]
    path = karpathy(
        tmp_path / "dataset_coco.json",
        ("train2014", "a.jpg", "train", raw),
        ("val2014", "a.jpg", "restval", [{"tokens": ["a", "cat"]}]),
        ("val2014", "b.jpg", "val", raw),
        ("val2014", "c.jpg", "test", raw),
    )
    touch(tmp_path, "train2014/a.jpg", "val2014/a.jpg", "val2014/b.jpg", "val2014/c.jpg")
    found = read_captions(path)
    assert sizes(found) == {"train": 2, "val": 1, "test": 1}
    first, second = found.parts["train"]
    assert (first.image, second.image) == (
        tmp_path / "train2014/a.jpg",
        tmp_path / "val2014/a.jpg",
    )
    assert (first.captions, second.captions) == (("A dog.",), ("a cat",))
    assert found.notes == ()


@pytest.fixture
def flickr(tmp_path: Path) -> Path:
    rows = [f"{n}.jpg#{k}\tPicture {n} , caption {k} ." for n in "abcde" for k in range(2)]
    rows[8] = rows[8].replace("e.jpg", "e.jpg.1")
    text = "".join(f"{row}\n" for row in rows).encode()
    (tmp_path / "Flickr8k.token.txt.gz").write_bytes(gzip.compress(text))
    for part, names in (("train", "ac"), ("dev", "b"), ("test", "e")):
        lines = "".join(f"{name}.jpg\n" for name in names)
        (tmp_path / f"Flickr_8k.{part}Images.txt").write_text(lines)
    return touch(tmp_path, *(f"Flicker8k_Dataset/{name}.jpg" for name in "abcde"))


def test_flickr8k_with_its_lists(flickr: Path) -> None:
    found = read_captions(flickr)
    assert sizes(found) == {"train": 2, "val": 1, "test": 1}
    assert [each.name for each in found.parts["train"]] == ["a.jpg", "c.jpg"]
    assert one(found, "test").captions == ("Picture e , caption 0 .", "Picture e , caption 1 .")
    assert one(found, "test").image == flickr / "Flicker8k_Dataset" / "e.jpg"
    form, unlisted = (note.replace(f"{flickr}/", "") for note in found.notes)
    assert form == (
        "1 name out of form is read without its end: Flickr8k.token.txt.gz, line 9: e.jpg.1, "
        "read as e.jpg"
    )
    assert unlisted == (
        "1 picture that is in no list of a part is left out: Flickr8k.token.txt.gz, line 7: d.jpg"
    )
    assert read_captions(flickr, strict=True).notes == found.notes  # neither loses anything
    assert list(read_captions(flickr, with_images=False).captions("val")) == [
        "Picture b , caption 0 .",
        "Picture b , caption 1 .",
    ]


@pytest.mark.medium
def test_all_of_flickr8ks_text(real_data: Path, tmp_path: Path) -> None:
    found = read_captions(real_data / "flickr8k_text", with_images=False)
    assert sizes(found) == {"train": 6000, "val": 1000, "test": 1000}
    assert all(len(each.captions) == 5 for part in found.parts.values() for each in part)
    form, unlisted = found.notes
    assert "2258277193_586949ec62.jpg.1, read as 2258277193_586949ec62.jpg" in form
    assert unlisted.startswith("92 pictures that are in no list of a part are left out")
    file = "Flickr8k.token.txt.gz"
    (tmp_path / file).symlink_to(real_data / "flickr8k_text" / file)  # without the lists
    alone = read_captions(tmp_path, with_images=False, draw=False)
    assert sizes(alone) == {"train": 8092}
    assert sum(1 for _ in alone.captions("train")) == 40_460


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.tsv", "image\tcaption\na.jpg\tA \"dog\" runs, fast\na.jpg\tA dog\n"),
        ("captions.tsv", "a.jpg\tA \"dog\" runs, fast\na.jpg\tA dog\n"),
        ("captions.csv", 'caption,image\n"A ""dog"" runs, fast",a.jpg\nA dog,a.jpg\n'),
        ("captions.txt", 'image,caption\na.jpg,"A ""dog"" runs, fast"\na.jpg,A dog\n'),
        ("results.csv", "image_name| comment_number| comment\n"
         "a.jpg| 0| A \"dog\" runs, fast\na.jpg| 1| A dog\n"),
        ("captions.json", '[{"image": "a.jpg", "caption": "A \\"dog\\" runs, fast"}, '
         '{"image": "a.jpg", "caption": "A dog"}]'),
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": ["A \\"dog\\" runs, fast", "A dog"]}\n'),
    ],
)  # fmt: skip
def test_a_table(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    touch(tmp_path, "a.jpg")
    found = one(read_captions(tmp_path, draw=False))
    assert (found.name, found.captions) == ("a.jpg", ('A "dog" runs, fast', "A dog"))
    assert found.image == tmp_path / "a.jpg"


@pytest.mark.parametrize(("sign", "line"), [(",", 3), ("|", 3)])
def test_a_quote_that_is_never_closed_does_not_take_the_rows_behind_it(
    tmp_path: Path, sign: str, line: int
) -> None:
    rows = ["image,caption", "a.jpg,A dog", 'a.jpg,"A cat', "b.jpg,A bird", "c.jpg,A fish"]
    path = tmp_path / "captions.csv"
    path.write_text("\n".join(rows).replace(",", sign) + "\n")
    with pytest.raises(DataError, match=f"line {line}: expected a row of a table"):
        read_captions(path, with_images=False)


def test_between_bars_a_quote_stands_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text('image_name| comment\na.jpg| "Hello" says a man\n')
    found = read_captions(path, draw=False, with_images=False)
    assert one(found).captions == ("Hello says a man",)


def test_columns_by_name_and_number_and_of_parts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,who,said,split\na.png,x,one,train\nb.png,x,two,val2014\nc.png,x,tri,test\n")
    for columns in (
        CaptionColumns(image="id", caption="said"),
        CaptionColumns(image="1", caption="3"),
    ):
        found = read_captions(path, columns=columns, with_images=False)
        assert {part: one(found, part).captions for part in found.parts} == {
            "train": ("one",), "val": ("two",), "test": ("tri",),
        }  # fmt: skip


def test_files_of_parts(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        (tmp_path / f"{part}.tsv").write_text(f"image\tcaption\n{part}.png\tof {part}\n")
    (tmp_path / "unseen.tsv").write_text("image\tcaption\nx.png\tof none\n")
    touch(tmp_path / "images", "train.png", "val.png", "test.png")
    found = read_captions(tmp_path)
    assert {part: one(found, part).captions for part in found.parts} == {
        part: (f"of {part}",) for part in ("train", "val", "test")
    }
    assert found.notes == ("left out, in no part: unseen.tsv",)


def test_pictures_are_drawn_whole_and_alike_each_time(tmp_path: Path) -> None:
    lines = "".join(f"{n}.jpg\t{k}\n" for k in range(3) for n in range(40))
    (tmp_path / "captions.tsv").write_text(lines)
    found = read_captions(tmp_path, with_images=False)
    again = read_captions(tmp_path, with_images=False)
    assert sizes(found) == {"train": 36, "val": 2, "test": 2}
    for part, each in found.parts.items():
        assert [one.name for one in each] == [one.name for one in again.parts[part]]
        assert all(one.captions == ("0", "1", "2") and one.part == part for one in each)
    assert found.notes == ("drawn, seed 0: val 5%, test 5%",)


def test_what_is_wrong_is_counted_and_left_out_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text("a.jpg\tone\nb.jpg\ttwo\na.jpg\t \nc.jpg\t\nd.jpg\tfour\n")
    touch(tmp_path, "a.jpg", "c.jpg")
    found = read_captions(tmp_path, draw=False)
    assert one(found).captions == ("one",)
    assert [note.replace(f"{tmp_path}", "F") for note in found.notes] == [
        "2 captions that are empty are left out, the first: F/captions.tsv, line 3: none for a.jpg",
        "1 picture without a caption is left out: F/captions.tsv, line 4: none of c.jpg",
        "2 pictures that are not there are left out, the first: F/captions.tsv, line 2: no b.jpg "
        "below F",
    ]
    with pytest.raises(DataError) as error:
        read_captions(tmp_path, draw=False, strict=True)
    assert str(error.value).replace(f"{tmp_path}", "F") == (
        "F/captions.tsv, line 3: expected a caption, got none for a.jpg. Correct it, or leave out "
        "strict=True to go on without it."
    )


def test_coco_that_does_not_fit_together(tmp_path: Path) -> None:
    path = coco(
        tmp_path / "captions_train.json",
        [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        [{"image_id": 1, "caption": "x"}, {"image_id": 3, "caption": "y"}],
    )
    found = read_captions(path, with_images=False, draw=False)
    assert [each.name for each in found.parts["train"]] == ["a.jpg"]
    assert [note.replace(f"{path}", "F") for note in found.notes] == [
        "1 caption of a picture that is not in the list of pictures is left out: "
        "F, annotations[1]: the id 3, which no image has",
        "1 picture without a caption is left out: F, images[1]: none of b.jpg",
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.tsv": "x.jpg\tone\tmore\nb.jpg\ttwo\tmore\n"},
         "a.tsv, line 1: expected a column of pictures and one of captions, got 1, 2, 3. Name it"),
        ({"a.csv": "image,caption\nx.jpg,one, two\n"},
         "a.csv, line 2: expected 2 columns, of pictures and captions, got 3"),
        ({"a.token": "x.jpg#0\tone\nx.jpg two\n"},
         "a.token, line 2: expected NAME.jpg#0, a tab and a caption, got 'x.jpg two'"),
        ({"a.json": '{"images": ['}, "a.json: expected JSON, got: "),
        ({"a.json": '{"info": 1}'},
         'a.json: expected captions as COCO has them, with "images" and "annotations"'),
        ({"a.json": '{"images": [{"id": 1, "file_name": "x"}]}'},
         'a.json: expected "annotations" beside "images", or "sentences" in each of them'),
        ({"a.json": '{"images": [{"id": 1, "file_name": "x"}, {"id": 1, "file_name": "y"}], '
          '"annotations": []}'},
         "a.json, images[1]: expected each picture once, got the id 1 of x again"),
        ({"a.json": '{"images": [], "annotations": [{"image_id": 1, "bbox": []}]}'},
         'a.json, annotations[0]: expected a "caption", got image_id, bbox. Instances'),
        ({"a.json": '{"images": [{"filename": "x", "split": "tran", "sentences": []}]}'},
         "a.json, images[0]: expected a part, train, training, restval, val"),
        ({"a.json": "{}", "b.tsv": ""}, ": expected one file of captions, or one for each part, "
         "got a.json, b.tsv. Name the file, data="),
        ({"a.csv": "image,caption,image\nx.jpg,one,y.jpg\n"},
         "a.csv: expected columns of different names, got 'image' twice. Rename one."),
        ({"a.jsonl": '{"image": "x.jpg", "caption": 7}\n'},
         "a.jsonl, line 1: expected a text or several as caption, got 7. Correct it, or name"),
        ({"a.jsonl": '{"image": null, "caption": "one"}\n'},
         "a.jsonl, line 1: expected the name of a picture as image, got None. Correct it, or name"),
        ({"a.json": '{"images": [{"id": 1}], "annotations": []}'},
         'a.json, images[0]: expected an entry "file_name", got none. Correct the file.'),
        ({"a.md": ""}, ": expected one file of captions, or one for each part, got none"),
        ({"train.tsv": "x.jpg\tone\n", "val.tsv": "x.jpg\tone\n"},
         "val.tsv, line 1: expected x.jpg in one part, got it in val and, at train.tsv, line 1, "
         "in train. Leave one out."),
        ({"a.tsv": "x.jpg\tone\n", "train.txt": "x.jpg\n", "test.txt": "x.jpg\n"},
         "train.txt, line 1: expected x.jpg in one part, got it in train and, at test.txt, line 1"),
        ({"a.tsv": "x.jpg\tone\n", "p/x.jpg": "", "q/x.jpg": ""},
         "a.tsv, line 1: expected one picture x.jpg below , got p/x.jpg, q/x.jpg. Write its path"),
        ({"a.tsv": "x.jpg\tone\n"},
         "a.tsv: expected pictures with captions for train, got none that can be used: 1 picture "
         "that is not there is left out: a.tsv, line 1: no x.jpg below . Check images="),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        touch(tmp_path, name)
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as error:
        read_captions(tmp_path)
    said = str(error.value).replace(f"{tmp_path}/", "").replace(f"{tmp_path}", "")
    assert message in said
    assert "\n" not in said


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("x.jpg\tone\n")
    with pytest.raises(DataError, match="expected other captions for val than to train on"):
        read_captions(path, val_data=path)
    with pytest.raises(DataError, match="expected a folder of pictures, got no such folder"):
        read_captions(path, images=tmp_path / "no")
    with pytest.raises(DataError, match=r"no\.tsv: expected a file of captions or a folder"):
        read_captions(tmp_path / "no.tsv")
    with pytest.raises(DataError, match=r"image_column=z: expected a column, of 1, 2, got none"):
        read_captions(path, columns=CaptionColumns(image="z"), with_images=False)

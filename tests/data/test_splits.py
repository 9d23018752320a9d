"""Labelled data in three parts: from files of their own or drawn, and looked through before use."""

import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from recurra.data.splits import LabelledData, read_labelled, read_part
from recurra.errors import DataError

NAN = float("nan")


def lines(counts: dict[str, int], start: int = 0) -> str:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return "".join(f"text number {n + start}\t{label}\n" for n, label in enumerate(labels))


def write(folder: Path, **files: str) -> Path:
    """Each file under its name, "a_tsv" for a.tsv, "train__pos__1_txt" for train/pos/1.txt."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def texts(data: LabelledData) -> dict[str, list[tuple[str, str]]]:
    return {
        name: [(v, data.classes[n]) for v, n in zip(part.values(), part.labels, strict=True)]
        for name, part in data.parts.items()
    }


# ---- where the parts come from -------------------------------------------------------------------


def test_one_file_is_drawn_by_class(tmp_path: Path) -> None:
    path = write(tmp_path, a_tsv=lines({"x": 100, "y": 30, "z": 4})) / "a.tsv"
    data = read_labelled(path)
    parts = texts(data)
    everything = [pair for own in parts.values() for pair in own]
    assert len(everything) == len(set(everything)) == 134  # each example in one part
    counts = {name: Counter(label for _, label in own) for name, own in parts.items()}
    assert counts["val"] == counts["test"] == {"x": 10, "y": 3, "z": 1}
    for part in data.parts.values():
        assert (np.diff(part.chosen) > 0).all()  # in the order of the file
    assert data.notes[-1] == "drawn by class, seed 0: val 10%, test 10%"
    assert texts(read_labelled(path)) == parts
    assert texts(read_labelled(path, seed=1)) != parts
    most = read_labelled(path, shares=(0.2, 0.4, 0.4))
    assert [len(most.parts[n]) for n in ("train", "val", "test")] == [27, 54, 53]


def test_a_part_with_a_file_of_its_own_is_not_drawn(tmp_path: Path) -> None:
    write(tmp_path, a_tsv=lines({"x": 50, "y": 50}), b_tsv=lines({"y": 2, "x": 1}, 1000))
    data = read_labelled(str(tmp_path / "a.tsv"), test_data=tmp_path / "b.tsv")
    assert [len(part) for part in data.parts.values()] == [90, 10, 3]
    assert texts(data)["test"][0] == ("text number 1000", "y")


@pytest.mark.parametrize(
    "names",
    [
        ("train_tsv", "dev_tsv", "test_tsv"),
        ("Sick-Training_csv", "Sick-validation_csv", "Sick-TEST_csv"),
    ],
)
def test_a_folder_may_have_a_file_for_each_part(tmp_path: Path, names: tuple[str, ...]) -> None:
    content = lines({"x": 3, "y": 3})
    content = content.replace("\t", ",") if "csv" in names[0] else content
    write(tmp_path, **dict.fromkeys(names, content), README_md="no data")
    data = read_labelled(tmp_path)
    assert [len(part) for part in data.parts.values()] == [6, 6, 6]
    assert data.val.records.where.endswith(names[1].replace("_", "."))


def test_a_folder_may_have_a_folder_of_classes_for_each_part(tmp_path: Path) -> None:
    for part, count in {"train": 4, "test": 2}.items():
        for label in ("neg", "pos"):
            for n in range(count):
                write(tmp_path / part / label, **{f"{n}_txt": f"{part} {label} {n}\n"})
    data = read_labelled(tmp_path)
    assert [len(part) for part in data.parts.values()] == [6, 2, 4]
    assert texts(data)["test"][0] == ("test neg 0", "neg")


def test_a_folder_of_classes_leaves_out_what_is_no_example(tmp_path: Path) -> None:
    for label in ("down", "up"):
        for n in range(4):
            write(tmp_path / label, **{f"{n}_CSV": f"1,2\n3,{n}\n"})
    write(tmp_path, README_md="x")
    write(tmp_path / "up" / ".ipynb_checkpoints", **{"1_CSV": "9,9\n"})
    (tmp_path / ".hidden").mkdir()
    np.save(tmp_path / "up" / "5.npy", np.ones((3, 2)))
    (tmp_path / "up" / "._0.CSV").write_text("x")
    (tmp_path / "up" / "6.csv.gz").write_bytes(gzip.compress(b"1,2\n"))
    data = read_labelled(tmp_path, shares=(0.4, 0.3, 0.3))
    assert data.classes == ("down", "up")
    assert data.num_channels == 2
    assert sum(len(part) for part in data.parts.values()) == 10
    assert data.beside == (".hidden", "README.md", "up/._0.CSV", "up/.ipynb_checkpoints")
    assert all(value.dtype == np.float32 for value in data.train.values())


def test_series_of_tables_keep_the_names_of_their_channels(tmp_path: Path) -> None:
    for label in ("down", "up"):
        write(tmp_path / label, **{f"{n}_csv": "speed,height\n1,2\n" for n in range(4)})
    assert read_labelled(tmp_path).channels == ("speed", "height")


def test_texts_of_numbers_are_remarked_on(tmp_path: Path) -> None:
    for label in ("down", "up"):
        write(tmp_path / label, **{f"{n}_txt": "0.5,-1.25\n2,3e-4\n" for n in range(3)})
    assert read_labelled(tmp_path).notes[1] == (
        "0.txt holds numbers, taken as a text: call such files .csv to read series"
    )


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    write(tmp_path, a_tsv=lines({"x": 5, "y": 5}), b_tsv=lines({"z": 10}, 100))
    data = read_labelled([tmp_path / "a.tsv", tmp_path / "b.tsv"])
    assert data.classes == ("x", "y", "z")
    assert sum(len(part) for part in data.parts.values()) == 20


def test_lists_and_arrays_are_data_too() -> None:
    data = read_labelled((["good", "bad", "so"] * 4, [1, 0, 1] * 4))
    assert data.classes == ("0", "1")
    images = np.arange(2 * 10 * 8 * 4).reshape(20, 8, 4)
    digits = read_labelled((images, np.arange(20) % 2 + 9))
    assert digits.classes == ("9", "10")  # numbers in the order of numbers
    assert digits.num_channels == 4
    assert {value.shape for value in digits.train.values()} == {(8, 4)}
    tensors = read_labelled((torch.from_numpy(images), torch.arange(20) % 2 + 9))
    assert tensors.classes == ("9", "10")
    flat = read_labelled((images.reshape(20, 32), np.arange(20) % 2))
    assert flat.num_channels == 1


def test_classes_keep_the_order_that_a_file_declares(tmp_path: Path) -> None:
    series = "".join(f"{n},1:{label}\n" for label in ("up", "down") for n in range(4))
    header = "@classLabel true up sideways down\n@data\n"
    write(tmp_path, W_ts=header + series)
    assert read_labelled(tmp_path / "W.ts").classes == ("up", "down")  # sideways has no example


def test_a_part_alone_has_the_classes_that_are_known(tmp_path: Path) -> None:
    write(tmp_path, train_tsv=lines({"x": 5, "y": 5}), test_tsv=lines({"y": 2, "z": 2}))
    part = read_part(tmp_path, ("z", "y", "x"))
    assert part.labels.tolist() == [1, 1, 0, 0]
    assert part.describe(("z", "y", "x")).classes == {"y": 2, "z": 2}
    assert len(read_part(tmp_path / "train.tsv", ("x", "y"), name="val")) == 10
    with pytest.raises(DataError, match=r"the classes of training \('x', 'y'\), got 'z', first at"):
        read_part(tmp_path, ("x", "y"))


# ---- what an example becomes ---------------------------------------------------------------------


def test_examples_are_encoded_in_their_order() -> None:
    data = read_labelled((["a", "bb", "ccc"] * 4, ["x", "y", "z"] * 4))
    encoded = list(data.train.encoded(lambda text: np.arange(len(text))))
    assert [(len(ids), label + 1) for ids, label in encoded] == [
        (len(text), len(text)) for text in data.train.values()
    ]
    with pytest.raises(
        DataError, match=r"data, example \d+: expected at least one token, got none"
    ):
        list(data.train.encoded(lambda text: np.arange(len(text) - 1)))


def test_missing_values_are_counted_and_filled() -> None:
    gappy = [[[1.0, NAN], [NAN, 2.0]], [[3.0, 4.0], [5.0, 6.0]]] * 3
    data = read_labelled((gappy, [0, 1] * 3), missing="fill")
    assert sum(part.missing for part in data.parts.values()) == 6
    train = zip(data.train.values(), data.train.labels, strict=True)
    filled = next(value for value, label in train if label == 0)
    np.testing.assert_array_equal(filled, [[1, NAN], [1, 2]])  # the mean stands for what remains


def test_with_fill_what_has_no_text_or_label_is_left_out() -> None:
    data = read_labelled((["a", " ", "b", "c"] * 3, [0, 1, "", 1] * 3), missing="fill")
    assert sum(len(part) for part in data.parts.values()) == 6
    assert data.train.left_out == 6


def test_data_that_shrink_while_they_are_read_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, a_tsv=lines({"x": 5, "y": 5})) / "a.tsv"
    data = read_labelled(path)
    write(tmp_path, a_tsv=lines({"x": 2, "y": 2}))
    with pytest.raises(DataError, match=r"a\.tsv: expected data that keep still, got fewer"):
        list(data.train.values())


# ---- what is wrong with data ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            (["a", "", "b", " "], [0, 1, 0, 1]),
            "data: expected at least one text in every example, got none in 2 of 4, the first at "
            "data, example 1. Correct them, or use missing=fill, which leaves them out.",
        ),
        (
            (["a", "b", "c"], [0, None, 1]),
            "data: expected a label for every example, got none in 1 of 3, the first at data, "
            "example 1.",
        ),
        (
            ([[1.0, NAN], [2.0, 3.0], [NAN, NAN]], [0, 1, 1]),
            "data: expected a number at every step, got 3 missing in 2 of 3, the first at data, "
            "example 0. Correct them, or use missing=fill, which carries the last value forward.",
        ),
        ((["a", "b"], ["x", "x"]), "data: expected examples of two or more classes, got 'x'"),
        (
            (["a", "b", "c", "d"], ["x", "x", "x", "y"]),
            "data: expected 3 or more examples of every class, to draw val and test from them, got "
            "1 of 'y'. Add some, leave the class out, or name files for val_data= and test_data=.",
        ),
        (([[[1.0, 2.0]], [[1.0]]], [0, 1]), "data, example 1: expected a series of 2 channels as"),
        (([[[1.0]], "a"], [0, 1]), "data, example 1: expected a series of 1 channels as"),
        (([], []), "data: expected labelled examples, got none."),
        ((["a", "b"], [1]), "data: expected a label for each of 2 examples, got 1."),
        ([], "data: expected a file or a folder, got an empty list."),
    ],
)  # fmt: skip
def test_bad_data_are_named_before_anything_is_trained(data: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_labelled(data)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_label_that_training_never_has_is_refused(tmp_path: Path) -> None:
    write(tmp_path, train_tsv=lines({"x": 5, "y": 5}), dev_tsv=lines({"x": 2, "Y": 1}))
    with pytest.raises(DataError) as caught:
        read_labelled(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path}/dev.tsv: expected the classes of training ('x', 'y'), got 'Y', first at "
        f"{tmp_path}/dev.tsv, line 3."
    )


def test_one_example_of_a_class_will_do_where_nothing_is_drawn(tmp_path: Path) -> None:
    write(tmp_path, train_tsv=lines({"x": 5, "y": 1}), dev_tsv=lines({"x": 4}))
    write(tmp_path, test_tsv=lines({"x": 1}))  # the columns of training are those of the others
    assert read_labelled(tmp_path).describe().parts[0].classes == {"x": 5, "y": 1}


def test_parts_of_other_channels_are_refused() -> None:
    wide, narrow = np.ones((4, 3, 2)), np.ones((4, 3, 1))
    with pytest.raises(DataError, match="expected a series of 2 channels as in data, got a series"):
        read_labelled((wide, [0, 1] * 2), val_data=(narrow, [0, 1] * 2))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train_tsv": "a\tx\n", "train_csv": "a,x\n"}, "expected one train part, got train.csv, "),
        ({"a__1_txt": "x"}, "expected a sub-folder for each of two or more classes.*got 1"),
        ({"a__1_txt": "x", "b__1_csv": "1,2\n"}, "expected texts or series, got both, such as"),
        ({"a__1_csv": "1,2\n", "b__1_csv": "1\n"}, r"b/1.csv: expected the columns of .*got 1"),
        ({"a__1_csv": "x,y\n1,2\n", "b__1_csv": "y,x\n1,2\n"}, r"\(x, y\), got y, x"),
        ({"a__1_csv": "1,2\n3\n", "b__1_csv": "1,2\n"}, "line 2: expected 2 columns"),
        ({"a__1_csv": "1,?\n", "b__1_csv": "1,2\n"}, "got 1 missing in 1 of 2, the first at"),
        ({"a__1_txt": "", "b__1_txt": "x"}, "at least one text in every.*in 1 of 2"),
    ],
)  # fmt: skip
def test_bad_folders_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labelled(write(tmp_path, **files))


def test_arguments_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    write(tmp_path, train_tsv=lines({"x": 5, "y": 5}), test_tsv=lines({"x": 5, "y": 5}))
    with pytest.raises(ValueError, match="shares: expected three above 0 that add up to 1"):
        read_labelled(tmp_path, shares=(0.8, 0.2, 0.2))
    with pytest.raises(DataError, match=r"expected one test part.*Leave test_data= out"):
        read_labelled(tmp_path, test_data=tmp_path / "train.tsv")


# ---- what is said about data ---------------------------------------------------------------------


def test_a_description_counts_and_is_printed(tmp_path: Path) -> None:
    write(tmp_path, a_tsv=lines({"x": 50, "y": 20}) + "\tx\n")
    data = read_labelled(tmp_path / "a.tsv", missing="fill")
    described = data.describe()
    train = described.parts[0]
    assert (train.count, train.classes, train.left_out) == (56, {"x": 40, "y": 16}, 1)
    assert train.lengths == (13, 14.0, 14)
    assert json.loads(json.dumps(described.to_config()))["parts"][0]["count"] == 56
    words = data.describe({name: np.full(len(p), 3) for name, p in data.parts.items()}, "words")
    console = Console(width=80, file=io.StringIO())
    with console.capture() as captured:
        console.print(words)
    shown = captured.get()
    for line in ("examples", "words, median", "class y", "left out", "drawn by class, seed 0"):
        assert line in shown
    assert "values missing" not in shown

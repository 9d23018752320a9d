"""Recordings with a label, or numbers to learn, at each step: every form that they are kept in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data.frames import FrameColumns, FrameRecords, recordings
from recurra.data.tagged import read_tagged
from recurra.data.tagged_files import Reading, is_of_frames, read_sequences
from recurra.errors import DataError

TABLE: Mapping[str, Sequence[Any]] = {
    "time": [0.0, 0.1, 0.2],
    "x": [1.0, 2.0, 3.0],
    "z": [0.5, 0.25, 0.0],
    "activity": ["rest", "walk", ""],
}


def csv(path: Path, table: Mapping[str, Sequence[Any]]) -> Path:
    rows = [table.keys(), *zip(*table.values(), strict=True)]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    return path


def test_a_table_has_its_labels_in_a_column(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", TABLE)
    [only] = recordings(path, FrameColumns())
    assert only.channels == ("x", "z")  # a clock is none
    assert only.values.tolist() == [[1.0, 0.5], [2.0, 0.25], [3.0, 0.0]]
    assert only.targets == ("rest", "walk", "")
    assert only.place == str(path)


@pytest.mark.parametrize(
    ("how", "channels", "targets"),
    [
        (FrameColumns(label="4", channels=("time", "x")), ("time", "x"), ("rest", "walk", "")),
        (FrameColumns(targets=("x",)), ("z",), [[1.0], [2.0], [3.0]]),
        (FrameColumns(targets=("z", "x"), channels=("1",)), ("time",),
         [[0.5, 1.0], [0.25, 2.0], [0.0, 3.0]]),
    ],
)  # fmt: skip
def test_columns_are_chosen(
    how: FrameColumns, channels: tuple[str, ...], targets: Any, tmp_path: Path
) -> None:
    [only] = recordings(csv(tmp_path / "a.csv", TABLE), how)
    assert only.channels == channels
    found = only.targets
    assert (found.tolist() if isinstance(found, np.ndarray) else found) == targets


@pytest.mark.medium
def test_parquet_is_read_by_what_its_cells_are(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    frames, rows = tmp_path / "frames.parquet", tmp_path / "rows.parquet"
    pq.write_table(pa.table(dict(TABLE)), frames)
    pq.write_table(pa.table({"tokens": [["a", "b"], ["c"]], "tags": [["X", "Y"], ["X"]]}), rows)
    assert is_of_frames(frames)
    assert not is_of_frames(rows)
    [only] = read_sequences(frames, Reading())
    assert only.targets == ("rest", "walk", "")
    assert [each.values for each in read_sequences(rows, Reading())] == [("a", "b"), ("c",)]


@pytest.mark.parametrize("name", ["a.labels.csv", "a_labels.txt", "a-label.npy"])
def test_labels_stand_in_a_file_beside(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(3, 2))
    np.save(tmp_path / "b.npy", np.zeros((3, 2)))
    if name.endswith(".npy"):
        np.save(tmp_path / name, np.array(["rest", "walk", "rest"]))
    else:
        csv(tmp_path / name, {"frame": [1, 2, 3], "label": ["rest", "walk", "rest"]})
    [only] = recordings(tmp_path / "a.npy", FrameColumns())
    assert only.targets == ("rest", "walk", "rest")
    assert only.values.shape == (3, 2)
    with pytest.raises(DataError, match=r"b\.npy: expected a label in each row, .* b\.labels\.csv"):
        list(recordings(tmp_path / "b.npy", FrameColumns()))
    names = [
        record.place for record in FrameRecords(tmp_path, [*tmp_path.iterdir()], FrameColumns())
    ]
    assert sorted(names) == [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]


@pytest.mark.parametrize(
    ("lines", "how"),
    [
        (["rest", "walk", "rest"], {}),
        (["Activity", "rest", "walk", "rest"], {}),
        (["doing", "rest", "walk", "rest"], {"label": "doing"}),
    ],
)
def test_a_column_of_words_has_no_header_but_a_known_one(
    lines: list[str], how: dict[str, str], tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    (tmp_path / "a.labels.txt").write_text("\n".join(lines))
    [only] = recordings(tmp_path / "a.npy", FrameColumns(**how))
    assert only.targets == ("rest", "walk", "rest")


def test_a_column_of_numbers_has_any_header(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    (tmp_path / "a.targets.csv").write_text("speed\n1.5\n2")
    np.save(tmp_path / "b.npy", np.zeros((2, 2)))
    (tmp_path / "b.labels.csv").write_text("kind\n0\n1")
    [a], [b] = (list(recordings(tmp_path / n, FrameColumns())) for n in ("a.npy", "b.npy"))
    assert isinstance(a.targets, np.ndarray)
    assert a.targets.tolist() == [[1.5], [2.0]]
    assert b.targets == ("0", "1")


def test_numbers_to_learn_stand_in_a_file_beside(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3.0)[:, None])
    np.save(tmp_path / "a.targets.npy", np.ones((3, 2), dtype=np.float32))
    csv(tmp_path / "b.csv", {"x": [1, 2], "y2": [3, 4]})
    csv(tmp_path / "b_targets.csv", {"frame": [1, 2], "yaw": [0.5, 1], "pitch": [1, 0]})
    for name, shape in (("a.npy", (3, 2)), ("b.csv", (2, 2))):
        [only] = recordings(tmp_path / name, FrameColumns())
        assert isinstance(only.targets, np.ndarray)
        assert only.targets.shape == shape


def test_an_array_of_several_and_groups_of_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(2, 3, 2))
    np.save(tmp_path / "a.labels.npy", np.array([[0, 1, 0], [1, 1, 0]]))
    one, other = recordings(tmp_path / "a.npy", FrameColumns())
    assert (one.targets, other.targets) == (("0", "1", "0"), ("1", "1", "0"))
    assert other.place.endswith("series 2")
    table = {"who": ["a", "b", "a"], "x": [1, 2, 3], "label": ["p", "q", "p"]}
    one, other = recordings(csv(tmp_path / "g.csv", table), FrameColumns(group="who"))
    assert one.values.tolist() == [[1.0], [3.0]]
    assert one.targets == ("p", "p")
    assert other.place.endswith("who b")


@pytest.mark.parametrize("parts", [False, True])
def test_a_folder_of_recordings(parts: bool, tmp_path: Path) -> None:
    for number in range(12):
        folder = tmp_path / (("train", "val", "test")[number % 3] if parts else "")
        folder.mkdir(exist_ok=True)
        csv(folder / f"r{number}.csv", TABLE)
    (tmp_path / "README.md").write_text("# mine")
    found = read_tagged(tmp_path, Reading())
    assert [len(part) for part in found.parts.values()] == ([4, 4, 4] if parts else [10, 1, 1])
    assert found.labels == ("rest", "walk")
    assert found.notes[0] == "channels x, z"


def test_recordings_of_other_channels_are_told(tmp_path: Path) -> None:
    for number in range(4):
        csv(tmp_path / f"r{number}.csv", TABLE)
    csv(tmp_path / "r9.csv", {"x": [1], "y2": [2], "activity": ["rest"]})
    with pytest.raises(DataError, match=r"expected the channels x, .*z.*, got .*y2.* channels="):
        read_tagged(tmp_path, Reading())


@pytest.mark.parametrize(
    ("table", "how", "said"),
    [
        ({"label": ["a", "b"]}, {}, "columns of numbers to read beside the labels, got none"),
        ({"x": [1, 2]}, {}, r"expected a label in each row, .* tag_column=.* target="),
        ({"x": [1, 2], "label": ["a", "b"]}, {"label": "tag"}, r"a column 'tag', .*tag_column="),
        ({"x": [1, 2], "y2": ["a", "b"]}, {"label": "x"}, "expected a number, got 'a'"),
    ],
)
def test_tables_that_are_not_as_they_should_be(
    table: Any, how: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        list(recordings(csv(tmp_path / "a.csv", table), FrameColumns(**how)))


def test_labels_are_as_many_as_steps(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    csv(tmp_path / "a.labels.csv", {"label": ["p", "q"]})
    with pytest.raises(DataError, match=r"a\.labels\.csv: .* each of the 3 steps of .*, got 2"):
        list(recordings(tmp_path / "a.npy", FrameColumns()))
    csv(tmp_path / "a_labels.csv", {"label": ["p", "q", "p"]})
    with pytest.raises(DataError, match=r"one file of its labels, got a\.labels\.csv"):
        list(recordings(tmp_path / "a.npy", FrameColumns()))


def test_columns_of_rows_are_learned_together(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"series": [1, 2], "yaw": [3, 4], "pitch": [5, null]}')
    [only] = read_sequences(path, Reading(targets=("yaw", "pitch")))
    np.testing.assert_array_equal(only.targets, [[3.0, 5.0], [4.0, np.nan]])  # type: ignore[arg-type]
    path.write_text('{"series": [1, 2], "yaw": [3, 4], "pitch": [5]}')
    with pytest.raises(DataError, match="as many numbers of each column, got 1 and 2"):
        read_sequences(path, Reading(targets=("yaw", "pitch")))
    words = tmp_path / "a.conll"
    words.write_text("a X\n")
    with pytest.raises(DataError, match=r"got words in columns and target=yaw"):
        read_sequences(words, Reading(targets=("yaw",)))

"""Files of recorded sequences: what many programs write is read, and what is unclear refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from recurra.data.sequences import is_number, read_sequence
from recurra.errors import DataError

WANTED = [[0.5, 1.25], [2.0, -3.0]]


def written(tmp_path: Path, content: str | bytes, name: str = "a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "0.5,1.25\n2,-3\n",
        "0.5, 1.25\r\n2, -3\r\n\r\n",
        "0.5,1.25\r2,-3\r",
        "0.5;1.25\n2;-3\n",
        "0,5;1,25\n2;-3\n",
        "0.5\t1.25\n2\t-3\n",
        "0,5\t1,25\n2\t-3\n",
        "0.5 1.25\n 2  -3\n",
        "5.0e-1,1.25E0\n2,-3e0\n",
        '"0.5","1.25"\n"2","-3"\n',
        '"0,5","1,25"\n"2","-3"\n',
        "# saved by numpy\n0.5,1.25\n2,-3\n",
        "\ufeff0.5,1.25\n2,-3\n",
        "0.5,1.25\n2,-3\n".encode("utf-16"),
        "x,y\n0.5,1.25\n2,-3\n",
        "\ufeffx;y\n0,5;1,25\n2;-3\n",
        ",x,y\n0,0.5,1.25\n1,2,-3\n",
        ",0,1\n0,0.5,1.25\n1,2,-3\n",
        "Unnamed: 0,x,y\n4,0.5,1.25\n5,2,-3\n",
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, content: str | bytes) -> None:
    recording = read_sequence(written(tmp_path, content))
    assert recording.values.tolist() == WANTED
    assert recording.columns in (None, ("x", "y"), ("0", "1"))
    assert bool(recording.left_out) == (recording.columns is not None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty file"),
        ("x,y\n", "rows of numbers below the header, got none"),
        ("1,2,3\n4,5,x\n", "line 2, column 3: expected a number, got 'x'"),
        ("1,2\n3\n", "line 2: expected 2 columns.*got 1"),
        ("1,nan\n", "expected finite numbers, got nan at step 0, feature 1"),
        ("nan,nan\n1,2\n", "expected finite numbers, got nan at step 0, feature 0, and 2 such"),
        ("1,2\n1e999,2\n", "got inf at step 1, feature 0"),
        ("1,\n2,3\n", "line 1, column 2: expected a number, got nothing. Fill it in"),
        ("1,2\nNA,3\n", "line 2, column 1: expected a number, got 'NA'. Fill it in"),
        ("x,2\n1,3\n", "line 1, column 1: expected a number, got 'x'"),
        ("0,1,2\n0.5,0.25,1\n", "line 1: expected names of columns or a step, got 0,1,2"),
        ("1.5;2,5\n", "line 1: expected numbers that can be read in one way, got '2,5'"),
        ("1,234\t5,678\n", "read in one way, got '1,234' alone"),
        ('"1,234","5"\n', "read in one way, got '1,234' alone"),
        ("0,5 1,2\n3,5 4,5\n", "line 1, column 2: expected a number, got '5 1'"),
        ("1_0,2\n", "got '1_0'"),
        ("text\na fine film\n", "line 2: expected numbers, got 'a fine film'"),
        ("2021-01-01,2\n2021-01-02,3\n", "got '2021-01-01'"),
        ("x,y,\n1,2,3\n", "column"),
        (",x\n7,1\n3,2\n", "expected a name for each column, got none above the first"),
        ("Gr\u00f6\u00dfe,y\n1,2\n".encode("latin-1"), "UTF-8"),
        ("1,2\n".encode("utf-16-le"), "NUL"),
    ],
)
def test_tables_that_can_be_read_in_no_way_or_two(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        read_sequence(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "f4", ">f8"])
def test_arrays_of_real_numbers(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.NPY.npy", np.eye(3, dtype=dtype))
    (tmp_path / "a.NPY.npy").rename(tmp_path / "a.NPY")
    values = read_sequence(tmp_path / "a.NPY").values
    assert values.dtype == np.float64
    assert values.tolist() == np.eye(3).tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((3, 2), 1 + 5j), "expected real numbers, got an array of complex128"),
        (np.full((3, 2), "1"), "expected real numbers, got an array of <U1"),
        (np.zeros((3, 2), "M8[s]"), "expected real numbers"),
        (np.zeros(3, [("x", "f8"), ("y", "f8")]), "expected real numbers"),
        (np.array([[1, None]], dtype=object), "expected an array of numbers"),
        (np.zeros(3), r"shape \[T, I\].*got \[3\]"),
        (np.zeros((2, 0)), r"got \[2, 0\]"),
        (np.zeros((0, 2)), r"got \[0, 2\]"),
        (np.array([[1.0], [np.nan], [np.inf]]), "got nan at step 1, feature 0, and 2 such"),
    ],
)
def test_arrays_that_are_no_sequence(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read_sequence(tmp_path / "a.npy")


def test_other_files_with_the_name_of_an_array(tmp_path: Path) -> None:
    for content in (b"", b"plain text"):
        with pytest.raises(DataError, match="expected an array of numbers"):
            read_sequence(written(tmp_path, content, "a.npy"))
    with pytest.raises(DataError, match="got: something else, or objects of Python"):
        read_sequence(tmp_path / "a.npy")  # numpy says how to run what may be in it
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 2)))
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    with pytest.raises(DataError, match="got an archive of several"):
        read_sequence(tmp_path / "b.npy")


def test_an_array_that_is_something_else_is_said_to_be(tmp_path: Path) -> None:
    packed = written(tmp_path, gzip.compress(b"0.5,1.25"), "a.npy")
    with pytest.raises(DataError, match=r"got: a\.npy is a gzip file, whatever its name says"):
        read_sequence(packed)


def test_gaps_are_read_where_they_may_be(tmp_path: Path) -> None:
    path = written(tmp_path, "x,y\n0.5,\nNaN,-3\n?,na\n")
    wanted = [[0.5, np.nan], [np.nan, -3.0], [np.nan, np.nan]]
    np.testing.assert_array_equal(read_sequence(path, gaps=True).values, wanted)
    np.save(tmp_path / "a.npy", np.array(wanted))
    np.testing.assert_array_equal(read_sequence(tmp_path / "a.npy", gaps=True).values, wanted)
    with pytest.raises(DataError, match="finite numbers, got inf at step 0, feature 1"):
        read_sequence(written(tmp_path, "x,y\n0.5,inf\n"), gaps=True)


@pytest.mark.parametrize(
    ("cell", "is_one"),
    [("1.5", True), ("1,5", True), ("-2e3", True), ("1_000", False), ("", False)],
)
def test_what_is_a_number_to_all_tables_of_series(cell: str, is_one: bool) -> None:
    assert is_number(cell) == is_one

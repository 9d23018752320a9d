"""The .ts files of the UCR and UEA archives: one channel or several, of one length or of many."""

from pathlib import Path

import numpy as np
import pytest

from recurra.data.opening import open_records
from recurra.errors import DataError

HEADER = """# from an archive: comments
@problemName Walks
@timeStamps false
@missing true
@univariate {univariate}
@equalLength false
@classLabel true up down
@data
"""
NAN = np.nan


def written(tmp_path: Path, content: str, name: str = "Walks_TRAIN.ts") -> Path:
    path = tmp_path / name
    path.write_text(content)
    return path


def test_one_channel_of_many_lengths(tmp_path: Path) -> None:
    lines = "0.5,1,?:up\n\n-1.5e-3:down\n"
    path = written(tmp_path, HEADER.format(univariate="true") + lines)
    records = open_records(path)
    read = [*records]
    np.testing.assert_array_equal(read[0].value, np.array([[0.5], [1], [NAN]], dtype=np.float32))
    np.testing.assert_array_equal(read[1].value, np.array([[-1.5e-3]], dtype=np.float32))
    assert [record.label for record in read] == ["up", "down"]
    assert read[1].place == f"{path}, line 11"
    assert records.classes == ("up", "down")
    assert records.notes == ("UCR/UEA format, problem Walks",)


def test_several_channels(tmp_path: Path) -> None:
    lines = "1,2,3:4,5,6:down\n7,?:8,9:up\n"
    read = [*open_records(written(tmp_path, HEADER.format(univariate="false") + lines))]
    assert read[0].value.tolist() == [[1, 4], [2, 5], [3, 6]]  # type: ignore[union-attr]
    np.testing.assert_array_equal(read[1].value, [[7, 8], [NAN, 9]])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1,2\n", "line 9: expected a series and its class behind a colon, got 1,2"),
        ("1,2:left\n", r"line 9: expected one of the classes.*\(up, down\), got 'left'"),
        ("1,2:3,4:up\n1,2:up\n", "line 10: expected 2 channels as in the lines above it, got 1"),
        ("1,2:3:up\n", "line 9: expected channels of one length, got 1 and 2 steps"),
        ("1,x:up\n", "line 9, channel 1: expected numbers separated by commas.*'x'"),
        ("1,1e99:up\n", r"line 9: expected numbers up to 3e38, got 1e\+99 at step 1"),
    ],
)
def test_lines_that_are_no_series_are_refused(tmp_path: Path, lines: str, message: str) -> None:
    path = written(tmp_path, HEADER.format(univariate="true") + lines)
    with pytest.raises(DataError, match=message) as caught:
        list(open_records(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "got an empty file"),
        ("@problemName x\n@classLabel true a b\n", "expected a line @data above the series"),
        ("1,2:up\n", "line 1: expected a header of lines that begin with @, got 1,2:up"),
        ("@classLabel false\n@data\n1:1\n", "got @classLabel false. Use data for classification"),
        ("@targetLabel true\n@data\n1:1\n", r"got @classLabel \.\.\. in no line"),
        (
            "@timestamps true\n@classlabel true a\n@data\n",
            "at even steps, got one with time stamps",
        ),
    ],
)
def test_headers_that_cannot_be_used_are_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_records(written(tmp_path, content))

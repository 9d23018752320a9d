"""Tables of series: which column is what, dates, groups, what is missing, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data.panels import Panel, Reading, read_panel
from recurra.errors import DataError
from recurra.models import Categories


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Any, **how: Any) -> Panel:
    return read_panel(path, Reading(**how))


def hourly(path: Path, *rows: str) -> Path:
    return table(path, "date,load,temp", *rows)


ROWS = ("2020-01-01 00:00,1,10", "2020-01-01 01:00,2,11", "2020-01-01 02:00,3,12")


def test_a_table_with_dates_is_a_series(tmp_path: Path) -> None:
    panel = read(hourly(tmp_path / "load.csv", *ROWS))
    [series] = panel.series
    assert (panel.channels, panel.past, panel.known) == (("load", "temp"), (), ())
    assert str(panel.frequency) == "1 hour"
    np.testing.assert_array_equal(series.values, [[1, 10], [2, 11], [3, 12]])
    assert series.dates[1] == np.datetime64("2020-01-01T01", "s")
    assert series.name is None


@pytest.mark.parametrize("compressed", [False, True])
def test_numbers_without_a_header_are_columns_by_number(tmp_path: Path, compressed: bool) -> None:
    import gzip

    path = table(tmp_path / "rates.txt", "1.0,2.0", "1.5,2.5")
    if compressed:
        path = tmp_path / "rates.txt.gz"
        path.write_bytes(gzip.compress((tmp_path / "rates.txt").read_bytes()))
    panel = read(path, target=("2",))
    assert (panel.channels, panel.frequency) == (("2",), None)
    np.testing.assert_array_equal(panel.series[0].values, [[2.0], [2.5]])


def test_covariates_and_groups(tmp_path: Path) -> None:
    path = table(
        tmp_path / "sales.csv",
        *("day,shop,sold,visitors,price", "2020-01-01,a,5,50,1.5", "2020-01-01,b,7,70,2.5"),
        *("2020-01-02,a,6,60,1.6", "2020-01-02,b,8,80,2.6", "2020-01-03,a,,,1.7"),
    )
    panel = read(
        path,
        group_column="shop",
        past_covariates=("visitors",),
        known_covariates=("5",),
    )
    assert (panel.channels, panel.past, panel.known) == (("sold",), ("visitors",), ("price",))
    first, second = panel.series
    assert (first.name, second.name) == ("a", "b")
    np.testing.assert_array_equal(first.values, [[5], [6]])
    np.testing.assert_array_equal(first.past, [[50], [60]])
    np.testing.assert_array_equal(first.known, [[1.5], [1.6], [1.7]])  # a day ahead
    np.testing.assert_array_equal(second.known, [[2.5], [2.6]])


@pytest.mark.medium
def test_parquet_and_arrays(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    dates = np.arange("2020-01-01", "2020-01-04", dtype="M8[D]")
    made = pyarrow.table({"when": dates, "timestamp": dates, "x": [1.0, None, 3.0]})
    parquet.write_table(made.select(["timestamp", "x"]), tmp_path / "x.parquet")
    panel = read(tmp_path / "x.parquet", missing="mask")
    np.testing.assert_array_equal(panel.series[0].values, [[1], [np.nan], [3]])
    assert str(panel.frequency) == "1 day"
    np.save(tmp_path / "one.npy", np.arange(4.0))
    np.testing.assert_array_equal(
        read(tmp_path / "one.npy").series[0].values, np.arange(4.0)[:, None]
    )
    np.save(tmp_path / "many.npy", np.arange(12.0).reshape(2, 3, 2))
    assert [one.name for one in read(tmp_path / "many.npy").series] == ["1", "2"]


def test_files_of_a_folder_are_series_by_their_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        table(tmp_path / f"{name}.csv", "x", "1", "2")
    (tmp_path / "notes.md").write_text("not read")
    assert [one.name for one in read(tmp_path).series] == ["a", "b"]
    table(tmp_path / "c.csv", "y", "1", "2")
    with pytest.raises(DataError, match=r"c.csv: expected the columns x, as in .*a.csv, got y"):
        read(tmp_path)


def test_other_ways_to_write_dates(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "wann;wert", "31.01.2020;1,5", "01.02.2020;2,5")
    panel = read(path, date_column="wann", date_format="%d.%m.%Y")
    np.testing.assert_array_equal(panel.series[0].values, [[1.5], [2.5]])
    assert str(panel.frequency) == "1 day"
    with pytest.raises(DataError, match=r"line 2, column wann: expected an ISO date.*'31.01.2020'"):
        read(path, date_column="wann")
    zones = table(tmp_path / "y.csv", "time,x", "2020-01-01T01:00+01:00,1", "2020-01-01T01:00Z,2")
    assert read(zones).series[0].dates[0] == np.datetime64("2020-01-01", "s")
    assert read(zones).series[0].offset == 0  # that of the last date
    ahead = ("2020-01-01T01:00-03:30,1", "2020-01-01T02:00-03:30,2")
    assert read(table(tmp_path / "z.csv", "time,x", *ahead)).series[0].offset == -12600


def test_covariates_of_words_are_categories(tmp_path: Path) -> None:
    """Each has a column of 0 and 1; what is missing is missing in all of them."""
    path = table(
        tmp_path / "sales.csv",
        *("day,sold,sky,holiday,store", "2020-01-01,5,sun,none,1", "2020-01-02,6,rain,none,2"),
        *("2020-01-03,7,,xmas,1.0", "2020-01-04,,,none,2"),
    )
    how: dict[str, Any] = {"past_covariates": ("sky",), "known_covariates": ("holiday", "5")}
    panel = read(path, missing="mask", categories=("store",), **how)
    [series] = panel.series
    assert panel.categories == {
        "sky": ("rain", "sun"), "holiday": ("none", "xmas"), "store": ("1", "2")
    }  # fmt: skip
    nan = np.nan
    np.testing.assert_array_equal(series.past, [[0, 1], [1, 0], [nan, nan]])
    np.testing.assert_array_equal(
        series.known, [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]]
    )
    assert "1 values are missing: 1 in sky" in panel.notes
    assert "categories of sky, 2: rain, sun" in panel.notes
    assert read(path, missing="mask", **how).series[0].known.shape == (4, 3)  # a number of a store


def test_categories_of_several_files_are_one_list(tmp_path: Path) -> None:
    for name, rows in (("a", ("1,sun", "2,sun")), ("b", ("1,fog", "2,sun"))):
        table(tmp_path / f"{name}.csv", "x,sky", *rows)
    panel = read(tmp_path, known_covariates=("sky",))
    assert panel.categories == {"sky": ("fog", "sun")}
    np.testing.assert_array_equal(panel.series[0].known, [[0, 1], [0, 1]])


def test_categories_that_cannot_be_are_named(tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", "x,sky", "1,sun", "2,fog")
    learned = Categories({"sky": ["rain", "sun"]})
    said = r"line 3, column sky: expected one of .*\(rain, sun\), got 'fog'"
    with pytest.raises(DataError, match=said):
        read(path, known_covariates=("sky",), learned=learned)
    with pytest.raises(DataError, match="expected a covariate for categories=, got 'x'"):
        read(path, known_covariates=("sky",), categories=("x",))
    mixed = table(tmp_path / "y.csv", "x,price", "1,2.5", "2,dear")  # a slip, no category
    with pytest.raises(DataError, match="line 3, column 2: expected a number, got 'dear'"):
        read(mixed, known_covariates=("price",))
    many = table(tmp_path / "z.csv", "x,id", *(f"{n},id{n}" for n in range(1001)))
    with pytest.raises(DataError, match=r"id: expected at most 1,000 categories .*, got 1,001"):
        read(many, known_covariates=("id",))


# ---- what is refused, or noted -------------------------------------------------------------------


def test_missing_values_are_counted_and_named(tmp_path: Path) -> None:
    path = hourly(tmp_path / "x.csv", ROWS[0], "2020-01-01 01:00,,NaN", "2020-01-01 02:00,3,")
    said = r"got 3 missing \(1 in load, 2 in temp\), the first in line 3.*missing=fill"
    with pytest.raises(DataError, match=said):
        read(path)
    panel = read(path, missing="mask")
    assert panel.notes[-1] == "3 values are missing: 1 in load, 2 in temp"
    np.testing.assert_array_equal(panel.series[0].values[1], [np.nan, np.nan])


def test_a_column_without_a_number_is_refused(tmp_path: Path) -> None:
    path = hourly(tmp_path / "x.csv", "2020-01-01,1,", "2020-01-02,2,")
    with pytest.raises(DataError, match="expected numbers in column temp, got none at all"):
        read(path, missing="fill")


def test_dates_out_of_order_are_named(tmp_path: Path) -> None:
    path = hourly(tmp_path / "x.csv", ROWS[0], ROWS[2], ROWS[1])
    said = "line 4: expected dates that grow, got 2020-01-01 01:00 behind 2020-01-01 02:00"
    with pytest.raises(DataError, match=said):
        read(path)


def test_doubled_dates_are_named(tmp_path: Path) -> None:
    path = hourly(tmp_path / "x.csv", ROWS[0], ROWS[1], ROWS[1])
    said = "line 4: expected each date once, got 2020-01-01 01:00 twice.*group_column="
    with pytest.raises(DataError, match=said):
        read(path)


def test_gaps_between_dates_are_named_or_become_missing_steps(tmp_path: Path) -> None:
    path = hourly(tmp_path / "x.csv", *ROWS, "2020-01-01 05:00,6,15", "2020-01-01 06:00,7,16")
    said = (
        "line 5: expected a row for each 1 hour, got none between 2020-01-01 02:00 and 2020-01-01 "
        "05:00, 2 missing in 1 gap.*missing=mask"
    )
    with pytest.raises(DataError, match=said):
        read(path)
    panel = read(path, missing="fill")
    [series] = panel.series
    np.testing.assert_array_equal(series.values[:, 0], [1, 2, 3, np.nan, np.nan, 6, 7])
    np.testing.assert_array_equal(np.diff(series.dates), np.timedelta64(3600, "s"))
    assert any(note.startswith("2 steps were missing in 1 gap") for note in panel.notes)


def test_uneven_steps_are_named(tmp_path: Path) -> None:
    path = hourly(tmp_path / "x.csv", *ROWS, "2020-01-01 02:30,4,13")
    with pytest.raises(DataError, match="line 5: expected steps of 1 hour, as most are"):
        read(path)


@pytest.mark.parametrize(
    ("lines", "how", "said"),
    [
        (("a,b", "x,1", "y,2"), {}, r"line 2, column 1: expected a number, got 'x'"),
        (("a,b", "1,2"), {"target": ("c",)}, "expected a column 'c', got the columns a, b"),
        (("a,b", "1,2"), {"target": ("a",), "past_covariates": ("a",)}, "'a' for two things"),
        (("a,b", "1,2"), {"past_covariates": ("a", "b")}, "got none left"),
        (("a,a", "1,2"), {}, "expected columns of different names, got 'a' 2 times"),
        (("a,b", "1,inf"), {}, "expected a finite number, got 'inf'"),
        (("a,b", "1"), {}, "expected 2 columns as in the lines above it, got 1"),
    ],
)
def test_tables_that_cannot_be_read_are_named(
    tmp_path: Path, lines: tuple[str, ...], how: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read(table(tmp_path / "x.csv", *lines), **how)


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got no such file"):
        read(tmp_path / "x.csv")
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"expected a file that ends in .csv.*got .xlsx"):
        read(tmp_path / "x.xlsx")
    with pytest.raises(DataError, match="got none in the folder"):
        read(tmp_path)
    np.save(tmp_path / "x.npy", np.array(["a"]))
    with pytest.raises(DataError, match="expected finite real numbers"):
        read(tmp_path / "x.npy")

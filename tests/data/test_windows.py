"""Windows: which steps are read and which are forecast, and how series are divided."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data import Buckets
from recurra.data.panels import Panel
from recurra.data.windows import PARTS, Stored, Windows, check_long_enough
from recurra.errors import DataError
from recurra.models import Series


def panel_of(*lengths: int, **options: Any) -> Panel:
    """Series that count their steps, each from a number of its own on."""
    series = tuple(
        Series(values=1000.0 * n + np.arange(length, dtype=np.float64)[:, None], name=str(n))
        for n, length in enumerate(lengths)
    )
    made = {"channels": ("x",), "past": (), "known": (), "frequency": None, "notes": ()}
    return Panel(series=series, **{**made, **options})


def windows_of(part: str, stored: Stored, look_back: int, horizon: int) -> Windows:
    values = stored.values.astype(np.float32)
    none = np.zeros((len(values), 0), dtype=np.float32)
    return Windows(part, stored, values, none, none, look_back=look_back, horizon=horizon)


def test_counts_of_rows_are_the_published_split() -> None:
    """Rows behind the last part are not used."""
    stored = Stored.of({"train": panel_of(17420)}, (8640.0, 2880.0, 2880.0))
    assert stored.bounds[0].tolist() == [[0, 8640], [8640, 11520], [11520, 14400]]
    test = windows_of("test", stored, 96, 24)
    assert len(test) == 2880 - 24 + 1
    first = test.gather(np.array([0]))
    assert first.target[0, 0, 0] == 11520
    assert first.x[-1, 0, 0] == 11519  # the look-back is of the part before
    assert len(windows_of("train", stored, 96, 24)) == 8640 - 96 - 24 + 1


@pytest.mark.parametrize("steps", [10, 101, 7588])
def test_fractions_divide_all_steps(steps: int) -> None:
    stored = Stored.of({"train": panel_of(steps)}, (0.6, 0.2, 0.2))
    edges = stored.bounds[0]
    assert edges[0, 0] == 0
    assert edges[-1, -1] == steps
    np.testing.assert_array_equal(edges[:-1, 1], edges[1:, 0])
    np.testing.assert_allclose(np.diff(edges)[:, 0] / steps, (0.6, 0.2, 0.2), atol=1 / steps)


def test_a_part_with_files_of_its_own_takes_none_of_the_others() -> None:
    stored = Stored.of({"train": panel_of(100), "test": panel_of(20)}, (0.7, 0.1, 0.2))
    assert stored.bounds.tolist() == [[[0, 90], [90, 100], [100, 100]], [[0, 0], [0, 0], [0, 20]]]
    assert [len(each) for each in stored.of_part("test")] == [0, 20]


def test_windows_lie_in_their_part_and_in_their_series() -> None:
    stored = Stored.of({"train": panel_of(40, 25)}, (0.5, 0.25, 0.25))
    for at, part in enumerate(PARTS):
        windows = windows_of(part, stored, 5, 3)
        seen = set()
        for number in range(len(windows)):
            batch = windows.gather(np.array([number]))
            x, target = batch.x[:, 0, 0].numpy(), batch.target[:, 0, 0].numpy()
            np.testing.assert_array_equal(np.diff(np.concatenate([x, target])), 1)
            n, step = divmod(int(target[0]), 1000)
            begin, end = stored.bounds[n, at]
            assert begin <= step <= end - 3
            assert len(x) == 5
            seen.add((n, step))
        ends = [end for _, end in stored.bounds[:, at]]
        begins = [max(5, begin) for begin, _ in stored.bounds[:, at]]
        every = {(n, s) for n in (0, 1) for s in range(begins[n], ends[n] - 2)}
        assert seen == every


def test_a_series_that_is_too_short_for_a_look_back_has_all_that_there_is() -> None:
    stored = Stored.of({"train": panel_of(30, 9)}, (28.0, 1.0, 1.0))
    windows = windows_of("train", stored, 20, 5)
    own = np.flatnonzero(windows.series == 1)
    assert windows.lengths[own].tolist() == [4]
    batch = windows.gather(np.array([0, int(own[0])]))
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [20, 4]
    assert batch.x[:4, 1, 0].tolist() == [1000, 1001, 1002, 1003]
    assert batch.target[:, 1, 0].tolist() == [1004, 1005, 1006, 1007, 1008]
    assert not batch.x[4:, 1].any()


def test_a_horizon_longer_than_the_series_is_named() -> None:
    stored = Stored.of({"train": panel_of(30)}, (0.7, 0.1, 0.2))
    windows = windows_of("train", stored, 5, 24)
    with pytest.raises(DataError, match=r"train: expected a series of 24 steps or more.*got 21"):
        check_long_enough("train", windows, stored)
    with pytest.raises(DataError, match=r"val: expected a series of 5 steps .*got 3 in the long"):
        check_long_enough("val", windows_of("val", stored, 5, 5), stored)


def test_a_batch_is_a_function_of_two_numbers() -> None:
    stored = Stored.of({"train": panel_of(200, 50)}, (0.8, 0.1, 0.1))
    windows = windows_of("train", stored, 10, 4)
    one, other = (Buckets(windows, 16, seed=3) for _ in range(2))
    for epoch, index in ((0, 5), (1, 2), (0, 5)):
        a, b = one.batch(epoch, index), other.batch(epoch, index)
        np.testing.assert_array_equal(a.x.numpy(), b.x.numpy())
        np.testing.assert_array_equal(a.starts, b.starts)
    every = np.sort(np.concatenate([one.batch(0, i).starts for i in range(len(one))]))
    np.testing.assert_array_equal(every, np.sort(windows.starts))


def test_what_is_stored_is_read_again(tmp_path: Path) -> None:
    made = panel_of(12, 8)
    dated = tuple(
        Series(
            values=one.values,
            past=one.values + 1,
            known=np.concatenate([one.values, one.values[:2]]),
            dates=np.arange(len(one)).astype("M8[s]"),
            name=one.name,
        )
        for one in made.series
    )
    panel = Panel(
        series=dated, channels=("x",), past=("p",), known=("k",), frequency=None, notes=()
    )
    stored = Stored.of({"train": panel}, (0.5, 0.25, 0.25))
    stored.write(tmp_path / "data" / "series")
    found = Stored.read(tmp_path / "data" / "series")
    for name in ("values", "past", "known", "dates", "offsets", "bounds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(stored, name))
    assert found.names == ("0", "1")
    with pytest.raises(DataError, match="expected the series of the run"):
        Stored.read(tmp_path / "nothing")

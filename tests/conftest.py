"""Shared fixtures: a fixed seed, NaN-filled uninitialised memory, real data where it exists.

And which tests `make check` leaves out.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from oracle import beyond_the_core
from recurra.lang import Cell

# pytest-xdist runs a worker on each core: more threads would only wait for each other
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """Seed torch and fill `torch.empty` with NaN, so that an unwritten output fails its test."""
    torch.manual_seed(0)
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fill


@pytest.fixture(scope="session", autouse=True)
def _no_drawn_reports() -> Iterator[None]:
    """A run ends with an empty report: one that is drawn takes six times as long as to train it."""
    from recurra.runs import fitting

    def leave_empty(folder: Path, *_: Any) -> None:
        (folder / fitting.REPORT_NAME).touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "write_brief", leave_empty)
        yield


@pytest.fixture(scope="module")
def drawn_reports(_no_drawn_reports: None) -> Iterator[None]:
    """The runs of a module end with reports as users have them."""
    from recurra.runs import fitting, reporting

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "write_brief", reporting.write_brief)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets named by RECURRA_DATA; skips, saying so, where it is not set."""
    folder = os.environ.get("RECURRA_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RECURRA_DATA does not name a folder of real data")
    return Path(folder)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; leave cells beyond the core to `make test`.

    A test of every registered cell need say nothing: its cells that are not of `oracle._CORE` have
    the mark `medium`.
    """
    gpu, more = torch.cuda.is_available(), beyond_the_core()
    for item in items:
        if not gpu and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(_name_of(value) in more for value in given):
            item.add_marker(pytest.mark.medium)


def _name_of(value: object) -> str | None:
    """A cell's name, if that is what a test is given."""
    if isinstance(value, Cell):
        return value.name
    return value if isinstance(value, str) else None

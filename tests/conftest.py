"""Shared fixtures: a fixed seed, NaN-filled uninitialised memory, real data where it exists.

And which tests `make check` leaves out.
"""

import gc
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

# torch and what needs it are imported where they are used: xdist's first process, which only hands
# out tests, does without


def pytest_configure() -> None:
    """Let Hypothesis's examples take their time: a busy machine makes any of them slow once, and
    what hangs is ended by pytest-timeout."""
    from hypothesis import settings

    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _a_thread_for_each_worker() -> None:
    """pytest-xdist runs a worker on each core: more threads would only wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _seed(_a_thread_for_each_worker: None) -> Callable[[int], object]:
    """Seeds torch; without a GPU the CPU alone: for other devices it would format a traceback."""
    import torch

    gpu = torch.cuda.is_available()
    return torch.manual_seed if gpu else torch.default_generator.manual_seed


@pytest.fixture(autouse=True)
def _deterministic(_seed: Callable[[int], object]) -> Iterator[None]:
    """Seed torch and fill `torch.empty` with NaN, so that an unwritten output fails its test."""
    import torch

    _seed(0)
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


# ---- which tests there are -----------------------------------------------------------------------

# What `-m` leaves out in `make check` and in `make test`; any other is pytest's own affair.
LEFT_OUT = {"not slow and not medium": {"slow", "medium"}, "not slow": {"slow"}}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage: there is none in what stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None, object, object]:
    """Make no tests that `-m` would leave out: `make check` runs a third of them.

    One of each function is always made, and left to `-m`: a function without any would be called
    without parameters.
    """
    result = yield
    left_out = LEFT_OUT.get(metafunc.config.getoption("markexpr"), set())
    if left_out:
        calls = metafunc._calls  # pytest has no public name for them
        if left_out & {mark.name for mark in metafunc.definition.iter_markers()}:
            metafunc._calls = calls[:1]
        else:
            metafunc._calls = [
                call
                for call in calls
                if not left_out & {mark.name for mark in call.marks}
                and not ("medium" in left_out and _is_left_out(call.params))
            ] or calls[:1]
    return result


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; leave most registered cells to `make test`.

    A test of every registered cell need say nothing: those of `oracle.left_to_make_test` have the
    mark `medium`.
    """
    import torch

    gpu = torch.cuda.is_available()
    for item in items:
        if not gpu and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if hasattr(item, "callspec") and _is_left_out(item.callspec.params):
            item.add_marker(pytest.mark.medium)


def _is_left_out(given: Mapping[str, object]) -> bool:
    """Whether a test is given a cell that `make check` leaves out."""
    from oracle import left_to_make_test

    more = left_to_make_test()
    return any(_name_of(value) in more for value in given.values())


def _name_of(value: object) -> str | None:
    """A cell's name, if that is what a test is given."""
    from recurra.lang import Cell

    if isinstance(value, Cell):
        return value.name
    return value if isinstance(value, str) else None

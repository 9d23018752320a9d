"""Shared fixtures: a fixed seed, NaN-filled uninitialised memory, real data where it exists."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

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


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets named by RECURRA_DATA; skips, saying so, where it is not set."""
    folder = os.environ.get("RECURRA_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RECURRA_DATA does not name a folder of real data")
    return Path(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, with the reason."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))

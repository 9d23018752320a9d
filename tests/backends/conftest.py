"""What tests of backends share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recurra.backends.cpu import compiler as compiling


@pytest.fixture
def builds_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels of many random cells: what is tried is what is printed, and nobody asks for it again.

    At -O3, which other tests have, the C++ compiler takes twice as long.
    """
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path))
    flags = os.environ.get("RECURRA_CXXFLAGS", "")
    monkeypatch.setenv("RECURRA_CXXFLAGS", f"-O1 {flags}")
    yield
    compiling._loaded.cache_clear()

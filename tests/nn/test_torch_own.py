"""torch's own checks of its modules, with its own inputs, on those that stand in for them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import torch_own


@pytest.fixture(scope="module")
def apart() -> Iterator[Callable[..., None]]:
    """Runs a function in another process; see `torch_own`."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda function, *args: pool.submit(function, *args).result(timeout=110)


@pytest.mark.medium
@pytest.mark.parametrize("check", torch_own.CHECKS)
@pytest.mark.parametrize("kind", torch_own.KINDS)
def test_module(apart: Callable[..., None], kind: str, check: str) -> None:
    apart(torch_own.run, check, kind)

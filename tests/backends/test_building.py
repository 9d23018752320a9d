"""Libraries that are built beside each other, and what an interrupt ends."""

import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from threading import Event, current_thread, main_thread

import pytest
import torch

import recurra as rc
from recurra.backends.cpu import building, found_compiler
from recurra.backends.cpu.abi import Kernels
from recurra.backends.cpu.building import Building
from recurra.errors import BuildError

pytestmark = pytest.mark.skipif(found_compiler() is None, reason="needs a C++ compiler")


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources of all libraries that are asked for."""
    sources: list[str] = []
    real = building.loader
    monkeypatch.setattr(
        building, "loader", lambda text, *more: sources.append(text) or real(text, *more)
    )
    return sources


@pytest.mark.parametrize("memory", ["normal", "low"])
@pytest.mark.parametrize("ids", [False, True], ids=["features", "token ids"])
@pytest.mark.parametrize("name", ["gru", "minimalrnn"])
def test_what_the_backward_pass_needs_is_begun_in_the_forward_pass(
    name: str, ids: bool, memory: str, asked_for: list[str]
) -> None:
    layer = rc.Recurrent(name, 5, 7, backend="cpu", memory=memory)
    embedding = torch.randn(5, 5, requires_grad=True) if ids else None
    x = torch.randint(5, (9, 3)) if ids else torch.randn(9, 3, 5)
    y, _ = layer(x, embedding=embedding)
    begun = len(asked_for)
    y.sum().backward()
    assert sum("using Products" not in text for text in asked_for) == 2, "a loop each way"
    assert len(asked_for) == begun


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_are_no_part_of_what_runs_without_gradients(
    dtype: torch.dtype, asked_for: list[str]
) -> None:
    Kernels(dtype, sums=False).load()
    (source,) = asked_for
    assert "products.hpp" in source
    Kernels(dtype, sums=True).load()
    assert sum("sums.hpp" in text for text in asked_for) == 1


def test_a_library_is_begun_once_for_all_who_ask_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready, loaded = Event(), list[str]()

    def load(source: str) -> str:
        assert ready.wait(60)
        loaded.append(source)
        return source

    monkeypatch.setattr(building, "loader", lambda text, *_: partial(load, text))
    made = [Building(text) for text in ("one", "one", "two", "one")]
    ready.set()
    assert [each.loaded() for each in made] == ["one", "one", "two", "one"]
    assert sorted(loaded) == ["one", "two"]
    assert Building("one").loaded() == "one"
    assert len(loaded) == 3, "of those that are done a new one is begun"


def test_what_was_dismissed_is_loaded_where_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    ready, taken = Event(), Event()

    def load(source: str) -> str:
        if current_thread() is main_thread():
            return f"{source}, here"
        taken.set()
        assert ready.wait(60)
        raise BuildError("its compiler was ended")

    monkeypatch.setattr(building, "loader", lambda text, *_: partial(load, text))
    made = [Building(str(i)) for i in range(9)]  # more than there are threads
    assert taken.wait(60)
    building._Workers.dismiss()
    assert made[8].loaded() == "8, here", "its turn never came"
    ready.set()
    assert made[0].loaded() == "0, here"
    with pytest.raises(BuildError):
        Building("another").loaded()


@pytest.mark.medium
def test_interrupt_ends_all_that_is_being_built(tmp_path: Path) -> None:
    script, log, cache = tmp_path / "c++", tmp_path / "begun", tmp_path / "cache"
    script.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "fake 1.0" && exit 0\n'
        f"echo $$ >> {log}\nexec sleep 1000\n"
    )
    script.chmod(0o755)
    program = (
        "import signal\nfrom recurra.backends.cpu.building import Building\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "libraries = [Building(f'int a{i};') for i in range(9)]\nlibraries[0].loaded()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "CXX": shlex.quote(str(script)), "RECURRA_CACHE": str(cache)},
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 100
    while not log.exists() or len(log.read_text().split()) < 2:
        assert time.monotonic() < end, "nothing was begun"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=100)[1]
    for compiler in map(int, log.read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(compiler, 0)
    assert {path.suffix for path in cache.iterdir()} <= {".lock"}

"""Ctrl-C, SIGTERM and SIGHUP in training: finish the step, keep the checkpoint, then stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(SystemExit):
    """The system asked the process to end; its exit code is 128 and the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


def stopped_by(signum: int) -> BaseException:
    """What a signal that ends a process raises, as Python has it for Ctrl-C."""
    return KeyboardInterrupt() if signum == signal.SIGINT else Terminated(signum)


@contextmanager
def ending_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Terminated` in this block, so that what is half made is removed."""

    def handle(signum: int, frame: object) -> None:
        raise Terminated(signum)

    with _handled(handle, _ending()):
        yield


@contextmanager
def held_interrupts() -> Iterator[Callable[[], int | None]]:
    """Turn the first signal that ends a process into an answer to ask for: its number, or None.

    A second one stops at once. Stopping in the middle of an update would leave half of the weights
    updated. Outside the main thread, where Python lets no one handle signals, the answer is always
    None.
    """
    asked: list[int] = []

    def handle(signum: int, frame: object) -> None:
        if asked:
            raise stopped_by(signum)
        asked.append(signum)

    with _handled(handle, [signal.SIGINT, *_ending()]):
        yield lambda: asked[0] if asked else None


def _ending() -> list[signal.Signals]:
    """SIGTERM and SIGHUP, where the system has them and nobody has had them ignored (nohup)."""
    known = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    return [each for each in known if each and signal.getsignal(each) is not signal.SIG_IGN]


@contextmanager
def _handled(handle: Any, signals: list[signal.Signals]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in signals}
    for each in signals:
        signal.signal(each, handle)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)

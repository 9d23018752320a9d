"""How a process ends that another began."""

import multiprocessing
import os
import signal
import threading


def end_with_parent() -> None:
    """Have this process end when the one that began it does, whatever ended that."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def cause_of_end(code: int) -> str:
    """How a process ended, by its exit code, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, as when memory runs out" if name == "SIGKILL" else name

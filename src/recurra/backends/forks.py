"""What is left of a process after a fork: OpenMP's threads are not, and waiting for them hangs."""

import logging
import os

import torch

logger = logging.getLogger("recurra")


class _Fork:
    """Whether this process was forked from one that had this module."""

    happened = False

    @classmethod
    def note(cls) -> None:
        cls.happened = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Fork.note)


def settle_after_fork() -> None:
    """In a forked process, before it computes: leave torch, whose threads are gone, one thread.

    A thread count that is set later holds: where the parent had not used its threads, new ones
    work. Workers of a DataLoader have one thread from the start.
    """
    if torch.compiler.is_compiling() or not _Fork.happened:
        return
    _Fork.happened = False
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        logger.warning(
            "process %d was forked: it runs with one thread, because OpenMP's threads stayed with "
            "its parent. Start processes with 'spawn' to have more.",
            os.getpid(),
        )

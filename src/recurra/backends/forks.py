"""What is left of a process after a fork: OpenMP's threads are not, and waiting for them hangs."""

import logging
import os

import torch

logger = logging.getLogger("recurra")


class Forks:
    """How this process came to be.

    Attributes:
        count: the forks since this module was imported, on the way to this process.
        unsettled: whether it was forked and has not computed since.
    """

    count = 0
    unsettled = False

    @classmethod
    def note(cls) -> None:
        """Called in the child."""
        cls.count += 1
        cls.unsettled = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Forks.note)


def settle_after_fork() -> None:
    """In a forked process, before it computes: leave torch, whose threads are gone, one thread.

    A thread count that is set later holds: where the parent had not used its threads, new ones
    work. Workers of a DataLoader have one thread from the start.
    """
    if torch.compiler.is_compiling() or not Forks.unsettled:
        return
    Forks.unsettled = False
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        logger.warning(
            "process %d was forked: it runs with one thread, because OpenMP's threads stayed with "
            "its parent. Start processes with 'spawn' to have more.",
            os.getpid(),
        )

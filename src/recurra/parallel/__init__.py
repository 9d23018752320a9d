"""Processes that train one model together: how they are started, meet, exchange and end.

Rank 0 is the process that the user started, and decides: it alone reads what the user named,
writes, shows and looks at the clock. Nothing here knows what is trained.
"""

from recurra.parallel.ending import cause_of_end, end_with_parent
from recurra.parallel.launching import check_devices, launched
from recurra.parallel.ranks import ALONE, Ranks, Together, cores, use_threads
from recurra.parallel.torchrun import by_torchrun, reported_by_torchrun, with_devices

__all__ = [
    "ALONE",
    "Ranks",
    "Together",
    "by_torchrun",
    "cause_of_end",
    "check_devices",
    "cores",
    "end_with_parent",
    "launched",
    "reported_by_torchrun",
    "use_threads",
    "with_devices",
]

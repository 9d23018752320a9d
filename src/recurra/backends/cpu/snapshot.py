"""Whether tensors still hold what they held when something was made from them."""

from collections.abc import Iterable
from operator import attrgetter

import torch
from torch import Tensor

from recurra.backends.forks import Forks

_address = Tensor.data_ptr
_version = attrgetter("_version")


class Snapshot:
    """Where some tensors lay, and how often they had been changed in place.

    Sees every change that autograd counts, and every move to other memory. A write through
    `tensor.data`, or by another library into the same memory, is counted by nobody.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        tensors = list(tensors)
        # held, so that no other tensor can come to lie where one of these lay
        self._memory = [tensor.detach() for tensor in tensors]
        self._addresses = [*map(_address, tensors)]
        self._versions = [*map(_version, tensors)]
        self._threads = torch.get_num_threads()
        self._forks = Forks.count

    def holds(self, tensors: list[Tensor]) -> bool:
        """Whether these are the same tensors, unchanged, to be computed with the same threads."""
        try:
            return (
                [*map(_address, tensors)] == self._addresses
                and [*map(_version, tensors)] == self._versions
                and torch.get_num_threads() == self._threads
                and Forks.count == self._forks  # threads stay behind when a process forks
            )
        except (RuntimeError, TypeError):  # tensors that have no version, or no memory
            return False

"""What is said once of a layer or a cell: what makes it slow, or other than may be expected."""

import logging
from weakref import WeakKeyDictionary

from torch import nn

from recurra.lang import Cell

logger = logging.getLogger("recurra")

_said: WeakKeyDictionary[nn.Module | Cell, set[str]] = WeakKeyDictionary()


def say_once(of: nn.Module | Cell, message: str) -> None:
    """Log a warning, unless it was logged of this layer, or of this cell, before."""
    said = _said.setdefault(of, set())
    if message not in said:
        said.add(message)
        logger.warning("%s", message)

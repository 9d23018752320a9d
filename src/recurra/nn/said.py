"""What is said once of a layer: what makes it slow, or different from what may be expected."""

import logging
from weakref import WeakKeyDictionary

from torch import nn

logger = logging.getLogger("recurra")

_said: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()


def say_once(layer: nn.Module, message: str) -> None:
    """Log a warning, unless it was logged of this layer before."""
    said = _said.setdefault(layer, set())
    if message not in said:
        said.add(message)
        logger.warning("%s", message)

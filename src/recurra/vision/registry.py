"""Encoders by name."""

import difflib
from typing import Any

from recurra.errors import argument
from recurra.vision.base import Encoder
from recurra.vision.convnet import ConvNet
from recurra.vision.resnet import ResNet
from recurra.vision.vgg import Vgg16

_ENCODERS: dict[str, type[Encoder]] = {kind.name: kind for kind in (ConvNet, ResNet, Vgg16)}


def names() -> list[str]:
    """The names of all encoders."""
    return sorted(_ENCODERS)


def encoder(name: str, **arguments: Any) -> Encoder:
    """A new encoder.

    Args:
        name: "convnet", "resnet", "vgg16": one of `names`.
        arguments: of its class, such as channels=; `encoder(**other.config)` is one like `other`.
    Raises:
        ValueError: when there is no such encoder, or an argument is wrong.
        TypeError: when it has no such argument.
    """
    kind = _ENCODERS.get(name) if isinstance(name, str) else None
    if kind is None:
        close = difflib.get_close_matches(str(name), names(), n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "Choose one of them."
        raise ValueError(
            f"{argument('encoder=')}: expected one of {', '.join(names())}, got {name!r:.40}. "
            f"{hint}"
        )
    return kind(**arguments)

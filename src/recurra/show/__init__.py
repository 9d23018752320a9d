"""A graph displayed: as text, as LaTeX, as a picture (`recurra.show.picture`).

Names are loaded when they are first used: what lays out graphs takes a while to load.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.show.equations import inputs_by_kind, latex, text

__all__ = ["inputs_by_kind", "latex", "text"]


def __getattr__(name: str) -> Any:
    """A public name, the first time that it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'recurra.show' has no attribute {name!r}")
    return globals().setdefault(name, getattr(import_module("recurra.show.equations"), name))

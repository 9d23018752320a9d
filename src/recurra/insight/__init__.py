"""What a model does, made visible: figures of its training and of what it takes for what."""

from recurra.insight.confusion import draw_confusion
from recurra.insight.curves import draw_comparison

__all__ = ["draw_comparison", "draw_confusion"]

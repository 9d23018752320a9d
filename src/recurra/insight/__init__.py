"""What a model does, made visible: figures of its training and of what it takes for what."""

from recurra.insight.confusion import confusion_png, draw_confusion
from recurra.insight.curves import draw_comparison

__all__ = ["confusion_png", "draw_comparison", "draw_confusion"]

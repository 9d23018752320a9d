"""What a model does, made visible: figures of its training."""

from recurra.insight.curves import draw_comparison

__all__ = ["draw_comparison"]

"""What a model does, made visible: figures of its training, of what it takes for
what, and of what it says will come."""

from recurra.insight.captions import captions_png, draw_captions, write_page
from recurra.insight.confusion import confusion_png, draw_confusion
from recurra.insight.curves import draw_comparison
from recurra.insight.deconvnet import deconvnet_sheet, draw_deconvnet
from recurra.insight.forecasts import draw_forecasts, forecasts_png
from recurra.insight.skeleton import draw_motion

__all__ = [
    "captions_png",
    "confusion_png",
    "deconvnet_sheet",
    "draw_captions",
    "draw_comparison",
    "draw_confusion",
    "draw_deconvnet",
    "draw_forecasts",
    "draw_motion",
    "forecasts_png",
    "write_page",
]

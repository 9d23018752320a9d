"""What a model does, made visible: figures of its training, of what it takes for what, of what it
says along time, and of what it says will come."""

from recurra.insight.captions import captions_png, draw_captions, write_page
from recurra.insight.confusion import confusion_png, draw_confusion
from recurra.insight.curves import draw_comparison
from recurra.insight.deconvnet import deconvnet_sheet, draw_deconvnet
from recurra.insight.forecasts import draw_forecasts, forecasts_png
from recurra.insight.skeleton import draw_motion
from recurra.insight.timelines import Timeline, draw_timelines, timelines_png

__all__ = [
    "Timeline",
    "captions_png",
    "confusion_png",
    "deconvnet_sheet",
    "draw_captions",
    "draw_comparison",
    "draw_confusion",
    "draw_deconvnet",
    "draw_forecasts",
    "draw_motion",
    "draw_timelines",
    "forecasts_png",
    "timelines_png",
    "write_page",
]

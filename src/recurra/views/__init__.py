"""How a run is shown while it trains: what is told of it, and views that show that."""

from recurra.views.status import Figure, Sample, Status
from recurra.views.view import LiveView, PlainView, SilentView, View, showing_builds, view_for

__all__ = [
    "Figure",
    "LiveView",
    "PlainView",
    "Sample",
    "SilentView",
    "Status",
    "View",
    "showing_builds",
    "view_for",
]

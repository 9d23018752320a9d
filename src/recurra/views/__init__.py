"""How a run is shown while it trains: what is told of it, and views that show that."""

from recurra.views.notebook import NotebookView, in_notebook
from recurra.views.status import Figure, Sample, Status
from recurra.views.view import LiveView, PlainView, SilentView, View, showing_builds, view_for
from recurra.views.watching import Watch, bar_on, unwatched

__all__ = [
    "Figure",
    "LiveView",
    "NotebookView",
    "PlainView",
    "Sample",
    "SilentView",
    "Status",
    "View",
    "Watch",
    "bar_on",
    "in_notebook",
    "showing_builds",
    "unwatched",
    "view_for",
]

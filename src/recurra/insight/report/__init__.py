"""A report of a run: figures, each with what to look for and what was found, in one file."""

from recurra.insight.report.figure import Figure, Passage
from recurra.insight.report.folder import check_figures
from recurra.insight.report.page import Report, other_than_report
from recurra.insight.report.rendering import png, svg_file

__all__ = ["Figure", "Passage", "Report", "check_figures", "other_than_report", "png", "svg_file"]

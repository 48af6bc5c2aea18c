"""The replay's report: one HTML file that needs nothing else, neither network nor plotting library."""

from forebay.offline.replay.report.page import render

__all__ = ["render"]

"""A report in one HTML file, to be handed over, looked through and marked.

:func:`write_report` writes the file: images with their heatmaps, the verdicts and
figures at any threshold, and marks of whoever looks through them. The page asks nothing
of any network. :func:`read_review` reads the marks that it exports. :func:`model_card`
says of a model what it is, what it can promise, and where it ends.
"""

from __future__ import annotations

from skfcdd.report._card import ModelCard, model_card
from skfcdd.report._review import Review, read_review
from skfcdd.report._write import ReportInfo, write_report

__all__ = [
    "ModelCard",
    "ReportInfo",
    "Review",
    "model_card",
    "read_review",
    "write_report",
]

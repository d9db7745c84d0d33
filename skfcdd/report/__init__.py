"""Interactive report on images in a single HTML file, and model cards.

:func:`write_report` writes the file: images with their heatmaps, predictions and
metrics at any threshold, and labels set by the reviewer. The page works offline.
:func:`read_review` reads the labels that it exports. :func:`model_card` summarises what
a model is, what it guarantees, and what its limits are.
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

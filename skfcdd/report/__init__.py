"""Interactive report on images in a single HTML file, and model cards.

:func:`write_report` writes the file. It shows the images with their heatmaps, and
predictions and metrics at any threshold; a reviewer can mark images as good or as
defects. The page works offline. :func:`read_review` reads the exported marks.
:func:`model_card` summarises a model, its guarantees, and its limits.
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

"""Options with a few values."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Kind", "Layout", "OnError", "Rows", "Texture"]


class Texture(StrEnum):
    """Surfaces of the demonstration."""

    fabric = "fabric"
    brushed_metal = "brushed_metal"
    wood = "wood"
    tablets = "tablets"


class Kind(StrEnum):
    """Estimators that can be trained."""

    classifier = "classifier"
    segmenter = "segmenter"


class OnError(StrEnum):
    """What to do with files that cannot be read."""

    stop = "raise"
    skip = "skip"


class Layout(StrEnum):
    """Contents of a picture with a heatmap."""

    overlay = "overlay"
    side_by_side = "side-by-side"
    parts = "parts"


class Rows(StrEnum):
    """Forms of a table."""

    csv = "csv"
    jsonl = "jsonl"

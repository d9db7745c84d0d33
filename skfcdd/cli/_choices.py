"""Options with a few values."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Kind", "Label", "Layout", "Mode", "OnError", "Rows", "Texture"]


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


class Label(StrEnum):
    """Labels of images."""

    good = "good"
    defect = "defect"


class Mode(StrEnum):
    """Channels that files are read with."""

    auto = "auto"
    grey = "grey"
    colour = "colour"
    channels = "channels"


class OnError(StrEnum):
    """How to handle files that cannot be read."""

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

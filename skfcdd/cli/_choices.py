"""Enumerations of the values that options accept."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Kind", "Label", "Layout", "Mode", "OnError", "Rows", "Texture"]


class Texture(StrEnum):
    """Textures of the surfaces in the demonstration."""

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
    """Colour modes in which files are read."""

    auto = "auto"
    grey = "grey"
    colour = "colour"
    channels = "channels"


class OnError(StrEnum):
    """Ways of handling files that cannot be read."""

    stop = "raise"
    skip = "skip"


class Layout(StrEnum):
    """Layouts of a picture with a heatmap."""

    overlay = "overlay"
    side_by_side = "side-by-side"
    parts = "parts"


class Rows(StrEnum):
    """File formats of a table."""

    csv = "csv"
    jsonl = "jsonl"

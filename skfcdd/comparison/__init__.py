"""Comparison of two models on the same images.

Separate confidence intervals for two models show little about their difference: most of
the variation is in how difficult the images are, which affects both models alike.
:func:`compare_models` therefore compares the models image by image, each at its own
threshold, and :func:`write_comparison` shows the images on which they disagree.
"""

from __future__ import annotations

from skfcdd.comparison._compare import Comparison, Contrast, compare_models
from skfcdd.comparison._page import write_comparison

__all__ = ["Comparison", "Contrast", "compare_models", "write_comparison"]

"""Whether a model is better than another, on the same images.

Two metrics with separate intervals show little about their difference: most of what
varies is which images are easy, and that is the same for both models.
:func:`compare_models` looks at the difference image by image, at the threshold of each
model, and :func:`write_comparison` shows the images on which they disagree.
"""

from __future__ import annotations

from skfcdd.comparison._compare import Comparison, Contrast, compare_models
from skfcdd.comparison._page import write_comparison

__all__ = ["Comparison", "Contrast", "compare_models", "write_comparison"]

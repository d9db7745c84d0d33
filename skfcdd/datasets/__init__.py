"""Data sets: generated surfaces with defects."""

from __future__ import annotations

from skfcdd.datasets._make_defects import make_defects

__all__ = ["make_defects"]

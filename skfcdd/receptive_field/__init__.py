"""The receptive field of a fully convolutional network, measured on the network.

A NaN in the input reaches exactly those cells of the output that depend on it:
through convolutions (also where a weight is 0), pooling, activations, branches and
gates alike. Filling the image with NaN up to some row, and finding by bisection the
row at which a cell of the output turns NaN, gives the first row which that cell
sees; filling from the other side gives the last. The middles of what several cells see,
against their numbers, say where the cells lie. Nothing is typed in by hand, so any
module can be measured.
"""

from __future__ import annotations

from skfcdd.receptive_field._field import ReceptiveField
from skfcdd.receptive_field._measure import measure_receptive_field

__all__ = ["ReceptiveField", "measure_receptive_field"]

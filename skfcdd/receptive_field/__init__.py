"""The receptive field of a fully convolutional network, measured on the network.

A NaN in the input reaches exactly those cells of the output that depend on it: through
convolutions (even if a weight is 0), pooling, activations, branches and gates. The
image is filled with NaN up to some row, and bisection finds the row at which a cell of
the output becomes NaN: the first row in its receptive field. Filling from the opposite
side gives the last row. The centres of the fields of several cells give the positions
of all cells. Nothing is entered by hand, so any module can be measured.
"""

from __future__ import annotations

from skfcdd.receptive_field._field import ReceptiveField
from skfcdd.receptive_field._measure import measure_receptive_field

__all__ = ["ReceptiveField", "measure_receptive_field"]

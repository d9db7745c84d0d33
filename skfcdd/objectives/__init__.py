r"""Objectives: scores and losses computed from the features of a backbone.

Every objective maps the features of a batch to *cells* :math:`A \ge 0` of shape
(n, u, v). Their mean over an image is its anomaly score

.. math:: s = \frac{1}{uv} \sum_{k,l} A_{kl} \ge 0,
          \qquad p = 1 - e^{-s},

where :math:`p` is the predicted probability of an anomaly. The loss of a normal image
is :math:`-\log(1 - p) = s`, and that of an anomaly is
:math:`-\log p = -\log(1 - e^{-s})`. The FCDD objective [1]_ is this binary
cross-entropy with pseudo-Huber cells.

All of this is computed in float32 (or float64 if the input is float64), even if the
backbone runs in bfloat16 or float16: in half precision, the difference
:math:`1 - e^{-s}` has no significant digits.

References
----------
.. [1] Liznerski et al., "Explainable Deep One-Class Classification", ICLR 2021,
   equations 1 to 3.
"""

from __future__ import annotations

from skfcdd.objectives._functions import anomaly_nll, pixel_loss, pseudo_huber
from skfcdd.objectives._objectives import (
    BCE,
    DSVDD,
    FCDD,
    HSC,
    OBJECTIVES,
    Focal,
    Objective,
    resolve_objective,
)

__all__ = [
    "BCE",
    "DSVDD",
    "FCDD",
    "HSC",
    "OBJECTIVES",
    "Focal",
    "Objective",
    "anomaly_nll",
    "pixel_loss",
    "pseudo_huber",
    "resolve_objective",
]

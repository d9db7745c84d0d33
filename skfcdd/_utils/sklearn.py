"""All imports from private modules of scikit-learn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as take_rows
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight

try:  # experimental, from 1.9 on
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Estimator without support for scikit-learn callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a method in one more stack frame, as scikit-learn's decorator does."""

        @functools.wraps(method)
        def without_callbacks(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return without_callbacks


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "StrOptions",
    "check_parameters",
    "check_sample_weight",
    "fit_context",
    "store_parameters",
    "take_rows",
    "with_callbacks",
]


def check_parameters(
    values: Mapping[str, Any], constraints: Mapping[str, Any], owner: str
) -> None:
    """Raise scikit-learn's error for invalid parameter values."""
    known = {name: constraints[name] for name in values if name in constraints}
    validate_parameter_constraints(known, dict(values), owner)


def check_sample_weight(sample_weight: Any, n: int) -> npt.NDArray[np.float64]:
    """Validate the weights of `n` samples: finite and non-negative."""
    weight: npt.NDArray[np.float64] = _check_sample_weight(
        sample_weight, np.empty((n, 1)), dtype=np.float64, ensure_non_negative=True
    )
    return weight


def store_parameters(estimator: Any, given: Mapping[str, Any]) -> None:
    """Store the arguments of ``__init__``, passed as its ``locals()``, unchanged."""
    own = {n: v for n, v in given.items() if n not in ("self", "__class__")}
    vars(estimator).update(own)

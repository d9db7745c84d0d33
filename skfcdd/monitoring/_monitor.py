"""Sequential test for drift, valid after every image."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from skfcdd._utils.files import written_at_once
from skfcdd._utils.sklearn import Interval, fit_context
from skfcdd.exceptions import CalibrationError
from skfcdd.monitoring._martingale import Martingale
from skfcdd.monitoring._ranks import Ranks, Trace, coarse
from skfcdd.monitoring._required import n_scores_required

if TYPE_CHECKING:
    from typing import Self

__all__ = ["DriftMonitor"]

_FORMAT, _VERSION = "skfcdd-drift-monitor", 1


class DriftMonitor(BaseEstimator):  # type: ignore[misc]
    """Monitor that raises an alarm if images drift away from the calibration images.

    The input is the anomaly scores of a stream of images in their order of arrival, or
    several statistics of each image from :func:`image_statistics`, which also reveal
    changes that may not affect the score, for example in lighting. As long as the
    images of the stream are exchangeable with the calibration images, the probability
    that an alarm is ever raised is at most `false_alarm_probability`, however long the
    stream is. No distribution is assumed.

    Exchangeable images come from the same source, are sampled in the same way, and have
    the same proportion of defects. Calibrate on the images of a normal day, including
    the usual defects, but not on images used for training.

    Parameters
    ----------
    false_alarm_probability : float, default=0.01
        Probability of an alarm ever being raised without drift, in (0, 1). Larger
        values detect drift earlier.
    max_scores : int, default=10000
        Maximum number of scores to keep, at least 20. It limits memory use, and how
        slow a drift can be detected: a gradual change over many times this number of
        images may be missed. Increase it to detect very slow drift.
    random_state : int, RandomState instance or None, default=None
        Random state for breaking ties and for choosing the scores to keep. The
        guarantee holds for any value that was not chosen based on the results.

    Attributes
    ----------
    alarm_ : bool
        Whether the evidence has ever reached ``1 / false_alarm_probability``. It is
        reset by ``fit``.
    alarm_at_ : int or None
        Number of the image of the stream, starting at 1, that raised the alarm.
    alarm_column_ : int or None
        Column that raised the alarm.
    alarm_probability_ : float
        Value of `false_alarm_probability` in ``fit``.
    evidence_ : float
        Current evidence against "no drift": the wealth of a gambler who started with 1.
        inf if it exceeds the range of floats.
    p_value_ : float
        Anytime-valid p-value: the reciprocal of the highest evidence so far, at most
        1.
    n_calibration_ : int
        Number of images in ``fit``.
    n_seen_ : int
        Number of images of the stream so far.
    n_features_in_ : int
        Number of columns.

    See Also
    --------
    image_statistics : Score, brightness, contrast and sharpness of images.
    skfcdd.display.DriftDisplay : Plot of the evidence over the stream.

    Notes
    -----
    Each column has its own conformal test martingale, and the evidence is the highest
    wealth among them divided by the number of columns: the probability that any of k
    martingales reaches k / alpha is at most alpha.

    An alarm refers to the stream, not to a single image, and indicates that something
    has changed, but not what. A series of defects can also raise it.

    Examples
    --------
    >>> import numpy as np
    >>> from skfcdd.monitoring import DriftMonitor
    >>> rng = np.random.default_rng(0)
    >>> monitor = DriftMonitor(random_state=0).fit(rng.normal(size=100))
    >>> monitor.update(rng.normal(size=500)).alarm_
    False
    >>> monitor.update(rng.normal(1.5, size=50)).alarm_
    True
    >>> 500 < monitor.alarm_at_ <= 550
    True
    """

    _parameter_constraints = {
        "false_alarm_probability": [Interval(Real, 0, 1, closed="neither")],
        "max_scores": [Interval(Integral, 20, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        false_alarm_probability: float = 0.01,
        *,
        max_scores: int = 10_000,
        random_state: Any = None,
    ) -> None:
        self.false_alarm_probability = false_alarm_probability
        self.max_scores = max_scores
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None) -> Self:
        """Calibrate the monitor, and start a new stream.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, n_columns)
            Scores of images not used for training, such as the ``calibration_scores_``
            of a model, or the anomaly scores of new images; or several statistics of
            each image.
        y : None
            Not used, present for API consistency by convention.

        Returns
        -------
        self : DriftMonitor

        Raises
        ------
        CalibrationError
            If there are too few images to detect any change; the message states how
            many are needed.
        ValueError
            If a number is not finite.
        """
        values = _columns(X, "X")
        n, n_columns = values.shape
        alarm = self.false_alarm_probability / n_columns
        needed = n_scores_required(alarm)
        if n < needed:
            raise CalibrationError(
                f"Got {n} images to calibrate on. With fewer than {needed}, an alarm "
                f"with false_alarm_probability={self.false_alarm_probability:g} and "
                f"{n_columns} column(s) can never be raised, however large the "
                "change. Use more images, or allow a higher probability."
            )
        seed = check_random_state(self.random_state).randint(2**31 - 1, size=4)
        self._generator = np.random.Generator(np.random.PCG64(seed.tolist()))
        self._ranks = [
            Ranks(column, self.max_scores, self._generator) for column in values.T
        ]
        self._martingales = [Martingale() for _ in range(n_columns)]
        self._trace = Trace()
        # A copy, because the guarantee needs the same probability for the whole stream.
        self.alarm_probability_ = float(self.false_alarm_probability)
        self._found: tuple[int, int] | None = None
        self.n_calibration_ = n
        self.n_features_in_ = n_columns
        return self

    def update(self, X: Any) -> Self:
        """Update the evidence with the next images of the stream.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, n_columns)
            Scores or statistics of the images, in order of arrival. The results do not
            depend on how the stream is divided into batches.

        Returns
        -------
        self : DriftMonitor

        Raises
        ------
        ValueError
            If a number is not finite, or the number of columns differs from that in
            ``fit``. The monitor is then unchanged.
        """
        check_is_fitted(self)
        values = _columns(X, "X", may_be_empty=True)
        if values.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {values.shape[1]} column(s), but the monitor was fitted with "
                f"{self.n_features_in_}. Pass the same columns as in fit."
            )
        level = math.log(self.n_features_in_ / self.alarm_probability_)
        for row in values.tolist():
            pairs = zip(row, self._ranks, self._martingales, strict=True)
            wealth = [martingale.bet(rank(value)) for value, rank, martingale in pairs]
            self._trace.add(self.n_seen_, max(wealth) - math.log(len(wealth)))
            if self._found is None and max(wealth) >= level:
                self._found = self.n_seen_, int(np.argmax(wealth))
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_martingales")

    @property
    def alarm_(self) -> bool:
        """Whether the evidence has ever reached 1 / false_alarm_probability."""
        check_is_fitted(self)
        return self._found is not None

    @property
    def alarm_at_(self) -> int | None:
        """Number of the image, starting at 1, that raised the alarm."""
        return self._found[0] if self.alarm_ and self._found else None

    @property
    def alarm_column_(self) -> int | None:
        """Column that raised the alarm."""
        return self._found[1] if self.alarm_ and self._found else None

    @property
    def n_seen_(self) -> int:
        """Number of images of the stream so far."""
        check_is_fitted(self)
        return self._martingales[0].step

    @property
    def evidence_(self) -> float:
        """Current evidence against "no drift"."""
        check_is_fitted(self)
        greatest = max(martingale.log_wealth for martingale in self._martingales)
        return _exp(greatest - math.log(self.n_features_in_))

    @property
    def p_value_(self) -> float:
        """Anytime-valid p-value from the highest evidence so far."""
        check_is_fitted(self)
        greatest = max(martingale.log_greatest for martingale in self._martingales)
        return min(1.0, math.exp(math.log(self.n_features_in_) - greatest))

    @property
    def course_(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Image numbers, and the decimal logarithm of the evidence after each of them.

        All images are included for short streams, and at most 2048 of them for long
        ones.
        """
        check_is_fitted(self)
        values = np.array(self._trace.values, dtype=np.float64) / math.log(10)
        return self._trace.stride * np.arange(1, len(values) + 1), values

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state as JSON, so that a stream can be resumed after a restart.

        The file is replaced only when the new one is completely written.

        Parameters
        ----------
        path : path-like
            File to write.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        state = {
            "format": _FORMAT,
            "version": _VERSION,
            "false_alarm_probability": self.alarm_probability_,
            "max_scores": int(self.max_scores),
            "n_calibration": self.n_calibration_,
            "found": self._found,
            "generator": self._generator.bit_generator.state,
            "columns": [
                {"scores": ranks.kept, "size": ranks.size, **martingale.state()}
                for ranks, martingale in zip(
                    self._ranks, self._martingales, strict=True
                )
            ],
            "trace": self._trace.state(),
        }
        with written_at_once(Path(path)) as temporary:
            temporary.write_text(json.dumps(state), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a saved monitor, which continues as if there had been no restart.

        Parameters
        ----------
        path : path-like
            File written by :meth:`save`.

        Returns
        -------
        DriftMonitor

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If the file does not contain a monitor, or is damaged.

        Examples
        --------
        >>> import tempfile
        >>> from skfcdd.monitoring import DriftMonitor
        >>> monitor = DriftMonitor(random_state=0).fit(range(50)).update([20, 30])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     monitor.save(f"{folder}/drift.json")
        ...     again = DriftMonitor.load(f"{folder}/drift.json")
        >>> again.n_seen_, again.evidence_ == monitor.evidence_
        (2, True)
        """
        text = Path(path).read_bytes()
        try:
            return cls._restored(json.loads(text))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{str(path)!r} is damaged or was not written by DriftMonitor.save: "
                f"{error}"
            ) from error

    @classmethod
    def _restored(cls, state: dict[str, Any]) -> Self:
        if state["format"] != _FORMAT or state["version"] != _VERSION:
            raise ValueError(
                f"expected format {_FORMAT!r}, version {_VERSION}; got "
                f"{state['format']!r}, {state['version']!r}."
            )
        monitor = cls(state["false_alarm_probability"], max_scores=state["max_scores"])
        bits = np.random.PCG64()
        bits.state = state["generator"]
        monitor._generator = np.random.Generator(bits)
        columns = state["columns"]
        monitor._ranks = [
            Ranks(_finite(c["scores"]), int(c["size"]), monitor._generator)
            for c in columns
        ]
        monitor._martingales = [Martingale.restored(c) for c in columns]
        trace, found = state["trace"], state["found"]
        monitor._trace = Trace(int(trace["stride"]), _finite(trace["values"]))
        monitor.alarm_probability_ = monitor.false_alarm_probability
        monitor._found = None if found is None else (int(found[0]), int(found[1]))
        monitor.n_calibration_ = int(state["n_calibration"])
        monitor.n_features_in_ = len(columns)
        monitor._validate_params()
        if not columns or len({m.step for m in monitor._martingales}) != 1:
            raise ValueError("expected columns of equal length.")
        return monitor


def _exp(value: float) -> float:
    return math.exp(value) if value < 709 else math.inf


def _finite(values: Sequence[Any]) -> list[float]:
    numbers = [float(value) for value in values]
    if not np.isfinite(numbers).all():
        raise ValueError("expected finite numbers.")
    return numbers


def _columns(
    X: Any, name: str, *, may_be_empty: bool = False
) -> npt.NDArray[np.float64]:
    """Validate X as (n, n_columns), and remove the digits affected by rounding."""
    values: npt.NDArray[np.float64] = check_array(
        X,
        dtype=np.float64,
        ensure_2d=False,
        ensure_min_samples=0 if may_be_empty else 1,
        input_name=name,
    )
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(
            f"{name} must be of shape (n,) or (n, n_columns). Got {values.shape}."
        )
    return coarse(values)

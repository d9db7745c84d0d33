"""Errors and warnings of skfcdd."""

from __future__ import annotations

__all__ = [
    "AnomalyLabelWarning",
    "BackboneError",
    "CalibrationError",
    "ChannelOrderError",
    "CollapseWarning",
    "DownloadError",
    "ImageShapeError",
    "OutOfMemoryWarning",
    "ReceptiveFieldWarning",
    "ValueRangeWarning",
    "WeightsError",
]


class ImageShapeError(ValueError):
    """Images, or their masks, have a shape that does not fit.

    Examples
    --------
    >>> from skfcdd.exceptions import ImageShapeError
    >>> issubclass(ImageShapeError, ValueError)
    True
    """


class ChannelOrderError(ImageShapeError):
    """The axis that holds the channels cannot be told from the shape alone.

    Examples
    --------
    >>> from skfcdd.exceptions import ChannelOrderError
    >>> issubclass(ChannelOrderError, ValueError)
    True
    """


class BackboneError(ValueError):
    """A network cannot serve as a backbone: unknown, of another shape, or too deep.

    Examples
    --------
    >>> from skfcdd.exceptions import BackboneError
    >>> issubclass(BackboneError, ValueError)
    True
    """


class WeightsError(BackboneError):
    """Weights are damaged, or those of another network.

    Examples
    --------
    >>> from skfcdd.exceptions import WeightsError
    >>> issubclass(WeightsError, ValueError)
    True
    """


class DownloadError(OSError):
    """A file cannot be fetched; the message says where to put it by hand.

    Examples
    --------
    >>> from skfcdd.exceptions import DownloadError
    >>> issubclass(DownloadError, OSError)
    True
    """


class CalibrationError(ValueError):
    """Images to calibrate on are too few, or of the wrong kind, for what is asked.

    Examples
    --------
    >>> from skfcdd.exceptions import CalibrationError
    >>> issubclass(CalibrationError, ValueError)
    True
    """


class AnomalyLabelWarning(UserWarning):
    """The label that means "anomaly" was taken from the sort order of the labels.

    Examples
    --------
    >>> from skfcdd.exceptions import AnomalyLabelWarning
    >>> issubclass(AnomalyLabelWarning, UserWarning)
    True
    """


class CollapseWarning(UserWarning):
    """Training ended in a network that gives (nearly) the same score to everything.

    Examples
    --------
    >>> from skfcdd.exceptions import CollapseWarning
    >>> issubclass(CollapseWarning, UserWarning)
    True
    """


class ReceptiveFieldWarning(UserWarning):
    """A cell of the map sees most of the image, so the map cannot localise.

    Examples
    --------
    >>> from skfcdd.exceptions import ReceptiveFieldWarning
    >>> issubclass(ReceptiveFieldWarning, UserWarning)
    True
    """


class ValueRangeWarning(UserWarning):
    """Images to be scored have another range of values than those of ``fit``.

    Examples
    --------
    >>> from skfcdd.exceptions import ValueRangeWarning
    >>> issubclass(ValueRangeWarning, UserWarning)
    True
    """


class OutOfMemoryWarning(UserWarning):
    """The device ran out of memory, and smaller batches are used.

    Examples
    --------
    >>> from skfcdd.exceptions import OutOfMemoryWarning
    >>> issubclass(OutOfMemoryWarning, UserWarning)
    True
    """

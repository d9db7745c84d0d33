"""Errors and warnings of skfcdd."""

from __future__ import annotations

__all__ = [
    "AnomalyLabelWarning",
    "BackboneError",
    "CalibrationError",
    "ChannelOrderError",
    "CheckpointError",
    "CollapseWarning",
    "DivergedTrainingWarning",
    "DownloadError",
    "ExportError",
    "FewImagesWarning",
    "ImageFileError",
    "ImageFileWarning",
    "ImageShapeError",
    "InterruptedTrainingWarning",
    "ModelFileError",
    "NotStoredWarning",
    "OutOfMemoryWarning",
    "RandomFeaturesWarning",
    "ReceptiveFieldWarning",
    "SkippedFilesWarning",
    "UnclearDataWarning",
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
    """The channel axis is ambiguous from the shape.

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


class FewImagesWarning(UserWarning):
    """The calibration images are too few for the rate of false alarms asked for.

    Examples
    --------
    >>> from skfcdd.exceptions import FewImagesWarning
    >>> issubclass(FewImagesWarning, UserWarning)
    True
    """


class RandomFeaturesWarning(UserWarning):
    """A method that rests on pretrained features got a network with random weights.

    Examples
    --------
    >>> from skfcdd.exceptions import RandomFeaturesWarning
    >>> issubclass(RandomFeaturesWarning, UserWarning)
    True
    """


class CheckpointError(ValueError):
    """A checkpoint is damaged, or of another training.

    Examples
    --------
    >>> from skfcdd.exceptions import CheckpointError
    >>> issubclass(CheckpointError, ValueError)
    True
    """


class DivergedTrainingWarning(UserWarning):
    """Training diverged, and the estimator has what it learned before.

    Examples
    --------
    >>> from skfcdd.exceptions import DivergedTrainingWarning
    >>> issubclass(DivergedTrainingWarning, UserWarning)
    True
    """


class InterruptedTrainingWarning(UserWarning):
    """Training was interrupted, by Ctrl-C say, and the estimator has what it learned.

    Examples
    --------
    >>> from skfcdd.exceptions import InterruptedTrainingWarning
    >>> issubclass(InterruptedTrainingWarning, UserWarning)
    True
    """


class ReceptiveFieldWarning(UserWarning):
    """Heatmaps cannot tell places: a cell sees too much, or lies elsewhere.

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


class ImageFileError(ValueError, OSError):
    """A file cannot be read as an image.

    Examples
    --------
    >>> from skfcdd.exceptions import ImageFileError
    >>> issubclass(ImageFileError, ValueError) and issubclass(ImageFileError, OSError)
    True
    """


class ImageFileWarning(UserWarning):
    """An image file is not read as it stands, such as one that is transparent all over.

    Examples
    --------
    >>> from skfcdd.exceptions import ImageFileWarning
    >>> issubclass(ImageFileWarning, UserWarning)
    True
    """


class ModelFileError(ValueError):
    """A file does not hold a model that can be loaded.

    Examples
    --------
    >>> from skfcdd.exceptions import ModelFileError
    >>> issubclass(ModelFileError, ValueError)
    True
    """


class NotStoredWarning(UserWarning):
    """Parameters are not in the file of a saved model.

    Examples
    --------
    >>> from skfcdd.exceptions import NotStoredWarning
    >>> issubclass(NotStoredWarning, UserWarning)
    True
    """


class SkippedFilesWarning(UserWarning):
    """Files that cannot be read were left out.

    Examples
    --------
    >>> from skfcdd.exceptions import SkippedFilesWarning
    >>> issubclass(SkippedFilesWarning, UserWarning)
    True
    """


class UnclearDataWarning(UserWarning):
    """Folders, tables or masks leave something open; the message says what was taken.

    Examples
    --------
    >>> from skfcdd.exceptions import UnclearDataWarning
    >>> issubclass(UnclearDataWarning, UserWarning)
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


class ExportError(RuntimeError):
    """An exported model differs from the estimator; no file was written.

    Examples
    --------
    >>> from skfcdd.exceptions import ExportError
    >>> issubclass(ExportError, RuntimeError)
    True
    """

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
    """Error raised if images or masks have an invalid shape.

    Examples
    --------
    >>> from skfcdd.exceptions import ImageShapeError
    >>> issubclass(ImageShapeError, ValueError)
    True
    """


class ChannelOrderError(ImageShapeError):
    """Error raised if the channel axis is ambiguous.

    Examples
    --------
    >>> from skfcdd.exceptions import ChannelOrderError
    >>> issubclass(ChannelOrderError, ValueError)
    True
    """


class BackboneError(ValueError):
    """Error raised if a network is unknown or cannot be used as a backbone.

    Examples
    --------
    >>> from skfcdd.exceptions import BackboneError
    >>> issubclass(BackboneError, ValueError)
    True
    """


class WeightsError(BackboneError):
    """Error raised if weights are damaged or belong to a different network.

    Examples
    --------
    >>> from skfcdd.exceptions import WeightsError
    >>> issubclass(WeightsError, ValueError)
    True
    """


class DownloadError(OSError):
    """Error raised if a download fails; the message explains how to do it manually.

    Examples
    --------
    >>> from skfcdd.exceptions import DownloadError
    >>> issubclass(DownloadError, OSError)
    True
    """


class CalibrationError(ValueError):
    """Error raised if there are too few calibration images, or unsuitable ones.

    Examples
    --------
    >>> from skfcdd.exceptions import CalibrationError
    >>> issubclass(CalibrationError, ValueError)
    True
    """


class AnomalyLabelWarning(UserWarning):
    """Warning issued if it is uncertain which label means anomaly.

    Examples
    --------
    >>> from skfcdd.exceptions import AnomalyLabelWarning
    >>> issubclass(AnomalyLabelWarning, UserWarning)
    True
    """


class CollapseWarning(UserWarning):
    """Warning issued if a trained network returns nearly the same score for all images.

    Examples
    --------
    >>> from skfcdd.exceptions import CollapseWarning
    >>> issubclass(CollapseWarning, UserWarning)
    True
    """


class FewImagesWarning(UserWarning):
    """Warning issued if there are too few images for the requested false alarm rate.

    Examples
    --------
    >>> from skfcdd.exceptions import FewImagesWarning
    >>> issubclass(FewImagesWarning, UserWarning)
    True
    """


class RandomFeaturesWarning(UserWarning):
    """Warning issued if a method that needs pretrained features has random weights.

    Examples
    --------
    >>> from skfcdd.exceptions import RandomFeaturesWarning
    >>> issubclass(RandomFeaturesWarning, UserWarning)
    True
    """


class CheckpointError(ValueError):
    """Error raised if a checkpoint is damaged or belongs to a different training run.

    Examples
    --------
    >>> from skfcdd.exceptions import CheckpointError
    >>> issubclass(CheckpointError, ValueError)
    True
    """


class DivergedTrainingWarning(UserWarning):
    """Warning issued if training diverged, and weights of an earlier epoch are used.

    Examples
    --------
    >>> from skfcdd.exceptions import DivergedTrainingWarning
    >>> issubclass(DivergedTrainingWarning, UserWarning)
    True
    """


class InterruptedTrainingWarning(UserWarning):
    """Warning issued if training was interrupted, and its current state is used.

    Examples
    --------
    >>> from skfcdd.exceptions import InterruptedTrainingWarning
    >>> issubclass(InterruptedTrainingWarning, UserWarning)
    True
    """


class ReceptiveFieldWarning(UserWarning):
    """Warning issued if the receptive field prevents heatmaps from localising defects.

    Examples
    --------
    >>> from skfcdd.exceptions import ReceptiveFieldWarning
    >>> issubclass(ReceptiveFieldWarning, UserWarning)
    True
    """


class ValueRangeWarning(UserWarning):
    """Warning issued if pixel values have a different range than those of ``fit``.

    Examples
    --------
    >>> from skfcdd.exceptions import ValueRangeWarning
    >>> issubclass(ValueRangeWarning, UserWarning)
    True
    """


class ImageFileError(ValueError, OSError):
    """Error raised if a file cannot be read as an image.

    Examples
    --------
    >>> from skfcdd.exceptions import ImageFileError
    >>> issubclass(ImageFileError, ValueError) and issubclass(ImageFileError, OSError)
    True
    """


class ImageFileWarning(UserWarning):
    """Warning issued if an image file is converted, such as one with transparency.

    Examples
    --------
    >>> from skfcdd.exceptions import ImageFileWarning
    >>> issubclass(ImageFileWarning, UserWarning)
    True
    """


class ModelFileError(ValueError):
    """Error raised if a file does not contain a model that can be loaded.

    Examples
    --------
    >>> from skfcdd.exceptions import ModelFileError
    >>> issubclass(ModelFileError, ValueError)
    True
    """


class NotStoredWarning(UserWarning):
    """Warning issued if some parameters are not stored in a model file.

    Examples
    --------
    >>> from skfcdd.exceptions import NotStoredWarning
    >>> issubclass(NotStoredWarning, UserWarning)
    True
    """


class SkippedFilesWarning(UserWarning):
    """Warning issued if unreadable files are skipped.

    Examples
    --------
    >>> from skfcdd.exceptions import SkippedFilesWarning
    >>> issubclass(SkippedFilesWarning, UserWarning)
    True
    """


class UnclearDataWarning(UserWarning):
    """Warning issued if folders, tables or masks are ambiguous.

    Examples
    --------
    >>> from skfcdd.exceptions import UnclearDataWarning
    >>> issubclass(UnclearDataWarning, UserWarning)
    True
    """


class OutOfMemoryWarning(UserWarning):
    """Warning issued if the device runs out of memory and smaller batches are used.

    Examples
    --------
    >>> from skfcdd.exceptions import OutOfMemoryWarning
    >>> issubclass(OutOfMemoryWarning, UserWarning)
    True
    """


class ExportError(RuntimeError):
    """Error raised if an exported model differs from the estimator; no file is written.

    Examples
    --------
    >>> from skfcdd.exceptions import ExportError
    >>> issubclass(ExportError, RuntimeError)
    True
    """

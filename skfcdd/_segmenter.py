"""FCDDSegmenter: images and masks; every answer is about pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import ClassifierTags

from skfcdd._base import BaseFCDD
from skfcdd._calibration import CalibrationRows, Scorer, Verge, pixel_threshold
from skfcdd._engine.model import FittedModel
from skfcdd._inputs.groups import with_groups
from skfcdd._inputs.images import ImageArray, check_images
from skfcdd._inputs.labels import (
    Targets,
    check_masks_and_labels,
    image_labels,
    is_masks,
)
from skfcdd._inputs.weights import with_weights
from skfcdd._regions import Region, find_regions
from skfcdd._utils.sklearn import (
    Interval,
    StrOptions,
    fit_context,
    store_parameters,
    with_callbacks,
)
from skfcdd._verdicts import Convention, settled
from skfcdd.metrics import intersection_over_union_score

__all__ = ["FCDDSegmenter"]


class FCDDSegmenter(BaseFCDD):
    """Mark the anomalous pixels of images.

    The method of :class:`FCDDClassifier`, trained and asked about pixels: masks go
    in, masks come out. Without masks, those of synthetic anomalies are learnt from.

    Parameters
    ----------
    backbone : str, torch.nn.Module or callable, default="auto"
        The network: a name of :func:`skfcdd.backbones.list_backbones`, a module that
        maps (n, c, h, w) to (n, d, u, v), or a callable without arguments that makes
        one. "auto" takes "efficientnet_lite0", pretrained, for grey and colour images
        whose shorter side (after `resize`) has at least 64 pixels, and else a network
        of the paper, see :func:`skfcdd.backbones.choose_backbone`.
    loss : {"fcdd", "hsc", "dsvdd", "bce", "focal"} or Objective, default="fcdd"
        The objective, see :mod:`skfcdd.objectives`. The others are for comparison;
        "hsc" and "dsvdd" explain by gradients.
    weights : str, path, mapping or None, default="auto"
        First weights of the backbone: "imagenet" for the official file, from a package
        or downloaded once; a path (.pth, .safetensors), an address, or a state dict,
        see :func:`skfcdd.backbones.load_weights`. None starts from random weights.
        "auto" takes "imagenet" for efficientnet_lite0, 1 and 2, and else None.
    frozen : int, str or None, default="auto"
        The stages of the backbone that are not trained: their number, the name of
        the last one, or "all". "auto" freezes the first two of efficientnet_lite0, 1
        and 2 with given weights, but for the last one, and none of other networks.
    cut : int, "auto" or None, default=None
        Number of the stage behind which the backbone is cut. "auto" takes the deepest
        of which a cell sees at most half of each side of the image. None takes the
        usual one: of efficientnet_lite0 that of stride 8, of stride 4 for images whose
        shorter side has less than 112 pixels (128 for efficientnet_lite1 and 2).
    stages : sequence of int, default=None
        Several stages instead, whose features are put together.
    feature_cache : "auto", FeatureCache or None, default="auto"
        Whether features of frozen stages are computed once and kept, see
        :class:`skfcdd.feature_cache.FeatureCache`. "auto" does so where stages are
        frozen and `augment` is None.
    memory_bank : "auto", MemoryBank or None, default="auto"
        A memory of the pretrained features of normal images, whose anomaly map is
        added to the network's: what has never been seen counts as well as what looks
        like a defect. See :class:`skfcdd.memory_bank.MemoryBank`; :meth:`explain_parts`
        tells the two apart. "auto" adds one to the networks efficientnet_lite0, 1 and
        2 with frozen stages, which are the default; other networks need a frozen
        stage. None adds none.
    anomaly_label : label, default=None
        Where y holds labels: the one of anomalies, as for :class:`FCDDClassifier`.
    image_shape : tuple of int, default=None
        Layout of an image, where X has flat rows: (h, w) or (h, w, c); (c, h, w) with
        ``channels="first"``. None takes flat rows for images of one row.
    channels : {"first", "last"}, default=None
        Order of the axes of a four-dimensional X. Needed only where both readings are
        possible.
    normalize : str, (mean, std) or None, default="auto"
        "contrast" brings each image to mean 0 and standard deviation 1, for lighting
        that varies. "standard" uses mean and standard deviation of each channel over
        the normal images; choose it if an image that is too dark or too bright as a
        whole is an anomaly. "imagenet" uses those of photographs, which weights
        trained on ImageNet expect. "flat-field" divides by the light of a fixed lamp
        and lens, which is learned from the normal images; "local" divides each image
        by its own slow changes of light, and brings all to one contrast. Both then
        take "imagenet" with pretrained weights for three channels, else "standard",
        and need sides of at least 8 pixels. A tuple gives values per channel in the
        unit range. "auto" takes "imagenet" with pretrained weights, given or by
        default, "standard" where a side is shorter than 8 pixels, and else "contrast".
    resize : int or tuple of int (h, w), default=None
        Size to which images are brought for the network. Heatmaps come back at the
        original size.
    augment : str, callable, sequence of these, or None, default="auto"
        Random changes that keep a normal image normal: "shift", "jitter" (brightness
        and contrast), "horizontal_flip", "vertical_flip", "transpose"; or a callable
        (images, masks, generator) -> (images, masks). Add flips where they make
        sense. "auto" takes ("shift", "jitter"), and None where stages are frozen.
    synthetic : str, callable, sequence of these, or None, default="mixed"
        Anomalies that are planted on normal images, see :mod:`skfcdd.anomalies`.
        Choose what resembles the defects that you expect.
        "feature_noise" and "feature_mix" change features of frozen stages instead.
    outlier_exposure : array-like of images, default=None
        Images of anything else, used as anomalies in training. Brought to the size
        and channels of X.
    oe_limit : int, default=None
        Use at most this many of them, drawn at random.
    anomaly_fraction : float, default=0.5
        Share of anomalies in a batch, between 0 and 1. Real ones come first, then
        exposed outliers, and synthetic ones fill up.
    pixel_loss : {"anomalous", "all"}, default="anomalous"
        The pixel-wise objective for anomalies whose mask is known, as it is for
        synthetic ones: what its second mean runs over, see
        :func:`skfcdd.objectives.pixel_loss`. Objectives without a map ("hsc",
        "dsvdd") learn from labels of images alone.
    score_pooling : {"mean", "max"} or float, default="mean"
        How the cells of an image make its score. A float is the share of greatest
        cells to average: small shares find small defects.
    heatmap_sigma : float, default=None
        Standard deviation of the Gaussian of a cell in pixels. None uses
        :func:`skfcdd.heatmaps.default_sigma`, or with a memory bank half the distance
        between two cells.
    threshold : str, Threshold or float, default="auto"
        The value of the heatmap above which a pixel is anomalous, or the rule that
        finds it on images held out of training, see :mod:`skfcdd.thresholds`. Rules
        that need anomalies ("youden", "f1", "closest", MaxFPR, MaxFNR) look at
        pixels. The others ("quantile", FalseAlarmRate) look at the hottest pixel of
        each normal image: they limit how many good images have any anomalous pixel.
        "auto" takes "f1" where there are masks, else "quantile".
    contamination : float, default=0.05
        Share of normal images in which "auto" and "quantile" may find an anomalous
        pixel, in [0, 0.5).
    min_area : int, default=1
        Drop predicted regions of fewer connected pixels.
    validation_fraction : float or "auto", default="auto"
        Share of the normal images, and of the anomalies if there are ten or more, to
        hold out for the threshold. Images that were trained on never set it, also by
        ``warm_start``; but fewer than ten anomalies do, for want of others. "auto"
        holds out a tenth of 100 normal images or more, at least 20; of fewer, all are
        trained on, and each is scored for the threshold by one of three more networks,
        trained on the others, which makes ``fit`` take three times as long. With
        `early_stopping` or `accelerate`, it holds out a tenth of fewer images too.
    optimizer : {"adamw", "adam", "sgd"} or a torch optimizer class, default="adamw"
        "sgd" has Nesterov momentum 0.9.
    lr : "auto" or float, default="auto"
        Learning rate; its maximum where a schedule is used. "auto" takes 0.002 for
        pretrained efficientnet_lite0, 1 and 2, and else 0.001. The layer behind such a
        pretrained network, which starts from random weights, learns ten times as fast.
    weight_decay : float, default=1e-4
        Weight decay.
    lr_schedule : str, skorch LRScheduler or None, default="onecycle"
        Course of the learning rate: "onecycle", "cosine", a skorch callback, or
        constant.
    max_epochs : int or "auto", default="auto"
        Number of passes over the normal images. "auto" takes between 5 and 50, as
        many as give about 900 steps: about a minute for images of 128 x 128 pixels
        on two cores.
    batch_size : int, default=16
        Images in a batch, normal and anomalous together.
    early_stopping : bool, default=False
        Stop when the loss on held-out images no longer falls, and keep the best
        weights. These images are held out beside those for the threshold.
    device : str, default="auto"
        Where to compute, as torch names it. "auto" takes CUDA where there is one.
    precision : str, default="auto"
        In which the backbone computes, in training and for scores: "float64",
        "float32", "bfloat16", or "mixed", bfloat16 in frozen stages and float32 in
        the others. What comes behind it is computed in float32 at least. "auto" takes
        bfloat16 where the hardware is made for it (on processors "mixed" for networks
        that train faster so), float64 for images of less than 24 x 24 pixels, and
        else float32.
    compile : bool, default=False
        Compile the network with torch.compile: worth a try for long trainings on a
        GPU. On the processor where it was timed, epochs took longer.
    accelerate : bool, default=False
        Share the training among the processes that ``accelerate launch`` or
        ``torchrun`` has started, on one machine or many; each must call ``fit`` with
        the same data, and gets the same model.
    checkpoint : path, default=None
        File that keeps the state of a training after each epoch. A ``fit`` that was
        broken off, by a power cut say, is called again in the same way and goes on from
        there, to the same model; then the file is deleted. None keeps none.
    callbacks : list of skorch callbacks, default=None
        Called in training; not in those that only score images for the threshold.
    skorch_params : dict, default=None
        Further arguments of `skorch.NeuralNet`. Those for which there is a parameter
        here (lr, max_epochs, batch_size, callbacks, ...) take its place; those that
        the estimator decides on (module, criterion, ...) are refused.
    warm_start : bool, default=False
        Go on with the network of the last ``fit`` for further `max_epochs`. Parameters
        that would make another network, such as `backbone`, `loss` or `resize`, must
        be as they were.
    random_state : int, RandomState instance or None, default=None
        Same data, parameters and int give the same model. None draws fresh entropy.
        numpy's and torch's global generators are left as found.
    verbose : int, default=0
        1 prints a line for each epoch, with the time that is left.

    Attributes
    ----------
    threshold_ : float
        A pixel whose heatmap is greater is anomalous.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images.
    n_features_in_ : int
        h * w * c.
    feature_names_in_ : ndarray of str
        Names of the columns, where X was a table with names.
    calibration_scores_ : ndarray of shape (n_calibration,), float64
        Scores of the normal images that set the threshold, in increasing order: those
        held out, or all, by networks that were not trained on them.
    calibration_ : Calibration
        What the threshold rests on, see :class:`skfcdd.thresholds.Calibration`; None
        for models from files of former versions. ``print`` it to read it.
    heatmap_scale_ : tuple of float (low, high)
        Where the colours of heatmaps begin and end, one scale for all images: 99 % of
        the pixels of held-out normal images lie below the first; the hottest pixels of
        defects planted on them reach the second.
    pixel_threshold_ : float
        The same as ``threshold_``: pixels above it are outlined in pictures.
    reading_ : dict or None
        How files became images, where X was files; paths given later are read alike.
    receptive_field_ : ReceptiveField
        What a cell of the map sees, in pixels that the network sees.
    history_ : list of dict
        Loss and time of each epoch.
    backbone_ : str
        Name of the network that was taken, or of the class of one's own.
    weights_ : str or None
        Its first weights: "imagenet", "given", or None for random ones.
    precision_ : {"float64", "float32", "bfloat16", "mixed"}
        In which the backbone computes.
    net_ : skorch.NeuralNet
        The trained net.

    Notes
    -----
    ``fit`` freezes its parameters with what it learns. A parameter that is changed
    afterwards takes effect in the next ``fit``; `threshold`, `contamination`,
    `score_pooling`, `heatmap_sigma` and `min_area` do so in ``calibrate`` too, and
    threshold and scale of colours follow.

    Examples
    --------
    >>> from skfcdd import FCDDSegmenter
    >>> from skfcdd.datasets import make_defects
    >>> data = make_defects(n_samples=60, image_size=32, random_state=0)
    >>> model = FCDDSegmenter(max_epochs=3, random_state=0)
    >>> model = model.fit(data.images[:40], data.masks[:40])
    >>> model.predict(data.images[40:]).shape
    (20, 32, 32)
    """

    anomaly_label: Any
    min_area: int
    _parameter_constraints: dict[str, Any] = {
        **BaseFCDD._parameter_constraints,
        "pixel_loss": [StrOptions({"anomalous", "all"})],
        "contamination": [Interval(Real, 0, 0.5, closed="left")],
        "min_area": [Interval(Integral, 1, None, closed="left")],
        "anomaly_label": "no_validation",
    }

    def __init__(
        self,
        backbone: Any = "auto",
        loss: Any = "fcdd",
        *,
        weights: Any = "auto",
        frozen: int | str | None = "auto",
        cut: int | str | None = None,
        stages: Sequence[int] | None = None,
        feature_cache: Any = "auto",
        memory_bank: Any = "auto",
        anomaly_label: Any = None,
        image_shape: tuple[int, ...] | None = None,
        channels: str | None = None,
        normalize: Any = "auto",
        resize: Any = None,
        augment: Any = "auto",
        synthetic: Any = "mixed",
        outlier_exposure: Any = None,
        oe_limit: int | None = None,
        anomaly_fraction: float = 0.5,
        pixel_loss: str = "anomalous",
        score_pooling: str | float = "mean",
        heatmap_sigma: float | None = None,
        threshold: str | float = "auto",
        contamination: float = 0.05,
        min_area: int = 1,
        validation_fraction: float | str = "auto",
        optimizer: Any = "adamw",
        lr: float | str = "auto",
        weight_decay: float = 1e-4,
        lr_schedule: Any = "onecycle",
        max_epochs: int | str = "auto",
        batch_size: int = 16,
        early_stopping: bool = False,
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,
        accelerate: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Any = None,
        skorch_params: dict[str, Any] | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        store_parameters(self, locals())

    @with_callbacks  # type: ignore[untyped-decorator]
    @fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(
        self,
        X: Any,
        y: Any = None,
        masks: Any = None,
        sample_weight: Any = None,
        groups: Any = None,
    ) -> FCDDSegmenter:
        """Train on images and masks, or on normal images alone.

        Parameters
        ----------
        X : array-like
            Images (n, h, w), (n, h, w, c) or (n, c, h, w), or flat rows; any real
            type, NumPy, torch or a list of equal images.
        y : array-like of shape (n, h, w) or (n,), default=None
            Masks, 1 (or 255) at anomalous pixels. Or labels of the images, as for
            :class:`FCDDClassifier`. None means that all images are normal.
        masks : array-like of shape (n, h, w), or list with None, default=None
            Masks beside labels in y. Anomalies whose mask is None or empty are learnt
            from by their label.
        sample_weight : array-like of shape (n,), default=None
            How much each image counts: one of weight 2 is shown in training twice as
            often as one of weight 1 of its kind, and one of weight 0 plays no part. The
            threshold looks at held-out images one by one, whatever their weight.
        groups : array-like of shape (n,), default=None
            Which images belong together, such as photographs of one part or of one
            lot: the threshold is set on images of other groups than those trained on,
            and each group of normal images counts as one.

        Returns
        -------
        self : FCDDSegmenter

        Raises
        ------
        ValueError
            If X, y or masks cannot be used; the message names what was found.

        Warns
        -----
        AnomalyLabelWarning
            If the label of anomalies was taken from the sort order.
        CollapseWarning
            If the trained network gives all images nearly the same score.
        ~skfcdd.exceptions.FewImagesWarning
            If the images are too few for the rate of false alarms that is asked for.
        """
        with self._all_or_nothing():
            images = check_images(
                self, X, channels=self.channels, image_shape=self.image_shape
            )
            size = images.image_shape[:2]
            targets = check_masks_and_labels(
                y, masks, len(images), size, self.anomaly_label
            )
            targets = with_groups(with_weights(targets, sample_weight), groups)
            convention = Convention(
                "segmenter",
                min_area=self.min_area,
                image_anomaly_label=targets.anomaly_label,
            )
            self._fit_images(images, targets, convention, X, y)
        return self

    def predict(self, X: Any) -> npt.NDArray[np.uint8]:
        """Mask of each image.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n, h, w), uint8
            1 at pixels whose heatmap is above ``threshold_``, in regions of at least
            `min_area` pixels; else 0.
        """
        images = self._check_images(X)
        masks = np.empty((len(images), *images.image_shape[:2]), dtype=np.uint8)
        model = self._fitted
        for rows, heatmaps in model.heatmaps(images):
            masks[rows] = model.convention.masks(heatmaps, model.threshold)
        return masks

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Distance of each pixel's heatmap from the threshold; positive if anomalous.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n, h, w), float64
            ``explain(X) - threshold_``; `min_area` plays no part.
        """
        threshold = self.threshold_
        return settled(self.explain(X), threshold) - threshold

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        r"""Probability of each pixel that it is anomalous.

        :math:`p = 1 - 2^{-A' / t}` with the threshold :math:`t`: 0 where the heatmap
        is 0, and 0.5 exactly at the threshold.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n, h, w), float64
        """
        heatmaps = self.explain(X)
        return self.convention_.pixel_probabilities(heatmaps, self.threshold_)

    def regions(self, X: Any) -> list[list[Region]]:
        """Connected defects of each image, the highest peak first.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        list of list of Region
            Bounding box, area and peak of each region of ``predict(X)``; an empty list
            for images without one.
        """
        images = self._check_images(X)
        found: list[list[Region]] = []
        model = self._fitted
        for _, heatmaps in model.heatmaps(images):
            masks = model.convention.masks(heatmaps, model.threshold)
            found += find_regions(masks, heatmaps)
        return found

    def score(self, X: Any, y: Any) -> float:
        """Mean intersection over union of true and predicted anomalous pixels.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        y : array-like of shape (n, h, w) or (n,)
            Masks. Or labels of the images, for which the score is the share of images
            that are rightly found to have an anomalous pixel, or none.

        Returns
        -------
        float
            See :func:`skfcdd.metrics.intersection_over_union_score`.
        """
        masks = self.predict(X)
        if is_masks(y):
            return intersection_over_union_score(y, masks)
        truth = image_labels(y, self.convention_.image_anomaly_label)
        return intersection_over_union_score(truth, masks.any(axis=(1, 2)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Where labels of images are given as y, there are two.
        tags.classifier_tags = ClassifierTags(multi_class=False)
        return tags

    def _read_targets(self, y: Any, images: ImageArray) -> Targets:
        label, size = self.convention_.image_anomaly_label, images.image_shape[:2]
        return check_masks_and_labels(y, None, len(images), size, label)

    def _usable(self, targets: Targets) -> npt.NDArray[np.intp]:
        """Rules look at pixels: anomalies whose mask is known."""
        return targets.masked

    def _choose_threshold(
        self,
        model: FittedModel,
        images: ImageArray,
        targets: Targets,
        rows: CalibrationRows,
        scorer: Scorer,
    ) -> Verge:
        return pixel_threshold(model, images, targets, rows, scorer)

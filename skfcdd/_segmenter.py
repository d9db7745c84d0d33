"""FCDDSegmenter, which predicts the anomalous pixels of images."""

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
    """Segmentation model that predicts the anomalous pixels of images.

    This is the method of :class:`FCDDClassifier`, trained on masks to predict masks.
    Without masks of real anomalies, it is trained on the masks of synthetic ones.

    Parameters
    ----------
    backbone : str, torch.nn.Module or callable, default="auto"
        Fully convolutional network: a name from
        :func:`skfcdd.backbones.list_backbones`, a module that maps (n, c, h, w) to
        (n, d, u, v), or a callable without arguments that returns such a module.
        "auto" uses a pretrained "efficientnet_lite0" for greyscale and colour images
        whose shorter side (after `resize`) has at least 64 pixels, and a network from
        the paper otherwise; see :func:`skfcdd.backbones.choose_backbone`.
    loss : {"fcdd", "hsc", "dsvdd", "bce", "focal"} or Objective, default="fcdd"
        Training objective, see :mod:`skfcdd.objectives`. All but "fcdd" are meant for
        comparisons; the heatmaps of "hsc" and "dsvdd" are computed from gradients.
    weights : str, path, mapping or None, default="auto"
        Initial weights of the backbone: "imagenet" (the official file, from an
        installed package or downloaded once), a path (.pth, .safetensors), a URL, or a
        state dict; see :func:`skfcdd.backbones.load_weights`. None means random
        initialisation. "auto" uses "imagenet" for efficientnet_lite0, 1 and 2, and
        None for other networks.
    frozen : int, str or None, default="auto"
        Number of stages of the backbone that are frozen (not trained), counted from the
        input; or the name of the last frozen stage, or "all". "auto" freezes the first
        two stages of efficientnet_lite0, 1 and 2 unless their weights are random, but
        never the last stage that is used. It freezes no stages of other networks.
    cut : int, "auto" or None, default=None
        Number of the last stage of the backbone to use. "auto" chooses the deepest
        stage whose receptive field covers at most half of each side of the image. None
        chooses the default of the network: for efficientnet_lite0, 1 and 2, the stage
        with stride 8, or with stride 4 for images whose shorter side has fewer than
        112 pixels (128 for efficientnet_lite1 and 2).
    stages : sequence of int, default=None
        Numbers of the stages whose features are concatenated. None uses the features
        of the stage chosen by `cut`.
    feature_cache : "auto", FeatureCache or None, default="auto"
        Cache for the features of frozen stages, which are then computed only once; see
        :class:`skfcdd.feature_cache.FeatureCache`. "auto" uses a cache if stages are
        frozen and `augment` is None. None computes the features again in each epoch.
    memory_bank : "auto", MemoryBank or None, default="auto"
        Memory of pretrained features of normal images. The distance to this memory is
        added to the map of the network, so that novel kinds of defects are found as
        well as known ones. See :class:`skfcdd.memory_bank.MemoryBank`;
        :meth:`explain_parts` separates the two contributions. "auto" adds a memory to
        efficientnet_lite0, 1 and 2 if they have frozen stages, as they do by default.
        Other networks use a memory only if one is passed, and need a frozen stage for
        it. None disables the memory.
    anomaly_label : label, default=None
        Label of anomalies if y contains labels, as for :class:`FCDDClassifier`.
    image_shape : tuple of int, default=None
        Shape of each image if the rows of X are flattened images: (h, w) or (h, w, c),
        or (c, h, w) with ``channels="first"``. None treats each row as an image of
        height 1.
    channels : {"first", "last"}, default=None
        Position of the channel axis of a four-dimensional X. Needed only if the shape
        is ambiguous.
    normalize : str, (mean, std) or None, default="auto"
        Normalisation of the images. "contrast" scales each image to mean 0 and
        standard deviation 1; choose it if lighting varies. "standard" uses the mean
        and standard deviation of each channel over the normal images; choose it if an
        image that is too dark or too bright as a whole is an anomaly. "imagenet" uses
        the channel statistics of ImageNet, which pretrained weights expect.
        "flat-field" divides by the illumination of a fixed lamp and lens, estimated
        from the normal images. "local" divides each image by its own slowly varying
        illumination, and scales all images to the same contrast. Both need sides of at
        least 8 pixels, and are followed by "imagenet" if the network has pretrained
        weights for three channels, and by "standard" otherwise. A tuple contains the
        mean and standard deviation of each channel, for pixel values scaled to [0, 1].
        "auto" uses "imagenet" if the network has pretrained weights for three
        channels, "standard" if a side is shorter than 8 pixels, and "contrast"
        otherwise.
    resize : int or tuple of int (h, w), default=None
        Size to which images are resized for the network; an int resizes to a square.
        Heatmaps are returned at the original size. None does not resize images.
    roi : array-like, path or sequence of points, default=None
        Region of interest. Only the pixels inside count: pixels outside are first set
        to the mean of the pixels inside, and are 0 in heatmaps; scores, losses,
        thresholds and synthetic anomalies are confined to the region. Set it if images
        also show a fixture, a conveyor or printed text. Pass a mask of shape (h, w)
        with 1 (or 255) at pixels that count, the path of a mask image, a polygon of at
        least three points (x, y), or a list of polygons. Points are in pixels from the
        top left corner of the images in X, and masks have the size of these images. If
        X contains files that are resized when they are read, points refer to the
        pixels of the files, and a mask may have the size before or after resizing.
        None means the whole image.
    augment : str, callable, sequence of these, or None, default="auto"
        Random augmentations that keep a normal image normal: "shift", "jitter"
        (brightness and contrast), "horizontal_flip", "vertical_flip", "transpose"; or
        a callable (images, masks, generator) -> (images, masks). Add flips if a
        flipped image is still normal. "auto" uses None if stages are frozen and there
        are at least 100 normal images to train on, and ("shift", "jitter") otherwise.
    synthetic : str, callable, sequence of these, or None, default="mixed"
        Synthetic anomalies drawn on normal images during training; see
        :mod:`skfcdd.anomalies`. Choose those that resemble the expected defects.
        "feature_noise" and "feature_mix" instead perturb the features of frozen stages.
    outlier_exposure : array-like of images, default=None
        Images of unrelated objects, used as anomalies in training. They are converted
        to the size and channels of X.
    oe_limit : int, default=None
        Maximum number of images of `outlier_exposure` to use, drawn at random. None
        uses all of them.
    anomaly_fraction : float, default=0.5
        Proportion of anomalies in a batch, in (0, 1). Real anomalies are used first,
        then those of `outlier_exposure`, and synthetic ones make up the rest.
    pixel_loss : {"anomalous", "all"}, default="anomalous"
        Pixel-wise objective for anomalies with a known mask, such as all synthetic
        ones: the value of `over` in :func:`skfcdd.objectives.pixel_loss`, which sets
        the weight of small defects. Objectives without a map ("hsc", "dsvdd") use only
        image labels.
    score_pooling : {"mean", "max"} or float, default="mean"
        How the cells of the map are aggregated into the score of an image: their mean,
        their maximum, or, for a float in (0, 1], the mean of this proportion of the
        cells with the highest values. Smaller proportions make the score more
        sensitive to small defects.
    heatmap_sigma : float, default=None
        Standard deviation in pixels of the Gaussian kernel that upsamples the cells to
        a heatmap. None uses :func:`skfcdd.heatmaps.default_sigma`, or half the
        distance between neighbouring cells if there is a memory bank.
    threshold : str, Threshold or float, default="auto"
        Heatmap value above which a pixel is anomalous, or a rule that chooses this
        value from images not used for training; see :mod:`skfcdd.thresholds`. Rules
        that need anomalies ("youden", "f1", "closest", MaxFPR, MaxFNR) use all pixels.
        The others ("quantile", FalseAlarmRate) use the hottest pixel of each normal
        image, and thus limit how many normal images have any anomalous pixel. "auto"
        uses "f1" if there are masks, and "quantile" otherwise.
    contamination : float, default=0.05
        Proportion of normal images in which any pixel may be predicted as anomalous, in
        [0, 0.5). Used only by the threshold rules "auto" and "quantile".
    min_area : int, default=1
        Minimum number of connected pixels of a predicted region; smaller regions are
        removed.
    validation_fraction : float or "auto", default="auto"
        Proportion of the normal images, and of the anomalies if there are at least
        ten, to hold out for the threshold. Images used for training never affect the
        threshold, not even with ``warm_start``; the only exception is anomalies, if
        there are fewer than ten. With at least 100 normal images, "auto" holds out a
        tenth of them, but at least 20. With fewer, it trains on all of them, and
        obtains out-of-fold scores for the threshold from three more networks, each
        trained without a third of the images; ``fit`` then takes about three times as
        long. With `early_stopping`, `accelerate`, or `max_epochs` below 40, "auto"
        always holds out a tenth.
    optimizer : {"adamw", "adam", "sgd"} or a torch optimizer class, default="adamw"
        Optimizer. "sgd" uses a Nesterov momentum of 0.9.
    lr : "auto" or float, default="auto"
        Learning rate, or its maximum if `lr_schedule` is not None. "auto" uses 0.004
        for pretrained efficientnet_lite0, 1 and 2, and 0.001 for all other networks.
        With fewer than 100 normal images to train on and ``max_epochs="auto"``, these
        pretrained networks use 0.008. The randomly initialised layer after such a
        network has ten times this learning rate.
    weight_decay : float, default=1e-4
        Weight decay of the optimizer.
    lr_schedule : str, skorch LRScheduler or None, default="onecycle"
        Learning-rate schedule: "onecycle", "cosine", or a skorch callback. None keeps
        the learning rate constant.
    max_epochs : int or "auto", default="auto"
        Number of epochs; an epoch is one pass over the normal images. "auto" uses
        between 5 and 50 epochs, with the aim of about 900 steps, which take about a
        minute for images of 128 x 128 pixels on two cores; pretrained networks take at
        least 250 steps.
    batch_size : int, default=16
        Number of images in a batch, normal and anomalous together.
    early_stopping : bool, default=False
        Whether to stop training when the loss on held-out images no longer decreases,
        and to keep the best weights. These images are held out in addition to those
        for the threshold.
    device : str, default="auto"
        PyTorch device, such as "cpu" or "cuda:1". "auto" uses CUDA if available.
    precision : str, default="auto"
        Floating-point precision of the backbone, in training and inference: "float64",
        "float32", "bfloat16", or "mixed" (bfloat16 in frozen stages and float32 in the
        others). Later layers use at least float32. "auto" uses bfloat16 if the hardware
        supports it natively (on a CPU, "mixed" for networks that train faster with it),
        float64 for images of fewer than 24 x 24 pixels, and float32 otherwise.
    compile : bool, default=False
        Whether to compile the network with :func:`torch.compile`. This may speed up
        long training on a GPU; on the CPU used for timing, epochs took longer.
    accelerate : bool, default=False
        Whether to distribute the training over the processes started by
        ``accelerate launch`` or ``torchrun``, on one machine or several. All processes
        must call ``fit`` with the same data, and obtain the same model.
    checkpoint : path, default=None
        File in which the state of training is saved after each epoch. If ``fit`` was
        interrupted, for example by a power cut, call it again with the same arguments:
        it resumes from the file, returns the same model as without the interruption,
        and deletes the file. None saves no checkpoints.
    callbacks : list of skorch callbacks, default=None
        Callbacks for training the final network. They are not called for the networks
        that only provide out-of-fold scores for the threshold.
    skorch_params : dict, default=None
        Further arguments of `skorch.NeuralNet`. They override parameters of the same
        name (lr, max_epochs, batch_size, callbacks, ...). Arguments that the estimator
        sets itself (module, criterion, ...) raise an error.
    warm_start : bool, default=False
        Whether to continue training the network of the previous ``fit`` for another
        `max_epochs`. Parameters that define the network, such as `backbone`, `loss` or
        `resize`, must not have changed.
    random_state : int, RandomState instance or None, default=None
        Controls all randomness of ``fit``. Pass an int for reproducible results. The
        global random states of NumPy and PyTorch are never changed.
    verbose : int, default=0
        Verbosity level. 1 prints a line per epoch, with the estimated remaining time.

    Attributes
    ----------
    threshold_ : float
        Pixels with a higher heatmap value are predicted as anomalous.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images.
    n_features_in_ : int
        Number of values per image, h * w * c.
    feature_names_in_ : ndarray of str
        Names of the columns of X. Defined only if X was a table with column names.
    calibration_scores_ : ndarray of shape (n_calibration,), float64
        Scores of the normal images used to set the threshold, in increasing order. They
        are the held-out images, or all normal images, each scored by a network that
        was not trained on it.
    calibration_ : Calibration
        Number and origin of the images used to set the threshold; ``print`` it for a
        summary. See :class:`skfcdd.thresholds.Calibration`. None for models loaded from
        files of earlier versions.
    heatmap_scale_ : tuple of float (low, high)
        Limits of the colour scale of heatmaps, the same for all images. 99 % of the
        pixels of held-out normal images are below `low`; `high` is the median peak of
        synthetic defects drawn on these images, or 5 times `low` if that is higher.
    pixel_threshold_ : float
        Same as ``threshold_``: pixels above it are outlined in plots.
    reading_ : dict or None
        Settings with which the files in X were read. Files passed later are read in the
        same way. None if X was an array.
    roi_ : ndarray of shape (h, w), bool, or None
        True inside the region of interest. None if all pixels count.
    receptive_field_ : ReceptiveField
        Receptive field of a cell of the map, in pixels of the network's input.
    history_ : list of dict
        Loss and duration of each epoch.
    backbone_ : str
        Name of the backbone, or of its class if `backbone` is not a name.
    weights_ : str or None
        Initial weights of the backbone: "imagenet", "given" (passed by the user), or
        None if they were random.
    precision_ : {"float64", "float32", "bfloat16", "mixed"}
        Floating-point precision of the backbone.
    net_ : skorch.NeuralNet
        Trained network.

    Notes
    -----
    A fitted model keeps using the parameters it was fitted with. Parameters that are
    changed afterwards take effect at the next ``fit``; `threshold`, `contamination`,
    `score_pooling`, `heatmap_sigma` and `min_area` also take effect at the next
    ``calibrate``, which updates the threshold and the colour scale.

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
        roi: Any = None,
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
        """Fit the model to images and masks, or only to normal images.

        Parameters
        ----------
        X : array-like
            Images of shape (n, h, w), (n, h, w, c) or (n, c, h, w), or one flattened
            image per row, of any real dtype: a NumPy array, a tensor, or a list of
            images of equal shape.
        y : array-like of shape (n, h, w) or (n,), default=None
            Masks, 1 (or 255) at anomalous pixels, or labels of the images, as for
            :class:`FCDDClassifier`. None means that all images are normal.
        masks : array-like of shape (n, h, w), or list with None, default=None
            Masks in addition to labels in y. For anomalies whose mask is None or empty,
            only the label is used.
        sample_weight : array-like of shape (n,), default=None
            Sample weights. In training, an image of weight 2 is drawn twice as often as
            one of weight 1 of the same class; images of weight 0 are ignored. All
            held-out images count equally for the threshold.
        groups : array-like of shape (n,), default=None
            Group of each image, such as the part or lot that it shows. The threshold is
            based on scores from networks that were not trained on the group of the
            scored image, and each group of normal images counts as one image.

        Returns
        -------
        self : FCDDSegmenter

        Raises
        ------
        ValueError
            If X, y or masks are invalid.

        Warns
        -----
        AnomalyLabelWarning
            If the label of anomalies was chosen by sorted order.
        CollapseWarning
            If the trained network returns nearly the same score for all images.
        FewImagesWarning
            If there are too few images for the requested rate of false alarms.
        UserWarning
            If the masks of some anomalies have no anomalous pixel in the region of
            interest. These anomalies are used as normal images.
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
        """Predict the mask of each image.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n, h, w), uint8
            1 at pixels whose heatmap is above ``threshold_``, in regions of at least
            `min_area` pixels, and 0 elsewhere.
        """
        images = self._check_images(X)
        masks = np.empty((len(images), *images.image_shape[:2]), dtype=np.uint8)
        model = self._fitted
        for rows, heatmaps in model.heatmaps(images):
            masks[rows] = model.convention.masks(heatmaps, model.threshold)
        return masks

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Compute the distance of each pixel to the threshold, positive if anomalous.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n, h, w), float64
            ``explain(X) - threshold_``; `min_area` is ignored.
        """
        threshold = self.threshold_
        return settled(self.explain(X), threshold) - threshold

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        r"""Predict the probability that each pixel is anomalous.

        The probability is :math:`p = 1 - 2^{-A' / t}`, with the heatmap value
        :math:`A'` and the threshold :math:`t`. It is 0 for a value of 0, and 0.5
        exactly at the threshold.

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
        """Find the connected anomalous regions of each image, highest peak first.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        list of list of Region
            Bounding box, area and peak of each region of ``predict(X)``; an empty list
            for images without any.
        """
        images = self._check_images(X)
        found: list[list[Region]] = []
        model = self._fitted
        for _, heatmaps in model.heatmaps(images):
            masks = model.convention.masks(heatmaps, model.threshold)
            found += find_regions(masks, heatmaps)
        return found

    def score(self, X: Any, y: Any) -> float:
        """Return the mean intersection over union of true and predicted masks.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        y : array-like of shape (n, h, w) or (n,)
            Masks, or labels of the images. With labels, the score is the accuracy of
            predicting whether an image has any anomalous pixel.

        Returns
        -------
        float
            See :func:`skfcdd.metrics.intersection_over_union_score`.
        """
        masks = self.predict(X)
        if is_masks(y):
            return intersection_over_union_score(y, masks, roi=self.roi_)
        truth = image_labels(y, self.convention_.image_anomaly_label)
        return intersection_over_union_score(truth, masks.any(axis=(1, 2)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # If y contains image labels, there are only two classes.
        tags.classifier_tags = ClassifierTags(multi_class=False)
        return tags

    def _read_targets(self, y: Any, images: ImageArray) -> Targets:
        label, size = self.convention_.image_anomaly_label, images.image_shape[:2]
        return check_masks_and_labels(y, None, len(images), size, label)

    def _usable(self, targets: Targets) -> npt.NDArray[np.intp]:
        """Select the anomalies with a known mask, because rules compare pixels."""
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

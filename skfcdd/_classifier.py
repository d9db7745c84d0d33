"""FCDDClassifier: images and labels, with few or no anomalies among them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skfcdd._base import BaseFCDD
from skfcdd._inputs.groups import with_groups
from skfcdd._inputs.images import ImageArray, check_images
from skfcdd._inputs.labels import (
    Labels,
    Targets,
    as_many_masks,
    check_labels,
    check_masks,
    masks_to_labels,
)
from skfcdd._inputs.weights import class_factors, with_weights
from skfcdd._scoring import of_model
from skfcdd._utils.sklearn import (
    Interval,
    StrOptions,
    fit_context,
    store_parameters,
    with_callbacks,
)
from skfcdd._utils.warnings import warn_caller
from skfcdd._verdicts import Convention
from skfcdd.exceptions import AnomalyLabelWarning

__all__ = ["FCDDClassifier"]

# With a greater share of anomalies than this, labels may mean something else.
_MOST = 2 / 3


class FCDDClassifier(ClassifierMixin, BaseFCDD):  # type: ignore[misc]
    r"""Classify images as normal or anomalous, and show why.

    Fully convolutional data description [1]_: a fully convolutional network maps an
    image to a small map :math:`\phi`. The cells :math:`A = \sqrt{\phi^2 + 1} - 1` are
    low where the image is normal; their mean is the image's anomaly score
    :math:`s`, and spread over the image by Gaussians they are its heatmap. Training
    needs normal images alone: anomalies are planted on them. Real anomalies, with or
    without masks, are used where there are some.

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
        The label that means "anomaly". None takes 1 of {0, 1}, True of {False, True},
        -1 of {-1, 1}, of two words the one that says so ("good" and "scratch", "OK"
        and "NG"), and else the last in sort order with an
        :class:`~skfcdd.exceptions.AnomalyLabelWarning`. Give it where labels are
        encoded ahead of ``fit``, as :class:`~sklearn.ensemble.VotingClassifier` does:
        it makes "defect" 0 and "ok" 1.
    class_weight : dict {label: weight}, "balanced" or None, default=None
        How much the loss of an image of each class counts; only the ratio matters. None
        counts every image of a batch once, and `anomaly_fraction` of them are
        anomalies, synthetic ones included. "balanced" gives both classes the same share
        of the loss, for which None suffices at the default `anomaly_fraction`. Weights
        change what is learned, not the threshold.
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
    pixel_loss : {"auto", "anomalous", "all"}, float or None, default="auto"
        Train with the pixel-wise objective where the mask of an anomaly is known, as
        it is for synthetic ones, see :func:`skfcdd.objectives.pixel_loss`. A float in
        (0, 1) is the share of "anomalous" in the loss of such an image; the rest is
        that of its label. "auto" takes 0.2 for pretrained efficientnet_lite0, 1 and 2
        with an objective that has a map, and else None. None trains on image labels
        alone, except where `masks` are given to ``fit``.
    score_pooling : {"mean", "max"} or float, default="mean"
        How the cells of an image make its score. A float is the share of greatest
        cells to average: small shares find small defects.
    heatmap_sigma : float, default=None
        Standard deviation of the Gaussian of a cell in pixels. None uses
        :func:`skfcdd.heatmaps.default_sigma`, or with a memory bank half the distance
        between two cells.
    threshold : str, Threshold or float, default="auto"
        The score above which an image is anomalous, or the rule that finds it on
        images held out of training, see :mod:`skfcdd.thresholds`. "auto" takes the
        quantile ``1 - contamination`` of normal scores; or with real anomalies ln 2,
        where the model's probability is 0.5, unless another threshold separates the
        classes better. Others are "quantile", "natural", "youden", "f1", "closest",
        and ``FalseAlarmRate(rate)``, which comes with a guarantee.
    contamination : float, default=0.05
        Share of normal images that "auto" and "quantile" may call anomalous, in
        [0, 0.5).
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
    classes_ : ndarray of shape (2,)
        The labels, in sort order.
    image_shape_ : tuple of int (h, w, c)
        Shape of the images.
    n_features_in_ : int
        h * w * c.
    feature_names_in_ : ndarray of str
        Names of the columns, where X was a table with names.
    threshold_ : float
        An image with a greater score is an anomaly.
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
        Pixels of heatmaps above it are outlined in pictures. The heatmaps of 95 % of
        the held-out normal images nowhere exceed it.
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
    `score_pooling` and `heatmap_sigma` do so in ``calibrate`` too, and threshold and
    scale of colours follow.

    References
    ----------
    .. [1] Liznerski et al., "Explainable Deep One-Class Classification", ICLR 2021.

    Examples
    --------
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> data = make_defects(n_samples=60, image_size=32, random_state=0)
    >>> normal = data.images[data.target == 0]
    >>> model = FCDDClassifier(max_epochs=2, random_state=0).fit(normal)
    >>> model.predict(data.images).shape
    (60,)
    >>> model.explain(data.images[:3]).shape
    (3, 32, 32)
    """

    anomaly_label: Any
    class_weight: dict[Any, float] | str | None
    anomaly_fraction: float
    _parameter_constraints: dict[str, Any] = {
        **BaseFCDD._parameter_constraints,
        "contamination": [Interval(Real, 0, 0.5, closed="left")],
        "anomaly_label": "no_validation",
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    classes_ = of_model("convention.classes", "The labels, in sort order.")

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
        class_weight: dict[Any, float] | str | None = None,
        image_shape: tuple[int, ...] | None = None,
        channels: str | None = None,
        normalize: Any = "auto",
        resize: Any = None,
        augment: Any = "auto",
        synthetic: Any = "mixed",
        outlier_exposure: Any = None,
        oe_limit: int | None = None,
        anomaly_fraction: float = 0.5,
        pixel_loss: str | float | None = "auto",
        score_pooling: str | float = "mean",
        heatmap_sigma: float | None = None,
        threshold: str | float = "auto",
        contamination: float = 0.05,
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
    ) -> FCDDClassifier:
        """Train on normal images, and on anomalies where there are some.

        Parameters
        ----------
        X : array-like
            Images (n, h, w), (n, h, w, c) or (n, c, h, w), or flat rows; any real
            type, NumPy, torch or a list of equal images.
        y : array-like of shape (n,), default=None
            Two labels; or one, or None, if all images are normal.
        masks : array-like of shape (n, h, w), or list with None, default=None
            1 (or 255) at anomalous pixels. Images labelled as anomalies whose mask is
            None or empty are learnt from by their label. Without y, images with an
            anomalous pixel are the anomalies.
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
        self : FCDDClassifier

        Raises
        ------
        ValueError
            If X, y or masks cannot be used; the message names what was found.

        Warns
        -----
        AnomalyLabelWarning
            If the label of anomalies was taken from the sort order, or most images
            have the label 1, which may mean "good" where labels were encoded.
        CollapseWarning
            If the trained network gives all images nearly the same score.
        ~skfcdd.exceptions.FewImagesWarning
            If the images are too few for the rate of false alarms that is asked for.
        """
        with self._all_or_nothing():
            images = check_images(
                self, X, channels=self.channels, image_shape=self.image_shape
            )
            if masks is not None:
                masks = as_many_masks(masks, len(images))
                y = masks_to_labels(masks) if y is None else y
            labels = check_labels(y, len(images), self.anomaly_label)
            if labels.warning is not None:
                warn_caller(labels.warning, AnomalyLabelWarning)
            elif self.anomaly_label is None and images.image_shape[0] > 1:
                _warn_of_encoded(labels)
            targets = Targets(labels.anomalous)
            if masks is not None:
                known = check_masks(masks, images.image_shape[:2], labels.anomalous)
                targets = Targets(labels.anomalous, *known)
            factors = class_factors(self.class_weight, labels, self.anomaly_fraction)
            targets = replace(targets, class_weight=factors)
            targets = with_groups(with_weights(targets, sample_weight), groups)
            sign = 1 if labels.anomaly_index == 1 else -1
            convention = Convention("classifier", labels.classes, sign)
            self._fit_images(images, targets, convention, X, y)
        return self

    def _read_targets(self, y: Any, images: ImageArray) -> Targets:
        if y is None:
            return Targets(np.zeros(len(images), dtype=bool))
        y = self._check_known_labels(y)
        if len(y) != len(images):
            raise ValueError(f"X has {len(images)} images, but y has {len(y)} labels.")
        return Targets(y == self.convention_.anomaly_label)

    def _check_known_labels(self, y: Any) -> npt.NDArray[Any]:
        y = column_or_1d(y)
        unseen = np.setdiff1d(y, self.classes_)
        if len(unseen):
            raise ValueError(
                f"y has the label(s) {list(unseen)}, but the estimator was fitted with "
                f"{self.classes_.tolist()}."
            )
        return y

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Distance of the score from the threshold, positive for ``classes_[1]``.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,), float64
            ``anomaly_score(X) - threshold_``, with the other sign where
            ``classes_[0]`` means "anomaly". An image on the threshold is normal, so
            that its distance is 0, or just above where ``classes_[1]`` is "normal".
        """
        scores, model = self._scored(X)
        return model.convention.decision(scores, model.threshold)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Label of each image.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Of ``classes_``.
        """
        scores, model = self._scored(X)
        convention = model.convention
        return convention.classes[convention.index(scores, model.threshold)]

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        r"""Probability of each label.

        That of an anomaly is :math:`p = 1 - 2^{-s / t}` with the threshold :math:`t`:
        0 for a score of 0, and 0.5 exactly at the threshold.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.

        Returns
        -------
        ndarray of shape (n, 2), float64
            Columns in the order of ``classes_``.
        """
        scores, model = self._scored(X)
        return model.convention.probabilities(scores, model.threshold)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of ``predict(X)``.

        Parameters
        ----------
        X : array-like
            Images, as for ``fit``.
        y : array-like of shape (n,)
            True labels.
        sample_weight : array-like of shape (n,), default=None
            Weights of the images.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If y has a label that ``fit`` did not see.
        """
        check_is_fitted(self)
        self._check_known_labels(y)
        accuracy: float = super().score(X, y, sample_weight)
        return accuracy

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def _warn_of_encoded(labels: Labels) -> None:
    """Warn if most images are anomalies by labels that something may have encoded.

    VotingClassifier and LabelEncoder number labels in sort order: "defect" becomes 0,
    and "ok" 1, which then stands for the anomalies.
    """
    n, n_bad = len(labels.anomalous), int(labels.anomalous.sum())
    if labels.classes.tolist() != [0, 1] or n_bad <= _MOST * n:
        return
    warn_caller(
        f"{n_bad} of {n} images have the label 1, which is taken for the anomalies. If "
        f"that is right, say so with anomaly_label=1. If labels were encoded in sort "
        f"order ('defect' as 0, 'ok' as 1), as VotingClassifier and LabelEncoder do, "
        f"name the right one with anomaly_label=0.",
        AnomalyLabelWarning,
    )

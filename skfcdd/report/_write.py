"""Writing of reports, in batches of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import check_model, count, read_truth
from skfcdd._inputs.containers import is_paths
from skfcdd._inputs.files import files_for
from skfcdd._inputs.labels import is_masks
from skfcdd._utils.files import written_at_once
from skfcdd.exceptions import ImageShapeError
from skfcdd.report._content import Content
from skfcdd.report._document import Document
from skfcdd.report._review import Review, plain_name, read_review, repeated

__all__ = ["ReportInfo", "write_report"]


@dataclass(frozen=True)
class ReportInfo:
    """Summary of a written report.

    Parameters
    ----------
    path : Path
        File of the report.
    n_images : int
        Number of images in the report, shown or not.
    n_pictures : int
        Number of images shown.
    n_bytes : int
        Size of the file in bytes.
    threshold : float
        Initial threshold of the report, which is that of the model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skfcdd.report import ReportInfo
    >>> print(ReportInfo(Path("report.html"), 120, 120, 3_400_000, 0.25))
    report.html: 120 images, 3.4 MB
    """

    path: Path
    n_images: int
    n_pictures: int
    n_bytes: int
    threshold: float

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        shown = "" if self.n_pictures == self.n_images else f", {self.n_pictures} shown"
        images = "1 image" if self.n_images == 1 else f"{self.n_images} images"
        return f"{self.path}: {images}{shown}, {self.n_bytes / 1e6:.1f} MB"


def write_report(
    estimator: Any,
    X: Any,
    path: str | os.PathLike[str],
    y: Any = None,
    masks: Any = None,
    *,
    names: Sequence[Any] | None = None,
    kinds: Sequence[str] | None = None,
    title: str | None = None,
    review: Review | str | os.PathLike[str] | None = None,
    n_images: int | None = None,
    max_side: int | None = None,
    quality: int | None = None,
    max_bytes: int | None = 60_000_000,
    channel: int | None = None,
    value_range: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReportInfo:
    """Write an interactive report on images to one HTML file.

    The page shows the images with their heatmaps, the most anomalous first, and, for
    any threshold, predicted labels, rates, confusion matrix, scores and ROC curve. A
    reviewer can mark images as defects or as good, and export the marks and the
    threshold for :func:`read_review`. The page works in any browser and offline, and
    sends no data.

    Images are processed in batches, so memory use does not grow with their number.

    Parameters
    ----------
    estimator : estimator
        Fitted FCDDClassifier, FCDDSegmenter or FCDDDetector, or an
        :class:`~skfcdd.onnx.OnnxFCDD`.
    X : array-like
        Images, as for ``explain``.
    path : path
        File to write. It appears only when it is complete.
    y : array-like of shape (n,) or (n, h, w), default=None
        True labels, as for ``fit``, or masks. None omits rates and curves until images
        are marked in the page.
    masks : array-like of shape (n, h, w), or list with None, default=None
        True masks, 1 (or 255) at anomalous pixels; they are shown as outlines. Without
        y, images with at least one anomalous pixel count as defects.
    names : sequence of str or path, default=None
        Unique names of the images, which also identify them in exported marks. None
        uses the paths of the files relative to their common folder if X consists of
        files, and numbers otherwise.
    kinds : sequence of str, default=None
        Kind of defect of each image, such as ``load_images(...).kind``.
    title : str, default=None
        Title of the report. None uses the class of the model.
    review : Review or path, default=None
        Initial marks, for images with the same names.
    n_images : int, default=None
        Maximum number of images to show: wrong predictions first, then the highest
        scores. The metrics include all images. None shows all images.
    max_side : int, default=None
        Maximum length of the longer side of pictures, in pixels; larger ones are
        resized. None shows files at full resolution, as far as `max_bytes` allows, and
        arrays unchanged.
    quality : int, default=None
        Quality of lossy WebP compression, from 1 to 100, which makes files several
        times smaller. None uses lossless compression, unless the file would be larger
        than `max_bytes`.
    max_bytes : int, default=60_000_000
        Maximum size of the file. If necessary, pictures are compressed, and then
        resized; the page states this. None sets no limit.
    channel : int, default=None
        Channel to show in grey. None shows three or four channels as red, green and
        blue, and the mean of any other number of channels in grey.
    value_range : tuple of float (low, high), default=None
        Values of X shown as black and as white. None uses 0 and 255 for bytes, 0 and 1
        for floats in this range, and otherwise quantiles of a sample of X.
    progress : callable, default=None
        Function called after each batch as ``progress(done, total)``, with numbers of
        images.

    Returns
    -------
    ReportInfo
        Summary of the report; it can be used as a path.

    Raises
    ------
    TypeError
        If `estimator` is not of one of these classes.
    NotFittedError
        If `estimator` is not fitted.
    ImageShapeError
        If the shape of images or masks differs from that in ``fit``.
    ValueError
        If the number of labels, masks, names or kinds differs from the number of
        images, if names are not unique, or if images contain NaN.
    OSError
        If `path` cannot be written.

    Notes
    -----
    The threshold of a :class:`~skfcdd.FCDDSegmenter` applies to pixels. The score of an
    image is then the lowest threshold at which nothing is marked in it: the maximum of
    its heatmap or, if ``min_area`` is above 1, the lowest value above which no region
    has this area. For any position of the slider, the score of an image is thus above
    the threshold if and only if ``predict`` would mark a defect in it.

    Heatmaps are rounded to 256 levels: equidistant below and on the colour scale, and
    in steps of 5 % above it. The page states the precision of each value.

    Examples
    --------
    >>> import tempfile
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.datasets import make_defects
    >>> from skfcdd.report import write_report
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0)
    >>> model = model.fit(data.images[data.target == 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     info = write_report(
    ...         model, data.images, f"{folder}/report.html", data.target, data.masks
    ...     )
    >>> info.n_images, info.n_bytes < 1_000_000
    (40, True)
    """
    check_model(estimator, "anomaly_score", "explain")
    n = count(X)
    if masks is None and y is not None and is_masks(y):
        masks = y
    if masks is not None and len(masks) != n:
        raise ImageShapeError(f"There are {n} images, but {len(masks)} masks.")
    return write_known(
        estimator,
        X,
        path,
        _truth(estimator, y, masks, n),
        masks=masks,
        names=names,
        kinds=kinds,
        title=title,
        review=review,
        n_images=n_images,
        max_side=max_side,
        quality=quality,
        max_bytes=max_bytes,
        channel=channel,
        value_range=value_range,
        progress=progress,
    )


def write_known(
    estimator: Any,
    X: Any,
    path: str | os.PathLike[str],
    truth: npt.NDArray[np.bool_] | None,
    *,
    names: Sequence[Any] | None,
    kinds: Sequence[str] | None,
    title: str | None,
    review: Review | str | os.PathLike[str] | None,
    n_images: int | None,
    max_side: int | None,
    quality: int | None,
    max_bytes: int | None,
    value_range: tuple[float, float] | None = None,
    **options: Any,
) -> ReportInfo:
    """Write a report on images with or without true labels.

    Parameters
    ----------
    truth : ndarray of shape (n,), bool, or None
        True for anomalies, whatever labels the estimator uses.
    **options
        Other arguments of :class:`Content`.
    """
    _check_options(n_images, max_side, quality, max_bytes, value_range)
    if is_paths(X):
        reading = getattr(estimator, "reading_", None)
        X = files_for(X, reading, estimator.image_shape_)
    n = count(X)
    if n == 0:
        raise ValueError("X contains no images. Pass at least one image.")
    content = Content(
        estimator,
        X,
        n,
        names=_names(names, X, n),
        kinds=_kinds(kinds, n),
        truth=truth,
        max_side=max_side,
        quality=quality,
        max_bytes=max_bytes,
        value_range=value_range,
        **options,
    )
    marks = _marks(review, content.names)
    if title is None:
        title = f"Images scored by {type(estimator).__name__}"
    return _write(content, Path(path), plain_name(title), marks, n_images)


def _write(
    content: Content,
    path: Path,
    title: str,
    marks: dict[str, str],
    n_images: int | None,
) -> ReportInfo:
    with written_at_once(path) as temporary, temporary.open("wb") as file:
        chosen = content.choose(n_images)
        document = Document(file, title)
        for row, picture in content.pictures(chosen):
            document.add_picture(row, picture.parts, picture.thumb)
        data = content.summary() | {"title": title, "marks": marks}
        n_bytes = document.finish(data)
    threshold = float(content.estimator.threshold_)
    return ReportInfo(path, content.n, len(chosen), n_bytes, threshold)


def _check_options(
    n_images: Any, max_side: Any, quality: Any, max_bytes: Any, value_range: Any
) -> None:
    for name, value, least, most in (
        ("n_images", n_images, 1, np.inf),
        ("max_side", max_side, 1, np.inf),
        ("quality", quality, 1, 100),
        ("max_bytes", max_bytes, 1, np.inf),
    ):
        if value is None:
            continue
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not (whole and least <= value <= most):
            wanted = (
                f"of at least {least}" if most == np.inf else f"from {least} to {most}"
            )
            raise ValueError(f"Got {name}={value!r}, but expected an int {wanted}.")
    if value_range is not None and not value_range[0] < value_range[1]:
        raise ValueError(f"Got value_range={value_range}, but expected low < high.")


def _truth(estimator: Any, y: Any, masks: Any, n: int) -> npt.NDArray[np.bool_] | None:
    """Read the true labels of the images from y or, if it is None, from masks."""
    return read_truth(estimator, masks if y is None else y, n)


def _names(names: Sequence[Any] | None, X: Any, n: int) -> list[str]:
    """Return the names of the images, after checking that they are unique."""
    if names is None:
        paths = getattr(X, "paths", None)
        given = [f"image {i}" for i in range(n)] if paths is None else below(paths)
    else:
        given = [plain_name(name) for name in names]
    if len(given) != n:
        raise ValueError(f"There are {n} images, but {len(given)} names.")
    twice = repeated(given)
    if twice is not None:
        raise ValueError(
            "names must be unique, because a review identifies images by name, but "
            f"{twice!r} occurs twice."
        )
    return given


def below(paths: Sequence[Path], folder: Path | None = None) -> list[str]:
    """Return paths relative to `folder`, or to their common folder if it is None."""
    every = [Path(os.path.abspath(path)) for path in paths]
    if folder is None:
        try:
            folder = Path(os.path.commonpath([path.parent for path in every]))
        except ValueError:  # on several drives
            return [plain_name(path.as_posix()) for path in every]
    start = Path(os.path.abspath(folder))
    return [plain_name(path.relative_to(start).as_posix()) for path in every]


def _kinds(kinds: Sequence[str] | None, n: int) -> list[str] | None:
    if kinds is None:
        return None
    if len(kinds) != n:
        raise ValueError(f"There are {n} images, but {len(kinds)} kinds.")
    return [plain_name(kind) for kind in kinds]


def _marks(
    review: Review | str | os.PathLike[str] | None, names: list[str]
) -> dict[str, str]:
    """Return the marks by row; raise an error if a marked image is missing."""
    if review is None:
        return {}
    if not isinstance(review, Review):
        review = read_review(review)
    place = {name: row for row, name in enumerate(names)}
    made = {k: m for k, m in zip(review.names, review.marks, strict=True) if m}
    missing = [name for name in made if name not in place]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(made)} images marked in review are not among "
            f"names, for example {missing[0]!r}. Pass the names used in the report "
            "that the marks were made in."
        )
    return {str(place[name]): mark for name, mark in made.items()}

"""HTML page comparing two models: metrics, and images on which they disagree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import take
from skfcdd._utils.files import written_at_once
from skfcdd.comparison._compare import FIGURES, Comparison, Contrast, Side
from skfcdd.display._choice import pictures_of, range_of
from skfcdd.display._look import coloured, comparison, outcome
from skfcdd.display._pictures import as_grey
from skfcdd.report._model import describe
from skfcdd.report._pictures import encode_picture
from skfcdd.report._static import escaped, page, panel, table

__all__ = ["write_comparison"]

# Number of images per batch.
_AT_ONCE = 16


def write_comparison(
    found: Comparison,
    path: str | os.PathLike[str],
    *,
    titles: Sequence[str] = ("first", "second"),
    tolerance: float | None = None,
    n_images: int = 60,
    max_side: int = 256,
) -> Path:
    """Write a comparison of two models to one HTML file.

    The page shows the metrics of both models with confidence intervals of their
    differences, and the images with different predictions, each with both heatmaps. It
    contains no scripts and works offline.

    Parameters
    ----------
    found : Comparison
        Result of :func:`compare_models`.
    path : path
        File to write. It appears only when it is complete.
    titles : sequence of two str, default=("first", "second")
        Names of the models.
    tolerance : float, default=None
        Maximum loss that is acceptable, at least 0. If given, the page also states
        whether the second model has been shown not to be worse by more than this.
    n_images : int, default=60
        Maximum number of images to show, starting with errors of the second model.
    max_side : int, default=256
        Maximum length of the longer side of the pictures, in pixels.

    Returns
    -------
    Path
        Path of the file.

    Raises
    ------
    ValueError
        If the number of titles is not two, or a number is below 1.
    OSError
        If `path` cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from skfcdd import FCDDClassifier
    >>> from skfcdd.comparison import compare_models, write_comparison
    >>> from skfcdd.datasets import make_defects
    >>> data = make_defects(40, image_size=32, random_state=0)
    >>> model = FCDDClassifier(max_epochs=1, random_state=0).fit(data.images[:20])
    >>> found = compare_models(model, model, data.images[20:], data.target[20:])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_comparison(found, f"{folder}/comparison.html")
    ...     written.stat().st_size > 1000
    True
    """
    if len(titles) != 2:
        raise ValueError(f"titles must be two strings. Got {titles!r}.")
    for name, value in (("n_images", n_images), ("max_side", max_side)):
        if value < 1:
            raise ValueError(f"Got {name}={value!r}, but expected at least 1.")
    target = Path(path)
    with written_at_once(target) as temporary:
        rows = _order(found)
        shown = rows[:n_images]
        text = page(
            f"{titles[1]} compared with {titles[0]}",
            _figures(found, titles, tolerance),
            _models(found, titles),
            _gallery(found, titles, shown, len(rows), max_side),
        )
        temporary.write_text(text, encoding="utf-8")
    return target


def _order(found: Comparison) -> npt.NDArray[np.intp]:
    """Return images with different predictions, the second model's errors first."""
    rows = found.differing
    wrong = found.flagged[1, rows] != found.truth[rows]
    ordered: npt.NDArray[np.intp] = rows[np.argsort(~wrong, kind="stable")]
    return ordered


def _figures(found: Comparison, titles: Sequence[str], tolerance: float | None) -> str:
    first, second = map(escaped, titles)
    header = ["", first, second, f"difference ({found.confidence_level:.0%} interval)"]
    header.append("conclusion")
    rows = [
        [FIGURES[name], *_cells(contrast)] for name, contrast in found.contrasts.items()
    ]
    n_bad = int(found.truth.sum())
    parts = [
        f'<p class="quiet">On {len(found.truth)} images, {n_bad} of them anomalies, '
        f"each model at its own threshold.</p>",
        table(header, rows),
    ]
    if tolerance is not None:
        parts.append(_judgement(found, second, tolerance))
    return panel("Metrics", *parts)


def _cells(contrast: Contrast) -> list[str]:
    value, low, high = contrast.difference
    verdict = contrast.verdict
    look = {"better": ' class="better"', "worse": ' class="worse"'}.get(verdict, "")
    return [
        f"{contrast.first:.4f}",
        f"{contrast.second:.4f}",
        f"{value:+.4f} ({low:+.4f} to {high:+.4f})",
        f"<span{look}>{verdict}</span>",
    ]


def _judgement(found: Comparison, second: str, tolerance: float) -> str:
    open_ones = [FIGURES[name] for name in found.worse(tolerance)]
    if not open_ones:
        return (
            f'<p class="better">{second} is at most {tolerance:g} worse in all '
            "metrics.</p>"
        )
    return (
        f'<p class="worse">It could not be shown that {second} is at most '
        f"{tolerance:g} worse in: {', '.join(open_ones)}.</p>"
    )


def _models(found: Comparison, titles: Sequence[str]) -> str:
    facts = [_facts(side.estimator) for side in found._sides]
    names = list(dict.fromkeys([*facts[0], *facts[1]]))
    rows = [
        [escaped(name), *(escaped(fact.get(name, "-")) for fact in facts)]
        for name in names
    ]
    return panel("Models", table(["", *map(escaped, titles)], rows))


def _facts(estimator: Any) -> dict[str, str]:
    try:
        told = describe(estimator)
    except AttributeError:  # an estimator from another package
        return {"kind": type(estimator).__name__}
    return {"kind": told["name"], **dict(told["facts"])}


def _gallery(
    found: Comparison,
    titles: Sequence[str],
    rows: npt.NDArray[np.intp],
    n_differing: int,
    max_side: int,
) -> str:
    said = f"{n_differing} of {len(found.truth)} images."
    if len(rows) < n_differing:
        said += f" The first {len(rows)} are shown."
    items: list[str] = []
    for start in range(0, len(rows), _AT_ONCE):
        items += _items(found, titles, rows[start : start + _AT_ONCE], max_side)
    gallery = f'<ul class="gallery">\n{"".join(items)}</ul>' if items else ""
    return panel(
        "Images on which predictions differ", f'<p class="quiet">{said}</p>', gallery
    )


def _items(
    found: Comparison,
    titles: Sequence[str],
    rows: npt.NDArray[np.intp],
    max_side: int,
) -> Iterator[str]:
    columns = [_drawn(side, rows, max_side) for side in found._sides]
    plain = [pictures[0] for pictures in columns[0]]
    for k, row in enumerate(rows):
        truth = bool(found.truth[row])
        figures = [
            _figure(plain[k], "true label: anomaly" if truth else "true label: normal")
        ]
        for title, side, pictures in zip(titles, found._sides, columns, strict=True):
            threshold = float(side.estimator.threshold_)
            words = outcome(bool(side.flagged[row]), truth)
            wrong = bool(side.flagged[row]) != truth
            look = "worse" if wrong else "better"
            figures.append(
                _figure(
                    pictures[k][1],
                    f'{escaped(title)}: <span class="{look}">{words}</span>, '
                    f"{escaped(comparison(side.decisive[row], threshold))}",
                )
            )
        yield (
            f'<li><h3 dir="auto">{escaped(found.names[row])}</h3>\n'
            f'<div class="three">{"".join(figures)}</div></li>\n'
        )


def _figure(picture: str, caption: str) -> str:
    return (
        f'<figure><img src="{picture}" alt=""><figcaption>{caption}</figcaption>'
        f"</figure>"
    )


def _drawn(
    side: Side, rows: npt.NDArray[np.intp], max_side: int
) -> list[tuple[str, str]]:
    """Return each image without and with its heatmap, as data URLs."""
    estimator, X = side.estimator, take(side.X, rows)
    heatmaps = np.asarray(estimator.explain(X))
    size = heatmaps.shape[1:]
    span = range_of(estimator, X, size, None)
    pictures = pictures_of(estimator, X, size, value_range=span)
    small = _shrunk(size, max_side)
    drawn = []
    for picture, grey, heatmap in zip(
        pictures, as_grey(pictures), heatmaps, strict=True
    ):
        mixed = coloured(grey, heatmap, estimator.heatmap_scale_)
        drawn.append((_encoded(picture, small), _encoded(mixed, small)))
    return drawn


def _shrunk(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return the size (h, w) of a picture reduced to a longer side of `max_side`."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _encoded(picture: npt.NDArray[Any], size: tuple[int, int]) -> str:
    """Return a picture with values from 0 to 1 as the data URL of a PNG."""
    values = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return encode_picture(values, size, None)

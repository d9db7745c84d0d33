"""What the commands do, with files in and files out."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from skfcdd._utils.files import check_writable, written_at_once
from skfcdd._utils.optional import pillow
from skfcdd._verdicts import convention_of, decisive_scores, is_above, settled
from skfcdd.cli._options import check, check_device
from skfcdd.datasets import ImageFiles, load_images

__all__ = ["Model", "evaluate", "fit", "predict"]

# Longest shorter side of images where no size is asked for.
_LARGEST = 128
_AT_ONCE = 32


class Model:
    """A saved model, or its ONNX form, and how it reads files."""

    def __init__(self, path: Path, device: str = "auto") -> None:
        if path.suffix.lower() == ".onnx":
            from skfcdd.onnx import OnnxFCDD

            if device != "auto":
                check_device(device)
            self.estimator: Any = OnnxFCDD(path)
        else:
            from skfcdd.persistence import load

            self.estimator = load(path, device=device)
        h, w, c = self.estimator.image_shape_
        known = self.estimator.reading_ or {"n_channels": c}
        self.options: dict[str, Any] = {**known, "resize": (h, w)}

    def judge(self, X: Any, heatmaps: bool) -> Verdicts:
        """Scores of a batch, and its heatmaps where they are asked for or decide."""
        estimator = self.estimator
        pixels = convention_of(estimator).judges_pixels
        maps = np.asarray(estimator.explain(X)) if heatmaps or pixels else None
        scores = np.asarray(estimator.anomaly_score(X))
        decisive = decisive_scores(estimator, X, maps) if pixels else scores
        return Verdicts(scores, decisive, float(estimator.threshold_), maps)


@dataclass
class Verdicts:
    """What a model says of a batch.

    Parameters
    ----------
    scores, decisive : ndarray of shape (n,), float64
        Anomaly scores, and what is compared with the threshold, which for a segmenter
        is one of pixels.
    threshold : float
    heatmaps : ndarray of shape (n, h, w), or None
    """

    scores: npt.NDArray[np.float64]
    decisive: npt.NDArray[np.float64]
    threshold: float
    heatmaps: npt.NDArray[np.float32] | None

    @property
    def anomalous(self) -> npt.NDArray[np.bool_]:
        return np.asarray(is_above(self.decisive, self.threshold))

    @property
    def probability(self) -> npt.NDArray[np.float64]:
        """Above 0.5 exactly where `anomalous`."""
        p: npt.NDArray[np.float64] = -np.expm1(
            -np.log(2) * settled(self.decisive, self.threshold) / self.threshold
        )
        return p


def fit(
    folder: Path,
    output: Path,
    *,
    kind: str,
    masks: Path | None,
    size: tuple[int, int] | None,
    keep_aspect: bool,
    on_error: str,
    note: str | None,
    params: dict[str, Any],
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> dict[str, Any]:
    """Train on the images of a folder, and save the model."""
    import skfcdd
    from skfcdd.persistence import save

    name = {"classifier": "FCDDClassifier", "segmenter": "FCDDSegmenter"}[kind]
    estimator = getattr(skfcdd, name)(**params, callbacks=[progress_callback(progress)])
    check(type(estimator), params, size)
    check_folder(output)
    data = _load(folder, masks, size, keep_aspect, on_error)
    n_bad = int(data.target.sum())
    say(
        f"{len(data.images)} images of {data.images.shape[1:]}, "
        f"{n_bad} of them with defects"
    )
    started = time.perf_counter()
    if n_bad == 0:
        estimator.fit(data.images)
    elif kind == "segmenter" and data.masks is not None:
        estimator.fit(data.images, data.masks)
    else:
        estimator.fit(data.images, data.target, masks=data.masks)
    if "train_loss" not in estimator.history_[-1] or (
        len(estimator.history_) < estimator.net_.max_epochs
    ):
        raise KeyboardInterrupt  # which skorch takes for an early end
    estimator.set_params(callbacks=None)
    spent = time.perf_counter() - started
    save(estimator, output, note=note)
    return {
        "model": str(output),
        "n_images": len(data.images),
        "n_anomalous": n_bad,
        "image_shape": list(estimator.image_shape_),
        "threshold": float(estimator.threshold_),
        "n_calibration": len(estimator.calibration_scores_),
        "seconds": round(spent, 1),
    }


def progress_callback(progress: Callable[[int], Any]) -> Any:
    """Tell `progress` of the number of epochs, and of each that is done."""
    from skorch.callbacks import Callback

    class Epochs(Callback):  # type: ignore[misc]
        def on_train_begin(self, net: Any, **kwargs: Any) -> None:
            self.step = progress(net.max_epochs)

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            self.step()

    return Epochs()


def _load(
    folder: Path,
    masks: Path | None,
    size: tuple[int, int] | None,
    keep_aspect: bool,
    on_error: str,
) -> Any:
    """The training images of a folder, at one size."""
    split = "train" if (folder / "train").is_dir() else None
    options: dict[str, Any] = {"masks": masks, "split": split, "on_error": on_error}
    if size is None:
        # Any size will do to read the headers.
        sizes = load_images(folder, resize=8, **options | {"masks": None}).images.sizes
        size = common_size(sizes)
    return load_images(folder, resize=size, keep_aspect=keep_aspect, **options)


def common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Size to bring images to: the median, with a shorter side of at most 128."""
    h, w = np.median(np.array(sizes), axis=0)
    scale = min(1.0, _LARGEST / min(h, w))
    return max(1, round(h * scale)), max(1, round(w * scale))


def predict(
    model: Model,
    folder: Path,
    *,
    on_error: str,
    heatmaps: Path | None,
    progress: Callable[[int], Any],
) -> Iterator[dict[str, Any]]:
    """Score the images of a folder, batch by batch; heatmaps go to files."""
    paths = image_paths(folder)
    images = _readable(paths, on_error, model)
    step = progress(len(images))
    for start in range(0, len(images), _AT_ONCE):
        batch = images[start : start + _AT_ONCE]
        found = model.judge(batch, heatmaps is not None)
        if heatmaps is not None and found.heatmaps is not None:
            rows = range(start, start + len(batch))
            restored = images.at_original_size(found.heatmaps, list(rows))
            scale = model.estimator.heatmap_scale_
            for row, heatmap in zip(rows, restored, strict=True):
                place = heatmaps / _relative(images.paths[row], folder)
                write_overlay(images, row, heatmap, place, scale)
        verdicts = zip(found.scores, found.probability, found.anomalous, strict=True)
        for row, (score, probability, bad) in enumerate(verdicts, start):
            yield {
                "path": str(images.paths[row]),
                "score": float(score),
                "probability": float(probability),
                "anomalous": int(bad),
            }
            step()


def image_paths(folder: Path) -> list[Path]:
    """All images of a folder and the folders in it; or the file itself."""
    from skfcdd.datasets._folders import SUFFIXES

    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no {str(folder)!r}.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(
            f"There are no images in {str(folder)!r}: expected files that end in "
            f"{', '.join(SUFFIXES)}."
        )
    return paths


def _readable(paths: list[Path], on_error: str, model: Model) -> ImageFiles:
    from skfcdd.datasets._folders import Entry, sound

    entries = [Entry(path, "", False) for path in paths]
    kept, headers = sound(entries, on_error, None)
    return ImageFiles([entry.path for entry in kept], headers=headers, **model.options)


def _relative(path: Path, folder: Path) -> Path:
    """Where the heatmap of a file goes: never outside of the folder for heatmaps."""
    inner = path.relative_to(folder) if folder.is_dir() else Path(path.name)
    return inner.with_name(f"{inner.name}.png")


def write_overlay(
    images: ImageFiles,
    row: int,
    heatmap: npt.NDArray[np.float32],
    path: Path,
    scale: tuple[float, float],
) -> None:
    """The image in grey, with its heatmap over it; one scale for all images."""
    from skfcdd._inputs.decoding import decode

    grey = decode(images.paths[row], grey=True, page=images.page)
    base = np.asarray(grey, dtype=np.float32)[..., None].repeat(3, axis=2)
    low, high = scale
    heat = np.clip((heatmap - low) / (high - low), 0, 1)[..., None]
    colour = np.concatenate([np.full_like(heat, 255), 255 * (1 - heat), 0 * heat], 2)
    opacity = 0.75 * np.sqrt(heat)
    mixed = (base * (1 - opacity) + colour * opacity).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow("Image").fromarray(mixed).save(path)


def evaluate(
    model: Model,
    folder: Path,
    *,
    masks: Path | None,
    on_error: str,
    progress: Callable[[int], Any],
) -> dict[str, Any]:
    """Figures of merit on labelled images, over all and by kind of defect."""
    split = "test" if (folder / "test").is_dir() else None
    data = load_images(
        folder, split=split, masks=masks, on_error=on_error, **model.options
    )
    step = progress(len(data.images))
    scores, heatmaps, anomalous = [], [], []
    for start in range(0, len(data.images), _AT_ONCE):
        batch = data.images[start : start + _AT_ONCE]
        found = model.judge(batch, data.masks is not None)
        scores.append(found.scores)
        anomalous.append(found.anomalous)
        if data.masks is not None:
            heatmaps.append(found.heatmaps)
        for _ in batch:
            step()
    return {
        "n_images": len(data.images),
        "threshold": float(model.estimator.threshold_),
        **_image_figures(data, np.concatenate(scores), np.concatenate(anomalous)),
        **_pixel_figures(data.masks, heatmaps),
    }


def _image_figures(
    data: Any, score: npt.NDArray[np.float64], found: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    bad = data.target == 1
    figures: dict[str, Any] = {"n_anomalous": int(bad.sum())}
    if (~bad).any():
        figures["false_alarm_rate"] = float(found[~bad].mean())
    if bad.any():
        figures["detection_rate"] = float(found[bad].mean())
    if bad.any() and (~bad).any():
        figures["image_auroc"] = float(roc_auc_score(bad, score))
        figures["average_precision"] = float(average_precision_score(bad, score))
        figures["image_auroc_by_kind"] = {
            str(kind): float(roc_auc_score(bad[rows], score[rows]))
            for kind in np.unique(data.kind[bad])
            for rows in [~bad | (data.kind == kind)]
        }
    return figures


def _pixel_figures(masks: Any, heatmaps: list[Any]) -> dict[str, float]:
    if masks is None:
        return {}
    from skfcdd.metrics import aupro_score, pixel_roc_auc_score

    maps = np.concatenate(heatmaps)
    return {
        "pixel_auroc": float(pixel_roc_auc_score(masks, maps)),
        "aupro": float(aupro_score(masks, maps)),
    }


@contextlib.contextmanager
def rows_writer(
    output: Path | None, lines: bool
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What writes rows, as CSV or as JSON Lines, to a file or to standard output.

    A file takes its place when it is complete.
    """
    if output is None:
        yield _row_writer(sys.stdout, lines)
        return
    check_folder(output)
    with (
        written_at_once(output) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        yield _row_writer(file, lines)


def _row_writer(file: IO[str], lines: bool) -> Callable[[dict[str, Any]], None]:
    writer: Any = None

    def write(row: dict[str, Any]) -> None:
        nonlocal writer
        if lines:
            file.write(json.dumps(row) + "\n")
            return
        if writer is None:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
        writer.writerow(row)

    return write


def check_folder(output: Path) -> None:
    """Say at once that a result could not be written, before any work is done."""
    if not output.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(output.parent)!r} to write {output.name!r} to."
        )
    if output.is_dir():
        raise IsADirectoryError(f"{str(output)!r} is a folder; name a file in it.")
    check_writable(output)

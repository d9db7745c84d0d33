"""What the commands do, with files in and files out."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from skfcdd._answers import has_memory
from skfcdd._utils.files import check_writable, written_at_once
from skfcdd._verdicts import convention_of, decisive_scores, is_above, settled
from skfcdd.cli._heatmaps import Finding, HeatmapFiles, outside, printable
from skfcdd.cli._options import check, check_device
from skfcdd.datasets._folders import SUFFIXES, find_images, read_found
from skfcdd.datasets._found import Entry, Found

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
        wanted, parts, share = heatmaps or pixels, None, None
        if has_memory(estimator):
            found = estimator.explain_parts(X, heatmaps=wanted)
            scores, share, maps = found.score, found.novelty_share, found.get("heatmap")
            parts = np.stack([found.defect, found.novelty], axis=1) if wanted else None
        else:
            maps = np.asarray(estimator.explain(X)) if wanted else None
            scores = np.asarray(estimator.anomaly_score(X))
        decisive = decisive_scores(estimator, X, maps) if pixels else scores
        threshold = float(estimator.threshold_)
        return Verdicts(scores, decisive, threshold, maps, parts, share)


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
    parts : ndarray of shape (n, 2, h, w), or None
        What adds up to them, if the model has a memory.
    novelty_share : ndarray of shape (n,), or None
        How much of each score comes from the second part.
    """

    scores: npt.NDArray[np.float64]
    decisive: npt.NDArray[np.float64]
    threshold: float
    heatmaps: npt.NDArray[np.float32] | None
    parts: npt.NDArray[np.float32] | None = None
    novelty_share: npt.NDArray[np.float64] | None = None

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

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of a table, image by image."""
        for k, score in enumerate(self.scores):
            row = {
                "score": float(score),
                "probability": float(self.probability[k]),
                "anomalous": int(self.anomalous[k]),
            }
            if self.novelty_share is not None:
                row["novelty_share"] = round(float(self.novelty_share[k]), 4)
            yield row

    def finding(self, k: int) -> Finding:
        """One image of the batch, to be drawn."""
        assert self.heatmaps is not None
        return Finding(
            score=float(self.decisive[k]),
            anomalous=bool(self.anomalous[k]),
            heatmap=self.heatmaps[k],
            parts=() if self.parts is None else self.parts[k],
            novelty_share=(
                None if self.novelty_share is None else float(self.novelty_share[k])
            ),
        )


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
    data = load_part(
        folder,
        "train",
        masks=masks,
        on_error=on_error,
        resize=common_size if size is None else size,
        keep_aspect=keep_aspect,
    )
    n_bad = int(data.target.sum())
    say(f"{len(data.images)} images of {data.images.shape[1:]}: {data.summary}")
    started = time.perf_counter()
    if n_bad == 0:
        estimator.fit(data.images, groups=data.groups)
    else:
        estimator.fit(data.images, data.target, masks=data.masks, groups=data.groups)
    # Empty if it was stopped in the first epoch.
    if len(estimator.history_) < estimator.net_.max_epochs or (
        "train_loss" not in estimator.history_[-1]
    ):
        raise KeyboardInterrupt  # which skorch takes for an early end
    estimator.set_params(callbacks=None)
    spent = time.perf_counter() - started
    save(estimator, output, note=note)
    return {
        "model": str(output),
        "n_images": len(data.images),
        "n_anomalous": n_bad,
        "data": data.summary,
        "image_shape": list(estimator.image_shape_),
        "threshold": float(estimator.threshold_),
        "n_calibration": len(estimator.calibration_scores_),
        "calibration": str(estimator.calibration_),
        "seconds": round(spent, 1),
    }


def progress_callback(progress: Callable[[int], Any]) -> Any:
    """Tell `progress` of the number of epochs, and of each that is done."""
    from skorch.callbacks import Callback

    class Epochs(Callback):  # type: ignore[misc]
        every_training = True  # also those that only set the threshold

        def on_train_begin(self, net: Any, **kwargs: Any) -> None:
            self.step = progress(net.max_epochs)

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            self.step()

    return Epochs()


def load_part(
    source: Path, part: str, *, masks: Path | None, on_error: str, **options: Any
) -> Any:
    """A part of a folder or a table, or all of it if it has no such part."""
    found = find_images(source, masks=masks, on_error=on_error)
    split = part if part in found.parts() else None
    return read_found(
        found.only(split), source, split=split, on_error=on_error, **options
    )


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
    layout: str,
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> Iterator[dict[str, Any]]:
    """Score the images of a folder, batch by batch; heatmaps go to files."""
    if layout == "parts" and not has_memory(model.estimator):
        raise ValueError(
            "--layout parts: this model has no memory of normal features, so that its "
            "heatmaps have no parts. Choose overlay or side-by-side."
        )
    data = load_unlabelled(model, folder, on_error, heatmaps)
    images = data.images
    say(data.summary)
    files = None
    if heatmaps is not None:
        files = HeatmapFiles(heatmaps, folder, images, model.estimator, layout)
    step = progress(len(images))
    for start in range(0, len(images), _AT_ONCE):
        batch = images[start : start + _AT_ONCE]
        found = model.judge(batch, files is not None)
        for k, row in enumerate(found.rows()):
            if files is not None:
                files.write(start + k, found.finding(k))
            yield {"path": printable(images.paths[start + k])} | row
            step()


def load_unlabelled(
    model: Model, source: Path, on_error: str, pictures: Path | None = None
) -> Any:
    """All images of a folder and the folders in it, of a table, or the file itself.

    Pictures that an earlier run has left in `pictures` do not count.
    """
    if source.suffix.lower() in SUFFIXES and source.is_file():
        found = Found([Entry(source, "", False)], labelled=False)
    else:
        found = find_images(source, on_error=on_error, unlabelled=True)
        found = replace(found, entries=outside(found.entries, pictures, source))
    return read_found(found, source, on_error=on_error, **model.options)


def evaluate(
    model: Model,
    folder: Path,
    *,
    masks: Path | None,
    on_error: str,
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> dict[str, Any]:
    """Figures of merit on labelled images, over all and by kind of defect."""
    data = load_part(folder, "test", masks=masks, on_error=on_error, **model.options)
    say(data.summary)
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
        "data": data.summary,
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
    """Of the images whose masks are known."""
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

"""Implementation of ``skfcdd update``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfcdd.cli._basis import basis
from skfcdd.cli._console import Outcome, duration, many
from skfcdd.cli._model import Model
from skfcdd.cli._reading import Source, load_part, load_unlabelled
from skfcdd.cli._training import progress_callback
from skfcdd.cli._writing import check_model_file, command, size_of
from skfcdd.datasets import ImageFiles
from skfcdd.report import read_review
from skfcdd.report._write import below

__all__ = ["update"]


def update(
    model: Model,
    folder: Path,
    review: Path,
    train: Source,
    output: Path,
    *,
    epochs: int | None,
    note: str | None,
    force: bool,
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> Outcome:
    """Continue the training of a model with the marked images of a folder."""
    _check_kind(model)
    check_model_file(output, force)
    marks = read_review(review)
    new = load_unlabelled(model, folder, "skip").images
    inside = folder.is_dir() and all(p.is_relative_to(folder) for p in new.paths)
    names = below(new.paths, folder if inside else None)
    rows, labels = marks.marked(names)
    if len(rows) == 0:
        raise ValueError(
            f"{str(review)!r} marks no image as good or as a defect, so there is "
            "nothing to learn from."
        )
    data = load_part(train, "train", **model.options)
    say(f"{many(len(data.images), 'image')} from the previous training: {data.summary}")
    marked = [new.paths[row] for row in rows]
    paths, target, masks, n_corrected = _joined(data, marked, labels)
    images = ImageFiles(paths, **model.options)
    started = time.perf_counter()
    before = float(model.estimator.threshold_)
    estimator = _trained(
        model.estimator, images, target, masks, epochs, progress_callback(progress)
    )
    spent = time.perf_counter() - started
    from skfcdd.persistence import save

    save(estimator, output, note=note)
    n_bad = int(labels.sum())
    record = {
        "model": str(output),
        "n_images": len(images),
        "n_marked": len(rows),
        "n_marked_defects": n_bad,
        "n_corrected": n_corrected,
        "threshold_before": before,
        "threshold": float(estimator.threshold_),
        "n_calibration": len(estimator.calibration_scores_),
        "seconds": round(spent, 1),
    }
    sentences = [
        f"Learned from {many(len(rows), 'marked image')}, {n_bad} of them defects, "
        f"and {many(len(data.images), 'image')} from the previous training, in "
        f"{duration(spent)}.",
        *basis(estimator),
        f"Wrote {output} ({size_of(output)}).",
    ]
    if n_corrected:
        sentences.insert(
            1,
            (
                f"{many(n_corrected, 'image')} from the previous training had a "
                "different label before."
            ),
        )
    after = [command("compare", model.path, output, "FOLDER_OF_TEST_IMAGES")]
    return Outcome(record, sentences, after)


def _check_kind(model: Model) -> None:
    from skfcdd import FCDDClassifier, FCDDDetector

    if not isinstance(model.estimator, (FCDDClassifier, FCDDDetector)):
        raise ValueError(
            f"{str(model.path)!r} cannot learn from marks: exported models cannot be "
            "trained, and segmenters learn from masks. Pass a classifier or detector "
            "saved as .skfcdd."
        )


def _joined(
    data: Any, marked: list[Path], labels: npt.NDArray[np.int_]
) -> tuple[list[Path], npt.NDArray[np.int_], Any, int]:
    """Combine training images and marked images.

    The mark of a training image replaces its label; the image is not added again.
    Returns paths, labels, masks and the number of changed labels.
    """
    paths, target = list(data.images.paths), data.target.astype(int)
    place = {path.resolve(): row for row, path in enumerate(paths)}
    masks = None if data.masks is None else list(data.masks)
    n_corrected, added = 0, []
    for path, label in zip(marked, labels.tolist(), strict=True):
        row = place.get(path.resolve())
        if row is None:
            paths.append(path)
            added.append(label)
            continue
        if target[row] != label:
            target[row] = label
            n_corrected += 1
            if masks is not None:
                masks[row] = None  # the mask contradicts the new label
    if masks is not None:
        masks += [None] * len(added)
    return (
        paths,
        np.concatenate([target, np.array(added, dtype=int)]),
        masks,
        n_corrected,
    )


def _trained(
    estimator: Any,
    images: ImageFiles,
    target: npt.NDArray[np.int_],
    masks: Any,
    epochs: int | None,
    callback: Any,
) -> Any:
    """Continue the training of a model, and restore its parameters afterwards."""
    given = {"warm_start": True, "callbacks": [callback]}
    if epochs is not None:
        given["max_epochs"] = epochs
    before = {name: estimator.get_params(deep=False)[name] for name in given}
    estimator.set_params(**given)
    convention = estimator.convention_
    anomaly = convention.anomaly_label
    (normal,) = (k for k in convention.classes.tolist() if k != anomaly)
    y = np.where(target == 1, anomaly, normal)
    if masks is None:
        estimator.fit(images, y)
    else:
        estimator.fit(images, y, masks=masks)
    return estimator.set_params(**before)

"""What ``skfcdd fit`` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skfcdd.cli._options import check
from skfcdd.cli._reading import check_folder, common_size, load_part

__all__ = ["fit"]


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
        estimator.fit(data.images)
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
        "data": data.summary,
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

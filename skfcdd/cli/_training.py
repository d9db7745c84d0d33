"""Implementation of ``skfcdd fit``."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from skfcdd.cli._basis import basis
from skfcdd.cli._console import Outcome, duration, many
from skfcdd.cli._options import check
from skfcdd.cli._reading import Source, common_size, load_part
from skfcdd.cli._writing import check_model_file, command, size_of
from skfcdd.exceptions import InterruptedTrainingWarning

__all__ = ["fit"]


def fit(
    source: Source,
    output: Path,
    *,
    kind: str,
    size: tuple[int, int] | None,
    keep_aspect: bool,
    note: str | None,
    force: bool,
    params: dict[str, Any],
    reading: dict[str, Any],
    say: Callable[[str], None],
    progress: Callable[[int], Any],
) -> Outcome:
    """Train on the images of a folder, and save the model.

    If training is interrupted after at least one epoch, the model trained so far is
    saved.
    """
    import skfcdd
    from skfcdd.persistence import save

    name = {"classifier": "FCDDClassifier", "segmenter": "FCDDSegmenter"}[kind]
    estimator = getattr(skfcdd, name)(**params, callbacks=[progress_callback(progress)])
    check(type(estimator), params, size)
    check_model_file(output, force)
    data = load_part(
        source,
        "train",
        resize=common_size if size is None else size,
        keep_aspect=keep_aspect,
        **reading,
    )
    say(f"{many(len(data.images), 'image')} of {data.images.shape[1:]}: {data.summary}")
    started = time.perf_counter()
    with _noticing() as stopped, warnings.catch_warnings():
        # This warning is worded for Python; the outcome reports the interruption.
        warnings.simplefilter("ignore", InterruptedTrainingWarning)
        if data.target.any():
            given = {"masks": data.masks, "groups": data.groups}
            estimator.fit(data.images, data.target, **given)
        else:
            estimator.fit(data.images, groups=data.groups)
    n_epochs = len(estimator.history_)
    if stopped() and n_epochs == 0:
        say(
            "Interrupted before the first epoch was complete, so there is no model to "
            "write."
        )
        raise KeyboardInterrupt
    planned = estimator.net_.max_epochs
    estimator.set_params(callbacks=None)
    spent = time.perf_counter() - started
    save(estimator, output, note=note)
    stopped_in = f"{n_epochs} of {planned}" if stopped() else None
    return _outcome(estimator, data, source, output, spent, stopped_in)


def _outcome(
    estimator: Any,
    data: Any,
    source: Source,
    output: Path,
    spent: float,
    stopped_in: str | None,
) -> Outcome:
    n, n_epochs = len(data.images), len(estimator.history_)
    h, w, c = estimator.image_shape_
    record = {
        "model": str(output),
        "n_images": n,
        "n_anomalous": int(data.target.sum()),
        "data": data.summary,
        "image_shape": [h, w, c],
        "threshold": float(estimator.threshold_),
        "n_calibration": len(estimator.calibration_scores_),
        "calibration": str(estimator.calibration_),
        "n_epochs": n_epochs,
        "interrupted": stopped_in is not None,
        "seconds": round(spent, 1),
        "seconds_per_image": spent / (n * n_epochs),
    }
    sentences = [
        f"Read {many(n, 'image')} from {source.path}, resized to {h} x {w} pixels: "
        f"{data.summary}.",
        f"Trained for {many(n_epochs, 'epoch')} in {duration(spent)}, "
        f"{duration(spent / (n * n_epochs))} per image and epoch.",
        *basis(estimator),
        f"Wrote {output} ({size_of(output)}).",
    ]
    if stopped_in is not None:
        sentences.insert(
            1,
            f"Interrupted after epoch {stopped_in}: more epochs may improve the model.",
        )
    after = [command("report", output, source.path)]
    if "test" in data.parts:
        after.insert(0, command("evaluate", output, source.path))
    if "val" in data.parts:
        calibrated = output.with_stem(f"{output.stem}-calibrated")
        after = [command("calibrate", output, source.path, "-o", calibrated)]
    return Outcome(record, sentences, after)


def progress_callback(progress: Callable[[int], Any]) -> Any:
    """Return a skorch callback that updates a progress bar after each epoch."""
    from skorch.callbacks import Callback

    class Epochs(Callback):  # type: ignore[misc]
        every_training = True  # also if it only serves to set the threshold

        def on_train_begin(self, net: Any, **kwargs: Any) -> None:
            self.step = progress(net.max_epochs)

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            self.step()

    return Epochs()


@contextlib.contextmanager
def _noticing() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C was pressed.

    It is needed because ``fit`` ends without an error when interrupted.
    """
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not (main and callable(before)):  # Ctrl-C is not handled by this thread
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)

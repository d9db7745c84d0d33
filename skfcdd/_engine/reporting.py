"""What a training run tells of its epochs: printed lines, scikit-learn's callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["Reporter"]


class Reporter:
    """Tells of the epochs of one call of ``fit``.

    It hears of them from the net (:meth:`skfcdd._engine.net.FCDDNet.notify`), once its
    callbacks have.

    Parameters
    ----------
    estimator : estimator
        Which is fitted. Its `verbose` says whether lines are printed; callbacks that
        were set by ``set_callbacks`` hear of every epoch where scikit-learn has them
        (1.9).
    X, y : array-like
        What ``fit`` was given, for callbacks that score.
    snapshot : callable
        Learned attributes as if training had ended now; called only for callbacks
        that ask.
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, snapshot: Callable[[], dict[str, Any]]
    ) -> None:
        self.estimator = estimator
        self.given = {"X": X, "y": y, "reconstruction_attributes": snapshot}
        self.verbose = estimator.verbose
        self.whole: Any = None  # of scikit-learn's contexts
        self.part: Any = None

    def on_train_begin(self, net: Any) -> None:
        """Open what callbacks are told of."""
        # An earlier run may have come some way.
        self.n_epochs, self.n_done = net.max_epochs, len(net.history)
        self.n_before = self.n_done
        self.verbose = self.verbose and net.reports
        self.started = time.perf_counter()
        if hasattr(self.estimator, "_init_callback_context"):
            self.whole = self.estimator._init_callback_context(
                max_subtasks=self.n_epochs
            )
            self.whole.call_on_fit_task_begin(
                estimator=self.estimator, X=self.given["X"], y=self.given["y"]
            )

    def on_epoch_begin(self, net: Any) -> None:
        """Tell callbacks of an epoch."""
        if self.whole is not None:
            self.part = self.whole.subcontext(task_name="epoch")
            self.part.call_on_fit_task_begin(
                estimator=self.estimator, X=self.given["X"], y=self.given["y"]
            )

    def on_epoch_end(self, net: Any) -> None:
        """Print a line, and tell callbacks, one of which may end the training.

        Raises
        ------
        KeyboardInterrupt
            Which is how callbacks of skorch end a training.
        """
        self.n_done += 1
        if self.verbose:
            print(self._line(net.history[-1]), flush=True)
        if self.part is not None:
            part, self.part = self.part, None
            if part.call_on_fit_task_end(estimator=self.estimator, **self.given):
                raise KeyboardInterrupt

    def on_train_end(self, net: Any) -> None:
        """Tell callbacks that it is over."""
        if self.part is not None:  # an epoch that was broken off
            self.part.call_on_fit_task_end(estimator=self.estimator)
        if self.whole is not None:
            self.whole.call_on_fit_task_end(estimator=self.estimator, **self.given)

    def _line(self, row: dict[str, Any]) -> str:
        """An epoch in a line: its losses, its time, and the time that is left."""
        spent = time.perf_counter() - self.started
        pace = spent / (self.n_done - self.n_before)
        left = round(pace * (self.n_epochs - self.n_done))
        width = len(str(self.n_epochs))
        parts = [f"epoch {self.n_done:{width}}/{self.n_epochs}"]
        parts += [f"{n} {row[n]:.4f}" for n in ("train_loss", "valid_loss") if n in row]
        if row.get("valid_loss_best"):
            parts[-1] += " *"
        clock = f"{left // 60}:{left % 60:02}"
        return "  ".join([*parts, f"{row['dur']:.1f} s", f"{clock} left"])

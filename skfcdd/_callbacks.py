"""Bridge to scikit-learn callbacks (1.9 and later)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skfcdd._engine.net import Listener

__all__ = ["CallbackBridge"]


class CallbackBridge(Listener):
    """Forward skorch events to the callbacks registered with ``set_callbacks``.

    Parameters
    ----------
    estimator : estimator
        The estimator being fitted.
    X, y : array-like
        The data passed to ``fit``, for callbacks that compute scores.
    present : callable
        Returns the learned attributes as if training had just ended; called only for
        callbacks that request them.
    """

    reports = True

    def __init__(
        self, estimator: Any, X: Any, y: Any, present: Callable[[], dict[str, Any]]
    ) -> None:
        self.estimator = estimator
        self.given = {"X": X, "y": y, "reconstruction_attributes": present}
        self.whole: Any = None  # scikit-learn's context of the fit
        self.part: Any = None  # scikit-learn's context of the current epoch

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the context of the fit."""
        self.whole = self.estimator._init_callback_context(max_subtasks=net.max_epochs)
        self._begin(self.whole)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the context of an epoch."""
        self.part = self.whole.subcontext(task_name="epoch")
        self._begin(self.part)

    def _begin(self, context: Any) -> None:
        context.call_on_fit_task_begin(
            estimator=self.estimator, X=self.given["X"], y=self.given["y"]
        )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Close the context of the epoch; a callback may stop the training.

        Raises
        ------
        KeyboardInterrupt
            If a callback stops the training, as skorch expects.
        """
        part, self.part = self.part, None
        if part.call_on_fit_task_end(estimator=self.estimator, **self.given):
            raise KeyboardInterrupt

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the context of the fit."""
        if self.part is not None:  # the epoch was interrupted
            self.part.call_on_fit_task_end(estimator=self.estimator)
        self.whole.call_on_fit_task_end(estimator=self.estimator, **self.given)

"""Callbacks of scikit-learn (1.9 and later), told of the epochs of ``fit``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skfcdd._engine.net import Listener

__all__ = ["CallbackBridge"]


class CallbackBridge(Listener):
    """Hands what skorch tells on to the callbacks that were set by ``set_callbacks``.

    Parameters
    ----------
    estimator : estimator
        Which is fitted.
    X, y : array-like
        What ``fit`` was given, for callbacks that score.
    present : callable
        Learned attributes as if training had ended now; called only for callbacks
        that ask.
    """

    reports = True

    def __init__(
        self, estimator: Any, X: Any, y: Any, present: Callable[[], dict[str, Any]]
    ) -> None:
        self.estimator = estimator
        self.given = {"X": X, "y": y, "reconstruction_attributes": present}
        self.whole: Any = None  # of scikit-learn's contexts
        self.part: Any = None

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the context of the whole training."""
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
        """Close it; a callback may end the training.

        Raises
        ------
        KeyboardInterrupt
            Which is how callbacks of skorch end a training.
        """
        part, self.part = self.part, None
        if part.call_on_fit_task_end(estimator=self.estimator, **self.given):
            raise KeyboardInterrupt

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the context of the whole training."""
        if self.part is not None:  # an epoch that was broken off
            self.part.call_on_fit_task_end(estimator=self.estimator)
        self.whole.call_on_fit_task_end(estimator=self.estimator, **self.given)

"""Checkpoints that resume an interrupted fit bit for bit."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.history import History

from skfcdd._engine.batches import TrainingData
from skfcdd._engine.feature_store import CachedTrainingData
from skfcdd._engine.fingerprint import fingerprint
from skfcdd._engine.net import FCDDNet, Listener
from skfcdd._engine.settings import Settings
from skfcdd._inputs.images import ImageArray
from skfcdd._inputs.labels import Targets
from skfcdd._utils.files import check_writable, written_at_once
from skfcdd.exceptions import CheckpointError

__all__ = ["Checkpoint"]

FORMAT = 2


class Checkpoint(Listener):
    """Callback that saves the state of a training to a file after every epoch.

    The file contains only numbers and text, so reading it runs no code.

    Parameters
    ----------
    path : str or PathLike
        The file.
    fingerprint : str
        Digest of parameters and data; a file with another digest is rejected.

    Raises
    ------
    CheckpointError
        If the file is damaged or belongs to another training.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint
        self.state = self._read()
        self.seeds: list[int] = []
        self.data: Any = None
        self.written = False

    @classmethod
    def of(
        cls, settings: Settings, images: ImageArray, targets: Targets, begun: str
    ) -> Checkpoint | None:
        """Create the checkpoint requested by the settings, if any.

        `begun` is the digest of the initial weights of a warm start.

        Raises
        ------
        OSError
            If the path is not writable; checked before training starts.
        ValueError
            If training is distributed.
        """
        if settings.checkpoint is None:
            return None
        if settings.accelerate:
            raise ValueError(
                "checkpoint= cannot be combined with accelerate=True. Omit one of them."
            )
        found = fingerprint(settings.params, images, targets, begun)
        checkpoint = cls(settings.checkpoint, found)
        if checkpoint.state is None:
            with _explained(checkpoint.path, 0):
                check_writable(checkpoint.path)
        return checkpoint

    @property
    def n_done(self) -> int:
        """Number of epochs already trained."""
        return 0 if self.state is None else int(self.state["n_done"])

    def agree(self, seeds: list[int]) -> list[int]:
        """Return the seeds of the resumed training, or `seeds` for a new one."""
        self.seeds = seeds if self.state is None else list(self.state["seeds"])
        return self.seeds

    def follow(self, net: FCDDNet, source: TrainingData) -> None:
        """Attach to a training, and replay the finished epochs of a stateful source.

        Parameters
        ----------
        net : FCDDNet
        source : TrainingData
            Source of the training batches.
        """
        net.n_done_, self.data = self.n_done, source
        for _ in range(self.n_done if isinstance(source, CachedTrainingData) else 0):
            for _ in source.batches(net.batch_size, net.device):
                pass

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Restore the saved state, if any."""
        if self.state is None:
            return
        state = self.state
        net.module_.load_state_dict(state["module"])
        net.optimizer_.load_state_dict(state["optimizer"])
        net.history = History(json.loads(state["history"]))
        net.best_, net.best_loss_ = state["best"], state["best_loss"]
        for name, callback in net.callbacks_:
            if name in state["callbacks"]:
                _restore(callback, state["callbacks"][name])
        self.data.generator.set_state(state["generator"])
        _set_global(state["chance"], net.device)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Save the state."""
        callbacks = {name: _kept(callback) for name, callback in net.callbacks_}
        state = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "n_done": len(net.history),
            "seeds": self.seeds,
            "module": net.module_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "best": net.best_,
            "best_loss": net.best_loss_,
            "history": json.dumps(list(net.history), default=_plain),
            "callbacks": {name: kept for name, kept in callbacks.items() if kept},
            "generator": self.data.generator.get_state(),
            "chance": _get_global(net.device),
        }
        content = io.BytesIO()
        torch.save(state, content)
        if not self.written:
            _check_readable(content)
        with (
            _explained(self.path, len(net.history)),
            written_at_once(self.path) as temporary,
        ):
            temporary.write_bytes(content.getbuffer())
        self.written = True

    def _read(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            known = state["format"] == FORMAT
        except OSError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"{str(self.path)!r} is damaged or not a checkpoint. Delete it, or "
                "use another file."
            ) from error
        if not known:
            raise CheckpointError(
                f"{str(self.path)!r} was written by another version of skfcdd. Delete "
                "it, or use another file."
            )
        if state["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                f"{str(self.path)!r} is the checkpoint of a different fit: the "
                "images, labels, parameters or initial weights differ. Restore them, "
                "delete the file, or use another one."
            )
        found: dict[str, Any] = state
        return found


def _kept(callback: Any) -> dict[str, Any]:
    """Return the state of a skorch callback as numbers and tensors."""
    if not type(callback).__module__.startswith("skorch."):
        return {}
    state = {
        name: _plain(value)
        for name, value in vars(callback).items()
        if name.endswith("_") and isinstance(value, (bool, int, float, np.generic))
    }
    if isinstance(callback, LRScheduler):
        state["schedule"] = callback.lr_scheduler_.state_dict()
    if isinstance(callback, EarlyStopping):
        state["best_model_weights_"] = callback.best_model_weights_
    return state


def _restore(callback: Any, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        if name == "schedule":
            callback.lr_scheduler_.load_state_dict(value)
        else:
            setattr(callback, name, value)


def _plain(value: Any) -> Any:
    """Convert NumPy numbers to Python numbers, and anything else to text."""
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (bool, int, float)) else repr(value)


def _check_readable(content: io.BytesIO) -> None:
    """Check that the state can be read back."""
    content.seek(0)
    try:
        torch.load(content, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "The state of this training cannot be written to checkpoint=, because its "
            "optimizer or lr_schedule stores more than numbers and strings. Use "
            "others, or omit checkpoint=."
        ) from error


def _get_global(device: str) -> list[torch.Tensor]:
    """Return the states of torch's global generators, which dropout uses."""
    states = [torch.get_rng_state()]
    if torch.device(device).type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def _set_global(states: list[torch.Tensor], device: str) -> None:
    torch.set_rng_state(states[0])
    if torch.device(device).type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)


@contextmanager
def _explained(path: Path, n_done: int) -> Iterator[None]:
    """Add to an OSError which checkpoint could not be written, and what is kept."""
    try:
        yield
    except OSError as error:
        left = "No epoch was completed."
        if n_done:
            left = f"Training reached epoch {n_done}."
        if path.is_file():
            left += (
                " The previous checkpoint is intact: calling fit again resumes from it."
            )
        raise type(error)(
            error.errno,
            f"The checkpoint {str(path)!r} could not be written: "
            f"{error.strerror or error}. {left}",
        ) from error

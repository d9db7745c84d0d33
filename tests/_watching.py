"""A watched folder with a model whose answers are known, without torch."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from _reports import SIZE, Known
from PIL import Image

from skfcdd.cli._model import Model
from skfcdd.cli._watching import Pace, watch

QUICK = Pace(poll=0.02, settle=0.02, patience=0.2, once=True)


def put(folder, name, seed=0, scale=1.0):
    """An image, complete from its first moment on."""
    values = np.random.RandomState(seed).randint(10, 60, SIZE) * scale
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    Image.fromarray(values.astype(np.uint8)).save(hidden, format="png")
    hidden.rename(path)
    return path


def known_model():
    """A model without a file."""
    model = Model.__new__(Model)
    model.path, model.estimator = Path("known.onnx"), Known()
    model.options = {"n_channels": 1, "resize": SIZE}
    return model


def run(folder, output, pace=QUICK, n_usual=0, said=None, stop=None, probability=0.01):
    """What ``skfcdd watch`` says in the end."""
    return watch(
        known_model(),
        folder,
        output,
        pace,
        n_usual=n_usual,
        false_alarm_probability=probability,
        stop=stop or threading.Event(),
        say=(said if said is not None else []).append,
    ).record

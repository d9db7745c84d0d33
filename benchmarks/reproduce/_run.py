"""Training and testing of an experiment with the public estimators."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from skorch.callbacks import Callback, LRScheduler

from benchmarks._common import with_reading
from skfcdd import FCDDClassifier, FCDDSegmenter
from skfcdd.metrics import bootstrap_interval, pixel_roc_auc_score

from ._changes import changed_copies
from ._experiments import Experiment
from ._schedules import Course
from ._sources import EXPOSURES, SIDE, SOURCES, Images, Place

# Minimum number of epochs with a time budget, on fewer images if necessary.
_LEAST_EPOCHS = 10
# Planned share of the budget; the rest is a margin, because epochs vary in time.
_PLANNED = 0.9
_PROBE_BATCHES = 4


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Parameters
    ----------
    passes : int
        Number of passes over the normal images.
    images : int
        Number of normal images.
    way : {"scaled", "cut"}
        Treatment of the schedule if there are fewer passes: "scaled" compresses it,
        "cut" truncates it.
    seconds : float or None
        Training time after which training stops at the end of the current epoch.
    """

    passes: int
    images: int
    way: str = "scaled"
    seconds: float | None = None


@dataclass(frozen=True)
class Limits:
    """Limits of the command line on the extent of runs."""

    budget: float | None = None
    epochs: int | None = None
    images: int | None = None
    way: str = "scaled"


class Deadline(Callback):
    """Callback that stops training after the first epoch that ends past a deadline."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if time.perf_counter() - self.started >= self.seconds:
            raise KeyboardInterrupt


@dataclass
class Run:
    """One class of an experiment, with one seed.

    Parameters
    ----------
    experiment : Experiment
        Experiment to run.
    name : str
        Name of the normal class.
    seed : int
        Seed of the training and of all random choices.
    place : Place
        Location of the data.
    weights : str or None
        Path of pretrained weights that replace those of the experiment.
    """

    experiment: Experiment
    name: str
    seed: int
    place: Place
    weights: str | None = None
    _changed: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        experiment = self.experiment
        self.images: Images = SOURCES[experiment.data].load(self.place, self.name)
        self.exposed = None
        if experiment.exposure is not None:
            self.exposed = EXPOSURES[experiment.exposure].load(self.place)
        self.order = np.random.RandomState(self.seed).permutation(self.n_images)

    @property
    def n_images(self) -> int:
        """Number of available normal images."""
        return len(self.images.train)

    @property
    def passes(self) -> int:
        """Number of passes over the normal images in a complete run."""
        return self.experiment.epochs * self.experiment.passes

    def plans(self, limits: Limits) -> dict[str, Plan]:
        """Plan the extent of the run of each variant."""
        variants = list(self.experiment.variants)
        if self.experiment.equal_time:
            return {variant: self.plan(limits, variant) for variant in variants}
        return dict.fromkeys(variants, self.plan(limits, variants[-1]))

    def plan(self, limits: Limits, variant: str) -> Plan:
        """Plan the extent of a run; with a budget, a short training measures speed."""
        n = self.n_images
        for most in (self.experiment.images, limits.images):
            n = n if most is None else min(n, most)
        passes = self.passes
        if limits.epochs is not None:
            passes = min(passes, limits.epochs * self.experiment.passes)
        if limits.budget is None:
            return Plan(passes, n, limits.way)
        started = time.perf_counter()
        seconds_each = self._seconds_each(n, variant)
        left = limits.budget - (time.perf_counter() - started)
        left = max(0.0, left) / len(self.experiment.variants)
        affordable = _PLANNED * left / seconds_each
        if affordable < n * passes:
            least = min(n, self._half_batch)
            wanted = min(passes, _LEAST_EPOCHS)
            n = int(np.clip(affordable / wanted, least, n))
            passes = int(np.clip(affordable / n, 1, passes))
        return Plan(passes, n, limits.way, seconds=left)

    @property
    def _half_batch(self) -> int:
        return int(self.experiment.params.get("batch_size", 16)) // 2

    def _seconds_each(self, n_images: int, variant: str) -> float:
        """Measure the seconds per normal image in the second of two passes."""
        n = min(n_images, _PROBE_BATCHES * self._half_batch)
        with _noted():  # the run itself repeats these warnings
            model, _, _ = self.fit(variant, Plan(2, n))
        return float(model.history_[-1]["dur"]) / n

    def estimator(self, variant: str, plan: Plan, **more: Any) -> Any:
        """Create the estimator of a variant."""
        experiment = self.experiment
        params: dict[str, Any] = dict(experiment.params)
        params |= dict(experiment.variants[variant])
        if self.weights is not None and params.get("weights") is not None:
            params["weights"] = self.weights
        if experiment.augment is not None:
            params["augment"] = experiment.augment
        if experiment.schedule is not None:
            course = Course(
                experiment.schedule,
                experiment.epochs,
                experiment.passes,
                plan.passes,
                plan.way,
            )
            params["lr_schedule"] = LRScheduler("LambdaLR", lr_lambda=course)
        if self.images.train.ndim == 4:
            params["channels"] = "last"
        if plan.seconds is not None:
            params["callbacks"] = [Deadline(plan.seconds)]
        make = FCDDSegmenter if experiment.pixels else FCDDClassifier
        return make(max_epochs=plan.passes, random_state=self.seed, **params, **more)

    def exposure(self, variant: str, n_normal: int) -> Any:
        """Return the exposed outliers, and their number before augmentation."""
        if self.exposed is None or self.experiment.exposure is None:
            return None, 0
        exposed = self.exposed
        most = self.experiment.n_exposed.get(variant, len(exposed))
        if most < len(exposed):
            rows = np.random.RandomState(self.seed).permutation(len(exposed))[:most]
            exposed = exposed[np.sort(rows)]
        if not EXPOSURES[self.experiment.exposure].changed:
            return exposed, len(exposed)
        key = (most, max(1, -(-n_normal // len(exposed))))
        if key not in self._changed:
            self._changed[key] = changed_copies(
                exposed,
                self.images.train.shape[1:],
                self.experiment.augment or (),
                n_copies=key[1],
                seed=self.seed,
            )
        return self._changed[key], len(exposed)

    def known_anomalies(self) -> np.ndarray:
        """Return the test rows used in training: one of each kind of defect."""
        if not self.experiment.pixels:
            return np.empty(0, dtype=int)
        rng, kind = np.random.RandomState(self.seed), self.images.kind
        assert kind is not None
        defects = np.unique(kind[self.images.anomalous])
        return np.array([rng.choice(np.flatnonzero(kind == name)) for name in defects])

    def fit(self, variant: str, plan: Plan) -> tuple[Any, int, float]:
        """Return the fitted estimator, the number of exposed images, and the time."""
        exposed, n_exposed = self.exposure(variant, plan.images)
        more = {} if exposed is None else {"outlier_exposure": exposed}
        model = self.estimator(variant, plan, **more)
        X = self.images.train[np.sort(self.order[: plan.images])]
        started = time.perf_counter()
        if self.experiment.pixels:
            known = self.known_anomalies()
            assert self.images.masks is not None
            masks = np.zeros((len(X), *X.shape[1:3]), dtype=np.uint8)
            model.fit(
                np.concatenate([X, self.images.test[known]]),
                np.concatenate([masks, self.images.masks[known]]),
            )
        else:
            model.fit(X)
        return model, n_exposed, time.perf_counter() - started

    @property
    def tested(self) -> np.ndarray:
        """Test rows that are not used in training."""
        return np.setdiff1d(np.arange(len(self.images.test)), self.known_anomalies())

    def of_images(self, model: Any) -> dict[str, Any]:
        """Compute the image AUROC, with a bootstrap interval over test images."""
        anomalous = self.images.anomalous[self.tested]
        scores = model.anomaly_score(self.images.test[self.tested])
        found = bootstrap_interval(
            roc_auc_score, anomalous, scores, n_resamples=199, random_state=0
        )
        return {
            "n_test": [int((~anomalous).sum()), int(anomalous.sum())],
            "image_auroc": round(found.value, 4),
            "image_auroc_interval": [round(found.low, 4), round(found.high, 4)],
        }

    def of_pixels(self, model: Any) -> dict[str, float]:
        """Compute the pixel AUROC, if there are masks."""
        if self.images.masks is None:
            return {}
        heatmaps = model.explain(self.images.test[self.tested])
        value = pixel_roc_auc_score(self.images.masks[self.tested], heatmaps)
        return {"pixel_auroc": round(float(value), 4)}

    def records(self, plans: Mapping[str, Plan]) -> Iterator[dict[str, Any]]:
        """Train every variant, and yield a record for each of its readings."""
        for variant, plan in plans.items():
            with _noted() as notes:
                fitted, n_exposed, fit_s = self.fit(variant, plan)
            if any(note.startswith("InterruptedTraining") for note in notes):
                raise KeyboardInterrupt  # which skorch has caught to end the fit
            started = time.perf_counter()
            of_images = self.of_images(fitted)
            for reading, changes in self.experiment.readings.items():
                model = with_reading(fitted, **changes)
                of_pixels = self.of_pixels(model)
                yield {
                    "class": self.name,
                    "seed": self.seed,
                    "variant": variant or reading,
                    **self._extent(plan, len(model.history_)),
                    "data": self.experiment.data,
                    "exposure": self.experiment.exposure,
                    "exposed": n_exposed,
                    **of_images,
                    **of_pixels,
                    **self._published(),
                    "fit_s": round(fit_s, 1),
                    "test_s": round(time.perf_counter() - started, 1),
                    "receptive_field": float(model.receptive_field_.extent[0]),
                    "precision": model.precision_,
                    "device": str(model.net_.device),
                    **_rates(model),
                    "parameters": _told(model.get_params(), self.experiment),
                    "differs": list(self.experiment.differs),
                    "warnings": notes,
                }

    def _extent(self, plan: Plan, done: int) -> dict[str, Any]:
        """Describe the extent of a run, and how it differs from a complete one."""
        each = self.experiment.passes
        most = min(self.experiment.images or self.n_images, self.n_images)
        side = self.place.side
        complete = done == self.passes and plan.images == most and side == SIDE
        extent: dict[str, Any] = {
            "complete": complete,
            "epochs": _whole(done / each),
            "epochs_of": self.experiment.epochs,
            "images": plan.images,
            "images_of": most,
            "side": self.images.train.shape[1],
        }
        if complete:
            return extent
        text = (
            f"ran {extent['epochs']} of {extent['epochs_of']} epochs on {plan.images} "
            f"of {most} images"
        )
        if side != SIDE:
            text += f" of {side} instead of {SIDE} pixels"
        if self.experiment.schedule is not None:
            text += f", the schedule {plan.way}"
            if plan.way == "scaled":
                text += f" to {_whole(plan.passes / each)} epochs"
        if done < plan.passes:
            text += f"; time was up before {_whole(plan.passes / each)} epochs"
        return extent | {"cut": text}

    def _published(self) -> dict[str, float]:
        experiment = self.experiment
        value = experiment.published_by_class.get(self.name)
        known = {"published": value, "published_mean": experiment.published}
        return {key: figure for key, figure in known.items() if figure is not None}


def _whole(value: float) -> float:
    """Return an int if the value is whole, or else one decimal."""
    return int(value) if value == int(value) else round(value, 1)


def _rates(model: Any) -> dict[str, list[float]]:
    """Return the first and the last learning rate if there is a schedule."""
    rates = [row["event_lr"] for row in model.history_ if "event_lr" in row]
    return {"lr": [rates[0], rates[-1]]} if rates else {}


def _told(params: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Return the parameters set by the experiment, in a form that JSON can store."""
    names = {"max_epochs", "augment", *experiment.params}
    for changes in (*experiment.variants.values(), *experiment.readings.values()):
        names |= set(changes)
    told = {}
    for name in sorted(names):
        value = params[name]
        plain = isinstance(value, str | int | float | None)
        told[name] = value if plain else repr(value)
    if experiment.schedule is not None:
        told["lr_schedule"] = repr(experiment.schedule)
    return told


@contextmanager
def _noted() -> Iterator[list[str]]:
    """Collect warnings, each once."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield notes
    notes += dict.fromkeys(f"{w.category.__name__}: {w.message}" for w in caught)

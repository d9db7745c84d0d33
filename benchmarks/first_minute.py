"""How long a first model takes, and what share of it is not the bare training step.

Times ``FCDDClassifier().fit`` on 500 images of 128 x 128 pixels beside a plain loop of
the same network, precision and number of steps on ready-made batches; scoring and
heatmaps; and scikit-learn's estimator checks. Writes results/first_minute.json.
"""

from __future__ import annotations

import statistics
import time
import warnings

import torch
from _common import record
from sklearn.utils.estimator_checks import check_estimator

from skfcdd import FCDDClassifier
from skfcdd.anomalies import SYNTHETIC_ANOMALIES
from skfcdd.datasets import make_defects


def seconds(function, repeats: int = 1) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def plain_loop(model: FCDDClassifier, n_steps: int) -> float:
    """Seconds for as many bare steps of the model's network."""
    module = model.net_.module_
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-6)
    batch = torch.rand(model.batch_size, 1, 128, 128)
    anomalous = torch.arange(model.batch_size) % 2 == 0
    lower = model.net_.precision == "bfloat16"

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=lower):
            cells = module(batch)
        loss = module.objective.loss(cells.mean(dim=(1, 2)), anomalous).mean()
        loss.backward()
        optimizer.step()

    module.train()
    step()
    median = seconds(step, repeats=40)
    module.eval()
    return median * n_steps


def main() -> None:
    images = make_defects(
        500, image_size=128, anomaly_fraction=0, random_state=0
    ).images
    model = FCDDClassifier(random_state=0)
    rows = {"fit_500_images_of_128_s": round(seconds(lambda: model.fit(images)), 1)}
    n_steps = sum(len(epoch["batches"]) for epoch in model.history_)
    rows["steps"] = n_steps
    rows["plain_loop_s"] = round(plain_loop(model, n_steps), 1)
    rows["score_ms_per_image"] = round(
        seconds(lambda: model.anomaly_score(images), 3) * 2, 2
    )
    rows["explain_ms_per_image"] = round(
        seconds(lambda: model.explain(images), 3) * 2, 2
    )
    generator = torch.Generator().manual_seed(0)
    batch = torch.from_numpy(images[:32]).float()[:, None] / 255
    batch = torch.nn.functional.interpolate(batch, (224, 224))
    for name, plant in SYNTHETIC_ANOMALIES.items():
        spent = seconds(lambda plant=plant: plant(batch, generator), 7)
        rows[f"{name}_ms_per_224_image"] = round(spent / 32 * 1000, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows["check_estimator_s"] = round(
            seconds(lambda: check_estimator(FCDDClassifier())), 1
        )
    for name, value in rows.items():
        print(f"{name:32s} {value}")
    record("first_minute", rows)


if __name__ == "__main__":
    main()

"""Several processes: grid search on two cores, a Dask cluster, shared training."""

from __future__ import annotations

import os
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV

from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects

da = pytest.importorskip("dask.array")
pytest.importorskip("distributed")
pytest.importorskip("accelerate")

LABELLED = make_defects(48, image_size=32, random_state=0)


def n_threads(estimator, X, y):
    """A score that says how many threads the process computes with."""
    return torch.get_num_threads()


def search(n_jobs, scoring):
    model = FCDDClassifier(max_epochs=1, random_state=0)
    return GridSearchCV(
        model, {"lr": [1e-3, 1e-4]}, scoring=scoring, cv=2, n_jobs=n_jobs, refit=False
    )


@pytest.mark.nightly
def test_grid_search_does_not_oversubscribe():
    X, y = LABELLED.images, LABELLED.target
    with joblib.parallel_config(backend="loky", n_jobs=2):
        threads = search(None, n_threads).fit(X, y).cv_results_["mean_test_score"]
    assert max(threads) * 2 <= max(2, joblib.cpu_count())


def test_grid_search_in_processes_gives_the_same_scores():
    X, y = LABELLED.images, LABELLED.target
    alone, together = (
        search(n, "roc_auc").fit(X, y).cv_results_["mean_test_score"] for n in (1, 2)
    )
    assert_allclose(alone, together, rtol=1e-6)


@pytest.fixture(scope="module")
def cluster():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_grid_search_on_a_cluster(cluster):
    X, y = LABELLED.images, LABELLED.target
    alone = search(1, "roc_auc").fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_backend("dask"):
        found = search(-1, "roc_auc").fit(X, y).cv_results_["mean_test_score"]
    assert_allclose(found, alone, rtol=1e-6)


def test_a_cluster_scores_an_array_of_images(cluster):
    images = LABELLED.images
    model = FCDDClassifier(max_epochs=1, random_state=0).fit(images)
    array = da.from_array(images, chunks=(10, -1, -1))
    scores = array.map_blocks(model.anomaly_score, dtype=float, drop_axis=(1, 2))
    assert_allclose(scores.compute(), model.anomaly_score(images), rtol=1e-6)
    heatmaps = array.map_blocks(model.explain, dtype=np.float32)
    assert_allclose(heatmaps.compute(), model.explain(images), rtol=1e-5)


SCRIPT = """
import os, sys
import numpy as np, joblib
from skfcdd import FCDDClassifier
from skfcdd.datasets import make_defects
data = make_defects(64, image_size=32, random_state=0)
seed = None if sys.argv[2] == "None" else int(sys.argv[2])
model = FCDDClassifier(
    max_epochs=3, random_state=seed, accelerate=True, device="cpu", verbose=1,
    precision="float32", early_stopping=True,
).fit(data.images[data.target == 0])
rank = os.environ.get("RANK", 0)
joblib.dump((model, model.anomaly_score(data.images)), f"{sys.argv[1]}.{rank}")
"""


def run(tmp_path, n_processes, seed=0):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    start = [sys.executable]
    if n_processes > 1:
        start += ["-m", "torch.distributed.run", "--nproc_per_node", str(n_processes)]
        start += ["--master_addr", "127.0.0.1", "--standalone"]
    result = subprocess.run(
        [*start, str(script), str(tmp_path / "model"), str(seed)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = [joblib.load(tmp_path / f"model.{k}") for k in range(n_processes)]
    return found, result.stdout


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("seed", [0, pytest.param(None, marks=pytest.mark.nightly)])
def test_two_processes_train_one_model(seed, tmp_path):
    (first, second), printed = run(tmp_path, 2, seed)
    assert_array_equal(first[1], second[1])
    assert first[0].threshold_ == second[0].threshold_
    # What was saved is a model like any other, and the scores are reproduced.
    scores = first[0].anomaly_score(LABELLED.images)
    assert scores.shape == (48,) and np.ptp(scores) > 0
    assert printed.count("epoch 1/3  train_loss") == 1  # one process speaks
    assert printed.count("train_loss") == 3
    batches = first[0].history_[0]["batches"]
    assert max(b["train_batch_size"] for b in batches if "train_batch_size" in b) <= 9
    assert [e["valid_loss"] for e in first[0].history_] == [
        e["valid_loss"] for e in second[0].history_
    ]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_one_process_is_plain_training(tmp_path):
    ((_, scores),), _ = run(tmp_path, 1)
    data = make_defects(64, image_size=32, random_state=0)
    plain = FCDDClassifier(
        max_epochs=3,
        random_state=0,
        device="cpu",
        precision="float32",
        early_stopping=True,
    ).fit(data.images[data.target == 0])
    assert_allclose(scores, plain.anomaly_score(data.images), rtol=1e-5)


def test_accelerate_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "skfcdd._engine.distributed", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'skfcdd\[accelerate\]'"):
        FCDDClassifier(accelerate=True, max_epochs=1).fit(LABELLED.images)


@pytest.mark.parametrize(("n", "n_processes"), [(15, 2), (9, 4), (8, 4), (2, 4)])
def test_images_of_a_batch_count_alike_in_all_shares(n, n_processes):
    pytest.importorskip("accelerate")
    from skfcdd._engine.batches import BatchTarget
    from skfcdd._engine.distributed import _Shares

    known = torch.zeros(n, dtype=torch.bool)
    batch = torch.arange(n).float(), BatchTarget(known, known, known)

    class Source:
        def batches(self, batch_size, device):
            yield batch

    shares = [
        next(iter(_Shares(Source(), n, "cpu", k, n_processes)))
        for k in range(n_processes)
    ]
    # Averaged over processes, as gradients are.
    mean = sum(x.mean() * target.weight for x, target in shares) / n_processes
    assert mean == pytest.approx(batch[0].mean())

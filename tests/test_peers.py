"""The comparison with other packages: what is counted, with a peer made up here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peers._figures import compare, f1_max, figures, joined
from benchmarks.peers._footprint import lines_of_code
from benchmarks.peers._peers import PEERS, SCRIPTS
from benchmarks.peers._records import earlier, merge, name_of, scores_of
from benchmarks.peers._run import Job, run

FAKE = """
import time
import numpy as np
from _contract import main

class Fake:
    def __init__(self, task):
        self.task = task
    def fit(self, X):
        if self.task.method == "endless":
            while True:
                pass
        if self.task.method == "broken":
            raise ValueError("no such thing")
        self.steps = 0
        while self.task.left(0.0) > 0:
            self.steps += 1
        self.notes = {"steps": self.steps, "weights": self.task.weights}
        self.mean = X.mean(axis=0)
    def score(self, X):
        maps = np.abs(X - self.mean)
        return maps.mean(axis=(1, 2)), maps
    def save(self, path):
        path.write_bytes(bytes(1_000_000))

class OnFeatures(Fake):
    inputs = "features"
    def score(self, X):
        return np.abs(X - self.mean).ravel(), None

main({n: Fake for n in ("plain", "endless", "broken")} | {"features": OnFeatures},
     ["numpy"])
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Run a method of the made-up peer on six images."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    monkeypatch.setattr("benchmarks.peers._run.weights_file", lambda: "file.pth")
    X = np.zeros((6, 4, 4), dtype=np.uint8)
    X[3:, :2, :2] = [[[10]], [[20]], [[30]]]
    features = X.mean(axis=(1, 2))[:, None]
    arrays = {"X_train": X[:3], "X_test": X, "features_train": features[:3]}
    arrays |= {"features_test": features, "features_train_s": np.array(7.0)}
    np.savez(tmp_path / "images.npz", **arrays)

    def start(method, **options):
        job = Job(Path(sys.executable), script, method, **options)
        return run(job, tmp_path / "images.npz", tmp_path)

    return start, X


def test_a_run_returns_what_the_script_has_found(fake):
    start, X = fake
    done = start("plain", budget_s=0.2)
    assert done.status == "done"
    assert_array_equal(done.arrays["heatmaps"], X.astype(np.float32))
    assert_allclose(done.arrays["scores"], [0, 0, 0, 2.5, 5, 7.5])
    assert 0.2 <= done.counted["fit_cpu_s"] < 1
    assert done.counted["model_mb"] == 1.0
    assert done.counted["notes"]["steps"] > 0
    assert done.counted["notes"]["weights"] == "file.pth"
    assert done.counted["versions"]["numpy"] == np.__version__


def test_time_of_features_counts(fake):
    start, _ = fake
    done = start("features")
    assert done.status == "done" and "heatmaps" not in done.arrays
    assert 7 <= done.counted["fit_cpu_s"] < 8
    assert done.counted["score_cpu_s"] < 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of processes")
@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_a_run_is_ended_at_its_limit(fake, clock):
    start, _ = fake
    ended = start("endless", limit_s=1, clock=clock)
    assert (ended.status, ended.arrays) == ("over budget", {})


def test_a_failure_is_told(fake):
    start, _ = fake
    failed = start("broken")
    assert (failed.status, failed.error) == ("failed", "ValueError: no such thing")


def test_figures_of_known_scores():
    masks = np.zeros((4, 8, 8), dtype=np.uint8)
    masks[2:, 2:4, 2:4] = 1
    arrays = {
        "kind_test": np.array(["free", "free", "crack", "hole"]),
        "mask_test": masks,
        "tile_test": np.arange(4),
    }
    found = figures(np.array([0.0, 2.0, 1.0, 3.0]), masks.astype(float), arrays, 9)
    assert found["image_auroc"][0] == 0.75
    assert found["image_auroc_by_kind"] == {"all": 0.75, "crack": 0.5, "hole": 1.0}
    assert_allclose(found["image_ap"], 0.5 * 1 + 0.5 * 2 / 3, atol=1e-4)
    assert_allclose(found["image_f1_max"], 0.8)  # of 1 and above: 2 hits, 1 false
    assert found["pixel_auroc"] == found["aupro"] == 1.0
    without = figures(np.arange(4.0), None, arrays, 9)
    assert without["pixel_auroc"] is None and without["image_auroc"][0] == 1.0
    gain = compare(np.array([0.0, 2.0, 1.0, 3.0]), np.arange(4.0), arrays, 9)
    assert gain[0] == 0.25
    with pytest.raises(ValueError, match="4 finite scores"):
        figures(np.array([0.0, np.nan, 1.0, 1.0]), None, arrays)
    with pytest.raises(ValueError, match="finite heatmaps"):
        figures(np.arange(4.0), masks[:, :4], arrays)


def test_best_f1_against_all_thresholds():
    rng = np.random.RandomState(0)
    truth, scores = rng.rand(50) < 0.4, rng.rand(50).round(1)
    best = max(
        2 * (truth & (scores >= t)).sum() / (truth.sum() + (scores >= t).sum())
        for t in np.unique(scores)
    )
    assert_allclose(f1_max(truth, scores), best)


def test_a_run_takes_the_place_of_the_same_one(tmp_path):
    path = tmp_path / "peers.json"
    row = {"data": "a", "peer": "p", "method": "m", "seed": 0, "clock": "cpu"}
    row |= {"budget_s": None, "status": "done"}
    merge(path, row, np.arange(3.0))
    merge(path, {**row, "budget_s": 30.0})
    merge(path, {**row, "status": "failed"}, np.arange(2.0))
    statuses = {r["budget_s"]: r["status"] for r in earlier(path)["rows"]}
    assert statuses == {None: "failed", 30.0: "done"}
    ((name, scores),) = scores_of(path).items()
    assert name == name_of(row) and len(scores) == 2


def test_scores_are_joined_in_units_of_good_images():
    kinds = np.array(["free"] * 5 + ["crack", "hole"])
    ours = np.array([0, 1, 2, 3, 4, 9, 2], dtype=float)
    theirs = np.array([0, 1, 2, 3, 4, 2, 9], dtype=float)
    assert joined(ours, theirs, kinds, 0.0) == {"all": 0.75, "crack": 1.0, "hole": 0.5}
    both = joined(ours, 100 * theirs - 7, kinds, 1.0)
    assert both == {"all": 1.0, "crack": 1.0, "hole": 1.0}


def test_lines_of_code_leave_out_texts():
    source = (
        '"""Says\nwhat."""\n\n# why\nx = 1\n\ndef f():\n    """Text."""\n    return x\n'
    )
    assert lines_of_code(source) == 3


@pytest.mark.parametrize("peer", PEERS)
def test_methods_of_tables_are_those_of_the_script(peer):
    text = (SCRIPTS / PEERS[peer].script).read_text()
    methods = text.split("METHODS = {")[1].split("\n}")[0]
    names = [x.split('"')[1] for x in methods.splitlines() if x.startswith('    "')]
    assert names == list(PEERS[peer].methods)

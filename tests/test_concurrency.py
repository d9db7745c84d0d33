"""One fitted estimator, many threads and processes at a time."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from _small import make_images, quick
from numpy.testing import assert_allclose, assert_array_equal

from skfcdd import FCDDSegmenter

IMAGES, Y, MASKS = make_images(96, n_anomalous=24)


@pytest.fixture(scope="module", params=["fcdd", "hsc", "masks"])
def model(request):
    if request.param == "masks":
        return FCDDSegmenter(max_epochs=1, random_state=0).fit(IMAGES, MASKS)
    return quick(loss=request.param, max_epochs=1).fit(IMAGES, Y)


@pytest.fixture(scope="module")
def classifier():
    return quick(max_epochs=1).fit(IMAGES, Y)


def answers(model, X=IMAGES):
    return model.anomaly_score(X), model.explain(X), model.predict(X)


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_eight_threads_get_the_same_answers(model):
    expected = answers(model)
    together = threading.Barrier(8)

    def work(k):
        together.wait()
        return [answers(model) for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(8)):
            for found in results:
                same(found, expected)


def test_threads_leave_the_global_state_alone(model):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: answers(model), range(8)))
    assert torch.equal(torch.rand(3), expected)
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_get_the_same_answers(method, classifier):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    expected = answers(classifier)  # torch has threads of its own from here on
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(2, mp_context=context)
    try:
        jobs = [pool.submit(answers, classifier) for _ in range(4)]
        for job in jobs:
            same(job.result(timeout=120), expected)
    finally:  # workers that wait forever must not keep the test waiting
        workers = list(pool._processes.values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
            worker.join()


def test_training_after_fork(classifier):
    """The threads of torch must not keep a forked process waiting."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    params = classifier.get_params()
    process = multiprocessing.get_context("fork").Process(
        target=type(classifier)(**params).fit, args=(IMAGES[:40],)
    )
    process.start()
    process.join(timeout=120)
    process.kill()
    process.join()
    assert process.exitcode == 0


def test_workers_share_images_and_weights_as_mapped_files(classifier, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump((classifier, IMAGES), path)
    mapped, images = joblib.load(path, mmap_mode="r")
    assert isinstance(images, np.memmap)
    expected = answers(classifier)
    same(answers(mapped, images), expected)
    parallel = joblib.Parallel(n_jobs=2, max_nbytes=1000)
    found = parallel(joblib.delayed(answers)(classifier, IMAGES) for _ in range(4))
    for result in found:
        same(result, expected)


def test_parallel_fits_are_those_of_one_after_the_other():
    """Threads that train at the same time do not draw from each other's chance."""
    expected = [quick(random_state=k).fit(IMAGES[:40], Y[:40]) for k in range(3)]
    with ThreadPoolExecutor(3) as pool:
        fits = [
            pool.submit(quick(random_state=k).fit, IMAGES[:40], Y[:40])
            for k in range(3)
        ]
        for fit, model in zip(fits, expected, strict=True):
            assert_array_equal(
                fit.result().anomaly_score(IMAGES), model.anomaly_score(IMAGES)
            )

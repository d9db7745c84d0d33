"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile(
    "ci", max_examples=25, deadline=None, derandomize=True
)
hypothesis.settings.register_profile("nightly", max_examples=1000, deadline=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
hypothesis.settings.load_profile(PROFILE)

# Not more than OMP_NUM_THREADS allows; processes beside one another take a core each.
N_THREADS = min(2, torch.get_num_threads())
if "PYTEST_XDIST_WORKER" in os.environ:
    N_THREADS = 1
torch.set_num_threads(N_THREADS)
torch.manual_seed(0)  # of networks that are made as the tests are collected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if PROFILE != "nightly":
        skip = pytest.mark.skip(reason="takes long: set HYPOTHESIS_PROFILE=nightly")
        for item in items:
            if "nightly" in item.keywords:
                item.add_marker(skip)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give each test, and each fixture, the same random numbers in every run."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """A test that changes the number of threads changes it for itself alone."""
    yield
    torch.set_num_threads(N_THREADS)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real images; tests that need them are skipped without it."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKFCDD_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(
            "the real images are not here: set SKFCDD_TEST_DATA to their folder"
        )
    return folder

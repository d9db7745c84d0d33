"""The peers: what to install for them, and which methods they have."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PEERS", "Peer", "environments", "install", "interpreter"]

SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Peer:
    """One package with its script.

    Parameters
    ----------
    script : str
        A file of the folder `scripts`.
    methods : dict of str to str
        Names of its methods in the script, and how tables call them.
    requirements : tuple of str
        What pip installs into an environment of its own; none for what this
        package needs anyway.
    imports : str
        What a user imports to begin.
    left_out : dict of str to str
        Methods that cannot be run here, and why.
    """

    script: str
    methods: dict[str, str]
    requirements: tuple[str, ...] = ()
    imports: str = ""
    left_out: dict[str, str] | None = None


_RESNETS = "takes only ResNets, whose weights come over the network"
PEERS = {
    "skfcdd": Peer(
        "from_skfcdd.py",
        {
            "default": "`FCDDClassifier()`",
            "segmenter": "`FCDDSegmenter()`, without masks",
            "paper_network": "`FCDDClassifier(weights=None)`",
            "published": "FCDD as published, 60 s",
            "patchcore": "`PatchCoreDetector`, EfficientNet-Lite0",
        },
        imports="from skfcdd import FCDDClassifier",
    ),
    "anomalib": Peer(
        "from_anomalib.py",
        {
            "patchcore_1_percent": "PatchCore, 1 % of the patches",
            "padim": "PaDiM",
            "dfm": "DFM",
            "dfkde": "DFKDE",
            "fre": "FRE, 60 s",
            "stfpm": "STFPM, 60 s",
            "draem": "DRAEM, 60 s",
        },
        ("anomalib==2.7.*", "torch==2.14.1", "torchvision==0.29.1"),
        "from anomalib.engine import Engine; from anomalib.models import Patchcore",
        {
            "PatchCore, 10 % of the patches": "its default; to choose them takes ten "
            "times as long as to choose 1 %",
            "EfficientAd": "fetches its teacher and ImageNette: does not run without a "
            "network",
            "Reverse Distillation": _RESNETS,
            "Fastflow": _RESNETS + ", or large transformers",
        },
    ),
    "pyod": Peer(
        "from_pyod.py",
        {
            "knn": "KNN on features",
            "ecod": "ECOD on features",
            "pca": "PCA on features",
            "iforest": "IForest on features",
            "auto_encoder": "AutoEncoder on features",
            "pca_pixels": "PCA on pixels",
            "iforest_pixels": "IForest on pixels",
            "auto_encoder_pixels": "AutoEncoder on pixels",
        },
        # It asks for tqdm without saying so.
        ("pyod==3.6.*", "torch==2.13.0", "tqdm"),
        "from pyod.models.iforest import IForest",
        {"EmbeddingOD": "fetches a network: does not run without one"},
    ),
    "scikit-learn": Peer(
        "from_sklearn.py",
        {
            "one_class_svm": "OneClassSVM on features",
            "isolation_forest": "IsolationForest on features",
            "lof": "LocalOutlierFactor on features",
            "gaussian_mixture": "GaussianMixture on features",
            "elliptic_envelope": "EllipticEnvelope on features",
            "pca_pixels": "PCA on pixels",
        },
        imports="from sklearn.ensemble import IsolationForest",
    ),
}


def environments() -> Path:
    """Where the environments lie; set SKFCDD_PEERS to name another folder."""
    default = Path(tempfile.gettempdir()) / "skfcdd_peers"
    return Path(os.environ.get("SKFCDD_PEERS", default))


def interpreter(name: str) -> Path:
    """The Python of a peer: its own, or this one for what is installed along."""
    if not PEERS[name].requirements:
        return Path(sys.executable)
    python = environments() / name / "bin" / "python"
    if not python.exists():
        command = f"python -m benchmarks.peers install --peers {name}"
        sys.exit(f"{name} is not installed: {command}")
    return python


def install(name: str) -> None:
    """Make the environment of a peer from the package index."""
    peer = PEERS[name]
    if not peer.requirements:
        return
    folder = environments() / name
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", *peer.requirements], check=True
    )

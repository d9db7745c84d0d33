"""The peers: the packages to install for them, and their methods."""

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
    """A package with its methods.

    Parameters
    ----------
    script : str
        Name of a file in the folder `scripts`.
    methods : dict of str to str
        Names of the methods in the script, and their labels in tables.
    requirements : tuple of str
        Packages that pip installs into a separate environment; empty if the
        environment of skfcdd is used.
    imports : str
        Statements that a user needs to import the package.
    left_out : dict of str to str
        Methods that cannot be run, with the reason.
    """

    script: str
    methods: dict[str, str]
    requirements: tuple[str, ...] = ()
    imports: str = ""
    left_out: dict[str, str] | None = None


_RESNETS = "supports only ResNets, whose weights must be downloaded"
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
            "PatchCore, 10 % of the patches": "default of the package; selecting them "
            "takes ten times as long as selecting 1 %",
            "EfficientAd": "must download its teacher network and ImageNette",
            "Reverse Distillation": _RESNETS,
            "Fastflow": "supports only ResNets and large transformers, whose weights "
            "must be downloaded",
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
        # tqdm is imported by pyod, but is not among its requirements.
        ("pyod==3.6.*", "torch==2.13.0", "tqdm"),
        "from pyod.models.iforest import IForest",
        {"EmbeddingOD": "must download a network"},
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
    """Return the folder of the environments, which SKFCDD_PEERS overrides."""
    default = Path(tempfile.gettempdir()) / "skfcdd_peers"
    return Path(os.environ.get("SKFCDD_PEERS", default))


def interpreter(name: str) -> Path:
    """Return the interpreter of a peer's environment, or the current one."""
    if not PEERS[name].requirements:
        return Path(sys.executable)
    python = environments() / name / "bin" / "python"
    if not python.exists():
        command = f"python -m benchmarks.peers install --peers {name}"
        sys.exit(f"{name} is not installed. Run: {command}")
    return python


def install(name: str) -> None:
    """Create the environment of a peer, with packages from the package index."""
    peer = PEERS[name]
    if not peer.requirements:
        return
    folder = environments() / name
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", *peer.requirements], check=True
    )

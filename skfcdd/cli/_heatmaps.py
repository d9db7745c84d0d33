"""Pictures written by ``skfcdd predict --heatmaps``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skfcdd._verdicts import convention_of
from skfcdd.datasets import ImageFiles
from skfcdd.datasets._found import Entry
from skfcdd.display._look import PARTS, comparison, outcome, share_texts
from skfcdd.display._render import Caption, Panel, draw_sheet

if TYPE_CHECKING:
    from skfcdd.cli._marked import Marked

__all__ = [
    "Finding",
    "HeatmapFiles",
    "PictureNames",
    "outside",
    "picture_names",
    "printable",
]

# Colours of the predictions, as in the report.
_COLOURS = {"normal": "#0072b2", "anomaly": "#b34700"}

Map = npt.NDArray[np.float32]


@dataclass
class Finding:
    """Prediction and heatmap of one image.

    Parameters
    ----------
    score : float
        Score compared with the threshold.
    anomalous : bool
    heatmap : ndarray of shape (h, w)
    parts : sequence of ndarray of shape (h, w)
        Parts that sum to the heatmap; empty for a model without a memory bank.
    novelty_share : float or None
        Proportion of the score that comes from novelty, the second part.
    """

    score: float
    anomalous: bool
    heatmap: Map
    parts: Sequence[Map] = ()
    novelty_share: float | None = None


class PictureNames:
    """Names and paths of pictures that are named after their images.

    Parameters
    ----------
    option : str
        Command-line option for the folder, named in error messages.
    folder : Path
        Folder for the pictures.
    source : Path
        Folder of the images, or path of a single image.
    paths : sequence of Path
        Paths of the images.

    Raises
    ------
    ValueError
        If the two folders are the same, or a picture would overwrite an image.
    """

    def __init__(
        self, option: str, folder: Path, source: Path, paths: Sequence[Path]
    ) -> None:
        if folder.resolve() == source.resolve():
            raise ValueError(
                f"{option} {str(folder)!r} is the folder of the images: the next run "
                "would read the pictures as images. Choose another folder."
            )
        self.names = names_below(paths, source)
        self.paths = [folder / name for name in picture_names(self.names)]
        given = {path.resolve() for path in paths}
        lost = next((path for path in self.paths if path.resolve() in given), None)
        if lost is not None:
            raise ValueError(
                f"{option} {str(folder)!r} would overwrite the image {str(lost)!r} "
                "with a picture. Choose another folder."
            )


class HeatmapFiles:
    """Writer of pictures with heatmaps, each named after its image.

    Parameters
    ----------
    folder : Path
        Folder for the pictures, created with the first one.
    source : Path
        Folder of the images, or path of a single image.
    images : ImageFiles
    estimator : estimator
    layout : {"overlay", "side-by-side", "parts"}
    """

    def __init__(
        self,
        folder: Path,
        source: Path,
        images: ImageFiles,
        estimator: Any,
        layout: str,
    ) -> None:
        self.images, self.estimator, self.layout = images, estimator, layout
        places = PictureNames("--heatmaps", folder, source, images.paths)
        self.names, self.paths = places.names, places.paths

    def write(self, row: int, found: Finding, marked: Marked) -> None:
        """Write the picture of an image, at the size of its file."""
        heatmap, parts, mask = marked.heatmap, marked.parts, marked.mask
        panels = self._panels(row, heatmap, parts, mask, found.novelty_share)
        sheet = draw_sheet(panels, self.estimator.heatmap_scale_, self._say(row, found))
        path = self.paths[row]
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)

    def _panels(
        self,
        row: int,
        heatmap: Map,
        parts: Sequence[Map],
        mask: npt.NDArray[np.bool_],
        share: float | None,
    ) -> list[Panel]:
        grey = self._read(row, grey=True)
        panels = [Panel(grey, heatmap, mask)]
        if self.layout == "overlay":
            return panels
        panels.insert(0, Panel(self._read(row, grey=False)))
        if self.layout == "parts" and share is not None:
            panels[0].words, panels[1].words = "image", "heatmap"
            for part, words, text in zip(parts, PARTS, share_texts(share), strict=True):
                panels.append(Panel(grey, part, words=f"{words} {text}"))
        return panels

    def _say(self, row: int, found: Finding) -> Caption:
        verdict = outcome(found.anomalous)
        pixels = convention_of(self.estimator).judges_pixels
        compared = comparison(found.score, float(self.estimator.threshold_))
        score, sign, threshold = compared.split()
        lines = []
        if found.novelty_share is not None and self.layout != "parts":
            both = zip(share_texts(found.novelty_share), PARTS, strict=True)
            lines.append(", ".join(f"{text} {words}" for text, words in both))
        return Caption(
            verdict,
            _COLOURS[verdict],
            f"{'heat' if pixels else 'score'} {score} {sign} threshold {threshold}",
            printable(self.names[row]),
            lines,
        )

    def _read(self, row: int, *, grey: bool) -> npt.NDArray[np.uint8]:
        from skfcdd._inputs.decoding import decode

        path, page = self.images.paths[row], self.images.page
        image = decode(path, grey=grey, page=page)
        return np.asarray(image, dtype=np.uint8)


def names_below(paths: Sequence[Path], source: Path) -> list[Path]:
    """Return paths relative to `source` if it is a folder, otherwise file names."""
    if source.is_dir():
        return [path.relative_to(source) for path in paths]
    return [Path(path.name) for path in paths]


def picture_names(names: Sequence[Path]) -> list[Path]:
    """Return unique names of pictures: those of the images, with the suffix ``.png``.

    If the names of two images differ only in the suffix, it becomes part of the name:
    ``part_jpg.png``.
    """
    taken: set[str] = set()

    def free(name: Path) -> Path:
        while str(name).casefold() in taken:
            name = name.with_stem(f"{name.stem}_")
        taken.add(str(name).casefold())
        return name

    found = {name: free(name) for name in names if name.suffix.lower() == ".png"}
    for name in names:
        if name in found:
            continue
        plain = name.with_suffix(".png")
        if str(plain).casefold() in taken:
            plain = name.with_name(f"{name.stem}_{name.suffix[1:]}.png")
        found[name] = free(plain)
    return [found[name].with_suffix(".png") for name in names]


def printable(path: Path) -> str:
    r"""Return a path as a string, with bytes that are not UTF-8 as ``\xe4``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def outside(entries: Sequence[Entry], folder: Path | None, source: Path) -> list[Entry]:
    """Exclude pictures that an earlier run wrote to a subfolder of the images."""
    if folder is None or not source.is_dir():
        return list(entries)
    own, given = folder.resolve(), source.resolve()
    if own == given or not own.is_relative_to(given):  # equal folders raise later
        return list(entries)
    return [e for e in entries if not e.path.resolve().is_relative_to(own)]

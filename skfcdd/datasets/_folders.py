"""Images and what is known of them, from folders and tables of files."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch

from skfcdd._inputs.decoding import Header, decode, read_headers, read_picture
from skfcdd._inputs.files import ImageFiles
from skfcdd._utils.optional import pillow
from skfcdd.exceptions import ImageFileError, SkippedFilesWarning

__all__ = ["load_images"]

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".npy", ".npz"),
)
# Names of folders with good images.
_GOOD = ("good", "normal", "ok", "free", "healthy", "0")


@dataclass
class Entry:
    """A file, and what is known of it."""

    path: Path
    kind: str
    anomalous: bool
    split: str = ""
    mask: Path | None = None


def load_images(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    anomalous: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    normal: str | None = None,
    resize: int | tuple[int, int] | None = None,
    keep_aspect: bool = False,
    mode: str = "auto",
    page: int | None = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    dtype: str | None = None,
    rescale: bool = False,
    n_channels: int | None = None,
) -> Bunch:
    """Images of a folder or a table, with labels, kinds of defect and masks.

    What `source` is, is seen from its contents:

    - a folder in the layout of MVTec-AD: ``train/good``, ``test/good``,
      ``test/<kind>``, and masks ``ground_truth/<kind>/<name>_mask.png``;
    - a folder with a folder for each kind, one of which is named "good", "normal",
      "ok", "free", "healthy" or "0" (in any case), or as `normal` says;
    - a folder of images, which are all normal; with a second one, `anomalous`, of
      images that are not;
    - a CSV file with the columns ``path`` and, if you like, ``label`` (0 or 1, or a
      kind), ``mask`` and ``split``; paths are relative to the file.

    Parameters
    ----------
    source : path
        The folder or CSV file.
    split : {"train", "test"} or None, default=None
        Which part, where there are parts. None takes all.
    anomalous : path, default=None
        Folder of images with defects, beside a folder of good ones.
    masks : path, default=None
        Folder with the masks, in the folders and under the names of the images, with
        or without ``_mask`` at the end. None looks for ``ground_truth`` beside.
    normal : str, default=None
        Name of the folder, or the label, of good images.
    resize, keep_aspect, mode, page, n_jobs, dtype, rescale, n_channels
        As for :class:`ImageFiles`.
    on_error : {"raise", "skip"}, default="raise"
        What to do with files that cannot be read. "skip" decodes all files once,
        leaves out those that fail, with a warning that counts them, and keeps labels
        and masks in line. "raise" fails at a broken header at once, and at broken
        contents when they are read.

    Returns
    -------
    Bunch
        images : ImageFiles, to be given to the estimators as X;
        target : ndarray of shape (n,), 1 for an anomaly;
        kind : ndarray of str (n,); split : ndarray of str (n,);
        masks : ndarray of shape (n, h, w), uint8, or None if there are none;
        filenames : ndarray of str (n,).

    Raises
    ------
    FileNotFoundError
        If there is no such folder or table, or nothing in it.
    ~skfcdd.exceptions.ImageFileError
        If a file cannot be read.
    ~skfcdd.exceptions.ImageShapeError
        If files have several sizes and there is no `resize`.

    Warns
    -----
    ~skfcdd.exceptions.SkippedFilesWarning
        With ``on_error="skip"``, if files were left out.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from skfcdd.datasets import load_images
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("good/a.png", "scratch/b.png"):
    ...     path = Path(folder.name) / name
    ...     path.parent.mkdir()
    ...     Image.fromarray(np.zeros((6, 8), np.uint8)).save(path)
    >>> data = load_images(folder.name)
    >>> data.images.shape, data.target.tolist(), data.kind.tolist()
    ((2, 6, 8), [0, 1], ['good', 'scratch'])
    >>> folder.cleanup()
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"Got on_error={on_error!r}, but expected 'raise' or 'skip'.")
    entries = _entries(Path(source), anomalous, masks, normal)
    if split is not None:
        entries = [entry for entry in entries if entry.split == split]
    if not entries:
        part = "" if split is None else f" of the part {split!r}"
        raise FileNotFoundError(
            f"There are no images{part} in {str(source)!r}. Expected files that end in "
            f"{', '.join(SUFFIXES)}."
        )
    entries, headers = sound(entries, on_error, n_jobs)
    images = ImageFiles(
        [entry.path for entry in entries],
        resize=resize,
        keep_aspect=keep_aspect,
        mode=mode,
        page=page,
        n_jobs=n_jobs,
        headers=headers,
        dtype=dtype,
        rescale=rescale,
        n_channels=n_channels,
    )
    return Bunch(
        images=images,
        target=np.array([int(entry.anomalous) for entry in entries]),
        kind=np.array([entry.kind for entry in entries]),
        split=np.array([entry.split for entry in entries]),
        masks=_read_masks(entries, images),
        filenames=np.array([str(entry.path) for entry in entries]),
    )


def _entries(
    source: Path,
    anomalous: str | os.PathLike[str] | None,
    masks: str | os.PathLike[str] | None,
    normal: str | None,
) -> list[Entry]:
    if not source.exists():
        raise FileNotFoundError(f"There is no {str(source)!r}.")
    if source.is_file():
        return _from_table(source, normal)
    found = Path(masks) if masks is not None else _ground_truth(source)
    if masks is not None and not Path(masks).is_dir():
        raise FileNotFoundError(f"There is no folder of masks {str(masks)!r}.")
    if (source / "train").is_dir() or (source / "test").is_dir():
        entries = [
            entry
            for part in ("train", "test")
            if (source / part).is_dir()
            for entry in _from_kinds(source / part, normal, part)
        ]
    else:
        entries = _from_kinds(source, normal, source.name)
    if anomalous is not None:
        if not Path(anomalous).is_dir():
            raise FileNotFoundError(f"There is no folder {str(anomalous)!r}.")
        kind = Path(anomalous).name
        entries = [Entry(e.path, e.kind, False, e.split) for e in entries]
        entries += [
            Entry(path, kind, True, source.name)
            for path in _files(Path(anomalous), deep=True)
        ]
    for entry in entries:
        entry.mask = _mask_of(entry, found) if entry.anomalous else None
    return entries


def _ground_truth(source: Path) -> Path | None:
    """Folder of masks in or beside a folder of images."""
    for folder in (source / "ground_truth", source.parent / "ground_truth"):
        if folder.is_dir():
            return folder
    return None


def _files(folder: Path, *, deep: bool = False) -> list[Path]:
    every = folder.rglob("*") if deep else folder.iterdir()
    return sorted(path for path in every if path.suffix.lower() in SUFFIXES)


def _from_kinds(folder: Path, normal: str | None, split: str) -> list[Entry]:
    """Images of a folder itself, which are normal, or of a folder for each kind."""
    kinds = sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name != "ground_truth" and _files(path, deep=True)
    )
    loose = _files(folder)
    if not kinds:
        is_normal = normal is None or folder.name == normal
        return [Entry(path, folder.name, not is_normal, split) for path in loose]
    if loose:
        raise ValueError(
            f"{str(folder)!r} holds images beside folders of images: it is not clear "
            f"which are good. Move {loose[0].name!r} and others into folders."
        )
    good = [k for k in kinds if k.name == normal] if normal else _good(kinds)
    if not good and split != "test":
        names = [kind.name for kind in kinds]
        raise ValueError(
            f"None of the folders {names} in {str(folder)!r} is known to hold good "
            f"images. Name it with normal=, or call it 'good'."
        )
    return [
        Entry(path, kind.name, kind not in good, split)
        for kind in kinds
        for path in _files(kind, deep=True)
    ]


def _good(kinds: Sequence[Path]) -> list[Path]:
    return [kind for kind in kinds if kind.name.lower() in _GOOD]


def _mask_of(entry: Entry, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    for place in (folder / entry.kind, folder):
        for stem in (f"{entry.path.stem}_mask", entry.path.stem):
            for suffix in SUFFIXES:
                path = place / (stem + suffix)
                if path.is_file():
                    return path
    return None


def _from_table(path: Path, normal: str | None) -> list[Entry]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if "path" not in (reader.fieldnames or ()):
            raise ValueError(
                f"{str(path)!r} needs a column 'path' (and may have 'label', 'mask' "
                f"and 'split'). Got the columns {reader.fieldnames}."
            )
        rows = list(reader)
    good = {name.lower() for name in (*_GOOD, "")} if normal is None else {normal}
    entries = []
    for row in rows:
        label = (row.get("label") or "").strip()
        named = label if normal is not None else label.lower()
        mask = (row.get("mask") or "").strip()
        entries.append(
            Entry(
                path.parent / row["path"].strip(),
                label or "good",
                named not in good,
                (row.get("split") or "").strip(),
                path.parent / mask if mask else None,
            )
        )
    return entries


def sound(
    entries: list[Entry], on_error: str, n_jobs: int | None
) -> tuple[list[Entry], list[Header]]:
    """Entries whose files can be read, and their headers."""
    headers = read_headers([entry.path for entry in entries], n_jobs)
    if on_error == "raise":
        for header in headers:
            if isinstance(header, ImageFileError):
                raise header
    kept: list[tuple[Entry, Header]] = []
    failed: list[ImageFileError] = []
    for entry, header in zip(entries, headers, strict=True):
        error = header if isinstance(header, ImageFileError) else None
        if error is None and on_error == "skip":
            error = _decoding_error(entry.path)
        if error is not None:
            failed.append(error)
        elif isinstance(header, Header):
            kept.append((entry, header))
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(entries)} files were skipped. The first: "
            f"{str(failed[0]).split(' Mend')[0]}",
            SkippedFilesWarning,
            stacklevel=3,
        )
    if not kept:
        raise failed[0]
    return [entry for entry, _ in kept], [header for _, header in kept]


def _decoding_error(path: Path) -> ImageFileError | None:
    try:
        read_picture(path)
    except ImageFileError as error:
        return error
    return None


def _read_masks(
    entries: Sequence[Entry], images: ImageFiles
) -> npt.NDArray[np.uint8] | None:
    """Masks (n, h, w) at the size of the images; None where no image has one."""
    if all(entry.mask is None for entry in entries):
        return None
    masks = np.zeros((len(entries), *images.size), dtype=np.uint8)
    for row, entry in enumerate(entries):
        if entry.mask is not None:
            masks[row] = _read_mask(entry.mask, images, row)
    return masks


def _read_mask(path: Path, images: ImageFiles, row: int) -> npt.NDArray[Any]:
    mask = decode(path, grey=True)
    size = (mask.size[1], mask.size[0])
    if size != images.sizes[row]:
        raise ImageFileError(
            f"The mask {str(path)!r} has (h, w) = {size}, but its image "
            f"{images.sizes[row]}."
        )
    # 0 and 1, 0 and 255, or with edges that a camera or a codec has blurred.
    half = (mask.getextrema()[1] or 1) / 2
    mask = mask.point(lambda value: 255 * (value > half))
    h, w = images._inner(row)
    if mask.size != (w, h):
        # Any part of a pixel makes it anomalous.
        image = pillow("Image")
        mask = mask.resize((w, h), image.Resampling.BOX).point(lambda v: 255 * (v > 0))
    whole = np.zeros(images.size, dtype=np.uint8)
    top, left = (images.size[0] - h) // 2, (images.size[1] - w) // 2
    whole[top : top + h, left : left + w] = np.asarray(mask) > 0
    return whole

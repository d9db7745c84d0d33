"""Load images from folders and tables, with labels, masks and groups."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skfcdd._inputs.decoding import Header, read_headers, read_picture
from skfcdd._inputs.files import ImageFiles
from skfcdd._utils.warnings import warn_caller
from skfcdd.datasets._found import SUFFIXES, Entry, Found, first_of, plural
from skfcdd.datasets._groups import group_names, grouped
from skfcdd.datasets._layout import read_folder
from skfcdd.datasets._masks import MaskReader
from skfcdd.datasets._tables import read_table
from skfcdd.exceptions import (
    ImageFileError,
    SkippedFilesWarning,
    UnclearDataWarning,
)

__all__ = ["SUFFIXES", "find_images", "load_images", "read_found", "sound"]


def load_images(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    anomalous: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    normal: str | None = None,
    groups: str | None = None,
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
    r"""Load images from a folder or a table, with labels, kinds of defect and masks.

    The kind of `source` is detected from its contents:

    - a folder in the layout of MVTec-AD: ``train/good``, ``test/good``,
      ``test/<kind>``, and masks ``ground_truth/<kind>/<name>_mask.png``;
    - a folder with a subfolder for each kind of image, one of them named "good",
      "normal", "ok" or similar (in upper or lower case), or as set by `normal`;
    - a folder of images that are all normal, optionally with a second folder,
      `anomalous`, of anomalous images;
    - a CSV file with the columns ``path`` and optionally ``label`` (0 or 1, words,
      or kinds), ``mask``, ``split`` and ``group``; paths are relative to the folder
      of the file.

    The user guide describes all rules, under "Folders, masks and tables". Ambiguous
    data cause an error or a warning, and are never reinterpreted silently.

    Parameters
    ----------
    source : path
        Folder or CSV file.
    split : {"train", "val", "test"} or None, default=None
        Part to load, if the data is split into parts. None loads all images.
    anomalous : path, default=None
        Folder of images with defects, if `source` is a folder of good images.
    masks : path, default=None
        Folder with the masks, which has the same subfolders and file names as the
        images, with or without ``_mask`` at the end. None looks for the folders
        ``ground_truth``, ``masks`` or ``gt`` in `source`, for ``ground_truth`` next to
        it, and for masks next to their images.
    normal : str, default=None
        Name of the folder of good images, or their label. No other names then mean
        "good". None recognises common names.
    groups : str, default=None
        Regular expression that extracts the group of an image, such as the part that it
        shows, from its path below `source`: images belong to one group if the text in
        the parentheses is the same. For example, ``r"(part\d+)_"`` groups
        "good/part7_a.png" and "good/part7_b.png". None uses the column ``group`` of a
        table.
    resize, keep_aspect, mode, page, n_jobs, dtype, rescale, n_channels
        As for :class:`ImageFiles`.
    on_error : {"raise", "skip"}, default="raise"
        How to handle files that cannot be read. "skip" decodes all files once and skips
        those that fail, together with their labels and masks, with a warning. "raise"
        raises an error: immediately if the header of a file is invalid, otherwise when
        the file is decoded.

    Returns
    -------
    sklearn.utils.Bunch
        Dictionary-like object with the attributes

        - images: ImageFiles, to be passed to estimators as X.
        - target: (n,), int64; 0 normal, 1 anomaly.
        - kind: (n,), name of the folder, or label.
        - split: (n,), "train", "val" or "test", or the name of the source.
        - masks: (n, h, w), uint8; 1 at anomalous pixels, otherwise 0. If only some
          masks are known, a list of arrays (h, w), with None for defects without a
          mask. None if no mask is known.
        - filenames: (n,), paths of the files.
        - groups: (n,), names of groups, for ``fit``; None if images are not grouped.
        - summary: description of the data in one line.

    Raises
    ------
    FileNotFoundError
        If the folder or table does not exist, or contains no images.
    ValueError
        If it is unclear which images are good, names or labels contradict each other,
        or `masks` contains no mask of any defect.
    ImageFileError
        If a file cannot be read.
    ImageShapeError
        If files differ in size and `resize` is None.

    Warns
    -----
    SkippedFilesWarning
        If files were skipped with ``on_error="skip"``.
    UnclearDataWarning
        If masks or images are not used, no image is good, links lead out of the folder,
        or the values of masks are ambiguous.

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
    found = find_images(
        source,
        anomalous=anomalous,
        masks=masks,
        normal=normal,
        on_error=on_error,
    )
    if groups is not None:
        found = grouped(found, groups, source)
    return read_found(
        found.only(split),
        source,
        split=split,
        on_error=on_error,
        resize=resize,
        keep_aspect=keep_aspect,
        mode=mode,
        page=page,
        n_jobs=n_jobs,
        dtype=dtype,
        rescale=rescale,
        n_channels=n_channels,
    )


def find_images(
    source: str | os.PathLike[str],
    *,
    anomalous: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    normal: str | None = None,
    on_error: str = "raise",
    unlabelled: bool = False,
    whole: bool | None = None,
) -> Found:
    """Find the files of a folder or table, with labels and masks, without opening them.

    `whole` sets the label of all images of a folder: True for defects, False for good
    images, None to use the names of folders.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"Got on_error={on_error!r}, but expected 'raise' or 'skip'.")
    place = Path(source)
    if not place.exists():
        raise FileNotFoundError(f"There is no file or folder {str(source)!r}.")
    if place.is_file():
        if whole is not None:
            raise ValueError(
                "A single label for all images is possible only for folders, but "
                f"{str(source)!r} is a table. Add a column 'label' to the table."
            )
        for name, given in (("anomalous", anomalous), ("masks", masks)):
            if given is not None:
                raise ValueError(
                    f"Got {name}={os.fspath(given)!r} together with the table "
                    f"{str(source)!r}, which states labels and masks in the columns "
                    f"'label' and 'mask'. Omit {name}=."
                )
        return read_table(
            place, normal=normal, on_error=on_error, unlabelled=unlabelled
        )
    if masks is not None and not Path(masks).is_dir():
        raise FileNotFoundError(f"There is no mask folder {os.fspath(masks)!r}.")
    if anomalous is not None and not Path(anomalous).is_dir():
        raise FileNotFoundError(f"There is no folder {os.fspath(anomalous)!r}.")
    return read_folder(
        place,
        anomalous=None if anomalous is None else Path(anomalous),
        masks=None if masks is None else Path(masks),
        normal=normal,
        unlabelled=unlabelled,
        whole=whole,
    )


def read_found(
    found: Found,
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    on_error: str = "raise",
    n_jobs: int | None = None,
    resize: Any = None,
    keep_empty: bool = False,
    **options: Any,
) -> Bunch:
    """Return the result of :func:`load_images` for files that were found.

    If `resize` is callable, it computes the size from the sizes of all files. With
    `keep_empty`, empty masks of defects are kept, as in data sets in which all masks
    are known.
    """
    if not found.entries:
        raise _no_images(source, split, found)
    entries, headers = sound(found.entries, on_error, n_jobs)
    n_failed = len(found.entries) - len(entries)
    found = replace(found, entries=entries)
    if callable(resize):
        resize = resize([header.size for header in headers])
    images = ImageFiles(
        [entry.path for entry in entries],
        resize=resize,
        n_jobs=n_jobs,
        headers=headers,
        **options,
    )
    reader = MaskReader(images, on_error, keep_empty)
    masks, known, told = _read_masks(found, reader)
    for text in [*found.warnings, *told]:
        warn_caller(f"{text[0].upper()}{text[1:]}.", UnclearDataWarning)
    return Bunch(
        images=images,
        target=np.array([int(entry.anomalous) for entry in entries]),
        kind=np.array([entry.kind for entry in entries]),
        split=np.array([entry.split for entry in entries]),
        masks=masks,
        filenames=np.array([str(entry.path) for entry in entries]),
        groups=group_names(entries),
        summary=found.summary(known, n_failed),
    )


def _no_images(source: Any, split: str | None, found: Found) -> FileNotFoundError:
    part = "" if split is None else f" of the part {split!r}"
    text = (
        f"There are no images{part} in {os.fspath(source)!r}. Expected files that end "
        f"in {', '.join(SUFFIXES)}."
    )
    if found.left_out:
        text += f" Its parts: {list(found.left_out)}."
    if found.skipped:
        n = plural(len(found.skipped), "file")
        text += f" {n} skipped, the first {first_of(found.skipped)}."
    return FileNotFoundError(text)


def _read_masks(found: Found, reader: MaskReader) -> tuple[Any, list[bool], list[str]]:
    """Return masks at the size of the images, whether each is known, and warnings.

    Masks are an array (n, h, w) if all are known, a list with None if only some are,
    and None if no mask of a defect is known.
    """
    entries = found.entries
    masks = reader.read(entries)
    known = [mask is not None for mask in masks]
    told = reader.warnings()
    if reader.failed:
        warn_caller(
            f"{plural(len(reader.failed), 'mask')} skipped. The first: "
            f"{str(reader.failed[0]).split(' Repair')[0]}",
            SkippedFilesWarning,
        )
    without = [e.path for e, mask in zip(entries, masks, strict=True) if mask is None]
    if without and found.masked:
        told.append(
            f"{plural(len(without), 'image')} of defects without a mask, the first "
            f"{first_of(without)}: their anomalous pixels are unknown"
        )
    if not any(k and e.anomalous for k, e in zip(known, entries, strict=True)):
        return None, known, told
    whole = [mask for mask in masks if mask is not None]
    return masks if without else np.stack(whole), known, told


def sound(
    entries: list[Entry], on_error: str, n_jobs: int | None
) -> tuple[list[Entry], list[Header]]:
    """Return the entries whose files can be read, and the headers of the files."""
    headers = read_headers([entry.path for entry in entries], n_jobs)
    if on_error == "raise":
        for entry, header in zip(entries, headers, strict=True):
            if isinstance(header, ImageFileError):
                where = f"{entry.where}: " if entry.where else ""
                raise ImageFileError(f"{where}{header}") from header
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
        warn_caller(
            f"{len(failed)} of {len(entries)} files were skipped. The first: "
            f"{str(failed[0]).split(' Repair')[0]}",
            SkippedFilesWarning,
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

"""Every line of the tables of rules in the guide."""

from __future__ import annotations

import re
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from _trees import SIZE, put, put_masks, spot, targets
from numpy.testing import assert_array_equal
from PIL import Image

from skfcdd._inputs.words import meaning
from skfcdd.datasets import load_images
from skfcdd.datasets._masks import read_mask
from skfcdd.exceptions import ImageFileError, UnclearDataWarning

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "folders.md"


def rules(name):
    """Rows of a table of the guide, as lists of cells."""
    text = PAGE.read_text(encoding="utf-8")
    block = text.split(f"<!-- rules: {name} -->")[1].split("<!-- end of rules -->")[0]
    lines = block.strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(cell):
    return re.findall(r"`([^`]*)`", cell)


def check(source, root, good, bad, otherwise):
    """Read, and compare what the images mean with what a row says."""
    if otherwise == "error":
        with pytest.raises((ValueError, FileNotFoundError)):
            load_images(source)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_images(source)
    assert {w.category for w in caught} <= {UnclearDataWarning}
    assert bool(caught) == (otherwise == "warning")
    found = {PurePosixPath(n).stem: bad for n, bad in targets(data, root).items()}
    assert found == dict.fromkeys(quoted(good), 0) | dict.fromkeys(quoted(bad), 1)


@pytest.mark.parametrize("row", rules("folders"), ids=lambda row: row[0])
def test_folders(row, tmp_path):
    files, good, bad, otherwise = row
    root = put(tmp_path / "parts", *quoted(files))
    check(root, root, good, bad, otherwise)


@pytest.mark.parametrize("row", rules("tables"), ids=lambda row: row[0])
def test_tables(row, tmp_path):
    lines, good, bad, otherwise = row
    put(tmp_path, "1.png", "2.png", "3.png")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(quoted(lines)))
    check(table, tmp_path, good, bad, otherwise)


@pytest.mark.parametrize("row", rules("words"), ids=lambda row: row[0])
def test_words(row):
    good, bad = map(quoted, row)
    assert good and bad
    for words, expected in ((good, True), (bad, False)):
        for word in words:
            assert meaning(word) is expected
            assert meaning(word.upper()) is expected
            assert meaning(f" {word.title()}") is expected


@pytest.mark.parametrize("row", rules("masks"), ids=lambda row: row[0])
def test_names_of_masks(row, tmp_path):
    files, owner = map(quoted, row)
    images = ("good/1.png", "cut/1.png", "cut/2.png", "dent/1.png")
    root = put(tmp_path, *(f"test/{image}" for image in images))
    put_masks(root, *files)
    with pytest.warns(UnclearDataWarning):  # of those without a mask
        data = load_images(root)
    assert len(data.images) == 4
    found = [] if data.masks is None else data.masks
    pairs = zip(targets(data, root), found, strict=False)
    assert [name for name, mask in pairs if mask is not None and mask.any()] == owner


def of_palette(*colour):
    """White where it is not marked."""
    image = Image.fromarray(spot(3), "P")
    image.putpalette([255] * 9 + [*colour])
    return image


def of_classes():
    values = spot(5)
    values[1, 2:4] = 1, 2
    return values


def on_transparent():
    values = np.full((*SIZE, 4), 255, np.uint8)
    values[..., 3] = spot()
    return Image.fromarray(values, "RGBA")


LARGE = np.zeros((64, 64), np.uint8)
LARGE[10:30, 20:45] = 255


def smooth():
    """At half of its size, with edges between two pixels."""
    rows, columns = np.indices((128, 128))
    disc = np.uint8(255) * ((rows - 60) ** 2 + (columns - 63) ** 2 < 40**2)
    return Image.fromarray(disc).resize((64, 64), Image.Resampling.BICUBIC)


SMOOTH = np.asarray(smooth()) > 127
THREE = LARGE.copy()
THREE[40:60, 40:60] = 60
MARKED = spot() > 0
# What is written, its suffix, and what is marked, for each row of the guide.
VALUES = {
    "0 and 255, or 0 and 1": [
        (spot(255), "png", MARKED),
        (spot(1), "png", MARKED),
        (spot(1, bool), "png", MARKED),
        (spot(1, np.uint16), "png", MARKED),
        (spot(1, np.int32), "tif", MARKED),
        (spot(1, np.float32), "tif", MARKED),
    ],
    "class numbers": [(of_classes(), "png", MARKED)],
    "a palette, ": [(of_palette(9, 0, 0), "png", MARKED)],
    "a palette in which": [(of_palette(0, 0, 0), "png", MARKED)],
    "colours": [(np.dstack([spot(200), spot(9), 0 * spot()]), "png", MARKED)],
    "one colour on a transparent": [(on_transparent(), "png", MARKED)],
    "0 and 255 in a JPEG": [(LARGE, "jpg", LARGE > 0)],
    "0 and 255, resized": [(smooth(), "png", SMOOTH)],
    "0, 60 and 255": [(THREE, "png", THREE > 0)],
    "NaN": [(np.full(SIZE, np.nan, np.float32), "tif", None)],
}


@pytest.mark.parametrize("row", rules("values"), ids=lambda row: row[0])
def test_values_of_masks(row, tmp_path):
    file, meant = row
    (cases,) = (cases for name, cases in VALUES.items() if file.startswith(name))
    for values, suffix, marked in cases:
        put(tmp_path, f"mask.{suffix}", values=values)
        path = tmp_path / f"mask.{suffix}"
        if marked is None:
            with pytest.raises(ImageFileError, match="contains NaN"):
                read_mask(path)
            continue
        found, doubt = read_mask(path)
        assert_array_equal(found, marked)
        assert (doubt is not None) == ("warning" in meant)

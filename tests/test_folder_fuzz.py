"""Random folders of images, read by a second, slow reader that knows the rules too.

The reader here looks at one file at a time, and at every pair of an image and a mask.
It writes down all names that a mask may have instead of taking names apart.
"""

from __future__ import annotations

import io
import itertools
import re
import tempfile
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skfcdd.datasets import load_images
from skfcdd.exceptions import UnclearDataWarning

GOOD = ("good", "OK", "Good images", "ok_parts", "normal")
BAD = ("scratch", "NG", "dent", "bad", "crack-1")
LOTS = ("", "", "lot1", "lot2", "0", "1")
MASKS = ("ground_truth", "masks", "Ground_Truth", "gt")
HIDDEN = (".ipynb_checkpoints", "__MACOSX", ".cache")
STEMS = ("000", "001", "a", "b_2")
SUFFIXES = (".png", ".PNG", ".bmp")
WORDS = ("", "_mask", "_Mask", "-gt", "_ground_truth", ".png", ".png_mask", "_mask_0")


def picture(value, form):
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2), value, np.uint8)).save(file, form)
    return file.getvalue()


BYTES = {".png": picture(1, "png"), ".bmp": picture(1, "bmp")}


@st.composite
def trees(draw):
    """Names of files below a folder: images, masks, hidden ones, and others."""
    parts = draw(st.sampled_from([("",), ("train", "test"), ("Train", "val", "test")]))
    names = set()
    for part in parts:
        kinds = draw(st.sets(st.sampled_from(GOOD + BAD), min_size=1, max_size=3))
        for kind in {draw(st.sampled_from(GOOD)), *kinds}:
            for _ in range(draw(st.integers(1, 3))):
                name = draw(st.sampled_from(STEMS)) + draw(st.sampled_from(SUFFIXES))
                lot = draw(st.sampled_from(LOTS))
                names.add("/".join(filter(None, [part, kind, lot, name])))
    images = sorted(names)
    masks = draw(st.sampled_from(MASKS))
    for image in images:
        if draw(st.booleans()):
            path = PurePosixPath(image)
            # Some folders of the image, in their order.
            kept = [f for f in path.parts[:-1] if draw(st.integers(0, 3))]
            word = draw(st.sampled_from(WORDS))
            suffix = draw(st.sampled_from(SUFFIXES))
            names.add("/".join([masks, *kept, path.stem + word + suffix]))
    for _ in range(draw(st.integers(0, 2))):
        inner = draw(
            st.sampled_from(["", *{str(PurePosixPath(i).parent) for i in images}])
        )
        hidden = draw(st.sampled_from(HIDDEN))
        names.add("/".join(filter(None, [inner, hidden, "000.png"])))
    if draw(st.booleans()):
        names.add(str(PurePosixPath(images[0]).parent / "._000.png"))
    names.add("notes.txt")
    return sorted(names)


def is_mask(name):
    return any(folder in MASKS for folder in PurePosixPath(name).parts[:-1])


def is_hidden(name):
    return any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)


def is_good(name):
    return any(folder in GOOD for folder in PurePosixPath(name).parts)


def possible_names(image):
    """Names of a mask, without its suffix, to how clearly they say that it is one."""
    path = PurePosixPath(image)
    words = ("mask", "gt", "ground_truth")
    found = {}
    for base in (path.stem, path.name):
        for word, sign in itertools.product(words, "_-"):
            found[f"{base}{sign}{word}"] = (False, True)
            found[f"{base}{sign}{word}_0"] = (True, True)
        found.setdefault(base, (False, False))
    return found


def rank(image, mask):
    """How well a mask fits an image, or None: folders shared, part, word, capitals."""
    names = possible_names(image)
    path = PurePosixPath(mask)
    folders, stem = path.parts[1:-1], path.stem
    place = PurePosixPath(image).parts[:-1]
    if folders not in itertools.combinations(place, len(folders)):
        return None
    fits = [clear for name, clear in names.items() if name.lower() == stem.lower()]
    if not fits:
        return None
    bases = (PurePosixPath(image).stem, PurePosixPath(image).name)
    exact = any(stem.startswith(base) for base in bases)
    return len(folders), *max(fits), exact


def read_slowly(names):
    """Classes of all images, the defects with a mask, and what was left out."""
    hidden = [n for n in names if is_hidden(n) and not n.endswith(".txt")]
    files = [n for n in names if not is_hidden(n) and not n.endswith(".txt")]
    masks = [n for n in files if is_mask(n)]
    images = [n for n in files if not is_mask(n)]
    classes = {name: int(not is_good(name)) for name in images}
    chosen = {}
    for name in images:
        ranks = {mask: rank(name, mask) for mask in masks}
        ranks = {mask: r for mask, r in ranks.items() if r is not None}
        if classes[name] == 0:
            ranks = {mask: r for mask, r in ranks.items() if r[0] > 0}
        if ranks:
            top = max(ranks.values())
            best = sorted(m for m, r in ranks.items() if r == top)
            chosen[name] = set(best if top[1] else best[:1])
    bad = [name for name in chosen if classes[name]]
    claimed = [mask for name in bad for mask in chosen[name]]
    shared = {mask for mask in claimed if claimed.count(mask) > 1}
    masked = {name for name in bad if chosen[name] - shared}
    # A mask that marks something, and belongs to a good image, is a contradiction.
    wrong = any(chosen[name] - set(claimed) for name in chosen if not classes[name])
    return classes, masked, len(hidden), wrong


def read_quickly(root, names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BYTES.get(path.suffix.lower(), b"no image"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_images(root, n_jobs=1)
    assert all(issubclass(w.category, UnclearDataWarning) for w in caught)
    return data, [str(w.message) for w in caught]


@given(trees())
def test_folders_are_read_as_the_rules_say(names):
    classes, masked, n_hidden, wrong = read_slowly(names)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "parts"
        try:
            data, told = read_quickly(root, names)
        except ValueError as error:
            if wrong and "counts as good, but its mask" in str(error):
                return
            raise
        found = [path.relative_to(root).as_posix() for path in data.images.paths]
    assert not wrong
    # Every image is there once, and means what its folder says.
    assert sorted(found) == sorted(classes)
    assert dict(zip(found, data.target.tolist(), strict=True)) == classes
    known = [None] * len(found) if data.masks is None else data.masks
    pairs = zip(found, known, strict=True)
    marked = {name for name, m in pairs if classes[name] and m is not None and m.any()}
    assert marked == masked
    # What is lost is told.
    n_bad = sum(classes.values())
    numbers = [
        int(n) for n in re.findall(r"(\d+) (?:good|defect|with|file)", data.summary)
    ]
    expected = [len(classes) - n_bad]
    expected += [n_bad] if n_bad else []
    expected += [len(masked), n_bad - len(masked)] if masked else []
    assert numbers == expected + ([n_hidden] if n_hidden else [])
    has_masks = any(is_mask(n) and not is_hidden(n) for n in names)
    without = any("of defects without a mask" in text for text in told)
    assert without == (has_masks and len(masked) < n_bad)

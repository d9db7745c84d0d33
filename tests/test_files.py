"""Images from files: what they mean, what is refused, and what is kept in line."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from skfcdd import FCDDClassifier, FCDDSegmenter
from skfcdd.datasets import ImageFiles, load_images, make_defects
from skfcdd.exceptions import (
    ImageFileError,
    ImageFileWarning,
    ImageShapeError,
    SkippedFilesWarning,
)

RNG = np.random.RandomState(0)
GREY = RNG.randint(0, 256, (24, 32), dtype=np.uint8)
COLOUR = RNG.randint(0, 256, (24, 32, 3), dtype=np.uint8)


def write(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)
    return path


def one(path, **options):
    return ImageFiles([path], **options)[0]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_formats(suffix, tmp_path):
    options = {"lossless": True} if suffix == "webp" else {}
    colour = write(tmp_path / f"c.{suffix}", COLOUR, **options)
    assert_array_equal(one(colour), COLOUR)
    if suffix != "webp":  # which knows no grey
        assert_array_equal(one(write(tmp_path / f"g.{suffix}", GREY)), GREY)


def test_jpeg(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
    path = write(tmp_path / "a.jpg", smooth, quality=95)
    assert one(path).shape == (64, 80)
    assert np.abs(one(path).astype(int) - smooth).max() < 10


def test_modes(tmp_path):
    """Palettes, one bit, grey with alpha: as a person sees them, on white."""
    palette = Image.fromarray(COLOUR).quantize(8)
    path = write(tmp_path / "p.png", palette)
    assert_array_equal(one(path), np.asarray(palette.convert("RGB")))
    bits = GREY > 128
    assert_array_equal(one(write(tmp_path / "b.png", bits)), np.uint8(255) * bits)
    alpha = np.dstack([GREY, np.where(bits, 255, 0).astype(np.uint8)])
    path = write(tmp_path / "la.png", Image.fromarray(alpha, "LA"))
    assert_array_equal(one(path), np.where(bits, GREY, 255))
    rgba = np.dstack([COLOUR, np.full_like(GREY, 0)])
    path = write(tmp_path / "rgba.png", rgba)  # as cameras leave an unused channel
    with pytest.warns(ImageFileWarning, match=r"rgba\.png' is entirely transparent"):
        assert_array_equal(one(path), COLOUR)


def test_orientation_of_cameras(tmp_path):
    image = Image.fromarray(COLOUR)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = write(tmp_path / f"{orientation}.png", image, exif=exif)
        values = one(path)
        assert values.shape[:2] == ((24, 32) if orientation < 5 else (32, 24))
        assert ImageFiles([path]).sizes[0] == values.shape[:2]
    assert_array_equal(one(tmp_path / "3.png"), COLOUR[::-1, ::-1])
    assert_array_equal(one(tmp_path / "6.png"), np.rot90(COLOUR, -1))


def test_sixteen_bits(tmp_path):
    deep = RNG.randint(0, 65536, (24, 32), dtype=np.uint16)
    for suffix in ("png", "tif"):
        images = ImageFiles([write(tmp_path / f"d.{suffix}", deep)])
        assert images.dtype == np.uint16
        assert_array_equal(images[0], deep)
    # Beside 8-bit files, it must be said what is to become of them.
    paths = [tmp_path / "d.png", write(tmp_path / "g.png", GREY)]
    with pytest.raises(
        ImageFileError, match=r"g\.png' has values of type uint8.*d\.png"
    ):
        ImageFiles(paths)
    both = ImageFiles(paths, dtype="uint8", rescale=True)
    assert both.dtype == np.uint8
    assert_array_equal(both[0], (deep / 257).round().astype(np.uint8))
    assert_array_equal(both[1], GREY)
    both = ImageFiles(paths, dtype="uint16", rescale=True)
    assert_array_equal(both[0], deep)
    assert_array_equal(both[1], GREY * np.uint16(257))


def test_pages(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    path = tmp_path / "pages.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(ImageFileError, match=r"pages\.tif' contains 2 images.*page=0"):
        one(path)
    assert_array_equal(one(path, page=0), GREY)
    assert_array_equal(one(path, page=1), 255 - GREY)
    with pytest.raises(ImageFileError, match=r"pages\.tif"):
        one(path, page=7)


def test_grey_among_coloured_files(tmp_path):
    paths = [write(tmp_path / "g.png", GREY), write(tmp_path / "c.png", COLOUR)]
    images = ImageFiles(paths)
    assert images.shape == (2, 24, 32, 3)
    assert_array_equal(images[0], np.dstack([GREY] * 3))
    assert ImageFiles(paths, mode="grey").shape == (2, 24, 32)


def test_slices_are_those_of_an_array(tmp_path):
    values = RNG.randint(0, 256, (7, 8, 8), dtype=np.uint8)
    paths = [write(tmp_path / f"{i}.png", v) for i, v in enumerate(values)]
    images = ImageFiles(paths, n_jobs=2)
    assert len(images) == 7 and images.ndim == 3
    for index in (slice(2, 5), slice(None, None, -2), [3, 3, 0], np.array([6]), -1, []):
        index = np.array(index, dtype=int) if isinstance(index, list) else index
        assert_array_equal(images[index], values[index])
    assert_array_equal(np.asarray(images), values)


def test_sizes_and_aspect(tmp_path):
    wide = np.zeros((20, 40), dtype=np.uint8)
    wide[:, 20:] = 200
    paths = [write(tmp_path / "w.png", wide), write(tmp_path / "t.png", wide.T)]
    with pytest.raises(ImageShapeError, match=r"'w\.png' is .*\(20, 40\).*resize="):
        ImageFiles(paths)
    stretched = ImageFiles(paths, resize=20)
    assert stretched.shape == (2, 20, 20)
    kept = ImageFiles(paths, resize=20, keep_aspect=True)
    # In the middle, with the border's values above and below.
    assert_array_equal(kept[0][0], kept[0][9])
    heatmap = np.zeros((1, 20, 20))
    heatmap[0, 5:15, 10:] = 1  # the right half of the picture
    (back,) = kept.at_original_size(heatmap, [0])
    assert back.shape == (20, 40)
    assert_allclose(back, wide / 200, atol=0.35)
    assert back[:, 25:].min() > 0.9 and back[:, :15].max() < 0.1
    with pytest.raises(ValueError, match="heatmaps must have shape"):
        kept.at_original_size(heatmap)


def broken_files(folder):
    good = write(folder / "good" / "0.png", COLOUR)
    whole = good.read_bytes()
    (folder / "good" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "good" / "empty.png").write_bytes(b"")
    (folder / "good" / "text.jpg").write_text("no image")
    write(folder / "good" / "z.png", COLOUR)
    return folder


def test_broken_files_are_named(tmp_path):
    broken_files(tmp_path)
    with pytest.raises(ImageFileError, match=r"empty\.png.*on_error='skip'"):
        load_images(tmp_path)
    images = ImageFiles([tmp_path / "good" / "cut.png"])
    with pytest.raises(ImageFileError, match=r"cut\.png"):
        images[0]
    with pytest.raises(ImageFileError, match=r"none\.png.*no such file"):
        ImageFiles([tmp_path / "none.png"])


def test_broken_files_are_skipped_and_counted(tmp_path):
    broken_files(tmp_path)
    write(tmp_path / "bad" / "x.png", COLOUR)
    with pytest.warns(SkippedFilesWarning, match="3 of 6 files") as caught:
        data = load_images(tmp_path, on_error="skip")
    assert len(caught) == 1
    names = [name.rsplit("/", 1)[-1] for name in data.filenames]
    assert names == ["x.png", "0.png", "z.png"]
    assert data.target.tolist() == [1, 0, 0]
    assert len(data.images[:]) == 3


def test_only_broken_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with (
        pytest.warns(SkippedFilesWarning),
        pytest.raises(ImageFileError, match=r"a\.png"),
    ):
        load_images(tmp_path, on_error="skip")


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "bomb.png", np.zeros((300, 300), dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageFileError, match=r"bomb\.png.*too much memory"):
        ImageFiles([path])


def layout(folder):
    for part, kind, n in (
        ("train", "good", 3),
        ("test", "good", 2),
        ("test", "crack", 2),
        ("test", "hole", 1),
    ):
        for i in range(n):
            write(folder / part / kind / f"{i}.png", GREY)
    mask = np.zeros((24, 32), dtype=np.uint8)
    mask[3:6, 4:9] = 255
    for kind, name in (("crack", "0"), ("crack", "1"), ("hole", "0")):
        write(folder / "ground_truth" / kind / f"{name}_mask.png", mask)
    return folder, mask > 0


def test_mvtec_layout(tmp_path):
    folder, mask = layout(tmp_path)
    data = load_images(folder)
    assert data.split.tolist() == ["train"] * 3 + ["test"] * 5
    assert data.kind.tolist() == ["good"] * 3 + ["crack"] * 2 + ["good"] * 2 + ["hole"]
    assert data.target.tolist() == [0, 0, 0, 1, 1, 0, 0, 1]
    assert_array_equal(data.masks.any(axis=(1, 2)), data.target == 1)
    assert_array_equal(data.masks[3], mask)
    assert len(load_images(folder, split="train").images) == 3
    test = load_images(folder / "test", masks=folder / "ground_truth")
    assert test.target.tolist() == [1, 1, 0, 0, 1]
    assert_array_equal(test.masks, load_images(folder, split="test").masks)


def test_masks_follow_the_size_of_the_images(tmp_path):
    folder, mask = layout(tmp_path)
    data = load_images(folder, split="test", resize=(12, 16))
    expected = mask.reshape(12, 2, 16, 2).any(axis=(1, 3))
    assert_array_equal(data.masks[0], expected)
    write(folder / "ground_truth" / "hole" / "0_mask.png", mask[:5])
    with pytest.raises(ImageFileError, match=r"0_mask\.png.*\(5, 32\).*\(24, 32\)"):
        load_images(folder)


def test_plain_folders(tmp_path):
    for name in ("OK", "bent", "cut"):
        write(tmp_path / "kinds" / name / "a.png", GREY)
    data = load_images(tmp_path / "kinds")
    assert dict(zip(data.kind, data.target, strict=True)) == {
        "OK": 0,
        "bent": 1,
        "cut": 1,
    }
    data = load_images(tmp_path / "kinds", normal="cut")
    assert dict(zip(data.kind, data.target, strict=True)) == {
        "OK": 1,
        "bent": 1,
        "cut": 0,
    }
    with pytest.raises(ValueError, match=r"known to contain good images.*normal="):
        load_images(tmp_path / "kinds", normal="nothing")
    alone = load_images(tmp_path / "kinds" / "bent")
    assert alone.target.tolist() == [0] and alone.masks is None
    two = load_images(tmp_path / "kinds" / "OK", anomalous=tmp_path / "kinds" / "cut")
    assert two.target.tolist() == [0, 1]
    write(tmp_path / "kinds" / "loose.png", GREY)
    with pytest.raises(
        ValueError, match=r"both images and folders of images.*loose\.png"
    ):
        load_images(tmp_path / "kinds")


def test_tables(tmp_path):
    folder, mask = layout(tmp_path)
    table = folder / "images.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "mask", "split"])
        writer.writerow(["train/good/0.png", "good", "", "train"])
        writer.writerow(
            ["test/crack/0.png", "crack", "ground_truth/crack/0_mask.png", "test"]
        )
        writer.writerow(["test/good/0.png", "0", "", "test"])
        writer.writerow(["test/hole/0.png", "1", "", "test"])
    data = load_images(table)
    assert data.target.tolist() == [0, 1, 0, 1]
    assert_array_equal(data.masks[1], mask)
    assert load_images(table, split="test").target.tolist() == [1, 0, 1]
    table.write_text("file,label\na.png,0\n")
    with pytest.raises(ValueError, match=r"needs a column 'path'.*\['file', 'label'\]"):
        load_images(table)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "none"}, FileNotFoundError, "There is no"),
        ({"source": "."}, FileNotFoundError, "There are no images"),
        ({"source": ".", "on_error": "ignore"}, ValueError, "on_error='ignore'"),
        ({"source": ".", "masks": "none"}, FileNotFoundError, "mask folder"),
        ({"source": ".", "anomalous": "none"}, FileNotFoundError, "no folder"),
    ],
)
def test_wrong_sources(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        load_images(**arguments)


def test_wrong_options(tmp_path):
    path = write(tmp_path / "a.png", GREY)
    with pytest.raises(ValueError, match="mode='rgb'"):
        ImageFiles([path], mode="rgb")
    for resize in (0, 0.5, "large", (8,), (8, 8, 8), (8, -1)):
        with pytest.raises(ValueError, match=r"positive integer, or a tuple \(h, w\)"):
            ImageFiles([path], resize=resize)
    with pytest.raises(ValueError, match="paths is empty"):
        ImageFiles([])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    data = make_defects(30, image_size=32, random_state=0)
    folder = tmp_path_factory.mktemp("images")
    paths = [write(folder / f"{i:02d}.png", v) for i, v in enumerate(data.images)]
    return data, paths


def test_estimators_take_paths(stored):
    data, paths = stored
    params = {"max_epochs": 1, "random_state": 0}
    expected = FCDDClassifier(**params).fit(data.images, data.target)
    for X in (paths, [str(p) for p in paths], np.array([str(p) for p in paths])):
        model = FCDDClassifier(**params).fit(X, data.target)
        assert_array_equal(model.anomaly_score(X), expected.anomaly_score(data.images))
    assert_array_equal(model.explain(paths[:3]), expected.explain(data.images[:3]))
    segmenter = FCDDSegmenter(**params).fit(ImageFiles(paths), data.masks)
    assert segmenter.predict(paths[:2]).shape == (2, 32, 32)


def test_paths_in_a_grid_search(stored):
    from sklearn.model_selection import cross_val_score

    data, paths = stored
    model = FCDDClassifier(max_epochs=1, random_state=0)
    scores = cross_val_score(model, paths, data.target, cv=2, scoring="roc_auc")
    expected = cross_val_score(model, data.images, data.target, cv=2, scoring="roc_auc")
    assert_array_equal(scores, expected)


def test_memory_holds_a_batch(stored, monkeypatch):
    _, paths = stored
    images = ImageFiles(paths * 20)
    largest = 0
    load = ImageFiles.__getitem__

    def watched(self, index):
        nonlocal largest
        values = load(self, index)
        largest = max(largest, len(values))
        return values

    monkeypatch.setattr(ImageFiles, "__getitem__", watched)
    monkeypatch.setattr("skfcdd._engine.batches._TOGETHER_CPU", 1 << 12)
    monkeypatch.setattr("skfcdd._inputs.images._BLOCK", 1 << 12)
    model = FCDDClassifier(max_epochs=1, random_state=0, batch_size=8)
    model.fit(images)
    model.anomaly_score(images)
    assert largest < len(images) / 2


def test_without_pillow(stored, monkeypatch):
    import builtins

    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr("importlib.import_module", lambda name: refuse(name))
    with pytest.raises(ImportError, match="pip install pillow"):
        ImageFiles(stored[1])


def test_flipped_bits_of_a_picture_are_seen(tmp_path):
    """Flipped bits end in other pixels or in an error that names the file."""
    whole = io.BytesIO()
    Image.fromarray(COLOUR).save(whole, "png")
    path = tmp_path / "flipped.png"
    messages = []
    for place in range(0, len(whole.getvalue()), 37):
        data = bytearray(whole.getvalue())
        data[place] ^= 0x55
        path.write_bytes(bytes(data))
        try:
            assert one(path).dtype == np.uint8
        except ImageFileError as error:
            messages.append(str(error))
    assert messages and all("flipped.png" in message for message in messages)


FORMS = {"png": "png", "jpg": "jpeg", "tif": "tiff", "bmp": "bmp", "webp": "webp"}


@pytest.fixture(scope="module")
def whole_files():
    """Bytes of one picture in each format."""
    files = {}
    for form, name in FORMS.items():
        file = io.BytesIO()
        Image.fromarray(COLOUR).save(file, name)
        files[form] = file.getvalue()
    return files


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("form", FORMS)
@given(st.data())
def test_any_bytes_are_an_image_or_an_error(form, whole_files, data):
    """Changed bytes and cuts end in other pixels or in an error that names the file."""
    damaged = bytearray(whole_files[form])
    # Most of what can go wrong stands in the header.
    first = data.draw(st.sampled_from([64, len(damaged)]))
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, min(first, len(damaged)) - 1))] = data.draw(
            st.integers(0, 255)
        )
    del damaged[data.draw(st.integers(0, len(damaged)) | st.just(len(damaged))) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"damaged.{form}"
        path.write_bytes(damaged)
        try:
            found = ImageFiles([path], resize=(8, 8))[:]
        except ImageFileError as error:
            named = f"damaged.{form}" in str(error)
        else:
            named = found.shape[:3] == (1, 8, 8) and found.dtype in ("u1", "u2")
    assert named

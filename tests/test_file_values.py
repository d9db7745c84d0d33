"""What a file holds is what a model sees: every line of the table in the guide.

Files are written by tifffile, imageio, NumPy or byte by byte, never by the package
that reads them.
"""

from __future__ import annotations

import itertools
import re
import struct
import warnings
import zlib
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image

from skfcdd import FCDDClassifier, FCDDDetector
from skfcdd._inputs import tiff
from skfcdd.datasets import ImageFiles, load_images
from skfcdd.exceptions import ImageFileError, ImageShapeError, ValueRangeWarning
from skfcdd.export import to_onnx
from skfcdd.onnx import OnnxFCDD
from skfcdd.persistence import load, save
from skfcdd.report import write_report

RNG = np.random.RandomState(0)
PAGE = Path(__file__).parents[1] / "docs" / "guide" / "images.md"


def numbers(dtype, shape):
    """Values over the whole range of a type."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return RNG.uniform(size=shape) < 0.5
    if dtype.kind == "f":
        return RNG.normal(0, 1e3, size=shape).astype(dtype)
    info = np.iinfo(dtype)
    values = RNG.randint(info.min, info.max, size=shape, dtype=dtype)
    values.flat[:2] = info.min, info.max
    return values


def chunk(kind, data):
    sum_ = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)


def write_png(path, values, *, before=b"", after=b""):
    """A PNG file of 8 or 16 bits, byte by byte."""
    values = values if values.ndim == 3 else values[..., None]
    h, w, c = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[c]
    depth = 8 * values.dtype.itemsize
    lines = [
        b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values
    ]
    head = struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + before
        + chunk(b"IDAT", zlib.compress(b"".join(lines)))
        + after
        + chunk(b"IEND", b"")
    )


def write_tiff(path, values, **options):
    c = values.shape[2] if values.ndim == 3 else 1
    options = {"photometric": "rgb" if c in (3, 4) else "minisblack", **options}
    if c > 1:
        options = {"planarconfig": "contig", **options}
    tifffile.imwrite(path, values, **options)


def infrared(path, values):
    write_tiff(path, values, extrasamples=["unspecified"])


def planar(path, values):
    c = values.shape[2]
    options = {"extrasamples": ["unspecified"]} if c == 4 else {}
    if c not in (3, 4):
        options["photometric"] = "minisblack"
    tifffile.imwrite(
        path,
        np.moveaxis(values, 2, 0),
        **{"photometric": "rgb", **options},
        planarconfig="separate",
    )


def stack_of_numpy(path, values):
    np.save(path, values)


def packed(path, values):
    np.savez_compressed(path, image=values)


def doubled(values):
    """8 bits of black and white for one bit."""
    return np.uint8(255) * values


# Format, writer, type in the file, channels, type that is read, what is read of it.
TABLE = [
    ("PNG", write_png, "uint8", 1, "uint8", None),
    ("PNG", write_png, "uint8", 3, "uint8", None),
    ("PNG", write_png, "uint16", 1, "uint16", None),
    ("PNG", write_png, "uint16", 3, "uint16", None),
    ("BMP", iio.imwrite, "uint8", 3, "uint8", None),
    ("TIFF", write_tiff, "bool", 1, "uint8", doubled),
    *(
        ("TIFF", write_tiff, dtype, 1, dtype, None)
        for dtype in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")
    ),
    ("TIFF", write_tiff, "float16", 1, "float32", None),
    ("TIFF", write_tiff, "float64", 1, "float64", None),
    *(
        ("TIFF", write, dtype, c, dtype, None)
        for write, c in ((write_tiff, 3), (infrared, 4), (write_tiff, 6), (planar, 3))
        for dtype in ("uint8", "uint16", "int16", "float32")
    ),
    ("TIFF", planar, "uint16", 4, "uint16", None),
    *(
        (name, write, dtype, c, dtype, None)
        for name, write in (("NPY", stack_of_numpy), ("NPZ", packed))
        for dtype, c in itertools.product(
            ("uint8", "uint16", "int32", "float32", "float64"), (1, 3, 7)
        )
    ),
    ("NPY", stack_of_numpy, "bool", 1, "uint8", doubled),
    ("NPY", stack_of_numpy, "float16", 1, "float32", None),
    ("NPY", stack_of_numpy, "int64", 1, "int64", None),
]
SUFFIX = {"PNG": "png", "BMP": "bmp", "TIFF": "tif", "NPY": "npy", "NPZ": "npz"}


def identity(line):
    name, write, stored, c, *_ = line
    return f"{name}-{write.__name__}-{stored}-{c}"


@pytest.mark.parametrize("line", TABLE, ids=identity)
def test_values_are_those_of_the_file(line, tmp_path):
    name, write, stored, c, wanted, change = line
    values = numbers(stored, (24, 32) if c == 1 else (24, 32, c))
    path = tmp_path / f"a.{SUFFIX[name]}"
    write(path, values)
    images = ImageFiles([path])
    assert images.dtype == wanted and images.shape == (1, *values.shape)
    found = images[0]
    assert found.dtype == wanted
    assert_array_equal(found, values if change is None else change(values))


def test_every_line_of_the_table_is_in_the_guide():
    text = PAGE.read_text(encoding="utf-8")
    for name, _, stored, _, _, _ in TABLE:
        pattern = rf"^\| [^|]*\b{name}\b[^|]*\|[^|]*\b{stored}\b.*\|$"
        line = re.search(pattern, text, re.MULTILINE)
        assert line, f"the guide has no line about {stored} in {name}"


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize(
    ("dtype", "c"),
    [("uint16", 1), ("uint16", 3), ("uint16", 4), ("int32", 1), ("float32", 1)],
)
def test_the_inner_layout_of_tiff_changes_nothing(
    byteorder, compression, tile, dtype, c, tmp_path
):
    values = numbers(dtype, (24, 32) if c == 1 else (24, 32, c))
    options = {"byteorder": byteorder, "compression": compression, "tile": tile}
    if c == 4:
        options["extrasamples"] = ["unspecified"]
    write_tiff(tmp_path / "a.tif", values, **options)
    assert_array_equal(ImageFiles([tmp_path / "a.tif"])[0], values)


def test_white_is_bright_where_a_file_has_it_as_zero(tmp_path):
    for dtype in ("uint8", "uint16"):
        values = numbers(dtype, (24, 32))
        write_tiff(tmp_path / "a.tif", values, photometric="miniswhite")
        assert_array_equal(
            ImageFiles([tmp_path / "a.tif"])[0], np.iinfo(dtype).max - values
        )


def test_without_tifffile(tmp_path, monkeypatch):
    write_tiff(tmp_path / "a.tif", numbers("float32", (8, 8, 3)))

    def missing(module, package):
        raise ImportError(module)

    monkeypatch.setattr(tiff, "require", missing)
    with pytest.raises(ImageFileError, match=r"a\.tif.*pip install 'skfcdd\[tiff\]'"):
        ImageFiles([tmp_path / "a.tif"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_numbers_that_are_none_are_named(bad, suffix, tmp_path):
    paths = [tmp_path / f"{i}.{suffix}" for i in range(3)]
    for path in paths:
        values = numbers("float32", (8, 8))
        values[3, 4] = bad if path == paths[1] else 0
        write_tiff(path, values) if suffix == "tif" else np.save(path, values)
    with pytest.raises(ImageFileError, match=rf"1\.{suffix}.*NaN or infinity"):
        FCDDDetector(max_epochs=1).fit(paths)


def test_a_fourth_channel_is_not_taken_for_transparency(tmp_path):
    for dtype in ("uint8", "uint16"):
        values = numbers(dtype, (24, 32, 4))
        path = tmp_path / f"{dtype}.tif"
        write_tiff(path, values, extrasamples=["unassalpha"])
        with pytest.raises(ImageFileError, match=r"infrared.*mode='channels'"):
            ImageFiles([path])[0]
        assert_array_equal(ImageFiles([path], mode="channels")[0], values)
        share = values[..., 3:] / np.iinfo(dtype).max
        white = values[..., :3] * share + np.iinfo(dtype).max * (1 - share)
        found = ImageFiles([path], mode="colour")[0]
        assert np.abs(found - white).max() <= 1
        values[..., 3] = np.iinfo(dtype).max  # opaque: it says nothing
        write_tiff(path, values, extrasamples=["unassalpha"])
        assert_array_equal(ImageFiles([path])[0], values[..., :3])


def test_transparency_in_sixteen_bits(tmp_path):
    for c in (2, 4):
        values = numbers("uint16", (24, 32, c))
        write_png(tmp_path / "a.png", values)
        share = values[..., -1:] / 65535
        white = np.rint(values[..., :-1] * share + 65535 * (1 - share))
        found = ImageFiles([tmp_path / "a.png"])[0].reshape(24, 32, c - 1)
        assert_array_equal(found, white)
        kept = ImageFiles([tmp_path / "a.png"], mode="channels")
        assert_array_equal(kept[0], values)


@pytest.mark.parametrize(
    ("dtype", "c"), [("uint8", 1), ("uint16", 3), ("int32", 1), ("float32", 5)]
)
def test_resizing_keeps_the_type_and_the_scale(dtype, c, tmp_path):
    """Constant images stay so, and nothing leaves the range of the file."""
    values = numbers(dtype, (24, 32) if c == 1 else (24, 32, c))
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", np.full_like(values, values.max()))
    images = ImageFiles([tmp_path / "a.npy", tmp_path / "b.npy"], resize=(10, 50))
    assert images[:].dtype == dtype
    assert values.min() <= images[0].min() and images[0].max() <= values.max()
    assert_array_equal(images[1], values.max())


def orientations(path, values, orientation):
    """Write a file that is to be turned, in the way of its format."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = [(274, "H", 1, orientation, True)]
    kind = path.stem.split("-")[1]
    if kind == "behind":
        note = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        write_png(path, values, after=note)
    elif path.suffix == ".png":
        note = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        write_png(path, values, before=note)
    elif path.suffix == ".tif":
        compression = "zlib" if kind == "zlib" else None
        write_tiff(path, values, extratags=turn, compression=compression)
    else:
        options = {"lossless": True} if kind == "webp" else {"quality": 100}
        Image.fromarray(values).save(path, exif=exif, **options)


KINDS = {
    "plain.png": ("uint8", 3),
    "deep.png": ("uint16", 3),
    "behind.png": ("uint8", 3),
    "plain.tif": ("uint8", 3),
    "zlib.tif": ("uint8", 3),
    "deep.tif": ("uint16", 1),
    "deepcolour.tif": ("uint16", 3),
    "float.tif": ("float32", 1),
    "floatcolour.tif": ("float32", 3),
    "jpeg.jpg": ("uint8", 3),
    "webp.webp": ("uint8", 3),
}


def upright(values, orientation):
    """By the words of the standard: where row 0 and column 0 of the file lie."""
    return {
        1: values,
        2: values[:, ::-1],
        3: np.rot90(values, 2),
        4: values[::-1],
        5: np.swapaxes(values, 0, 1),
        6: np.rot90(values, -1),
        7: np.swapaxes(np.rot90(values, 2), 0, 1),
        8: np.rot90(values),
    }[orientation]


@pytest.mark.parametrize("kind", KINDS)
def test_all_orientations_of_all_formats(kind, tmp_path):
    """An asymmetric pattern: dark, with one bright corner and a half-bright edge."""
    dtype, c = KINDS[kind]
    most = 255 if dtype == "uint8" else 65535 if dtype == "uint16" else 1.5
    values = np.zeros((16, 32, 3), dtype=dtype)
    values[:8, :8] = most
    values[8:, -8:] = most / 3
    values = values if c == 3 else values[..., 0]
    for orientation in range(1, 9):
        path = tmp_path / f"{orientation}-{kind}"
        orientations(path, values, orientation)
        expected = upright(values, orientation)
        images = ImageFiles([path])
        assert images.sizes[0] == expected.shape[:2]
        difference = np.abs(images[0].astype(float) - expected)
        assert difference.max() <= (3 if "jpg" in kind else 0)
        # Reduced with their shape kept, the same side is filled up.
        small = ImageFiles([path], resize=8, keep_aspect=True)
        filled = small[0].astype(float).reshape(8, 8, c)[..., 0]
        middle = filled[2:6] if orientation < 5 else filled[:, 2:6].T
        edge = filled[:2] if orientation < 5 else filled[:, :2].T
        assert_array_equal(edge, np.repeat(middle[:1], 2, axis=0))
        (heat,) = small.at_original_size(np.zeros((1, 8, 8)))
        assert heat.shape == expected.shape[:2]


def test_pages_of_all_formats(tmp_path):
    pages = [numbers("uint8", (24, 32, 3)) for _ in range(3)]
    frames = [Image.fromarray(page) for page in pages]
    more = {"save_all": True, "append_images": frames[1:]}
    tifffile.imwrite(tmp_path / "a.tif", np.stack(pages), photometric="rgb")
    deep = np.stack(pages).astype(np.float32)
    tifffile.imwrite(tmp_path / "b.tif", deep, photometric="rgb")
    frames[0].save(tmp_path / "a.webp", lossless=True, **more)
    frames[0].save(tmp_path / "a.png", **more)
    frames[0].save(tmp_path / "a.gif", **more)
    np.save(tmp_path / "a.npy", np.stack(pages))
    np.savez(tmp_path / "a.npz", *pages)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(
            ImageFileError, match=rf"{path.name}' contains 3 images.*page"
        ):
            FCDDDetector(max_epochs=1).fit([path] * 4)
        for k in range(3):
            found = ImageFiles([path], page=k)[0]
            if path.suffix != ".gif":  # of 256 colours
                assert_array_equal(found, pages[k])
        with pytest.raises(ImageFileError, match=rf"{path.name}.*no page 3"):
            ImageFiles([path], page=3)


def test_pages_of_other_sizes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(numbers("uint8", (8, 9)))
        file.write(second := numbers("uint16", (10, 12)))
    assert_array_equal(ImageFiles([tmp_path / "a.tif"], page=1)[0], second)


def test_a_reduced_copy_is_no_second_image(tmp_path):
    values = numbers("uint8", (16, 16))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(values)
        file.write(values[::2, ::2], subfiletype=1)
    assert_array_equal(ImageFiles([tmp_path / "a.tif"])[0], values)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.zeros((3, 32, 32)), r"\(3, 32, 32\) does not look like an image"),
        (np.zeros((2, 2, 2, 8, 8)), r"expected an image \(h, w\) or \(h, w, c\)"),
        (np.zeros((8, 8), dtype=complex), "complex128, which are not numbers"),
        (np.array([["a"]]), "which are not numbers"),
        (np.zeros((0, 8)), r"an array of shape \(0, 8\)"),
    ],
)
def test_arrays_that_are_no_images(stored, message, tmp_path):
    np.save(tmp_path / "a.npy", stored)
    with pytest.raises(ImageFileError, match=rf"a\.npy.*{message}"):
        ImageFiles([tmp_path / "a.npy"])


def test_no_code_is_run_by_an_array(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[print]]), allow_pickle=True)
    with pytest.raises(ImageFileError, match=r"a\.npy.*not a NumPy file"):
        ImageFiles([tmp_path / "a.npy"])


def test_a_file_that_changes_its_size(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((8, 8), np.uint8))
    images = ImageFiles([tmp_path / "a.npy"])
    np.save(tmp_path / "a.npy", np.zeros((8, 9), np.uint8))
    with pytest.raises(ImageFileError, match=r"a\.npy.*changed.*\(8, 9\)"):
        images[0]


# From files to a model and back.


def quick(**params):
    # Compared with ONNX, which computes in float32.
    params = {
        "backbone": "fcdd28",
        "precision": "float32",
        "validation_fraction": 0.1,
        **params,
    }
    return FCDDClassifier(max_epochs=1, random_state=0, batch_size=32, **params)


def scenes(n=16, seed=0):
    """Smooth scenes in [0, 1], a few with a bright spot."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:32, :40] / 40
    waves = [
        np.sin(6 * x + a) * np.cos(5 * y + b) for a, b in rng.uniform(0, 6, (n, 2))
    ]
    return 0.5 + 0.4 * np.stack(waves)


def write_all(folder, values, suffix):
    folder.mkdir()
    paths = [folder / f"{i:02d}.{suffix}" for i in range(len(values))]
    writers = {"png": write_png, "tif": write_tiff, "npy": np.save}
    for path, image in zip(paths, values, strict=True):
        writers[suffix](path, image)
    return paths


def stored(model, tmp_path):
    """The model itself, and saved and loaded."""
    return model, load(save(model, tmp_path / "m.skfcdd"))


def served(model, tmp_path, **options):
    """The model itself, saved and loaded, and exported."""
    to_onnx(model, tmp_path / "m.onnx", **options)
    return *stored(model, tmp_path), OnnxFCDD(tmp_path / "m.onnx")


def test_a_float_file_is_a_scene_and_not_black(tmp_path):
    """On the scale of `fit`, whatever it is; another scale is named."""
    X = scenes()
    floats = write_all(tmp_path / "f", X.astype(np.float32), "tif")
    large = write_all(tmp_path / "l", (4095 * X).astype(np.float32), "tif")
    bytes_ = write_all(tmp_path / "b", (255 * X).round().astype(np.uint8), "png")
    scores = [quick().fit(p).anomaly_score(p) for p in (floats, large, bytes_)]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3)
    np.testing.assert_allclose(scores[2], scores[0], rtol=0.1)
    for model in stored(quick().fit(bytes_), tmp_path):
        with pytest.raises(
            ImageFileError, match=r"00\.tif' has values of type float32"
        ):
            model.anomaly_score(floats)


def test_one_file_does_not_change_how_others_are_read(tmp_path):
    X = scenes()
    deep = write_all(tmp_path / "d", (65535 * X).round().astype(np.uint16), "png")
    byte = write_all(tmp_path / "b", (255 * X).round().astype(np.uint8), "png")
    for model in served(quick().fit(deep), tmp_path):
        alone = model.anomaly_score(deep)
        with pytest.raises(
            ImageFileError, match=r"b.00\.png' has values of type uint8"
        ):
            model.anomaly_score([*deep, byte[0]])
        with pytest.raises(
            ImageFileError, match=r"b.00\.png' has values of type uint8"
        ):
            model.predict(byte)
        assert_array_equal(model.anomaly_score(deep), alone)


def test_depths_may_be_brought_to_one_another(tmp_path):
    X = (255 * scenes()).round().astype(np.uint8)
    deep = write_all(tmp_path / "d", X * np.uint16(257), "png")
    byte = write_all(tmp_path / "b", X, "png")
    files = ImageFiles([*deep[:8], *byte[8:]], dtype="uint16", rescale=True)
    for model in stored(quick().fit(files), tmp_path):
        mixed = model.anomaly_score([*byte[:8], *deep[8:]])
        assert_array_equal(mixed, model.anomaly_score(deep))


def test_arrays_on_another_scale_are_told(tmp_path):
    X = (65535 * scenes()).round().astype(np.uint16)
    for model in served(quick().fit(X), tmp_path):
        with pytest.warns(ValueRangeWarning, match="up to 2.*dtype uint8"):
            model.anomaly_score((X // 257).astype(np.uint8))
    for model in stored(quick().fit((X // 257).astype(np.uint8)), tmp_path):
        with pytest.warns(ValueRangeWarning, match="dtype uint16"):
            model.anomaly_score(X // 16)


@pytest.mark.parametrize("channels", ["first", "last", None])
def test_files_have_their_channels_last(channels, tmp_path):
    X = (255 * scenes()).round().astype(np.uint8)
    colour = np.stack([X, X // 2, 255 - X], axis=-1)
    paths = write_all(tmp_path / "c", colour, "png")
    model = quick(channels=channels, outlier_exposure=paths[:3]).fit(paths)
    assert model.image_shape_ == (32, 40, 3)
    expected = quick(outlier_exposure=colour[:3]).fit(colour)
    assert_array_equal(model.anomaly_score(paths), expected.anomaly_score(colour))
    assert_array_equal(model.explain(paths), expected.explain(colour))
    if channels == "first":
        given = np.moveaxis(colour, 3, 1)
        assert_array_equal(model.anomaly_score(given), model.anomaly_score(paths))
        model = quick(channels="first").fit(given)
        for one in served(model, tmp_path, X=given):
            assert_array_equal(one.anomaly_score(paths), one.anomaly_score(given))


def test_colours_and_channels_belong_to_the_model(tmp_path):
    X = (255 * scenes()).round().astype(np.uint8)
    grey = write_all(tmp_path / "g", X, "png")
    colour = write_all(tmp_path / "c", np.stack([X, X, 255 - X], axis=-1), "png")
    for model in stored(quick().fit(grey), tmp_path):
        with pytest.raises(ImageShapeError, match=r"c.00\.png' has 3.*mode='grey'"):
            model.anomaly_score([*grey, colour[0]])
    for model in stored(quick().fit([*grey[:4], *colour]), tmp_path):
        scores = model.anomaly_score([*grey, *colour])
        np.testing.assert_allclose(model.anomaly_score(grey), scores[:16], rtol=1e-6)
    for X_fit in (X, np.stack([X, X, X], axis=-1)):  # fitted on arrays
        for model in stored(quick().fit(X_fit), tmp_path):
            expected = model.anomaly_score(X_fit)
            np.testing.assert_allclose(model.anomaly_score(grey), expected, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["npy", "tif"])
def test_more_channels_from_the_folder_to_the_report(suffix, tmp_path):
    X = np.stack([scenes(seed=k) for k in range(6)], axis=-1).astype(np.float32)
    for kind in ("good", "bad"):
        (tmp_path / kind).mkdir()
    for i, image in enumerate(X):
        kind = "good" if i < 12 else "bad"
        write = np.save if suffix == "npy" else write_tiff
        write(tmp_path / kind / f"{i:02d}.{suffix}", image)
    data = load_images(tmp_path)
    assert data.images.shape == (16, 32, 40, 6) and data.target.sum() == 4
    model = quick().fit(data.images, data.target)
    in_memory = quick(channels="last").fit(np.asarray(data.images), data.target)
    paths = data.images.paths
    for one in served(model, tmp_path):
        assert one.reading_["n_channels"] == 6
        np.testing.assert_allclose(
            one.anomaly_score(paths),
            in_memory.anomaly_score(np.asarray(data.images)),
            rtol=1e-4,
        )
    write_report(model, paths, tmp_path / "report.html", y=data.target)
    assert "00." + suffix in (tmp_path / "report.html").read_text()


def test_older_readings_still_stand(tmp_path):
    """Saved before depth and channels were kept: each file by itself all the same."""
    from dataclasses import replace

    from skfcdd.persistence._upgrade import with_whole_reading

    X = (255 * scenes()).round().astype(np.uint8)
    byte = write_all(tmp_path / "b", X, "png")
    deep = write_all(tmp_path / "d", X * np.uint16(257), "png")
    model = quick().fit(byte)
    expected = model.anomaly_score(byte)
    old = {"resize": None, "keep_aspect": False, "mode": "auto", "page": 0}
    images = replace(model._fitted.images, reading=old)
    model._fitted = replace(model._fitted, images=with_whole_reading(images))
    np.testing.assert_allclose(model.anomaly_score([*byte[:8], *deep[8:]]), expected)


FUZZED = list(
    itertools.product(
        ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"),
        (1, 2, 3, 4, 5),
        ("contig", "separate"),
        range(1, 9),
    )
)


@pytest.mark.parametrize("part", range(8))
def test_no_layout_changes_a_value_in_silence(part, tmp_path):
    """Read exactly, or refused by name; there is nothing in between."""
    rng = np.random.RandomState(part)
    refused = 0
    for number, (dtype, c, plan, orientation) in enumerate(FUZZED[part::8]):
        h, w = rng.randint(5, 12, size=2)
        values = numbers(dtype, (h, w, c) if c > 1 else (h, w))
        path = tmp_path / f"{number}.tif"
        options = {
            "byteorder": rng.choice(["<", ">"]),
            "compression": rng.choice([None, "zlib"]),
            "photometric": "rgb" if c >= 3 and rng.rand() < 0.7 else "minisblack",
            "extratags": [(274, "H", 1, orientation, True)],
        }
        if c == 4 and options["photometric"] == "rgb":
            options["extrasamples"] = [rng.choice(["unspecified", "unassalpha"])]
        stored = values
        if c > 1:
            options["planarconfig"] = plan
            stored = values if plan == "contig" else np.moveaxis(values, 2, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tifffile.imwrite(path, stored, **options)
        if "unassalpha" in options.get("extrasamples", ()) and dtype in (
            "uint8",
            "uint16",
        ):
            refused += 1
            with pytest.raises(ImageFileError, match=rf"{path.name}.*transparency"):
                ImageFiles([path])[0]
            continue
        found = ImageFiles([path])[0]
        assert found.dtype == dtype
        assert_array_equal(
            found, upright(values, orientation), str((dtype, c, options))
        )
    assert refused < 20

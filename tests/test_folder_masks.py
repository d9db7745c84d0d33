"""Masks of folders: which image they belong to, and which pixels they mark."""

from __future__ import annotations

import numpy as np
import pytest
from _trees import SIZE, masked, put, put_masks, spot, targets
from numpy.testing import assert_array_equal
from PIL import Image

from skfcdd import FCDDSegmenter
from skfcdd.datasets import load_images
from skfcdd.datasets._masks import read_mask
from skfcdd.exceptions import (
    ImageFileError,
    ImageShapeError,
    SkippedFilesWarning,
    UnclearDataWarning,
)
from skfcdd.metrics import (
    PixelHistogram,
    bootstrap_interval,
    defect_report,
    intersection_over_union_score,
    pixel_roc_auc_score,
)


@pytest.fixture
def parts(tmp_path):
    """Two good images, and three defects of two kinds; no masks yet."""
    return put(
        tmp_path,
        "train/good/000.png",
        "test/good/001.png",
        "test/scratch/000.png",
        "test/scratch/001.png",
        "test/dent/000.png",
    )


DEFECTS = ("scratch/000", "scratch/001", "dent/000")

# How the masks of DEFECTS may be named, below the folder of the images.
NAMES = {
    "as MVTec-AD": "ground_truth/{}_mask.png",
    "capital suffix": "ground_truth/{}_mask.PNG",
    "capital word": "ground_truth/{}_Mask.png",
    "other format": "ground_truth/{}_mask.bmp",
    "no word": "ground_truth/{}.png",
    "gt": "ground_truth/{}_gt.png",
    "ground truth": "ground_truth/{}_ground_truth.png",
    "dash": "ground_truth/{}-mask.png",
    "label": "ground_truth/{}_label.png",
    "two suffixes": "ground_truth/{}.png.png",
    "suffix and word": "ground_truth/{}.png_mask.png",
    "number": "ground_truth/{}_mask_0.png",
    "capital folder": "Ground_Truth/{}_mask.png",
    "masks": "masks/{}.png",
    "gt folder": "gt/{}.png",
    "with the part": "ground_truth/test/{}_mask.png",
    "within the part": "test/ground_truth/{}_mask.png",
    "a folder for parts": "ground_truth/{}/0.png",
    "a folder for parts, with a word": "ground_truth/{}_mask/a.png",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_masks(name, parts):
    put_masks(parts, *(NAMES[name].format(defect) for defect in DEFECTS))
    data = load_images(parts)
    assert masked(data, parts) == {f"test/{defect}.png" for defect in DEFECTS}
    assert isinstance(data.masks, np.ndarray)
    assert_array_equal(data.masks.any(axis=(1, 2)), data.target == 1)
    assert data.summary == "2 good, 3 defects in 2 kinds, 3 with masks, 0 without"


def test_word_before_the_name(parts):
    put_masks(parts, "ground_truth/scratch/mask_000.png")
    with pytest.warns(UnclearDataWarning, match="2 images of defects without"):
        data = load_images(parts)
    assert masked(data, parts) == {"test/scratch/000.png"}


def test_masks_of_parts_are_put_together(parts):
    put_masks(parts, *(f"masks/{d}.png" for d in DEFECTS[1:]))
    other = np.zeros(SIZE, np.uint8)
    other[5, 7] = 1
    put_masks(parts, "masks/scratch/000/0.png")
    put(parts, "masks/scratch/000/1.png", values=other)
    data = load_images(parts)
    row = data.filenames.tolist().index(str(parts / "test/scratch/000.png"))
    assert_array_equal(data.masks[row], (spot() > 0) | (other > 0))


def test_a_mask_that_is_missing_is_unknown(parts):
    """It used to be an empty one, so that a segmenter learnt the defect as good."""
    put_masks(parts, "ground_truth/scratch/000_mask.png")
    message = r"^2 images of defects without a mask, the first .*dent.000\.png"
    with pytest.warns(UnclearDataWarning, match=message):
        data = load_images(parts)
    assert masked(data, parts) == {"test/scratch/000.png"}
    assert isinstance(data.masks, list)
    for mask, bad in zip(data.masks, data.target, strict=True):
        assert bad or not mask.any()
    assert sum(mask is None for mask in data.masks) == 2
    assert data.summary == "2 good, 3 defects in 2 kinds, 1 with masks, 2 without"
    with pytest.raises(ValueError, match=r"mask in row . is None"):
        FCDDSegmenter(max_epochs=1).fit(data.images, data.masks)


def test_masks_without_an_image_are_counted(parts):
    put_masks(parts, *(f"ground_truth/{d}_mask.png" for d in DEFECTS))
    put_masks(parts, "ground_truth/dent/007_mask.png", "ground_truth/bend/1.png")
    with pytest.warns(UnclearDataWarning, match=r"^2 masks without an image.*bend"):
        data = load_images(parts)
    assert len(masked(data, parts)) == 3


def test_masks_that_match_nothing(parts, tmp_path_factory):
    other = put_masks(tmp_path_factory.mktemp("other"), "a.png", "b.png")
    with pytest.raises(ValueError, match=r"masks=.* contains 2 images, but none"):
        load_images(parts, masks=other)
    put_masks(parts, "ground_truth/scratch/9.png")
    with pytest.warns(UnclearDataWarning) as caught:
        assert load_images(parts, split="test").masks is None
    texts = [str(w.message) for w in caught]
    assert [text.split(",")[0] for text in texts] == [
        "1 mask without an image",
        "3 images of defects without a mask",
    ]


def test_masks_in_a_folder_of_another_name(parts):
    """It lies within, and holds no images."""
    put_masks(parts, *(f"annotations/{d}.png" for d in DEFECTS))
    data = load_images(parts, masks=parts / "annotations")
    assert len(masked(data, parts)) == 3 and len(data.images) == 5


def test_one_mask_for_images_of_one_name(parts):
    put_masks(parts, "ground_truth/000_mask.png", "ground_truth/001_mask.png")
    with pytest.warns(UnclearDataWarning) as caught:
        data = load_images(parts)
    assert masked(data, parts) == {"test/scratch/001.png"}
    texts = [str(w.message) for w in caught]
    assert any(
        "1 mask not used, because several images match" in text for text in texts
    )
    assert any("2 images of defects without a mask" in text for text in texts)


def test_images_of_one_name_and_two_formats(tmp_path):
    root = put(tmp_path, "good/a.png", "bad/a.png", "bad/a.bmp")
    put_masks(root, "masks/bad/a.png.png", "masks/bad/a_mask.png")
    with pytest.warns(UnclearDataWarning):
        data = load_images(root)
    assert masked(data, root) == set()


def test_capitals_tell_images_apart(tmp_path):
    root = put(tmp_path, "good/0.png", "bad/a.png")
    if (root / "bad/A.png").exists():
        pytest.skip("names differ by capitals on this file system")
    put(root, "bad/A.png")
    put_masks(root, "masks/bad/a_mask.png", "masks/bad/A_mask.png")
    assert masked(load_images(root), root) == {"bad/a.png", "bad/A.png"}


def test_images_in_deeper_folders(tmp_path):
    root = put(
        tmp_path,
        "test/good/0.png",
        "test/scratch/lot1/900.png",
        "test/scratch/lot2/900.png",
        "test/scratch/lot2/901.png",
    )
    put_masks(root, "ground_truth/scratch/lot1/900_mask.png")
    put_masks(root, "ground_truth/scratch/lot2/900_mask.png")
    put_masks(root, "ground_truth/scratch/901_mask.png")
    assert len(masked(load_images(root), root)) == 3


# Images, and their masks, as public collections lay them out.
COLLECTIONS = {
    "VisA": ("Images/Anomaly/000.JPG", "Masks/Anomaly/000.png"),
    "BTAD": ("test/ko/0001.bmp", "ground_truth/ko/0001.png"),
    "MVTec LOCO": (
        "test/logical_anomalies/000.png",
        "ground_truth/logical_anomalies/000/000.png",
    ),
    "MVTec 3D": ("test/crack/rgb/000.png", "test/crack/gt/000.png"),
    "images and masks": ("bad/images/000.png", "bad/masks/000.png"),
}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_masks_of_collections(name, tmp_path):
    image, mask = COLLECTIONS[name]
    good = {"VisA": "Images/Normal/0.JPG", "images and masks": "good/images/1.png"}
    root = put(tmp_path, image, good.get(name, "test/good/000.png"))
    put_masks(root, mask)
    data = load_images(root)
    assert masked(data, root) == {image} and data.target.sum() == 1


def test_masks_beside_images_are_no_images(tmp_path):
    root = put(tmp_path, "good/0.png", "bent/0.png", "bent/1.png")
    put_masks(root, "bent/0_mask.png", "bent/1_mask.png")
    data = load_images(root)
    assert targets(data, root) == {"bent/0.png": 1, "bent/1.png": 1, "good/0.png": 0}
    assert masked(data, root) == {"bent/0.png", "bent/1.png"}
    put_masks(root, "bent/2_mask.png")
    with pytest.warns(UnclearDataWarning, match=r"^1 mask without an image"):
        assert len(load_images(root).images) == 3


def test_images_whose_names_end_in_mask(tmp_path):
    root = put(tmp_path, "good/face_mask.png", "bad/ski_mask.png")
    assert len(load_images(root).images) == 2


def test_masks_of_good_images(parts):
    """Those of good images are empty, or one of both is wrong."""
    put_masks(parts, *(f"ground_truth/{d}_mask.png" for d in DEFECTS))
    put(parts, "ground_truth/good/001_mask.png", values=np.zeros(SIZE, np.uint8))
    assert len(masked(load_images(parts), parts)) == 3
    put_masks(parts, "ground_truth/good/001_mask.png")
    with pytest.raises(ValueError, match=r"good.001\.png.* counts as good, but its"):
        load_images(parts)


def test_empty_masks_of_defects_are_unknown(parts):
    put_masks(parts, *(f"ground_truth/{d}_mask.png" for d in DEFECTS[:2]))
    put(parts, "ground_truth/dent/000_mask.png", values=np.zeros(SIZE, np.uint8))
    with pytest.warns(UnclearDataWarning) as caught:
        data = load_images(parts)
    assert any(
        "1 empty mask of defects treated as unknown" in str(w.message) for w in caught
    )
    assert len(masked(data, parts)) == 2


def test_masks_that_cannot_be_read(parts):
    put_masks(parts, *(f"ground_truth/{d}_mask.png" for d in DEFECTS))
    (parts / "ground_truth/dent/000_mask.png").write_bytes(b"no image")
    with pytest.raises(ImageFileError, match=r"dent.000_mask\.png"):
        load_images(parts)
    with pytest.warns((SkippedFilesWarning, UnclearDataWarning)):
        data = load_images(parts, on_error="skip")
    assert len(data.images) == 5 and len(masked(data, parts)) == 2


MASK = spot(1) > 0
IDS = np.zeros(SIZE, np.uint8)
IDS[1:3, 2:5] = [[1, 2, 5], [5, 1, 2]]
RED = np.dstack([spot(255), 0 * spot(), 0 * spot()])


def palette(indices, colours):
    image = Image.fromarray(indices, "P")
    image.putpalette(np.asarray(colours, dtype=np.uint8).ravel().tolist())
    return image


def transparent(colour, around):
    """A colour drawn on a transparent image of another colour."""
    values = np.empty((*SIZE, 4), np.uint8)
    values[:] = (*around, 0)
    values[MASK] = (*colour, 255)
    return Image.fromarray(values, "RGBA")


BLUE_AND_RED = np.zeros((*SIZE, 3), np.uint8)
BLUE_AND_RED[1, 2:5] = (0, 0, 100)
BLUE_AND_RED[2, 2:5] = (255, 0, 0)

# All of them mark the same six pixels.
VALUES = {
    "0 and 255": spot(255),
    "0 and 1": spot(1),
    "one bit": MASK,
    "16 bits, 0 and 1": spot(1, np.uint16),
    "16 bits": spot(65535, np.uint16),
    "32 bits, 0 and 1": spot(1, np.int32),
    "floats": spot(1, np.float32),
    "classes": IDS,
    "colours": BLUE_AND_RED,
    "red": RED,
    "palette": palette(spot(1), [(0, 0, 0), (128, 0, 0)]),
    "palette by index": palette(
        IDS, [(9, 9, 9), (0, 9, 0), (1, 1, 1)] + [(9, 0, 0)] * 3
    ),
    "white on transparent": transparent((255, 255, 255), (255, 255, 255)),
    "red on transparent": transparent((255, 0, 0), (0, 0, 0)),
    "black on transparent": transparent((0, 0, 0), (0, 0, 0)),
    "opaque": Image.fromarray(np.dstack([RED, np.full(SIZE, 255, np.uint8)]), "RGBA"),
    "grey and alpha": Image.fromarray(
        np.dstack([spot(), np.full(SIZE, 255, np.uint8)]), "LA"
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_masks(name, tmp_path):
    suffix = "tif" if name in ("32 bits, 0 and 1", "floats") else "png"
    put(tmp_path, f"m.{suffix}", values=VALUES[name])
    found, doubt = read_mask(tmp_path / f"m.{suffix}")
    assert_array_equal(found, MASK)
    assert doubt is None


@pytest.mark.parametrize("colour", ["L", "RGB", "red"])
def test_masks_that_a_codec_has_blurred(colour, tmp_path):
    truth = np.zeros((64, 64), bool)
    truth[10:30, 20:45] = truth[40:44, 5:60] = True
    image = Image.fromarray(np.uint8(255) * truth)
    if colour == "red":
        image = Image.merge("RGB", [image, *[Image.new("L", (64, 64))] * 2])
    elif colour == "RGB":
        image = image.convert("RGB")
    image.save(tmp_path / "m.jpg", quality=75)
    with Image.open(tmp_path / "m.jpg") as stored:
        assert len(np.unique(stored)) > 2
    found, doubt = read_mask(tmp_path / "m.jpg")
    assert doubt is None and (found != truth).mean() < 0.01
    if colour == "L":
        assert_array_equal(found, truth)


def test_masks_whose_size_was_changed(tmp_path):
    rows, columns = np.indices((90, 90))
    truth = (rows - 40) ** 2 + (columns - 50) ** 2 < 25**2
    large = Image.fromarray(np.uint8(255) * truth)
    large.resize((60, 60), Image.Resampling.BICUBIC).save(tmp_path / "m.png")
    found, doubt = read_mask(tmp_path / "m.png")
    assert doubt is None and abs(found.mean() - truth.mean()) < 0.01


def test_values_between_that_are_no_blur(tmp_path):
    classes = np.zeros((32, 32), np.uint8)
    classes[2:10, 2:10], classes[20:30, 20:30] = 60, 255
    put(tmp_path, "classes.png", values=classes)
    found, doubt = read_mask(tmp_path / "classes.png")
    assert_array_equal(found, classes > 0)
    assert doubt == "values between 0 and 255, such as [60]"
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    put(tmp_path, "ramp.png", values=ramp)
    found, doubt = read_mask(tmp_path / "ramp.png")
    assert_array_equal(found, ramp > 0)
    assert "between 0 and 248" in doubt


def test_doubtful_masks_are_named(parts):
    grey = spot(100)
    grey[5, 5] = 255
    put_masks(parts, *(f"masks/{d}.png" for d in DEFECTS[1:]))
    put(parts, "masks/scratch/000.png", values=grey)
    with pytest.warns(
        UnclearDataWarning, match=r"^1 mask with ambiguous values.*scratch.000"
    ):
        data = load_images(parts)
    assert max(mask.sum() for mask in data.masks) == 7
    full = np.full(SIZE, 255, np.uint8)
    full[0, 0] = 0
    put(parts, *(f"masks/{d}.png" for d in DEFECTS), values=full)
    with pytest.warns(UnclearDataWarning, match="so they may be inverted"):
        load_images(parts)
    put(
        parts,
        *(f"masks/{d}.png" for d in DEFECTS),
        values=palette(spot(1), [(255, 255, 255), (0, 0, 0)]),
    )
    with pytest.warns(UnclearDataWarning, match="a palette in which black is not 0"):
        load_images(parts)


def test_masks_with_values_that_are_no_numbers(tmp_path):
    values = spot(1, np.float32)
    values[0, 0] = np.nan
    put(tmp_path, "m.tif", values=values)
    with pytest.raises(ImageFileError, match=r"m\.tif.*contains NaN"):
        read_mask(tmp_path / "m.tif")


def test_a_speck_is_kept_when_images_are_made_small(tmp_path):
    speck = np.zeros((256, 256), np.uint8)
    speck[100, 37] = 1
    root = put(
        tmp_path, "good/a.png", "bad/b.png", values=np.zeros((256, 256), np.uint8)
    )
    put(root, "masks/bad/b.png", values=speck)
    data = load_images(root, resize=8)
    assert [mask.sum() for mask in data.masks] == [1, 0]
    assert data.masks[0, 3, 1] == 1


AXES = [
    lambda m: m[:, None],
    lambda m: m[..., None],
    lambda m: np.repeat(m[..., None], 3, axis=-1),
    lambda m: np.repeat(m[:, None], 3, axis=1),
]


@pytest.mark.parametrize("axes", AXES)
def test_masks_with_further_axes(axes):
    masks = np.zeros((4, 24, 24), np.uint8)
    masks[2:, 3:9, 4:8] = 1
    images = np.random.RandomState(0).randint(0, 99, (4, 24, 24), dtype=np.uint8)
    model = FCDDSegmenter(max_epochs=1, random_state=0)
    expected = model.fit(images, masks).explain(images)
    assert_array_equal(model.fit(images, axes(masks)).explain(images), expected)
    listed = [*axes(masks)[:3], None]
    model.fit(images, [0, 0, 1, 1], masks=listed)
    assert pixel_roc_auc_score(axes(masks), expected) == pixel_roc_auc_score(
        masks, expected
    )
    assert intersection_over_union_score(axes(masks), masks) == 1


def test_masks_of_several_colours():
    masks = np.zeros((2, 5, 6, 3), np.uint8)
    masks[0, 1, 2, 0] = 1
    with pytest.raises(ValueError, match=r"have a colour axis.*masks\.any\(axis=3\)"):
        pixel_roc_auc_score(masks, np.zeros((2, 5, 6)))
    with pytest.raises(ImageShapeError, match="same shape"):
        pixel_roc_auc_score(masks[..., :2], np.zeros((2, 5, 6)))


def test_unknown_masks_take_no_part_in_figures():
    masks = np.zeros((3, 4, 4), np.uint8)
    masks[1, :2] = 1
    heatmaps = np.where(masks > 0, 1.0, 0.0)
    heatmaps[2] = 1  # a defect all over, which nobody has outlined
    partly = [masks[0], masks[1], None]
    assert pixel_roc_auc_score(partly, heatmaps) == 1
    assert PixelHistogram().update(partly, heatmaps).roc_auc() == 1
    assert pixel_roc_auc_score(masks, heatmaps) < 1
    for given in (masks, partly, [None, masks[1], None]):
        figures = defect_report(
            ["good", "hole", "hole"],
            [0, 1, 1],
            normal="good",
            masks=given,
            heatmaps=heatmaps,
            output_dict=True,
        )
        assert figures["hole"]["pixel_auroc"] == figures["all"]["pixel_auroc"] == 1
    with pytest.raises(ImageShapeError, match="at least one"):
        pixel_roc_auc_score([None] * 3, heatmaps)
    with pytest.raises(ImageShapeError, match="2 masks for 3 heatmaps"):
        pixel_roc_auc_score([masks[0], masks[1], None, None], heatmaps)


def test_unknown_masks_take_no_part_in_intervals():
    masks = np.zeros((8, 4, 4), np.uint8)
    masks[4:, :2] = 1
    heatmaps = np.random.RandomState(0).rand(8, 4, 4) + masks
    partly = [*masks[:6], None, None]
    options = {"n_resamples": 19, "random_state": 0}
    found = bootstrap_interval(
        pixel_roc_auc_score, partly, heatmaps, groups=np.arange(8), **options
    )
    expected = bootstrap_interval(
        pixel_roc_auc_score, masks[:6], heatmaps[:6], groups=np.arange(6), **options
    )
    assert found == expected


def test_a_kind_called_all():
    figures = defect_report(
        ["good", "all", "hole"], [1, 0, 2], normal="good", output_dict=True
    )
    assert figures["all"]["image_auroc"] == 0
    assert figures["all defects"]["image_auroc"] == 0.5

"""Folders of images: which are good, which are not, and what is no image at all."""

from __future__ import annotations

import os

import pytest
from _trees import put, put_masks, targets

from skfcdd.datasets import load_images
from skfcdd.exceptions import ImageFileError, UnclearDataWarning

GOOD = (
    *("good", "Good", "GOOD", "normal", "Normal", "ok", "OK", "okay", "healthy"),
    *("pass", "passed", "free", "0", "negative", "no", "false"),
    *("Good images", "good_parts", "OK_parts", "OKParts", "goodParts", "good-1"),
    *("defect_free", "defectFree", "no_defect", "non-defective", "anomaly free"),
)
# Kinds of defect, whatever stands beside them.
BAD = (
    *("bad", "NG", "not_good", "not ok", "Nok", "abnormal", "defective", "anomaly"),
    *("fail", "reject", "positive", "yes", "true", "1", "scratch", "goodness"),
    *("good_or_bad", "almost good", "free_form", "broken"),
)


@pytest.mark.parametrize("name", GOOD)
def test_names_of_good_images(name, tmp_path):
    root = put(tmp_path, f"{name}/0.png", "scratch/1.png")
    assert targets(load_images(root), root) == {f"{name}/0.png": 0, "scratch/1.png": 1}


@pytest.mark.parametrize("name", BAD)
def test_names_of_defects(name, tmp_path):
    root = put(tmp_path, "good/0.png", f"{name}/1.png")
    data = load_images(root)
    assert targets(data, root) == {"good/0.png": 0, f"{name}/1.png": 1}
    assert data.kind.tolist() == [p.parent.name for p in data.images.paths]


LAYOUTS = {
    "as MVTec-AD": (
        ("train/good/0.png", "test/good/1.png"),
        ("test/scratch/2.png", "test/dent/2.png"),
    ),
    "kinds": (("good/0.png", "normal/1.png"), ("scratch/2.png",)),
    "capitals": (("Train/OK/0.png", "TEST/ok/1.png"), ("TEST/NG/2.png",)),
    "long names": (
        ("training/good/0.png",),
        ("testing/bad/2.png", "testing/bad/3.png"),
    ),
    "images to train on without a folder": (
        ("train/0.png", "train/1.png", "test/good/2.png"),
        ("test/bad/2.png",),
    ),
    "lots": (("good/lot1/0.png", "good/lot2/0.png"), ("bad/lot1/0.png", "bad/9.png")),
    "numbers of lots": (
        ("good/0/0.png", "good/1/0.png"),
        ("crack/0/0.png", "crack/1/0.png"),
    ),
    "groups": (
        ("test/dash/normal/0.png", "test/wheel/OK/0.png"),
        ("test/dash/crack/0.png", "test/wheel/crack/0.png"),
    ),
    "a group without good images": (
        ("test/dash/normal/0.png",),
        ("test/dash/crack/0.png", "test/wheel/0.png"),
    ),
    "one folder around all": (("data/good/0.png",), ("data/crack/0.png",)),
    "several sets of data": (
        ("nut/train/good/0.png", "nut/test/good/1.png", "pipe/train/good/0.png"),
        ("nut/test/bent/0.png", "pipe/test/defect/0.png"),
    ),
    "a folder around the parts": (
        ("data/images/train/1.png", "data/images/Test/good/1.png"),
        ("data/images/Test/cut/1.png",),
    ),
    "as VisA": (("Data/Images/Normal/0.JPG",), ("Data/Images/Anomaly/0.JPG",)),
    "as BTAD": (("train/ok/0.bmp", "test/ok/1.bmp"), ("test/ko/1.bmp",)),
    "validation": (
        ("train/good/0.png", "val/good/1.png", "test/good/1.png"),
        ("test/bad/1.png", "val/bad/2.png"),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name, tmp_path):
    good, bad = LAYOUTS[name]
    root = put(tmp_path / "parts", *good, *bad)
    found = targets(load_images(root), root)
    assert found == dict.fromkeys(good, 0) | dict.fromkeys(bad, 1)


def test_numbers_of_lots_are_no_good_images(tmp_path):
    root = put(
        tmp_path, "test/nut/normal/0.png", "test/cut/0/1.png", "test/cut/1/2.png"
    )
    assert load_images(root).target.tolist() == [1, 1, 0]


def test_the_folder_that_one_stands_in(tmp_path, monkeypatch):
    put(tmp_path / "parts", "0.png")
    monkeypatch.chdir(tmp_path / "parts")
    data = load_images(".", normal="parts")
    assert data.kind.tolist() == ["parts"] and data.target.tolist() == [0]


def test_parts(tmp_path):
    root = put(tmp_path, *(p for side in LAYOUTS["validation"] for p in side))
    data = load_images(root)
    assert set(data.split) == {"train", "val", "test"}
    for split, n in (("train", 1), ("val", 2), ("test", 2)):
        part = load_images(root, split=split)
        assert len(part.images) == n and set(part.split) == {split}
    assert "3 of" not in data.summary
    assert load_images(root, split="val").summary == (
        "1 good, 1 defect in 1 kind, no masks; 2 of 'test' not used; "
        "1 of 'train' not used"
    )
    with pytest.raises(
        FileNotFoundError, match=r"part 'dev'.*\['test', 'train', 'val'\]"
    ):
        load_images(root, split="dev")
    sets = put(
        tmp_path / "sets", *(p for s in LAYOUTS["several sets of data"] for p in s)
    )
    assert load_images(sets).split.tolist().count("train") == 2


def test_normal_names_the_folder_of_good_images(tmp_path):
    root = put(tmp_path, "train/OK_teile/0.png", "test/ok_teile/1.png", "test/x/2.png")
    data = load_images(root, normal="Ok_Teile")
    assert data.target.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match=r"\['OK_teile'\] .* is known to contain good"):
        load_images(root)
    with pytest.raises(ValueError, match=r"normal='OK_tiele'"):
        load_images(root, normal="OK_tiele")
    # Here the name is missing in the test, where another one means the same.
    put(tmp_path / "two", "train/OK_parts/0.png", "test/OK/0.png", "test/cut/0.png")
    with pytest.raises(
        ValueError, match=r"normal='OK_parts'.*'OK' suggests good images"
    ):
        load_images(tmp_path / "two", normal="OK_parts")
    assert load_images(tmp_path / "two").target.tolist() == [0, 0, 1]


def test_normal_of_a_flat_folder(tmp_path):
    root = put(tmp_path / "Parts", "0.png")
    assert load_images(root, normal="parts").target.tolist() == [0]
    with pytest.raises(ValueError, match=r"normal='good', but no folder"):
        load_images(root, normal="good")


def test_a_test_without_good_images(tmp_path):
    root = put(tmp_path, "train/good/0.png", "test/cut/0.png", "test/dent/0.png")
    with pytest.warns(UnclearDataWarning, match=r"^No good image was found in .*test'"):
        assert load_images(root).target.tolist() == [0, 1, 1]
    with pytest.warns(UnclearDataWarning, match="^No good image was found in"):
        assert load_images(root / "test").target.tolist() == [1, 1]
    with pytest.raises(ValueError, match="is known to contain good images"):
        load_images(put(tmp_path / "kinds", "a/0.png", "b/0.png"))
    with pytest.warns(UnclearDataWarning, match="^No good image was found in"):
        load_images(put(tmp_path / "bad", "test/bad/0.png"))


def test_a_test_without_folders(tmp_path):
    root = put(tmp_path, "train/good/0.png", "test/0.png", "test/1.png")
    with pytest.warns(UnclearDataWarning, match=r"^The 2 images of .*test' count as"):
        assert load_images(root).target.tolist() == [0, 0, 0]
    put_masks(root, "ground_truth/1_mask.png")
    with pytest.raises(ValueError, match=r"1\.png' counts as good, but its mask"):
        load_images(root)


CONTRADICTIONS = {
    "good within defects": ("good/0.png", "scratch/good/1.png"),
    "defects within good": ("good/0.png", "good/NG/1.png"),
    "a kind within good": ("good/0.png", "good/scratch/0.png", "scratch/0.png"),
    "far within": ("test/good/0.png", "test/bad/lot1/OK parts/0.png"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_names_that_contradict(name, tmp_path):
    root = put(tmp_path, *CONTRADICTIONS[name])
    with pytest.raises(ValueError, match=r"but its name suggests otherwise. Move"):
        load_images(root)


def test_two_folders_for_a_part(tmp_path):
    root = put(tmp_path, "train/good/0.png", "training/good/0.png")
    with pytest.raises(ValueError, match="contains both 'train' and 'training'"):
        load_images(root)


def test_images_beside_the_parts_are_named(tmp_path):
    root = put(tmp_path, "train/good/0.png", "extra/0.png", "1.png")
    with pytest.warns(UnclearDataWarning, match=r"^2 images next to the folders \['tr"):
        data = load_images(root)
    assert data.summary == "1 good; 2 files skipped"


def test_kinds_that_may_be_masks(tmp_path):
    root = put(tmp_path, "good/0.png", "cut/1.png", "labels/1.png", "labels/cut/1.png")
    with pytest.warns(UnclearDataWarning, match=r"labels' count as defects, although"):
        assert len(load_images(root).images) == 4
    (root / "labels" / "1.png").unlink()
    put_masks(root, "labels/cut/1.png")
    assert load_images(root, masks=root / "labels").masks.any(axis=(1, 2)).sum() == 1


def test_a_folder_of_defects_given_as_good(tmp_path):
    root = put(tmp_path, "NG/0.png", "bent/0.png")
    with pytest.warns(UnclearDataWarning, match="although the name suggests otherwise"):
        assert load_images(root / "NG").target.tolist() == [0]
    assert load_images(root / "bent").target.tolist() == [0]


def test_two_folders(tmp_path):
    """A second folder does not make the defects of the first good parts."""
    root = put(tmp_path, "a/good/0.png", "a/cut/1.png", "b/2.png", "b/lot/3.png")
    data = load_images(root / "a", anomalous=root / "b")
    assert targets(data, root) == {
        "a/cut/1.png": 1,
        "a/good/0.png": 0,
        "b/2.png": 1,
        "b/lot/3.png": 1,
    }
    lots = put(tmp_path / "lots", "one/0.png", "two/0.png", "cut/0.png")
    data = load_images(lots, anomalous=lots / "cut")
    assert targets(data, lots) == {"cut/0.png": 1, "one/0.png": 0, "two/0.png": 0}
    put(lots, "good/0.png")
    data = load_images(lots / "good", anomalous=lots)
    assert targets(data, lots)["good/0.png"] == 0 and len(data.images) == 4
    with pytest.raises(ValueError, match="Pass two different folders"):
        load_images(lots, anomalous=lots)
    put(lots, "one/NG/0.png")
    with pytest.raises(ValueError, match="both images and folders of images"):
        load_images(lots / "one", anomalous=lots / "cut")
    put(lots, "cut/good/0.png")
    with pytest.raises(ValueError, match="a folder of defects"):
        load_images(lots / "good", anomalous=lots / "cut")
    with pytest.raises(ValueError, match="a folder of defects"):  # the wrong way round
        load_images(lots / "two", anomalous=lots / "good")
    (lots / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*none"):
        load_images(lots / "two", anomalous=lots / "none")


def test_masks_of_a_second_folder(tmp_path):
    root = put(tmp_path, "ok/0.png", "ng/1.png", "ng/2.png")
    put_masks(root, "outlines/1.png", "ng/2_mask.png")
    with pytest.warns(UnclearDataWarning, match="1 image of defects without a mask"):
        data = load_images(root / "ok", anomalous=root / "ng", masks=root / "outlines")
    assert [mask is None for mask in data.masks] == [False, False, True]
    put_masks(root, "ng/1_mask.png")
    data = load_images(root / "ok", anomalous=root / "ng", masks=root / "ng")
    assert data.masks.any(axis=(1, 2)).tolist() == [False, True, True]


def test_hidden_and_foreign_files(tmp_path):
    root = put(
        tmp_path / ".config" / "parts",
        "good/a.png",
        "cut/b.png",
        ".ipynb_checkpoints/a-checkpoint.png",
        "good/.ipynb_checkpoints/a-checkpoint.png",
        "good/@eaDir/a.png",
        "__MACOSX/good/a.png",
        ".hidden.png",
    )
    (root / "good" / "._a.png").write_bytes(b"not an image")
    (root / "notes.txt").write_text("no image")
    data = load_images(root)
    assert targets(data, root) == {"good/a.png": 0, "cut/b.png": 1}
    assert data.summary == "1 good, 1 defect in 1 kind, no masks; 6 files skipped"


def test_folders_that_are_named_as_files(tmp_path):
    root = put(tmp_path, "good/a.png", "cut/x.png/b.png")
    (root / "good" / "empty.png").mkdir()
    assert targets(load_images(root), root) == {"good/a.png": 0, "cut/x.png/b.png": 1}


def test_formats_that_are_not_read_are_named(tmp_path):
    root = put(tmp_path, "good/a.png", "cut/b.png", "cut/c.ppm")
    with pytest.warns(
        UnclearDataWarning, match=r"^1 file in unsupported formats.*c\.ppm'\.$"
    ):
        data = load_images(root)
    assert data.summary.endswith("; 1 file skipped")


@pytest.fixture
def linked(tmp_path):
    root = put(tmp_path / "parts", "good/a.png", "cut/b.png")
    try:
        (root / "cut" / "again").symlink_to(root, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    (root / "cut" / "again").unlink()
    return root


@pytest.mark.parametrize("place", ["cut/up", "up", "good/up"])
def test_links_back_are_not_followed(place, linked):
    """Every image was read twice, the second time as an anomaly."""
    (linked / place).symlink_to(linked, target_is_directory=True)
    with pytest.warns(
        UnclearDataWarning, match="^1 link to files that are also read directly not"
    ):
        data = load_images(linked)
    assert targets(data, linked) == {"good/a.png": 0, "cut/b.png": 1}


def test_links_to_a_folder_or_file_within(linked):
    (linked / "copy").symlink_to(linked / "good", target_is_directory=True)
    (linked / "cut" / "a.png").symlink_to(linked / "good" / "a.png")
    with pytest.warns(
        UnclearDataWarning, match="^2 links to files that are also read directly"
    ):
        data = load_images(linked)
    assert targets(data, linked) == {"good/a.png": 0, "cut/b.png": 1}
    assert data.summary.endswith("; 2 files skipped")


def test_links_out_are_followed_and_named(linked, tmp_path):
    store = put(tmp_path / "store", "c.png", "d.png", "deep/e.png")
    (linked / "dent").symlink_to(store / "deep", target_is_directory=True)
    (linked / "dent2").symlink_to(store / "deep", target_is_directory=True)
    (linked / "good" / "c.png").symlink_to(store / "c.png")
    with pytest.warns(UnclearDataWarning) as caught:
        data = load_images(linked)
    texts = [str(w.message) for w in caught]
    assert texts[0].startswith(
        "2 links that lead out of the folder followed, the first"
    )
    assert texts[1].startswith(
        "1 link to files that are also read directly not followed"
    )
    assert targets(data, linked) == {
        "good/a.png": 0,
        "good/c.png": 0,
        "cut/b.png": 1,
        "dent/e.png": 1,
    }


def test_links_to_hidden_folders_within(linked):
    """As managers of versions keep files."""
    put(linked, ".git/annex/x.png", ".cache/d/y.png")
    (linked / "good" / "x.png").symlink_to(linked / ".git" / "annex" / "x.png")
    (linked / "dent").symlink_to(linked / ".cache" / "d", target_is_directory=True)
    data = load_images(linked)
    assert targets(data, linked)["good/x.png"] == 0
    assert targets(data, linked)["dent/y.png"] == 1 and len(data.images) == 4


def test_links_that_lead_nowhere(linked):
    (linked / "good" / "gone.png").symlink_to(linked / "nowhere.png")
    with pytest.raises(ImageFileError, match=r"gone\.png.*no such file"):
        load_images(linked)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_no_files(tmp_path):
    root = put(tmp_path, "good/a.png")
    os.mkfifo(root / "good" / "pipe.png")
    with pytest.warns(UnclearDataWarning, match=r"^1 file in .*pipe\.png"):
        assert len(load_images(root).images) == 1

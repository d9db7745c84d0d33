"""Tables of files: how they are written, what labels mean, what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from _trees import put, put_masks

from skfcdd.datasets import load_images
from skfcdd.exceptions import ImageFileError, SkippedFilesWarning, UnclearDataWarning


@pytest.fixture
def folder(tmp_path):
    return put(tmp_path, *(f"img/{i}.png" for i in range(4)))


def table(folder, *lines, encoding="utf-8", name="t.csv"):
    """A table of the first images, one line each."""
    path = folder / name
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def labelled(folder, *labels, header="path,label"):
    lines = [f"img/{i}.png,{label}" for i, label in enumerate(labels)]
    return table(folder, header, *lines)


LABELS = [
    (("0", "1"), [0, 1]),
    (("0.0", "1.0"), [0, 1]),
    (("1", "-1"), [0, 1]),
    (("1.0", "-1.0"), [0, 1]),
    (("False", "True"), [0, 1]),
    (("pass", "fail"), [0, 1]),
    (("Pass", " FAIL"), [0, 1]),
    (("negative", "positive"), [0, 1]),
    (("no", "yes"), [0, 1]),
    (("good", "bad"), [0, 1]),
    (("OK", "NG"), [0, 1]),
    (("ok", "nok"), [0, 1]),
    (("Normal", "anomaly"), [0, 1]),
    (("normal", "abnormal"), [0, 1]),
    (("good", "scratch", "dent"), [0, 1, 1]),
    (("good", "0", "1", "scratch"), [0, 0, 1, 1]),
    (("0", "1", "2", "17"), [0, 1, 1, 1]),
    (("no defect", "defect"), [0, 1]),
]


@pytest.mark.parametrize(("labels", "expected"), LABELS)
def test_labels(labels, expected, folder):
    assert load_images(labelled(folder, *labels)).target.tolist() == expected


HEADERS = ("path,label", "path, label", " Path ,LABEL", "path,target", "path,Kind")


@pytest.mark.parametrize("header", HEADERS)
def test_headers(header, folder):
    data = load_images(labelled(folder, "good", "cut", header=header))
    assert data.target.tolist() == [0, 1] and data.kind.tolist() == ["good", "cut"]


def test_label_and_kind(folder):
    lines = ["path,target,kind,split", "img/0.png,0,good,Train", "img/1.png,1,cut,TEST"]
    data = load_images(table(folder, *lines))
    assert data.target.tolist() == [0, 1] and data.kind.tolist() == ["good", "cut"]
    assert data.split.tolist() == ["train", "test"]
    with pytest.raises(ValueError, match=r"^Line 3 .*label '1' and the kind 'good'"):
        load_images(table(folder, *lines[:2], "img/1.png,1,good,test"))


def test_normal_names_a_label(folder):
    path = labelled(folder, "Good", "cut")
    assert load_images(path, normal="good").target.tolist() == [0, 1]
    assert load_images(path, normal="CUT").target.tolist() == [1, 0]
    with pytest.raises(
        ValueError, match=r"\['Good', 'cut'\], and none is normal='goo'"
    ):
        load_images(path, normal="goo")


UNCLEAR = {
    "no label means good": (("cut", "dent"), r"known to mean good: it has \['cut', 'd"),
    "only defects": (("1", "1"), "known to mean good"),
    "an empty cell": (("good", ""), "^Line 3 of .* has no label"),
    "not a number": (("0", "nan"), r"^Line 3 of .* has no label \('nan'\)"),
    "nothing": (("0", "None"), "^Line 3 of .* has no label"),
    "three meanings": (("0", "1", "-1"), "the labels -1, 0 and 1"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_labels_that_are_not_clear(name, folder):
    labels, message = UNCLEAR[name]
    with pytest.raises(ValueError, match=message):
        load_images(labelled(folder, *labels))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(delimiter, folder):
    lines = ["path,label", '"img/0.png",good', "img/1.png, cut"]
    path = table(folder, *(line.replace(",", delimiter) for line in lines))
    data = load_images(path)
    assert data.target.tolist() == [0, 1] and data.kind.tolist() == ["good", "cut"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_names_in_utf_8(encoding, folder):
    put(folder, "img/ä.png")
    path = table(folder, "path,label", "img/ä.png,good", encoding=encoding)
    assert load_images(path).target.tolist() == [0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_other_encodings_are_read_and_named(encoding, folder):
    put(folder, "img/ä.png")
    path = table(folder, "path,label", "img/ä.png,good", encoding=encoding)
    found = "cp1252" if encoding == "latin-1" else encoding
    with pytest.warns(UnclearDataWarning, match=rf"is not UTF-8; .* as {found}\.$"):
        assert load_images(path).target.tolist() == [0]


def test_what_is_no_table(folder):
    path = folder / "t.csv"
    path.write_bytes(b"path,label\0\1\2\xff" * 9)
    with pytest.raises(ValueError, match=r"not text in one of the encodings \['utf-8"):
        load_images(path)
    with pytest.raises(ValueError, match=r"is an image. Pass a folder"):
        load_images(folder / "img" / "0.png")
    with pytest.raises(
        ValueError, match=r"needs a column 'path'.*Got the columns \[\]"
    ):
        load_images(table(folder, ""))
    with pytest.raises(FileNotFoundError, match="There are no images"):
        load_images(table(folder, "path,label"))


def test_lines_are_numbered(folder):
    short = table(folder, "path,label,split", "img/0.png,good,train", "", "img/1.png")
    with pytest.raises(ValueError, match=r"^Line 4 of .* has 1 cell, .* header has 3"):
        load_images(short)
    long = table(folder, "path,label", "a,1.png,good")
    with pytest.raises(ValueError, match=r"^Line 2 .* 3 cells.*contain ','"):
        load_images(long)
    with pytest.raises(ValueError, match=r"^Line 2 of .* has no path"):
        load_images(table(folder, "path,label", " ,good"))
    with pytest.raises(ValueError, match=r"^Line 2 .* lists 'img', which is a folder"):
        load_images(table(folder, "path,label", "img,good"))
    gone = table(folder, "path,label", "img/0.png,good", "img/9.png,cut")
    with pytest.raises(
        ImageFileError, match=r"^Line 3 .* 'img/9\.png', but there is no"
    ):
        load_images(gone)
    with pytest.warns(SkippedFilesWarning, match="1 of 2 files"):
        data = load_images(gone, on_error="skip")
    assert data.target.tolist() == [0] and data.summary == "1 good; 1 file skipped"


def test_files_that_cannot_be_read_have_a_line(folder):
    (folder / "img" / "1.png").write_bytes(b"no image")
    with pytest.raises(ImageFileError, match=r"^Line 3 of .*: Cannot read '.*1\.png'"):
        load_images(labelled(folder, "good", "cut"))


def test_empty_lines_of_spreadsheets(folder):
    path = table(folder, "path,label,,", "img/0.png,good,,", ",,,", "img/1.png,cut", "")
    with pytest.raises(ValueError, match="Line 4"):
        load_images(path)
    path = table(folder, "path,label", "img/0.png,good,,", ",,,", "img/1.png,cut", "")
    assert load_images(path).target.tolist() == [0, 1]


def test_backslashes(folder):
    path = table(folder, "path,label", "img\\0.png,good", ".\\img\\1.png,cut")
    assert load_images(path).target.tolist() == [0, 1]


def test_columns_that_are_not_known(folder):
    path = labelled(folder, "good", "cut", header="path,lable")
    with pytest.raises(
        ValueError, match=r"no column 'label', but unknown columns \['lable'\]"
    ):
        load_images(path)
    path = table(folder, "path,label,camera", "img/0.png,good,3", "img/1.png,cut,4")
    with pytest.warns(UnclearDataWarning, match=r"columns \['camera'\] .* are ignored"):
        assert load_images(path).target.tolist() == [0, 1]
    path = table(folder, "path,label,target", "img/0.png,good,0")
    with pytest.raises(
        ValueError, match=r"several columns for the label: \['label', 't"
    ):
        load_images(path)
    assert load_images(table(folder, "path", "img/0.png")).target.tolist() == [0]


def test_an_image_twice(folder):
    lines = ["path,label", "img/0.png,good", "img/1.png,cut", "./img/1.png,cut"]
    with pytest.warns(
        UnclearDataWarning, match="^1 line of .* ignored, because earlier"
    ):
        data = load_images(table(folder, *lines))
    assert data.target.tolist() == [0, 1]
    with pytest.raises(
        ValueError, match=r"two labels: one in line 2 .*, the other in line 4 of"
    ):
        load_images(table(folder, *lines[:3], "img/0.png,cut"))


def test_masks_of_tables(folder):
    put_masks(folder, "m/1.png")
    lines = ["path,label,mask", "img/0.png,good,", "img/1.png,cut,m\\1.png"]
    data = load_images(table(folder, *lines, "img/2.png,cut,NaN"))
    assert data.masks[1].sum() == 6 and data.masks[2] is None
    assert data.summary == "1 good, 2 defects in 1 kind, 1 with masks, 1 without"
    with pytest.raises(ImageFileError, match=r"^Line 3 of .* lists 'm/7\.png'"):
        load_images(table(folder, *lines[:2], "img/1.png,cut,m/7.png"))
    with pytest.raises(ValueError, match=r"0\.png' counts as good, but its mask"):
        load_images(table(folder, lines[0], "img/0.png,good,m/1.png"))
    with pytest.raises(ValueError, match=r"masks=.* together with the table.*column"):
        load_images(table(folder, *lines), masks=folder / "m")


def test_a_table_of_pandas_and_of_a_bunch(folder):
    pandas = pytest.importorskip("pandas")
    put(folder, "all/good/0.png", "all/cut/1.png")
    data = load_images(folder / "all")
    frame = pandas.DataFrame(
        {"path": data.filenames, "label": data.target == 1, "kind": data.kind}
    )
    frame.to_csv(folder / "t.csv", index=False)
    again = load_images(folder / "t.csv")
    assert again.target.tolist() == data.target.tolist()
    assert again.kind.tolist() == data.kind.tolist()
    assert np.array_equal(again.filenames, data.filenames)


def test_groups_of_a_table(folder):
    lines = (
        "img/0.png,good,a",
        "img/1.png,good,",
        "img/2.png,good,a",
        "img/3.png,NG,b",
    )
    groups = load_images(table(folder, "path,label,Group", *lines)).groups
    assert groups[0] == groups[2]
    assert len(set(groups)) == 3
    assert load_images(labelled(folder, "good", "good")).groups is None
    twice = (*lines, "img/0.png,good,b")
    with pytest.raises(ValueError, match="has two groups"):
        load_images(table(folder, "path,label,group", *twice))


def test_groups_by_names_of_files(tmp_path):
    put(tmp_path, "good/p1_a.png", "good/p1_b.png", "good/p2_a.png", "good/x.png")
    groups = load_images(tmp_path, groups=r"(p\d)_").groups
    assert groups[0] == groups[1] and len(set(groups)) == 3
    whole = load_images(tmp_path, groups=r"^(\w+)/").groups
    assert set(whole) == {"good"}
    for pattern, message in (
        ("(", "not a valid regular expression"),
        ("p1", "expected parentheses"),
        ("(q)", "matches none of 4 paths. The first is 'good/p1_a.png'"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            load_images(tmp_path, groups=pattern)

"""Which images to mark, and what a model learns from marks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from _reports import Known, known_images
from _small import make_images
from numpy.testing import assert_array_equal
from PIL import Image

from skfcdd import FCDDSegmenter
from skfcdd.cli import main
from skfcdd.monitoring import select_images
from skfcdd.monitoring._selection import _farthest, _means
from skfcdd.persistence import load, save


def test_what_is_far_above_the_threshold_counts_no_more_than_what_is_just_above():
    looks = np.array([[0.0], [1.0], [5.0], [5.1]])
    assert _farthest(looks, np.ones(4), 3) == [0, 3, 1]
    # Of two alike, the second brings nothing new; a low score has little weight.
    assert _farthest(looks, np.array([1.0, 1.0, 1.0, 0.01]), 3) == [0, 2, 1]


def test_copies_are_chosen_last():
    X, _, _, _ = known_images(40)
    doubled = np.concatenate([X, X])
    rows = select_images(Known(), doubled, 20)
    assert len(set(rows.tolist())) == 20
    assert len(set((rows % 40).tolist())) == 20


def test_chosen_are_the_anomalous_looking():
    X, y, _, _ = known_images(200)
    rows = select_images(Known(), X, 20)
    scores = Known().anomaly_score(X)
    assert scores[rows].min() >= np.sort(scores)[-80]
    assert y[rows].mean() > 1.5 * y.mean()
    assert_array_equal(rows, select_images(Known(), X, 20))


def test_means_over_parts_agree_with_a_slow_reading():
    images = np.random.RandomState(0).uniform(size=(3, 12, 18))
    expected = [
        [
            image[r : r + 2, c : c + 3].mean()
            for r in range(0, 12, 2)
            for c in range(0, 18, 3)
        ]
        for image in images
    ]
    np.testing.assert_allclose(_means(images), expected)
    assert _means(images[:, :4, :3]).shape == (3, 12)


def test_small_pools_and_bad_input():
    X = known_images(5)[0]
    assert sorted(select_images(Known(), X, 9).tolist()) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="n=0"):
        select_images(Known(), X, 0)
    with pytest.raises(ValueError, match="no images"):
        select_images(Known(), X[:0], 3)
    with pytest.raises(TypeError, match="anomaly_score"):
        select_images(object(), X, 3)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A model, its training images, and new images of which nothing is known."""
    root = tmp_path_factory.mktemp("line")
    X, _, _ = make_images(60, n_anomalous=16)
    for folder, rows in (("train/good", range(30)), ("new", range(30, 60))):
        (root / folder).mkdir(parents=True)
        for k in rows:
            Image.fromarray(X[k]).save(root / folder / f"{k:02d}.png")
    code = main(
        [
            "fit",
            str(root / "train"),
            "-o",
            str(root / "model.skfcdd"),
            "--epochs",
            "2",
            "--validation-fraction",
            "0.1",
            "-q",
        ]
    )
    assert code == 0
    return root


def write_marks(path, marks):
    images = [{"name": n, "score": 0.1, "mark": mark} for n, mark in marks.items()]
    review = {"format": "skfcdd-review", "version": 1, "images": images}
    path.write_text(json.dumps(review | {"threshold": 1.0, "model_threshold": 1.0}))
    return path


def marks_of(rows):
    return {f"{k:02d}.png": "defect" if k >= 44 else "good" for k in rows}


def command(line, review, output, *options):
    return main(
        [
            *("update", str(line / "model.skfcdd"), str(line / "new")),
            *("--review", str(review), "--train", str(line / "train")),
            *("-o", str(output), "--epochs", "2", "-q", *options),
        ]
    )


def test_marks_come_back_into_the_model(line, tmp_path, capsys):
    review = write_marks(tmp_path / "marks.json", marks_of(range(38, 52)))
    output = tmp_path / "new.skfcdd"
    assert command(line, review, output) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["n_images"], told["n_marked"], told["n_marked_defects"]) == (44, 14, 8)
    first, updated = load(line / "model.skfcdd"), load(output)
    assert len(updated.history_) == len(first.history_) + 2
    assert updated.get_params()["warm_start"] is False
    assert updated.get_params()["max_epochs"] == 2
    assert updated.image_shape_ == first.image_shape_
    # The threshold rests on good images that neither training has seen.
    X, _, _ = make_images(60, n_anomalous=16)
    used = updated._fitted.used
    digests = updated._check_images(X).digests()
    trained_first = first._fitted.used.known(digests)
    assert used.known(digests)[trained_first].all()
    new_good = ~used.known(digests[:44])
    assert told["n_calibration"] == len(updated.calibration_scores_) <= new_good.sum()
    scores = updated.anomaly_score(X[:44][new_good])
    for score in updated.calibration_scores_:
        assert np.isclose(scores, score, rtol=1e-4).any()


def test_a_mark_puts_an_image_of_before_right(line, tmp_path, capsys):
    folder = line / "train"
    review = write_marks(
        tmp_path / "marks.json", {"good/03.png": "defect", "good/04.png": "good"}
    )
    code = main(
        [
            *(
                "update",
                str(line / "model.skfcdd"),
                str(folder),
                "--review",
                str(review),
            ),
            *(
                "--train",
                str(folder),
                "-o",
                str(tmp_path / "m.skfcdd"),
                "--epochs",
                "1",
            ),
            "-q",
        ]
    )
    assert code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["n_images"], told["n_corrected"]) == (30, 1)


def test_marks_that_do_not_fit_are_refused(line, tmp_path, capsys):
    output = tmp_path / "new.skfcdd"
    unknown = write_marks(tmp_path / "a.json", {"99.png": "good"})
    assert command(line, unknown, output) == 1
    assert "99.png" in capsys.readouterr().err
    nothing = write_marks(tmp_path / "b.json", {"31.png": "unsure"})
    assert command(line, nothing, output) == 1
    assert "nothing to learn" in capsys.readouterr().err
    (tmp_path / "c.json").write_text("{}")
    assert command(line, tmp_path / "c.json", output) == 1
    assert not output.exists()
    output.write_text("mine")
    good = write_marks(tmp_path / "d.json", marks_of(range(40, 50)))
    assert command(line, good, output) == 1
    assert output.read_text() == "mine"


def test_only_what_can_be_trained_is_updated(line, tmp_path, capsys):
    X, _, masks = make_images(20, n_anomalous=8)
    path = save(FCDDSegmenter(max_epochs=1).fit(X, masks), tmp_path / "seg.skfcdd")
    review = write_marks(tmp_path / "marks.json", marks_of(range(40, 50)))
    known = [str(line / "new"), "--review", str(review), "--train", str(line / "train")]
    assert main(["update", str(path), *known]) == 1
    assert "segmenters learn from masks" in capsys.readouterr().err


def test_command_selects_and_leaves_out_what_is_marked(line, tmp_path, capsys):
    page = tmp_path / "to_mark.html"
    start = ["select", str(line / "model.skfcdd"), str(line / "new"), "-o", str(page)]
    assert main([*start, "-n", "6", "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["chosen"]) == 6
    text = page.read_text(encoding="utf-8")
    assert all(json.dumps(name) in text for name in told["chosen"])
    review = write_marks(tmp_path / "marks.json", dict.fromkeys(told["chosen"], "good"))
    assert main([*start, "-n", "99", "--review", str(review), "--json", "-q"]) == 0
    rest = json.loads(capsys.readouterr().out)["chosen"]
    assert len(rest) == 24
    assert not set(rest) & set(told["chosen"])
    every = write_marks(tmp_path / "all.json", marks_of(range(30, 60)))
    assert main([*start, "--review", str(every)]) == 1
    assert "already have a mark" in capsys.readouterr().err

"""The command line."""

from __future__ import annotations

import pytest
from PIL import Image

import skfcdd
from skfcdd.cli import main


def test_demo_prints_figures_and_writes_a_picture(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("skfcdd._demo._IMAGE_SIZE", 32)
    monkeypatch.setattr("skfcdd._demo._N_SAMPLES", 100)
    picture = tmp_path / "demo.png"
    assert main(["demo", "--epochs", "2", "--output", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "image AUROC 0." in printed
    assert "pixel AUROC 0." in printed
    with Image.open(picture) as image:
        assert min(image.size) > 300


def test_demo_that_cannot_write(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path / "none" / "demo.png")]) == 1
    assert "no folder" in capsys.readouterr().err


def test_help_and_wrong_arguments(capsys):
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--texture", "velvet"])
    assert "brushed_metal" in capsys.readouterr().err


def test_version_is_that_of_the_package():
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("skfcdd")
    except PackageNotFoundError:
        pytest.skip("the package is not installed")
    assert skfcdd.__version__ == installed

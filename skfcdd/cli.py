"""The command line: ``skfcdd demo``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        The arguments; None takes those of the process.

    Returns
    -------
    int
        0 if all went well, 1 if a file could not be written. Wrong arguments end the
        process with 2.

    Examples
    --------
    >>> from skfcdd.cli import main
    >>> main([])  # doctest: +ELLIPSIS
    usage: skfcdd ...
    0
    """
    parser = argparse.ArgumentParser(
        prog="skfcdd", description="Find anomalies in images, and show where they are."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="train on generated surfaces, print AUROC, and write a picture",
        description="Train on generated images of a surface without defects, test on "
        "images with defects, print image and pixel AUROC, and write a picture of "
        "the heatmaps.",
    )
    demo.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("skfcdd_demo.png"),
        help="the picture (default: %(default)s)",
    )
    demo.add_argument(
        "--texture",
        default="fabric",
        choices=["fabric", "brushed_metal", "wood", "tablets"],
        help="the surface (default: %(default)s)",
    )
    demo.add_argument(
        "--epochs", type=int, default=None, help="passes over the training images"
    )
    demo.add_argument(
        "--seed", type=int, default=0, help="seed of the chance (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    return _demo(arguments)


def _demo(arguments: argparse.Namespace) -> int:
    from skfcdd._demo import run_demo

    try:
        run_demo(
            arguments.output,
            texture=arguments.texture,
            max_epochs=arguments.epochs,
            seed=arguments.seed,
        )
    except (OSError, ImportError, ValueError) as error:
        print(f"skfcdd demo: {error}", file=sys.stderr)
        return 1
    return 0

"""The command line: ``skfcdd fit``, ``predict``, ``evaluate``, ``report``, ...."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from skfcdd.cli import _console as console
from skfcdd.cli import _options as options
from skfcdd.cli._choices import Kind, Layout, OnError, Rows, Texture

__all__ = ["main"]

P = ParamSpec("P")

app = typer.Typer(
    name="skfcdd",
    help="Find anomalies in images, and show where they are.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _no_command(context: typer.Context) -> None:
    """Find anomalies in images, and show where they are."""
    if context.invoked_subcommand is None:
        print(context.get_help())


Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1.")]
Broken = Annotated[
    OnError, typer.Option(help="What to do with files that cannot be read.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Saved = Annotated[Path, typer.Argument(help="A model: .skfcdd, or .onnx.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        The arguments; None takes those of the process.

    Returns
    -------
    int
        0 if all went well; 1 if a file could not be read, written or used; 2 if the
        arguments are wrong; 130 if the user stopped it. Nothing half-written is left.

    Examples
    --------
    >>> from skfcdd.cli import main
    >>> main(["info", "no_such_model.skfcdd"])
    1
    """
    try:
        app(args=argv, prog_name="skfcdd")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def _command(function: Callable[P, None]) -> Callable[P, None]:
    """Add a command; what goes wrong in it becomes a line and an exit code."""

    @functools.wraps(function)
    def careful(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with console.plain_warnings():
                function(*args, **kwargs)
        except KeyboardInterrupt as stop:
            print("Stopped.", file=sys.stderr)
            raise typer.Exit(130) from stop
        except BrokenPipeError as stop:  # the reader of the output has seen enough
            raise typer.Exit(0) from stop
        except (typer.Exit, typer.BadParameter):
            raise
        except (OSError, ImportError, ValueError, RuntimeError) as error:
            if (usage := options.usage_error(error)) is not None:
                raise usage from error
            print(f"skfcdd: {error}", file=sys.stderr)
            raise typer.Exit(1) from error

    return app.command()(careful)


@_command
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture.")] = Path(
        "skfcdd_demo.png"
    ),
    texture: Annotated[Texture, typer.Option(help="The surface.")] = Texture.fabric,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training images.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the chance.")] = 0,
) -> None:
    """Train on generated surfaces, print AUROC, and write a picture of heatmaps."""
    from skfcdd.cli._demo import run_demo

    run_demo(output, texture=texture.value, max_epochs=epochs, seed=seed)


@_command
def fit(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Good images; or a folder for each kind, one of them 'good'; or the "
            "layout of MVTec-AD; or a CSV file with path, label, mask and split."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model to write.")
    ] = Path("model.skfcdd"),
    kind: Annotated[
        Kind, typer.Option(help="Verdicts on images, or on pixels.")
    ] = Kind.classifier,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks. Default: ground_truth beside the images."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Size that images are brought to: 256, or 256x320 (height x width). "
            "Default: their median, with a shorter side of at most 128."
        ),
    ] = None,
    keep_aspect: Annotated[
        bool, typer.Option("--keep-aspect", help="Fill up instead of stretching.")
    ] = False,
    backbone: Annotated[
        str, typer.Option(help="The network; see the documentation for names.")
    ] = "auto",
    weights: Annotated[
        str,
        typer.Option(help="auto, imagenet, a file with weights, or none for random."),
    ] = "auto",
    frozen: Annotated[
        int | None,
        typer.Option(min=0, help="Stages of the network not to train. Default: auto."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the images. Default: auto.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images in a batch.")] = 16,
    pooling: Annotated[
        str, typer.Option(help="Score of an image: mean, max, or a share such as 0.02.")
    ] = "mean",
    synthetic: Annotated[
        str, typer.Option(help="Anomalies to plant on good images.")
    ] = "mixed",
    normalize: Annotated[
        str,
        typer.Option(help="auto, standard, contrast, imagenet, flat-field or local."),
    ] = "auto",
    contamination: Annotated[
        float, typer.Option(help="Share of good images that may be called anomalous.")
    ] = 0.05,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(help="Guarantee this rate of false alarms instead."),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the chance.")] = 0,
    note: Annotated[str | None, typer.Option(help="A note to keep with it.")] = None,
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Train on the images of a folder, and write the model to one file."""
    from skfcdd.cli import _commands
    from skfcdd.thresholds import FalseAlarmRate

    params: dict[str, Any] = {
        "backbone": backbone,
        "weights": None if weights == "none" else weights,
        "frozen": "auto" if frozen is None else frozen,
        "batch_size": batch_size,
        "score_pooling": options.pooling(pooling),
        "synthetic": synthetic,
        "normalize": normalize,
        "contamination": contamination,
        "device": device,
        "random_state": seed,
    }
    if epochs is not None:
        params["max_epochs"] = epochs
    if false_alarm_rate is not None:
        params["threshold"] = FalseAlarmRate(false_alarm_rate)
    with console.progress("training", quiet) as progress:
        summary = _commands.fit(
            folder,
            output,
            kind=kind.value,
            masks=masks,
            size=console.pair(size),
            keep_aspect=keep_aspect,
            on_error=on_error.value,
            note=note,
            params=params,
            say=console.say(quiet),
            progress=progress,
        )
    print(json.dumps(summary))


@_command
def predict(
    model: Saved,
    folder: Annotated[Path, typer.Argument(help="A folder, a table, or an image.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The table. Default: standard output."),
    ] = None,
    rows: Annotated[Rows, typer.Option("--format", help="Form of it.")] = Rows.csv,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures: the heatmap over each image, with an outline "
            "around what is marked, verdict, score and threshold."
        ),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            help="Of these pictures: overlay, the image side-by-side with it, or the "
            "parts of the heatmap too."
        ),
    ] = Layout.overlay,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Score images: a row each with path, score, probability and verdict.

    Of models with a memory of normal features, a row also says how much of the score
    comes from what was never seen before, from 0 to 1.
    """
    from skfcdd.cli import _commands

    if layout is not Layout.overlay and heatmaps is None:
        raise typer.BadParameter(
            f"--layout {layout.value} is about pictures: name their folder, --heatmaps."
        )
    loaded = _commands.Model(model, device)
    with (
        _commands.rows_writer(output, rows is Rows.jsonl) as write,
        console.progress("scoring", quiet) as progress,
    ):
        for row in _commands.predict(
            loaded,
            folder,
            on_error=on_error.value,
            heatmaps=heatmaps,
            layout=layout.value,
            say=console.say(quiet),
            progress=progress,
        ):
            write(row)


@_command
def evaluate(
    model: Saved,
    folder: Annotated[
        Path, typer.Argument(help="Labelled images: a folder for each kind, or CSV.")
    ],
    masks: Annotated[Path | None, typer.Option(help="Folder of masks.")] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Measure a model on labelled images, over all and by kind of defect."""
    from skfcdd.cli import _commands

    loaded = _commands.Model(model, device)
    with console.progress("scoring", quiet) as progress:
        figures = _commands.evaluate(
            loaded,
            folder,
            masks=masks,
            on_error=on_error.value,
            say=console.say(quiet),
            progress=progress,
        )
    console.print_figures(figures, as_json)


@_command
def report(
    model: Saved,
    folder: Annotated[
        Path,
        typer.Argument(
            help="Images: a folder for each kind, one of them 'good'; the layout of "
            "MVTec-AD; a CSV file; or a folder of images that nothing is known of."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The HTML file to write.")
    ] = Path("report.html"),
    masks: Annotated[Path | None, typer.Option(help="Folder of masks.")] = None,
    title: Annotated[str | None, typer.Option(help="Headline of the report.")] = None,
    review: Annotated[
        Path | None, typer.Option(help="Marks to begin with, as a report exports them.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Show at most so many images, wrong verdicts first."),
    ] = None,
    max_side: Annotated[
        int, typer.Option(min=1, help="Longer side of the pictures, in pixels.")
    ] = 256,
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Compress pictures. Default: keep all."),
    ] = None,
    device: Device = "auto",
    on_error: Broken = OnError.stop,
    quiet: Quiet = False,
) -> None:
    """Write an HTML page to look through images, move the threshold, and mark."""
    from skfcdd.cli import _commands, _report

    loaded = _commands.Model(model, device)
    with console.progress("explaining", quiet) as progress:
        info = _report.report(
            loaded,
            folder,
            output,
            masks=masks,
            title=title,
            review=review,
            n_images=images,
            max_side=max_side,
            quality=quality,
            on_error=on_error.value,
            say=console.say(quiet),
            progress=progress,
        )
    print(info)


@_command
def export(
    model: Annotated[Path, typer.Argument(help="A model: .skfcdd.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file.")],
) -> None:
    """Write a model as ONNX, and measure that it answers alike."""
    from skfcdd.export import to_onnx
    from skfcdd.persistence import load

    print(to_onnx(load(model, device="cpu"), output))


@_command
def info(
    model: Annotated[Path, typer.Argument(help="A model: .skfcdd.")],
    as_json: AsJson = False,
) -> None:
    """Say what a model is, with what it was made, and how it decides."""
    from skfcdd.persistence import read_info
    from skfcdd.persistence._calibration import told_calibration

    found = read_info(model)
    if as_json:
        print(json.dumps(found))
        return
    fitted = found["model"]
    shown = {
        "class": found["class"],
        "backbone": fitted["network"]["backbone"] or "of your own",
        "first weights": fitted["network"]["weights"] or "random",
        "image shape (h, w, c)": fitted["images"]["shape"]["tuple"],
        "threshold": fitted["threshold"],
        "calibration": told_calibration(fitted),
        "numbers": found["n_numbers"],
        "note": found["note"],
        "metrics": found["metrics"],
        "versions": found["versions"],
        "parameters": {k: v for k, v in found["parameters"].items() if v is not None},
    }
    console.print_figures(shown, as_json=False)

"""Command-line interface: ``skfcdd fit``, ``skfcdd predict`` and other commands."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import typer

from skfcdd.cli import _console as console
from skfcdd.cli import _options as options
from skfcdd.cli.commands.calibrate import calibrate
from skfcdd.cli.commands.card import card
from skfcdd.cli.commands.compare import compare
from skfcdd.cli.commands.demo import demo
from skfcdd.cli.commands.evaluate import evaluate
from skfcdd.cli.commands.export import export
from skfcdd.cli.commands.fit import fit
from skfcdd.cli.commands.info import info
from skfcdd.cli.commands.predict import predict
from skfcdd.cli.commands.report import report
from skfcdd.cli.commands.select import select
from skfcdd.cli.commands.serve import serve
from skfcdd.cli.commands.split import split
from skfcdd.cli.commands.update import update
from skfcdd.cli.commands.watch import watch

__all__ = ["main"]

P = ParamSpec("P")

# In the order shown by ``--help``. Each command is named after its function.
COMMANDS: tuple[Callable[..., None], ...] = (
    demo,
    split,
    fit,
    evaluate,
    compare,
    predict,
    watch,
    serve,
    report,
    select,
    update,
    calibrate,
    export,
    info,
    card,
)

app = typer.Typer(
    name="skfcdd",
    help="Detect and localise anomalies in images.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _no_command(context: typer.Context) -> None:
    """Detect and localise anomalies in images."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        Command-line arguments without the program name. None uses ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit code: 0 for success; 1 for an error, such as an unreadable file; 2 for
        invalid arguments; 3 if ``compare`` did not show that the new model is good
        enough; 130 if interrupted by the user. Output files are never incomplete.

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


def _careful(function: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command so that an error is reported as one line and an exit code."""

    @functools.wraps(function)
    def careful(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with console.plain_warnings():
                function(*args, **kwargs)
        except KeyboardInterrupt as stop:
            print("Interrupted.", file=sys.stderr)
            raise typer.Exit(130) from stop
        except BrokenPipeError as stop:  # the program that reads the output has ended
            raise typer.Exit(0) from stop
        except (typer.Exit, typer.BadParameter):
            raise
        except (OSError, ImportError, ValueError, RuntimeError) as error:
            if (usage := options.usage_error(error)) is not None:
                raise usage from error
            print(f"skfcdd: {options.spoken(str(error))}", file=sys.stderr)
            raise typer.Exit(1) from error

    return careful


def _add(command: Callable[..., Any]) -> None:
    app.command(command.__name__)(_careful(command))


for _command in COMMANDS:
    _add(_command)

"""Reading and formatting the results of the benchmarks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"

Rows = list[list[str]]
Record = dict[str, Any]


def read(name: str) -> Any:
    """Return the rows of a results file."""
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def share(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """Format a number below 1 without the zero before its decimal point."""
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def spread(values: Iterable[float], *, sign: bool = False) -> str:
    """Format the mean and the standard deviation over seeds."""
    figures = list(values)
    return f"{share(mean(figures), sign=sign)} ± {share(stdev(figures))}"


def interval(figure: list[float] | None, *, sign: bool = False) -> str:
    """Format a value with its interval, or a missing value as a dash."""
    if figure is None:
        return "-"
    value, low, high = (share(x, sign=sign) for x in figure)
    return f"{value} ({low} to {high})"

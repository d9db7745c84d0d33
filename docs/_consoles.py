"""Sample output of the command line, from results/command_line.json.

A sample stands in a page between ``<!-- console: NAME -->`` and
``<!-- end of console -->``, and is inserted with the tables of `_tables`.
"""

from __future__ import annotations

import re
import textwrap

from _results import read

WIDTH = 92  # of a block of code on a wide screen


def render(name: str) -> str:
    """The command and its output, wrapped as by a terminal."""
    found = read("command_line")[name]
    # Versions and all parameters take a screen of their own.
    lines = [
        f"{line[: WIDTH - 4]} ..." if "{'" in line else line for line in found["output"]
    ]
    if found["command"]:
        lines.insert(0, f"$ skfcdd {found['command']}")
    wrapped = [part for line in lines for part in _wrap(line)]
    return "\n".join(["```console", *wrapped, "```"])


def fill(text: str) -> str:
    """Put every sample into its place."""
    block = r"(<!-- console: (\w+) -->\n).*?(<!-- end of console -->)"
    return re.sub(
        block,
        lambda found: f"{found[1]}\n{render(found[2])}\n\n{found[3]}",
        text,
        flags=re.S,
    )


def _wrap(line: str) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    ) or [""]

"""Sample output of the command line, from results/command_line.json.

In a page, a sample is enclosed by ``<!-- console: NAME -->`` and
``<!-- end of console -->``. `_tables` inserts it together with the tables.
"""

from __future__ import annotations

import re
import textwrap

from _results import read

WIDTH = 92  # characters in a code block on a wide screen


def render(name: str) -> str:
    """Return the command and its output, wrapped as in a terminal."""
    found = read("command_line")[name]
    # Lines with dicts, such as versions and parameters, would fill a whole screen.
    lines = [
        f"{line[: WIDTH - 4]} ..." if "{'" in line else line for line in found["output"]
    ]
    if found["command"]:
        lines.insert(0, f"$ skfcdd {found['command']}")
    wrapped = [part for line in lines for part in _wrap(line)]
    return "\n".join(["```console", *wrapped, "```"])


def fill(text: str) -> str:
    """Insert every sample into the text of a page."""
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

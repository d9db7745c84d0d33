"""HTML file of the report, and its content security policy."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import IO, Any

__all__ = ["Document"]

_SCRIPTS = (
    "state.js",
    "drawing.js",
    "figures.js",
    "gallery.js",
    "errors.js",
    "review.js",
    "view.js",
    "main.js",
)
# Width of the field for the file size in the page, which states its own size.
_DIGITS = 15


class Document:
    """Writer of the HTML file, which is written sequentially.

    Parameters
    ----------
    file : binary file
        Empty file, open for writing.
    title : str
        Title; it may contain any characters.
    """

    def __init__(self, file: IO[bytes], title: str) -> None:
        self.file = file
        style, theme = _read("page.css"), _read("theme.js")
        script = "\n".join(map(_read, _SCRIPTS))
        self._script = f'(() => {{\n"use strict";\n{script}}})();\n'
        parts = {
            "policy": html.escape(_policy([theme, self._script], style)),
            "title": html.escape(title),
            "theme": theme,
            "style": style,
        }
        head, self._tail = _read("page.html").split("<!-- pictures -->")
        pieces = re.split(r"<!-- (\w+) -->", head)
        pieces[1::2] = [parts[name] for name in pieces[1::2]]
        self._write("".join(pieces))

    def add_picture(self, row: int, parts: Sequence[str], thumb: str = "") -> None:
        """Write the encoded pictures of an image, which scripts of the page read.

        They are data URLs and SVG paths, which contain no special characters.
        """
        self._add_text(f"p{row}", "\n".join(parts))
        if thumb:
            self._add_text(f"t{row}", thumb)

    def _add_text(self, name: str, text: str) -> None:
        self._write(f'<script type="text/plain" id="{name}">{text}</script>\n')

    def finish(self, data: dict[str, Any]) -> int:
        """Write the data and the scripts of the page; return its size in bytes."""
        before, between, after = re.split(r"<!-- (?:data|script) -->", self._tail)
        rest = _json(data)[1:]
        end = f"{rest}{between}{self._script}{after}".encode()
        start = f'{before}{{"n_bytes":'.encode()
        size = self.file.tell() + len(start) + _DIGITS + 1 + len(end)
        self.file.write(start + f"{size:{_DIGITS}d},".encode() + end)
        return size

    def _write(self, text: str) -> None:
        self.file.write(text.encode())


def _read(name: str) -> str:
    return (files("skfcdd.report") / "page" / name).read_text(encoding="utf-8")


def _policy(scripts: list[str], style: str) -> str:
    """Return a content security policy that allows only the scripts of the page.

    It blocks scripts and styles injected through a file name, and all network requests.
    """
    own = " ".join(f"'{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src {own}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _json(data: Any) -> str:
    """Encode data as JSON that can be embedded in a script element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text

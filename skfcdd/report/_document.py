"""The HTML file: its parts in order, and its content security policy."""

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
# Digits that the size of the file is written with, so that it is known beforehand.
_DIGITS = 15


class Document:
    """An HTML file that is written from its beginning to its end.

    Parameters
    ----------
    file : binary file
        Open for writing, and empty.
    title : str
        Any text.
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
        """Texts that belong to an image; a script of the page will ask for them.

        They are addresses of data and paths of SVG, without any special characters.
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

    No script or style injected through a file name can run, and nothing can be
    fetched.
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
    """JSON that can stand in a page: none of its text can end a script."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text

"""HTML pages without scripts, in the style of the report."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from importlib.resources import files

__all__ = ["escaped", "page", "panel", "table"]


def escaped(text: object) -> str:
    """Escape a text for use in HTML."""
    return html.escape(str(text))


def page(title: str, *parts: str) -> str:
    """Return a page with parts in HTML; it can neither run scripts nor load files."""
    style = (files("skfcdd.report") / "page" / "static.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        f"base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<h1 dir="auto">{escaped(title)}</h1>\n<main>\n{"".join(parts)}</main>\n'
        "</body>\n</html>\n"
    )


def panel(heading: str, *parts: str) -> str:
    """Return a section of a page with a heading."""
    inner = "\n".join(parts)
    return (
        f'<section class="panel">\n<h2>{escaped(heading)}</h2>\n{inner}\n</section>\n'
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with cells in HTML; the first cell of each row is its header."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(f"<td>{cell}</td>" for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    start = f"<thead><tr>{head}</tr></thead>\n" if header else ""
    look = "" if header else ' class="facts"'
    return f"<table{look}>\n{start}<tbody>\n{body}</tbody>\n</table>"

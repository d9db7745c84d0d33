"""The prose of docstrings, comments and pages avoids words that puzzle readers."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What not to write, and what to write instead.
HABITS = {
    r"\balone\b": "only",
    r"\banew\b": "again",
    r"\banswer(s|ed)?\b": "return, respond, match",
    r"\bbehind\b": "after",
    r"\bbeside\b": "next to, besides",
    r"\b(bring(s|ing)?|brought)\b": "raise, improve, resize, convert",
    r"\bbroken? off\b": "interrupted",
    r"\bby (itself|themselves)\b": "automatically, separately",
    r"\bchance\b(?! (level|:))": "random state, seed, randomness",
    r"\bfigures? of (merit|images|pixels)\b": "metrics",
    r"\b(give|gives|given|giving) out\b": "return",
    r"\bgo(es)? on\b": "continue",
    r"\bin silence\b": "silently",
    r"\bmend(s|ed)?\b": "fix, correct",
    r"\b(nobody|somebody|whoever)\b": "name the subject, or use the passive",
    r"(?<!\ball )(?<!\bany )(?<!\bsome )\bof which\b": "whose, or a new sentence",
    r"\bone's\b": "your, custom",
    r"\bplant(ed|s|ing)\b": "synthetic, draw",
    r"\bprocessors?\b": "CPU",
    r"\b(work|works|worked) off\b": "process",
    r"\bso many\b": "this many, at most",
    r"\btakes? no part\b": "is ignored",
    r"\btells? (how|nothing|of|what|where|whether|which)\b": "show, state",
    r"\btold\b": "shown, known, distinguished",
    r"\b(also|else|even|None|not|only|True) where\b": "if, when",
    r"\bwhere (it|one|they|there) (are|asks?|can|has|have|is|was|were)\b": "if, when",
    r"(^|(?<=[.:] ))(What|Who)\b(?![^.]*\?)": "a noun phrase or an imperative",
    r"^ *~": "the name without ~, which is rendered literally here",
}

# Files that still have some of these. Take a file off when it has none: the list may
# only become shorter.
NOT_YET = {
    "examples/plot_drift.py",
    "examples/plot_learning_from_marks.py",
    "examples/plot_threshold_with_a_guarantee.py",
}

SOURCES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/*.py", "skfcdd/**/*.py")
    for path in ROOT.glob(pattern)
    if not {"_build", "generated", "auto_examples"} & set(path.parts)
)

_HABITS = [
    (re.compile(habit, 0 if "What" in habit else re.I), better)
    for habit, better in HABITS.items()
]


def _docstrings(tree):
    """First line and text of all strings that stand for themselves."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield node.lineno, value.value


def _prose_of_code(text):
    """Line numbers and prose; examples and quoted names are no prose."""
    for start, content in _docstrings(ast.parse(text)):
        lines = content.splitlines()
        for i, line in enumerate(lines):
            if not line.lstrip().startswith((">>>", "...")):
                yield start + i, line
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def _prose_of_page(text):
    text = re.sub(
        r"^( *)(```|~~~|:::).*?^\1\2 *$|<!-- table.*?<!-- end of table -->",
        lambda found: "\n" * found[0].count("\n"),
        text,
        flags=re.S | re.M,
    )
    for number, line in enumerate(text.splitlines(), 1):
        yield number, re.sub(r"\]\([^)]*\)", "]", line)


@cache
def _found(name):
    text = (ROOT / name).read_text()
    prose = _prose_of_code if name.endswith(".py") else _prose_of_page
    return [
        f"{name}:{number}: {found[0].strip()!r}, better: {better}"
        for number, line in prose(text)
        for habit, better in _HABITS
        for found in habit.finditer(re.sub(r"`+[^`]*`+|\"[^\"]*\"", "``", line))
    ]


@pytest.mark.parametrize("name", [s for s in SOURCES if s not in NOT_YET])
def test_prose_is_plain(name):
    found = _found(name)
    assert not found, "\n" + "\n".join(found)


def test_list_of_files_to_convert_only_shrinks():
    assert set(SOURCES) >= NOT_YET
    assert not sorted(name for name in NOT_YET if not _found(name))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"""What came in as X."""', 1),
        ('"""Chance of the split."""', 1),
        ('"""None where it is not known."""', 2),
        ("x = 1  # behind the layer", 1),
        ('"""Do it.\n\n    >>> alone\n    """', 0),
        ('x = "alone"', 0),
        ('"""Return `behind`, or "told"."""', 0),
        ('"""Raises.\n\n    ~skfcdd.exceptions.CollapseWarning\n    """', 1),
    ],
)
def test_check_finds_what_it_should(text, found, tmp_path):
    path = tmp_path / "file.py"
    path.write_text(text)
    assert len(_found(str(path))) == found


# Parameters and attributes whose meaning differs between the estimators.
OF_ITS_OWN = {
    "anomaly_label",
    "contamination",
    "pixel_loss",
    "pixel_threshold_",
    "threshold",
    "threshold_",
}


def _described(name):
    """Text of each parameter and attribute of the estimator in a module."""
    tree = ast.parse((ROOT / "skfcdd" / name).read_text())
    docs = [ast.get_docstring(n) for n in tree.body if isinstance(n, ast.ClassDef)]
    sections = docs[0].split("Parameters\n", 1)[1].split("\n\nNotes\n", 1)[0]
    entries = re.split(r"^(?=\w+ : )", sections, flags=re.M)[1:]
    texts = (entry.split("\n\n", 1)[0].rstrip().split(" : ", 1) for entry in entries)
    return dict(texts)


def test_estimators_describe_what_they_share_in_the_same_words():
    found = [_described(f"_{n}.py") for n in ("classifier", "detector", "segmenter")]
    assert min(map(len, found)) > 50
    differing = {
        name
        for name in set().union(*found)
        if len({described[name] for described in found if name in described}) > 1
    }
    assert differing == OF_ITS_OWN


if __name__ == "__main__":  # what there is to convert
    print(*(line for name in SOURCES for line in _found(name)), sep="\n")

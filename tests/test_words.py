"""Docstrings, comments, messages and pages avoid words that puzzle readers."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_STEMS = (
    "general|initial|local|maxim|minim|normal|optim|random|recogn|special|standard|"
    "summar|visual"
)

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
    r"\bcall(ed|s)? (anomalous|normal)\b": "classified as, flagged",
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
    rf"\b({_STEMS})iz(e|es|ed|ing|ation)\b(?! :| Input|=)": "-ise",
    r"\b(behavior|gray|neighbor|labeled|favor)(s|ed|hood)?\b": "British spelling",
    r"\bgreatest\b": "highest, largest, maximum",
    r"\bgreater (loss|gain|score)s?\b": "higher, larger",
    r"^ *~": "the name without ~, which is rendered literally here",
}

# Further habits of messages: errors, warnings and the command line.
HABITS_OF_MESSAGES = {
    r"(?<!\bto )\b[Gg]ive\b": "pass, set, provide",
    r"\bTake\b": "use, choose",
    r"\bleave (it|them|out|[\w=]+ out)\b": "omit",
    r"(?<!there )\bis no (?!longer|larger)": "is not a",
    r"\bbe told\b": "be distinguished",
    r"\b(go|goes|going) on\b": "continue, resume",
    r"\bnothing says\b": "it is unknown",
    r"\bcut off\b": "truncated",
    r"\btexts\b": "strings",
    r"\bName (another|two|the folder)\b": "choose, pass",
}

SOURCES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/*.py", "skfcdd/**/*.py")
    for path in ROOT.glob(pattern)
    if not {"_build", "generated", "auto_examples"} & set(path.parts)
)


def _compiled(habits):
    # Where a habit names a capital, only that is meant.
    return [
        (re.compile(habit, 0 if re.search("[A-Z]", habit) else re.I), better)
        for habit, better in habits.items()
    ]


_HABITS, _OF_MESSAGES = _compiled(HABITS), _compiled(HABITS | HABITS_OF_MESSAGES)


def _docstrings(tree):
    """First line and text of all strings that stand for themselves."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield node.lineno, value.value


def _messages(text):
    """First line and text of strings of several words, without their placeholders."""
    tree = ast.parse(text)
    known = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):  # a string before its parts
        if isinstance(node, ast.JoinedStr):
            known |= {id(part) for part in node.values}
            parts = [getattr(part, "value", "") for part in node.values]
            words = "{}".join(part for part in parts if isinstance(part, str))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = "" if id(node) in known else node.value
        else:
            continue
        if len(words.split()) > 3:
            yield node.lineno, words


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
    if not name.endswith(".py"):
        checked = [(_HABITS, _prose_of_page(text))]
    else:
        checked = [(_HABITS, _prose_of_code(text)), (_OF_MESSAGES, _messages(text))]
    return [
        f"{name}:{number}: {found[0].strip()!r}, better: {better}"
        for habits, lines in checked
        for number, line in lines
        for habit, better in habits
        for found in habit.finditer(re.sub(r"`+[^`]*`+|\"[^\"]*\"", "``", line))
    ]


@pytest.mark.parametrize("name", SOURCES)
def test_prose_is_plain(name):
    found = _found(name)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"""What came in as X."""', 1),
        ('"""Chance of the split."""', 1),
        ('"""None where it is not known."""', 2),
        ("x = 1  # behind the layer", 1),
        ('"""Do it.\n\n    >>> alone\n    """', 0),
        ('x = "alone"', 0),
        ('x = "Trained on normal images alone."', 1),
        ('x = f"{path} is no model. Give {n} others."', 2),
        ('x = "There is no file. This is no longer used."', 0),
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


if __name__ == "__main__":
    print(*(line for name in SOURCES for line in _found(name)), sep="\n")

"""A model whose answers are known, and what stands in a report."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (12, 16)
HOSTILE = [
    "<img onerror=alert(1) src=x>.png",
    "</script><script>alert(1)</script>.png",
    "<!-- <script> .png",
    "\"quoted\" & 'single' `tick` ${1}.png",
    "=HYPERLINK(0).png",
    "+1.png",
    "-1+2.png",
    "@SUM(1).png",
    "\t=1.png",
    "'=1.png",
    "a,b;c\nd\re.png",
    "\u202egnp.evil",
    "__proto__",
    "constructor",
    "ünï☃\u2028\U0001f9ea.png",
    "\uff1d1.png",
    "x" * 300,
]


class Known:
    """The heatmap is the image, on a scale of its own; its mean is the score."""

    classes_ = np.array([0, 1])
    channels = None
    image_shape_ = (*SIZE, 1)
    heatmap_scale_ = (0.5, 4.0)

    def __init__(self, threshold=0.5):
        self.threshold_ = threshold
        self.batches = []

    def explain(self, X):
        self.batches.append(len(X))
        values = np.asarray(X, dtype=np.float32) / 255
        return (20 * values**2).reshape(len(values), *SIZE)

    def anomaly_score(self, X):
        return self.explain(X).mean(axis=(1, 2), dtype=np.float64)


def known_images(n=40, seed=0):
    """Images, labels, masks and kinds; defects are bright, and some of them faint."""
    rng = np.random.RandomState(seed)
    images = rng.randint(10, 60, (n, *SIZE))
    y = (np.arange(n) % 3 == 0).astype(int)
    masks = np.zeros((n, *SIZE), dtype=bool)
    for i in np.flatnonzero(y):
        top, left = rng.randint(0, 6), rng.randint(0, 9)
        masks[i, top : top + 5, left : left + 6] = True
        images[i] += (masks[i] * rng.randint(10, 190)).astype(int)
    images[1] += 90  # a good image that looks like a defect
    kinds = [["good", "scratch", "dent"][k] for k in y + (np.arange(n) % 2) * y]
    return images.clip(0, 255).astype(np.uint8), y, masks, kinds


def edges_of(mask):
    """Edges between a pixel of a mask and one outside: an independent, slow count."""
    h, w = mask.shape
    inside = {(y, x) for y in range(h) for x in range(w) if mask[y, x]}
    across = {
        (y + d, x)
        for y, x in inside
        for d in (0, 1)
        if (y + 2 * d - 1, x) not in inside
    }
    down = {
        (y, x + d)
        for y, x in inside
        for d in (0, 1)
        if (y, x + 2 * d - 1) not in inside
    }
    return across, down


class Page(HTMLParser):
    """A report as a browser takes it apart, without running it."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self._open = [], [], []
        self.feed(Path(path).read_text(encoding="utf-8"))
        self.close()
        blocks = {a["id"]: text for tag, a, text in self.texts if "id" in a}
        self.data = json.loads(blocks["data"])
        self.pictures = {
            int(name[1:]): text.split("\n")
            for name, text in blocks.items()
            if name[0] == "p" and name[1:].isdigit()
        }

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style", "title", "h1"):
            self.texts.append((tag, dict(attrs), ""))
            self._open.append(tag)

    def handle_endtag(self, tag):
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data):
        if self._open:
            tag, attrs, text = self.texts[-1]
            self.texts[-1] = (tag, attrs, text + data)

    def text_of(self, tag):
        return [text for found, attrs, text in self.texts if found == tag]

    def picture(self, row):
        return decoded(self.pictures[row][0])

    def heatmap(self, row):
        return np.array(self.data["levels"])[decoded(self.pictures[row][1])]


def decoded(address):
    assert address.startswith("data:image/")
    content = base64.b64decode(address.split("base64,")[1])
    return np.asarray(Image.open(io.BytesIO(content)))

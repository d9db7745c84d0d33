"""The report in a browser: what a reader sees, and what leaves the page."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shlex
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from _reports import HOSTILE, SIZE, Known, Page, edges_of, known_images
from numpy.testing import assert_array_equal
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.utils import Bunch

from skfcdd._regions import drop_small
from skfcdd._verdicts import Convention, outline_level
from skfcdd.display._look import ramp
from skfcdd.report import Review, read_review, write_report
from skfcdd.report._write import write_known

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

N = 60
NOTHING = "\u2013"
X, Y, MASKS, KINDS = known_images(N, seed=4)
NAMES = HOSTILE + [f"{KINDS[i]}/{i:03d}.png" for i in range(len(HOSTILE), N)]
MODEL = Known(threshold=0.75)
scores = MODEL.anomaly_score(X)
RANKED = np.argsort(-scores)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("there is no chromium with chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1300,1000"):
        options.add_argument(argument)
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    opened = webdriver.Chrome(options=options, service=Service(driver))
    opened.set_script_timeout(30)
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def address(folder):
    place = folder / "report.html"
    write_report(MODEL, X, place, Y, MASKS, names=NAMES, kinds=KINDS, title="<b>Parts")
    return place.as_uri()


class Reader:
    """Somebody who looks at a report."""

    def __init__(self, browser, address, *, width=1300, height=1000, theme="light"):
        self.browser = browser
        self.cdp = browser.execute_cdp_cmd
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.cdp("Emulation.setDeviceMetricsOverride", size | {"mobile": width < 500})
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.cdp("Emulation.setEmulatedMedia", {"features": [feature]})
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(address)
        if self.run("const n = localStorage.length; localStorage.clear(); return n"):
            browser.refresh()

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def frame(self):
        """Wait until what was asked for is drawn."""
        self.browser.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        found = self.run(
            "return document.querySelector(arguments[0]).textContent", selector
        )
        return " ".join(found.split())

    def put(self, name, value):
        """Move a slider, or choose from a list, as the mouse does."""
        self.run(
            "const [id, value] = arguments; const found = document.getElementById(id);"
            "found.value = value;"
            "for (const kind of ['input', 'change'])"
            "  found.dispatchEvent(new Event(kind, { bubbles: true }));",
            name,
            str(value),
        )
        self.frame()

    def keys(self, *keys):
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)
            self.frame()

    def rows(self):
        """Rows of the images that are listed, in their order."""
        return self.run(
            "return [...document.querySelectorAll('.card')].map(c => +c.dataset.row)"
        )

    def focused(self):
        return self.run(
            "const card = document.activeElement.closest('.card');"
            "return card ? +card.dataset.row : document.activeElement.id"
        )

    def confusion(self):
        cells = self.run(
            "return [...document.querySelectorAll('#confusion td strong')]"
            ".map(cell => +cell.textContent)"
        )
        return np.array(cells).reshape(2, 2)

    def wait(self, condition, seconds=10):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, "nothing came"
            time.sleep(0.02)
        return found

    def open_view(self, row):
        self.run(
            "document.querySelector(`.card[data-row='${arguments[0]}'] .open`).click()",
            row,
        )
        self.picture_is_there()

    def picture_is_there(self):
        """The values under the pointer are known once the picture is decoded."""

        def known():
            self.point(0.5, 0.5)
            return self.text("#at-heat") != NOTHING

        self.wait(known)

    def point(self, across, down):
        self.run(
            "const rect = document.getElementById('sheet').getBoundingClientRect();"
            "document.getElementById('stage').dispatchEvent(new PointerEvent("
            "'pointermove', { bubbles: true,"
            " clientX: rect.left + arguments[0] * rect.width,"
            " clientY: rect.top + arguments[1] * rect.height }))",
            across,
            down,
        )


@pytest.fixture
def reader(browser, address):
    return Reader(browser, address)


# -- the page itself -------------------------------------------------------------------


def test_page_is_complete_and_asks_for_nothing(browser, address):
    reader = Reader(browser, address)
    reader.wait(lambda: reader.run("return document.documentElement.dataset.ready"))
    reader.open_view(int(RANKED[0]))
    wrong = [e for e in browser.get_log("browser") if e["level"] != "INFO"]
    assert wrong == []
    messages = [
        json.loads(e["message"])["message"] for e in browser.get_log("performance")
    ]
    asked = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert address in asked
    assert all(url == address or url.startswith("data:") for url in asked)
    assert "<b>Parts" == reader.text("h1") == browser.title
    size = Path(address.removeprefix("file://")).stat().st_size
    assert f"{size:,} bytes" in reader.text("#about")


def test_nothing_that_comes_with_a_name_can_run(reader):
    reader.frame()
    assert reader.run("return document.querySelectorAll('[onerror], b').length") == 0
    names = reader.run(
        "return [...document.querySelectorAll('.card .name')].map(n => n.title)"
    )
    assert [NAMES[row] for row in reader.rows()] == names
    shown = reader.run(
        "return [...document.querySelectorAll('.card .name')].map(n => n.textContent)"
    )
    for row, text in zip(reader.rows(), shown, strict=True):
        kind, stem = text.split(" ", 1)
        assert kind == KINDS[row] and stem and stem in NAMES[row]
        if row >= len(HOSTILE):
            assert stem == f"{row:03d}"
    reader.open_view(0)
    shown = reader.run("return document.getElementById('view-name').textContent")
    assert shown == HOSTILE[0] == "<img onerror=alert(1) src=x>.png"
    # Even if it were taken for code: the page allows none but its own.
    tried = reader.browser.execute_async_script(
        """const done = arguments[0];
        const script = document.createElement("script");
        script.textContent = "window.ran = 1";
        document.body.append(script);
        const button = document.createElement("button");
        button.setAttribute("onclick", "window.ran = 2");
        document.body.append(button);
        button.click();
        const end = () => done(window.ran || "nothing");
        fetch("data:,x").then(() => done("fetched"), end);
        """
    )
    assert tried == "nothing"
    reader.browser.get_log("browser")


AXE = importlib.util.find_spec("axe_playwright_python")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_use_it(browser, address, theme):
    if AXE is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is missing")
    reader = Reader(browser, address, theme=theme)
    assert reader.run("return document.documentElement.dataset.theme") == theme
    (place,) = AXE.submodule_search_locations
    reader.run((Path(place) / "axe.min.js").read_text(encoding="utf-8"))

    def violations():
        found = browser.execute_async_script(
            "const done = arguments[0];"
            "axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa',"
            " 'best-practice'] }).then(found => done(found.violations))"
        )
        return [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found]

    reader.put("threshold", N // 2)
    reader.run("document.querySelector('.open').focus()")
    reader.keys("d")
    assert violations() == []
    reader.keys(Keys.ENTER)
    assert violations() == []
    reader.keys(Keys.ESCAPE, "?")
    assert reader.run("return document.getElementById('help').open")
    assert violations() == []
    reader.keys(Keys.ESCAPE)
    reader.find("#theme").click()
    other = {"light": "dark", "dark": "light"}[theme]
    assert reader.run("return document.documentElement.dataset.theme") == other


def test_phone(browser, address):
    reader = Reader(browser, address, width=360, height=740)
    wide = "return document.documentElement.scrollWidth"
    assert reader.run(wide) <= 360
    reader.open_view(int(RANKED[0]))
    assert reader.run(wide) <= 360
    overflowing = reader.run(
        "const box = document.querySelector('#view .side');"
        "return box.scrollWidth > box.clientWidth"
    )
    assert not overflowing
    reader.keys(Keys.ESCAPE)


# -- the threshold ---------------------------------------------------------------------


def n_called(reader):
    return int(re.search(r"(\d+) of 60 images", reader.text("#summary")).group(1))


def number(text):
    return float(text.split()[0].replace("\u2212", "-"))


def assert_figures_at(reader, threshold):
    called = scores > threshold
    assert_array_equal(reader.confusion(), confusion_matrix(Y, called))
    cells = reader.run(
        "return [...document.querySelectorAll('#rates strong')].map(c => c.textContent)"
    )
    detection, false_alarms, precision, f1, accuracy = cells
    for shown, expected in (
        (detection, recall_score(Y, called)),
        (false_alarms, recall_score(1 - Y, ~called) * -1 + 1),
        (precision, precision_score(Y, called, zero_division=np.nan)),
        (accuracy, accuracy_score(Y, called)),
    ):
        if np.isnan(expected):
            assert shown == NOTHING
        else:
            assert number(shown) == pytest.approx(100 * expected, abs=0.051)
    assert number(f1) == pytest.approx(f1_score(Y, called), abs=6e-4)
    assert f"{called.sum()} of {N} images" in reader.text("#summary")
    verdicts = reader.run(
        "return [...document.querySelectorAll('.card')]"
        ".map(c => [+c.dataset.row, c.dataset.outcome])"
    )
    words = {
        (0, 0): "normal",
        (0, 1): "false alarm",
        (1, 0): "missed",
        (1, 1): "anomaly",
    }
    for row, outcome in verdicts:
        assert outcome == words[Y[row], int(called[row])]


def test_figures_follow_the_slider(reader):
    assert_figures_at(reader, MODEL.threshold_)
    assert f"{roc_auc_score(Y, scores):.3f}" in reader.text("#roc-title")
    ordered = np.sort(scores)
    for position in (1, 17, N // 2, N - 2):
        reader.put("threshold", position)
        assert_figures_at(reader, ordered[position - 1])
    reader.put("threshold", 0)
    assert_figures_at(reader, ordered[0] - 1)
    reader.put("threshold", N)
    assert_figures_at(reader, ordered[-1])
    reader.find("#reset").click()
    reader.frame()
    assert_figures_at(reader, MODEL.threshold_)
    assert not reader.find("#reset").is_enabled()


def test_threshold_by_keys_by_number_and_on_the_curves(reader):
    ordered = np.sort(scores)
    position = int((scores <= MODEL.threshold_).sum())
    reader.run("document.getElementById('threshold').focus()")
    reader.keys(Keys.ARROW_RIGHT)
    assert_figures_at(reader, ordered[position])
    reader.keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert_figures_at(reader, ordered[position - 2])
    field = reader.find("#threshold-value")
    field.send_keys(Keys.CONTROL + "a" + Keys.NULL, "1.25")
    reader.frame()
    assert_figures_at(reader, 1.25)
    # Nothing is typed yet: the threshold stays, and is shown again afterwards.
    field.send_keys(Keys.CONTROL + "a" + Keys.NULL, Keys.BACKSPACE)
    reader.frame()
    assert_figures_at(reader, 1.25)
    field.send_keys(Keys.TAB)
    reader.wait(lambda: field.get_property("value") == "1.25")
    for chart in ("histogram", "roc"):
        before = reader.text("#summary")
        reader.run(
            "const box = document.getElementById(arguments[0]);"
            "const rect = box.firstChild.getBoundingClientRect();"
            "box.setPointerCapture = () => {};"
            "box.dispatchEvent(new PointerEvent('pointerdown', { button: 0,"
            " clientX: rect.left + 60, clientY: rect.top + 180 }))",
            chart,
        )
        reader.frame()
        assert reader.text("#summary") != before
        threshold = reader.run(
            "return +document.getElementById('threshold-value').value"
        )
        assert (scores > threshold).sum() == n_called(reader)


def test_kinds(reader):
    called = scores > MODEL.threshold_
    rows = reader.run(
        "return [...document.querySelectorAll('#kinds tbody tr')]"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )
    kinds = np.array(KINDS)
    for kind, size, found, share in rows:
        assert int(size) == (kinds == kind).sum()
        assert int(found) == called[kinds == kind].sum()
        assert number(share) == pytest.approx(
            100 * called[kinds == kind].mean(), abs=0.06
        )
    # Good images are no kind of defect.
    assert [row[0] for row in rows] == sorted({*KINDS} - {"good"})


# -- the list --------------------------------------------------------------------------


def test_filters_and_orders(reader):
    called, truth, kinds = scores > MODEL.threshold_, Y == 1, np.array(KINDS)
    assert reader.rows() == RANKED.tolist()

    def listed(condition):
        return [row for row in RANKED.tolist() if condition[row]]

    for control, value, condition in (
        ("by-verdict", "1", called),
        ("by-verdict", "0", ~called),
        ("by-outcome", "wrong", called != truth),
        ("by-outcome", "right", called == truth),
        ("by-outcome", "missed", truth & ~called),
        ("by-outcome", "false alarm", called & ~truth),
        ("by-kind", "2", kinds == "scratch"),
        ("by-name", "SCRATCH/0", np.array(["scratch/0" in name for name in NAMES])),
    ):
        reader.put(control, value)
        assert reader.rows() == listed(condition) != []
        assert reader.text("#status").startswith(f"{condition.sum()} of {N} images: ")
        reader.put(control, "")
    reader.put("by-verdict", "1")
    reader.put("threshold", N - 5)  # the list follows the threshold
    assert reader.rows() == RANKED[:5].tolist()
    reader.put("by-name", "no such name")
    assert reader.rows() == [] and reader.find("#none").is_displayed()
    reader.find("#clear-filters").click()
    reader.frame()
    assert len(reader.rows()) == N
    reader.find("#reset").click()
    for order, key in (
        ("low", scores),
        ("threshold", np.abs(scores - MODEL.threshold_)),
        ("given", np.arange(N)),
    ):
        reader.put("order", order)
        assert reader.rows() == np.argsort(key, kind="stable").tolist()
    reader.put("order", "errors")
    assert reader.rows() == listed(called != truth) + listed(called == truth)


def test_keys_among_the_images(reader):
    reader.run("document.querySelector('.open').focus()")
    assert reader.focused() == RANKED[0]
    reader.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert reader.focused() == RANKED[1]
    reader.keys(Keys.ARROW_DOWN)
    below = RANKED.tolist().index(reader.focused())
    assert below > 2
    reader.keys(Keys.ARROW_UP)
    assert reader.focused() == RANKED[1]
    reader.keys(Keys.END)
    assert reader.focused() == RANKED[-1]
    reader.keys(Keys.HOME)
    assert reader.focused() == RANKED[0]
    reader.keys("d", Keys.ARROW_RIGHT, "n", Keys.ARROW_RIGHT, "u", Keys.ARROW_RIGHT)
    reader.keys("d", "d")  # made, and taken away again
    marks = reader.run(
        "return [...document.querySelectorAll('.card')].map(c => c.dataset.mark)"
    )
    assert marks[:5] == ["defect", "good", "unsure", "", ""]
    assert "3 of 60 images marked" in reader.text("#review-count")
    reader.put("by-mark", "any")
    assert reader.rows() == RANKED[:3].tolist()
    reader.put("by-mark", "none")
    reader.run("document.querySelector('.open').focus()")
    reader.keys("d")  # it leaves the list, and the next one takes the focus
    assert reader.focused() == RANKED[4] and reader.rows()[0] == RANKED[4]


def test_only_pictures_that_are_near_take_memory(browser, folder):
    many = np.concatenate([X] * 17)[:1000]
    place = folder / "many.html"
    write_report(MODEL, many, place)
    reader = Reader(browser, place.as_uri())
    assert len(reader.rows()) == 120
    drawn = (
        "return [...document.querySelectorAll('.card canvas')].map(c => c.width > 0)"
    )
    first = reader.wait(lambda: (found := reader.run(drawn))[0] and found)
    assert sum(first) < 120
    for _ in range(30):
        reader.run("scrollTo(0, document.body.scrollHeight)")
        reader.frame()
        if len(reader.rows()) == 1000:
            break
    reader.wait(lambda: len(reader.rows()) == 1000)
    reader.wait(lambda: not reader.run(drawn)[0])
    assert reader.find("#rates-panel").is_displayed() is False
    assert reader.find("#roc-panel").is_displayed() is False
    assert "There are no labels" in reader.text("#truth-note")


# -- one image -------------------------------------------------------------------------


def test_large_view(reader):
    row = int(RANKED[0])
    reader.run("document.querySelector('.open').focus()")
    reader.keys(Keys.ENTER)
    reader.picture_is_there()
    assert reader.run("return document.getElementById('view').open")
    assert reader.text("#view-name") == " ".join(NAMES[row].split())
    heatmap, (h, w) = MODEL.explain(X[[row]])[0], SIZE
    peak = np.unravel_index(heatmap.argmax(), SIZE)
    assert f"in row {peak[0]}, column {peak[1]}" in reader.text("#view-facts")
    for down, across in (peak, (0, 0), (h - 1, w - 1), (5, 9)):
        reader.point((across + 0.5) / w, (down + 0.5) / h)
        assert reader.text("#at-place") == f"row {down}, column {across}"
        assert number(reader.text("#at-image")) == X[row, down, across]
        value, error = re.findall(r"[\d.]+(?:e\u2212?\d+)?", reader.text("#at-heat"))
        value, error = (float(t.replace("\u2212", "-")) for t in (value, error))
        assert abs(value - heatmap[down, across]) <= 1.5 * error + 0.005 * value
    wide = "return document.getElementById('sheet').getBoundingClientRect().width"
    whole = reader.run(wide)
    reader.keys("+", "+")
    assert reader.run(wide) == pytest.approx(2.25 * whole, rel=1e-3)
    left = "return document.getElementById('sheet').getBoundingClientRect().left"
    before = reader.run(left)
    reader.keys(Keys.SHIFT + Keys.ARROW_LEFT)
    assert reader.run(left) > before
    reader.keys("-", "0")
    assert reader.run(wide) == pytest.approx(whole)
    reader.keys("o")
    assert reader.text("#view-overlay-value") == "0 %"
    reader.keys("o")
    assert reader.text("#view-overlay-value") == "60 %"
    reader.keys(Keys.ARROW_RIGHT)
    assert reader.text("#view-name") == " ".join(NAMES[RANKED[1]].split())
    reader.keys("n")
    assert reader.find("button[data-mark=good]").get_attribute("aria-pressed") == "true"
    reader.keys(Keys.ARROW_LEFT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ESCAPE)
    assert reader.focused() == RANKED[2]
    assert not reader.run("return document.getElementById('view').open")


def test_colours_are_on_the_scale_of_the_model(reader):
    row = int(RANKED[0])
    low, high = MODEL.heatmap_scale_
    drawn = f".card[data-row='{row}'] canvas"
    reader.wait(
        lambda: reader.run("return document.querySelector(arguments[0]).width", drawn)
    )
    values = reader.run(
        "const found = document.querySelector(arguments[0]);"
        "const { width, height } = found;"
        "return [...found.getContext('2d').getImageData(0, 0, width, height).data]",
        drawn,
    )
    colours = np.array(values).reshape(*SIZE, 4)
    heatmap = MODEL.explain(X[[row]])[0]
    step = (high - low) / 128
    assert (colours[heatmap < low - step, 3] == 0).all()
    assert (colours[heatmap > high + step] == [240, 249, 33, 255]).all()
    inside = (heatmap > low + step) & (heatmap < high - step)
    _, opacity = ramp((heatmap[inside] - low) / (high - low))
    assert np.abs(colours[inside, 3] - 255 * opacity).max() < 24
    assert (heatmap > high + step).any() and inside.any()


class Marker(Known):
    """A segmenter, whose threshold is one of pixels."""

    convention_ = Convention("segmenter", min_area=4)


def test_marked_pixels_are_outlined(browser, folder):
    model = Marker(threshold=2.0)
    place = folder / "pixels.html"
    write_report(model, X, place, MASKS)
    reader = Reader(browser, place.as_uri())
    assert reader.text("#about").count("at least 4 connected pixels") == 1
    row = reader.rows()[0]
    reader.open_view(row)
    path = reader.run(
        "return document.querySelector('#view-marked path').getAttribute('d')"
    )
    across, down = edges_of(drop_small(model.explain(X[[row]]) > 2.0, 4)[0])
    assert steps_of(path) == (across, down)
    reader.keys(Keys.ESCAPE)
    # Among the images too, and there it follows the threshold.
    drawn = f"document.querySelector(\".card[data-row='{row}'] .marked path\")"
    assert reader.wait(lambda: reader.run(f"return !!{drawn}"))
    assert reader.run(f"return {drawn}.getAttribute('d')") == path
    reader.put("threshold-value", 5)
    reader.frame()
    higher = edges_of(drop_small(model.explain(X[[row]]) > 5.0, 4)[0])
    assert steps_of(reader.run(f"return {drawn}.getAttribute('d')")) == higher


def steps_of(path):
    """Edges (row, column) across and down of an SVG path of unit steps, all closed."""
    across, down = set(), set()
    for loop in path.split("M")[1:]:
        start, y = (int(n) for n in re.match(r"(\d+) (\d+)", loop).groups())
        x, first = start, (start, y)
        for kind, sign in re.findall(r"([hv])(-?)1", loop):
            back = 1 if sign else 0
            edges = across if kind == "h" else down
            edge = (y, x - back) if kind == "h" else (y - back, x)
            assert edge not in edges
            edges.add(edge)
            x, y = (x + 1 - 2 * back, y) if kind == "h" else (x, y + 1 - 2 * back)
        assert (x, y) == first
    return across, down


def test_marked_pixels_without_a_threshold_of_pixels(reader, folder):
    row = int(RANKED[0])
    drawn = f"document.querySelector(\".card[data-row='{row}'] .marked path\")"
    assert reader.wait(lambda: reader.run(f"return !!{drawn}"))
    path = reader.run(f"return {drawn}.getAttribute('d')")
    heatmap = Page(folder / "report.html").heatmap(row)
    assert steps_of(path) == edges_of(heatmap > outline_level(MODEL))
    reader.put("threshold-value", 5)
    assert reader.run(f"return {drawn}.getAttribute('d')") == path


class Within(Known):
    """Only an ellipse counts."""

    roi_ = np.hypot(*(np.indices(SIZE).T - (5.5, 7.5)).T / [[[5]], [[7]]]) < 1


@pytest.mark.parametrize("width", [1400, 400])
def test_the_region_of_interest_is_drawn(browser, folder, width):
    place = folder / "region.html"
    write_report(Within(0.75), X, place, Y, MASKS)
    reader = Reader(browser, place.as_uri(), width=width)
    row = reader.rows()[0]
    reader.run("document.getElementById('gallery').scrollIntoView()")
    drawn = f"document.querySelector(\".card[data-row='{row}'] .region .line\")"
    assert reader.wait(lambda: reader.run(f"return !!{drawn}"))
    expected = edges_of(Within.roi_)
    assert steps_of(reader.run(f"return {drawn}.getAttribute('d')")) == expected
    reader.open_view(row)
    path = "return document.querySelector('#view-region .line').getAttribute('d')"
    assert steps_of(reader.run(path)) == expected
    assert "the region of interest" in reader.text("#outline-legend")
    # Shaded outside, as bright as ever inside; hidden with the other outlines.
    shade = (
        "const shade = document.querySelector('#view-region .shade');"
        "const at = shade.ownerSVGElement.createSVGPoint();"
        "[at.x, at.y] = arguments;"
        "return shade.isPointInFill(at)"
    )
    for y, x in ((0, 0), (5, 8), (11, 15), (2, 2), (9, 8)):
        assert reader.run(shade, x + 0.5, y + 0.5) == (not Within.roi_[y, x])
    reader.keys(Keys.ESCAPE)
    reader.run("document.getElementById('outline').click()")
    assert (
        reader.run(f"return getComputedStyle({drawn}.ownerSVGElement).display")
        == "none"
    )


def test_no_region_is_drawn_without_one(reader):
    reader.open_view(reader.rows()[0])
    assert "region of interest" not in reader.text("#outline-legend")
    assert not reader.run("return document.querySelector('.region path')")


class Parted(Known):
    """Two thirds of the heatmap in the upper half come from a memory."""

    _fitted = SimpleNamespace(
        memory="there", images=SimpleNamespace(channels=None, layout=None)
    )

    def explain_parts(self, X, heatmaps=True):
        whole = self.explain(X)
        share = np.zeros(SIZE, dtype=np.float32)
        share[: SIZE[0] // 2] = 2 / 3
        novelty = whole * share
        score = whole.mean(axis=(1, 2), dtype=np.float64)
        return Bunch(
            heatmap=whole,
            defect=whole - novelty,
            novelty=novelty,
            score=score,
            novelty_share=novelty.mean(axis=(1, 2), dtype=np.float64) / score,
        )


def test_parts_can_be_looked_at(browser, folder):
    model = Parted(threshold=0.75)
    place = folder / "parts.html"
    write_report(model, X, place, Y)
    reader = Reader(browser, place.as_uri())
    row = int(RANKED[0])
    found = model.explain_parts(X[[row]])
    share = round(100 * float(found.novelty_share[0]))
    words = f"{100 - share} % looks like a defect, {share} % never seen before"
    card = f".card[data-row='{row}']"
    title = f'return document.querySelector("{card} .shares").title'
    assert reader.run(title).replace("\u00a0", " ") == words
    canvas = f'document.querySelector("{card} canvas")'
    alpha = (
        f"const found = {canvas}; const {{ width, height }} = found;"
        "return [...found.getContext('2d').getImageData(0, 0, width, height).data]"
        ".filter((_, k) => k % 4 === 3)"
    )
    reader.wait(lambda: reader.run(f"return {canvas}.width"))
    for part in ("heat", "defect", "novelty"):
        reader.put("part", part)
        heatmap = found["heatmap" if part == "heat" else part][0]
        clear = np.abs(heatmap - 0.5) > 0.05
        expected = heatmap[clear] > 0.5
        reader.wait(
            lambda c=clear, e=expected: np.array_equal(
                np.array(reader.run(alpha)).reshape(SIZE)[c] > 0, e
            )
        )
    reader.open_view(row)
    assert words in reader.text("#view-facts")
    assert reader.run("return document.getElementById('view-part').value") == "novelty"
    reader.keys("p")
    assert reader.run("return document.getElementById('part').value") == "heat"
    reader.keys(Keys.ESCAPE)


def test_nothing_is_said_of_parts_where_there_are_none(reader):
    for name in ("part-row", "view-part-row", "part-key", "shares-legend"):
        assert reader.run("return document.getElementById(arguments[0]).hidden", name)
    assert not reader.run("return document.querySelectorAll('.shares').length")


# -- marks -----------------------------------------------------------------------------


@pytest.fixture
def marked(reader):
    """A reader who has moved the threshold and made marks."""
    reader.run("document.querySelector('.open').focus()")
    reader.keys("d", Keys.ARROW_RIGHT, "n", Keys.ARROW_RIGHT, "u")
    reader.put("threshold", 20)
    return reader


def test_marks_count_as_the_truth(marked):
    truth = Y.copy()
    truth[RANKED[0]], truth[RANKED[1]] = 1, 0
    called = scores > np.sort(scores)[19]
    assert_array_equal(marked.confusion(), confusion_matrix(truth, called))
    assert f"{roc_auc_score(truth, scores):.3f}" in marked.text("#roc-title")
    marked.run("document.getElementById('use-marks').click()")
    marked.frame()
    assert_array_equal(marked.confusion(), confusion_matrix(Y, called))


def test_marks_are_kept_until_they_are_removed(marked):
    marked.browser.refresh()
    assert "3 of 60 images marked" in marked.text("#review-count")
    marked.run("window.confirm = () => true")
    marked.find("#clear-marks").click()
    marked.frame()
    marked.browser.refresh()
    assert marked.text("#review-count").startswith("No marks yet")


@pytest.mark.parametrize("form", ["json", "csv"])
def test_exports_are_read_back(marked, form, tmp_path):
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    marked.cdp("Browser.setDownloadBehavior", behaviour)
    marked.run(f"document.getElementById('export-{form}').click()")
    place = marked.wait(lambda: next(tmp_path.glob(f"review-*.{form}"), None))
    review = read_review(place)
    assert review.names == NAMES
    assert_array_equal(review.scores, scores)
    expected = np.full(N, -1)
    expected[RANKED[0]], expected[RANKED[1]] = 1, 0
    assert_array_equal(review.labels, expected)
    assert review.marks[RANKED[2]] == "unsure"
    assert review.model_threshold == MODEL.threshold_
    assert (scores > review.threshold).sum() == N - 20
    if form == "csv":
        with place.open(newline="", encoding="utf-8-sig") as file:
            table = list(csv.DictReader(file))
        cells = [cell for line in table for cell in (line["name"], line["kind"])]
        assert not any(cell.startswith(tuple("=+-@\t\r\n\uff1d")) for cell in cells)
        assert [int(line["truth"]) for line in table] == Y.tolist()
        verdicts = [int(line["verdict"]) for line in table]
        assert_array_equal(verdicts, scores > review.threshold)


def test_import(reader, tmp_path):
    exported = {
        "format": "skfcdd-review",
        "version": 1,
        "threshold": float(np.sort(scores)[29]),
        "model_threshold": 1.0,
        "images": [
            {"name": NAMES[0], "score": 0, "mark": "defect"},
            {"name": NAMES[12], "score": 0, "mark": "good"},
            {"name": NAMES[3], "score": 0, "mark": "nonsense"},
            {"name": "not there", "score": 0, "mark": "good"},
        ],
    }
    place = tmp_path / "review.json"
    place.write_text(json.dumps(exported))
    reader.find("#import-file").send_keys(str(place))
    reader.wait(lambda: "2 marks" in reader.text("#review-said"))
    assert "1 marked image not in this report" in reader.text("#review-said")
    reader.frame()
    assert "1 as defect, 1 as good, 0 as unsure" in reader.text("#review-count")
    assert n_called(reader) == N - 30
    place.write_text("{}")
    reader.find("#import-file").send_keys(str(place))
    reader.wait(lambda: "not a review" in reader.text("#review-said"))


def test_report_opens_with_the_marks_of_a_review(browser, folder):
    names = [f"{i}" for i in range(6)]
    review = Review(
        names, ["defect", "", "good", "", "", "unsure"], scores[:6], 1.0, 1.0
    )
    place = folder / "begun.html"
    write_report(MODEL, X[:6], place, names=names, review=review, n_images=2)
    reader = Reader(browser, place.as_uri())
    assert "1 as defect, 1 as good, 1 as unsure" in reader.text("#review-count")
    # Marks alone are enough for rates, of the two images that they say something of.
    called = scores[[0, 2]] > MODEL.threshold_
    assert_array_equal(reader.confusion(), confusion_matrix([1, 0], called))
    assert "4 images without a label or mark" in reader.text("#truth-note")
    empty = reader.run("return document.querySelectorAll('.frame.empty').length")
    assert empty == 4


def test_printing_waits_for_the_pictures(reader):
    printed = reader.browser.execute_async_script(
        """const done = arguments[0];
        const wide = () => [...document.querySelectorAll(".card canvas")]
          .filter((canvas) => canvas.width > 0).length;
        window.print = () => done(wide());
        document.getElementById("print").click();"""
    )
    assert printed == N


# -- at first sight ------------------------------------------------------------------


def test_the_worst_errors_stand_beside_the_rates(reader):
    called = scores > MODEL.threshold_
    missed = [i for i in np.argsort(scores) if Y[i] and not called[i]]
    alarms = [i for i in RANKED if not Y[i] and called[i]]
    n = len(missed) + len(alarms)
    assert f"{n} error" in reader.text("#errors-note")
    titles = "return [...document.querySelectorAll('#errors .name')].map(n => n.title)"
    shown = reader.run(titles)
    assert len(shown) == min(n, 4) and shown[0] == NAMES[(missed or alarms)[0]]
    assert {NAMES.index(name) for name in shown} <= {*missed, *alarms}
    reader.run("document.querySelector('#errors .glance').click()")
    reader.wait(lambda: reader.text("#view-name") == " ".join(shown[0].split()))
    reader.keys(Keys.ESCAPE)
    # They follow the threshold.
    reader.put("threshold-value", 1e6)
    worst = int(min(np.flatnonzero(Y == 1), key=lambda i: scores[i]))
    assert reader.run(titles)[0] == NAMES[worst]


def test_a_sentence_says_how_the_model_does(reader):
    called = scores > MODEL.threshold_
    found, alarms = int((called & (Y == 1)).sum()), int((called & (Y == 0)).sum())
    told = reader.text("#verdict")
    assert told.startswith("At the model\u2019s threshold, ")
    assert f"{found} of {(Y == 1).sum()} defects" in told
    assert f"{alarms} of {(Y == 0).sum()} good images" in told
    reader.put("threshold", 0)
    assert reader.text("#verdict").startswith(f"At this threshold, {(Y == 1).sum()} of")


def test_a_threshold_that_rests_on_few_images(browser, folder):
    class Calibrated(Known):
        _fitted = SimpleNamespace(
            judging=SimpleNamespace(threshold="auto"),
            images=SimpleNamespace(channels=None, layout=None),
            calibration=None,
        )
        calibration_ = None

    for n, warned in ((3, True), (80, False)):
        model = Calibrated(threshold=0.75)
        model.calibration_scores_ = np.arange(float(n))
        model._fitted.calibration_scores = model.calibration_scores_
        place = folder / f"few{n}.html"
        write_report(model, X, place, Y)
        reader = Reader(browser, place.as_uri())
        assert reader.find("#few").is_displayed() == warned
        if warned:
            assert "only 3 good images" in reader.text("#few")
            reader.put("threshold", 5)  # which the reader has chosen
            assert not reader.find("#few").is_displayed()


def test_what_few_images_say_is_held_back(browser, folder):
    """After four marks the page spoke of an area of 1."""
    place = folder / "unknown.html"
    write_report(MODEL, X, place)
    reader = Reader(browser, place.as_uri())
    for row, key in ((0, "d"), (1, "d"), (-1, "n"), (-2, "n")):
        card = f".card[data-row='{RANKED[row]}'] .open"
        reader.run("document.querySelector(arguments[0]).focus()", card)
        reader.keys(key)
    assert reader.text("#roc-title") == "ROC curve"
    assert "there are 2 and 2" in reader.text("#roc-note")
    assert not reader.find("#roc").is_displayed()
    cells = reader.run(
        "return [...document.querySelectorAll('#rates strong')].map(c => c.textContent)"
    )
    assert cells == ["2 of 2", "0 of 2", NOTHING, NOTHING, NOTHING]
    assert reader.find("#review-said").text == ""
    reader.find("#export-json").click()
    reader.wait(lambda: "passed to the browser" in reader.text("#review-said"))
    reader.run("window.confirm = () => true")
    reader.find("#clear-marks").click()
    reader.frame()
    assert reader.text("#review-said") == ""


def test_nothing_glows_where_nothing_is_wrong(reader):
    kinds = (
        "const cells = [...document.querySelectorAll('#confusion td[class]')];"
        "return Object.fromEntries(cells.map("
        "cell => [cell.textContent.replace(/^\\d+ /, ''), cell.className]))"
    )
    reader.put("threshold", 0)
    found = reader.run(kinds)
    assert found["missed"] == "right" and found["false alarms"] == "wrong"
    reader.put("threshold-value", 1e6)
    found = reader.run(kinds)
    assert found["missed"] == "wrong" and found["false alarms"] == "right"


@pytest.mark.parametrize("width", [400, 1400])
def test_labels_of_charts_do_not_collide(browser, address, width):
    reader = Reader(browser, address, width=width)
    boxes = (
        "return [...document.querySelectorAll(arguments[0] + ' text')].map(t => {"
        "  const r = t.getBoundingClientRect();"
        "  return [t.textContent, r.left, r.top, r.right, r.bottom] })"
    )
    edges = (
        "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return [r.left, r.right]"
    )
    for position in (0, N // 3, N):
        reader.put("threshold", position)
        for chart in ("#histogram", "#roc"):
            texts = reader.run(boxes, chart)
            low, high = reader.run(edges, chart)
            for k, (name, left, top, right, bottom) in enumerate(texts):
                assert low - 1 <= left and right <= high + 1, name
                for other, l2, t2, r2, b2 in texts[:k]:
                    apart = (
                        right <= l2 or r2 <= left or bottom <= t2 + 2 or b2 <= top + 2
                    )
                    assert apart, (name, other, width, position)


def test_bins_are_no_finer_than_the_images_are_many(browser, folder):
    place = folder / "bins.html"
    write_report(MODEL, X[:45], place)
    reader = Reader(browser, place.as_uri(), width=1400)
    path = reader.run(
        "return document.querySelector('#histogram .area').getAttribute('d')"
    )
    assert 6 <= path.count("H") <= 15


def test_filters_leave_a_phone_its_screen(browser, address):
    reader = Reader(browser, address, width=400, height=800)
    assert not reader.find("#filters").is_displayed()
    height = "return document.getElementById('controls').getBoundingClientRect().height"
    assert reader.run(height) < 60
    reader.find("#controls summary").click()
    assert reader.find("#filters").is_displayed()
    wide = Reader(browser, address, width=1300)
    assert wide.find("#filters").is_displayed()
    assert not wide.find("#controls summary").is_displayed()


def test_values_are_only_shown_where_something_is_pointed_at(reader):
    reader.open_view(int(RANKED[0]))
    assert reader.find("#pointer").is_displayed()
    reader.run(
        "document.getElementById('stage').dispatchEvent(new Event('pointerleave'))"
    )
    assert not reader.find("#pointer").is_displayed()
    assert reader.find("#pointer-hint").is_displayed()
    reader.keys(Keys.ESCAPE)


def test_faint_heat_can_be_lifted(reader):
    low, high = MODEL.heatmap_scale_

    def of(row):
        heatmap = MODEL.explain(X[[row]])[0]
        faint = (heatmap > low * 1.1) & (heatmap < low + 0.3 * (high - low))
        return faint, heatmap < low * 0.95

    row = next(int(i) for i in RANKED if all(part.any() for part in of(i)))
    faint, calm = of(row)
    canvas = f"document.querySelector(\".card[data-row='{row}'] canvas\")"
    reader.wait(lambda: reader.run(f"return {canvas}.width"))
    alpha = (
        f"const found = {canvas}; const {{ width, height }} = found;"
        "return [...found.getContext('2d').getImageData(0, 0, width, height).data]"
        ".filter((_, k) => k % 4 === 3)"
    )
    before = np.array(reader.run(alpha)).reshape(SIZE)
    reader.put("faint", 100)

    def shown():
        return np.array(reader.run(alpha)).reshape(SIZE)

    reader.wait(lambda: bool((shown()[faint] > before[faint] + 20).all()))
    after = shown()
    assert not after[calm].any()


def test_commands_to_go_on_with(browser, folder, tmp_path):
    place = folder / "next.html"
    origin = {"model": "my parts.skfcdd", "folder": "parts"}
    info = write_known(
        MODEL,
        X,
        place,
        Y == 1,
        names=NAMES,
        kinds=None,
        title="Parts",
        review=None,
        n_images=None,
        max_side=None,
        quality=None,
        max_bytes=None,
        origin=origin,
    )
    assert info.n_images == N
    reader = Reader(browser, place.as_uri())
    assert not reader.find("#next").is_displayed()
    reader.put("threshold", 20)
    words = shlex.split(reader.text("#command-threshold"))
    assert words[:3] == ["skfcdd", "calibrate", "my parts.skfcdd"]
    assert words[-2:] == ["-o", "my parts-2.skfcdd"]
    chosen = float(words[words.index("--threshold") + 1])
    assert (scores > chosen).sum() == N - 20 and len(str(chosen)) < 8
    assert not reader.find("#next-marks").is_displayed()
    reader.run("document.querySelector('.open').focus()")
    reader.keys("d")
    words = shlex.split(reader.text("#command-marks"))
    assert words[:4] == ["skfcdd", "fit", "parts", "--review"]
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    reader.cdp("Browser.setDownloadBehavior", behaviour)
    reader.find("#export-json").click()
    reader.wait(lambda: (tmp_path / words[4]).is_file())

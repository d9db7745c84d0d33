/* Confusion matrix, rates, rates by kind, distribution of scores, ROC curve. */

/* -- tables ----------------------------------------------------------------------- */

/* A proportion as a percentage or, for few images, as counts. */
const shareOf = (part, whole) =>
  whole > 0 && whole < LEAST ? `${part} of ${whole}` : percent(ratio(part, whole));

function drawConfusion(counts) {
  const { tp, fp, fn, tn } = counts;
  const known = tp + fp + fn + tn;
  const table = byId("confusion");
  const head = (text, scope) => element("th", { scope }, text);
  const cell = (value, kind, name) =>
    element("td", { class: kind }, element("strong", {}, String(value)), ` ${name}`);
  if (known === 0) {
    table.replaceChildren(
      element("tr", {}, head("Anomalies", "row"), cell(counts.anomalies, "", "")),
      element("tr", {}, head("Normal", "row"), cell(nImages - counts.anomalies, "", "")),
    );
  } else {
    table.replaceChildren(
      element("tr", {}, element("td"), head("predicted normal", "col"), head("predicted anomalous", "col")),
      element("tr", {}, head("good", "row"), cell(tn, "right", "normal"), cell(fp, fp ? "wrong" : "right", many(fp, "false alarm").replace(/^\d+ /, ""))),
      element("tr", {}, head("defect", "row"), cell(fn, fn ? "wrong" : "right", "missed"), cell(tp, "right", "found")),
    );
  }
  const unknown = nImages - known;
  const overruled = data.truth
    ? state.marks.filter((_, i) => truthOf(i) !== data.truth[i]).length
    : 0;
  const words = [];
  if (known === 0) words.push("There are no labels, so predictions cannot be checked.");
  else if (unknown) words.push(`${many(unknown, "image")} without a label or mark.`);
  if (overruled) words.push(`${many(overruled, "label")} replaced by marks.`);
  byId("truth-note").textContent = words.join(" ");
}

function drawRates(counts) {
  const { tp, fp, fn, tn } = counts;
  const rates = ratesOf(counts);
  const range = (part, whole) => {
    const found = interval(part, whole);
    return found ? ` (${percent(found[0])} to ${percent(found[1])})` : "";
  };
  const few = tp + fp + fn + tn < LEAST;
  const rows = [
    ["Detection rate", shareOf(tp, tp + fn), range(tp, tp + fn)],
    ["False alarm rate", shareOf(fp, fp + tn), range(fp, fp + tn)],
    ["Precision", few ? "–" : percent(rates.precision), ""],
    ["F1", few ? "–" : shown(rates.f1, 3), ""],
    ["Accuracy", few ? "–" : percent(rates.accuracy), ""],
  ];
  byId("rates").replaceChildren(
    ...rows.flatMap(([name, value, range]) => [
      element("dt", {}, name),
      element("dd", {}, element("strong", {}, value), element("span", { class: "quiet" }, range)),
    ]),
  );
}

/* Rows of each kind of defect; empty if kinds are unknown. */
const rowsByKind = new Map();
(data.kinds || []).forEach((kind, i) => {
  if (!rowsByKind.has(kind)) rowsByKind.set(kind, []);
  rowsByKind.get(kind).push(i);
});
const kindNames = [...rowsByKind.keys()].sort();
/* A kind that consists of good images is not a kind of defect. */
const isGoodKind = (kind) => Boolean(data.truth) && rowsByKind.get(kind).every((i) => data.truth[i] === 0);
const defectKinds = kindNames.filter((kind) => !isGoodKind(kind));
const kindName = (kind) => kind || "(none)";
const kindRows = new Map();

function makeKinds() {
  const table = byId("kinds");
  const head = ["Kind", "Images", "Flagged", "Share"].map((text) =>
    element("th", { scope: "col" }, text),
  );
  table.replaceChildren(
    element("caption", { class: "hidden" }, "Share of each kind that is classified as anomalous"),
    element("thead", {}, element("tr", {}, ...head)),
  );
  const body = element("tbody");
  for (const kind of defectKinds) {
    const bar = element("span", { class: "bar" });
    const called = element("td");
    const share = element("span");
    const name = element("th", { scope: "row", dir: "auto" }, kindName(kind));
    const size = element("td", {}, String(rowsByKind.get(kind).length));
    const gauge = element("span", { class: "gauge", "aria-hidden": "true" }, bar);
    body.append(element("tr", {}, name, size, called, element("td", {}, gauge, share)));
    const sorted = ascending(rowsByKind.get(kind).map((i) => data.scores[i]));
    const truths = new Set(rowsByKind.get(kind).map((i) => (data.truth ? data.truth[i] : -1)));
    bar.classList.add(truths.has(1) ? "bad" : truths.has(0) ? "good" : "unknown");
    kindRows.set(kind, { bar, called, share, sorted });
  }
  table.append(body);
}

function drawKinds() {
  for (const { bar, called, share, sorted } of kindRows.values()) {
    const n = nAbove(sorted, state.threshold);
    called.textContent = String(n);
    share.textContent = percent(ratio(n, sorted.length));
    bar.style.width = `${(100 * n) / sorted.length}%`;
  }
}

/* -- distribution of scores --------------------------------------------------------- */

const PAD = { left: 46, right: 14, top: 20, bottom: 36 };
const lowest = groups.all[0];
const highest = groups.all[nImages - 1];
const onLog = lowest > 0 && highest / lowest > 15;
const axis = { low: lowest, high: highest, log: onLog };
{
  const [a, b] = [Math.min(lowest, state.threshold), Math.max(highest, state.threshold)];
  const log = onLog && a > 0;
  const margin = log ? (b / a) ** 0.03 : (b - a || Math.abs(b) || 1) * 0.03;
  Object.assign(axis, { low: log ? a / margin : a - margin, high: log ? b * margin : b + margin, log });
}
const along = (value) =>
  axis.log
    ? Math.log(value / axis.low) / Math.log(axis.high / axis.low)
    : (value - axis.low) / (axis.high - axis.low);
const valueAt = (place) =>
  axis.log
    ? axis.low * (axis.high / axis.low) ** place
    : axis.low + place * (axis.high - axis.low);

const charts = { histogram: null, roc: null };

/* `top` is the space above the plot, for labels. */
function canvasOf(id, label, top = PAD.top) {
  const box = byId(id);
  const width = Math.max(220, Math.round(box.clientWidth));
  const height = 220 + top;
  const svg = svgElement("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label,
  });
  box.replaceChildren(svg);
  return { svg, width, height, top, w: width - PAD.left - PAD.right, h: height - top - PAD.bottom };
}

function binned(sorted, nBins) {
  const bins = new Array(nBins).fill(0);
  for (const score of sorted) {
    bins[Math.min(nBins - 1, Math.max(0, Math.floor(along(score) * nBins)))]++;
  }
  return bins;
}

function drawHistogram() {
  const chart = canvasOf("histogram", "Distribution of the scores", 40);
  const { svg, w, h, top: above } = chart;
  /* The fewer images, the fewer bins: otherwise, most of them would be empty. */
  const nBins = Math.round(Math.max(6, Math.min(60, w / 11, 2 * Math.sqrt(nImages))));
  const present = ["good", "bad", "unknown"].filter((name) => groups[name].length);
  const shares = present.length > 1;
  const bars = present.map((name) => {
    const bins = binned(groups[name], nBins);
    return { name, values: shares ? bins.map((n) => n / groups[name].length) : bins };
  });
  const top = Math.max(...bars.flatMap((bar) => bar.values));
  const x = (place) => PAD.left + place * w;
  const y = (value) => above + h - (value / (top * 1.05)) * h;
  drawAxes(chart, ticks(axis.low, axis.high, axis.log, w / 75).map((v) => [x(along(v)), shown(v, 3)]),
    ticks(0, top, false, 4).filter((v) => shares || Number.isInteger(v)).map((v) => [y(v), shares ? percent(v) : shown(v, 3)]),
    data.model.pixels ? "lowest pixel threshold without a marked defect" : "anomaly score",
    shares ? "share of each group" : "images");
  for (const { name, values } of bars) {
    let path = `M${x(0)} ${y(0)}`;
    values.forEach((value, k) => {
      path += `V${y(value).toFixed(1)}H${x((k + 1) / nBins).toFixed(1)}`;
    });
    svg.append(svgElement("path", { d: `${path}V${y(0)}Z`, class: `area ${name}` }));
  }
  chart.line = svgElement("g", { class: "threshold-line" });
  chart.label = svgElement("text", { y: above - 7, "text-anchor": "middle", class: "label" });
  chart.line.append(
    svgElement("line", { y1: above, y2: above + h, class: "halo" }),
    svgElement("line", { y1: above, y2: above + h }),
    svgElement("circle", { cy: above + h, r: 5 }),
  );
  svg.append(chart.line, chart.label);
  charts.histogram = chart;
  const words = { good: "good", bad: "defects", unknown: data.truth ? "unlabelled" : "images" };
  byId("histogram-legend").replaceChildren(
    ...present.flatMap((name) => [
      element("span", { class: `key ${name}` }),
      ` ${words[name]} (${groups[name].length})`,
    ]),
    element("span", { class: "quiet" }, " Drag the line to move the threshold."),
  );
}

function drawAxes({ svg, width, height, h, top }, xTicks, yTicks, xName, yName) {
  const axes = svgElement("g", { class: "axes" });
  const bottom = top + h;
  for (const [y, text] of yTicks) {
    axes.append(
      svgElement("line", { x1: PAD.left, x2: width - PAD.right, y1: y, y2: y }),
      svgElement("text", { x: PAD.left - 6, y: y + 4, "text-anchor": "end" }, text),
    );
  }
  for (const [x, text] of xTicks) {
    axes.append(
      svgElement("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4, class: "tick" }),
      svgElement("text", { x, y: bottom + 16, "text-anchor": "middle" }, text),
    );
  }
  axes.append(
    svgElement("line", { x1: PAD.left, x2: width - PAD.right, y1: bottom, y2: bottom, class: "tick" }),
    svgElement("text", { x: width - PAD.right, y: height - 4, "text-anchor": "end", class: "name" }, xName),
    svgElement("text", { x: PAD.left - 38, y: 11, class: "name" }, yName),
  );
  svg.append(axes);
}

/* -- ROC curve -------------------------------------------------------------------- */

let roc = null;

function drawRoc() {
  roc = rocCurve();
  const known = groups.good.length + groups.bad.length > 0;
  byId("roc-panel").hidden = !known;
  byId("roc").hidden = !roc;
  if (!roc) {
    charts.roc = null;
    byId("roc-title").textContent = "ROC curve";
    byId("roc-note").textContent = `The curve needs at least ${LEAST} good images and ${LEAST} defects; ` +
      `there are ${groups.good.length} and ${groups.bad.length}.`;
    return;
  }
  byId("roc-title").textContent = `ROC curve, area ${roc.area.toFixed(3)}`;
  const chart = canvasOf("roc",
    `ROC curve with an area of ${roc.area.toFixed(3)}`);
  const { svg, w, h } = chart;
  chart.x = (v) => PAD.left + v * w;
  chart.y = (v) => PAD.top + (1 - v) * h;
  const at = [0, 0.25, 0.5, 0.75, 1];
  drawAxes(chart, at.map((v) => [chart.x(v), String(v)]), at.map((v) => [chart.y(v), String(v)]),
    "false alarm rate", "detection rate");
  const place = ({ x, y }) => `${chart.x(x).toFixed(1)} ${chart.y(y).toFixed(1)}`;
  svg.append(
    svgElement("path", { d: `M${chart.x(0)} ${chart.y(0)}L${chart.x(1)} ${chart.y(1)}`, class: "diagonal" }),
    svgElement("path", { d: `M${roc.points.map(place).join("L")}`, class: "curve" }),
  );
  chart.dot = svgElement("circle", { r: 6, class: "dot" });
  svg.append(chart.dot);
  charts.roc = chart;
}

/* -- updates with the threshold ---------------------------------------------------- */

function drawThreshold() {
  const counts = countsAt(state.threshold);
  drawConfusion(counts);
  const known = groups.good.length + groups.bad.length > 0;
  byId("rates-panel").hidden = !known;
  drawRates(counts);
  drawKinds();
  const { histogram, roc: curve } = charts;
  if (histogram) {
    const place = Math.min(1, Math.max(0, along(state.threshold) || 0));
    const x = PAD.left + place * histogram.w;
    histogram.line.setAttribute("transform", `translate(${x} 0)`);
    histogram.label.textContent = `threshold ${shown(state.threshold)}`;
    /* Keep the label within the chart. */
    const half = histogram.label.getComputedTextLength() / 2 + 2;
    histogram.label.setAttribute("x", Math.min(histogram.width - half, Math.max(half, x)));
  }
  if (roc && curve) {
    const { falseAlarm, detection } = ratesOf(counts);
    curve.dot.setAttribute("cx", curve.x(falseAlarm));
    curve.dot.setAttribute("cy", curve.y(detection));
    byId("roc-note").textContent =
      `At this threshold: ${percent(detection)} of defects detected, ${percent(falseAlarm)} false alarms.`;
  }
  drawSummary(counts);
  drawVerdict(counts);
  drawErrors();
}

function drawSummary(counts) {
  const { tp, fp, fn, tn } = counts;
  const parts = [`${counts.anomalies} of ${many(nImages, "image")} flagged`];
  if (groups.bad.length) parts.push(`detected ${shareOf(tp, tp + fn)}`);
  if (groups.good.length) parts.push(`false alarms ${shareOf(fp, fp + tn)}`);
  byId("summary").replaceChildren(
    element("span", { class: "print-only" }, `Threshold ${shown(state.threshold)}: `),
    parts.join(" · "),
  );
}

function drawCharts() {
  drawHistogram();
  drawRoc();
  drawThreshold();
}

/* Let the reader move the threshold by dragging in a chart. */
function makeDraggable(id, threshold) {
  const box = byId(id);
  const move = (event) => {
    const rect = box.firstChild.getBoundingClientRect();
    setThreshold(threshold(event.clientX - rect.left, event.clientY - rect.top));
  };
  box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    box.setPointerCapture(event.pointerId);
    event.preventDefault();
    move(event);
  });
  box.addEventListener("pointermove", (event) => {
    if (box.hasPointerCapture(event.pointerId)) move(event);
  });
}

function startFigures() {
  byId("kinds-panel").hidden = kindNames.length < 2 || !defectKinds.length;
  makeKinds();
  drawCharts();
  makeDraggable("histogram", (x) =>
    valueAt(Math.min(1, Math.max(0, (x - PAD.left) / charts.histogram.w))),
  );
  /* Choose the nearest corner of the curve, and a threshold just below its score. */
  makeDraggable("roc", (x, y) => {
    let [best, nearest] = [state.threshold, Infinity];
    for (const point of roc.points) {
      const away = Math.hypot(charts.roc.x(point.x) - x, charts.roc.y(point.y) - y);
      if (away < nearest) [best, nearest] = [point.threshold, away];
    }
    return thresholdAt(best === Infinity ? steps.length : positionOf(best) - 1);
  });
  let width = 0;
  new ResizeObserver(() => {
    if (byId("figures").clientWidth === width) return;
    width = byId("figures").clientWidth;
    drawCharts();
  }).observe(byId("figures"));
  on("marks", drawCharts);
  on("threshold", drawThreshold);
}

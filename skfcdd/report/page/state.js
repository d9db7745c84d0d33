/* Data of the images, choices of the reader, and values computed from them. */

const data = JSON.parse(document.getElementById("data").textContent);
const nImages = data.names.length;
const MARKS = ["defect", "good", "unsure"];
const byId = (id) => document.getElementById(id);

const state = {
  threshold: data.model.threshold,
  marks: Array.from({ length: nImages }, (_, i) => data.marks[i] || ""),
  marksCount: true,
  overlay: Math.round(100 * data.model.opacity),
  part: "heat",
};

/* Functions that draw something listen for its changes; they run at most once per frame. */
const listeners = {};
const waiting = new Set();

function on(event, listener) {
  (listeners[event] = listeners[event] || []).push(listener);
}

function tell(event) {
  if (waiting.size === 0) requestAnimationFrame(tellAll);
  waiting.add(event);
}

function tellAll() {
  const events = [...waiting];
  waiting.clear();
  for (const event of events) for (const listener of listeners[event] || []) listener();
}

/* -- labels and predictions ------------------------------------------------------- */

/* 1 for a defect, 0 for a good image, -1 if unknown. */
function truthOf(i) {
  if (state.marksCount && state.marks[i] === "defect") return 1;
  if (state.marksCount && state.marks[i] === "good") return 0;
  return data.truth ? data.truth[i] : -1;
}

const isAnomaly = (i) => data.scores[i] > state.threshold;

/* The same words as in the displays of the package. */
function outcomeOf(i) {
  const truth = truthOf(i);
  if (isAnomaly(i)) return truth === 0 ? "false alarm" : "anomaly";
  return truth === 1 ? "missed" : "normal";
}

const isWrong = (i) => truthOf(i) >= 0 && isAnomaly(i) !== (truthOf(i) === 1);

/* A comparison of the score with the threshold, such as "3.41 > 1.2". */
function comparedTo(i) {
  const sign = isAnomaly(i) ? ">" : "≤";
  return `${shown(data.scores[i], 3)} ${sign} ${shown(state.threshold, 3)}`;
}

/* Height and width of an image, in pixels of its file. */
const sizeOf = (i) => (data.sizes ? data.sizes[i] : data.size);

/* The name of a file without its folders and its suffix. */
function stemOf(i) {
  const last = data.names[i].replace(/^.*\//s, "");
  return last.replace(/(?<=.)\.[A-Za-z0-9]{1,5}$/, "") || data.names[i];
}

/* The share of a score that comes from each part of the heatmap. */
function sharesOf(i) {
  const novelty = data.novelty[i];
  if (novelty === undefined) return null;
  const percents = [100 - Math.round(100 * novelty), Math.round(100 * novelty)];
  const texts = percents.map((share, k) => `${share}\u00a0% ${data.model.parts[k]}`);
  return { percents, text: texts.join(", ") };
}

/* -- counting ------------------------------------------------------------------- */

const ascending = (values) => Float64Array.from(values).sort();

/* The number of sorted values above a threshold. */
function nAbove(sorted, threshold) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > threshold) high = middle;
    else low = middle + 1;
  }
  return sorted.length - low;
}

const groups = { all: ascending(data.scores), good: null, bad: null, unknown: null };

function sortGroups() {
  const parts = { good: [], bad: [], unknown: [] };
  data.scores.forEach((score, i) => {
    const truth = truthOf(i);
    parts[truth < 0 ? "unknown" : truth ? "bad" : "good"].push(score);
  });
  for (const name of Object.keys(parts)) groups[name] = ascending(parts[name]);
}
sortGroups();

const ratio = (part, whole) => (whole > 0 ? part / whole : NaN);

function countsAt(threshold) {
  const tp = nAbove(groups.bad, threshold);
  const fp = nAbove(groups.good, threshold);
  const fn = groups.bad.length - tp;
  const tn = groups.good.length - fp;
  return { tp, fp, fn, tn, anomalies: nAbove(groups.all, threshold) };
}

function ratesOf({ tp, fp, fn, tn }) {
  return {
    falseAlarm: ratio(fp, fp + tn),
    detection: ratio(tp, tp + fn),
    precision: ratio(tp, tp + fp),
    f1: ratio(2 * tp, 2 * tp + fp + fn),
    accuracy: ratio(tp + tn, tp + fp + fn + tn),
  };
}

/* The 95 % Wilson interval of a proportion. */
function interval(part, whole) {
  if (!whole) return null;
  const z = 1.959963984540054;
  const p = part / whole;
  const width = 1 + (z * z) / whole;
  const middle = (p + (z * z) / (2 * whole)) / width;
  const half =
    (z / width) * Math.sqrt((p * (1 - p)) / whole + (z * z) / (4 * whole * whole));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

/* Proportions of fewer images are too uncertain to be shown. */
const LEAST = 10;

/* False alarm rate and detection rate at every threshold, and the area under the curve. */
function rocCurve() {
  const { good, bad } = groups;
  if (good.length < LEAST || bad.length < LEAST) return null;
  const points = [{ x: 0, y: 0, threshold: Infinity }];
  let area = 0;
  let [g, b] = [good.length, bad.length];
  while (g > 0 || b > 0) {
    const score = Math.max(g ? good[g - 1] : -Infinity, b ? bad[b - 1] : -Infinity);
    while (g > 0 && good[g - 1] === score) g--;
    while (b > 0 && bad[b - 1] === score) b--;
    const last = points[points.length - 1];
    const x = 1 - g / good.length;
    const y = 1 - b / bad.length;
    area += ((x - last.x) * (y + last.y)) / 2;
    points.push({ x, y, threshold: score });
  }
  return { points, area };
}

/* -- the threshold -------------------------------------------------------------- */

/* Each position of the slider is a threshold between two neighbouring scores. */
const steps = groups.all.filter((score, i, all) => i === 0 || score > all[i - 1]);
const positionOf = (threshold) => steps.length - nAbove(steps, threshold);

function thresholdAt(position) {
  const model = data.model.threshold;
  if (positionOf(model) === position) return model;
  const first = steps[0];
  const last = steps[steps.length - 1];
  if (position <= 0) return first > 0 ? first * 0.9 : first - (last - first || 1) / 10;
  if (position >= steps.length) return last > 0 ? last * 1.1 : last;
  const [below, above] = [steps[position - 1], steps[position]];
  const middle = below + (above - below) / 2;
  return middle < above ? middle : below;
}

function setThreshold(threshold) {
  if (!Number.isFinite(threshold) || threshold === state.threshold) return;
  state.threshold = threshold;
  tell("threshold");
}

/* -- marks ---------------------------------------------------------------------- */

const STORE = `skfcdd-report-${data.id}`;
let kept = true;

function readMarks() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) || "null");
    if (found) {
      state.marks = state.marks.map((_, i) =>
        MARKS.includes(found[data.names[i]]) ? found[data.names[i]] : "",
      );
    }
  } catch (error) {
    kept = false;
  }
}

function marksByName() {
  /* Without a prototype, no name can collide with an inherited property. */
  const found = Object.create(null);
  state.marks.forEach((mark, i) => {
    if (mark) found[data.names[i]] = mark;
  });
  return found;
}

function marksChanged() {
  try {
    localStorage.setItem(STORE, JSON.stringify(marksByName()));
  } catch (error) {
    kept = false;
  }
  sortGroups();
  tell("marks");
  tell("threshold");
}

/* Setting the same mark again removes it. */
function toggleMark(i, mark) {
  state.marks[i] = state.marks[i] === mark ? "" : mark;
  marksChanged();
  return state.marks[i];
}

readMarks();
sortGroups();

/* -- formatting ----------------------------------------------------------------- */

function shown(value, digits = 4) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    return value.toExponential(digits - 2).replace("e+", "e").replace("-", "−");
  }
  const text = value.toPrecision(digits);
  const plain = text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  return plain.replace("-", "−");
}

function percent(share) {
  if (!Number.isFinite(share)) return "–";
  const exact = 100 * share;
  /* "0 %" and "100 %" are shorter than "0.00 %" and "100.00 %". */
  const value = exact > 99.995 ? 100 : exact < 0.005 ? 0 : exact;
  const digits = value === 0 || value === 100 ? 0 : value < 1 || value > 99 ? 2 : 1;
  return `${value.toFixed(digits)}\u00a0%`;
}

const many = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;

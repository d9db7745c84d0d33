/* The worst errors, the summary of the performance, and commands to run next. */

/* Number of images with errors shown next to the rates. */
const WORST = 4;
/* A threshold set on fewer good images than this is uncertain. */
const FEW_GOOD = 50;

/* The worst errors of both kinds, in turn: defects with the lowest scores, and good images
   with the highest. */
function worstErrors() {
  const missed = allRows.filter((i) => outcomeOf(i) === "missed").sort(ORDERS.low);
  const alarms = allRows.filter((i) => outcomeOf(i) === "false alarm").sort(ORDERS.score);
  const turns = missed.flatMap((i, k) => (k < alarms.length ? [i, alarms[k]] : [i]));
  return [...turns, ...alarms.slice(missed.length)].slice(0, WORST);
}

let errorsShown = null;

function drawErrors() {
  const known = groups.good.length + groups.bad.length > 0;
  byId("errors-panel").hidden = !known;
  const list = known ? worstErrors() : [];
  const n = allRows.filter(isWrong).length;
  byId("errors-note").textContent = n
    ? `${many(n, "error")}, the worst first. Click an image to enlarge it.`
    : "There are no errors at this threshold.";
  const key = list.join();
  if (key !== errorsShown) {
    errorsShown = key;
    byId("errors").replaceChildren(...list.map(errorCard));
  }
  byId("errors").querySelectorAll("button").forEach((button, k) => {
    button.querySelector(".number").textContent = comparedTo(list[k]);
  });
}

function errorCard(i) {
  const outcome = outcomeOf(i);
  const image = element("img", { alt: "", draggable: false });
  const heat = element("canvas", { width: 0, height: 0 });
  const fitted = element("span", { class: "fitted" }, image, heat);
  fitInto(fitted, sizeOf(i));
  const frame = element("span", { class: "frame", "aria-hidden": "true" }, fitted);
  const words = element("span", { class: "line" },
    element("span", { class: "chip" }, `${SIGNS[outcome]} ${outcome}`),
    element("span", { class: "number" }));
  const open = element("button", { type: "button", class: "glance" }, frame, nameOf(i), words);
  open.addEventListener("click", () => openView(i, worstErrors()));
  const item = element("li", { class: "error" }, open);
  item.dataset.outcome = outcome;
  const picture = pictureOf(i);
  if (picture) {
    image.src = thumbOf(i, picture);
    heatOf(picture.heat).then((whole) => paintHeat(heat, whole));
  } else frame.classList.add("empty");
  return item;
}

/* Summarise the performance of the model in one sentence. */
function drawVerdict(counts) {
  const { tp, fp, fn, tn } = counts;
  const own = state.threshold === data.model.threshold;
  const start = own ? "At the model’s threshold" : "At this threshold";
  const parts = [];
  if (tp + fn) parts.push(`${tp} of ${many(tp + fn, "defect")} ${tp === 1 ? "is" : "are"} detected`);
  if (fp + tn) {
    parts.push(`${fp} of ${many(fp + tn, "good image")} ${fp === 1 ? "raises" : "raise"} a false alarm`);
  }
  if (!parts.length) {
    const n = counts.anomalies;
    parts.push(`${n} of ${many(nImages, "image")} ${n === 1 ? "is" : "are"} classified as anomalous`);
  }
  byId("verdict").textContent = `${start}, ${parts.join(", and ")}.`;
  const n = data.model.n_calibration;
  const few = own && n !== null && n < FEW_GOOD;
  byId("few").hidden = !few;
  if (few) {
    byId("few").textContent = `This threshold was set on only ${many(n, "good image")}, so it may perform ` +
      "differently on new images. Calibrate on more good images.";
  }
}

/* -- commands to run next ------------------------------------------------------------- */

/* A word, quoted for the shell if necessary. */
const shellWord = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/* The shortest number that is equivalent to the threshold for all images. */
function shortThreshold() {
  for (let digits = 4; digits < 17; digits++) {
    const text = String(Number(state.threshold.toPrecision(digits)));
    if (positionOf(Number(text)) === positionOf(state.threshold)) return text;
  }
  return String(state.threshold);
}

function drawNext() {
  const { origin } = data;
  const marked = state.marks.some((mark) => mark === "good" || mark === "defect");
  const moved = state.threshold !== data.model.threshold;
  byId("next").hidden = !origin || !(marked || moved);
  if (!origin) return;
  byId("next-threshold").hidden = !moved;
  byId("next-marks").hidden = !marked;
  const changed = shellWord(origin.model.replace(/\.skfcdd$/, "") + "-2.skfcdd");
  const [model, folder] = [origin.model, origin.folder].map(shellWord);
  const review = shellWord(`${reviewName()}.json`);
  byId("command-threshold").textContent =
    `skfcdd calibrate ${model} --threshold ${shortThreshold()} -o ${changed}`;
  byId("command-marks").textContent = `skfcdd fit ${folder} --review ${review} -o ${changed}`;
}

function startNext() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const code = byId(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(code.textContent);
        byId("review-said").textContent = "Copied.";
      } catch (error) {
        /* Without access to the clipboard, select the text for the reader to copy. */
        window.getSelection().selectAllChildren(code);
        byId("review-said").textContent = "Selected: press Ctrl+C to copy.";
      }
    });
  }
  on("threshold", drawNext);
  on("marks", drawNext);
  drawNext();
}

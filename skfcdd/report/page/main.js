/* The threshold, display options, printing, keys, and the start of the page. */

/* -- threshold ------------------------------------------------------------------------ */

function drawSlider() {
  const slider = byId("threshold");
  slider.max = String(steps.length);
  slider.value = String(positionOf(state.threshold));
  slider.setAttribute("aria-valuetext", byId("summary").textContent);
  const field = byId("threshold-value");
  if (document.activeElement !== field) field.value = String(Number(state.threshold.toPrecision(5)));
  const moved = state.threshold !== data.model.threshold;
  byId("reset").disabled = !moved;
  document.body.classList.toggle("moved", moved);
}

function startThreshold() {
  byId("threshold").addEventListener("input", (event) =>
    setThreshold(thresholdAt(Number(event.target.value))),
  );
  byId("threshold-value").addEventListener("input", (event) =>
    setThreshold(event.target.value === "" ? NaN : Number(event.target.value)),
  );
  byId("threshold-value").addEventListener("change", drawSlider);
  byId("threshold-value").addEventListener("blur", () => setTimeout(drawSlider));
  byId("reset").addEventListener("click", () => {
    setThreshold(data.model.threshold);
    byId("threshold").focus();
  });
  byId("reset").textContent = `Reset to ${shown(data.model.threshold)}`;
  byId("reset").setAttribute("aria-label", `Reset to ${shown(data.model.threshold)}, the model’s threshold`);
  const share = positionOf(data.model.threshold) / steps.length;
  byId("model-tick").style.setProperty("--at", String(share));
  on("threshold", drawSlider);
  on("marks", drawSlider);
  drawSlider();
}

/* -- display options -------------------------------------------------------------------- */

let lastOverlay = state.overlay;

function setOverlay(value) {
  if (value > 0) lastOverlay = value;
  state.overlay = value;
  for (const id of ["overlay", "view-overlay"]) {
    byId(id).value = String(value);
    byId(`${id}-value`).textContent = `${value} %`;
  }
  document.body.style.setProperty("--overlay", String(value / 100));
}

function startLooks() {
  for (const id of ["overlay", "view-overlay"]) {
    byId(id).addEventListener("input", (event) => setOverlay(Number(event.target.value)));
  }
  setOverlay(state.overlay);
  startParts();
  for (const [id, name] of [["outline", "outlined"], ["grey", "greyed"]]) {
    const follow = () => document.body.classList.toggle(name, byId(id).checked);
    byId(id).addEventListener("change", follow);
    follow();
  }
  const size = byId("size");
  const [h, w] = data.aspect;
  size.value = String(Math.round(Math.min(360, Math.max(110, 176 * Math.sqrt(w / h)))));
  const follow = () => document.body.style.setProperty("--card", `${size.value}px`);
  size.addEventListener("input", follow);
  follow();
  byId("scale-low").textContent = shown(scaleLow, 3);
  byId("scale-high").textContent = shown(scaleHigh, 3);
  byId("scale").title = "Colour scale of all heatmaps. Values below the first number are not drawn; " +
    "values above the second have its colour.";
  const bar = byId("scale-bar").getContext("2d");
  const colours = new ImageData(256, 1);
  const pixels = new Uint32Array(colours.data.buffer);
  const draw = () => {
    for (let k = 0; k < 256; k++) {
      pixels[k] = levelPixels[levelOf(scaleLow + (k / 255) * (scaleHigh - scaleLow))];
    }
    bar.putImageData(colours, 0, 0);
  };
  byId("faint").addEventListener("input", (event) => {
    liftFaint(Number(event.target.value) / 100);
    draw();
    tell("part");
  });
  draw();
}

/* Choose the part of the heatmaps to draw, if they have parts. */
function setPart(part) {
  state.part = part;
  for (const id of ["part", "view-part"]) byId(id).value = part;
  tell("part");
}

const PART_NAMES = ["heat", "defect", "novelty"];

function startParts() {
  const words = ["both", ...(data.model.parts || [])];
  for (const id of ["part", "view-part"]) {
    byId(`${id}-row`).hidden = !data.model.parts;
    byId(id).append(
      ...words.map((text, k) => element("option", { value: PART_NAMES[k] }, text)),
    );
    byId(id).addEventListener("input", (event) => setPart(event.target.value));
  }
  byId("part-key").hidden = byId("shares-legend").hidden = !data.model.parts;
  if (!data.model.parts) return;
  byId("shares-legend").append(
    ...PART_NAMES.slice(1).map((name, k) =>
      element("span", {}, element("span", { class: `key ${name}` }), ` ${data.model.parts[k]}`),
    ),
  );
}

function nextPart() {
  const k = PART_NAMES.indexOf(state.part);
  setPart(PART_NAMES[(k + 1) % PART_NAMES.length]);
  byId("view-said").textContent = byId("part").selectedOptions[0].text;
}

function startTheme() {
  const root = document.documentElement;
  const draw = () => {
    const dark = root.dataset.theme === "dark";
    byId("theme").setAttribute("aria-pressed", String(dark));
  };
  root.addEventListener("theme", draw);
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("skfcdd-theme", root.dataset.theme);
    } catch (error) {
      /* Without local storage, the theme is lost when the page is closed. */
    }
    draw();
  });
  draw();
}

/* -- printing ------------------------------------------------------------------------------ */

/* Maximum number of images to print: the first ones that match the filters. */
const PRINTED = 200;

async function readyToPrint() {
  gallery.printing = true;
  makeMore(Math.min(PRINTED, gallery.list.length));
  const shownFirst = gallery.list.slice(0, PRINTED);
  await Promise.all(shownFirst.map((i) => loadCard(gallery.cards.get(i))));
}

/* -- keys -------------------------------------------------------------------------------- */

const typing = (target) => target.matches("input:not([type=checkbox]), select, textarea");
const MARK_KEYS = { d: "defect", n: "good", u: "unsure" };

function onKey(event) {
  if (typing(event.target) || event.altKey || event.ctrlKey || event.metaKey) return;
  const inView = byId("view").open && !byId("help").open;
  if (byId("help").open) return;
  const mark = MARK_KEYS[event.key];
  const card = event.target.closest(".card");
  if (event.key === "?") openHelp();
  else if (event.key === "o") setOverlay(state.overlay > 0 ? 0 : lastOverlay);
  else if (event.key === "p" && data.model.parts) nextPart();
  else if (mark && inView) markInView(mark);
  else if (mark && card) toggleMark(Number(card.dataset.row), mark);
  else if (!inView || !keyInView(event)) return;
  event.preventDefault();
}

function openHelp() {
  byId("help").showModal();
  byId("help-title").focus();
}

/* -- about this report --------------------------------------------------------------------- */

function drawAbout() {
  const { model } = data;
  const made = new Date(data.created);
  const when = Number.isNaN(made.getTime()) ? data.created : made.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  const nPictures = Object.keys(data.peaks).length;
  const fewer = nPictures < nImages ? `, ${nPictures} of them shown` : "";
  byId("subtitle").textContent = `${data.origin ? `${data.origin.model}, ` : ""}${model.name}, ${many(nImages, "image")}${fewer}, ${when}`;
  const rows = [
    ["Model", model.name],
    ...model.facts.map(([name, value]) => [name[0].toUpperCase() + name.slice(1), value]),
    ["Score", scoreText(model)],
    ["Heatmap", `All images have the same colour scale. Values are rounded to 256 levels; the error is at most ${shown(levelError(data.levels.indexOf(scaleHigh) - 1), 2)} up to ${shown(scaleHigh, 3)}, and at most ${percent(levelError(250) / data.levels[250])} above it.`],
    ["Parts", model.parts && `Each heatmap is the sum of two parts: “${model.parts[0]}”, learned by the network, and “${model.parts[1]}”, the distance to features of good images in a memory bank. The bar below an image shows the share of its score from each part.`],
    ["Pictures", pictureText()],
    ["File", `${data.n_bytes.toLocaleString("en")} bytes, with pictures of ${nPictures} of ${many(nImages, "image")}; it loads nothing from the network`],
    ["Created by", `skfcdd ${data.version}`],
  ];
  byId("about").replaceChildren(
    ...rows.filter(([, value]) => value).flatMap(([name, value]) => [
      element("dt", {}, name), element("dd", {}, value),
    ]),
  );
}

function pictureText() {
  const [ph, pw] = data.picture_size;
  const [h, w] = sizeOf(Number(Object.keys(data.peaks)[0] ?? 0));
  const whole = ph === h && pw === w;
  const text = whole
    ? data.of_files ? "At the resolution of the files" : `${w} x ${h} pixels`
    : `Reduced, for example from ${w} x ${h} to ${pw} x ${ph} pixels; each pixel is the mean of those it replaces`;
  const lossy = data.quality === null ? "." : "; lossy compression, so pixel values are approximate.";
  const seen = data.of_files ? ` The model’s input has ${data.image_size[1]} x ${data.image_size[0]} pixels.` : "";
  return text + lossy + seen;
}

function scoreText({ pixels, min_area: area }) {
  if (!pixels) return "Anomaly score of the image. Images with a score above the threshold are classified as anomalous.";
  const what = area > 1 ? `with at least ${area} connected pixels above it` : "with any pixel above it";
  return `The threshold applies to pixels of the heatmap. An image ${what} is classified as ` +
    "anomalous. Its score is the lowest threshold at which it is classified as normal.";
}

/* On a narrow screen, filters and display options would fill it: start with them closed. */
function startControls() {
  const narrow = window.matchMedia("(max-width: 560px)");
  const follow = () => (byId("controls").open = !narrow.matches);
  narrow.addEventListener("change", follow);
  follow();
}

/* -- start ---------------------------------------------------------------------------------- */

startTheme();
startLooks();
startFigures();
startThreshold();
startGallery();
startReview();
startNext();
startControls();
startView();
drawAbout();
document.addEventListener("keydown", onKey);
byId("help-open").addEventListener("click", openHelp);
byId("help-close").addEventListener("click", () => byId("help").close());
byId("print").addEventListener("click", async () => {
  await readyToPrint();
  window.print();
});
window.addEventListener("afterprint", () => (gallery.printing = false));
document.documentElement.dataset.ready = "true";

/* The large view of an image: zoom, pan, values at the pointer, marks. */

const view = { row: -1, list: [], zoom: 1, x: 0, y: 0, heat: null, whole: null, image: null };
const pointers = new Map();
const MOST_ZOOM = 40;

/* -- which image -------------------------------------------------------------------- */

function openView(i, list = gallery.list) {
  view.list = list.slice();
  showInView(i);
  if (!byId("view").open) byId("view").showModal();
  fit();
  byId("view-name").focus();
}

async function showInView(i) {
  view.row = i;
  view.heat = view.whole = view.image = null;
  view.zoom = 1;
  view.x = view.y = 0;
  const place = view.list.indexOf(i);
  byId("view-name").textContent = data.names[i];
  byId("view-place").textContent = `${place + 1} of ${view.list.length}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place >= view.list.length - 1;
  describeView();
  readAt(null);
  byId("view-marked").replaceChildren();
  const picture = pictureOf(i);
  byId("sheet").hidden = !picture;
  byId("no-picture").hidden = Boolean(picture);
  if (!picture) return;
  fit();
  const image = byId("view-image");
  image.src = picture.image;
  byId("view-region").replaceChildren();
  byId("view-outline").replaceChildren();
  const still = () => view.row === i;
  const whole = await heatOf(picture.heat);
  if (!still()) return;
  view.whole = whole;
  drawRegion(byId("view-region"), whole);
  drawOutline(byId("view-outline"), picture.outline, whole);
  drawMarkedInView();
  await drawHeatInView(picture, still);
  await image.decode();
  if (still()) view.image = pixelsOf(image);
}

/* Draw the chosen part of the heatmap. */
async function drawHeatInView(picture, still) {
  const chosen = state.part;
  const part = chosen === "heat" ? view.whole : await heatOf(picture[chosen]);
  if (!still() || chosen !== state.part) return;
  view.heat = part;
  paintHeat(byId("view-heat"), part);
}

function drawMarkedInView() {
  if (view.whole) drawOutline(byId("view-marked"), markedPath(view.whole), view.whole);
}

function redrawPartInView() {
  const i = view.row;
  const picture = i < 0 ? null : pictureOf(i);
  if (picture && view.whole) drawHeatInView(picture, () => view.row === i);
}

function describeView() {
  const i = view.row;
  if (i < 0) return;
  const outcome = outcomeOf(i);
  const verdict = byId("view-verdict");
  verdict.dataset.outcome = outcome;
  verdict.textContent = `${SIGNS[outcome]} ${outcome}`;
  const truth = data.truth ? ["good", "defect"][data.truth[i]] : null;
  const peak = data.peaks[i];
  const rows = [
    ["Score", shown(data.scores[i])],
    ["Threshold", shown(state.threshold)],
    ["Evidence", sharesOf(i) && sharesOf(i).text],
    ["Label", truth],
    ["Kind", data.kinds && kindNames.length > 1 ? kindName(data.kinds[i]) : null],
    ["Peak", peak ? `${shown(peak[0])} in row ${peak[1]}, column ${peak[2]}` : null],
  ];
  byId("view-facts").replaceChildren(
    ...rows.filter(([, value]) => value !== null).flatMap(([name, value]) => [
      element("dt", {}, name), element("dd", {}, value),
    ]),
  );
  for (const button of document.querySelectorAll("[data-mark]")) {
    if (button.tagName !== "BUTTON") continue;
    button.setAttribute("aria-pressed", String(state.marks[i] === button.dataset.mark));
  }
}

function stepView(by) {
  const place = view.list.indexOf(view.row) + by;
  if (place < 0 || place >= view.list.length) return;
  showInView(view.list[place]);
  const i = view.row;
  byId("view-said").textContent = `${data.names[i]}, ${outcomeOf(i)}, score ${shown(data.scores[i])}`;
}

function markInView(mark) {
  const found = toggleMark(view.row, mark);
  byId("view-said").textContent = found ? `Marked as ${found}.` : "Mark removed.";
  describeView();
}

/* -- zoom and pan ---------------------------------------------------------------------- */

function fit() {
  const stage = byId("stage");
  const [h, w] = view.row < 0 ? data.aspect : sizeOf(view.row);
  const scale = Math.min(stage.clientWidth / w, stage.clientHeight / h) || 1;
  view.base = [w * scale, h * scale];
  place();
}

function place() {
  const stage = byId("stage");
  const sheet = byId("sheet");
  const size = view.base.map((side) => side * view.zoom);
  const room = [stage.clientWidth, stage.clientHeight];
  /* The picture cannot be moved out of sight. */
  const [x, y] = [view.x, view.y].map((at, k) => {
    const slack = Math.max(0, (size[k] - room[k]) / 2);
    return Math.min(slack, Math.max(-slack, at));
  });
  [view.x, view.y] = [x, y];
  sheet.style.width = `${size[0]}px`;
  sheet.style.height = `${size[1]}px`;
  sheet.style.transform = `translate(${(room[0] - size[0]) / 2 + x}px, ${(room[1] - size[1]) / 2 + y}px)`;
  /* At high zoom, pixels are shown without smoothing. */
  sheet.classList.toggle("coarse", view.zoom > 1 && size[0] / (byId("view-image").naturalWidth || size[0]) > 4);
  byId("zoom-out").disabled = view.zoom <= 1;
  byId("zoom-fit").textContent = view.zoom === 1 ? "Fit" : `${view.zoom.toFixed(1)} ×`;
}

/* Zoom around a point, whose coordinates are relative to the centre of the stage. */
function zoomBy(factor, cx = 0, cy = 0) {
  const before = view.zoom;
  view.zoom = Math.min(MOST_ZOOM, Math.max(1, before * factor));
  if (view.zoom < 1.001) view.zoom = 1;
  const ratio = view.zoom / before;
  view.x = cx - (cx - view.x) * ratio;
  view.y = cy - (cy - view.y) * ratio;
  place();
}

function panBy(dx, dy) {
  view.x += dx;
  view.y += dy;
  place();
}

function fromMiddle(event) {
  const rect = byId("stage").getBoundingClientRect();
  return [event.clientX - rect.left - rect.width / 2, event.clientY - rect.top - rect.height / 2];
}

function pointerMoved(event) {
  const before = pointers.get(event.pointerId);
  if (!before) return readAt(event);
  const others = [...pointers.values()].filter((other) => other !== before);
  pointers.set(event.pointerId, event);
  if (others.length) {
    const away = (other, one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
    zoomBy(away(others[0], event) / away(others[0], before), ...fromMiddle(event));
  } else panBy(event.clientX - before.clientX, event.clientY - before.clientY);
  return readAt(event);
}

/* -- values at the pointer --------------------------------------------------------------- */

function readAt(event) {
  const words = { "at-place": "–", "at-heat": "–", "at-image": "–" };
  if (event && view.heat && view.image) {
    const rect = byId("sheet").getBoundingClientRect();
    const [across, down] = [
      (event.clientX - rect.left) / rect.width, (event.clientY - rect.top) / rect.height,
    ];
    if (across >= 0 && across < 1 && down >= 0 && down < 1) {
      const [h, w] = sizeOf(view.row);
      words["at-place"] = `row ${Math.floor(down * h)}, column ${Math.floor(across * w)}`;
      words["at-heat"] = heatText(levelAt(view.heat, across, down));
      words["at-image"] = imageText(pixelAt(view.image, across, down));
    }
  }
  for (const [id, text] of Object.entries(words)) byId(id).textContent = text;
  byId("pointer").hidden = words["at-place"] === "–";
  byId("pointer-hint").hidden = !byId("pointer").hidden;
}

function pixelAt({ data: values, width, height }, across, down) {
  const k = 4 * (Math.floor(down * height) * width + Math.floor(across * width));
  return values.subarray(k, k + 3);
}

function levelAt({ codes, width, height }, across, down) {
  return codes[Math.floor(down * height) * width + Math.floor(across * width)];
}

function heatText(code) {
  if (code === 255) return `${shown(data.levels[255], 3)} or more`;
  return `${shown(data.levels[code], 3)} ± ${shown(levelError(code), 1)}`;
}

function imageText(pixel) {
  const [low, high] = data.value_range;
  const values = [...pixel].map((value) => shown(low + (value / 255) * (high - low), 3));
  return values.every((value) => value === values[0]) ? values[0] : values.join(", ");
}

/* -- keys and buttons -------------------------------------------------------------------- */

function keyInView(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return false;
  const step = 60;
  const pans = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (event.shiftKey && pans[event.key]) panBy(...pans[event.key]);
  else if (event.key === "ArrowLeft") stepView(-1);
  else if (event.key === "ArrowRight") stepView(1);
  else if (event.key === "+" || event.key === "=") zoomBy(1.5);
  else if (event.key === "-" || event.key === "−") zoomBy(1 / 1.5);
  else if (event.key === "0") zoomBy(0);
  else return false;
  return true;
}

function closeView() {
  byId("view").close();
}

function startView() {
  const marked = data.model.pixels
    ? "defects marked by the model at this threshold"
    : `heatmap above ${shown(data.model.level, 3)}`;
  const lines = [
    data.outlines && "solid white, true defects",
    `dashed, ${marked}`,
    Object.keys(data.regions).length && "solid yellow, the region of interest (shaded areas are ignored)",
  ];
  byId("outline-legend").textContent = `Outlines: ${lines.filter(Boolean).join("; ")}.`;
  const stage = byId("stage");
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), ...fromMiddle(event));
    readAt(event);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    readAt(event);
  });
  stage.addEventListener("pointermove", pointerMoved);
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  stage.addEventListener("pointerleave", () => readAt(null));
  stage.addEventListener("dblclick", (event) => zoomBy(view.zoom > 1 ? 0 : 4, ...fromMiddle(event)));
  const buttons = {
    "view-close": closeView,
    previous: () => stepView(-1),
    next: () => stepView(1),
    "zoom-in": () => zoomBy(1.5),
    "zoom-out": () => zoomBy(1 / 1.5),
    "zoom-fit": () => zoomBy(0),
  };
  for (const [id, act] of Object.entries(buttons)) byId(id).addEventListener("click", act);
  for (const mark of MARKS) {
    document.querySelector(`button[data-mark=${mark}]`).addEventListener("click", () => markInView(mark));
  }
  byId("view").addEventListener("close", () => {
    /* Return to the last viewed image, if it is still in the list. */
    if (gallery.list.includes(view.row)) setCurrent(view.row, true);
    view.row = -1;
  });
  byId("view").addEventListener("click", (event) => {
    if (event.target === byId("view")) closeView();
  });
  new ResizeObserver(() => byId("view").open && fit()).observe(stage);
  on("threshold", describeView);
  on("part", redrawPartInView);
  if (data.model.pixels) on("threshold", drawMarkedInView);
  on("marks", describeView);
}

/* The gallery: filters, order, and the cards of images. */

/* Number of cards made at a time; more are made when the reader scrolls near the end. */
const CHUNK = 120;

const gallery = { list: [], made: 0, cards: new Map(), current: -1, printing: false };

/* -- filters and order -------------------------------------------------------------- */

const lowerNames = data.names.map((name) => name.toLowerCase());

function chosen() {
  const [verdict, outcome, kind, mark] = ["by-verdict", "by-outcome", "by-kind", "by-mark"].map(
    (id) => byId(id).value,
  );
  const text = byId("by-name").value.trim().toLowerCase();
  const fits = (i) =>
    (!verdict || isAnomaly(i) === (verdict === "1")) &&
    (!outcome || fitsOutcome(i, outcome)) &&
    (!kind || data.kinds[i] === kindNames[kind]) &&
    (!mark || fitsMark(state.marks[i], mark)) &&
    (!text || lowerNames[i].includes(text));
  return allRows.filter(fits);
}

const allRows = Array.from({ length: nImages }, (_, i) => i);

function fitsOutcome(i, outcome) {
  if (outcome === "wrong") return isWrong(i);
  if (outcome === "right") return truthOf(i) >= 0 && !isWrong(i);
  return outcomeOf(i) === outcome;
}

function fitsMark(found, mark) {
  if (mark === "any") return found !== "";
  return mark === "none" ? found === "" : found === mark;
}

const score = (i) => data.scores[i];
const nameOrder = new Intl.Collator(undefined, { numeric: true }).compare;
const ORDERS = {
  score: (a, b) => score(b) - score(a) || a - b,
  low: (a, b) => score(a) - score(b) || a - b,
  threshold: (a, b) =>
    Math.abs(score(a) - state.threshold) - Math.abs(score(b) - state.threshold) || a - b,
  errors: (a, b) => isWrong(b) - isWrong(a) || score(b) - score(a) || a - b,
  name: (a, b) => nameOrder(data.names[a], data.names[b]) || a - b,
  given: (a, b) => a - b,
};

/* Whether the list depends on the threshold, or on marks. */
const followsThreshold = () =>
  byId("by-verdict").value || byId("by-outcome").value ||
  ["threshold", "errors"].includes(byId("order").value);
const followsMarks = () =>
  byId("by-mark").value || byId("by-outcome").value || byId("order").value === "errors";

/* Update the list. With `stay`, the reader keeps the place in the list and the focus, even
   if the current image has left the list. */
function listImages(stay = false) {
  const list = chosen().sort(ORDERS[byId("order").value]);
  const same = list.length === gallery.list.length && list.every((i, k) => i === gallery.list[k]);
  if (!same || gallery.made === 0) {
    const focused = byId("gallery").contains(document.activeElement);
    const place = gallery.list.indexOf(gallery.current);
    const made = stay === true ? gallery.made : 0;
    gallery.list = list;
    gallery.made = 0;
    byId("gallery").replaceChildren();
    makeMore(Math.max(CHUNK, made));
    const left = !list.includes(gallery.current);
    if (left) setCurrent(list[Math.min(Math.max(0, stay === true ? place : 0), list.length - 1)]);
    if (focused && list.length) setCurrent(gallery.current, true);
  }
  byId("none").hidden = list.length > 0;
  const asked = FILTERS.filter((id) => byId(id).value.trim()).map((id) => {
    const found = byId(id);
    return found.selectedOptions ? found.selectedOptions[0].text : `“${found.value.trim()}”`;
  });
  byId("status").textContent = asked.length
    ? `${list.length} of ${many(nImages, "image")}: ${asked.join(", ")}.`
    : `All ${many(nImages, "image")}.`;
}

/* -- cards ---------------------------------------------------------------------------- */

function makeMore(upTo = gallery.made + CHUNK) {
  const next = gallery.list.slice(gallery.made, upTo);
  if (!next.length) return;
  byId("gallery").append(...next.map((i) => cardOf(i).item));
  gallery.made += next.length;
}

function cardOf(i) {
  if (!gallery.cards.has(i)) gallery.cards.set(i, makeCard(i));
  const card = gallery.cards.get(i);
  updateCard(card);
  return card;
}

function makeCard(i) {
  const image = element("img", { alt: "", draggable: false });
  const heat = element("canvas", { class: "heat", width: 0, height: 0 });
  const [region, marked, outline] = ["outline region", "outline marked", "outline"].map((kind) =>
    svgElement("svg", { class: kind, preserveAspectRatio: "none" }),
  );
  const fitted = element("span", { class: "fitted" }, image, heat, region, marked, outline);
  fitInto(fitted, sizeOf(i));
  const frame = element("span", { class: "frame", "aria-hidden": "true" }, fitted);
  const verdict = element("span", { class: "chip" });
  const mark = element("span", { class: "mark" });
  const number = element("span", { class: "number" });
  const line = element("span", { class: "line" }, verdict, number, mark);
  const open = element("button", { type: "button", class: "open", tabIndex: -1 }, frame, nameOf(i), line);
  const shares = sharesOf(i);
  if (shares) open.append(shareBar(shares));
  const item = element("li", { class: "card" }, open);
  item.dataset.row = i;
  nearness.observe(item);
  return {
    i, item, open, frame, image, heat, region, outline, marked, verdict, number, mark,
    said: null, loaded: 0, levels: null,
  };
}

/* Kind and short name of an image; a tooltip shows the full name. */
function nameOf(i) {
  const kind = data.kinds && kindNames.length > 1 ? kindName(data.kinds[i]) : "";
  const name = element("span", { class: "name", title: data.names[i] });
  if (kind) name.append(element("bdi", { class: "kind" }, kind), " ");
  name.append(element("span", { class: "stem" }, element("bdi", {}, stemOf(i))));
  return name;
}

/* All frames have the median aspect ratio; images with another one are centred. */
function fitInto(fitted, [h, w]) {
  const [ah, aw] = data.aspect;
  const ratio = w / h / (aw / ah);
  fitted.style.width = `${100 * Math.min(1, ratio)}%`;
  fitted.style.height = `${100 * Math.min(1, 1 / ratio)}%`;
}

/* A bar for the share of a score from each part, with a text for screen readers. */
function shareBar({ percents, text }) {
  const [defect, novelty] = ["defect", "novelty"].map((name, k) => {
    const part = element("span", { class: name, "aria-hidden": "true" });
    part.style.width = `${percents[k]}%`;
    return part;
  });
  const words = element("span", { class: "hidden" }, text);
  return element("span", { class: "shares", title: text }, defect, novelty, words);
}

const SIGNS = { anomaly: "●", normal: "○", missed: "✕", "false alarm": "!" };

function updateCard(card) {
  const outcome = outcomeOf(card.i);
  const mark = state.marks[card.i];
  card.number.textContent = comparedTo(card.i);
  if (card.said === outcome + mark) return;
  card.said = outcome + mark;
  card.item.dataset.outcome = outcome;
  card.verdict.replaceChildren(
    element("span", { "aria-hidden": "true" }, SIGNS[outcome]), ` ${outcome}`,
  );
  card.mark.textContent = mark ? `marked ${mark}` : "";
  card.item.dataset.mark = mark;
}

function updateCards() {
  for (let k = 0; k < gallery.made; k++) updateCard(gallery.cards.get(gallery.list[k]));
}

/* -- pictures, only of cards near the visible ones --------------------------------------- */

const nearness = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const card = gallery.cards.get(Number(target.dataset.row));
      if (isIntersecting) loadCard(card);
      else dropCard(card);
    }
  },
  { rootMargin: "700px 0px" },
);

async function loadCard(card) {
  if (card.loaded) return card.ready;
  const turn = (card.loaded = performance.now());
  const picture = pictureOf(card.i);
  if (!picture) {
    card.frame.classList.add("empty");
    return undefined;
  }
  card.image.src = thumbOf(card.i, picture);
  const still = () => card.loaded === turn;
  card.ready = Promise.all([
    drawCard(card, picture, still),
    card.image.decode().catch(() => null),
  ]);
  return card.ready;
}

/* Draw the chosen part of the heatmap, and the outlines of the whole one. */
async function drawCard(card, picture, still) {
  const whole = await heatOf(picture.heat);
  if (!still()) return;
  card.levels = whole;
  drawRegion(card.region, whole);
  drawOutline(card.outline, picture.outline, whole);
  drawOutline(card.marked, markedPath(whole), whole);
  const part = state.part === "heat" ? whole : await heatOf(picture[state.part]);
  if (still()) paintHeat(card.heat, part);
}

const loadedCards = () => [...gallery.cards.values()].filter((card) => card.loaded);

function redrawParts() {
  for (const card of loadedCards()) {
    const turn = (card.loaded = performance.now());
    const picture = pictureOf(card.i);
    if (picture) card.ready = drawCard(card, picture, () => card.loaded === turn);
  }
}

/* For a segmenter, outlines depend on the threshold. */
function redrawMarked() {
  for (const card of loadedCards()) {
    if (card.levels) drawOutline(card.marked, markedPath(card.levels), card.levels);
  }
}

/* Free the memory of cards far from the visible ones. */
function dropCard(card) {
  if (!card.loaded || gallery.printing) return;
  card.loaded = 0;
  card.levels = null;
  card.image.removeAttribute("src");
  card.heat.width = card.heat.height = 0;
  card.region.replaceChildren();
  card.outline.replaceChildren();
  card.marked.replaceChildren();
}

/* -- keyboard navigation: Tab reaches one card, arrow keys the others --------------------- */

function setCurrent(i, focus = false) {
  const before = gallery.cards.get(gallery.current);
  if (before) before.open.tabIndex = -1;
  gallery.current = i === undefined ? -1 : i;
  if (i === undefined) return;
  const place = gallery.list.indexOf(i);
  while (place >= gallery.made) makeMore();
  const { open } = gallery.cards.get(i);
  open.tabIndex = 0;
  if (focus) open.focus();
}

function nColumns() {
  const items = byId("gallery").children;
  let n = 1;
  while (n < items.length && items[n].offsetTop === items[0].offsetTop) n++;
  return n;
}

const MOVES = {
  ArrowLeft: () => -1,
  ArrowRight: () => 1,
  ArrowUp: () => -nColumns(),
  ArrowDown: () => nColumns(),
  Home: () => -Infinity,
  End: () => Infinity,
};

function moveAmongCards(event) {
  const move = MOVES[event.key];
  if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
  const place = gallery.list.indexOf(gallery.current) + move();
  const last = gallery.list.length - 1;
  if (event.key.startsWith("Arrow") && (place < 0 || place > last)) return;
  event.preventDefault();
  setCurrent(gallery.list[Math.min(last, Math.max(0, place))], true);
}

/* -- start ---------------------------------------------------------------------------- */

const FILTERS = ["by-verdict", "by-outcome", "by-kind", "by-mark", "by-name"];

function startGallery() {
  const [h, w] = data.aspect;
  document.body.style.setProperty("--aspect", `${w} / ${h}`);
  byId("by-kind-row").hidden = kindNames.length < 2;
  kindNames.forEach((kind, k) =>
    byId("by-kind").append(element("option", { value: String(k) }, kindName(kind))),
  );
  for (const id of [...FILTERS, "order"]) byId(id).addEventListener("input", () => listImages());
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear-filters").addEventListener("click", () => {
    for (const id of FILTERS) byId(id).value = "";
    listImages();
  });
  byId("gallery").addEventListener("keydown", moveAmongCards);
  byId("gallery").addEventListener("click", (event) => {
    const item = event.target.closest(".card");
    if (item) openView(Number(item.dataset.row));
  });
  byId("gallery").addEventListener("focusin", (event) => {
    const item = event.target.closest(".card");
    if (item && Number(item.dataset.row) !== gallery.current) setCurrent(Number(item.dataset.row));
  });
  new IntersectionObserver(
    ([entry]) => entry.isIntersecting && makeMore(),
    { rootMargin: "1500px 0px" },
  ).observe(byId("sentinel"));
  on("part", redrawParts);
  on("threshold", () => {
    updateCards();
    if (data.model.pixels) redrawMarked();
    if (followsThreshold()) listImages(true);
  });
  on("marks", () => {
    updateOutcomes();
    if (followsMarks()) listImages(true);
  });
  updateOutcomes();
  listImages();
}

/* Filters by outcome need labels or marks. */
function updateOutcomes() {
  const known = groups.good.length + groups.bad.length > 0;
  byId("by-outcome-row").hidden = !known;
  byId("order-errors").disabled = !known;
  byId("use-marks-row").hidden = !state.marks.some((mark) => mark);
}

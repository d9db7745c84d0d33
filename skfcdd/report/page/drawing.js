/* Elements, colours, the pictures stored in the page, and axes of charts. */

/* Text is never inserted as HTML: names may contain any characters. */
function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") made.className = value;
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function svgElement(name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

/* -- colours of heatmaps ---------------------------------------------------------- */

/* Colour and opacity of each level as canvas pixels, as in all plots of the package. */
const levelPixels = new Uint32Array(256);
{
  const bytes = new Uint8Array(levelPixels.buffer);
  for (let k = 0; k < bytes.length; k++) {
    bytes[k] = parseInt(data.colours.slice(2 * k, 2 * k + 2), 16);
  }
}

const drawnPixels = levelPixels.slice();

const [scaleLow, scaleHigh] = data.model.scale;

/* Brighten the low end of the colour scale by a factor from 0 to 1. Values below the
   scale remain transparent. */
function liftFaint(share) {
  for (let k = 0; k < 256; k++) {
    const place = (data.levels[k] - scaleLow) / (scaleHigh - scaleLow);
    const lifted = place > 0 && place < 1 ? place ** (1 - 0.75 * share) : place;
    levelPixels[k] = drawnPixels[levelOf(scaleLow + lifted * (scaleHigh - scaleLow))];
  }
}

/* The level closest to a heatmap value. */
function levelOf(value) {
  const above = data.levels.findIndex((level) => level >= value);
  if (above <= 0) return above < 0 ? 255 : 0;
  const middle = (data.levels[above - 1] + data.levels[above]) / 2;
  return value < middle ? above - 1 : above;
}

/* The maximum rounding error of a level: half the distance to its neighbours. */
function levelError(code) {
  const { levels } = data;
  const below = code > 0 ? levels[code] - levels[code - 1] : 0;
  const above = code < 255 ? levels[code + 1] - levels[code] : 0;
  return Math.max(below, above) / 2;
}

/* -- pictures stored in the page ---------------------------------------------------- */

/* The thumbnail of an image or, if it is small, the picture itself. */
function thumbOf(i, picture) {
  const block = byId(`t${i}`);
  return block ? block.textContent : picture.image;
}

function pictureOf(i) {
  const block = byId(`p${i}`);
  if (!block) return null;
  const [image, heat, outline, defect, novelty] = block.textContent.split("\n");
  return { image, heat, outline, defect, novelty };
}

async function decoded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

/* A canvas for reading pixels, which the browser optimises for that. */
const reader = document
  .createElement("canvas")
  .getContext("2d", { willReadFrequently: true });

function pixelsOf(image) {
  const { naturalWidth: w, naturalHeight: h } = image;
  if (reader.canvas.width !== w || reader.canvas.height !== h) {
    reader.canvas.width = w;
    reader.canvas.height = h;
  }
  reader.clearRect(0, 0, w, h);
  reader.drawImage(image, 0, 0);
  return reader.getImageData(0, 0, w, h);
}

/* Decode the levels of a heatmap, or of one of its parts. */
async function heatOf(address) {
  const { data: pixels, width, height } = pixelsOf(await decoded(address));
  const codes = Uint8Array.from({ length: width * height }, (_, k) => pixels[4 * k]);
  return { codes, width, height };
}

function paintHeat(canvas, { codes, width, height }) {
  const colours = new ImageData(width, height);
  const target = new Uint32Array(colours.data.buffer);
  for (let k = 0; k < target.length; k++) target[k] = levelPixels[codes[k]];
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(colours, 0, 0);
}

/* Draw a path in pixels of the heatmap, which has the given size. */
function drawOutline(svg, path, { width: w, height: h }) {
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  svg.replaceChildren();
  if (!path) return;
  for (const kind of ["rim", "line"]) {
    svg.append(svgElement("path", { d: path, class: kind }));
  }
}

/* Draw the edge of the region of interest, if there is one, and shade the rest. */
const regionPaths = new Map();

function drawRegion(svg, { width: w, height: h }) {
  const name = `${h},${w}`;
  const runs = data.regions[name];
  if (!runs) return;
  if (!regionPaths.has(name)) {
    const kept = new Uint8Array(w * h);
    let at = 0;
    runs.forEach((length, k) => kept.fill(k % 2, at, (at += length)));
    regionPaths.set(name, loopsAround(kept, w, h));
  }
  const path = regionPaths.get(name);
  drawOutline(svg, path, { width: w, height: h });
  svg.prepend(svgElement("path", { d: `M0 0h${w}v${h}h${-w}Z${path}`, class: "shade" }));
}

/* The outline of what the model marks: for a segmenter, regions above its threshold that
   are large enough; otherwise, pixels above a level that few good images reach. */
function markedPath({ codes, width: w, height: h }) {
  const level = data.model.pixels ? state.threshold : data.model.level;
  const left = codes.map((code) => (data.levels[code] > level ? 1 : 0));
  const kept = new Uint8Array(w * h);
  /* The minimum area is in pixels of the model's input; stored heatmaps may be smaller. */
  const least = data.model.min_area * data.heat_share;
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    const region = regionAt(left, start, w, h);
    if (region.length >= least) for (const k of region) kept[k] = 1;
  }
  return loopsAround(kept, w, h);
}

/* The edges of the pixels that are set, as closed loops, so that dashes are continuous. */
function loopsAround(kept, w, h) {
  const inside = (x, y) => x >= 0 && x < w && y >= 0 && y < h && kept[y * w + x];
  /* Unit steps from corner to corner, with a set pixel on the right. */
  const steps = new Map();
  const add = (x, y, dx, dy) => {
    const corner = y * (w + 1) + x;
    if (!steps.has(corner)) steps.set(corner, []);
    steps.get(corner).push([dx, dy]);
  };
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      if (!kept[y * w + x]) continue;
      if (!inside(x, y - 1)) add(x, y, 1, 0);
      if (!inside(x + 1, y)) add(x + 1, y, 0, 1);
      if (!inside(x, y + 1)) add(x + 1, y + 1, -1, 0);
      if (!inside(x - 1, y)) add(x, y + 1, 0, -1);
    }
  }
  let path = "";
  for (const [corner, left] of steps) {
    while (left.length) {
      let [x, y] = [corner % (w + 1), Math.floor(corner / (w + 1))];
      path += `M${x} ${y}`;
      for (let next = left; next && next.length; next = steps.get(y * (w + 1) + x)) {
        const [dx, dy] = next.pop();
        path += dx ? `h${dx}` : `v${dy}`;
        [x, y] = [x + dx, y + dy];
      }
    }
  }
  return path;
}

/* Remove and return the region that contains a pixel; pixels connect at corners too. */
function regionAt(left, start, w, h) {
  const region = [start];
  left[start] = 0;
  for (let n = 0; n < region.length; n++) {
    const [x, y] = [region[n] % w, Math.floor(region[n] / w)];
    for (let v = Math.max(0, y - 1); v <= Math.min(h - 1, y + 1); v++) {
      for (let u = Math.max(0, x - 1); u <= Math.min(w - 1, x + 1); u++) {
        const k = v * w + u;
        if (!left[k]) continue;
        left[k] = 0;
        region.push(k);
      }
    }
  }
  return region;
}

/* -- axes of charts --------------------------------------------------------------- */

/* Round numbers within a range, for a linear or logarithmic axis. */
function ticks(low, high, log, n = 5) {
  if (log) {
    const found = [];
    const wide = Math.log10(high / low) > 2.2;
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
      for (const m of wide ? [1] : [1, 2, 5]) {
        const value = Number(`${m}e${e}`);
        if (value >= low && value <= high) found.push(value);
      }
    }
    const step = Math.ceil(found.length / (n + 1));
    return found.filter((_, k) => k % step === 0);
  }
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step / 1e6; k++) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
}

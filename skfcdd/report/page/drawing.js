/* Elements, colours, and the pictures of the file. */

/* Text is always set as text: a name can hold anything. */
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

/* matplotlib's "plasma", from its low end to its high one. */
const PLASMA = [
  "0d0887", "310597", "4c02a1", "6600a7", "7e03a8", "9511a1", "aa2395", "bc3587",
  "cc4778", "da5a6a", "e66c5c", "f0804e", "f89540", "fdac33", "fdc527", "f8df25",
  "f0f921",
].map((hex) => [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16)));

function plasma(place) {
  const at = Math.min(1, Math.max(0, place)) * (PLASMA.length - 1);
  const k = Math.min(PLASMA.length - 2, Math.floor(at));
  return PLASMA[k].map((low, c) => low + (at - k) * (PLASMA[k + 1][c] - low));
}

const [scaleLow, scaleHigh] = data.model.scale;
const placeOnScale = (value) => (value - scaleLow) / (scaleHigh - scaleLow);

/* Colour and opacity of each level, as pixels of a canvas: nothing below the scale, and
   then rising fast, so that what is a little above can be seen. */
const levelPixels = new Uint32Array(256);
{
  const bytes = new Uint8ClampedArray(levelPixels.buffer);
  data.levels.forEach((value, code) => {
    const place = placeOnScale(value);
    bytes.set(plasma(place), 4 * code);
    bytes[4 * code + 3] = place <= 0 ? 0 : 255 * Math.sqrt(Math.min(1, place));
  });
}

/* How far a value may be from that of its level: half the way to the next. */
function levelError(code) {
  const { levels } = data;
  const below = code > 0 ? levels[code] - levels[code - 1] : 0;
  const above = code < 255 ? levels[code + 1] - levels[code] : 0;
  return Math.max(below, above) / 2;
}

/* -- pictures of the file --------------------------------------------------------- */

function pictureOf(i) {
  const block = byId(`p${i}`);
  if (!block) return null;
  const [image, heat, outline] = block.textContent.split("\n");
  return { image, heat, outline };
}

async function decoded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

/* One canvas to read pixels from; a browser keeps them where they are read fast. */
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

/* Colour a canvas; returns the pixels of the heatmap, whose red is the level. */
async function drawHeat(canvas, address, still = () => true) {
  const pixels = pixelsOf(await decoded(address));
  if (!still()) return null;
  const colours = new ImageData(pixels.width, pixels.height);
  const target = new Uint32Array(colours.data.buffer);
  const levels = pixels.data;
  for (let k = 0; k < target.length; k++) target[k] = levelPixels[levels[4 * k]];
  canvas.width = pixels.width;
  canvas.height = pixels.height;
  canvas.getContext("2d").putImageData(colours, 0, 0);
  return pixels;
}

function drawOutline(svg, path) {
  const [h, w] = data.picture_size;
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  svg.replaceChildren();
  if (!path) return;
  for (const kind of ["rim", "line"]) {
    svg.append(svgElement("path", { d: path, class: kind }));
  }
}

/* What a segmenter marks: pixels above the threshold, in regions that are large enough. */
function markedPath({ data: codes, width: w, height: h }) {
  const left = Uint8Array.from({ length: w * h }, (_, k) =>
    data.levels[codes[4 * k]] > state.threshold ? 1 : 0,
  );
  const kept = new Uint8Array(w * h);
  const [fullHeight, fullWidth] = data.image_size;
  const least = data.model.min_area * ((w * h) / (fullWidth * fullHeight));
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    const region = regionAt(left, start, w, h);
    if (region.length >= least) for (const k of region) kept[k] = 1;
  }
  const inside = (x, y) => (x >= 0 && x < w && y >= 0 && y < h ? kept[y * w + x] : 0);
  let path = "";
  for (let y = 0; y <= h; y++) {
    for (let x = 0; x <= w; x++) {
      if (inside(x, y) !== inside(x, y - 1)) path += `M${x} ${y}h1`;
      if (inside(x, y) !== inside(x - 1, y)) path += `M${x} ${y}v1`;
    }
  }
  return path;
}

/* Take away, and return, the pixels that hang together with one, also at corners. */
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

/* Round numbers within a range, on a linear or a logarithmic axis. */
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

/* Marks of the reader: counts, export and import. */

function drawReview() {
  const counts = MARKS.map((mark) => state.marks.filter((found) => found === mark).length);
  const total = counts.reduce((a, b) => a + b);
  byId("review-count").textContent = total
    ? `${total} of ${many(nImages, "image")} marked: ${counts[0]} as defect, ` +
      `${counts[1]} as good, ${counts[2]} as unsure.`
    : "No marks yet. Open an image, or move among the images with the arrow " +
      "keys, and press d (defect), n (not a defect) or u (unsure).";
  byId("clear-marks").disabled = total === 0;
  /* A message about marks no longer applies. */
  if (total === 0) byId("review-said").textContent = "";
  byId("kept").textContent = kept
    ? "This browser stores your marks until you remove them."
    : "This browser does not store your marks: export them before you leave.";
}

/* -- export ------------------------------------------------------------------------- */

function reviewJson() {
  return JSON.stringify(
    {
      format: "skfcdd-review",
      version: 1,
      title: data.title,
      threshold: state.threshold,
      model_threshold: data.model.threshold,
      images: allRows.map((i) => ({
        name: data.names[i],
        score: data.scores[i],
        mark: state.marks[i],
      })),
    },
    null,
    1,
  );
}

/* Spreadsheets evaluate text that begins like a formula, unless it is prefixed with a
   quote. Names that begin with a quote are prefixed too, so that removing one is safe. */
const risky = /^[=+\-@\t\r\n'＝＋－＠]/;
const unharmed = (text) => (risky.test(text) ? `'${text}` : text);
const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;

function reviewCsv() {
  const columns = ["name", "score", "mark", "label", "verdict", "truth", "kind", "threshold", "model_threshold"];
  const label = { defect: 1, good: 0, unsure: -1, "": -1 };
  const rows = allRows.map((i) => [
    quoted(unharmed(data.names[i])),
    data.scores[i],
    state.marks[i],
    label[state.marks[i]],
    isAnomaly(i) ? 1 : 0,
    data.truth ? data.truth[i] : "",
    quoted(unharmed(data.kinds ? data.kinds[i] : "")),
    state.threshold,
    data.model.threshold,
  ]);
  /* With a byte order mark, spreadsheets read the names as UTF-8. */
  return `\ufeff${[columns, ...rows].map((row) => row.join(",")).join("\r\n")}\r\n`;
}

/* Name of the file with exported marks, without its suffix. */
function reviewName() {
  const slug = data.title.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-").slice(0, 40);
  return `review-${slug.replace(/^-|-$/g, "").toLowerCase() || "report"}`;
}

function offer(text, type, ending) {
  const link = element("a", {
    href: URL.createObjectURL(new Blob([text], { type })),
    download: `${reviewName()}.${ending}`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  byId("review-said").textContent = `${link.download} was passed to the browser as a download.`;
}

/* -- import ------------------------------------------------------------------------- */

function takeReview(text) {
  let found;
  try {
    found = JSON.parse(text);
    if (found.format !== "skfcdd-review" || !Array.isArray(found.images)) throw new Error();
  } catch (error) {
    return "This file is not a review exported as JSON. Nothing was changed.";
  }
  const rows = new Map(data.names.map((name, i) => [name, i]));
  let [taken, unknown] = [0, 0];
  for (const row of found.images) {
    const { name, mark } = row ?? {};
    if (!MARKS.includes(mark)) continue;
    if (rows.has(name)) {
      state.marks[rows.get(name)] = mark;
      taken++;
    } else unknown++;
  }
  setThreshold(found.threshold);
  marksChanged();
  const strangers = unknown ? ` ${many(unknown, "marked image")} not in this report.` : "";
  return `Imported ${many(taken, "mark")} and the threshold.${strangers}`;
}

function startReview() {
  byId("export-json").addEventListener("click", () =>
    offer(reviewJson(), "application/json", "json"),
  );
  byId("export-csv").addEventListener("click", () => offer(reviewCsv(), "text/csv", "csv"));
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) byId("review-said").textContent = takeReview(await file.text());
    event.target.value = "";
  });
  byId("clear-marks").addEventListener("click", () => {
    if (!window.confirm("Remove all marks of this report?")) return;
    state.marks.fill("");
    marksChanged();
  });
  byId("use-marks").addEventListener("change", (event) => {
    state.marksCount = event.target.checked;
    marksChanged();
  });
  window.addEventListener("beforeunload", (event) => {
    if (!kept && state.marks.some((mark) => mark)) event.preventDefault();
  });
  on("marks", drawReview);
  drawReview();
}

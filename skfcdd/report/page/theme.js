/* Set the light or dark theme before anything is drawn. */
(() => {
  "use strict";
  const asked = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("skfcdd-theme");
  } catch (error) {
    /* Some browsers have no local storage for files. */
  }
  const root = document.documentElement;
  root.dataset.theme = chosen || (asked.matches ? "dark" : "light");
  asked.addEventListener("change", () => {
    if (!chosen) root.dataset.theme = asked.matches ? "dark" : "light";
    root.dispatchEvent(new Event("theme"));
  });
})();

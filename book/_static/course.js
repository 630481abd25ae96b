// A picture that moves plays each time its fold is opened: loading it anew starts it from the beginning.
document.addEventListener(
  "toggle",
  ({ target }) => {
    if (!target.matches?.("details.motion[open]")) return;
    for (const picture of target.querySelectorAll("img")) picture.src = picture.src;
  },
  true
);

// Paper is white: a page that is dark on the screen is printed as the light one.
const page = document.documentElement;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function toPaper() {
  page.dataset.theme = "light";
}
function toScreen() {
  const { mode } = page.dataset; // what the reader chose
  page.dataset.theme = mode === "auto" ? (dark.matches ? "dark" : "light") : mode;
}
window.addEventListener("beforeprint", toPaper);
window.addEventListener("afterprint", toScreen);
window.matchMedia("print").addEventListener("change", ({ matches }) => (matches ? toPaper() : toScreen()));

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
let onScreen;
function toPaper() {
  onScreen ??= page.dataset.theme;
  page.dataset.theme = "light";
}
function toScreen() {
  if (onScreen) page.dataset.theme = onScreen;
  onScreen = undefined;
}
window.addEventListener("beforeprint", toPaper);
window.addEventListener("afterprint", toScreen);
window.matchMedia("print").addEventListener("change", ({ matches }) => (matches ? toPaper() : toScreen()));

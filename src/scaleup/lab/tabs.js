// A lesson, its exercises and their solution have the same file name. JupyterLab has no setting for the names of
// tabs, and one that is changed renames the file. So a tab's style writes what it is before the name, by the
// path that JupyterLab puts into the tab's hover text.
const style = `
  .lm-TabBar-tab[title*=": exercises/"][title*=".ipynb"] .lm-TabBar-tabLabel::before { content: "Exercises: "; }
  .lm-TabBar-tab[title*=": exercises/solutions/"][title*=".ipynb"] .lm-TabBar-tabLabel::before { content: "Solution: "; }
`;

const plugin = {
  id: "scaleup-tabs:plugin",
  autoStart: true,
  activate() {
    document.head.appendChild(document.createElement("style")).textContent = style;
  },
};

// What JupyterLab's loader of extensions expects; a bundler would write the same.
(window._JUPYTERLAB ??= {})["scaleup-tabs"] = {
  init() {},
  get: async () => () => ({ __esModule: true, default: plugin }),
};

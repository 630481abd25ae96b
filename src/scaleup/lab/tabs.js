// A lesson, its exercises and their solution have the same file name. JupyterLab has no setting for the names
// of tabs, so this small extension writes "exercises:" or "solution:" before the latter two.
const kinds = [["exercises/solutions/", "solution"], ["exercises/", "exercises"]];

function rename(widget) {
  const path = widget.context?.path ?? "";
  const kind = path.endsWith(".ipynb") && kinds.find(([folder]) => path.startsWith(folder));
  if (kind) widget.title.label = `${kind[1]}: ${path.split("/").pop()}`;
}

const plugin = {
  id: "scaleup-tabs:plugin",
  autoStart: true,
  activate(app) {
    const all = () => Array.from(app.shell.widgets("main")).forEach(rename);
    app.shell.layoutModified.connect(all);
    app.restored.then(all);
  },
};

// What JupyterLab's loader of extensions expects; a bundler would write the same.
(window._JUPYTERLAB ??= {})["scaleup-tabs"] = {
  init() {},
  get: async () => () => ({ __esModule: true, default: plugin }),
};

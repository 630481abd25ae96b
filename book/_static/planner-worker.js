// Python in a worker, so that the page stays usable while it loads and searches.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const here = (path) => new URL(path, import.meta.url);

async function load(path) {
  const found = await fetch(here(path));
  if (!found.ok) throw new Error(`${path} is missing on this site`);
  return found;
}

async function start() {
  self.postMessage({ progress: "Loading Python: 13 MB, once." });
  const python = await loadPyodide({ indexURL: here("./pyodide/").href });
  python.unpackArchive(await (await load("./planner/scaleup.zip")).arrayBuffer(), "zip");
  const machines = await (await load("./planner/machines.json")).text();
  const { reply } = python.pyimport("scaleup.plan.browser");
  return (question) => reply(question, machines);
}

const ready = start();

self.onmessage = async ({ data }) => {
  try {
    const reply = await ready;
    self.postMessage({ progress: "Weighing layouts." });
    self.postMessage({ reply: reply(data) });
  } catch (error) {
    self.postMessage({ failure: `The planner failed: ${error.message}. The table below is the same planner.` });
  }
};

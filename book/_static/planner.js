// The planner's form: each question goes to a worker that runs the course's Python, its answer to the page.
const form = document.getElementById("planner");
const status = document.getElementById("planner-status");
const answer = document.getElementById("planner-answer");
const [plan, stop] = [form.querySelector("[type=submit]"), form.elements.stop];
const words = new Set(["model", "machine", "software", "precision", "recompute", "measured"]);
let worker = null;

function question() {
  const fields = {};
  for (const [name, text] of new FormData(form)) {
    const value = text.trim();
    if (value === "") continue;
    const number = Number(value);
    fields[name] = words.has(name) || Number.isNaN(number) ? value : number;
  }
  return fields;
}

function busy(working, said) {
  plan.disabled = working;
  stop.disabled = !working;
  form.setAttribute("aria-busy", String(working));
  status.textContent = said;
}

function end(said) {
  worker?.terminate();
  worker = null;
  busy(false, said);
}

function show(reply) {
  if (reply.problem) {
    answer.replaceChildren();
    busy(false, reply.problem);
    return;
  }
  answer.innerHTML = reply.html;
  answer.dataset.plan = JSON.stringify(reply.plan);
  busy(false, `Planned: ${reply.plan.step_s.toPrecision(3)} s a step, ${reply.plan.fits ? "it fits" : "it does not fit"}.`);
  answer.focus();
}

function start() {
  worker = new Worker(new URL("planner-worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => {
    if (data.progress) status.textContent = data.progress;
    else if (data.failure) end(data.failure);
    else show(JSON.parse(data.reply));
  };
  worker.onerror = () =>
    end("The planner could not start. A browser runs it only from a web server; the table below is the same planner.");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(true, "Planning.");
  if (!worker) start();
  worker.postMessage(JSON.stringify(question()));
});
stop.addEventListener("click", () => end("Stopped."));

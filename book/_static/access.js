// The questionnaire on access and the FLOP line. Rules, sentences and days come from access-rules.js, which
// `python -m tools.access_pages` writes; this file only reads them, as scaleup.access.route does in Python.
const DAY = 86400000;
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
  "November", "December"];

function within(condition, answer) {
  if (Array.isArray(condition)) return condition.includes(answer);
  const tests = {
    over: (limit) => answer > limit,
    least: (limit) => answer >= limit,
    upto: (limit) => answer <= limit,
    below: (limit) => answer < limit,
  };
  return Object.entries(condition).every(([name, limit]) => tests[name](limit));
}

function holds(when, answers) {
  return Object.entries(when).every(([key, condition]) => within(condition, answers[key]));
}

const day = (text) => new Date(`${text}T00:00:00Z`);
const iso = (date) => date.toISOString().slice(0, 10);
const later = (text, days) => iso(new Date(day(text).getTime() + days * DAY));

function firstDay(calendar, ready) {
  if (calendar.kind === "any") return later(ready, calendar.shifts[(day(ready).getUTCDay() + 6) % 7]);
  if (calendar.kind === "after") return later(ready, calendar.after);
  if (calendar.kind === "monthly") {
    let cutOff = ready;
    while (day(cutOff).getUTCDate() !== calendar.day) cutOff = later(cutOff, 1);
    return later(cutOff, calendar.after);
  }
  const found = calendar.days.find(([cutOff]) => ready <= cutOff);
  return found ? found[1] : null;
}

const whole = (number) => Math.floor(number + 0.5).toLocaleString("en-GB");

function inUnits(data, hours, machine) {
  if (!hours) return "";
  const unit = data.units[machine];
  const nodes = hours / unit.gpus;
  const said = `${whole(hours)} GPU-hours are ${whole(nodes)} node-hours of ${unit.name}`;
  return unit.cost === null
    ? `${said}.`
    : `${said}, which bills ${whole(nodes * unit.cost)} in its unit: ${unit.unit}.`;
}

function findRoute(data, company) {
  const given = { ...company };
  given.group = data.groups[company.country] ?? "other";
  given.node_hours = company.hours / data.units[company.machine].gpus;
  const holding = data.rules.filter((rule) => holds(rule.when, given));
  const said = (effect, ...doors) => [
    ...new Set(
      holding
        .filter((rule) => rule.effect === effect && rule.doors.some((door) => doors.includes(door)))
        .map((rule) => rule.says),
    ),
  ];
  const closed = Object.fromEntries(data.order.map((door) => [door, said("closed", door)]));
  const others = Object.fromEntries(
    data.order.map((door) => [door, closed[door].length ? closed[door] : said("size", door)]),
  );
  const target = data.order.find((door) => !others[door].length) ?? null;
  const first = holding.filter((rule) => rule.effect === "first" && rule.doors.includes(target));
  const steps = first.map((rule) => rule.via.find((door) => !closed[door].length) ?? null);
  let [verdict, step] = ["apply", null];
  if (target === null) verdict = "elsewhere";
  else if (steps.includes(null)) verdict = "not yet";
  else if (steps.length) [verdict, step] = ["step", steps[0]];
  const go = step ?? target;
  const start = go && verdict !== "not yet" ? firstDay(data.doors[go].calendar, company.ready) : null;
  const then = start && later(start, data.measuring_days);
  const targetStart = step && then ? firstDay(data.doors[target].calendar, then) : start;
  const filled = {
    target: data.doors[target]?.name ?? "",
    step: data.doors[step]?.name ?? "",
    apply: data.doors[go]?.apply ?? "",
    call: data.doors[go]?.call ?? "",
  };
  const [headline, tomorrow] = data.words[verdict].map((text) =>
    text.replace(/\{(\w+)\}/g, (_, name) => filled[name]),
  );
  const ways = holding.filter((rule) => rule.effect === "else").map((rule) => rule.says);
  return {
    verdict,
    target,
    step,
    headline,
    tomorrow,
    reasons: said("why", target),
    first: said("first", target),
    mind: said("mind", target),
    prepare: said("prepare", target, step),
    call: said("call", target ?? data.order[0], step),
    elsewhere: target === null || targetStart === null ? ways : [],
    others: Object.fromEntries(Object.entries(others).filter(([, sentences]) => sentences.length)),
    units: inUnits(data, company.hours, company.machine),
    start,
    target_start: targetStart,
  };
}

function inWords(text) {
  if (text === null) return "not known: no cut-off after that day was found";
  const found = day(text);
  return `${found.getUTCDate()} ${MONTHS[found.getUTCMonth()]} ${found.getUTCFullYear()}`;
}

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function list(title, sentences) {
  return [element("h4", title), element("ul", "", ...sentences.map((sentence) => element("li", sentence)))];
}

function shown(data, company, route) {
  const parts = [element("h3", route.headline), element("p", route.tomorrow)];
  if (route.units) parts.push(element("p", route.units));
  const name = (door) => data.doors[door].name;
  if (route.start) {
    const door = name(route.step ?? route.target);
    parts.push(element("p", `Earliest start, if you apply on ${inWords(company.ready)}: ${door}, ${inWords(route.start)}.`));
  } else if (route.verdict === "apply") parts.push(element("p", `Earliest start: ${inWords(null)}.`));
  if (route.verdict === "step")
    parts.push(element("p", `${name(route.target)} after it, at the earliest: ${inWords(route.target_start)}.`));
  if (route.target) parts.push(element("p", `Price: ${data.doors[route.target].price}.`));
  const whyNot = route.target ? [] : [...new Set(Object.values(route.others).flat())];
  for (const [title, sentences] of [
    ["Why not", whyNot],
    ["Why", route.reasons],
    ["First", route.first],
    ["Mind", route.mind],
    ["Prepare", route.prepare],
    ["Who helps", route.call],
    ["What else there is", route.elsewhere],
  ])
    if (sentences.length) parts.push(...list(title, sentences));
  return parts;
}

function asked(form) {
  const fields = Object.fromEntries(new FormData(form));
  return { ...fields, hours: Number(fields.hours), months: Number(fields.months) };
}

const form = document.getElementById("access");
if (form) {
  const data = window.accessRules;
  const answer = document.getElementById("access-answer");
  form.elements.ready.value ||= later(iso(new Date()), 1);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const company = asked(form);
    const route = findRoute(data, company);
    answer.replaceChildren(...shown(data, company, route));
    answer.dataset.route = JSON.stringify(route);
    answer.focus();
  });
  window.accessRoute = (company) => findRoute(data, company);
}

const flops = document.getElementById("flop-line");
if (flops) {
  flops.addEventListener("submit", (event) => {
    event.preventDefault();
    const [parameters, tokens] = ["parameters", "tokens"].map((name) => Number(flops.elements[name].value) * 1e9);
    const share = (6 * parameters * tokens) / window.accessRules.flop_line;
    const power = (6 * parameters * tokens).toExponential(1).replace("e+", " × 10^");
    document.getElementById("flop-answer").textContent =
      `${power} operations, ${(100 * share).toPrecision(2)} % of the line: ` +
      (share > 1 ? "above it." : "below it.");
  });
}

"""Sections on what is needed: request, workload, rights, machine, hours, memory, layout."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import CourseError
from ..machines import Machine
from ..machines.job_script import label
from ..plan import flops
from ..plan.memory import GIB
from ..plan.planner import memory_parts
from ..words import count
from . import asked_hours, grants
from .draft import Section, plain
from .own_words import TABLES, Words
from .proposal_case import Case

HOURS_PER_MONTH = 365 / 12 * 24


def own(part: Section, words: Words, table: str, **labels: str) -> None:
    """The company's texts of a table below their labels, or the gaps."""
    for key, words_before in labels.items():
        part.own(words_before, words.get(table, key), TABLES[table][key].ask, f"{table}.{key}")


def power(amount: float) -> str:
    """A large number as people write it: 3.09e21."""
    mantissa, _, exponent = f"{amount:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def number(part: Section, words: Words, table: str, key: str) -> float | None:
    """A number of the company's, or its gap and None."""
    value = words.get(table, key)
    if value is None:
        part.gap(TABLES[table][key].ask, f"{table}.{key}")
    return value


# ---------------------------------------------------------------- sections


def request(given: Case) -> Section:
    part, words = Section("Request"), given.words
    rows = [("machine", f"{given.machine['name']}, {given.machine['site']}, {given.machine['country']}")]
    rows.append(("access mode", given.mode.name if given.mode else "not chosen"))
    if given.answer:
        unit = given.mode.unit if given.mode else "node-hour"
        computed = asked_hours.convert(given.node_hours, "node-hour", unit, given.machine)
        rows.append(("computed need", f"{computed:,.0f} {unit}s"))
    if given.asked:
        rows.append(("asked for", f"{given.asked[0]:,.0f} {given.asked[1]}s"))
    months = words.get("request", "months")
    rows.append(("duration", count(months, "month") if months else "not chosen"))
    own(part, words, "company", name="Applicant", country="Established in", activity="Activity",
        sme="Status as an SME")  # fmt: skip
    part.table("what is asked for", ("what", "value"), rows)
    if not given.mode:
        part.gap(TABLES["request"]["mode"].ask, "request.mode")
    number(part, words, "request", "months")
    if given.mode and months and given.mode.months and months not in given.mode.months:
        allowed = " or ".join(f"{each:g}" for each in given.mode.months)
        part.mark(f"{given.mode.name} lasts {allowed} months, and {months:g} are asked for")
    country = words.get("company", "country")
    if country and not grants.eligible(country):
        part.mark(f"Companies of {country} are in none of the groups of countries in data/access.yml: ask "
                  f"the "
                  "hosting site, and see its other routes")  # fmt: skip
    if given.mode:
        mode = given.mode
        part.say(f"{mode.name}: {mode.decided}. Status: {mode.status}.")
        if mode.cut_offs:
            part.say(f"Cut-offs: {', '.join(mode.cut_offs)}, at {grants.rule('company', 'deadline_hour')}.")
        if mode.machines and given.name not in mode.machines:
            part.mark(f"{mode.name} is not known to offer {given.machine['name']}: {mode.machines_said}")
    if not str(given.machine["status"]).startswith("operational"):
        part.mark(f"{given.machine['name']} does not take jobs yet: it is {given.machine['status']}")
    return part


def workload(given: Case) -> Section:
    part = Section("Workload")
    own(part, given.words, "workload", what="What is trained, and why", framework="Software")
    if given.answer:
        run = given.answer.best.run
        rows = [
            ("model", str(given.words.plan["model"])),
            ("parameters", f"{run.shape.parameters:,}"),
            ("sequence", f"{run.seq:,} tokens"),
            ("global batch", f"{run.global_batch:,} sequences, {run.tokens_per_step:,} tokens"),
            ("tokens of the training", f"{given.answer.best.tokens:,.0f}"),
            ("steps", f"{given.answer.best.steps:,.0f}"),
            ("precision of matrix products", given.words.plan.get("precision", "bf16")),
        ]
        if run.shape.active_parameters != run.shape.parameters:
            rows.insert(2, ("active parameters", f"{run.shape.active_parameters:,}"))
        part.table("the training", ("what", "value"), rows)
    else:
        part.mark(f"There is no plan. {given.why_no_plan}")
    return part


def model_and_data(given: Case) -> Section:
    part = Section("Model and data, and the rights to them")
    own(part, given.words, "model", origin="Origin of the model", release="What becomes of it")
    own(part, given.words, "data", what="Data", rights="Rights", personal="Personal data")
    rule = grants.rule("after", "personal_data")
    part.say(f"What binds you on a shared machine: {rule} ({rule.date}).")
    return part


def machine(given: Case) -> Section:
    part, facts = Section("Machine and partition"), given.machine
    own(part, given.words, "workload", why_here="Why this machine")
    rows = [
        (label, plain(facts[key]) + (unit if facts[key].value is not None else ""), facts[key].date)
        for key, label, unit in (
            ("device", "device", ""),
            ("devices_per_node", "devices per node", ""),
            ("memory_gb", "memory per device", " GiB"),
            ("peak_bf16_tflops", "dense bf16 peak per device", " TFLOP/s"),
            ("network_gb_s_per_node", "network per node, each direction", " GB/s"),
            ("nodes", "nodes", ""),
        )
    ]
    part.table(f"{facts['name']}, from data/machines.yml", ("what", "value", "as of"), rows)
    if given.answer:
        nodes = int(given.answer.best.nodes)
        queue = queue_for(facts, nodes)
        if queue:
            longest = f", at most {queue['hours']:g} hours a job" if queue["hours"] else ""
            part.say(f"Partition: `{label(queue)}` for {count(nodes, 'node')}{longest}.")
        else:
            part.mark(f"No queue of {facts['name']} that is known here takes {count(nodes, 'node')}")
    return part


def queue_for(facts: Machine, nodes: int) -> Mapping | None:
    """The first queue, in the data's order, that takes a job of so many nodes for longer than a test."""
    known = [queue for queue in facts["partitions"].value or [] if queue.get("devices") != 0]
    fitting = [
        queue for queue in known
        if (queue["nodes"] or float("inf")) >= nodes >= queue.get("least_nodes", 1)
        and not queue.get("on_request")
    ]  # fmt: skip
    return fitting[0] if fitting else None


def hours(given: Case) -> Section:
    part, words = Section("Hours"), given.words
    for name in ("tuning", "evaluation", "failures"):
        number(part, words, "hours", name)
    if not given.answer:
        part.mark("Without a plan there are no hours to compute")
        return part
    plan, found, facts = given.answer.best, given.basis, given.machine
    run, made = plan.run, given.parts
    peak = run.machine.accelerator.peak_flops
    per_token = flops.per_token(run.shape, run.seq)
    device_hours = found.node_hours * run.machine.devices_per_node
    part.say(
        f"The main run does {power(plan.tokens)} tokens x {power(per_token)} FLOP per token (forward and "
        f"backward, "
        f"attention counted, nothing recomputed) = {power(plan.tokens * per_token)} FLOP. A device does "
        f"{peak / 1e12:g} TFLOP/s at its dense peak, of which {found.mfu:.1%} are counted on "
        f"({found.why}): {device_hours:,.0f} device-hours, {found.node_hours:,.0f} node-hours. "
        f"For comparison, the rule 6 x N x D without attention gives "
        f"{power(6 * run.shape.active_parameters * plan.tokens)} FLOP."
    )
    if not found.measured:
        part.mark(
            "These hours rest on no measurement of this training on this machine. Measure a few hundred "
            "steps "
            "there, in Benchmark or Playground access, and give the study to `scaleup propose`"
        )
    known = asked_hours.per_node_hour(facts)
    units = [name for name in ("node-hour", "GPU-hour", "core-hour") if known[name]]
    rows = []
    for each in made:
        amounts = (
            "not given" if each.node_hours is None else f"{each.node_hours * known[name]:,.0f}"
            for name in units
        )
        rows.append([each.name, each.how or found.why, *amounts])
    node_hours = asked_hours.total(made)
    rows.append(["total", "", *(f"{node_hours * known[name]:,.0f}" for name in units)])
    part.table("hours by part of the work", ["part", "how", *(f"{name}s" for name in units)], rows)
    if words.get("hours", "failures") is None:
        advised = grants.rule("company", "failures")
        low, high = advised.value
        part.say(f"Advised for failures are {low:.0%} to {high:.0%} ({advised.source}, {advised.date}).")
    unit, cost = asked_hours.bill(facts)
    if cost:
        part.say(f"A node-hour is {cost:g} x {unit} ({facts['node_hour_cost'].date}); a GPU-hour here is "
                 f"1/{known['GPU-hour']:g} of a node-hour. Rule of the bill: "
                 f"{plain(facts['billing_rule'])}.")  # fmt: skip
    else:
        part.mark(f"How {facts['name']} bills is not known here: ask the site for its unit")
    check_request(part, given, node_hours)
    wall = found.node_hours / plan.nodes
    months = words.get("request", "months")
    if months:
        share = node_hours / plan.nodes / (months * HOURS_PER_MONTH)
        part.say(f"On {count(plan.nodes, 'node')} the main run lasts {wall:,.0f} hours; all the work would "
                 f"keep "
                 f"them busy for {share:.0%} of {count(months, 'month')}.")  # fmt: skip
        if share > 0.8:
            part.mark(
                "So much waiting-free time will not be granted by a queue: ask for more nodes or months"
            )
    return part


def check_request(part: Section, given: Case, node_hours: float) -> None:
    """The computed and the asked hours against the mode's unit and size."""
    mode, facts = given.mode, given.machine
    if mode is None:
        return
    need = asked_hours.convert(node_hours, "node-hour", mode.unit, facts)
    if given.asked:
        hours_asked, unit = given.asked
        try:
            asked = asked_hours.convert(hours_asked, unit, mode.unit, facts)
            same = f"these are {asked:,.0f} {mode.unit}s"
        except CourseError:
            asked, same = need, f"{facts['name']} has no {unit}s"
        if unit != mode.unit:
            part.mark(
                f"{mode.name} counts in {mode.unit}s, and {hours_asked:,.0f} {unit}s are asked for: {same}"
            )
        if asked < need * 0.995:
            part.mark(f"{asked:,.0f} {mode.unit}s are asked for, and the work needs {need:,.0f}")
        elif asked > need * asked_hours.ROOM:
            part.mark(
                f"{asked:,.0f} {mode.unit}s are asked for, {asked / need:.1f} times what the work needs "
                f"({need:,.0f}): say what the rest is for"
            )
        need = asked
    elif given.words.get("request", "hours"):
        part.gap(TABLES["request"]["unit"].ask, "request.unit")
    if problem := asked_hours.size_problem(need, mode, given.modes):
        part.mark(problem)
    part.say(f"{mode.name} takes {asked_hours.size_of(mode)} ({mode.said}).")


def memory(given: Case) -> Section:
    part = Section("Memory")
    if not given.answer:
        part.mark("Without a plan there is no memory to compute")
        return part
    plan = given.answer.best
    device = plan.run.machine.accelerator.memory_bytes
    rows = [(each.name, f"{each.amount / GIB:.1f}") for each in memory_parts(plan)]
    rows += [("together", f"{plan.memory.total / GIB:.1f}"), ("the device has", f"{device / GIB:.1f}")]
    part.table("memory of the fullest device", ("what", "GiB"), rows, numbers=True)
    part.say(f"Planned, not measured: {plan.verdict}.")
    if not plan.fits:
        part.mark("The model does not fit in this layout: take more nodes, or a layout that shards more")
    return part


def layout(given: Case) -> Section:
    part = Section("Layout")
    own(part, given.words, "layout", why="Why this layout")
    if not given.answer:
        part.mark("Without a plan there is no layout")
        return part
    plan, chosen = given.answer.best, given.answer.best.run.layout
    ways = [("data parallel", chosen.dp), ("tensor parallel", chosen.tp), ("pipeline parallel", chosen.pp),
            ("context parallel", chosen.cp), ("expert parallel", chosen.ep)]  # fmt: skip
    rows = [(name, f"{size}") for name, size in ways if size > 1 or name == "data parallel"]
    rows += [("ZeRO stage", f"{chosen.zero}"), ("micro-batch", f"{chosen.micro_batch} sequences"),
             ("micro-batches a step", f"{plan.run.micro_batches:g}"), ("recompute", chosen.recompute),
             ("devices", f"{chosen.devices:,} on {count(plan.nodes, 'node')}")]  # fmt: skip
    part.table("how the ranks share the work", ("what", "value"), rows)
    part.say("What the planner says of it: " + " ".join(given.answer.remarks))
    return part

"""Sections on what is promised: milestones, risks, people, ethics; and where all numbers come from."""

from __future__ import annotations

from importlib.metadata import version

from ..words import count
from . import grants
from .annex_need import own, power
from .draft import Section, cell
from .own_words import ASKS, LISTS
from .proposal_case import Case


def _listed(part: Section, rows: tuple[dict, ...], name: str, header: tuple[str, ...], said: dict) -> None:
    """A table of the company's rows, with a gap for the list or for what a row lacks."""
    if not rows:
        part.gap(ASKS[name], name)
        return
    keys = LISTS[name]
    part.table(
        name, header, [[said.get(key, cell)(row[key]) if key in row else "…" for key in keys] for row in rows]
    )
    for number, row in enumerate(rows, 1):
        for key, entry in keys.items():
            if key not in row:
                part.gap(f"{entry.ask} (row {number})", f"{name}.{key}")


def milestones(given: Case) -> Section:
    part, rows = Section("Milestones"), given.words.milestones
    _listed(part, rows, "milestones", ("month", "goal", "evidence", "hours used by then"),
            {"month": lambda month: f"{month:g}", "share": lambda share: f"{share:.0%}"})  # fmt: skip
    months = given.words.get("request", "months")
    if months and any(row.get("month", 0) > months for row in rows):
        part.mark(f"A milestone lies beyond the {count(months, 'month')} that are asked for")
    shares = [row["share"] for row in rows if "share" in row]
    if shares and (shares != sorted(shares) or abs(shares[-1] - 1) > 0.005):
        part.mark("The hours used by each milestone must grow and end at 100 %")
    own(part, given.words, "request", continuation="Continuation")
    part.say(f"After the end, the final report is due within {grants.rule('after', 'report')} months; "
             f"{grants.rule('after', 'first_month')} ({grants.rule('after', 'report').source}, "
             f"{grants.rule('after', 'report').date}).")  # fmt: skip
    return part


def risks(given: Case) -> Section:
    part = Section("Risks")
    _listed(part, given.words.risks, "risks", ("risk", "answer"), {})
    return part


def team(given: Case) -> Section:
    part = Section("People and the support needed")
    own(part, given.words, "team", experience="Experience", support="Support")
    return part


def ethics(given: Case) -> Section:
    part = Section("Ethics and law")
    own(part, given.words, "ethics", assessment="Assessment", ai_act="AI Act")
    if given.answer:
        plan = given.answer.best
        flop = 6 * plan.run.shape.active_parameters * plan.tokens
        line = grants.rule("law", "flop_line")
        below = flop < line.value
        part.say(f"The training does {power(flop)} FLOP (6 x {power(plan.run.shape.active_parameters)} "
                 f"active "
                 f"parameters x {power(plan.tokens)} tokens): {'below' if below else 'above'} the line of "
                 f"{power(line.value)} FLOP of the AI Act ({line.source}, {line.date}). What the model that "
                 f"you "
                 "began with took counts too.")  # fmt: skip
        if not below:
            part.mark(f"Above the line, you have duties: {grants.rule('law', 'duties_above')}")
    return part


def origins(given: Case) -> Section:
    part = Section("Where the numbers come from")
    rows = [
        ("machine, partition, bill", "data/machines.yml", given.machine["nodes"].date),
        ("hours, memory, layout", f"the planner of scaleup {version('scaleup')}, checked against published "
                                  f"runs", ""),
        ("energy", "data/energy.yml", ""),
    ]  # fmt: skip
    if given.mode:
        rows.append((f"size of {given.mode.name}", "data/access.yml", given.mode.said))
    if given.study:
        content = given.study.content
        rows.append(("scaling", f"study {content['name']} on {content['machine']}", content["date"]))
    rows.append(("shares, rates, volumes, texts", "the company's own", ""))
    part.table("origins", ("what", "from", "as of"), rows)
    return part

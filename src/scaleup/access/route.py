"""The route for a company: which mode of access, why, what is in the way, from when, and who helps."""

from __future__ import annotations

import dataclasses
import datetime
import math
from dataclasses import dataclass
from typing import Any

from ..errors import CourseError
from ..words import did_you_mean
from .doors import group_of, mode, modes, section
from .opening_days import DAY, first_day
from .route_rules import ALL, OTHER, holds, machine_units, questions, rules

# Headline and what to do tomorrow, by what was found.
WORDS = {
    "apply": (
        "Apply for {target}.",
        "Tomorrow: open {apply}, choose {target} in the call {call}, and read on its page whether the "
        "machine that "
        "you want is offered.",
    ),
    "step": (
        "Begin with {step}, then apply for {target}.",
        "Tomorrow: open {apply} and apply for {step}; measure there what {target} asks for.",
    ),
    "not yet": (
        "{target} is your door; clear what is in its way first.",
        "Tomorrow: settle what stands under “first”, and ask the first of those who help.",
    ),
    "elsewhere": (
        "None of EuroHPC's calls that we know is open to you for this.",
        "Tomorrow: look at the first of the other ways below, and at what would have to change.",
    ),
}


@dataclass(frozen=True)
class Company:
    """The answers of an organisation. `hours` are GPU-hours, 0 where not known; `ready` is the day to apply.

    The words of the others are those of `route_rules.questions`. Raises CourseError for one that cannot be.
    """

    country: str
    kind: str = "sme"
    project: str = "no"
    purpose: str = "train"
    results: str = "closed"
    hours: float = 0
    months: float = 3
    readiness: str = "none"
    data: str = "clear"
    machine: str = "any"
    ready: datetime.date = dataclasses.field(default_factory=datetime.date.today)

    def __post_init__(self) -> None:
        for question in questions():
            answer = getattr(self, question.key)
            if question.options and answer not in question.options and question.key != "country":
                near = did_you_mean(str(answer), question.options)
                raise CourseError(f"{question.key}={answer!r} is no answer to '{question.asks}' {near}")
        for name, least, most in (("hours", 0, 1e9), ("months", 1, 60)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float) or not least <= number <= most:
                raise CourseError(f"{name}={number!r} cannot be. Give a number from {least:g} to {most:g}.")
        if not isinstance(self.ready, datetime.date):
            raise CourseError(f"ready={self.ready!r} is no day. Give one, such as 2026-12-01.")


def answers(company: Company) -> dict[str, Any]:
    """The answers with what follows from them: the country's group, and the hours in node-hours."""
    given = dataclasses.asdict(company)
    given["group"] = group_of(company.country)
    if given["group"] == "other":
        given["country"] = OTHER
    given["node_hours"] = company.hours / machine_units()[company.machine]["gpus"]
    return given


@dataclass(frozen=True)
class Route:
    """What was found. `verdict` is apply, step, not yet or elsewhere; `step` and `target` are keys of modes.

    The lists are sentences: reasons, what to do first, cautions, preparation, whom to call, other ways, and
    why other modes are not the one: {mode: sentences}.
    """

    verdict: str
    target: str | None
    step: str | None
    headline: str
    tomorrow: str
    reasons: tuple[str, ...]
    first: tuple[str, ...]
    mind: tuple[str, ...]
    prepare: tuple[str, ...]
    call: tuple[str, ...]
    elsewhere: tuple[str, ...]
    others: dict[str, tuple[str, ...]]
    units: str
    start: datetime.date | None
    target_start: datetime.date | None

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON, days as ISO text."""
        found = dataclasses.asdict(self)
        for name in ("start", "target_start"):
            found[name] = found[name] and found[name].isoformat()
        return found


def find_route(company: Company) -> Route:
    """The first mode, in the file's order, that is open to the company and fits its need; the way there."""
    given = answers(company)
    true = [rule for rule in rules() if holds(rule.when, given)]

    def said(effect: str, *doors: str | None) -> tuple[str, ...]:
        return tuple(dict.fromkeys(r.says for r in true if r.effect == effect and set(doors) & set(r.doors)))

    closed = {door: said("closed", door) for door in ALL}
    others = {door: closed[door] or said("size", door) for door in ALL}
    target = next((door for door in ALL if not others[door]), None)
    first = [r for r in true if r.effect == "first" and target in r.doors]
    steps = [next((door for door in r.via if not closed[door]), None) for r in first]
    if target is None:
        verdict, step = "elsewhere", None
    elif not first:
        verdict, step = "apply", None
    else:
        verdict, step = ("not yet", None) if None in steps else ("step", steps[0])
    go = step or target
    start = first_day(mode(go), company.ready) if go and verdict != "not yet" else None
    then = start and start + section("company")["measuring_days"].value * DAY
    target_start = first_day(mode(target), then) if step and then else start
    names = {key: str(facts["name"]) for key, facts in modes().items()}
    filled = {
        "target": names.get(target, ""),
        "step": names.get(step, ""),
        "apply": str(mode(go)["apply"]) if go else "",
        "call": str(mode(go)["call"]) if go else "",
    }
    headline, tomorrow = (words.format(**filled) for words in WORDS[verdict])
    ways = tuple(r.says for r in true if r.effect == "else")
    return Route(
        verdict=verdict,
        target=target,
        step=step,
        headline=headline,
        tomorrow=tomorrow,
        reasons=said("why", target),
        first=said("first", target),
        mind=said("mind", target),
        prepare=said("prepare", target, step),
        call=said("call", target or ALL[0], step),
        elsewhere=ways if target is None or target_start is None else (),
        others={door: sentences for door, sentences in others.items() if sentences},
        units=in_units(company.hours, company.machine),
        start=start,
        target_start=target_start,
    )


def whole(number: float) -> str:
    """A number of hours without a fraction, halves upwards, as the page's script rounds, too."""
    return f"{math.floor(number + 0.5):,}"


def in_units(gpu_hours: float, machine: str) -> str:
    """GPU-hours of a call as node-hours and as the machine bills them, in a sentence; empty for 0 hours."""
    if not gpu_hours:
        return ""
    found = machine_units()[machine]
    nodes = gpu_hours / found["gpus"]
    said = f"{whole(gpu_hours)} GPU-hours are {whole(nodes)} node-hours of {found['name']}"
    if found["cost"] is None:
        return f"{said}."
    return f"{said}, which bills {whole(nodes * found['cost'])} in its unit: {found['unit']}."


def kind_of_company(staff: float, turnover_eur: float, balance_eur: float) -> str:
    """ "sme" or "large", by the EU's thresholds. Count linked and partner companies in."""
    limits = {key: section("company")[key].value for key in ("staff", "turnover_eur", "balance_eur")}
    small = turnover_eur <= limits["turnover_eur"] or balance_eur <= limits["balance_eur"]
    return "sme" if staff < limits["staff"] and small else "large"

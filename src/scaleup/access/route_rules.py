"""The rules by which a company finds its mode of access, as data for `route` and for the book's page.

Each rule is a condition on the answers and a sentence. All numbers in them come from `data/access.yml`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..machines.table import content as machines_file
from .doors import CONFLICT, Mode, countries, entries, modes, section

INDUSTRIAL = ("playground", "fast-lane", "large-scale")
OPEN = ("ai-for-science", "benchmark", "development", "regular", "extreme")
ALL = (*INDUSTRIAL, *OPEN)
OTHER = "another country"
EFFECTS = ("closed", "size", "first", "why", "mind", "prepare", "else", "call")

# What a condition says of one answer: one of these words, or a number in a range.
Condition = list[str] | dict[str, float]


@dataclass(frozen=True)
class Rule:
    """A sentence that is said of `doors` when all conditions hold.

    `effect` is closed (not open to you), size (does not fit the need), first (do this before, in a mode of
    `via` or, without one, at home), why (a reason for it), mind (a caution), prepare, else (what there is
    besides) or call (who helps).
    """

    doors: tuple[str, ...]
    effect: str
    says: str
    when: dict[str, Condition] = field(default_factory=dict)
    via: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """One question. `options` are {answer: words}; without any, the answer is a number or a day."""

    key: str
    asks: str
    options: dict[str, str] = field(default_factory=dict)
    usual: Any = ""


def holds(when: dict[str, Condition], answers: dict[str, Any]) -> bool:
    """Whether all conditions hold. A range has `over` or `least` and `upto` or `below`, or one of them."""
    return all(_holds(condition, answers[key]) for key, condition in when.items())


def _holds(condition: Condition, answer: Any) -> bool:
    if isinstance(condition, list):
        return answer in condition
    tests = {
        "over": lambda limit: answer > limit,
        "least": lambda limit: answer >= limit,
        "upto": lambda limit: answer <= limit,
        "below": lambda limit: answer < limit,
    }
    return all(tests[name](limit) for name, limit in condition.items())


def million(euro: float) -> str:
    return f"EUR {euro / 1e6:g} million"


def questions() -> list[Question]:
    """What is asked, in order. The last is the day on which you could apply."""
    company = section("company")
    size = (
        f"fewer than {company['staff'].value} people, and at most "
        f"{million(company['turnover_eur'].value)} of "
        f"turnover or {million(company['balance_eur'].value)} of balance sheet, linked companies included"
    )
    machines = {key: unit["name"] for key, unit in machine_units().items()}
    return [
        Question("country", "Where is your organisation established?",
                 {c: c for c in [*countries(), OTHER]}, "Germany"),
        Question("kind", f"What is it? An SME has {size}.", {
            "sme": "an SME or start-up",
            "large": "a larger company",
            "research": "a university or research institute",
            "public": "a public body",
        }, "sme"),
        Question("project", "Is the work part of a project of Horizon Europe or Digital Europe?",
             {"no": "no", "yes": "yes"}, "no"),
        Question("purpose", "What are the hours for?", {
            "train": "training, tuning or evaluating AI models",
            "simulate": "other computing, such as simulation",
            "serve": "serving customers",
        }, "train"),
        Question("results", "Will you publish the results?", {"closed": "no, or not all", "open": "yes"},
             "closed"),
        Question("hours", "How many GPU-hours do you need, trials and failures included? 0: not known yet",
             usual=0),
        Question("months", "For how many months?", usual=3),
        Question("readiness", "How far are you?", {
            "none": "never used a supercomputer",
            "user": "know one, scaling not measured",
            "measured": "measured how the training scales over nodes",
        }, "none"),
        Question("data", "What about the data?", {
            "clear": "rights are clear, no personal data",
            "unclear": "rights are not clear yet",
            "personal": "personal data, rights are clear",
            "health": "data on health, rights are clear",
        }, "clear"),
        Question("machine", "Which machine?", machines | {"any": "any, or not decided"}, "any"),
        Question("ready", "When could you apply?"),
    ]  # fmt: skip


def machine_units() -> dict[str, dict[str, Any]]:
    """{machine: name, GPUs of a node as the calls count them, cost of a node-hour, unit of the bill}.

    Where the site bills GPU-hours, a node has as many GPUs as a node-hour costs: four on LUMI-G, whose eight
    devices are halves of four modules. "any" counts four, as most machines have.
    """
    units = {"any": {"name": "a machine with four GPUs a node", "gpus": 4, "cost": None, "unit": ""}}
    for key, machine in machines_file()["machines"].items():
        if not machine["status"]["value"].startswith("operational"):
            continue
        cost, unit = machine["node_hour_cost"]["value"], machine["billing_unit"]["value"]
        by_gpu = cost and unit.startswith("GPU-hour")
        gpus = cost if by_gpu else machine["devices_per_node"]["value"]
        units[key] = {"name": machine["name"]["value"], "gpus": gpus, "cost": cost, "unit": unit}
    return units


def rules() -> list[Rule]:
    """All rules, made from the facts of the file as it is now."""
    known, company = modes(), section("company")
    return [
        *_of_all(company),
        *_of_industry(known, company),
        *_of_open_calls(known, company),
        *_sizes(known),
        *_cautions(known),
        *_preparation(company),
        *_else(),
        *_help(),
    ]


def _of_all(company: Mode) -> list[Rule]:
    return [
        Rule(ALL, "closed", f"EuroHPC's hours are for those who are established {company['established']}. "
             "Your country is not known to be one of these.", {"country": [OTHER]}),
        Rule(ALL, "closed", f"The machines are for purposes that are {company['purpose']}: "
             "serving customers is none of them.", {"purpose": ["serve"]}),
        Rule(ALL, "first", "Clear the rights to your data: unclear rights are a frequent reason for "
             "refusal.",
             {"data": ["unclear"]}),
        Rule(ALL, "mind", f"Your country is associated {section('countries')['part'].note}: ask before "
             f"you write.",
             {"group": ["part"]}),
        Rule(ALL, "why", "Your country is a member state of the EU.", {"group": ["member"]}),
        Rule(ALL, "why", "Your country is associated to Horizon Europe.", {"group": ["associated"]}),
        Rule(ALL, "mind", "Personal data need an agreement with the site on data processing before they "
             "go to the "
             "machine: ask the site on the first day.", {"data": ["personal", "health"]}),
        Rule(ALL, "mind", "Data on health need one of the exceptions of the GDPR's Article 9 and an "
             "assessment "
             "beforehand. How long that takes was not found.", {"data": ["health"]}),
    ]  # fmt: skip


def _of_industry(known: dict[str, Mode], company: Mode) -> list[Rule]:
    call, price = known["playground"]["call"], known["playground"]["price"]
    return [
        Rule(INDUSTRIAL, "closed", f"{call} is for companies only; science and the public sector are sent "
             f"to "
             f"{known['ai-for-science']['name']}.", {"kind": ["research", "public"]}),
        Rule(INDUSTRIAL, "closed", f"{call} is {price}.", {"kind": ["large"]}),
        Rule(INDUSTRIAL, "closed", f"{call} is for work on AI.", {"purpose": ["simulate"]}),
        Rule(INDUSTRIAL, "why", f"It is {price}.", {"kind": ["sme"]}),
        *(Rule((key,), "why", f"It is decided {known[key]['decided']}.") for key in ("playground",
             "fast-lane")),
        Rule(("fast-lane",), "first", f"{known['fast-lane']['name']} is for "
             f"{known['fast-lane']['for_whom']}: "
             f"make your first run in {known['playground']['name']} access.", {"readiness": ["none"]},
             ("playground",)),
        Rule(("large-scale",), "first", f"{known['large-scale']['name']} is for "
             f"{known['large-scale']['for_whom']}: "
             "measure a scaling study first.", {"readiness": ["none", "user"]}, ("playground", "benchmark")),
        Rule(("large-scale",), "why", f"It is decided by {known['large-scale']['decided']}, on evidence "
             f"that you have.",
             {"readiness": ["measured"]}),
    ]  # fmt: skip


def _of_open_calls(known: dict[str, Mode], company: Mode) -> list[Rule]:
    science = known["ai-for-science"]
    reviewed = ("ai-for-science", "regular", "extreme")
    return [
        Rule(("ai-for-science",), "closed", f"{science['name']} is for {science['for_whom']}.",
             {"kind": ["sme", "large"], "project": ["no"]}),
        Rule(("ai-for-science",), "closed", f"{science['name']} is for work on AI.",
             {"purpose": ["simulate"]}),
        Rule(OPEN, "closed", "Free hours of this call are for open research and development "
             f"({company['open_results']}); what is not published is paid per use.",
             {"results": ["closed"]}),
        Rule(OPEN, "why", "You publish the results, so the hours are free.", {"results": ["open"]}),
        Rule(("benchmark",), "size", "You have measured how your code scales, and Benchmark access is for "
             "measuring.",
             {"readiness": ["measured"]}),
        Rule(reviewed, "first", "Reviewers want measured scaling and a code that is fit for the machine: "
             "measure a scaling study first.", {"readiness": ["none", "user"]}, ("benchmark",)),
        Rule(("regular",), "why", "There is a track for industry.", {"kind": ["sme", "large"]}),
    ]  # fmt: skip


def _sizes(known: dict[str, Mode]) -> list[Rule]:
    """What a mode is too small or too large for. Between two modes, the smaller one with a caution."""
    play, fast, large = (known[key] for key in INDUSTRIAL)
    science, bench, develop = known["ai-for-science"], known["benchmark"], known["development"]

    def gives(mode: Mode, about: str = "") -> str:
        unit = f"{mode['unit']}s"
        return f"{mode['name']} gives {about}{mode['least'].value:,} to {mode['most'].value:,} {unit}."

    at_most = f"{play['name']} gives a fixed package of about {play['most'].value:,} {play['unit']}s."
    gap = (
        f"A gap: {play['name']} gives about {play['most'].value:,} {play['unit']}s, and the form of "
        f"{fast['name']} "
        f"asked for more than {fast['least'].value:,}. Begin with the package, measure, and ask again "
        f"with what is left."
    )
    between = (
        f"{develop['name']} gives about {develop['least'].value:,} to {develop['most'].value:,} "
        f"node-hours, and can "
        f"be renewed twice; the next larger calls begin at about {science['least'].value:,}."
    )
    made = [
        Rule(("playground",), "size", at_most, {"hours": {"over": fast["least"].value}}),
        Rule(("playground",), "mind", gap, {"hours": {"over": play["most"].value,
             "upto": fast["least"].value}}),
        Rule(("playground",), "why", "You need no more than its package.", {"hours": {"over": 0,
             "upto": play["most"].value}}),
        Rule(("playground", "benchmark"), "why", "You cannot name your hours yet: measure, then compute "
             "them.", {"hours": {"upto": 0}}),
        Rule(("fast-lane",), "size", f"{fast['name']}: the form asked for more than "
             f"{fast['least'].value:,} GPU-hours.",
             {"hours": {"upto": fast["least"].value}}),
        Rule(("fast-lane",), "size", f"{fast['name']} gives up to {fast['most'].value:,} GPU-hours.",
             {"hours": {"over": fast["most"].value}}),
        Rule(("fast-lane",), "why", f"You need up to {fast['most'].value:,} GPU-hours.",
             {"hours": {"over": fast["least"].value, "upto": fast["most"].value}}),
        Rule(("large-scale",), "size", f"{large['name']} begins above {large['least'].value:,} GPU-hours.",
             {"hours": {"upto": large["least"].value}}),
        Rule(("large-scale",), "size", f"{large['name']} gives up to {large['most'].value:,} GPU-hours "
             f"(one source).",
             {"hours": {"over": large["most"].value}}),
        Rule(("large-scale",), "why", f"You need more than {large['least'].value:,} GPU-hours.",
             {"hours": {"over": large["least"].value}}),
        Rule(("benchmark",), "size", gives(bench, "about "), {"node_hours": {"over": bench["most"].value}}),
        Rule(("development",), "size", gives(develop, "about "),
             {"node_hours": {"least": science["least"].value}}),
        Rule(("development",), "mind", between,
             {"node_hours": {"over": develop["most"].value, "below": science["least"].value}}),
    ]  # fmt: skip
    for key in ("ai-for-science", "regular", "extreme"):
        mode = known[key]
        for limit in ({"below": mode["least"].value}, {"over": mode["most"].value}):
            made.append(Rule((key,), "size", gives(mode, "about "), {"node_hours": limit}))
        inside = {"least": mode["least"].value, "upto": mode["most"].value}
        made.append(
            Rule(
                (key,),
                "why",
                f"Your need lies within what it gives: {gives(mode, 'about ')}",
                {"node_hours": inside},
            )
        )
    longest = max(bench["months"].value)
    made.append(
        Rule(
            ("benchmark",),
            "size",
            f"{bench['name']} lasts {longest} months at most.",
            {"months": {"over": longest}},
        )
    )
    for key in ("playground", "fast-lane", "ai-for-science"):
        longest = max(known[key]["months"].value)
        said = f"{known[key]['name']} lasts {longest} months at most: plan the hours for these."
        made.append(Rule((key,), "mind", said, {"months": {"over": longest}}))
    return made


def _cautions(known: dict[str, Mode]) -> list[Rule]:
    """Sources that differ, machines that are not on the form, calls between two cut-offs."""
    made, machines = [], {key: unit["name"] for key, unit in machine_units().items()}
    for key, mode in known.items():
        least = f"{mode['least'].value:,} {mode['unit']}s as the least"
        for name, what in (("least", least), ("status", "whether it is open")):
            note = mode[name].note
            if note.startswith(CONFLICT):
                told = note.removeprefix(CONFLICT).lstrip(": ")
                said = f"Sources differ on {mode['name']}, {what}: {told}. Look at the call's page."
                made.append(Rule((key,), "mind", said))
        if mode["cut_offs"].value == []:
            said = f"{mode['name']}: {mode['cut_offs'].note.rpartition(': ')[2]}. Ask when the next one is."
            made.append(Rule((key,), "mind", said))
        if mode["machines"].value:
            others = [machine for machine in machines if machine not in ("any", *mode["machines"].value)]
            names = ", ".join(machines[machine] for machine in mode["machines"].value)
            note = f" ({mode['machines'].note})" if mode["machines"].note else ""
            made.append(
                Rule((key,), "mind", f"{mode['name']} is known to offer {names}{note}.", {"machine": others})
            )
    return made


def _preparation(company: Mode) -> list[Rule]:
    low, high = company["failures"].value
    return [
        Rule(INDUSTRIAL, "prepare", "The declaration that you are an SME, linked and partner companies "
             "counted: "
             "it is what makes the hours free.", {"kind": ["sme"]}),
        Rule(ALL, "prepare", f"The hours as arithmetic: work, over measured speed, plus {100 * low:g} to "
             f"{100 * high:g} % for "
             "failures, in the call's unit and the machine's."),
        Rule(("playground", "benchmark"), "prepare", "One page: what you compute, with which program, on "
             "which machine."),
        Rule(("fast-lane",), "prepare", "A short technical description: model, data, program, memory, "
             "layout, checkpoints."),
        Rule(("large-scale", "ai-for-science", "regular", "extreme"), "prepare",
             "A technical annex with the scaling "
             "study, memory, layout, checkpoints, storage, milestones and risks: the lesson on proposals "
             "writes it with you."),
        Rule(("development",), "prepare", "A work plan: what is ported or tuned, and by whom."),
        Rule(ALL, "prepare", "The rights to the data and to the model that you start from, in one "
             "paragraph."),
        Rule(OPEN, "prepare", f"A contract of the principal investigator that outlasts the allocation by "
             f"{company['contract']} months."),
        Rule(ALL, "prepare", "The lawful basis for the personal data, and a draft of the agreement on "
             "their processing.",
             {"data": ["personal", "health"]}),
    ]  # fmt: skip


def _else() -> list[Rule]:
    ways = entries("elsewhere")

    def said(key: str) -> str:
        return f"{ways[key]['name']}: {ways[key]['what']}."

    return [
        Rule(("pay-per-use",), "else", said("pay-per-use"), {"group": ["member", "associated", "part"]}),
        Rule(("national",), "else", said("national"), {"group": ["member", "associated"]}),
        Rule(("partner",), "else", said("partner"), {"group": ["other", "part"]}),
        Rule(("cloud",), "else", said("cloud")),
    ]


def _help() -> list[Rule]:
    known, made = entries("help"), []
    for country, name in known["factories"]["who"].value.items():
        made.append(Rule(ALL, "call", f"AI factory ({country}): {name}.", {"country": [country]}))
    for country in known["antennas"]["who"].value:
        made.append(Rule(ALL, "call", f"AI Factory Antenna ({country}).", {"country": [country]}))
    centre, support, epicure = (known[key] for key in ("centres", "support-centre", "epicure"))
    made += [
        Rule(ALL, "call", f"The national competence centre of your country: "
             f"{centre['what'].value.partition(': ')[2]}.",
             {"group": ["member", "associated", "part"]}),
        Rule(ALL, "call", f"The {support['name']}: {support['contact']}.", 
             {"purpose": ["train"], "group": ["member", "associated", "part"]}),
        Rule(("development", "regular", "extreme"), "call", f"Once you hold the grant, {epicure['name']}: "
             f"{epicure['what']}."),
    ]  # fmt: skip
    return made

"""Checks of the exercises on access. Limits and rules are those of data/access.yml."""

import datetime
from types import SimpleNamespace

from scaleup.access import Company, find_route, modes, section
from scaleup.exercises import NotYet, code, letter_set, rules, says, slip, values

RUN = 6 * 7e9 * 100e9 / (989e12 * 0.40) / 3600
HOURS = RUN * 1.2 * 1.15
values(
    "hours", HOURS,
    {RUN: "this is the bare run: trials and failures are missing",
     RUN * 1.2: "the failures are missing: 15 % of the run and of its trials",
     RUN * 1.15: "the trials are missing: a fifth of the run's hours",
     RUN * 1.35: "failures hit the trials too: multiply by 1.2 and then by 1.15",
     RUN / 0.8 / 0.85: "a fifth of the run's hours comes on top: multiply by 1.2, do not divide by 0.8",
     HOURS * 0.4: "the MFU is missing: a device delivers 40 % of its peak",
     HOURS * 0.4**2: "a device delivers less than its peak: divide by the MFU, do not multiply",
     HOURS / 3: "2 FLOPs are the forward pass alone: a training takes 6 per parameter and token",
     HOURS * 3600: "these are seconds: an hour has 3,600",
     HOURS * 60: "these are minutes: an hour has 60",
     HOURS / 4: "these are node-hours: a node has four devices, and the question is GPU-hours",
     HOURS / 8: "these are hours of eight devices: the question is GPU-hours"},
    ask="give the GPU-hours as a number",
    otherwise=slip(bool, lambda got: f"{got:,.6g} GPU-hours: first the bare run, then the trials, then "
         f"the failures",
                   says(100, "100 GPU-hours: first the bare run, then the trials, then the failures"),
                   says(1e6, "1e+06 GPU-hours: first the bare run, then the trials, then the failures")),
    hint="6 N D, over the peak times the MFU, over 3,600. Then two factors.",
    done="right, and still one package of the Playground")  # fmt: skip

M = 1_000_000
GROUPS = {
    "alone": [(249, 60 * M, 43 * M)],
    "turnover": [(100, 50 * M, 90 * M)],
    "balance": [(100, 60 * M, 40 * M)],
    "both large": [(100, 51 * M, 44 * M)],
    "people": [(250, 1 * M, 1 * M)],
    "linked": [(30, 2 * M, 2 * M), (400, 90 * M, 80 * M)],
    "linked people": [(200, 2 * M, 2 * M), (100, 2 * M, 2 * M)],
    "linked money": [(20, 30 * M, 30 * M), (20, 30 * M, 30 * M)],
    "linked and small": [(20, 2 * M, 2 * M), (30, 3 * M, 3 * M)],
}
SMES = {"alone", "turnover", "balance", "linked and small"}


def sme_answers(answer):
    given = {}
    for name, group in GROUPS.items():
        found = answer(list(group))
        if not isinstance(found, bool | type(None)) and str(found) not in ("True", "False"):
            raise NotYet(f"is_sme has to return True or False, not {found!r:.40}")
        given[name] = bool(found)
    return given


def off(name):
    """Whether this group was judged wrongly."""
    return lambda given: given[name] != (name in SMES)


def sme(condition, counted="zip(*group, strict=True)"):
    return (
        f"def is_sme(group):\n    staff, turnover, balance = (sum(c) for c in {counted})\n"
        f"    return {condition}"
    )


RIGHT = "staff < 250 and (turnover <= 50e6 or balance <= 43e6)"
rules(
    "sme", sme_answers,
    [slip(lambda given: not any(given.values()), "nobody is an SME by this: does the function return "
         "something?",
          "def is_sme(group):\n    pass", sme("False")),
     slip(lambda given: all(given.values()), "everybody is an SME by this", sme("True")),
     slip(lambda given: all(given[name] for name in ("linked", "linked people", "linked money")),
          "only the company itself is counted: people and money of linked companies count too",
          "def is_sme(group):\n    staff, turnover, balance = group[0]\n    return " + RIGHT,
          "def is_sme(group):\n    return any(s < 250 and (t <= 50e6 or b <= 43e6) for s, t, b in group)"),
     slip(lambda given: given["linked people"] and given["linked money"] and not given["both large"],
          "each company is judged alone: add people and money of the group up first",
          "def is_sme(group):\n    return all(s < 250 and (t <= 50e6 or b <= 43e6) for s, t, b in group)"),
     slip(lambda given: given["people"] and given["linked people"],
          "300 people pass where the money is small: people, and (turnover or balance), with the brackets",
          sme("staff < 250 and turnover <= 50e6 or balance <= 43e6"),
          sme("staff < 250 or turnover <= 50e6 or balance <= 43e6"),
          sme("turnover <= 50e6 or balance <= 43e6")),
     slip(lambda given: off("people")(given) and given["people"] and given["alone"],
          "250 people are too many: there have to be fewer",
          sme("staff <= 250 and (turnover <= 50e6 or balance <= 43e6)")),
     slip(lambda given: not any(given[name] for name in ("alone", "turnover", "balance")),
          "turnover or balance sheet, one of them is enough: you ask for both",
          sme("staff < 250 and turnover <= 50e6 and balance <= 43e6")),
     slip(off("both large"), "with both, turnover and balance sheet, above their limits it is no SME",
          sme("staff < 250")),
     slip(off("turnover"), "EUR 50 million of turnover are at the limit, which is still within",
          sme("staff < 250 and (turnover < 50e6 or balance <= 43e6)"),
          sme("staff < 250 and (turnover < 50e6 or balance < 43e6)"),
               sme("staff < 250 and balance <= 43e6")),
     slip(off("balance"), "a balance sheet within its limit is enough, whatever the turnover",
          sme("staff < 250 and turnover <= 50e6")),
     slip(off("alone"), "EUR 43 million of balance sheet are at the limit, which is still within",
          sme("staff < 250 and (turnover <= 50e6 or balance < 43e6)")),
     slip(lambda given: {name for name in given if given[name]} != SMES,
          lambda given: "this group is judged wrongly: " + next(n for n in given if off(n)(given)),
          says(sme("staff <= 40 or " + RIGHT), "this group is judged wrongly: linked money"))],
    needs="is_sme", example=code,
    hint="Add the three columns of the group, then people and (turnover or balance).",
    done="right for a company alone and for groups",
    also=[says("def is_sme(group):\n    return 'yes'",
               "is_sme has to return True or False, not 'yes'")])  # fmt: skip

DAY = datetime.date.fromisoformat
CUT_OFFS = list(map(DAY, ("2026-11-30", "2026-12-15", "2027-01-04")))
DAYS = {  # (ready, working days): what is right
    ("2026-11-28", 10): "2026-12-14",
    ("2026-11-30", 10): "2026-12-14",
    ("2026-12-01", 10): "2026-12-29",
    ("2026-12-16", 1): "2027-01-05",
    ("2027-01-05", 10): None,
}


def day_answers(answer):
    given = []
    for ready, days in DAYS:
        found = answer(DAY(ready), list(CUT_OFFS), days)
        if found is not None and not isinstance(found, datetime.date):
            raise NotYet(f"first_day has to return a date or None, not {found!r:.40}")
        given.append(found and found.isoformat())
    return given


TRUTH = list(DAYS.values())


def body(cut_off, walk="    while n:\n        day += one\n        n -= day.weekday() < 5\n"):
    return (
        "import datetime\none = datetime.timedelta(days=1)\n"
        f"def first_day(ready, cut_offs, n):\n    day = {cut_off}\n    if day is None:\n        return "
        f"None\n"
        f"{walk}    return day"
    )


NEXT = "next((c for c in cut_offs if c >= ready), None)"
rules(
    "first-day", day_answers,
    [slip(lambda given: given == [None] * 5, "it returns None for every day: does it return something?",
          "def first_day(ready, cut_offs, n):\n    pass"),
     slip(lambda given: given[2] == "2026-12-14",
          "a cut-off before `ready` has passed: take the first that is not before it",
          body("cut_offs[0]")),
     slip(lambda given: given[4] is not None, "after the last cut-off there is no day: return None",
          body("next((c for c in cut_offs if c >= ready), ready)"), body("cut_offs[-1]")),
     slip(lambda given: given[0] == "2026-12-10", "ten days of the calendar are not ten working days",
          body(NEXT, "    day += n * one\n")),
     slip(lambda given: given[1] == "2026-12-29", "you can hand in on the day of a cut-off",
          body("next((c for c in cut_offs if c > ready), None)")),
     slip(lambda given: given[0] == "2026-11-30", "this is the cut-off: the working days come after it",
          body(NEXT, "")),
     slip(lambda given: given[2] == "2026-12-15", "the working days begin at the cut-off, not at `ready`",
          body("ready if ready <= cut_offs[-1] else None")),
     slip(lambda given: given[2] == "2026-12-28",
          "the day of the cut-off is counted: the first working day is the next one",
          body(NEXT, "    n -= 1\n    while n:\n        day += one\n        n -= day.weekday() < 5\n")),
     slip(lambda given: given[2] == "2026-12-26", "Saturday is counted: working days are Monday to Friday",
          body(NEXT, "    while n:\n        day += one\n        n -= day.weekday() < 6\n")),
     slip(lambda given: given != TRUTH,
          lambda given: next(f"ready on {row[0]}, {row[1]} working days: {got} is not it"
                             for row, right, got in zip(DAYS, TRUTH, given, strict=True) if got != right),
          says(body(NEXT, "    n += 1\n    while n:\n        day += one\n        n -= day.weekday() < 5\n"),
               "ready on 2026-11-28, 10 working days: 2026-12-15 is not it"))],
    needs="first_day", example=code,
    hint="The first cut-off that is not before `ready`; from there, day by day.",
    done="right, weekends and the last cut-off too",
    also=[says("def first_day(ready, cut_offs, n):\n    return 'Monday'",
               "first_day has to return a date or None, not 'Monday'")])  # fmt: skip

READY = datetime.date(2026, 11, 28)
COMPANIES = {
    "Kupferberg": Company("Poland", hours=30_000, readiness="measured", ready=READY),
    "Uni Ostsee": Company("Estonia", kind="research", hours=200_000, months=6, results="open",
                          readiness="measured", ready=READY),
    "Strandgut": Company("Denmark", purpose="simulate", hours=16_000, months=6, results="open",
                         readiness="measured", ready=READY),
    "Atlantis": Company("Brazil", hours=3_000, readiness="measured", ready=READY),
}  # fmt: skip
ROUTES = {name: find_route(company) for name, company in COMPANIES.items()}
DOORS = {name: route.target or "none" for name, route in ROUTES.items()}


def doors_answer(answer):
    if not isinstance(answer, dict) or set(answer) != set(DOORS):
        raise NotYet(f"give a dictionary with {', '.join(DOORS)}")
    for name, door in answer.items():
        if door not in (*modes(), "none"):
            raise NotYet(f"{name}: {door!r:.30} is none of the words")
    return answer


def wrong_door(given):
    """The first company that has another door, and why the one given is not it."""
    name = next(name for name in DOORS if given[name] != DOORS[name])
    reasons = ROUTES[name].others.get(given[name])
    if DOORS[name] == "none":
        return f"{name}: no door is open. {ROUTES[name].others['playground'][0]}"
    if given[name] == "none":
        return f"{name}: there is a door. Which ones are closed to it, and which do not fit its size?"
    return f"{name}: {reasons[0]}" if reasons else f"{name}: it would fit, and a mode before it does as well"


def with_door(name, door):
    return DOORS | {name: door}


rules(
    "doors", doors_answer,
    [slip(lambda given: given != DOORS, wrong_door,
          says(with_door("Kupferberg", "playground"),
               f"Kupferberg: {ROUTES['Kupferberg'].others['playground'][0]}"),
          says(with_door("Kupferberg", "large-scale"),
               f"Kupferberg: {ROUTES['Kupferberg'].others['large-scale'][0]}"),
          says(with_door("Kupferberg", "development"),
               f"Kupferberg: {ROUTES['Kupferberg'].others['development'][0]}"),
          says(with_door("Uni Ostsee", "large-scale"),
               f"Uni Ostsee: {ROUTES['Uni Ostsee'].others['large-scale'][0]}"),
          says(with_door("Uni Ostsee", "regular"),
               "Uni Ostsee: it would fit, and a mode before it does as well"),
          says(with_door("Strandgut", "fast-lane"), f"Strandgut: "
               f"{ROUTES['Strandgut'].others['fast-lane'][0]}"),
          says(with_door("Strandgut", "benchmark"), f"Strandgut: "
               f"{ROUTES['Strandgut'].others['benchmark'][0]}"),
          says(with_door("Strandgut", "none"),
               "Strandgut: there is a door. Which ones are closed to it, and which do not fit its size?"),
          says(with_door("Atlantis", "playground"),
               f"Atlantis: no door is open. {ROUTES['Atlantis'].others['playground'][0]}"))],
    hint="Country first, then kind and purpose, then what is published, then the hours.",
    done="all four",
    also=[says("fast-lane", "give a dictionary with Kupferberg, Uni Ostsee, Strandgut, Atlantis"),
          says(with_door("Atlantis", "cloud"), "Atlantis: 'cloud' is none of the words")])  # fmt: skip

BLOCKERS = {"c", "d", "e"}
WHY_NOT = {
    "a": "France is a member state: its country is no blocker",
    "b": f"60 people are fewer than {section('company')['staff']}: its size is no blocker",
    "f": "the doors for companies take work that is not published: that is no blocker",
    "g": "Large Scale is given for 3, 6 or 12 months: the months are no blocker",
}
MISSING = {
    "c": "“will surely agree” is not a right: rights that are unclear are a frequent reason for refusal",
    "d": "X-ray pictures with reports are data on health: the agreement comes before the first file",
    "e": "one node is no scaling study: Large Scale asks for measured evidence",
}


see, odd = letter_set("g", "ab")
rules(
    "blockers", see,
    [*(slip(lambda seen, letter=letter: letter in seen, said, {*BLOCKERS, letter})
       for letter, said in WHY_NOT.items()),
     *(slip(lambda seen, letter=letter: letter not in seen, said, BLOCKERS - {letter})
       for letter, said in MISSING.items())],
    hint="What would a reviewer or the site ask before the first job?",
    done="three, and the two that need others begin first",
    also=odd)  # fmt: skip

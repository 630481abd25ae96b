"""Checks of the exercises on supercomputer, cloud and own cluster."""

import itertools
import math
import numbers

from scaleup.decide import costs
from scaleup.exercises import NotYet, code, exercise, known_wrong, needs_function


def number(value, what):
    """`value` as a float; not yet if it is none."""
    if isinstance(value, costs.DeviceHour):
        raise NotYet(f"{what} is a sum of four parts: write .total behind it")
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise NotYet(f"{what} has to be a number, not {value!r:.40}")
    return float(value)


def near(got, right, within=0.01):
    return abs(got - right) <= within * abs(right)


def shown(value):
    """Four digits, without an exponent for what is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def compare(got, right, slips, otherwise, within=0.01):
    """Not yet, with the sentence of the slip that gives `got`, unless it is near `right`."""
    if near(got, right, within):
        return
    for sentence, wrong in slips.items():
        if near(got, wrong, within):
            raise NotYet(sentence)
    raise NotYet(otherwise)


# ---------------------------------------------------------------- price per billion


@exercise("per-billion", hint="EUR for an hour, divided by the useful billions of tokens in that hour.")
def per_billion(answer):
    needs_function(answer, "price_per_billion")
    for price, speed, lost in ((3.0, 9000, [0.05, 0.1, 0.2]), (5.0, 4000, [0.3, 0.3])):
        got = number(answer(price, speed, lost), "what price_per_billion returns")
        useful = math.prod(1 - share for share in lost)
        naive = 1e9 * price / (3600 * speed)
        slips = {
            "the lost hours are missing: only a share of the tokens is useful": naive,
            "shares that are lost one after another multiply, (1-f)(1-t)(1-i): they are not added": naive
            / (1 - sum(lost)),
            "a lost hour makes the useful tokens dearer: divide by the useful share": naive * useful,
            "a price is per hour and a speed per second: an hour has 3,600 seconds": 3600 * naive / useful,
            "this is the price of one token. The question is a billion": naive / useful / 1e9,
            "this is the price of a million tokens. The question is a billion": naive / useful / 1e3,
            "this is how many tokens a euro buys. Turn the fraction round": 3600 * speed * useful / price,
            "this is how many billion tokens a euro buys. Turn the fraction round": useful / naive,
            "the last share alone is used: a return inside the loop, or a product that is not kept": naive
            / (1 - lost[-1]),
            "the first share alone is used: is the return inside the loop?": naive / (1 - lost[0]),
            "divide by the share that is useful: this divides by the share that is lost": naive
            / (1 - useful),
            "divide by the product of 1 - share: this is the product of the shares": naive / math.prod(lost),
            "with half of the hours lost the price doubles: divide by what is left": naive * (1 + sum(lost)),
            "an hour has 3,600 seconds, not 60": 60 * naive / useful,
        }
        said = f"for {price} EUR, {speed:,} tokens a second and {lost} lost it is {naive / useful:.2f} EUR, "
        compare(got, naive / useful, slips, said + f"yours is {got:.2f}", within=5e-3)
    if not near(number(answer(3.6, 1000, []), "with nothing lost, the price"), 1000, 5e-3):
        raise NotYet("with nothing lost, an empty list, 3.6 EUR and 1,000 tokens a second give 1,000 EUR")
    return "right, and with nothing lost too"


PER_BILLION = """
import math
def price_per_billion(price, tokens_per_s, lost):
    useful = math.prod(1 - share for share in lost)
    return {}
"""
known_wrong(
    "per-billion",
    code(PER_BILLION.format("1e9 * price / (3600 * tokens_per_s)")),
    "the lost hours are missing: only a share of the tokens is useful",
)
known_wrong(
    "per-billion",
    code(PER_BILLION.format("1e9 * price / (3600 * tokens_per_s * (1 - sum(lost)))")),
    "shares that are lost one after another multiply, (1-f)(1-t)(1-i): they are not added",
)
known_wrong(
    "per-billion",
    code(PER_BILLION.format("1e9 * price * useful / (3600 * tokens_per_s)")),
    "a lost hour makes the useful tokens dearer: divide by the useful share",
)
known_wrong(
    "per-billion",
    code(PER_BILLION.format("1e9 * price / (tokens_per_s * useful)")),
    "a price is per hour and a speed per second: an hour has 3,600 seconds",
)
known_wrong(
    "per-billion",
    code(PER_BILLION.format("price / (3600 * tokens_per_s * useful)")),
    "this is the price of one token. The question is a billion",
)
known_wrong(
    "per-billion",
    code(PER_BILLION.format("1e9 * price / (3600 * tokens_per_s * (1 - lost[-1]))")),
    "the last share alone is used: a return inside the loop, or a product that is not kept",
)
known_wrong(
    "per-billion",
    code(PER_BILLION.format("1e9 * price / (3600 * tokens_per_s * (1 - useful))")),
    "divide by the share that is useful: this divides by the share that is lost",
)
known_wrong(
    "per-billion",
    code(PER_BILLION.format("1e9 * price * (1 + sum(lost)) / (3600 * tokens_per_s)")),
    "with half of the hours lost the price doubles: divide by what is left",
)
known_wrong(
    "per-billion",
    code(PER_BILLION.format("1e9 * price / (60 * tokens_per_s * useful)")),
    "an hour has 3,600 seconds, not 60",
)


# ---------------------------------------------------------------- a comparison that is off

SPOT = (
    "the cloud stands there at its spot price, Vega at its list price. A run that may not be interrupted "
    "pays the list price"
)
NODE = "device-hours are multiplied by the price of a node-hour: a node has several devices"
PEOPLE = "nobody works: the weeks of people are missing"
ERRORS = (SPOT, NODE, PEOPLE)


def saved(hours, cloud, vega, week, wrong=()):
    rented = hours * cloud["spot" if SPOT in wrong else "list"]
    paid = hours * vega["node_hour"] / (1 if NODE in wrong else vega["devices"])
    people = 0 if PEOPLE in wrong else week * (cloud["weeks"] - vega["weeks"])
    return rented - paid + people


@exercise(
    "comparison", hint="List price with list price, device-hours with device-hours, people on both sides."
)
def comparison(answer):
    needs_function(answer, "saved_on_vega")
    cases = [
        (7_000, {"list": 2.5, "spot": 1.1, "weeks": 1}, {"node_hour": 4.1, "devices": 4, "weeks": 8}, 2_100),
        (9_000, {"list": 3.1, "spot": 2.0, "weeks": 2}, {"node_hour": 9.0, "devices": 8, "weeks": 5}, 1_700),
    ]
    for hours, cloud, vega, week in cases:
        given = (hours, dict(cloud), dict(vega), week)
        got = number(answer(*given), "what saved_on_vega returns")
        right = saved(hours, cloud, vega, week)
        if near(got, right, 5e-3):
            continue
        for count in (1, 2, 3):
            for wrong in itertools.combinations(ERRORS, count):
                if near(got, saved(hours, cloud, vega, week, wrong), 1e-3):
                    left = "one error is" if count == 1 else f"{count} errors are"
                    raise NotYet(f"{left} left{': ' if count == 1 else '. One: '}{wrong[0]}")
        people = week * (cloud["weeks"] - vega["weeks"])
        slips = {
            "the sign is wrong: the function returns what Vega saves, cloud minus Vega": -right,
            "the cloud needs people too, though fewer": right - week * cloud["weeks"],
            "Vega needs people too: most of the weeks are there": right + week * vega["weeks"],
            "the people are on the wrong side": right - 2 * people,
            "a node has as many devices as the data say, not always four": hours * cloud["list"]
            - hours * vega["node_hour"] / 4
            + people,
            "a node-hour is several device-hours: divide by the devices, do not multiply": hours
            * cloud["list"]
            - hours * vega["node_hour"] * vega["devices"]
            + people,
        }
        compare(got, right, slips, f"for {hours:,} device-hours it is {right:,.0f} EUR, yours is {got:,.0f}")
    return "list with list, device with device, and people on both sides"


COMPARISON = """
def saved_on_vega(device_hours, cloud, vega, week):
    rented = device_hours * cloud["{}"]
    paid = device_hours * vega["node_hour"] {}
    return rented - paid {}
"""
known_wrong("comparison", code(COMPARISON.format("list", "", "")), f"2 errors are left. One: {NODE}")
known_wrong("comparison", code(COMPARISON.format("spot", "/ 4", "")), f"2 errors are left. One: {SPOT}")
known_wrong(
    "comparison",
    code(COMPARISON.format("list", "/ vega['devices']", "")),
    f"one error is left: {PEOPLE}",
)
known_wrong(
    "comparison",
    code(COMPARISON.format("list", "/ vega['devices']", "- vega['weeks'] * week")),
    "the cloud needs people too, though fewer",
)
known_wrong(
    "comparison",
    code(COMPARISON.format("list", "/ 4", "+ (cloud['weeks'] - vega['weeks']) * week")),
    "a node has as many devices as the data say, not always four",
)
known_wrong(
    "comparison",
    code(COMPARISON.format("list", "* vega['devices']", "+ (cloud['weeks'] - vega['weeks']) * week")),
    "a node-hour is several device-hours: divide by the devices, do not multiply",
)


# ---------------------------------------------------------------- moving data


@exercise("moving", hint="How many times does the test file fit into 20 TB?")
def moving(answer):
    got = number(answer, "the number of hours")
    right = 20e12 / 15e9 * 180 / 3600
    slips = {
        "this is the promised rate. The test file shows what the line really does": 20e12 * 8 / 1e9 / 3600,
        "this takes a gigabit for a gigabyte at the promised rate: a byte has eight bits": 20e12 / 1e9 / 3600,
        "bits and bytes are mixed: this is an eighth of the answer": right / 8,
        "bits and bytes are mixed: this is eight times the answer": right * 8,
        "the line is slower than promised: divide the promised rate's hours by the efficiency": 20e12
        * 8
        / 1e9
        / 3600
        * (2 / 3),
        "this is in days. The question is hours": right / 24,
        "this is in minutes. The question is hours": right * 60,
        "this is in seconds. The question is hours": right * 3600,
        "a terabyte on a line is 10^12 bytes, not 2^40": right * 2**40 / 1e12,
    }
    said = f"{got:g} hours do not fit: 15 GB take 180 seconds, and 20 TB are how many times as much?"
    compare(got, right, slips, said, within=0.015)
    return "66.7 hours, almost three days"


known_wrong("moving", 44.4, "this is the promised rate. The test file shows what the line really does")
known_wrong("moving", 5.56, "this takes a gigabit for a gigabyte at the promised rate: a byte has eight bits")
known_wrong(
    "moving",
    29.6,
    "the line is slower than promised: divide the promised rate's hours by the efficiency",
)
known_wrong("moving", 8.33, "bits and bytes are mixed: this is an eighth of the answer")
known_wrong("moving", 2.78, "this is in days. The question is hours")
known_wrong("moving", "three days", "the number of hours has to be a number, not 'three days'")


# ---------------------------------------------------------------- break-even


@exercise("break-even", hint="Weeks that the supercomputer costs more, times a week, divided by the hour.")
def break_even(answer):
    if not isinstance(answer, dict) or set(answer) != {"device_hours", "tokens"}:
        raise NotYet('the check needs both numbers: {"device_hours": device_hours, "tokens": tokens}')
    hours = number(answer["device_hours"], "device_hours")
    tokens = number(answer["tokens"], "tokens")
    if near(tokens, 4500) and hours > 1e6:
        raise NotYet("the two numbers are swapped: the hours are device_hours")
    slips = {
        "the cloud takes two weeks too: only the difference counts": 8 * 2400 / 3.2,
        "the application and the report are work too": 3 * 2400 / 3.2,
        "this is five weeks: is the application in it, and the report, and the cloud's two off?": 5
        * 2400
        / 3.2,
        "this is four weeks: the report is two weeks of work too": 4 * 2400 / 3.2,
        "these are the weeks of both added. The question is the difference": 10 * 2400 / 3.2,
        "all rented hours are paid, also useless ones: leave the 72 % to the tokens": 4500 * 0.72,
        "the rented hours are asked, useless ones included: the 72 % belongs to the tokens": 4500 / 0.72,
        "this is money: divide it by the price of an hour": 6 * 2400,
    }
    compare(hours, 4500, slips, f"{hours:,.0f} device-hours is not where both cost the same")
    made = hours * 3600 * 9000
    slips = {
        "only 72 % of the hours are useful": made,
        "of the rented hours 72 % are useful: multiply, do not divide": made / 0.72,
        "an hour has 3,600 seconds": hours * 9000 * 0.72,
        "this is in billions. Give the number of tokens": made * 0.72 / 1e9,
    }
    said = f"the hours are right; {tokens:.4g} tokens are not what they make"
    compare(tokens, made * 0.72, slips, said)
    return "4,500 rented device-hours, or 105 billion useful tokens"


def pair(hours, tokens):
    return {"device_hours": hours, "tokens": tokens}


known_wrong("break-even", pair(6000, 1.4e11), "the cloud takes two weeks too: only the difference counts")
known_wrong("break-even", pair(2250, 5.2e10), "the application and the report are work too")
known_wrong(
    "break-even",
    pair(6250, 1.46e11),
    "the rented hours are asked, useless ones included: the 72 % belongs to the tokens",
)
known_wrong(
    "break-even",
    pair(3750, 8.748e10),
    "this is five weeks: is the application in it, and the report, and the cloud's two off?",
)
known_wrong("break-even", pair(3000, 7e10), "this is four weeks: the report is two weeks of work too")
known_wrong("break-even", pair(1.05e11, 4500), "the two numbers are swapped: the hours are device_hours")
known_wrong(
    "break-even",
    {"device_hours": 4500},
    'the check needs both numbers: {"device_hours": device_hours, "tokens": tokens}',
)
known_wrong("break-even", pair(4500, 145.8e9), "only 72 % of the hours are useful")
known_wrong("break-even", pair(4500, 105), "this is in billions. Give the number of tokens")


# ---------------------------------------------------------------- three companies

WORLDS = ("supercomputer", "cloud", "own")
EACH = 3.20 / (3600 * 9000 * 0.75)  # EUR per useful token
WRONG_WORLD = {
    ("Fjord", "supercomputer"): "the first token comes on day 60 or later, the demonstration on day 12",
    ("Fjord", "own"): "nobody delivers and installs a server in 12 days, for a handful of device-hours",
    ("Auri", "cloud"): "nothing excludes the supercomputer, and the tokens cost far more than eight weeks",
    ("Auri", "own"): "servers arrive after months and are paid on the first day, for a single training",
    ("Klinika", "supercomputer"): "by contract the records are processed on Klinika's own machines alone",
    ("Klinika", "cloud"): "by contract the records are processed on Klinika's own machines alone",
}


REMINDERS = {
    "Fjord": "How many useful tokens does a rented hour make?",
    "Auri": "Rented hours and one week on one side, eight weeks on the other",
    "Klinika": "Which assumption of costs.example says how many hours are in use?",
}


def company_slips():
    hour = costs.own_device_hour(costs.example(utilization=0.85))
    rented = 500e9 * EACH
    return {
        "Fjord": (
            300e6 * EACH,
            {
                "only 75 % of the hours are useful": 300e6 * EACH * 0.75,
                "divide by the useful share once, not multiply": 300e6 * EACH * 0.75**2,
                "this is the number of hours. What do they cost?": 300e6 * EACH / 3.2,
                "the question leaves people out": 300e6 * EACH + 2400,
            },
        ),
        "Auri": (
            rented - 7 * 2400,
            {
                "people are missing: eight weeks on one side, one on the other": rented,
                "the cloud takes a week too": rented - 8 * 2400,
                "only 75 % of the rented hours are useful": rented * 0.75 - 7 * 2400,
                "this is what the rented hours and the week cost. The question is what is saved": rented
                + 2400,
                "the sign is wrong: it saves": 7 * 2400 - rented,
            },
        ),
        "Klinika": (
            hour.total,
            {
                "this is at the lesson's utilization of 60 %. Klinika's is 85 %": costs.own_device_hour(
                    costs.example()
                ).total,
                "this is the capital alone. Power, hosting and staff are paid as well": hour.capital,
                "sixteen devices are two servers of eight, the lesson's own_servers": costs.own_device_hour(
                    costs.example(utilization=0.85, own_servers=16)
                ).total,
                "this is the price of a rented hour. Klinika's own has four parts": 3.2,
                "staff is missing": hour.total - hour.staff,
                "power is missing": hour.total - hour.power,
                "power is used only in the hours in use: utilization does not divide it": hour.total
                - hour.power
                + hour.power / 0.85,
            },
        ),
    }


@exercise(
    "companies",
    hint="A useful token costs 3.20 / (3600 x 9000 x 0.75), and Klinika has utilization=0.85.",
)
def companies(answer):
    for name, (right, slips) in company_slips().items():
        if name not in answer:
            raise NotYet(f"{name} waits for an answer: a pair of decision and number")
        try:
            decision, defense = answer[name]
        except (TypeError, ValueError):
            raise NotYet(f"{name} needs a pair: a decision and a number") from None
        decision = decision.strip().lower() if isinstance(decision, str) else decision
        if decision not in WORLDS:
            raise NotYet(f"{name}: decide for one of {', '.join(WORLDS)}, not {decision!r:.40}")
        if (name, decision) in WRONG_WORLD:
            raise NotYet(f"{name}: {WRONG_WORLD[name, decision]}")
        got = number(defense, f"{name}'s number")
        slips = {f"{name}: {sentence}": wrong for sentence, wrong in slips.items()}
        said = f"{name}: the decision is right, but {shown(got)} is not its number. {REMINDERS[name]}"
        compare(got, right, slips, said, within=0.02)
    return "three decisions, each with its number"


def answers(**changes):
    right = {"Fjord": ("cloud", 39.5), "Auri": ("supercomputer", 49_044.0), "Klinika": ("own", 2.27)}
    return right | changes


known_wrong(
    "companies",
    answers(Fjord=("supercomputer", 39.5)),
    "Fjord: the first token comes on day 60 or later, the demonstration on day 12",
)
known_wrong("companies", answers(Fjord=("cloud", 29.6)), "Fjord: only 75 % of the hours are useful")
known_wrong(
    "companies",
    answers(Auri=("cloud", 49_044)),
    "Auri: nothing excludes the supercomputer, and the tokens cost far more than eight weeks",
)
known_wrong(
    "companies",
    answers(Auri=("supercomputer", 65_844)),
    "Auri: people are missing: eight weeks on one side, one on the other",
)
known_wrong(
    "companies",
    answers(Auri=("supercomputer", 46_644)),
    "Auri: the cloud takes a week too",
)
known_wrong(
    "companies",
    answers(Auri=("supercomputer", 185_500)),
    "Auri: the decision is right, but 185,500 is not its number. Rented hours and one week on one side, "
    "eight weeks on the other",
)
known_wrong(
    "companies",
    answers(Klinika=("cloud", 3.2)),
    "Klinika: by contract the records are processed on Klinika's own machines alone",
)
known_wrong(
    "companies",
    answers(Klinika=("own", 3.07)),
    "Klinika: this is at the lesson's utilization of 60 %. Klinika's is 85 %",
)
known_wrong(
    "companies",
    answers(Klinika=("Own!", 2.27)),
    "Klinika: decide for one of supercomputer, cloud, own, not 'own!'",
)
known_wrong(
    "companies",
    answers(Klinika=("own", costs.own_device_hour(costs.example(utilization=0.85)))),
    "Klinika's number is a sum of four parts: write .total behind it",
)
known_wrong(
    "companies",
    answers(Klinika=("own", 3.2)),
    "Klinika: this is the price of a rented hour. Klinika's own has four parts",
)
known_wrong(
    "companies",
    answers(Fjord=("cloud", 50)),
    "Fjord: the decision is right, but 50 is not its number. How many useful tokens does a rented hour make?",
)


# ---------------------------------------------------------------- what decides the day


def last_day(a):
    return costs.supercomputer(8000, 100e9, a).days(100e9)


@exercise("decides", hint="What lies between today and the first token, and how far apart are low and high?")
def decides(answer):
    if isinstance(answer, str) or len(names := list(dict.fromkeys(answer))) != 3:
        raise NotYet('write three different names, such as ["pue", "salary", "wait_hours"]')
    known = costs.assumptions()
    for name in names:
        if name not in known:
            raise NotYet(f"{name!r:.40} is no name of the list")
    swings = {swing.name: swing.size for swing in costs.sensitivity(last_day, costs.example())}
    top = list(swings)[:3]
    wrong = [name for name in names if name not in top]
    if not wrong:
        days = ", ".join(f"{name} {swings[name]:.0f} days" for name in top)
        return f"from low to high: {days}"
    name = wrong[0]
    right = "none" if len(wrong) == 3 else "one" if len(wrong) == 2 else "two"
    if name in ("data_tb", "line_gbit_s", "line_efficiency"):
        raise NotYet(f"{right} of three. The data are copied while you port, so {name} seldom decides")
    if name not in swings:
        raise NotYet(f"{right} of three. {name} does not move the supercomputer's day at all")
    days = f"{swings[name]:.0f} days" if swings[name] >= 1.5 else "a day or less"
    raise NotYet(f"{right} of three. {name} moves the day by {days} from low to high: others move it more")


known_wrong(
    "decides",
    ["porting_weeks", "onboarding_days", "proposal_weeks"],
    "two of three. proposal_weeks moves the day by 18 days from low to high: others move it more",
)
known_wrong(
    "decides",
    ["porting_weeks", "onboarding_days", "cloud_usd"],
    "two of three. cloud_usd does not move the supercomputer's day at all",
)
known_wrong(
    "decides",
    ["wait_hours", "porting_weeks", "onboarding_days"],
    "two of three. wait_hours moves the day by 12 days from low to high: others move it more",
)
known_wrong(
    "decides",
    ["porting_weeks", "onboarding_days", "data_tb"],
    "two of three. The data are copied while you port, so data_tb seldom decides",
)
known_wrong("decides", ["porting_weeks", "porting_week", "pue"], "'porting_week' is no name of the list")
known_wrong(
    "decides",
    ["porting_weeks"] * 3,
    'write three different names, such as ["pue", "salary", "wait_hours"]',
)

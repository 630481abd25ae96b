"""Checks of the exercises on supercomputer, cloud and own cluster."""

import itertools
from types import SimpleNamespace

from scaleup.decide import costs
from scaleup.exercises import NotYet, close, formula, is_number, rules, says, slip


def number(value, what):
    """`value` as a float; not yet if it is none."""
    if isinstance(value, costs.DeviceHour):
        raise NotYet(f"{what} is a sum of four parts: write .total behind it")
    if not is_number(value):
        raise NotYet(f"{what} has to be a number, not {value!r:.40}")
    return float(value)


def shown(value):
    """Four digits, without an exponent for what is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def near(slips, look=lambda seen: seen, example=lambda wrong: wrong, within=0.01):
    """Rows of a table from {wrong number: sentence}, the nearest is told: `look` finds the number given."""
    return [slip(lambda seen, wrong=wrong: close(got := look(seen), wrong, within)
                 and wrong == min(slips, key=lambda each: abs(each - got)), sentence, example(wrong))
            for wrong, sentence in slips.items()]  # fmt: skip


# the price where all hours are useful, and the useful share
N, U = "1e9 * price / (3600 * tokens_per_s)", "prod(1 - share for share in lost)"
formula(
    "per-billion", "price_per_billion(price, tokens_per_s, lost)", f"{N} / {U}",
    [(3, 9000, [0.05, 0.2, 0.1]), (5.0, 4000, [0.3, 0.3]), (3.6, 1000, [])],
    {N: "the lost hours are missing: only a share of the tokens is useful",
     f"{N} / (1 - sum(lost))":
         "shares that are lost one after another multiply, (1-f)(1-t)(1-i): they are not added",
     f"{N} * (1 - sum(lost))":
         "lost hours make the useful tokens dearer: divide. And shares are not added, (1-f)(1-t)(1-i)",
     f"{N} * {U}": "a lost hour makes the useful tokens dearer: divide by the useful share",
     f"1e9 * price / 3600 * tokens_per_s * {U}":
         "all that divides belongs into brackets: a / (b * c), as a / b * c multiplies by c",
     f"3600 * {N} / {U}": "a price is per hour and a speed per second: an hour has 3,600 seconds",
     f"60 * {N} / {U}": "an hour has 3,600 seconds, not 60",
     f"{N} / {U} / 1e9": "this is the price of one token. The question is a billion",
     f"{N} / {U} / 1e3": "this is the price of a million tokens. The question is a billion",
     f"3600 * tokens_per_s * {U} / price": "this is how many tokens a euro buys. Turn the fraction round",
     f"{U} / ({N})": "this is how many billion tokens a euro buys. Turn the fraction round",
     f"{N} / (1 - lost[-1])":
         "the last share alone is used: a return inside the loop, or a product that is not kept",
     f"{N} / (1 - max(lost, default=0))": "the largest share alone is used. Each of them takes its part",
     f"{N} / (1 - lost[0])": "the first share alone is used: is the return inside the loop?",
     f"{N} / (1 - {U})": "divide by the share that is useful: this divides by the share that is lost",
     f"{N} / prod(lost)": "divide by the product of 1 - share: this is the product of the shares",
     f"{N} * (1 + sum(lost))": "with half of the hours lost the price doubles: divide by what is left",
     f"{N} * prod(1 + share for share in lost)":
         "with half of the hours lost the price doubles: divide by 1 - share, not multiply by 1 + share",
     f"bool(lost) * {N} / {U}":
         "with nothing lost, an empty list, 3.6 EUR and 1,000 tokens a second give 1,000 EUR"},
    within=5e-3,
    otherwise=lambda off:
              "for {} EUR, {:,} tokens a second and {} lost it is {:.2f} EUR, yours is {:.2f}".format(
                  *off.row, off.want, off.got),
    hint="EUR for an hour, divided by the useful billions of tokens in that hour.",
    done="right, and with nothing lost too",
    also=[says("def price_per_billion(price, *_):\n    return price",
               "for 3 EUR, 9,000 tokens a second and [0.05, 0.2, 0.1] lost it is 135.37 EUR, yours is "
               "3.00")])  # fmt: skip

SPOT = ("the cloud is there at its spot price, Vega at its list price. A run that may not be "
        "interrupted pays the list price")  # fmt: skip
NODE = "device-hours are multiplied by the price of a node-hour: a node has several devices"
PEOPLE = "nobody works: the weeks of people are missing"
ALL, SHARED, BOTH = "cloud['list']", "/ vega['devices']", "+ week * (cloud['weeks'] - vega['weeks'])"
PRICES = {ALL: "",
          "cloud['spot']": SPOT,
          f"{ALL} {SHARED}":
              "the cloud's price is that of a device already: divide that of a node-hour alone"}  # fmt: skip
NODES = {
    SHARED: "",
    "": NODE,
    "/ 4": "",  # an error where nothing else is left
    "* vega['devices']": "a node-hour is several device-hours: divide by the devices, do not multiply",
}
WEEKS = {BOTH: "",
         "": PEOPLE,
         "- week * vega['weeks']": "the cloud needs people too, though fewer",
         "+ week * cloud['weeks']": "Vega needs people too: most of the weeks are there",
         "- week * (cloud['weeks'] - vega['weeks'])": "the people are on the wrong side",
         "- week * (cloud['weeks'] + vega['weeks'])":
             "the cloud's people are on the wrong side: who rents pays them, so Vega saves them",
         "+ cloud['weeks'] - vega['weeks']": "weeks are not euros: multiply them by week"}  # fmt: skip


def saved(price=ALL, node=SHARED, people=BOTH):
    return f"device_hours * {price} - device_hours * vega['node_hour'] {node} {people}"


def left():
    """The colleague's three errors and what may take their place, alone and together."""
    for parts in itertools.product(PRICES.items(), NODES.items(), WEEKS.items()):
        if errors := [said for _, said in parts if said]:
            some = "one error is left: " if errors[0] in (SPOT, NODE, PEOPLE) else ""
            some = f"{len(errors)} errors are left. One: " if errors[1:] else some
            yield saved(*(part for part, _ in parts)), some + errors[0]
            if {*errors} <= {SPOT, NODE, PEOPLE}:
                yield f"-({saved(*(part for part, _ in parts))})", f"the sign is wrong, and {some}{errors[0]}"


formula(
    "comparison", "saved_on_vega(device_hours, cloud, vega, week)", saved(),
    [(7_000, {"list": 2.5, "spot": 1.1, "weeks": 1}, {"node_hour": 4.1, "devices": 4, "weeks": 8}, 2_100),
     (9_000, {"list": 3.1, "spot": 2.0, "weeks": 2}, {"node_hour": 9.0, "devices": 8, "weeks": 5}, 1_700),
     (70, {"list": 2.5, "spot": 1.1, "weeks": 1}, {"node_hour": 4.1, "devices": 4, "weeks": 8}, 2_100)],
    dict(left()) | {
        f"-({saved()})": "the sign is wrong: the function returns what Vega saves, cloud minus Vega",
        saved(node="/ 4"): "a node has as many devices as the data say, not always four",
    },
    within=5e-3,
    otherwise=lambda off:
              f"for {off.row[0]:,} device-hours it is {off.want:,.0f} EUR, yours is {off.got:,.0f}",
    hint="List price with list price, device-hours with device-hours, people on both sides.",
    done="list with list, device with device, and people on both sides",
    also=[says("def saved_on_vega(device_hours, cloud, vega, week):\n    return device_hours",
               "for 7,000 device-hours it is -4,375 EUR, yours is 7,000")])  # fmt: skip

HOURS = 20e12 / 15e9 * 180 / 3600
rules(
    "moving", lambda answer: number(answer, "the number of hours"),
    [*near({44.4: "this is the promised rate. The test file shows what the line really does",
            5.56: "this takes a gigabit for a gigabyte at the promised rate: a byte has eight bits",
            8.33: "bits and bytes are mixed: this is an eighth of the answer",
            HOURS * 8: "bits and bytes are mixed: this is eight times the answer",
            29.6: "the line is slower than promised: divide the promised rate's hours by the efficiency",
            44.4 / 0.7: "this takes the lesson's efficiency. The test file shows that of your own line",
            2.78: "this is in days. The question is hours",
            HOURS * 60: "this is in minutes. The question is hours",
            HOURS * 3600: "this is in seconds. The question is hours",
            20e12 / 15e9: "this is how many test files fit into 20 TB. How long does one take?",
            HOURS * 2**40 / 1e12: "a terabyte on a line is 10^12 bytes, not 2^40",
            15 * 8 / 180: "this is the rate of the test file in Gbit/s. The question is hours"},
           within=0.015),
     slip(lambda got: not close(got, HOURS, 0.015),
          "{real:g} hours do not fit: 15 GB take 180 seconds, and 20 TB are how many times as much?",
          says(100, real=100))],
    hint="How many times does the test file fit into 20 TB?", done="66.7 hours, almost three days",
    also=[says("three days", "the number of hours has to be a number, not 'three days'")])  # fmt: skip

WEEK = 2400 / 3.2  # device-hours
EQUAL, MADE = 6 * WEEK, 6 * WEEK * 3600 * 9000
BOTH_NUMBERS = 'the check needs both numbers: {"device_hours": device_hours, "tokens": tokens}'


def pair(hours, tokens=0.72 * MADE):
    return {"device_hours": hours, "tokens": tokens}


def see_pair(answer):
    if not isinstance(answer, dict) or set(answer) != set(pair(0)):
        raise NotYet(BOTH_NUMBERS)
    hours, tokens = (number(answer[name], name) for name in pair(0))
    weeks, rate = shown(hours / WEEK), shown(tokens / EQUAL / 3600)
    return SimpleNamespace(device_hours=hours, tokens=tokens, hours=shown(hours), weeks=weeks, rate=rate)


rules(
    "break-even", see_pair,
    [slip(lambda seen: close(seen.tokens, EQUAL, 0.01) and seen.device_hours > 1e6,
          "the two numbers are swapped: the hours are device_hours", pair(1.05e11, 4500)),
     *near({8 * WEEK: "the cloud takes two weeks too: only the difference counts",
            3 * WEEK: "the application and the report are work too",
            5 * WEEK:
                "this is five weeks: is the application in it, and the report, and the cloud's two off?",
            4 * WEEK: "this is four weeks: the report is two weeks of work too",
            10 * WEEK: "these are the weeks of both added. The question is the difference",
            EQUAL * 0.72: "all rented hours are paid, also useless ones: leave the 72 % to the tokens",
            EQUAL / 0.72: "the rented hours are asked, useless ones included: the 72 % belongs to the tokens",
            -EQUAL: "the sign is wrong: the supercomputer takes more weeks than the cloud",
            6 * 2400 * 3.2: "money is multiplied by the price of an hour. Divide by it",
            6 * 3.2 / 2400: "the two prices are swapped: a week costs EUR 2,400, a device-hour 3.20",
            6 / 3.2: "weeks are divided by the price of an hour: a week costs EUR 2,400",
            EQUAL * 9000: "the speed belongs to the tokens: an hour costs the same at any speed",
            EQUAL / 9000: "the speed belongs to the tokens: an hour costs the same at any speed",
            0.72 * MADE: "this is the number of tokens. First give device_hours, the rented hours",
            0.72 * MADE / 1e9: "these are billions of tokens. First give device_hours, the rented hours"},
           lambda seen: seen.device_hours, pair),
     slip(lambda seen: any(close(seen.device_hours, weeks * 2400, 1e-3) for weeks in range(1, 13)),
          "this is money: divide it by the price of an hour", pair(6 * 2400), pair(8 * 2400)),
     slip(lambda seen: not close(seen.device_hours, EQUAL, 0.01),
          "{hours} device-hours is not where both cost the same: they cost as much as {weeks} weeks of work. "
          "How many weeks more does the supercomputer take than the cloud?",
          says(pair(5000), hours="5,000", weeks="6.667"), says(pair(750), hours="750", weeks="1")),
     *near({MADE: "only 72 % of the hours are useful",
            MADE / 0.72: "of the rented hours 72 % are useful: multiply, do not divide",
            MADE * 0.72**2: "the 72 % is used twice: the rented hours hold all, useful or not",
            MADE * 0.28: "28 % of the hours are lost, 72 % are useful",
            MADE * 0.72 / 3600: "an hour has 3,600 seconds",
            MADE * 0.72 / 9000: "these are useful seconds. In each the device trains 9,000 tokens",
            MADE * 0.72 / EQUAL: "these are the useful tokens of one rented hour. Multiply by device_hours",
            MADE * 0.72 / 1e9: "this is in billions. Give the number of tokens"},
           lambda seen: seen.tokens, lambda tokens: pair(4500, tokens)),
     slip(lambda seen: not close(seen.tokens, 0.72 * MADE, 0.01),
          "the hours are right; {tokens:.4g} tokens are not what they make: they would be {rate} in each "
          "second of those hours. A device trains 9,000 in a useful one",
          says(pair(4500, 5e10), tokens=5e10, rate="3,086"))],
    hint="Weeks that the supercomputer costs more, times a week, divided by the hour.",
    done="4,500 rented device-hours, or 105 billion useful tokens",
    also=[says(pair(4500, "?"), "tokens has to be a number, not '?'"),
          says({"tokens": 1e11}, BOTH_NUMBERS)])  # fmt: skip

EACH = 3.20 / (3600 * 9000 * 0.75)  # EUR per useful token
FEW, RENTED, SAVED = 300e6 * EACH, 500e9 * EACH, 500e9 * EACH - 7 * 2400


def own(utilization=0.85, **changes):
    return costs.own_device_hour(costs.example(utilization=utilization, **changes))


HOUR = own()
RIGHT = {"Fjord": ("cloud", FEW), "Auri": ("supercomputer", SAVED), "Klinika": ("own", HOUR.total)}
WRONG_WORLD = {
    ("Fjord", "supercomputer"): "the first token comes on day 60 or later, the demonstration on day 12",
    ("Fjord", "own"): "nobody delivers and installs a server in 12 days, for a handful of device-hours",
    ("Auri", "cloud"): "nothing excludes the supercomputer, and the tokens cost far more than eight weeks",
    ("Auri", "own"): "servers arrive after months and are paid on the first day, for a single training",
} | dict.fromkeys(
    [("Klinika", "supercomputer"), ("Klinika", "cloud")],
    "by contract the records are processed on Klinika's own machines alone",
)  # fmt: skip
REMINDERS = {"Fjord": "How many useful tokens does a rented hour make?",
             "Auri": "Rented hours and one week on one side, eight weeks on the other",
             "Klinika": "Which one assumption of costs.example is not the lesson's here, and what is "
                        "it?"}  # fmt: skip
WRONG_NUMBER = {
    "Fjord": {
        FEW * 0.75: "only 75 % of the hours are useful",
        FEW * 0.75**2: "divide by the useful share once, not multiply",
        FEW / 3.2: "this is the number of hours. What do they cost?",
        FEW + 2400: "the question leaves people out",
        1e9 * EACH: "this is the price of a billion useful tokens. Fjord has 0.3 billion",
        FEW * 8: "9,000 tokens/s are the speed of one device, not of a server of eight",
        FEW / 8: "price and speed are both those of one device: nothing is to be multiplied by eight",
    },
    "Auri": {
        RENTED: "people are missing: eight weeks on one side, one on the other",
        RENTED - 8 * 2400: "the cloud takes a week too",
        RENTED * 0.75 - 7 * 2400: "only 75 % of the rented hours are useful",
        RENTED + 2400: "this is what the rented hours and the week cost. The question is what is saved",
        -SAVED: "the sign is wrong: it saves",
        8 * RENTED - 7 * 2400: "9,000 tokens/s are the speed of one device, not of a server of eight",
        RENTED + 7 * 2400: "the people are on the wrong side: the supercomputer takes seven weeks more",
        RENTED - 9 * 2400: "the cloud's week is on the wrong side: the supercomputer saves it",
        7 * 2400: "these are the seven weeks alone. What do the rented hours cost?",
        RENTED / 3.2: "this is the number of hours. What do they cost, and the weeks?",
        8 * 2400: "this is what the supercomputer costs. What does the cloud cost?",
    },
    "Klinika": {
        own(utilization=0.6).total: "this is at the lesson's utilisation of 60 %. Klinika's is 85 %",
        HOUR.capital: "this is the capital alone. Power, hosting and staff are paid as well",
        own(own_servers=16).total: "sixteen devices are two servers of eight, the lesson's own_servers",
        own(own_servers=1).total: "sixteen devices are two servers of eight, the lesson's own_servers",
        3.2: "this is the price of a rented hour. Klinika's own has four parts",
        HOUR.total - HOUR.staff: "staff is missing",
        HOUR.total - HOUR.power: "power is missing",
        HOUR.total - HOUR.power + HOUR.power / 0.85:
            "power is used only in the hours in use: utilisation does not divide it",
        HOUR.total * 0.85: "this spreads the cost over all hours. The question is an hour in use",
        HOUR.total * 16: "this is an hour of all 16 devices. The question is one",
    },
}  # fmt: skip


def answers(name, decision=None, amount=None):
    world, right = RIGHT[name]
    return RIGHT | {name: (decision or world, right if amount is None else amount)}


def first_wrong(answer):
    """The first company whose decision or number is wrong, and both."""
    for name, (world, right) in RIGHT.items():
        if name not in answer:
            raise NotYet(f"{name} waits for an answer: a pair of decision and number")
        try:
            decision, amount = answer[name]
        except (TypeError, ValueError):
            raise NotYet(f"{name} needs a pair: a decision and a number") from None
        decision = decision.strip().lower() if isinstance(decision, str) else decision
        if decision not in ("supercomputer", "cloud", "own"):
            raise NotYet(f"{name}: decide for one of supercomputer, cloud, own, not {decision!r:.40}")
        amount = number(amount, f"{name}'s number") if decision == world else right
        if decision != world or not close(amount, right, 0.02):
            return name, decision, amount
    return "", "", 0


def other_number(name, amount):
    return f"{name}: the decision is right, but {amount} is not its number. {REMINDERS[name]}"


rules(
    "companies", first_wrong,
    [*(slip(lambda seen, key=key: seen[:2] == key, f"{key[0]}: {sentence}", answers(*key))
       for key, sentence in WRONG_WORLD.items()),
     *(row for name, slips in WRONG_NUMBER.items() for row in near(
         {wrong: f"{name}: {sentence}" for wrong, sentence in slips.items()},
         lambda seen, name=name: seen[2] if seen[0] == name else (),
         lambda wrong, name=name: answers(name, amount=wrong))),
     slip(lambda seen: seen[0], lambda seen: other_number(seen[0], shown(seen[2])),
          says(answers("Fjord", amount=50), other_number("Fjord", "50")),
          says(answers("Auri", amount=185_500), other_number("Auri", "185,500")))],
    hint="A useful token costs 3.20 / (3600 x 9000 x 0.75), and Klinika has utilization=0.85.",
    done="three decisions, each with its number",
    also=[says({"Fjord": RIGHT["Fjord"]}, "Auri waits for an answer: a pair of decision and number"),
          says(RIGHT | {"Fjord": "cloud"}, "Fjord needs a pair: a decision and a number"),
          says(answers("Klinika", "Own!"),
               "Klinika: decide for one of supercomputer, cloud, own, not 'own!'"),
          says(answers("Klinika", amount=HOUR),
               "Klinika's number is a sum of four parts: write .total behind it")])  # fmt: skip

THREE_NAMES = 'write three different names, such as ["pue", "salary", "wait_hours"]'


def first_name_off(answer):
    """The first of the three names that is not among the strongest, and by how many days it moves the day."""
    if not isinstance(answer, list | tuple | set) or len(names := list(dict.fromkeys(answer))) != 3:
        raise NotYet(THREE_NAMES)
    if unknown := [name for name in names if name not in costs.assumptions()]:
        raise NotYet(f"{unknown[0]!r:.40} is not a name of the list")
    swings = costs.sensitivity(lambda a: costs.supercomputer(8000, 100e9, a).days(100e9), costs.example())
    days = {swing.name: swing.size for swing in swings}
    wrong = [name for name in names if name not in list(days)[:3]]
    seen = SimpleNamespace(name=wrong[0] if wrong else "", right=("three", "two", "one", "none")[len(wrong)])
    seen.moves = days.get(seen.name, 0)
    seen.days = f"{seen.moves:.0f} days" if seen.moves >= 1.5 else "a day or less"
    seen.top = ", ".join(f"{name} {size:.0f} days" for name, size in list(days.items())[:3])
    return seen


def named(name, right="two", **gaps):
    strongest = ["porting_weeks", "onboarding_days"][: ("none", "one", "two").index(right)]
    return says([*strongest, name, "pue", "salary"][:3], name=name, right=right, **gaps)


rules(
    "decides", first_name_off,
    [slip(lambda seen: seen.name in ("data_tb", "line_gbit_s", "line_efficiency"),
          "{right} of three. The data are copied while you port, so {name} seldom decides", named("data_tb"),
          named("line_gbit_s", "one")),
     slip(lambda seen: seen.name and not seen.moves,
          "{right} of three. {name} does not move the supercomputer's day at all", named("cloud_usd"),
          named("own_lead_weeks", "none")),
     slip(lambda seen: seen.name,
          "{right} of three. {name} moves the day by {days} from low to high: others move it more",
          named("proposal_weeks", days="18 days"), named("wait_hours", days="12 days"),
          named("job_hours", days="a day or less"))],
    hint="What lies between today and the first token, and how far apart are low and high?",
    done=lambda seen: f"from low to high: {seen.top}",
    also=[says(["porting_weeks"] * 3, THREE_NAMES),
          says("porting_weeks, pue, salary", THREE_NAMES),
          says(["porting_weeks", "porting_week", "pue"],
               "'porting_week' is not a name of the list")])  # fmt: skip

"""Checks of the exercises on watching a run and its energy."""

import random
from types import SimpleNamespace

from scaleup.exercises import NotYet, close, code, formula, is_number, rules, says, slip, word_each
from scaleup.watch.alarms import Rule, alarms, as_it_is, field_of

# ---------------------------------------------------------------- energy

RIGHT = "1e9 / rate / 3600 * nodes * node_w / 1000 * pue"
formula(
    "per-billion", "kwh_per_billion(rate, nodes, node_w, pue)", RIGHT,
    [(520_000, 16, 3876, 1.08), (30_000, 2, 2470, 1.5), (9_000.0, 1, 7752.0, 1.0)],
    {"1e9 / rate / 3600 * nodes * node_w * pue": "these are Wh: a kWh has a thousand of them",
     "1e9 / rate * nodes * node_w / 1000 * pue": "an hour has 3,600 seconds: this counts seconds as hours",
     "1e9 / rate / 60 * nodes * node_w / 1000 * pue": "an hour has 3,600 seconds, not 60",
     "1e9 / rate / 3600 * node_w / 1000 * pue":
         "this is one node's energy: all of them draw, and `rate` is that of all together",
     "1e9 / rate / 3600 * nodes * node_w / 1000": "the building is missing: multiply by PUE",
     "1e9 / rate / 3600 * nodes * node_w / 1000 / pue":
         "PUE is the building over the computers: the building draws more, so multiply",
     "1e9 / rate / 3600 * nodes * node_w / 1000 * (pue - 1)":
         "this is what the building adds. The question is all of it, so multiply by PUE, not by PUE - 1",
     "1 / rate / 3600 * nodes * node_w / 1000 * pue": "this is the energy of one token",
     "rate * 3600 / 1e9 * nodes * node_w / 1000 * pue":
         "this grows with the rate. A faster run takes fewer hours: divide the tokens by the rate"},
    otherwise=lambda off: "for {:,} tokens/s, {} nodes of {:g} W and a PUE of {} it is {:.4g} kWh, yours is "
                          "{:.4g}".format(*off.row, off.want, off.got),
    hint="Hours = tokens / rate / 3600. Then how many kW do all nodes draw, and what does the building add?",
    done="hours, nodes, kilowatts, building",
    also=[says("def kwh_per_billion(rate, nodes, node_w, pue):\n    return 1.0",
               "for 520,000 tokens/s, 16 nodes of 3876 W and a PUE of 1.08 it is 35.78 kWh, yours is 1")],
)  # fmt: skip

WRAP = "after smaller than before means that the meter began at 0 again: add `wraps` then"
TWICE = "the node's meter has its devices in it already: they are counted twice"
UNIT = "a kWh has 3.6 million joules: 1000 W for 3,600 s"
D, W = "after - before", "(after - before) % wraps"
formula(
    "reading", "building_kwh(before, after, wraps, devices, pue)", f"{W} / 3.6e6 * pue",
    [(1e6, 2.9e8, 1e9, [5e7] * 4, 1.2), (9e8, 1e8, 1e9, [3e7] * 4, 1.08), (0, 7.2e6, 1e8, [], 1.5)],
    {f"({D} + sum(devices)) / 3.6e9 * pue": "this is the colleague's version: three errors are in it",
     f"({D} + sum(devices)) / 3.6e6 * pue": TWICE,
     f"({W} + sum(devices)) / 3.6e9 * pue": TWICE,
     f"({W} + sum(devices)) / 3.6e6 * pue": TWICE,
     f"({D}) / 3.6e9 * pue": UNIT,
     f"{W} / 3.6e9 * pue": UNIT,
     f"{W} / 3600 * pue": "these are Wh: a kWh has a thousand of them",
     f"({D}) / 3.6e6 * pue": WRAP,
     f"abs({D}) / 3.6e6 * pue": WRAP,
     f"({W} - sum(devices)) / 3.6e6 * pue":
         "the devices belong to the job, too: the node's meter, as it is, is what you want",
     "sum(devices) / 3.6e6 * pue": "this is the devices alone. The node's meter sees all of the node",
     f"{W} / 3.6e6": "the building is missing: multiply by PUE"},
    otherwise=lambda off: "from {:g} to {:g} joules with a wrap at {:g} it is {:.4g} kWh, yours is "
                          "{:.4g}".format(*off.row[:3], off.want, off.got),
    hint="Look at each line: what does it count, in which unit, and what if the meter wrapped?",
    done="one meter, one wrap, one PUE",
    also=[says("def building_kwh(before, after, wraps, devices, pue):\n    return 1.0",
               "from 1e+06 to 2.9e+08 joules with a wrap at 1e+09 it is 96.33 kWh, yours is 1")],
)  # fmt: skip

# ---------------------------------------------------------------- two limits

CURVES = [
    ([0, 3, 2, 3, 0, 3], 2.5, 1),
    ([0, 5, 5, 5], 2, 1),
    ([1, 1, 1], 2, 0.5),
    ([3, 1.5, 3, 0, 3, 3], 2, 1),
]
MADE = """
def rings(values, on, off):
    steps, is_on = [], {start}
    for step, value in enumerate(values):
        if not is_on and value > {on}:
            is_on = True
            steps.append({what})
        elif is_on and value < {off}:
            is_on = False
    return {answer}
"""


def version(start="False", on="on", off="off", what="step", answer="steps"):
    return MADE.format(start=start, on=on, off=off, what=what, answer=answer)


def by(source):
    return [code(source)(list(values), on, off) for values, on, off in CURVES]


def answers_of(answer):
    found = []
    for values, on, off in CURVES:
        got = answer(list(values), on, off)
        if not isinstance(got, list | tuple):
            raise NotYet(f"return a list of steps, not {got!r:.40}")
        found.append(list(got))
    return found


ONE = "def rings(values, on, off):\n    return [step for step, value in enumerate(values) if value > on]"
WRONG = {
    ONE: "this rings at every step above the limit. Once it is on it stays on until a value is below `off`",
    version(off="on"): "it goes off below `on`: between the two limits nothing should happen",
    version(on="off"): "it goes on above `off`: the higher limit is the one that turns it on",
    version(what="value"): "these are the values. Return the steps at which it goes on",
    version(answer="len(steps) and [len(steps)] or []"): "this counts the alarms. Return the steps",
    version(what="step + 1"): "steps are counted from 0: these are one later",
    version(answer="steps[:1]"): "it can go on again, after a value below `off`",
    version(off="-1"): "it can go on again, after a value below `off`",
}
LIKE = [(source, sentence, by(source)) for source, sentence in WRONG.items()]
rules(
    "two-limits",
    answers_of,
    [
        *(
            slip(lambda seen, wrong=wrong: seen == wrong, sentence, source)
            for source, sentence, wrong in LIKE
        ),
        slip(
            lambda seen: seen != by(version()),
            "for [0, 3, 2, 3, 0, 3] with on=2.5 and off=1 it goes on at [1, 5]; "
            "look at each list of values that way",
            "def rings(values, on, off):\n    return []",
        ),
    ],
    needs="rings",
    example=code,
    hint="Keep a bit: is it on? Above `on` matters only while it is off, below `off` only while it is on.",
    done="it rings once for each time, and trembling does not ring it",
    also=[says("def rings(values, on, off):\n    return 3", "return a list of steps, not 3")],
)

# ---------------------------------------------------------------- choose


def waiting(ill):
    """300 steps of waiting, a checkpoint every 25th; in `ill` of them the file system is ill."""
    noise = random.Random(3)
    steps = []
    for number in range(300):
        share = noise.uniform(0.20, 0.40) if number in ill else noise.uniform(0.05, 0.12)
        steps.append({"step": number, "share": 0.5 if number % 25 == 10 else share})
    return steps


SOUND, ILL = waiting(()), waiting(range(200, 260))


def chosen(answer):
    ask = 'write a dict such as {"on": 0.5, "off": 0.4, "patience": 1}, with a number for each'
    if not isinstance(answer, dict) or set(answer) != {"on", "off", "patience"}:
        raise NotYet(ask)
    if not all(map(is_number, answer.values())) or int(answer["patience"]) != answer["patience"]:
        raise NotYet(ask)
    on, off, patience = answer["on"], answer["off"], int(answer["patience"])
    if on > 1 or off > 1:
        raise NotYet("shares lie between 0 and 1: write 0.2 for 20 %")
    rule = Rule("wait", field_of("share"), as_it_is, on, off, max(1, patience), 0)
    sound, ill = alarms(SOUND, [rule]), alarms(ILL, [rule])
    during = [alarm for alarm in ill if 200 <= alarm.began < 260]
    return SimpleNamespace(
        on=on,
        off=off,
        patience=patience,
        sound=len(sound),
        during=during,
        late=during[0].began + patience - 1 - 200 if during else None,
        count=len(during),
        off_again=bool(during) and during[-1].ended is not None,
    )


rules(
    "choose",
    chosen,
    [
        slip(
            lambda seen: seen.patience < 1,
            "patience is at least one step",
            {"on": 0.18, "off": 0.14, "patience": 0},
        ),
        slip(
            lambda seen: seen.off > seen.on,
            "`off` lies below `on`: else the rule is off before it is on",
            {"on": 0.14, "off": 0.18, "patience": 3},
        ),
        slip(
            lambda seen: seen.sound and seen.patience == 1 and seen.on > 0.12,
            "it rings at every checkpoint. A single step should not ring: how many in a row are ill?",
            {"on": 0.18, "off": 0.14, "patience": 1},
            {"on": 0.45, "off": 0.14, "patience": 1},
        ),
        slip(
            lambda seen: seen.sound,
            "it rings {sound:d} times on a sound run: its `on` lies in what is usual there",
            says({"on": 0.06, "off": 0.04, "patience": 3}, sound=1),
        ),
        slip(
            lambda seen: not seen.during,
            "it does not ring when the file system is ill: `on` is too high, or it is too patient",
            {"on": 0.6, "off": 0.14, "patience": 3},
            {"on": 0.35, "off": 0.14, "patience": 30},
        ),
        slip(
            lambda seen: seen.late >= 10,
            "it rings {late:d} steps after the illness began: ten are too many",
            says({"on": 0.18, "off": 0.14, "patience": 12}, late=11),
        ),
        slip(
            lambda seen: not seen.off_again,
            "it does not go off again when all is well: `patience` sound steps in a row must be below `off`",
            {"on": 0.18, "off": 0.04, "patience": 3},
            {"on": 0.18, "off": 0.08, "patience": 9},
        ),
        slip(
            lambda seen: len(seen.during) > 1,
            "it rings {count:d} times for one illness: `off` is so high that an ill step goes below it",
            says({"on": 0.25, "off": 0.25, "patience": 2}, count=2),
        ),
    ],
    hint="A sound step is at most 12 %, an ill one at least 20 %, a checkpoint is one step.",
    done=lambda seen: f"silent when sound, rings {seen.late} steps after the illness began, once",
    also=[
        says("0.2", 'write a dict such as {"on": 0.5, "off": 0.4, "patience": 1}, with a number for each'),
        says({"on": 20, "off": 10, "patience": 3}, "shares lie between 0 and 1: write 0.2 for 20 %"),
    ],
)

# ---------------------------------------------------------------- curves

HAPPENED = {"A": "stall", "B": "saving", "C": "leak", "D": "spike", "E": "straggler", "F": "NaN"}
see, odd = word_each(HAPPENED)


def with_(**changes):
    return HAPPENED | changes


rules(
    "curves",
    see,
    [
        slip(
            lambda seen: seen["F"] != "NaN",
            "F: its loss and its gradient norm end at step 40, since NaN cannot be drawn",
            with_(F="leak"),
        ),
        slip(
            lambda seen: seen["D"] != "spike",
            "D: loss and gradient norm jump together and come back, the rate does not care",
            with_(D="NaN"),
        ),
        slip(
            lambda seen: seen["C"] != "leak",
            "C: loss and rate are as ever. Look at the lowest curve",
            with_(C="saving"),
        ),
        slip(
            lambda seen: seen["A"] == "straggler" and seen["E"] == "stall",
            "A and E lose the same, and are swapped: which waits for data, in which do ranks differ?",
            with_(A="straggler", E="stall"),
        ),
        slip(
            lambda seen: seen["B"] != "saving",
            "B: two single steps, 25 apart, and all is as before: what happens so regularly?",
            with_(B="stall"),
        ),
        slip(
            lambda seen: seen["A"] != "stall",
            "A: where the rate is low, the share of waiting is more than half",
            with_(A="saving"),
        ),
        slip(
            lambda seen: seen["E"] != "straggler",
            "E: where the rate is low, one rank takes many times as long as the other",
            with_(E="saving"),
        ),
    ],
    hint="First tokens per second, then the curve that moves with it.",
    done="six runs, six causes",
    also=[
        says(with_(A="saving", F="nan"), "A: where the rate is low, the share of waiting is more than half"),
        *odd,
    ],
)

# ---------------------------------------------------------------- measure

CORE_W, TOKENS = 4.375, 60 * 8 * 64


def measured(answer):
    names = ("estimated_wh", "measured_wh", "per_billion_kwh")
    for name in names:
        if not is_number(answer.get(name)):
            raise NotYet(f"{name} has to be a number, not {answer.get(name)!r:.30}")
    steps = answer["steps"]
    if len(steps) != 60 or any(step.get("seconds") is None for step in steps):
        raise NotYet("the run is not whole: run the cell that trains again")
    power = [step["watts"] if step.get("watts") is not None else CORE_W for step in steps]
    joules = sum(w * step["seconds"] for w, step in zip(power, steps, strict=True))
    seen = SimpleNamespace(joules=joules, right=joules / 3600, rate=joules / 3.6e6 / TOKENS * 1e9)
    for name in names:
        setattr(seen, name, answer[name])
    seen.first = power[0] * steps[0]["seconds"] * 60 / 3600
    seen.counts = (steps[-1]["watts"] is not None) if "watts" in steps[-1] else False
    return seen


def near(given, wanted):
    return close(given, wanted, 0.02)


STEPS = [{"seconds": 0.5 if n == 0 else 0.02, "watts": None} for n in range(60)]
EVEN = [{"seconds": 0.02, "watts": None}] * 60  # a first step that is as quick as the others
JOULES = CORE_W * sum(step["seconds"] for step in STEPS)


def mine(**changes):
    right = {
        "estimated_wh": 0.002,
        "measured_wh": JOULES / 3600,
        "per_billion_kwh": JOULES / 3.6e6 / TOKENS * 1e9,
    }
    return right | {"steps": STEPS} | changes


rules(
    "measure",
    measured,
    [
        slip(
            lambda seen: seen.estimated_wh <= 0,
            "an estimate is above 0: seconds times W, over 3,600",
            mine(estimated_wh=0.0),
        ),
        slip(
            lambda seen: near(seen.measured_wh, seen.joules),
            "measured_wh is in joules: a Wh has 3,600 of them",
            mine(measured_wh=JOULES),
        ),
        slip(
            lambda seen: near(seen.measured_wh, seen.joules / 3.6e6),
            "measured_wh is in kWh: multiply it by 1,000",
            mine(measured_wh=JOULES / 3.6e6),
        ),
        slip(
            lambda seen: near(seen.measured_wh, seen.first) and not near(seen.measured_wh, seen.right),
            "measured_wh takes the first step for all 60: add up each step's own seconds",
            mine(measured_wh=CORE_W * 0.5 * 60 / 3600),
        ),
        slip(
            lambda seen: near(seen.measured_wh, seen.right * 60),
            "measured_wh is 60 times too much: the sum has all steps already",
            mine(measured_wh=JOULES / 60),
        ),
        slip(
            lambda seen: not near(seen.measured_wh, seen.right),
            "measured_wh is not the sum of power × seconds over the 60 steps, over 3,600",
            mine(measured_wh=1.0),
        ),
        slip(
            lambda seen: near(seen.per_billion_kwh, 1000 * seen.rate),
            "per_billion_kwh is in Wh",
            mine(per_billion_kwh=JOULES / 3600 / TOKENS * 1e9),
        ),
        slip(
            lambda seen: near(seen.per_billion_kwh, 64 * seen.rate),
            "a step sees 8 windows of 64 tokens: 512 tokens, not 8",
            mine(per_billion_kwh=64 * JOULES / 3.6e6 / TOKENS * 1e9),
        ),
        slip(
            lambda seen: near(seen.per_billion_kwh, 60 * seen.rate),
            "the energy is that of 60 steps: divide by the tokens of all of them",
            mine(per_billion_kwh=60 * JOULES / 3.6e6 / TOKENS * 1e9),
        ),
        slip(
            lambda seen: not near(seen.per_billion_kwh, seen.rate),
            "per_billion_kwh does not fit measured_wh: kWh over 60 × 8 × 64 tokens, times a billion",
            mine(per_billion_kwh=1.0),
        ),
    ],
    hint="Wh = sum of power × seconds / 3,600. A billion tokens are 1e9 / (60 × 8 × 64) such runs.",
    done=lambda seen: (
        f"measured and carried on to a billion tokens; your estimate was ≈ "
        f"{seen.estimated_wh / seen.right:.2f} times what it took"
    ),
    also=[
        says(
            mine(steps=EVEN, measured_wh=0.02 * 60 * CORE_W / 3600, per_billion_kwh=1.0),
            "per_billion_kwh does not fit measured_wh: kWh over 60 × 8 × 64 tokens, times a billion",
        ),
        says(mine(measured_wh="x"), "measured_wh has to be a number, not 'x'"),
        says(mine(steps=STEPS[:5]), "the run is not whole: run the cell that trains again"),
    ],
)

"""Checks of the exercises on proposals."""

import functools
from types import SimpleNamespace

from scaleup.errors import CourseError
from scaleup.exercises import NotYet, edited, formula, letter_set, rules, says, slip, values
from scaleup.paths import root
from scaleup.proposal import annex, grants, own_words
from scaleup.proposal.proposal_case import case
from scaleup.proposal.review import review
from scaleup.study import RECORDED, load

# ---------------------------------------------------------------- the request

N, R, F, P = "node_hours", "(1 + tuning + evaluation)", "(1 + failures)", "per_node"
formula(
    "request", "gpu_hours(node_hours, tuning, evaluation, failures, per_node)", f"{N} * {R} * {F} * {P}",
    [(1000, 0.2, 0.05, 0.15, 4), (2500.0, 0.1, 0.03, 0.2, 4), (300, 0.0, 0.1, 0.15, 8)],
    {f"{N} * {R} * {F}": "these are node-hours: a node-hour is `per_node` GPU-hours",
     f"{N} * {R} * {F} / {P}": "a node-hour is several GPU-hours: multiply by `per_node`",
     f"{N} * {R} * {P}": "failures are missing",
     f"{N} * {F} * {P}": "trial runs and evaluation are missing",
     f"{N} * {P}": "this is the main run alone",
     f"{N} * (1 + tuning + evaluation + failures) * {P}":
         "trial runs and evaluation fail, too: `failures` is a share of all runs, not of the main one",
     f"{N} * (1 + tuning) * (1 + evaluation) * {F} * {P}":
         "tuning and evaluation are both shares of the main run: add them, then multiply",
     f"{N} * {R} / (1 - failures) * {P}":
         "here `failures` is a share of the runs that you mean to make, put on top: multiply by 1 + failures",
     f"{N} * {R} * (1 - failures) * {P}": "a reserve is put on top. This takes it away",
     f"{N} * (1 + tuning) * {F} * {P}": "evaluation is missing",
     f"{N} * (1 + evaluation) * {F} * {P}": "tuning is missing",
     f"{N} * (tuning + evaluation) * {F} * {P}": "the main run itself is missing"},
    within=2e-3,
    otherwise=lambda off: "for {:g} node-hours, shares of {:g}, {:g} and {:g} and {} GPU-hours a node-hour "
                          "it is "
                          "{:,.1f}, yours is {:,.1f}".format(*off.row, off.want, off.got),
    hint="All runs, then what fails of them, then the unit.",
    done="runs, reserve, unit: this is the line that a reviewer counts again",
    also=[says("def gpu_hours(node_hours, *_):\n    return 1.0",
               "for 1000 node-hours, shares of 0.2, 0.05 and 0.15 and 4 GPU-hours a node-hour it is 5,750.0, "
               "yours is 1.0")],
)  # fmt: skip

# ---------------------------------------------------------------- units

LUMI, JUPITER, REPORTED = UNITS = 12_000, 3_500, 20_000
values(
    "units", UNITS,
    {(24_000, JUPITER, REPORTED): "LUMI-G: 8 devices are 4 modules, and a GPU-hour is of a module",
     (3000, JUPITER, REPORTED): "LUMI-G: a node-hour is 4 GPU-hours",
     (750, JUPITER, REPORTED): "LUMI-G: a node-hour is several GPU-hours, so multiply",
     (LUMI, 252_000, REPORTED): "JUPITER: a node-hour is 288 core-hours, not 4: the site counts cores",
     (LUMI, 14_000, REPORTED): "JUPITER: 72 core-hours are one device-hour. The question is whole nodes",
     (LUMI, 1_008_000 * 288, REPORTED): "JUPITER: a node-hour is many core-hours, so divide",
     (LUMI, JUPITER, 40_000): "LUMI-G: two devices are one module, and the bill counts modules",
     (LUMI, JUPITER, 80_000): "LUMI-G: a device is half of a module, so halve",
     (LUMI, JUPITER, 10_000): "LUMI-G: device-hours are not node-hours: only the module of two is to be "
                              "counted",
     (LUMI, JUPITER, 5_000): "LUMI-G: these are node-hours. A node-hour is 4 GPU-hours",
     (24_000, JUPITER, 40_000): "LUMI-G: a GPU-hour is a module of two devices, in both questions"},
    ask="the answer is three numbers: lumi, jupiter, reported",
    otherwise=slip(lambda given: True, "look at the lesson's table: what is a node-hour on LUMI-G and on "
                                       "JUPITER, "
                   "and what is a device-hour of it?", (1.0, 2.0, 3.0), (LUMI, 1.0, REPORTED)),
    hint="A node-hour is 8 devices and 4 GPU-hours on LUMI-G, and 288 core-hours on JUPITER.",
    done="12,000 GPU-hours, 3,500 node-hours, 20,000 GPU-hours",
)  # fmt: skip

# ---------------------------------------------------------------- the chain

FAILING = 800 * 86400 / 64
MINUTES, JOBS = (2 * 30 * FAILING) ** 0.5 / 60, 18
values(
    "chain", (MINUTES, JOBS),
    {((2 * 30 * 800 * 86400) ** 0.5 / 60, JOBS): "any of 64 nodes ends the job: divide the days by the nodes",
     ((2 * 30 * 800 * 86400 * 64) ** 0.5 / 60, JOBS): "more nodes fail more often: divide the days by the "
                                                      "nodes",
     ((30 * FAILING) ** 0.5 / 60, JOBS): "Young's interval has a 2 under the root",
     (MINUTES * 60, JOBS): "these are seconds between saves. The question is minutes",
     (MINUTES / 60, JOBS): "these are hours between saves. The question is minutes",
     ((2 * 0.5 * FAILING / 60) ** 0.5 / 60, JOBS):
         "save and failures are both in minutes: then the root is in minutes already",
     (2 * 30 * FAILING / 60, JOBS): "the root is missing",
     (MINUTES, 17): "17 jobs of 24 hours would do without a start: what is useful of each?",
     (MINUTES, 407 / (24 - 0.2 - 30 / 3600)): "a chain has whole jobs: round up",
     (MINUTES, 407 / 24): "a chain has whole jobs, and each has a start and a last save",
     (MINUTES, 34): "a start takes 12 minutes, not 12 hours"},
    ask="the answer is two numbers: minutes between saves, and jobs",
    otherwise=slip(lambda given: True, "two steps: sqrt(2 x save x time between failures of the job), and "
                                       "the hours "
                   "over what is useful of a job", (1.0, 2.0), (MINUTES, 25)),
    hint="The job fails every 800 / 64 days. Of 24 hours a job loses 12 minutes and 30 seconds.",
    done="a save every 134 minutes, 18 jobs", within=2e-3,
)  # fmt: skip

# ---------------------------------------------------------------- the reviewer

RIGHT = frozenset("abeh")
MISSED = {
    "a": "how many GPU-hours does the Playground give? See the lesson's table of modes",
    "b": "2,500 node-hours of LUMI-G are not 20,000 GPU-hours: what does the site count?",
    "e": "'from the internet' is a place. By which right may you train on it?",
    "h": "'the project ends' is not what a reviewer wants to hear of work that was paid for",
}
WRONGLY = {
    "c": "each point has its ±, from three runs: that is the error",
    "d": "the curve ends at 8 nodes, and 8 are asked for",
    "f": "failures are there, 10 % of both. It is little, and it is there",
    "g": "20,000 + 2,000 + 2,200 are 24,200: the sum is right, what is summed is not",
}


see, odd = letter_set("h", "cf")
rules(
    "reviewer", see,
    [*(slip(lambda given, letter=letter: letter in given, f"{letter}: {sentence}", set(RIGHT) | {letter})
       for letter, sentence in WRONGLY.items()),
     *(slip(lambda given, letter=letter: letter not in given, f"one is missing: "
                                                              f"{sentence}", set(RIGHT) - {letter})
       for letter, sentence in MISSED.items())],
    hint="Count the hours again, in the site's unit. Then look for what is said of data and of the time "
         "after.",
    done="the unit, the mode, the rights, the time after",
    also=[*odd,
          says("a b e", f"one is missing: {MISSED['h']}")],
)  # fmt: skip

# ---------------------------------------------------------------- the capstone

WORDS = 5  # of a text that says something


def proposed(path):
    """The annex of the file, and what is the first thing to be put right."""
    try:
        words = own_words.load(path)
        given = case(words, load(root() / RECORDED), grants.modes())
    except CourseError as error:
        raise NotYet(str(error).rstrip(".")) from None
    if given.answer is None:
        raise NotYet(f"there is no plan. {given.why_no_plan}".rstrip("."))
    draft = annex.write(given)
    keys = [gap.rpartition("(`")[2].removesuffix("`)") for gap in draft.gaps]
    short = [
        f"{table}.{key}"
        for table, texts in words.tables.items()
        for key, text in texts.items()
        if (table, key) in LONG and len(text.split()) < WORDS
    ]
    asked = [criterion.name for criterion in review(draft.markdown()).asked]
    return SimpleNamespace(
        gaps=", ".join(keys[:3]) + (" …" if len(keys) > 3 else ""),
        count=len(keys),
        short=short[0] if short else "",
        marks=[mark.rstrip(".") for mark in draft.marks if not any(word in mark for word in MACHINE)],
        mark=next(
            (mark.rstrip(".") for mark in draft.marks if not any(word in mark for word in MACHINE)), ""
        ),
        risks=len(words.risks),
        asked=[name for name in asked if name not in NEEDS_A_RUN],
        first=next((name for name in asked if name not in NEEDS_A_RUN), ""),
    )


LONG = {("request", "continuation"), ("company", "sme"), ("workload", "why_here"), ("data", "rights"),
        ("data", "personal"), ("ethics", "assessment"), ("ethics", "ai_act")}  # fmt: skip
MACHINE = ("rest on no measurement", "practice supercomputer", "The study's model", "The study ends at",
           "point differ by")  # fmt: skip
NEEDS_A_RUN = ("hours rest on a measurement", "error of the measurement", "scaling on this machine",
               "scaling to the nodes asked for")  # fmt: skip
MODE, MONTHS, SHARE = 'mode = "playground"', "months = 3", "share = 1.0"
TUNING, ILL = "tuning = 0.20\n", '[[risks]]\nrisk = "the one engineer is ill"\n'
rules(
    "capstone", proposed,
    [slip(lambda seen: seen.count, "{count} gaps are left: {gaps}",
          says({TUNING: ""}, count=1, gaps="hours.tuning"),
          says({MODE: "", MONTHS: ""}, count=2, gaps="request.mode, request.months")),
     slip(lambda seen: seen.short, "{short} says too little: write at least five words",
          says({'ai_act = "We change a general-purpose model with a small part of its compute and document '
                'that '
                'change."': 'ai_act = "to be done"'}, short="ethics.ai_act")),
     slip(lambda seen: seen.marks, lambda seen: f"not ready: {seen.mark}",
          says({MODE: 'mode = "fast-lane"'},
               "not ready: 3,007 GPU-hours do not fit Fast Lane, which takes 10,000 to 50,000 GPU-hours. "
               "Playground takes them"),
          says({MONTHS: "months = 12"},
               "not ready: Playground lasts 1 or 2 or 3 months, and 12 are asked for"),
          says({"month = 3\n": "month = 4\n"},
               "not ready: A milestone lies beyond the 3 months that are asked for"),
          says({SHARE: "share = 0.8"},
               "not ready: The hours used by each milestone must grow and end at 100 %"),
          says({MONTHS: 'months = 3\nhours = 1000\nunit = "node-hour"'},
               "not ready: Playground counts in GPU-hours, and 1,000 node-hours are asked for: these are "
               "4,000 "
               "GPU-hours")),
     slip(lambda seen: seen.risks < 3, "{risks} risks: name three, each with what you do then",
          says({ILL: "", 'answer = "the second founder submits the chain of jobs: it is written down, and '
                         'tried '
                         'once"': ""}, risks=2)),
     slip(lambda seen: seen.asked, "a reviewer still asks about: {first}",
          says({"[[milestones]]\nmonth = 1\ngoal = \"program and data are there, scaling is measured on 1 "
                "to 8 "
                "nodes\"\nevidence = \"study.json with three runs at each point\"\nshare = 0.15\n": ""},
               first="milestones"))],
    also=[says({MODE: 'mode = "playgrund"'},
               "data/access.yml has no mode 'playgrund'. Did you mean 'playground'?"),
          says({'model = "llama-3.2-1b"': 'model = ""'},
               "there is no plan. [plan] names no model, or no tokens: there is nothing to plan")],
    hint="print(*draft.gaps) names what is missing, print(*draft.marks) what a reviewer stops at.",
    done="all that can be written is written. What is still open needs a run on the machine",
    example=functools.partial(edited, "proposal/company.toml"), file=True, limit=60,
)  # fmt: skip

"""Checks of the exercises on planning. What was measured comes from data/published_runs.csv."""

from types import SimpleNamespace

from scaleup.exercises import NotYet, close, formula, is_number, rules, says, slip, values
from scaleup.paths import root
from scaleup.plan import flops, model, plan, search
from scaleup.plan.evidence.read_runs import read_table
from scaleup.plan.memory import GIB

SECONDS = {each.row["id"]: each.measured_s for each in read_table(root() / "data" / "published_runs.csv")}


def pair(answer, words):
    """The two parts of an answer; Not yet if there are not two."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise NotYet(f"give two things in brackets: ({words})")
    return answer


LAYOUT = "cp, ep, micro_batch, pp, recompute, tp, vp, zero"
DIVIDED_BY = {"states": "tp, pp and ZeRO", "activations": "tp and cp", "logits": "tp and cp"}


def planned(**layout):
    asked = {"nodes": 8, "seq": 8192, "global_batch": 256, "precision": "bf16"}
    return plan("qwen2.5-32b", "leonardo-booster", **asked, **layout).best


def both_plans(answer):
    if not isinstance(answer, dict) or not answer:
        raise NotYet("give a dictionary such as {'tp': 2, 'zero': 1}: the layout is yours to choose")
    if "dp" in answer:
        raise NotYet("leave dp out: it is what the other ways leave of the 32 devices")
    if unknown := sorted(set(map(str, answer)) - set(LAYOUT.split(", "))):
        raise NotYet(f"{', '.join(unknown)} is not part of a layout here. It knows {LAYOUT}")
    return SimpleNamespace(given=answer, mine=planned(**answer), best=planned())


def what_is_too_much(seen):
    """The parts of the memory, and what divides the largest of them."""
    used = {name: getattr(seen.mine.memory, name) / GIB for name in DIVIDED_BY}
    second, most = sorted(used, key=used.get)[-2:]
    sizes = ", ".join(f"{size:.0f} of {name}" for name, size in used.items())
    ways = f"{DIVIDED_BY[most]} divide the {most}"
    if used[second] > 0.7 * used[most]:
        ways += f", {DIVIDED_BY[second]} the {second}"
    plain = planned(**{name: value for name, value in seen.given.items() if name != "vp"})
    if plain.verdict == "it fits":
        added = used["activations"] - plain.memory.activations / GIB
        ways += f". vp added {added:.0f} of the activations: without it the layout fits"
    return f"{seen.mine.verdict}. GiB: {sizes}. {ways}"


NO, BY = "it does not fit. GiB", "tp and cp divide the activations"
SLOWER = "it fits, and is more than 10 % slower than the best layout: "
rules(
    "layout", both_plans,
    [slip(lambda seen: seen.mine.verdict != "it fits", what_is_too_much,
          says({"tp": 1, "zero": 1},
               f"{NO}: 195 of states, 113 of activations, 14 of logits. tp, pp and ZeRO divide the states"),
          says({"tp": 1, "zero": 3}, f"{NO}: 15 of states, 113 of activations, 14 of logits. {BY}"),
          says({"tp": 2, "pp": 4, "cp": 2, "vp": 2, "zero": 1},
               f"{NO}: 36 of states, 39 of activations, 0 of logits. {BY}, tp, pp and ZeRO the states"),
          says({"tp": 4, "pp": 2, "zero": 1},
               "it fits without any reserve. GiB: 34 of states, 28 of activations, 0 of logits. tp, pp and "
               "ZeRO divide the states, tp and cp the activations"),
          says({"tp": 2, "pp": 8, "cp": 2, "vp": 2, "zero": 1},
               f"{NO}: 26 of states, 41 of activations, 0 of logits. {BY}. vp added 12 of the activations: "
               "without it the layout fits")),
     slip(lambda seen: seen.mine.step.total > 1.1 * seen.best.step.total,
          lambda seen: SLOWER + search.why_slower(seen.best, seen.mine).partition(": ")[2],
          says({"tp": 4, "pp": 2, "zero": 1, "recompute": "full"}, SLOWER + "more recompute"),
          says({"tp": 8, "zero": 1}, SLOWER + "more tensor-parallel talk"))],
    hint="It does not fit: divide the largest of the three parts. It is slow: have less of what is named.",
    done=lambda it: f"it fits, and the best layout of all is less than 10 % faster ({it.best.run.layout})",
    also=[says(4, "give a dictionary such as {'tp': 2, 'zero': 1}: the layout is yours to choose"),
          says({"tp": 3, "zero": 1}, "32 devices do not split into tp x pp x cp = 3."),
          says({"dp": 32, "zero": 1}, "leave dp out: it is what the other ways leave of the 32 devices"),
          says({"tensor_parallel": 4},
               f"tensor_parallel is not part of a layout here. It knows {LAYOUT}")])  # fmt: skip

TOKENS = 32 * 32768  # of a step, in both rows
NEIGHBOUR, MEASURED = TOKENS / (8 * 2453), SECONDS["llm_foundry-092"]  # of a step


def cost(seq, attention=12, parameters=6):
    """FLOPs of one token of MPT-7b, by the numbers of the exercise."""
    return parameters * 6.65e9 + attention * 32 * 4096 * seq


def step(*counted):
    """Seconds of the step, where both rows are counted so."""
    return NEIGHBOUR * cost(32768, *counted) / cost(16384, *counted)


def other_count(got):
    if abs(got / MEASURED - 1) <= 0.15:
        return f"{got:,.6g} s is near what was measured, and the ratio of the two counts gives another number"
    return f"{got:,.6g} is more than 15 % off what was measured. Check the count, then the tokens of a step"


RIGHT = step()
TOKENS_A_SECOND = "this is tokens/s of one device: how long do 32 x 32,768 tokens take on eight?"
GUESSED = "the factor over the neighbour's 53.4 s is a guess: count a token at both lengths and divide"
ROUND = "you turned the ratio round: a longer sequence's token costs more, so the step takes longer than 53 s"
values(
    "step-time", RIGHT,
    {NEIGHBOUR: "the neighbour's tokens/s do not carry over: a token of a longer sequence costs more",
     NEIGHBOUR * cost(0) / cost(16384): "the attention is missing: at 32,768 tokens it is more than half",
     NEIGHBOUR * cost(16384) / cost(32768): ROUND,
     NEIGHBOUR * 2: "only attention doubles with the length, and the step has as many tokens as before",
     NEIGHBOUR * 4: "per token only attention doubles, and a step has as many tokens as before",
     **dict.fromkeys((NEIGHBOUR * 2**0.5, NEIGHBOUR * 1.5), GUESSED),
     MEASURED: "this is what was measured. Predict it from the row above",
     **dict.fromkeys((TOKENS / (8 * RIGHT), 1672), TOKENS_A_SECOND),
     TOKENS / RIGHT: "this is tokens/s of eight devices: how long do 32 x 32,768 tokens take?",
     RIGHT * 8: "this is the time of one device alone. Eight share the step",
     RIGHT / 8: "divided by the eight devices twice: 2,453 is the speed of one of them",
     RIGHT / 4: "this is one sequence on one device: the step has 32 of them, shared by eight",
     RIGHT / 32: "this is one sequence: the step has 32 of them",
     RIGHT * 2: "these are twice the tokens: the second row has 32 sequences a step, not 64",
     RIGHT / 2: "these are half of the tokens: a step has 32 sequences of 32,768 tokens",
     RIGHT / 3: "this counts the forward pass only. The backward pass costs twice as much again",
     RIGHT * 4 / 3: "MFU does not count recompute, and the neighbour recomputes too: leave the 4/3 out",
     step(12, 8): "MFU does not count recompute: a parameter takes 6 FLOPs per token, not 8",
     step(12, 2): "2 FLOPs per parameter are the forward pass, and 12 for attention are both: take 6",
     step(6): "half of the attention is missing: 12 x layers x hidden size x sequence counts all of it",
     step(24): "attention is counted twice: 12 x layers x hidden size x sequence counts all of it",
     RIGHT * 1000: "give seconds, not milliseconds",
     RIGHT / 60: "give seconds, not minutes"},
    within=7e-3, ask="give the seconds of one step as a number",
    otherwise=slip(bool, other_count, says(120, other_count(120)), says(86, other_count(86))),
    hint="First the neighbour's FLOP/s per device, from its tokens/s. Then your step.",
    done=lambda got: f"measured {MEASURED:.1f}, your error {got / MEASURED - 1:+.0%}")  # fmt: skip

FEWER, MORE = SECONDS["mtnlg-001"], SECONDS["mtnlg-003"]
ROWS = [(FEWER, 240, 160, 35), (2 * FEWER, 240, 160, 35), (10.0, 8, 4, 35), (10.0, 8, 4, 1)]
IGNORED = ["for 160 micro-batches on 35 stages it gives {:.4g}, which is not the time of 194 slots",
           "twice the seconds must give twice the step: use the argument `seconds`",
           "with other micro-batches it does not follow: use the arguments `before` and `after`",
           "with one stage half the micro-batches take half the time: use the argument "
           "`stages`"]  # fmt: skip
ROUNDED = "the seconds are rounded: return them as they are"
BUBBLE = "the measured step holds a bubble already: take it out first"
SLOTS = "the bubble is p - 1 slots, not p - 1 seconds"
FEWER_EACH = "more devices leave each replica fewer micro-batches"
STEP = "def step_on_more(seconds, before, after, stages):\n    return "
formula(
    "pipeline", "step_on_more(seconds, before, after, stages)",
    "seconds * (after + stages - 1) / (before + stages - 1)", ROWS,
    {"seconds * after / before":
         "this shrinks with the micro-batches and forgets the bubble, which does not shrink",
     "seconds * before / after": f"the step became longer: {FEWER_EACH}",
     "seconds * after / before * (1 + (stages - 1) / after)": BUBBLE,
     "seconds * after / before * (1 + (stages - 1) / before)": BUBBLE,
     "seconds * (1 - (stages - 1) / before) * (after + stages - 1) / before":
         "(p - 1)/m is the bubble over the work, not over the step: divide the step by 1 + (p - 1)/m",
     "seconds * (after + stages) / (before + stages)":
         "one slot too many: the first micro-batch passes p - 1 other stages",
     "seconds * (before + stages - 1) / (after + stages - 1)":
         "the ratio is upside down: more devices take less time",
     "seconds * (1 + (stages - 1) / after) / (1 + (stages - 1) / before)":
         "the bubble is right, but the work itself shrinks, too",
     "seconds * (after + 2 * stages - 2) / (before + 2 * stages - 2)":
         "a slot holds a forward and a backward pass: the bubble is p - 1 slots, not twice as many",
     "seconds * after / before + stages - 1": SLOTS,
     "(seconds - stages + 1) * after / before + stages - 1": SLOTS,
     "seconds / (before + stages - 1)": "this is one slot: multiply by the slots of the larger run",
     "seconds / (before + stages - 1) * after": "the larger run has a bubble, too: p - 1 slots more",
     "seconds": f"this does not change: {FEWER_EACH}"},
    within=1e-4,
    otherwise=lambda off: ROUNDED if off.got in (int(off.want), *(round(off.want, n) for n in range(4)))
              else IGNORED[ROWS.index(off.row)].format(off.got),
    hint="How long is one slot? seconds / (before + stages - 1).",
    done=f"3,360 devices: measured {MORE}, your error {FEWER * 194 / 274 / MORE - 1:+.1%}",
    also=[says(STEP + "seconds / 2", IGNORED[0].format(30.05)),
          says(STEP + "round(seconds * (after + stages - 1) / (before + stages - 1), 2)", ROUNDED),
          says(STEP + "60.1 * (after + stages - 1) / (before + stages - 1)", IGNORED[1]),
          says(STEP + "seconds * (after + stages - 1) / 274", IGNORED[2]),
          says(STEP + "seconds * (after + 34) / (before + 34)", IGNORED[3])])  # fmt: skip

COUNTED = 6 * 530e9 * 1920 * 2048 / (60.1 * 2240) / 1e12
UNIT = "the digits are right, the unit is not: give TFLOP/s, 1e12 FLOPs per second"
COUNTS = {
    126: "this is the printed number, or 8 FLOPs per parameter. A forward and a backward pass are 6",
    COUNTED * 2240: "this is the speed of all devices together: divide by their number",
    COUNTED / 3: "this counts the forward pass only: 2 of the 6 FLOPs per parameter",
    COUNTED * 2 / 3: "this is two thirds: the backward pass alone, or 3,360 devices where this run has 2,240",
    COUNTED * 2: "6 FLOPs per parameter hold both passes: 2 forward and 4 backward",
    126 * 4 / 3: "126 is the larger of the two: count 6 FLOPs per parameter and token",
    COUNTED / 2048: "these are sequences: a step has 1,920 x 2,048 tokens",
    COUNTED * 60.1: "these are the FLOPs of a step, not of a second: divide by 60.1",
} | dict.fromkeys((COUNTED * 1e12, COUNTED * 1e3, COUNTED / 1e3), UNIT)
COUNTS |= dict.fromkeys((COUNTED / 312, COUNTED / 3.12), "this is a share of the peak: give the TFLOP/s")
CAUSES = {"causal": "a row that halves the attention prints less than the tokens give, not more",
          "card": "a row that counts cards of two devices prints twice as much, not 4/3",
          "fp8": "the run is in bf16, and a peak changes a utilisation, not a count of TFLOP/s"}  # fmt: skip


def count_and_cause(answer):
    counted, cause = pair(answer, "TFLOP/s, cause")
    if isinstance(counted, str) and is_number(cause):
        raise NotYet("swap the two: first the TFLOP/s, then the cause")
    if not is_number(counted):
        raise NotYet("give the TFLOP/s as a number")
    return SimpleNamespace(counted=counted, cause=str(cause).strip().lower())


rules(
    "too-large",
    count_and_cause,
    [
        *(slip(lambda seen, value=value: close(seen.counted, value, 0.02), sentence, (value, "recompute"))
          for value, sentence in COUNTS.items()),
        slip(lambda seen: close(seen.counted, 126 * 3 / 4, 2e-4),
             "this is 126 x 3/4, the answer put in: count it from the tokens, seconds and devices",
             (94.5, "recompute")),
        slip(lambda seen: not -0.015 <= seen.counted / COUNTED - 1 <= 0.02,  # attention, too, adds 1.7 %
             "{counted:.4g} TFLOP/s is not what 6 FLOPs per parameter and token give for this step",
             says((80, "recompute"), counted=80)),
        *(slip(lambda seen, cause=cause: seen.cause == cause, sentence, (92.9, cause))
          for cause, sentence in CAUSES.items()),
        slip(lambda seen: seen.cause not in ("recompute", "hfu"),
             "choose the cause from: recompute, causal, card, fp8", (92.9, "attention"), (92.9, 4 / 3)),
    ],
    hint="6 x parameters x tokens of a step / (seconds x devices). What is 8/6?",
    done="the printed number counts the layers' second forward pass: 8 instead of 6",
    also=[
        says(92.9, "give two things in brackets: (TFLOP/s, cause)"),
        says(("recompute", 92.9), "swap the two: first the TFLOP/s, then the cause"),
        says(("92.9", "recompute"), "give the TFLOP/s as a number"),
    ],
)  # fmt: skip

SHARE = flops.convert(1, model("llama-3-8b"), 8192, "model", "causal")
FACTOR = 744 / 711 / SHARE
CLOSE = "close, but 2 % off: if you rounded, give two digits more; "
CLOSE += "if not, check the model and the sequence length"
TWO_RULES = "these are two counting rules divided by each other: convert one of the numbers first"
WRONG_WAY = "converted in the wrong direction: a full count of the attention is the larger number"
OTHER_FACTOR = "under one rule the factor is not {:,.6g}. Which model and sequence length did you take?"
RULE = "this is what the rule alone changes: the tables print 744 and 711, too"
values(
    "faster", FACTOR,
    {1 / FACTOR: "this is the old speed over the new one: turn it round",
     FACTOR * 711: "this is the converted TFLOP/s: divide it by the older number",
     FACTOR - 1: "this is the growth: the factor is 1 more",
     711 * SHARE: "this is the older number by the newer rule: divide 744 by it",
     (FACTOR - 1) * 711: "this is the difference in TFLOP/s: divide instead",
     744 - 711: "this is the difference of two counting rules: convert one of the numbers, then divide",
     1.205: CLOSE,
     **dict.fromkeys((744 / 711, 711 / 744, 744 / 711 - 1), TWO_RULES),
     **dict.fromkeys((744 * SHARE, 744 / 711 * SHARE), WRONG_WAY),
     **dict.fromkeys((SHARE, 1 / SHARE), RULE),
     **dict.fromkeys((17.5, 17.8, 18, 117.7), "give a factor such as 1.05, not a percentage")},
    ask="give the factor as a number",
    otherwise=slip(bool, OTHER_FACTOR.format, says(1.3, OTHER_FACTOR.format(1.3))),
    hint="Convert one of the two with flops.convert, then divide.",
    done="the table's tokens/s give the same factor",
    also=[says(1.2, CLOSE), says(1.2009, CLOSE)])  # fmt: skip

QWEN = model("qwen2.5-7b")
TOKEN, ATTENTION = flops.per_token(QWEN, 4096), 12 * QWEN.layers * QWEN.hidden * 4096
NODE_HOURS = 8 * 40e9 * TOKEN / (32 * 989e12 * 0.441) / 3600
UNLUCKY = 0.640  # one run in ten reaches less of the MFU of its neighbour from another source: the lesson
EMBEDDING = "the input embedding is looked up, not multiplied: leave it out of the 6 N"
ALL = "the count takes all parameters and no attention: "
ALL += "the lesson's rule leaves the input embedding out and adds attention"
FIRST = {  # times the node-hours
    1 / 8: "the first number is hours by the clock: multiply by the nodes",
    4: "the first number is device-hours: a node has four devices",
    8: "the first number holds the 8 nodes twice: hours by the clock times 8 are node-hours",
    32: "the first number is for one device's speed: 32 devices share the work",
    1 / 32: "the first number is divided by the devices of a node, too: multiply hours by the 8 nodes",
    1 / 3600: "the first number is divided by 3600 twice",
    3600: "the first number is in node-seconds: divide by 3600",
    1.2: "the first number holds the margin already: it belongs to the second only",
    0.441: "the first number counts on the full peak: divide by the MFU",
    1 / 100: "the first number takes 44.1 for the MFU: 44.1 % is 0.441",
    1 / 0.441: "the first number is divided by the MFU twice",
    0.441**2: "the MFU makes it longer: divide by 0.441, do not multiply",
    0.441 / 0.381: "the first number takes an MFU of 38.1 %: the neighbour reached 44.1 %",
    1 / 2: "the first number takes the FP8 peak, twice as high: the run is in bf16",
    1 / 3: "the first number counts the forward pass only: the backward pass costs twice as much again",
    4 / 3: "the first number adds recompute: an MFU does not count it",
    96: "swap the two: first the node-hours, then the core-hours",
    80: "the first number is in core-hours already: give node-hours",
    (6 * QWEN.parameters + ATTENTION) / TOKEN: EMBEDDING,
    1 - ATTENTION / TOKEN: "the attention is missing in the count",
    1 - ATTENTION / TOKEN / 2: "half of the attention is missing: the lesson's rule counts all of it",
    6 * QWEN.parameters / TOKEN: ALL,
}
SECOND = {  # times the node-hours that are given; 96 is right
    80: "the core-hours hold no margin: add a fifth",
    1.2: "the second number is still in node-hours: a node-hour is 80 core-hours there",
    1: "the second number is the first again: add a fifth, then take 80 core-hours for each",
    16: "the second number is the margin alone: ask for the likely hours and a fifth more",
    38.4: "a node-hour is 80 core-hours on MareNostrum 5; 32 is Leonardo's number",
    100: "a fifth on top is times 1.2, not divided by 0.8",
    115.2: "the margin is added twice: once is times 1.2",
    12: "the second number starts from hours by the clock: take your node-hours, times 1.2, times 80",
    768: "the second number holds the 8 nodes twice: take your node-hours, times 1.2, times 80",
    384: "the 80 core-hours are those of a whole node: do not multiply by its four devices",
}


def two_hours(answer):
    nodes, cores = pair(answer, "node-hours, core-hours to ask for")
    if not (is_number(nodes) and is_number(cores)):
        raise NotYet("give each part as a number")
    best = plan("qwen2.5-7b", "mn5-acc", nodes=8, seq=4096, global_batch=1024, tokens=40e9).best
    return SimpleNamespace(nodes=nodes, cores=cores, planner=best.node_hours)


rules(
    "request", two_hours,
    [*(slip(lambda seen, n=n: close(seen.nodes, n * NODE_HOURS, 0.01), said, (n * NODE_HOURS, 28950))
       for n, said in FIRST.items()),
     slip(lambda seen: close(seen.nodes, seen.planner, 0.01),
          "the first number is the planner's own. The neighbour's MFU gives the likely one", (330.9, 31770)),
     slip(lambda seen: not close(seen.nodes, NODE_HOURS, 0.01),
          "{nodes:,.6g} node-hours are not what 40e9 tokens take at an MFU of 44.1 %",
          says((500, 48000), nodes=500)),
     *(slip(lambda seen, n=n: close(seen.cores, n * seen.nodes, 0.01), said, (301.6, 301.6 * n))
       for n, said in SECOND.items()),
     slip(lambda seen: not close(seen.cores, 96 * seen.nodes, 0.03),
          "{cores:,.0f} is not the likely node-hours, a fifth more, in core-hours",
          says((301.6, 20000), cores=20000))],
    hint="Seconds = tokens x FLOPs per token / (32 devices x peak x MFU). Then nodes, then units.",
    done=lambda seen: f"the planner says {seen.planner:,.0f} node-hours, you ask for "
         f"{seen.cores / 80:,.0f} ({seen.cores:,.0f} core-hours). One run in ten with such a neighbour needs "
         f"about {seen.nodes / UNLUCKY:,.0f} or more, before any crash: measure first",
    also=[says(301.6, "give two things in brackets: (node-hours, core-hours to ask for)"),
          says((301.6, "28950"), "give each part as a number")])  # fmt: skip

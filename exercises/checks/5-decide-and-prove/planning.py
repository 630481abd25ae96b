"""Checks of the exercises on planning. What was measured comes from data/published_runs.csv."""

import functools
import math

from scaleup.exercises import NotYet, code, exercise, known_wrong, needs_function
from scaleup.paths import root
from scaleup.plan import flops, model, plan, search
from scaleup.plan.evidence.read_runs import read_table
from scaleup.plan.memory import GIB

LAYOUT = {"tp", "pp", "cp", "ep", "vp", "zero", "micro_batch", "recompute"}
UNLUCKY = 0.686  # one run in ten reaches less of the MFU of its neighbour from another source: the lesson
DIVIDED_BY = {"states": "tp, pp and ZeRO", "activations": "tp and cp", "logits": "tp and cp"}


@functools.cache
def published():
    return {r.row["id"]: r for r in read_table(root() / "data" / "published_runs.csv")}


def number(value, what):
    """The answer as a float; Not yet if it is none."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise NotYet(f"give {what} as a number")
    return value


def pair(answer, words):
    """The two parts of an answer; Not yet if there are not two."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise NotYet(f"give two things in brackets: ({words})")
    return answer


def near(value, target, share=0.02):
    return abs(value / target - 1) <= share


@exercise("layout", hint="Divide the layers' matrices inside the node with tp, then the stack with pp.")
def layout(answer):
    if not isinstance(answer, dict) or not answer:
        raise NotYet("give a dictionary such as {'tp': 2, 'zero': 1}: the layout is yours to choose")
    if "dp" in answer:
        raise NotYet("leave dp out: it is what the other ways leave of the 32 devices")
    if unknown := sorted(set(map(str, answer)) - LAYOUT):
        raise NotYet(
            f"{', '.join(unknown)} is no part of a layout here. It knows {', '.join(sorted(LAYOUT))}"
        )
    ask = functools.partial(
        plan, "qwen2.5-32b", "leonardo-booster", nodes=8, seq=8192, global_batch=256, precision="bf16"
    )
    mine = ask(**answer).best
    if mine.verdict != "it fits":
        used = {name: getattr(mine.memory, name) / GIB for name in DIVIDED_BY}
        most = max(used, key=used.get)
        sizes = ", ".join(f"{size:.0f} of {name}" for name, size in used.items())
        ways = f"{DIVIDED_BY[most]} divide the {most}"
        second = sorted(used, key=used.get)[-2]
        if used[second] > 0.7 * used[most]:
            ways += f", {DIVIDED_BY[second]} the {second}"
        plain = ask(**{name: value for name, value in answer.items() if name != "vp"}).best
        if plain.verdict == "it fits":
            added = used["activations"] - plain.memory.activations / GIB
            ways += f". vp added {added:.0f} of the activations: without it the layout fits"
        raise NotYet(f"{mine.verdict}. GiB: {sizes}. {ways}")
    best = ask().best
    if mine.step.total > 1.1 * best.step.total:
        reason = search.why_slower(best, mine).partition(": ")[2]
        raise NotYet(f"it fits, and is more than 10 % slower than the best layout: {reason}")
    return f"it fits, and the best layout of all is less than 10 % faster ({best.run.layout})"


known_wrong(
    "layout",
    {"tp": 1, "zero": 1},
    "it does not fit. GiB: 195 of states, 140 of activations, 14 of logits. tp, pp and ZeRO divide the "
    "states, tp and cp the activations",
)
known_wrong(
    "layout",
    {"tp": 1, "zero": 3},
    "it does not fit. GiB: 15 of states, 140 of activations, 14 of logits. tp and cp divide the activations",
)
known_wrong(
    "layout",
    {"tp": 4, "pp": 2, "zero": 1},
    "it does not fit. GiB: 34 of states, 35 of activations, 0 of logits. tp and cp divide the activations, "
    "tp, pp and ZeRO the states",
)
known_wrong(
    "layout",
    {"tp": 4, "pp": 4, "vp": 4, "zero": 1},
    "it does not fit. GiB: 24 of states, 42 of activations, 0 of logits. tp and cp divide the activations. "
    "vp added 7 of the activations: without it the layout fits",
)
known_wrong(
    "layout",
    {"tp": 4, "pp": 2, "zero": 1, "recompute": "full"},
    "it fits, and is more than 10 % slower than the best layout: more recompute",
)
known_wrong(
    "layout",
    {"tp": 8, "zero": 1},
    "it fits, and is more than 10 % slower than the best layout: more tensor-parallel talk",
)
known_wrong("layout", {"tp": 3, "zero": 1}, "32 devices do not split into tp x pp x cp = 3.")
known_wrong(
    "layout",
    {"dp": 32, "zero": 1},
    "leave dp out: it is what the other ways leave of the 32 devices",
)
known_wrong(
    "layout",
    {"tensor_parallel": 4},
    "tensor_parallel is no part of a layout here. It knows cp, ep, micro_batch, pp, recompute, tp, vp, zero",
)


def mpt_cost(seq, attention=1.0):
    """FLOPs of one token of MPT-7b, by the numbers of the exercise."""
    return 6 * 6.65e9 + attention * 12 * 32 * 4096 * seq


@exercise("step-time", hint="First the neighbour's FLOP/s per device, from its tokens/s. Then your step.")
def step_time(answer):
    got = number(answer, "the seconds of one step")
    measured = published()["llm_foundry-092"].measured_s
    tokens, speed = 32 * 32768, 2453 * mpt_cost(16384)  # of a step; FLOP/s of the neighbour
    right = tokens * mpt_cost(32768) / (8 * speed)
    sentences = {
        tokens
        / (8 * 2453): "the neighbour's tokens/s do not carry over: a token of a longer sequence costs more",
        tokens * mpt_cost(0) / (8 * speed): "the attention is missing: at 32,768 tokens it is more than half",
        8 * right: "this is the time of one device alone. Eight share the step",
        right / 3: "this counts the forward pass only. The backward pass costs twice as much again",
        right * 4 / 3: "MFU does not count recompute, and the neighbour recomputes too: leave the 4/3 out",
        tokens
        * mpt_cost(32768, 0.5)
        / (8 * 2453 * mpt_cost(16384, 0.5)): "half of the attention is missing: "
        "12 x layers x width x sequence counts all of it",
        right * 1000: "give seconds, not milliseconds",
        tokens / (8 * right): "this is tokens/s of one device: how long do 32 x 32,768 tokens take on eight?",
        2
        * tokens
        / (8 * 2453): "only attention doubles with the length, and the step has as many tokens as before",
        tokens * mpt_cost(16384) / (8 * 2453 * mpt_cost(32768)): "you turned the ratio round: "
        "a longer sequence's token costs more, so the step takes longer than 53 s",
        right / 8: "divided by the eight devices twice: 2,453 is the speed of one of them",
        right / 4: "this is one sequence on one device: the step has 32 of them, shared by eight",
    }
    for wrong, sentence in sentences.items():
        if near(got, wrong, 0.01) and not near(got, measured, 0.15):
            raise NotYet(sentence)
    if not near(got, measured, 0.15):
        raise NotYet(
            f"{got:.4g} is more than 15 % off what was measured. Check the count, then the tokens of a step"
        )
    return f"measured {measured:.1f}, your error {got / measured - 1:+.0%}"


known_wrong(
    "step-time",
    53.4,
    "the neighbour's tokens/s do not carry over: a token of a longer sequence costs more",
)
known_wrong(
    "step-time", 1762, "this is tokens/s of one device: how long do 32 x 32,768 tokens take on eight?"
)
known_wrong(
    "step-time",
    106.9,
    "only attention doubles with the length, and the step has as many tokens as before",
)
known_wrong(
    "step-time",
    38.4,
    "you turned the ratio round: a longer sequence's token costs more, so the step takes longer than 53 s",
)
known_wrong("step-time", 9.3, "divided by the eight devices twice: 2,453 is the speed of one of them")
known_wrong("step-time", 18.6, "this is one sequence on one device: the step has 32 of them, shared by eight")
known_wrong("step-time", 32.4, "the attention is missing: at 32,768 tokens it is more than half")
known_wrong("step-time", 595, "this is the time of one device alone. Eight share the step")
known_wrong(
    "step-time", 24.8, "this counts the forward pass only. The backward pass costs twice as much again"
)
known_wrong(
    "step-time",
    99.2,
    "MFU does not count recompute, and the neighbour recomputes too: leave the 4/3 out",
)
known_wrong(
    "step-time",
    120,
    "120 is more than 15 % off what was measured. Check the count, then the tokens of a step",
)


@exercise("pipeline", hint="How long is one slot? seconds / (before + stages - 1).")
def pipeline(answer):
    needs_function(answer, "step_on_more")
    first = published()["mtnlg-001"].measured_s  # 240 micro-batches on 35 stages
    got = number(answer(first, 240, 160, 35), "what your function returns")
    sentences = {
        first
        * 160
        / 240: "this shrinks with the micro-batches and forgets the bubble, which does not shrink",
        first * 240 / 160: "the step became longer: more devices leave each replica fewer micro-batches",
        first * 160 / 240 * (1 + 34 / 160): "the measured step holds a bubble already: take it out first",
        first * (160 + 35) / (240 + 35): "one slot too many: the first micro-batch passes p - 1 other stages",
        first * (240 + 34) / (160 + 34): "the ratio is upside down: more devices take less time",
        first * (1 + 34 / 160) / (1 + 34 / 240): "the bubble is right, but the work itself shrinks, too",
        first * 160 / 240 + 34: "the bubble is p - 1 slots, not p - 1 seconds",
    }
    right = first * (160 + 34) / (240 + 34)
    for wrong, sentence in sentences.items():
        if near(got, wrong, 1e-4) and not near(got, right, 1e-4):
            raise NotYet(sentence)
    if not near(got, right, 1e-4):
        raise NotYet(f"for 160 micro-batches on 35 stages it gives {got:.4g}, which is no time of 194 slots")
    if not near(number(answer(2 * first, 240, 160, 35), "what your function returns"), 2 * right, 1e-6):
        raise NotYet("twice the seconds must give twice the step: use the argument `seconds`")
    if not near(number(answer(10.0, 8, 4, 35), "what your function returns"), 10 * 38 / 42, 1e-6):
        raise NotYet("with other micro-batches it does not follow: use the arguments `before` and `after`")
    if not near(number(answer(10.0, 8, 4, 1), "what your function returns"), 5.0, 1e-6):
        raise NotYet("with one stage half the micro-batches take half the time: use the argument `stages`")
    measured = published()["mtnlg-003"].measured_s
    return f"3,360 devices: measured {measured}, your error {got / measured - 1:+.1%}"


STEP = "def step_on_more(seconds, before, after, stages):\n    return {}"
WRONG_STEPS = {
    "seconds * after / before": "this shrinks with the micro-batches and forgets "
    "the bubble, which does not shrink",
    "seconds * after / before * (1 + (stages - 1) / after)": "the measured step holds a bubble already: "
    "take it out first",
    "seconds * (after + stages) / (before + stages)": "one slot too many: the first micro-batch passes "
    "p - 1 other stages",
    "seconds * (before + stages - 1) / (after + stages - 1)": "the ratio is upside down: more devices take "
    "less time",
    "seconds * (1 + (stages - 1) / after) / (1 + (stages - 1) / before)": "the bubble is right, but the work "
    "itself shrinks, too",
    "seconds * after / before + stages - 1": "the bubble is p - 1 slots, not p - 1 seconds",
    "60.1 * (after + stages - 1) / (before + stages - 1)": "twice the seconds must give twice the step: use "
    "the argument `seconds`",
    "seconds * (after + stages - 1) / 274": "with other micro-batches it does not follow: use the arguments "
    "`before` and `after`",
    "seconds * (after + 34) / (before + 34)": "with one stage half the micro-batches take half the time: use "
    "the argument `stages`",
}
for wrong, sentence in WRONG_STEPS.items():
    known_wrong("pipeline", code(STEP.format(wrong)), sentence)

CAUSES = {
    "recompute": "",
    "hfu": "",
    "causal": "a row that halves the attention prints less than the tokens give, not more",
    "card": "a row that counts cards of two devices prints twice as much, not 4/3",
    "fp8": "the run is in bf16, and a peak changes a utilisation, not a count of TFLOP/s",
}


@exercise("four-thirds", hint="6 x parameters x tokens of a step / (seconds x devices). What is 8/6?")
def four_thirds(answer):
    counted, cause = pair(answer, "TFLOP/s, cause")
    if isinstance(counted, str):
        raise NotYet("swap the two: first the TFLOP/s, then the cause")
    counted = number(counted, "the TFLOP/s")
    row = published()["mtnlg-001"]
    right = row.run.tokens_per_step / row.measured_s / row.run.layout.devices * 6 * 530e9 / 1e12
    if near(counted, 126):
        raise NotYet(
            "this is the printed number, or 8 FLOPs a parameter. A forward and a backward pass are 6"
        )
    if near(counted, 126 * 3 / 4, 2e-4):
        raise NotYet("this is 126 x 3/4, the answer put in: count it from the tokens, seconds and devices")
    if near(counted, right * row.run.layout.devices):
        raise NotYet("this is the speed of all devices together: divide by their number")
    if near(counted, right / 3):
        raise NotYet("this counts the forward pass only: 2 of the 6 FLOPs a parameter")
    if any(near(counted, right * unit) for unit in (1e12, 1e3, 1e-3)):
        raise NotYet("the digits are right, the unit is not: give TFLOP/s, 1e12 FLOPs a second")
    if not -0.015 <= counted / right - 1 <= 0.02:  # counting attention, too, adds 1.7 %
        raise NotYet(f"{counted:.4g} TFLOP/s is not what 6 FLOPs a parameter and token give for this step")
    if not isinstance(cause, str) or cause.strip().lower() not in CAUSES:
        raise NotYet("choose the cause from: recompute, causal, card, fp8")
    if said := CAUSES[cause.strip().lower()]:
        raise NotYet(said)
    return "the printed number counts the layers' second forward pass: 8 instead of 6"


known_wrong(
    "four-thirds",
    (126, "recompute"),
    "this is the printed number, or 8 FLOPs a parameter. A forward and a backward pass are 6",
)
known_wrong(
    "four-thirds",
    (94.5, "recompute"),
    "this is 126 x 3/4, the answer put in: count it from the tokens, seconds and devices",
)
known_wrong("four-thirds", ("recompute", 92.9), "swap the two: first the TFLOP/s, then the cause")
known_wrong(
    "four-thirds",
    (92_900, "recompute"),
    "the digits are right, the unit is not: give TFLOP/s, 1e12 FLOPs a second",
)
known_wrong(
    "four-thirds", (31.0, "recompute"), "this counts the forward pass only: 2 of the 6 FLOPs a parameter"
)
known_wrong(
    "four-thirds",
    (208_000, "recompute"),
    "this is the speed of all devices together: divide by their number",
)
known_wrong(
    "four-thirds",
    (92.9, "causal"),
    "a row that halves the attention prints less than the tokens give, not more",
)
known_wrong(
    "four-thirds",
    (92.9, "card"),
    "a row that counts cards of two devices prints twice as much, not 4/3",
)


@exercise("faster", hint="Convert one of the two with flops.convert, then divide.")
def faster(answer):
    got = number(answer, "the factor")
    new, old = published()["megatron_bridge-097"], published()["nemo_2407-011"]
    right = flops.convert(744, new.run.shape, 8192, "causal", "model") / 711
    share = flops.per_token(old.run.shape, 8192, "causal") / flops.per_token(old.run.shape, 8192)
    sentences = {
        744 / 711: "these are two counting rules divided by each other: convert one of the numbers first",
        744
        / 711
        * share: "converted in the wrong direction: a full count of the attention is the larger number",
        1 / right: "this is the old speed over the new one: turn it round",
        right * 711: "this is the converted TFLOP/s: divide it by the older number",
        right - 1: "this is the growth: the factor is 1 more",
        1 / share: "this is what the rule alone changes: the tables print 744 and 711, too",
        (right - 1) * 711: "this is the difference in TFLOP/s: divide instead",
        1.2: "close, but 2 % off: if you rounded, give two digits more; "
        "if not, check the model and the sequence length",
    }
    for wrong, sentence in sentences.items():
        if near(got, wrong, 0.004):
            raise NotYet(sentence)
    if near(got, 100 * (right - 1), 0.03):
        raise NotYet("give a factor such as 1.05, not a percentage")
    if not near(got, right, 0.01):
        raise NotYet(
            f"under one rule the factor is not {got:.4g}. Which model and sequence length did you take?"
        )
    return "the table's tokens/s give the same factor"


known_wrong(
    "faster",
    744 / 711,
    "these are two counting rules divided by each other: convert one of the numbers first",
)
known_wrong(
    "faster",
    0.93,
    "converted in the wrong direction: a full count of the attention is the larger number",
)
known_wrong("faster", 0.85, "this is the old speed over the new one: turn it round")
for rounded in (1.2, 1.2009):
    known_wrong(
        "faster",
        rounded,
        "close, but 2 % off: if you rounded, give two digits more; "
        "if not, check the model and the sequence length",
    )
known_wrong("faster", 0.177, "this is the growth: the factor is 1 more")
known_wrong("faster", 1.125, "this is what the rule alone changes: the tables print 744 and 711, too")
known_wrong("faster", 126, "this is the difference in TFLOP/s: divide instead")
known_wrong("faster", 17.7, "give a factor such as 1.05, not a percentage")


@exercise(
    "request", hint="Seconds = tokens x FLOPs a token / (32 devices x peak x MFU). Then nodes, then units."
)
def request(answer):
    nodes_h, units = (number(part, "each part") for part in pair(answer, "node-hours, core-hours to ask for"))
    shape = model("qwen2.5-7b")
    planned = plan("qwen2.5-7b", "mn5-acc", nodes=8, seq=4096, global_batch=1024, tokens=40e9).best
    per_token = flops.per_token(shape, 4096)
    right = 8 * 40e9 * per_token / (32 * 989e12 * 0.441) / 3600
    all_parameters = 6 * shape.parameters + 12 * shape.layers * shape.hidden * 4096
    sentences = {
        right / 8: "the first number is hours by the clock: multiply by the nodes",
        4 * right: "the first number is device-hours: a node has four devices",
        planned.node_hours: "the first number is the planner's own. The neighbour's MFU gives the likely one",
        right
        * all_parameters
        / per_token: "the input embedding is looked up, not multiplied: leave it out of the 6 N",
        right
        * (1 - 12 * shape.layers * shape.hidden * 4096 / per_token): "the attention is missing in the count",
        right * 3600: "the first number is in node-seconds: divide by 3600",
        1.2 * right: "the first number holds the reserve already: it belongs to the second only",
        0.441 * right: "the first number counts on the full peak: divide by the MFU",
        right / 2: "the first number takes the FP8 peak, twice as high: the run is in bf16",
        96 * right: "swap the two: first the node-hours, then the core-hours",
        right * 6 * shape.parameters / per_token: "the count takes all parameters and no attention: "
        "the lesson's rule leaves the input embedding out and adds attention",
    }
    for wrong, sentence in sentences.items():
        if near(nodes_h, wrong, 0.01) and not near(nodes_h, right, 0.01):
            raise NotYet(sentence)
    if not near(nodes_h, right, 0.01):
        raise NotYet(f"{nodes_h:.4g} node-hours are not what 40e9 tokens take at an MFU of 44.1 %")
    each = planned.bill.units
    if near(units, nodes_h * each):
        raise NotYet("the core-hours hold no reserve: add a fifth")
    if near(units, 1.2 * nodes_h):
        raise NotYet("the second number is still in node-hours: a node-hour is 80 core-hours there")
    if near(units, 1.2 * nodes_h * each / 80 * 32):
        raise NotYet("a node-hour is 80 core-hours on MareNostrum 5; 32 is Leonardo's number")
    if near(units, nodes_h * each / 0.8, 0.01):
        raise NotYet("a fifth on top is times 1.2, not divided by 0.8")
    if near(units, 1.2 * nodes_h * each / 8):
        raise NotYet(
            "the second number starts from hours by the clock: take your node-hours, times 1.2, times 80"
        )
    if not near(units, 1.2 * nodes_h * each, 0.03):
        raise NotYet(f"{units:,.0f} is not the likely node-hours, a fifth more, in core-hours")
    return (
        f"the planner says {planned.node_hours:,.0f} node-hours, you ask for {units / each:,.0f} "
        f"({units:,.0f} core-hours). One run in ten with such a neighbour needs about "
        f"{nodes_h / UNLUCKY:,.0f} or more, before any crash: measure first"
    )


known_wrong("request", (37.7, 3619), "the first number is hours by the clock: multiply by the nodes")
known_wrong("request", (1206, 115800), "the first number is device-hours: a node has four devices")
known_wrong(
    "request",
    (361.9, 28950),
    "the first number holds the reserve already: it belongs to the second only",
)
known_wrong("request", (133, 12770), "the first number counts on the full peak: divide by the MFU")
known_wrong(
    "request", (150.8, 14480), "the first number takes the FP8 peak, twice as high: the run is in bf16"
)
known_wrong("request", (301.6, 30160), "a fifth on top is times 1.2, not divided by 0.8")
known_wrong(
    "request",
    (301.6, 3619),
    "the second number starts from hours by the clock: take your node-hours, times 1.2, times 80",
)
known_wrong("request", (28950, 301.6), "swap the two: first the node-hours, then the core-hours")
known_wrong("request", (301.6, 24130), "the core-hours hold no reserve: add a fifth")
known_wrong(
    "request",
    (301.6, 361.9),
    "the second number is still in node-hours: a node-hour is 80 core-hours there",
)
known_wrong("request", (270.2, 25900), "the attention is missing in the count")
known_wrong(
    "request",
    (291, 27940),
    "the count takes all parameters and no attention: the lesson's rule leaves the input embedding out and "
    "adds attention",
)

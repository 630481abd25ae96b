"""Checks of the exercises on the training loop."""

import time
from unittest import mock

from scaleup import measure
from scaleup.exercises import NotYet, code, exercise, known_wrong
from scaleup.model import GPTConfig


@exercise("flops", hint="N has three parts: attention, MLP, head. Then 6 N, then the attention term.")
def flops(answer):
    shape = {"layers": 8, "dim": 512, "hidden": 1408, "vocab": 32_000, "seq": 1024}
    got = answer(**shape)
    right = formula(**shape)
    if got == right:
        return f"{right:,} FLOPs a token for a model of 8 layers"
    slips = {
        "the embedding is counted too. It is only looked up: of the two tables, the head alone multiplies":
            right + 6 * 32_000 * 512,
        "this is the forward pass alone. The backward pass costs twice as much again": right / 3,
        "the attention term is missing: 12 layers dim seq": right - 12 * 8 * 512 * 1024,
        "the attention term is halved. That rule exists; the lesson counts all scores, 12 layers dim seq":
            right - 6 * 8 * 512 * 1024,
        "the MLP has three matrices of dim x hidden, not two": right - 6 * 8 * 512 * 1408,
        "the head is missing: it multiplies every token by a matrix of dim x vocab": right - 6 * 32_000 * 512,
        "attention has four matrices of dim x dim: query, key, value and out": right - 6 * 8 * 512**2,
    }  # fmt: skip
    for sentence, wrong in slips.items():
        if got == wrong:
            raise NotYet(sentence)
    raise NotYet(
        f"for {shape} the right number is {right / 1e9:.3f} billion, yours is {got / 1e9:.3f} billion"
    )


def formula(layers, dim, hidden, vocab, seq):
    n = layers * (4 * dim**2 + 3 * dim * hidden) + vocab * dim
    return 6 * n + 12 * layers * dim * seq


FLOPS = """
def flops_per_token(layers, dim, hidden, vocab, seq):
    n = layers * (4 * dim**2 + 3 * dim * hidden) + vocab * dim
    return {}
"""
known_wrong(
    "flops",
    code(FLOPS.format("6 * (n + vocab * dim) + 12 * layers * dim * seq")),
    "the embedding is counted too. It is only looked up: of the two tables, the head alone multiplies",
)
known_wrong(
    "flops",
    code(FLOPS.format("2 * n + 4 * layers * dim * seq")),
    "this is the forward pass alone. The backward pass costs twice as much again",
)
known_wrong("flops", code(FLOPS.format("6 * n")), "the attention term is missing: 12 layers dim seq")
known_wrong(
    "flops",
    code(FLOPS.format("6 * n + 6 * layers * dim * seq")),
    "the attention term is halved. That rule exists; the lesson counts all scores, 12 layers dim seq",
)
known_wrong(
    "flops",
    code(FLOPS.format("6 * (n - layers * dim * hidden) + 12 * layers * dim * seq")),
    "the MLP has three matrices of dim x hidden, not two",
)


class Clock:
    """Time that only moves when the measured step moves it, so that the check is exact on any machine."""

    def __init__(self, durations):
        self.now, self.durations, self.steps = 0.0, durations, 0

    def read(self):
        return self.now

    def step(self):
        self.now += self.durations[min(self.steps, len(self.durations) - 1)]
        self.steps += 1


def measured(answer, durations):
    clock = Clock(durations)
    names = {name: clock.read for name in ("perf_counter", "time", "monotonic")}
    with mock.patch.multiple(time, **names):
        return answer(clock.step, 1000), clock


@exercise("speed", hint="measure.repeat in src/scaleup/measure.py does the same work.")
def speed(answer):
    usual, _ = measured(answer, [0.1])
    if abs(usual - 10_000) > 1:
        if abs(usual - 0.1) < 1e-6:
            raise NotYet("this is the time of a step. Divide the tokens of a step by it")
        raise NotYet(f"steps of 1,000 tokens in 0.1 s are 10,000 tokens/s, your function says {usual:,.0f}")
    warm, clock = measured(answer, [3.0, 1.0] + [0.1] * 100)
    slow, _ = measured(answer, [0.1] * 9 + [5.0] + [0.1] * 100)
    if clock.steps < 12:
        raise NotYet(f"only {clock.steps} steps were run. Run two to warm up and at least ten that count")
    if abs(slow - 10_000) > 1:
        raise NotYet("one step that was interrupted moves your result. Take the median, not the mean")
    if abs(warm - 10_000) > 1:
        raise NotYet("the first steps count, and they are slower than all later ones. Throw two of them away")
    return "warm-up left out, and one slow step does not move the result"


SPEED = """
import statistics
import time
def measure_speed(step, tokens_per_step, steps=20):
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {}
"""
known_wrong(
    "speed",
    code(SPEED.format("tokens_per_step / statistics.mean(seconds[2:])")),
    "one step that was interrupted moves your result. Take the median, not the mean",
)
known_wrong(
    "speed",
    code(SPEED.format("tokens_per_step / statistics.median(seconds[:3])")),
    "the first steps count, and they are slower than all later ones. Throw two of them away",
)
known_wrong(
    "speed",
    code(SPEED.format("statistics.median(seconds[2:])")),
    "this is the time of a step. Divide the tokens of a step by it",
)


@exercise("steps", hint="n = (1.96 s / precision)^2, rounded up.")
def steps(answer):
    slips = {
        8: "this is 1.96 x 0.08 / 0.02. The formula squares it: the mean improves with the square root of n",
        16: "the factor 1.96 for 95 % confidence is missing",
        61: "61 steps fall just short. Round up",
        10: "this is for 5 %. The claim is 2 %",
    }
    if answer in slips:
        raise NotYet(slips[answer])
    if answer != 62:
        raise NotYet(
            f"a step scatters by 0.08, the claim is 0.02, your answer {answer}. Put them into the formula"
        )
    return "62 steps for a claim of 2 %, when single steps scatter by 8 %"


known_wrong(
    "steps",
    8,
    "this is 1.96 x 0.08 / 0.02. The formula squares it: the mean improves with the square root of n",
)
known_wrong("steps", 16, "the factor 1.96 for 95 % confidence is missing")
known_wrong("steps", 10, "this is for 5 %. The claim is 2 %")


@exercise(
    "mfu",
    hint="measure.matmul_peak(), measure.repeat(...).rate(tokens), measure.flops_per_token(config, seq).",
)
def mfu(answer):
    shape, speed, peak, share = answer
    if not isinstance(shape, GPTConfig) or shape == GPTConfig():
        raise NotYet("this is the lesson's own model. Change its shape: GPTConfig(dim=…, layers=…)")
    here = measure.matmul_peak()
    if not 0.2 < peak / here < 5:
        raise NotYet("your peak is not that of this device. Is it in FLOP/s, from measure.matmul_peak()?")
    if share > 1:
        raise NotYet(
            "MFU is a share of the peak, at most 1. Did you multiply by 100, or count too many FLOPs?"
        )
    right = speed * measure.flops_per_token(shape, 128) / peak
    if abs(share - speed * measure.flops_per_token(GPTConfig(), 128) / peak) < 0.01 * share:
        raise NotYet("the FLOPs are those of the lesson's model. Count those of your own configuration")
    if abs(share - right) > 0.01 * right:
        raise NotYet(
            "MFU = tokens a second x FLOPs a token / peak, with windows of 128 tokens: your numbers disagree"
        )
    return "your model, your measurement, and the three numbers agree"


known_wrong(
    "mfu",
    (GPTConfig(), 5000.0, 1e11, 0.4),
    "this is the lesson's own model. Change its shape: GPTConfig(dim=…, layers=…)",
)
known_wrong(
    "mfu",
    (GPTConfig(layers=2), 5000.0, measure.matmul_peak(), 43.0),
    "MFU is a share of the peak, at most 1. Did you multiply by 100, or count too many FLOPs?",
)
known_wrong(
    "mfu",
    (GPTConfig(layers=2), 5000.0, 2.0, 0.4),
    "your peak is not that of this device. Is it in FLOP/s, from measure.matmul_peak()?",
)

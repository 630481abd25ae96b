"""Checks of the exercises on the training loop."""

import math
import time
from unittest import mock

import torch

from scaleup import measure
from scaleup.exercises import NotYet, code, exercise, known_wrong, needs_function
from scaleup.model import GPT, GPTConfig, next_token_loss


@exercise("flops", hint="N has three parts: attention, MLP, head. Then 6 N, then the attention term.")
def flops(answer):
    shape = {"layers": 8, "dim": 512, "hidden": 1408, "vocab": 32_000, "seq": 1024}
    needs_function(answer, "flops_per_token")
    got = answer(*shape.values())
    right = formula(**shape)
    if got == right:
        return f"{right:,} FLOPs a token for a model of 8 layers"
    n, attention = shape_parts(**shape)
    head, per_layer = 32_000 * 512, 512 * 512
    slips = {
        "the embedding is counted too. It is only looked up: of the two, the head alone multiplies": right
        + 6 * head,
        "this is the forward pass alone. The backward pass costs twice as much again": right / 3,
        "this is half: a multiplication and an addition are two operations": right / 2,
        "the attention term is missing: 12 layers dim seq": 6 * n,
        "the attention term is halved. The lesson counts all scores, 12 layers dim seq": 6 * n
        + attention / 2,
        "the attention term is paid in every layer: 12 layers dim seq": 6 * n + attention / 8,
        "the MLP has three matrices of dim x hidden, not two": right - 6 * 8 * 512 * 1408,
        "the head is missing: it multiplies every token by a matrix of dim x vocab": right - 6 * head,
        "the head comes once, not once a layer": right + 6 * 7 * head,
        "attention has four matrices of dim x dim: query, key, value and out": right - 6 * 8 * 3 * per_layer,
        "this is N, the number of parameters. Multiply by 6, then add the attention term": n,
        "this is for a whole window. Count one token": right * 1024,
    }
    for sentence, wrong in slips.items():
        if got == wrong:
            raise NotYet(sentence)
    raise NotYet(
        f"for {shape} the right number is {right / 1e9:.3f} billion, yours is {got / 1e9:.3f} billion"
    )


def shape_parts(layers, dim, hidden, vocab, seq):
    return layers * (4 * dim**2 + 3 * dim * hidden) + vocab * dim, 12 * layers * dim * seq


def formula(**shape):
    n, attention = shape_parts(**shape)
    return 6 * n + attention


FLOPS = """
def flops_per_token(layers, dim, hidden, vocab, seq):
    n = layers * (4 * dim**2 + 3 * dim * hidden) + vocab * dim
    return {}
"""
known_wrong(
    "flops",
    code(FLOPS.format("6 * (n + vocab * dim) + 12 * layers * dim * seq")),
    "the embedding is counted too. It is only looked up: of the two, the head alone multiplies",
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
    "the attention term is halved. The lesson counts all scores, 12 layers dim seq",
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


def measured(answer, durations, *steps):
    clock = Clock(durations)
    names = {name: clock.read for name in ("perf_counter", "time", "monotonic")}
    with mock.patch.multiple(time, **names):
        return answer(clock.step, 1000, *steps), clock


@exercise("speed", hint="measure.repeat in src/scaleup/measure/timing.py does the same work.")
def speed(answer):
    needs_function(answer, "measure_speed")
    usual, clock = measured(answer, [0.1])
    if abs(usual - 0.1) < 1e-6:
        raise NotYet("this is the time of a step. Divide the tokens of a step by it")
    if abs(usual - 10_000) > 1:
        raise NotYet(f"steps of 1,000 tokens in 0.1 s are 10,000 tokens/s, your function says {usual:,.0f}")
    if clock.steps < 10:
        raise NotYet(f"only {clock.steps} steps were run. Run two to warm up and some more that count")
    usual_steps = [0.1] * 100
    slow = off(answer, [0.1] * 9 + [5.0] + usual_steps)
    quick = off(answer, [0.1] * 9 + [0.01] + usual_steps)
    cold = off(answer, [3.0, 1.0] + usual_steps, 4)
    if slow and cold:
        raise NotYet("two things are wrong: the first steps count, and one very slow step moves the result")
    if slow:
        raise NotYet("one step that was interrupted moves your result. Take the median, not the mean")
    if quick:
        raise NotYet("this is the best step, not the usual one. Take the median")
    if cold:
        raise NotYet("the first steps count. With few steps even the median shows it: throw two away first")
    return "warm-up left out, and one odd step does not move the result"


def off(answer, durations, *steps):
    """Whether steps of 0.1 s with some odd ones among them do not come out as 10,000 tokens/s."""
    return abs(measured(answer, durations, *steps)[0] - 10_000) > 1


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
    code(SPEED.format("tokens_per_step / statistics.median(seconds)")),
    "the first steps count. With few steps even the median shows it: throw two away first",
)
known_wrong(
    "speed",
    code(SPEED.format("tokens_per_step / min(seconds)")),
    "this is the best step, not the usual one. Take the median",
)
known_wrong(
    "speed",
    code(SPEED.format("tokens_per_step / statistics.mean(seconds) + 0")),
    "two things are wrong: the first steps count, and one very slow step moves the result",
)
known_wrong(
    "speed",
    code(SPEED.format("statistics.median(seconds[2:])")),
    "this is the time of a step. Divide the tokens of a step by it",
)


@exercise("steps", hint="n = (1.96 s / precision)^2, rounded up.")
def steps(answer):
    if not isinstance(answer, int | float):
        raise NotYet(f"write a whole number, not {answer!r}")
    slips = {
        8: "this is 1.96 x 0.08 / 0.02. The formula squares it: the mean improves with the square root of n",
        16: "the factor 1.96 for 95 % confidence is missing",
        61: "61 steps fall just short. Round up",
        10: "this is for 5 %. The question is 2 %",
        44: "this is for 90 % confidence. For 95 % the factor is 1.96",
        107: "this is for 99 % confidence. For 95 % the factor is 1.96",
        123: "this is for the difference of two runs. The question is one mean",
    }
    if 61 < answer < 62:
        raise NotYet("the formula is right. Round up to whole steps")
    if answer in slips:
        raise NotYet(slips[answer])
    if answer != 62:
        raise NotYet(
            f"the formula says something else than {answer!r}: a step scatters by 0.08, the precision is 0.02"
        )
    return "62 steps know the mean within 2 %, when single steps scatter by 8 %"


known_wrong(
    "steps",
    8,
    "this is 1.96 x 0.08 / 0.02. The formula squares it: the mean improves with the square root of n",
)
known_wrong("steps", 16, "the factor 1.96 for 95 % confidence is missing")
known_wrong("steps", 10, "this is for 5 %. The question is 2 %")


@exercise(
    "mfu",
    hint="measure.matmul_peak(), measure.repeat(...).rate(tokens), measure.flops_per_token(config, seq).",
)
def mfu(answer):
    shape, speed, peak, share = answer
    if not isinstance(shape, GPTConfig):
        raise NotYet(f"the first value has to be a GPTConfig, you gave a {type(shape).__name__}")
    if shape == GPTConfig():
        raise NotYet("this is the lesson's own model. Change its shape: GPTConfig(dim=…, layers=…)")
    if not all(isinstance(x, int | float) and x > 0 for x in (speed, peak, share)):
        raise NotYet("speed, peak and mfu have to be numbers above zero")
    if share > 1:
        raise NotYet(
            "MFU is a share of the peak, at most 1. Did you multiply by 100, or count too many FLOPs?"
        )
    here = measure.matmul_peak()
    if not 0.2 < peak / here < 5:
        raise NotYet("your peak is not that of this device. Is it in FLOP/s, from measure.matmul_peak()?")
    ratio = speed / speed_of(shape)
    if not 0.2 < ratio < 5:
        units = {
            1 / 128: "windows a second: multiply by 128",
            1 / 1024: "steps a second: multiply by 8 x 128",
        }
        near = min(units, key=lambda unit: abs(math.log(ratio / unit)))
        guess = f" Perhaps it is {units[near]}" if 0.2 < ratio / near < 5 else ""
        raise NotYet(f"your speed is not that of your model here, in tokens a second.{guess}")
    n, attention = measure.matmul_parameters(shape), 12 * shape.layers * shape.dim * 128
    counts = {
        6 * n: "the attention term is missing in your FLOPs",
        2 * n + attention // 3: "your FLOPs are those of the forward pass alone",
        6 * (n + shape.vocab_size * shape.dim)
        + attention: "your FLOPs count the embedding, which is only looked up",
        measure.flops_per_token(
            GPTConfig(), 128
        ): "the FLOPs are those of the lesson's model. Count those of your own",
    }
    right = speed * measure.flops_per_token(shape, 128) / peak
    for flops, sentence in counts.items():
        if abs(share - speed * flops / peak) < 0.001 * share and abs(share - right) > 0.001 * right:
            raise NotYet(sentence)
    if abs(share - right) > 0.01 * right:
        raise NotYet(
            "MFU = tokens a second x FLOPs a token / peak, with windows of 128 tokens: your numbers disagree"
        )
    return "your model, your measurement, and the three numbers agree"


def speed_of(shape):
    """Tokens a second of a model of this shape here, roughly: the median of three steps."""
    model = GPT(shape)
    optimizer = torch.optim.AdamW(model.parameters())
    window = torch.randint(0, shape.vocab_size, (8, 129))

    def step():
        next_token_loss(model(window[:, :-1]), window[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()

    return measure.repeat(step, repeats=3, warmup=1).rate(8 * 128)


SMALL = GPTConfig(layers=2)
known_wrong(
    "mfu",
    (GPTConfig(), 5000.0, 1e11, 0.4),
    "this is the lesson's own model. Change its shape: GPTConfig(dim=…, layers=…)",
)
known_wrong(
    "mfu",
    (SMALL, 5000.0, 1e11, 43.0),
    "MFU is a share of the peak, at most 1. Did you multiply by 100, or count too many FLOPs?",
)
known_wrong(
    "mfu",
    (SMALL, 5000.0, 2.0, 0.4),
    "your peak is not that of this device. Is it in FLOP/s, from measure.matmul_peak()?",
)

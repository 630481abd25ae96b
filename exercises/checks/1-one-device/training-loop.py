"""Checks of the exercises on the training loop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from unittest import mock

import torch

from scaleup import measure
from scaleup.exercises import NotYet, code, formula, is_number, rules, says, slip, values
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.words import a_kind

SHAPE = ("layers", "dim", "hidden", "vocab", "seq")
HEAD, A = "vocab * dim", "layers * dim * seq"
N = f"(layers * (4 * dim**2 + 3 * dim * hidden) + {HEAD})"

formula(
    "flops", "flops_per_token(layers, dim, hidden, vocab, seq)", f"6 * {N} + 12 * {A}",
    [(8, 512, 1408, 32_000, 1024), (3, 96, 200, 700, 50)],
    {f"6 * ({N} + {HEAD}) + 12 * {A}":
         "the embedding is counted too. It is only looked up: of the two, the head alone multiplies",
     f"2 * {N} + 4 * {A}": "this is the forward pass alone. The backward pass costs twice as much again",
     f"4 * {N} + 8 * {A}": "this is the backward pass alone. The forward pass costs half as much again",
     f"3 * {N} + 6 * {A}": "this is half: a multiplication and an addition are two operations",
     f"6 * {N}": "the attention term is missing: 12 layers dim seq",
     f"6 * {N} + 6 * {A}": "the attention term is halved. The lesson counts all scores, 12 layers dim seq",
     f"6 * {N} + 4 * {A}":
         "the attention term is that of the forward pass. The backward pass triples it: 12 layers dim seq",
     f"6 * ({N} + 12 * {A})": "the 12 holds the backward pass already. Multiply N alone by 6",
     f"2 * {N} + 12 * {A}": "2 N is the forward pass of the matrices. With the backward pass it is 6 N",
     f"6 * {N} + 12 * dim * seq": "the attention term is paid in every layer: 12 layers dim seq",
     f"6 * {N} + 12 * {A} * seq": "the attention term is that of a window. For one token seq comes once",
     f"6 * ({N} - layers * dim * hidden) + 12 * {A}": "the MLP has three matrices of dim x hidden, not two",
     f"6 * ({N} - {HEAD}) + 12 * {A}":
         "the head is missing: it multiplies every token by a matrix of dim x vocab",
     f"6 * ({N} + (layers - 1) * {HEAD}) + 12 * {A}": "the head comes once, not once per layer",
     f"6 * ({N} - 3 * layers * dim**2) + 12 * {A}":
         "attention has four matrices of dim x dim: query, key, value and out",
     f"6 * ({N} - layers * dim**2) + 12 * {A}":
         "attention has four matrices of dim x dim, not three: out follows query, key and value",
     N: "this is N, the number of parameters. Multiply by 6, then add the attention term",
     f"(6 * {N} + 12 * {A}) * seq": "this is for a whole window. Count one token"},
    within=1e-9,
    otherwise=lambda off: f"for {dict(zip(SHAPE, off.row, strict=True))} the right number is "
              f"{off.want / 1e9:.3f} billion, yours is {off.got / 1e9:.3f} billion",
    hint="N has three parts: attention, MLP, head. Then 6 N, then the attention term.",
    done="302,776,320 FLOPs per token for a model of 8 layers",
    also=[says("def flops_per_token(layers, dim, hidden, vocab, seq):\n    return 6e6 * layers",
               "for {'layers': 8, 'dim': 512, 'hidden': 1408, 'vocab': 32000, 'seq': 1024} the right number "
               "is 0.303 billion, yours is 0.048 billion")])  # fmt: skip


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
    """What the answer says of steps of these durations and 1,000 tokens, and the clock that it read."""
    clock, real = Clock(durations), {"perf_counter": time.perf_counter, "time": time.time}
    names = answer.__globals__
    own = {name: clock.read for name, value in names.items() if any(value is each for each in real.values())}
    with mock.patch.multiple(time, **dict.fromkeys(real, clock.read)), mock.patch.dict(names, own):
        return answer(clock.step, 1000, *steps), clock


def first_steps_count(answer, usual):
    """With so few steps that the two cold ones show; an answer that throws more of them away needs more."""
    for steps in (4, 8, 12):
        try:
            return off(answer, [3.0, 1.0, *usual], steps)
        except (ArithmeticError, LookupError, ValueError):
            continue
    return False


def off(answer, durations, *steps):
    """Whether steps of 0.1 s with some odd ones among them do not come out as 10,000 tokens/s."""
    return abs(measured(answer, durations, *steps)[0] - 10_000) > 1


def three_machines(answer):
    said, clock = measured(answer, [0.1])
    if not is_number(said):
        raise NotYet(f"measure_speed has to return a number, not {said!r:.40}")
    usual, seen = [0.1] * 100, SimpleNamespace(said=said, text=f"{said:,.0f}", steps=clock.steps)
    if abs(said - 10_000) <= 1:
        last = [0.1] * 9 + [5.0] + usual
        seen.slow, seen.quick = off(answer, last), off(answer, [0.1] * 9 + [0.01] + usual)
        seen.slowest = abs(measured(answer, last)[0] - 200) < 1
        seen.cold = first_steps_count(answer, usual)
        slow = ([0.1] * place + [5.0] + usual for place in range(2, clock.steps))
        seen.place = any(off(answer, durations) for durations in slow)
    return seen


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


def says_speed(number):
    return lambda seen: math.isclose(seen.said, number, rel_tol=1e-3)


rules(
    "speed", three_machines,
    [slip(says_speed(0.1), "this is the time of a step. Divide the tokens of a step by it",
          "statistics.median(seconds[2:])"),
     slip(says_speed(1e-4), "these are seconds per token. Speed is the other way round: tokens over seconds",
          "statistics.median(seconds[2:]) / tokens_per_step"),
     slip(says_speed(100), "tokens are multiplied by the time. Divide by it",
          "statistics.median(seconds[2:]) * tokens_per_step"),
     slip(says_speed(10), "these are steps per second. Multiply by the tokens of a step",
          "1 / statistics.median(seconds[2:])"),
     slip(lambda seen: seen.said < 9000 and says_speed(1e4 / seen.steps)(seen)
          or says_speed(1e4 / (seen.steps - 2))(seen),
          "the time of all steps is compared with the tokens of one. Divide by the time of one step",
          "tokens_per_step / sum(seconds[2:])", "tokens_per_step / sum(seconds)"),
     slip(lambda seen: abs(seen.said - 10_000) > 1,
          "steps of 1,000 tokens in 0.1 s are 10,000 tokens/s, your function says {text}",
          says("2 * tokens_per_step / statistics.median(seconds[2:])", text="20,000")),
     slip(lambda seen: seen.steps < 10,
          "only {steps} steps were run. Run two to warm up and some more that count",
          says("tokens_per_step / seconds[2]", steps=5)),
     slip(lambda seen: seen.slowest, "this is the slowest step, not the usual one. Take the median",
          "tokens_per_step / max(seconds[2:])"),
     slip(lambda seen: seen.slow and seen.cold,
          "two things are wrong: the first steps are counted, and one very slow step moves the result",
          "tokens_per_step / statistics.mean(seconds) + 0", "tokens_per_step * steps / sum(seconds)"),
     slip(lambda seen: seen.slow,
          "one step that was interrupted moves your result. Take the median, not the mean",
          "tokens_per_step / statistics.mean(seconds[2:])"),
     slip(lambda seen: seen.place,
          "one slow step moves your result if it comes at a certain place. Sort the times before you "
          "take the one in the middle", "tokens_per_step / seconds[2:][(steps - 2) // 2]"),
     slip(lambda seen: seen.quick, "this is the best step, not the usual one. Take the median",
          "tokens_per_step / min(seconds)"),
     slip(lambda seen: seen.cold,
          "the first steps are counted. With few steps even the median shows it: throw two away first",
          "tokens_per_step / statistics.median(seconds)")],
    needs="measure_speed",
    example=lambda result: code(SPEED.format(result).replace(
            "steps=20", "steps=5" if result.endswith("seconds[2]") else "steps=20")),
    hint="measure.repeat in src/scaleup/measure/timing.py does the same work.",
    done="warm-up left out, and one odd step does not move the result",
    also=[says("'fast'", "measure_speed has to return a number, not 'fast'")])  # fmt: skip

UP, SQUARE = "the formula is right. Round up to whole steps", "1.96 has to be squared too"
TWO_RUNS = "this is for the difference of two runs. The question is one mean"
NOT_SQUARED = (
    "this is 1.96 x 0.08 / 0.02. The formula squares it: the mean improves with the square root of n"
)
values(
    "steps", 62,
    dict.fromkeys((61.4656, 61.47, 61.5), UP)
    | dict.fromkeys((8, 7.84), NOT_SQUARED)
    | dict.fromkeys((31, 32), SQUARE)
    | dict.fromkeys((123, 124), TWO_RUNS)
    | {
        4: "this is 0.08 / 0.02. Multiply by 1.96, then square",
        16: "the factor 1.96 for 95 % confidence is missing",
        61: "61 steps fall just short. Round up",
        63: "this is one more than needed: 61.5 rounded up",
        64: "this takes 2 for the factor 1.96. With 1.96 it is a little less",
        10: "this is for 5 %. The question is 2 %",
        246: "this is for 1 %, four times as many as for 2 %. The 2 % are the distance to either side",
        984: "this is for half a percent. The question is 2 %",
        392: "only the precision is squared. The square belongs to the whole fraction 1.96 x 0.08 / 0.02",
        44: "this is for 90 % confidence. For 95 % the factor is 1.96",
        107: "this is for 99 % confidence. For 95 % the factor is 1.96",
    },
    within=1e-5, ask="write a whole number of steps",
    otherwise=slip(bool, "the formula gives another number, with s = 0.08 and the precision 0.02", 17, 1000),
    hint="n = (1.96 s / precision)^2, rounded up.",
    done="62 steps know the mean within 2 %, when single steps scatter by 8 %")  # fmt: skip


def speed_of(shape):
    """Tokens per second of a model of this shape here, roughly: the median of three steps."""
    model = GPT(shape)
    optimizer = torch.optim.AdamW(model.parameters())
    window = torch.randint(0, shape.vocab_size, (8, 129))

    def step():
        next_token_loss(model(window[:, :-1]), window[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()

    return measure.repeat(step, repeats=3, warmup=1).rate(8 * 128)


SMALL = GPTConfig(layers=2)


@dataclass(frozen=True)
class Here:
    """An example for the tests: `speed`, `peak` and MFU of SMALL on a device that is always the same."""

    speed: float = 8e3
    peak: float = 5e10
    flops: Callable = lambda shape: measure.flops_per_token(shape, 128)
    share: float | None = None

    def answer(self):
        share = self.share or self.speed * self.flops(SMALL) / self.peak
        return GPT(SMALL), self.speed, self.peak, share


def near(given, function):
    """`given` over what is measured here: of up to five ratios the nearest to one. A machine may be busy."""
    ratios = []
    for _ in range(5):
        ratios.append(given / function())
        if 0.6 < ratios[-1] < 1.6:
            break
    return min(ratios, key=lambda ratio: abs(math.log(ratio)))


COUNTS = {
    "MFU is a share of the peak: give 0.4 and not 40": lambda c: 100 * measure.flops_per_token(c, 128),
    "your FLOPs are those of a step of 8 x 128 tokens. Count those of one token": lambda c: (
        1024 * measure.flops_per_token(c, 128)
    ),
    "the attention term is missing in your FLOPs": lambda c: 6 * measure.matmul_parameters(c),
    "your FLOPs are those of the forward pass alone": lambda c: measure.flops_per_token(c, 128) / 3,
    "your FLOPs count the embedding, which is only looked up": lambda c: (
        measure.flops_per_token(c, 128) + 6 * c.vocab_size * c.dim
    ),
    "your FLOPs are 6 times all parameters: the embedding multiplies nothing, and attention is missing": (
        lambda c: 6 * measure.parameters(GPT(c))
    ),
    "your FLOPs halve the attention term. The lesson counts all scores": lambda c: measure.flops_per_token(
        c, 128, causal=True
    ),
    "your FLOPs are for windows of 256 tokens. They have 128": lambda c: measure.flops_per_token(c, 256),
    "the FLOPs are those of the lesson's model. Count those of your own": lambda c: measure.flops_per_token(
        GPTConfig(), 128
    ),
}
UNITS = {1 / 1024: "your speed is steps per second. Multiply by the 8 x 128 tokens of a step",
         1 / 128: "your speed is not that of your model here, in tokens per second. Perhaps it is windows "
                  "per second: multiply by 128",
         1 / 8: "your speed counts one window per step. A step has 8 of them"}  # fmt: skip


def on_this_device(answer):
    """How far speed and peak are from what is measured here, and the MFU from its own formula."""
    model, speed, peak, share = answer.answer() if isinstance(answer, Here) else answer
    if not isinstance(model, GPT):
        raise NotYet(f"the first value has to be the model that you measured, you gave {a_kind(model)}")
    shape = model.config
    if shape == GPTConfig():
        raise NotYet("this is the lesson's own model. Change its shape: GPTConfig(dim=…, layers=…)")
    if not all(is_number(x) and x > 0 for x in (speed, peak, share)):
        raise NotYet("speed, peak and mfu have to be numbers above zero")
    flops, counted = measure.flops_per_token(shape, 128), share * peak / speed
    right = math.isclose(counted, flops, rel_tol=0.01)
    seen = SimpleNamespace(share=share, right=right, swapped=peak < 1e8 < 1e9 < speed)
    seen.said = [said for said, count in COUNTS.items() if math.isclose(counted, count(shape), rel_tol=1e-3)]
    seen.inverse = not right and math.isclose(share * speed * flops / peak, 1, rel_tol=0.01)
    seen.far = not 1e8 < peak < 1e16
    seen.peak = seen.speed = 1
    if seen.said or seen.inverse or seen.far or (share > 1 and not right):
        return seen
    if isinstance(answer, Here):
        seen.peak, seen.speed = peak / Here.peak, speed / Here.speed
        return seen
    seen.peak = near(peak, measure.matmul_peak)
    if seen.peak < 1.6:
        seen.speed = near(speed, lambda: speed_of(shape))
    return seen


BUSY = "If you measured while other programs ran, close them and run the cells again"
rules(
    "mfu", on_this_device,
    [slip(lambda seen: seen.swapped, "speed and peak have changed places: give (model, speed, peak, mfu)",
          Here(speed=5e10, peak=8e3, share=0.5)),
     *(slip(lambda seen, said=said: not seen.right and said in seen.said, said, Here(flops=count))
       for said, count in COUNTS.items()),
     slip(lambda seen: seen.inverse, "this is the peak over what you reach. MFU is the other way round",
          Here(flops=lambda c: (Here.peak / Here.speed) ** 2 / measure.flops_per_token(c, 128))),
     slip(lambda seen: seen.share > 1 and not seen.right,
          "MFU is a share of the peak, at most 1. Did you multiply by 100, or count too many FLOPs?",
          (GPT(SMALL), 5000.0, 1e11, 43.0)),
     slip(lambda seen: 1.6 <= seen.peak < 2.6,
          "your peak is twice what this device reaches. Is it the sparse one of a data sheet, or that of "
          f"two cores? The lesson takes measure.matmul_peak(). {BUSY}",
          Here(peak=1e11)),
     slip(lambda seen: seen.far or not 0.4 < seen.peak < 1.6,
          "your peak is not that of this device. Is it in FLOP/s, from measure.matmul_peak()?",
          (GPT(SMALL), 5000.0, 2.0, 0.4), Here(peak=50, share=0.4), Here(peak=9e11)),
     *(slip(lambda seen, unit=unit: 0.6 < seen.speed / unit < 1.6, said, Here(speed=8e3 * unit, share=0.5))
       for unit, said in UNITS.items()),
     slip(lambda seen: not 0.5 < seen.speed < 1.7,
          f"your speed is not that of your model here, in tokens per second. {BUSY}", Here(speed=24e3)),
     slip(lambda seen: not seen.right,
          "MFU = tokens per second x FLOPs per token / peak, with windows of 128 tokens: your numbers "
          "disagree. Was the model built anew after you changed its shape?",
          Here(share=0.6), Here(flops=lambda c: measure.flops_per_token(replace(c, layers=1), 128))),
     slip(lambda seen: seen.share > 1,
          f"no model exceeds the peak: one of your two measurements was disturbed. {BUSY}",
          Here(speed=12e3, peak=2.5e10, flops=lambda c: measure.flops_per_token(c, 128)))],
    hint="measure.matmul_peak(), measure.repeat(...).rate(tokens), measure.flops_per_token(config, seq).",
    done="your model, your measurement, and the three numbers agree", limit=60,
    also=[says((GPT(GPTConfig()), 5000.0, 1e11, 0.4),
               "this is the lesson's own model. Change its shape: GPTConfig(dim=…, layers=…)"),
          says((SMALL, 5000.0, 1e11, 0.4),
               "the first value has to be the model that you measured, you gave a GPTConfig"),
          says((GPT(SMALL), 5000.0, 1e11, -0.4),
               "speed, peak and mfu have to be numbers above zero")])  # fmt: skip

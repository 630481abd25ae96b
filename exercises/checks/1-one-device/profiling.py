"""Checks of the exercises on profiling. What is right follows from the recorded trace."""

import math
from types import SimpleNamespace

import torch

from scaleup.exercises import NotYet, code, formula, is_number, rules, says, slip, values
from scaleup.measure import trace
from scaleup.paths import root

UNION = (
    "(lambda p: sum(b - a for a, b in zip(p, p[1:]) if any(s <= a and b <= e for s, e in spans)))"
    "(sorted({x for s in spans for x in s}))"
)
LAST = "(lambda s: sum(max(0, b[1] - max(b[0], a[1])) for a, b in zip([(-9, -9)] + s, s)))"
formula(
    "busy", "busy(spans)", UNION,
    [([(0, 4), (2, 6)],), ([(0, 10), (1, 2), (3, 4)],), ([(8, 9), (0, 3), (5, 6)],), ([(1, 5)],), ([],)],
    {"sum(e - s for s, e in spans)": "where spans overlap, this counts the time twice",
     "max((e for s, e in spans), default=0) - min((s for s, e in spans), default=0)":
         "this is the time from the first start to the last end: the gaps are in it",
     f"{LAST}(sorted(spans))":
         "a short span inside a long one goes wrong: remember the furthest end so far, not the end of "
         "the span "
         "before",
     f"{LAST}(spans)":
         "the spans come in any order: sort them by their start, and remember the furthest end so far",
     "max((e - s for s, e in spans), default=0)": "this is the longest span alone",
     "len(spans)": "this counts spans. Add up their time"},
    within=1e-9,
    otherwise=lambda off: f"for {off.row[0]} something runs for {off.want:g}, yours says {off.got:g}",
    hint="Sort by start; a span adds what lies behind the furthest end so far.",
    done="overlaps count once",
    also=[says("def busy(spans):\n    return 3.5", "for [(0, 4), (2, 6)] something runs for 6, yours "
                                                   "says 3.5")],
)  # fmt: skip


def recorded():
    """The exercise's numbers, from its trace."""
    found = trace.read(root() / "exercises" / "solutions" / "1-one-device" / "profiling" / "trace.json")
    tasks = [e for e in found.events if e.thread == "device" and e.kind != "cpu_op"]
    host = [e for e in found.events if e.thread == "host"]
    begin, end = tasks[0].start, tasks[-1].end
    gaps = trace.gaps(tasks, begin, end)
    kernels = [e for e in found.events if e.kernel]
    parts = [[e for e in host if part in e.name] for part in ("DataLoader", "read a norm", "write the log")]

    def while_idle(events):
        return sum(max(0.0, min(b, e.end) - max(a, e.start)) for a, b in gaps for e in events)

    return SimpleNamespace(
        whole=end - begin,
        busy=trace.busy(tasks),
        with_kernels=sum(e.ms for e in tasks + kernels),
        in_kernels=trace.busy(kernels),
        products=sum(e.ms for e in kernels if e.name == "aten::mm"),
        idle=sum(b - a for a, b in gaps),
        while_idle=tuple(while_idle(events) for events in parts),
        in_all=tuple(sum(e.ms for e in events) for events in parts),
    )


R = recorded()
IDLE = R.idle / R.whole
values(
    "idle", IDLE,
    {R.busy / R.whole: "this is the share in which it works",
     1 - R.with_kernels / R.whole: "kernels run inside tasks: do not add both",
     1 - R.in_kernels / R.whole: "between two kernels of a task the device is not idle, it starts the "
                                 "next: take tasks",
     R.in_kernels / R.whole: "this is the share in which kernels run",
     100 * IDLE: "this is in per cent. Give a number between 0 and 1",
     R.idle: "these are milliseconds. Divide by the time from begin to end",
     R.idle / R.busy: "divide by the whole time from begin to end, not by the time in which the device "
                      "works"},
    within=5e-3, ask="give one number between 0 and 1, the share of the time",
    otherwise=slip(lambda given: True,
                   "take 1 and subtract the busy time of `tasks` over end - begin", 0.5, 0.25, 2),
    hint="busy([(task.start, task.end) for task in tasks]) is the time in which it works.",
    done=f"the device is idle {IDLE:.0%} of the time")  # fmt: skip

SHARES = tuple(ms / R.idle for ms in R.while_idle)
NAMES = ("input stall", "synchronisation", "tiny kernels", "slow kernels")
ASK = (
    "give (bottleneck, shares): a name of the four, and three numbers between 0 and 1: makes a batch, "
    "reads a "
    "norm, writes the log"
)


def evidence(answer):
    try:
        name, given = answer
        given = tuple(given)
    except (TypeError, ValueError):
        raise NotYet(ASK) from None
    if not isinstance(name, str) or len(given) != 3 or not all(map(is_number, given)):
        raise NotYet(ASK)
    if name not in NAMES:
        raise NotYet(f"the bottleneck is one of: {', '.join(NAMES)}")
    return SimpleNamespace(name=name, shares=given)


def near(seen, wanted):
    return all(
        math.isclose(a, b, rel_tol=0.02, abs_tol=1e-3) for a, b in zip(seen.shares, wanted, strict=True)
    )


def with_name(shares, name="synchronisation"):
    return (name, tuple(shares))


rules(
    "bottleneck", evidence,
    [slip(lambda seen: near(seen, [ms / R.whole for ms in R.while_idle]),
          "these are shares of the whole time. Divide by the idle time, the sum of the gaps",
          with_name(ms / R.whole for ms in R.while_idle)),
     slip(lambda seen: near(seen, [ms / R.idle for ms in R.in_all]),
          "these are all of the host's times. Count only those while the device is idle: its overlap "
          "with the "
          "gaps",
          with_name(ms / R.idle for ms in R.in_all)),
     slip(lambda seen: near(seen, [ms / R.whole for ms in R.in_all]),
          "these are shares of all of the host's times in the whole. Count those while the device is "
          "idle, and "
          "divide by the idle time",
          with_name(ms / R.whole for ms in R.in_all)),
     slip(lambda seen: near(seen, R.while_idle), "these are milliseconds. Divide them by the sum of the gaps",
          with_name(R.while_idle)),
     slip(lambda seen: near(seen, [100 * share for share in SHARES]),
          "these are per cent. Give numbers between 0 and 1", with_name(100 * s for s in SHARES)),
     slip(lambda seen: near(seen, SHARES[::-1]) or near(seen, (SHARES[0], SHARES[2], SHARES[1])),
          "the numbers are right and their order is not: makes a batch, reads a norm, writes the log",
          with_name(SHARES[::-1])),
     slip(lambda seen: not near(seen, SHARES),
          "the shares are not those of the trace: overlap(gaps, …) of each kind of event over the sum "
          "of the gaps",
          with_name((0.3, 0.3, 0.3))),
     slip(lambda seen: seen.name == "input stall",
          "the shares are right, so look at the first of them: hardly any idle time passes while a "
          "batch is made",
          with_name(SHARES, "input stall")),
     slip(lambda seen: seen.name == "tiny kernels",
          "the shares are right. Tiny kernels make gaps inside a task, and these gaps are between tasks",
          with_name(SHARES, "tiny kernels")),
     slip(lambda seen: seen.name == "slow kernels",
          "the shares are right. Slow kernels would keep the device busy, and it is idle",
          with_name(SHARES, "slow kernels"))],
    hint="Which of the host's events fill the gaps? Why is nothing in the queue meanwhile?",
    done=f"the host reads a norm and writes the log before it queues more: {sum(SHARES[1:]):.0%} of the "
         f"idle time",
    also=[says("synchronisation", ASK), says(("synchronisation", (0.5, 0.5)), ASK),
          says(with_name(SHARES, "disk"), f"the bottleneck is one of: {', '.join(NAMES)}")])  # fmt: skip

LOG, PRODUCTS = R.while_idle[2] / R.whole, R.products / R.whole
GAINS = trace.amdahl(LOG, math.inf), trace.amdahl(PRODUCTS, 2), trace.amdahl(IDLE, math.inf)
values(
    "gains", GAINS,
    {(trace.amdahl(SHARES[2], math.inf), *GAINS[1:]):
         "the first takes the log's share of the idle time. Amdahl's law wants its share of the whole time",
     (GAINS[0], trace.amdahl(PRODUCTS, math.inf), GAINS[2]):
         "the second lets the products cost nothing. They become twice as fast",
     (GAINS[0], trace.amdahl(R.products / R.in_kernels, 2), GAINS[2]):
         "the second takes the products' share of the kernels' time. Divide by the time from begin to end",
     (GAINS[0], trace.amdahl(R.products / R.busy, 2), GAINS[2]):
         "the second takes the products' share of the busy time. Divide by the time from begin to end",
     (GAINS[0], 2, GAINS[2]): "the second is the gain of the kernels alone. How much of the time are they?",
     (GAINS[0], GAINS[1], 1 / IDLE): "the third is 1 over the idle share: what is left is the rest, 1 - idle",
     (1 / LOG, GAINS[1], 1 / IDLE): "what is left is 1 minus the share: divide 1 by that",
     (LOG, PRODUCTS / 2, IDLE): "these are shares of time that is saved. How many times as fast is the rest?",
     tuple(1 / gain for gain in GAINS): "these are the new times over the old one. Turn them over"},
    within=5e-3, ask="give three numbers: (without the log's time, products twice as fast, never idle)",
    otherwise=slip(lambda given: True,
                   "each is trace.amdahl(share of the time from begin to end, factor): for the log and "
                   "for the "
                   "idle time the factor is math.inf, for the products 2",
                   (2, 2, 2), (1.5, 1.03, 3.3)),
    hint="Share of the whole time, then 1 / (1 - share + share / factor).",
    done=f"the log {GAINS[0]:.1f} times, the products {GAINS[1]:.2f} times, {GAINS[2]:.1f} times at most"
)  # fmt: skip


class Device:
    """Runs what is queued when its result is asked for, and counts."""

    def __init__(self):
        self.queued, self.waits = 0, 0

    def submit(self, function, *inputs, **named):
        self.queued += 1
        return SimpleNamespace(result=lambda timeout=None: self.waited(function, inputs, named))

    def waited(self, function, inputs, named):
        self.waits += 1
        return function(*inputs, **named)


def repaired(answer):
    parameters = [torch.nn.Parameter(torch.ones(size)) for size in (3, 5, 2, 4)]
    device = Device()
    for number, parameter in enumerate(parameters, 1):
        parameter.grad = torch.full_like(parameter, number)
    want = [parameter.grad.norm().item() for parameter in parameters]
    given = answer(device, parameters)
    seen = SimpleNamespace(queued=device.queued, waits=device.waits, given=given, want=want)
    seen.parameters, seen.count = len(parameters), len(given) if isinstance(given, list | tuple) else 1
    seen.numbers = isinstance(given, list | tuple) and all(map(is_number, given))
    return seen


def same(seen, wanted):
    pairs = zip(seen.given, wanted, strict=True)
    return len(seen.given) == len(wanted) and all(math.isclose(a, b, rel_tol=1e-4) for a, b in pairs)


def tensors_in(given):
    return isinstance(given, list | tuple) and any(isinstance(each, torch.Tensor) for each in given)


def norms(*lines):
    body = "\n".join(f"    {line}" for line in lines)
    return f"import torch\ndef norms(device, parameters):\n{body}"


STACK = "torch.stack([p.grad.norm() for p in parameters])"
rules(
    "norms", repaired,
    [slip(lambda seen: seen.given is None, "the function returns nothing: return the list of norms",
          norms(f"device.submit(lambda: {STACK}).result()")),
     slip(lambda seen: hasattr(seen.given, "result"), "this is a promise of a result. Read it once with "
                                                      ".result()",
          norms(f"return device.submit(lambda: {STACK})")),
     slip(lambda seen: seen.waits > 1,
          "it waits {waits} times for {parameters} gradients. Queue one function that makes all norms, "
          "then wait",
          says(norms("return [device.submit(lambda p=p: p.grad.norm().item()).result() for p in parameters]"),
               waits=4, parameters=4),
          says(norms("queued = [device.submit(p.grad.norm) for p in parameters]",
                     "return [each.result().item() for each in queued]"), waits=4, parameters=4)),
     slip(lambda seen: not seen.queued,
          "nothing went through the queue: the host computed norms while the backward pass may still be "
          "running",
          norms(f"return {STACK}.tolist()")),
     slip(lambda seen: isinstance(seen.given, torch.Tensor),
          "this is a tensor. One .tolist() makes floats of all its numbers",
          norms(f"return device.submit(lambda: {STACK}).result()")),
     slip(lambda seen: tensors_in(seen.given),
          "these are tensors, and on a GPU each .item() would wait again. Stack them on the device, then one "
          ".tolist()",
          norms("return device.submit(lambda: [p.grad.norm() for p in parameters]).result()")),
     slip(lambda seen: is_number(seen.given), "this is one number. Give one norm for each parameter",
          norms(f"return device.submit(lambda: {STACK}.norm()).result().item()")),
     slip(lambda seen: not seen.numbers, "give a list of floats, one for each parameter",
          norms(f"device.submit(lambda: {STACK}).result()", "return 'done'")),
     slip(lambda seen: len(seen.given) != seen.parameters,
          "{parameters} parameters have {parameters} norms, yours are {count}",
          says(norms(f"return device.submit(lambda: {STACK}[:3]).result().tolist()"), parameters=4, count=3)),
     slip(lambda seen: same(seen, [n**2 for n in seen.want]), "these are squares of norms: take the root",
          norms("one = lambda: torch.stack([p.grad.pow(2).sum() for p in parameters])",
                "return device.submit(one).result().tolist()")),
     slip(lambda seen: same(seen, seen.want[::-1]), "the norms are right, but not in the order of the "
                                                    "parameters",
          norms(f"return device.submit(lambda: {STACK}).result().tolist()[::-1]")),
     slip(lambda seen: not same(seen, seen.want), "these are not the norms of the gradients: p.grad.norm()",
          norms("one = lambda: torch.stack([p.norm() for p in parameters])",
                "return device.submit(one).result().tolist()"))],
    needs="norms", example=code, hint="One queued function, torch.stack inside it, one .result().tolist().",
    done=lambda seen: f"{seen.parameters} norms, one wait")  # fmt: skip

"""Checks of the exercises on profiling. What is right follows from the recorded trace."""

import itertools
import math
import threading
from concurrent.futures import Executor, Future
from functools import partial
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
    ask="give one number between 0 and 1, the share of the time",
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
        given = tuple(each.tolist() if hasattr(each, "tolist") else each for each in given)
    except (TypeError, ValueError):
        raise NotYet(ASK) from None
    if not isinstance(name, str) or len(given) != 3 or not all(map(is_number, given)):
        raise NotYet(ASK)
    name = " ".join(name.casefold().replace("synchroniz", "synchronis").split())
    if name not in NAMES:
        raise NotYet(f"the bottleneck is one of: {', '.join(NAMES)}")
    return SimpleNamespace(name=name, shares=given)


def near(seen, wanted):
    return all(
        math.isclose(a, b, rel_tol=0.02, abs_tol=5e-3) for a, b in zip(seen.shares, wanted, strict=True)
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
          says(with_name(SHARES, " Tiny Kernels"), "the shares are right. Tiny kernels make gaps inside a "
                                                   "task, and these gaps are between tasks"),
          says(("synchronisation", torch.tensor([0.3, 0.3, 0.3])), "the shares are not those of the trace: "
               "overlap(gaps, …) of each kind of event over the sum of the gaps"),
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
     (GAINS[2], GAINS[1], GAINS[0]): "the order is turned: first the log, last the device that is never idle",
     tuple(1 / gain for gain in GAINS): "these are the new times over the old one. Turn them over"},
    ask="give three numbers, none of them infinite: (without the log's time, products twice as fast, "
        "never idle)",
    otherwise=slip(lambda given: True,
                   "each is trace.amdahl(share of the time from begin to end, factor): for the log and "
                   "for the "
                   "idle time the factor is math.inf, for the products 2",
                   (5, 5, 5), (1.5, 1.03, 3.3)),
    hint="Share of the whole time, then 1 / (1 - share + share / factor).",
    done=f"the log {GAINS[0]:.2f} times, the products {GAINS[1]:.2f} times, {GAINS[2]:.2f} times at most",
    also=[says((*GAINS[:2], math.inf), "give three numbers, none of them infinite: (without the log's time, "
                                       "products twice as fast, never idle)")],
)  # fmt: skip


class Promise(Future):
    """The result of a queued task; `asked` is called when somebody waits for it, then `settled`."""

    def __init__(self, asked, settled):
        super().__init__()
        self.asked, self.settled, self._waiters = asked, settled, Waiters(asked)

    def result(self, timeout=None):
        self.asked()
        self.settled()
        return super().result(timeout)

    def exception(self, timeout=None):
        self.asked()
        self.settled()
        return super().exception(timeout)

    def done(self):
        self.asked()
        return super().done()


class Waiters(list):
    """What `wait` and `as_completed` of concurrent.futures put into each result that they wait for."""

    def __init__(self, asked):
        super().__init__()
        self.asked = asked

    def append(self, waiter):
        super().append(waiter)
        self.asked(waiter)


class Device(Executor):
    """Works through its queue in order, on a thread of its own, as late as it can.

    It begins when somebody waits, and has emptied the queue before that one goes on.
    """

    def __init__(self):
        self.queue, self.place, self.reached, self.ahead, self.open = [], -1, -1, -1, True
        self.waits, self.waiter, self.before_waiting = 0, None, None
        self.moved = threading.Condition()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def submit(self, function, /, *inputs, **named):
        with self.moved:
            promise = Promise(partial(self.wait_for, len(self.queue)), self.settled)
            self.queue.append((promise, partial(function, *inputs, **named)))
            self.moved.notify_all()
        return promise

    def wait_for(self, place, waiter=None):
        with self.moved:
            if place <= self.reached:
                return
            if self.before_waiting is None:
                self.before_waiting = len(self.queue)
            self.waits += waiter is None or waiter is not self.waiter
            self.waiter, self.reached, self.ahead = waiter, place, len(self.queue) - 1
            self.moved.notify_all()

    def settled(self):
        with self.moved:
            self.moved.wait_for(lambda: self.place > self.ahead or threading.current_thread() is self.thread)

    def work(self):
        for place in itertools.count():
            with self.moved:
                self.place = place
                self.moved.notify_all()
                self.moved.wait_for(lambda: not self.open or self.place <= self.ahead)
                if self.place == len(self.queue):
                    return
                promise, call = self.queue[self.place]
            try:
                promise.set_result(call())
            except BaseException as error:
                promise.set_exception(error)

    def shutdown(self, wait=True, *, cancel_futures=False):
        with self.moved:
            self.open = False
            self.moved.notify_all()
        self.thread.join(5)


def norms_of(scale=1):
    return [scale * number * math.sqrt(size) for number, size in enumerate((3, 5, 2, 4), 1)]


def repaired(answer):
    parameters = [torch.nn.Parameter(torch.ones(size)) for size in (3, 5, 2, 4)]
    for number, parameter in enumerate(parameters, 1):
        parameter.grad = torch.full_like(parameter, 10 * number)  # of the step before
    device, writes, updates = Device(), [], []

    def backward():
        for number, parameter in enumerate(parameters, 1):
            parameter.grad = torch.full_like(parameter, number)

    def update():
        updates.append(device.place if threading.current_thread() is device.thread else None)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)

    def write(norms):
        on_device = threading.current_thread() is device.thread
        writes.append(SimpleNamespace(norms=norms, reached=device.reached, on_device=on_device))

    device.submit(backward)
    try:
        answer(device, parameters, update, write)
        waits, before_waiting = device.waits, device.before_waiting
    finally:
        device.shutdown()
    given = writes[0].norms if writes else None
    numbers = isinstance(given, list | tuple) and all(map(is_number, given))
    return SimpleNamespace(
        waits=waits, writes=len(writes), updates=updates, given=given, numbers=numbers,
        plain=flat(given), parameters=len(parameters), count=len(given) if numbers else 1,
        on_device=any(each.on_device for each in writes),
        late=bool(updates and before_waiting is not None and updates[0] is not None
                  and updates[0] >= before_waiting),
        awaited=bool(updates and writes and updates[0] is not None and updates[0] <= writes[0].reached),
    )  # fmt: skip


def flat(given):
    """The numbers in a list or a tensor; none where there are others."""
    if isinstance(given, torch.Tensor):
        given = given.flatten()
    try:
        return [float(each) for each in given]
    except (TypeError, ValueError, RuntimeError):
        return []


def same(seen, wanted):
    return len(seen.plain) == len(wanted) and all(
        map(partial(math.isclose, rel_tol=1e-4), seen.plain, wanted)
    )


def tensors_in(given):
    return isinstance(given, list | tuple) and any(isinstance(each, torch.Tensor) for each in given)


def log_norms(*lines):
    body = "\n".join(f"    {line}" for line in lines)
    return (
        f"import torch\nimport concurrent.futures\ndef log_norms(device, parameters, update, write):\n{body}"
    )


STACK = "torch.stack([p.grad.norm() for p in parameters])"
QUEUE = f"made = device.submit(lambda: {STACK})"
UPDATE, WRITE = "device.submit(update)", "write(made.result().tolist())"
WAITS = (
    "it waits {waits} times for {parameters} gradients. Queue one function that makes all norms, then wait"
)
STALE = (
    "these are the norms of the step before: p.grad was read by the host, while the backward pass was still "
    "in the queue"
)
rules(
    "norms", repaired,
    [slip(lambda seen: not seen.updates, "the update never ran: device.submit(update)",
          log_norms(QUEUE, WRITE)),
     slip(lambda seen: None in seen.updates,
          "the host ran the update itself, and waited for it: device.submit(update)",
          log_norms(QUEUE, "norms = made.result().tolist()", "update()", "write(norms)")),
     slip(lambda seen: not seen.writes, "nothing was written into the log: write(norms)",
          log_norms(QUEUE, UPDATE, "return made.result().tolist()")),
     slip(lambda seen: seen.waits > 1, WAITS,
          says(log_norms("made = [device.submit(lambda p=p: p.grad.norm()) for p in parameters]", UPDATE,
                         "write([each.result().item() for each in made])"), waits=4, parameters=4),
          says(log_norms("made = list(device.map(lambda p: p.grad.norm().item(), parameters))", UPDATE,
                         "write(made)"), waits=4, parameters=4)),
     slip(lambda seen: seen.writes > 1,
          "the log is written {writes} times, and each time the disk takes as long: write the list of all "
          "norms once",
          says(log_norms(QUEUE, UPDATE, "for norm in made.result().tolist():", "    write([norm])"),
               writes=4)),
     slip(lambda seen: seen.on_device, "the device writes the log, and computes nothing meanwhile: let the "
                                       "host write it",
          log_norms(f"device.submit(lambda: write({STACK}.tolist()))", UPDATE)),
     slip(lambda seen: hasattr(seen.given, "result"), "this is a promise of a result. Read it once with "
                                                      ".result()",
          log_norms(QUEUE, UPDATE, "write(made)")),
     slip(lambda seen: same(seen, norms_of(10)), STALE,
          log_norms(f"norms = {STACK}.tolist()", UPDATE, "write(norms)"),
          log_norms("found = [p.grad for p in parameters]",
                    "made = device.submit(lambda: torch.stack([g.norm() for g in found]))", UPDATE, WRITE)),
     slip(lambda seen: seen.late,
          "the device has nothing to do until the update is queued: queue it before you wait",
          log_norms(QUEUE, "norms = made.result().tolist()", UPDATE, "write(norms)"),
          log_norms(QUEUE, WRITE, UPDATE)),
     slip(lambda seen: same(seen, [0] * seen.parameters),
          "the norms are zero: the update clears the gradients, so make all norms in a task queued before it",
          log_norms(UPDATE, QUEUE, WRITE),
          log_norms("made = device.submit(lambda: [p.grad for p in parameters])", UPDATE,
                    "made.result()", "write([p.grad.norm().item() for p in parameters])",
                    )),
     slip(lambda seen: seen.awaited,
          "it waits for the update, too, so the device has nothing to do while the log is written: queue the "
          "update behind the norms, and wait for the norms alone",
          log_norms("def both():", f"    norms = {STACK}", "    update()", "    return norms",
                    "write(device.submit(both).result().tolist())"),
          log_norms(QUEUE, "device.submit(update).result()", WRITE)),
     slip(lambda seen: isinstance(seen.given, torch.Tensor),
          "this is a tensor. One .tolist() makes floats of all its numbers",
          log_norms(QUEUE, UPDATE, "write(made.result())")),
     slip(lambda seen: tensors_in(seen.given),
          "these are tensors, and the log takes floats. Stack them on the device, then one .tolist()",
          log_norms("made = device.submit(lambda: [p.grad.norm() for p in parameters])", UPDATE,
                    "write(made.result())")),
     slip(lambda seen: is_number(seen.given), "this is one number. Write one norm for each parameter",
          log_norms(f"made = device.submit(lambda: {STACK}.norm())", UPDATE, "write(made.result().item())")),
     slip(lambda seen: not seen.numbers, "write a list of floats, one for each parameter",
          log_norms(QUEUE, UPDATE, "made.result()", "write('done')")),
     slip(lambda seen: seen.count != seen.parameters,
          "{parameters} parameters have {parameters} norms, yours are {count}",
          says(log_norms(QUEUE, UPDATE, "write(made.result()[:3].tolist())"), parameters=4, count=3)),
     slip(lambda seen: same(seen, [n**2 for n in norms_of()]), "these are squares of norms: take the root",
          log_norms("made = device.submit(lambda: torch.stack([p.grad.pow(2).sum() for p in parameters]))",
                    UPDATE, WRITE)),
     slip(lambda seen: same(seen, norms_of()[::-1]), "the norms are right, but not in the order of the "
                                                     "parameters",
          log_norms(QUEUE, UPDATE, "write(made.result().tolist()[::-1])")),
     slip(lambda seen: not same(seen, norms_of()), "these are not the norms of the gradients: p.grad.norm()",
          log_norms("made = device.submit(lambda: torch.stack([p.norm() for p in parameters]))",
                    UPDATE, WRITE))],
    needs="log_norms", example=code,
    hint="Queue one function that makes all norms, queue the update, then one .result().tolist().",
    done=lambda seen: f"{seen.parameters} norms, one wait, one write, the update meanwhile")  # fmt: skip

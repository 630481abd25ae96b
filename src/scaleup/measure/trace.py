"""A recorded trace as a list of events: when each ran and what it nested, and the work behind its shapes.

`torch.profiler` writes traces in Chrome's format, one event per operator, annotation or GPU kernel, its times
in microseconds. Here they are milliseconds from the first event on.

On a GPU, a trace holds the operators on the host's lane and the device's kernels on another. Then only those
are kernels here. They have times and no shapes, so the work behind them has to be read from the operators.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch._C._profiler import _ExperimentalConfig
from torch.profiler import profile

from ..errors import CourseError
from .rates import quiet_stderr

# For `profile(experimental_config=…)`: else a CPU's operators are recorded on the thread that began it only.
ALL_THREADS = _ExperimentalConfig(profile_all_threads=True)
BYTES = {"float": 4, "double": 8, "long int": 8, "int": 4, "bool": 1, "c10::BFloat16": 2, "c10::Half": 2}
# FLOPs for each number of the result, one for each of +, -, x, / and each function such as exp.
EACH = {
    "mul": 1, "add": 1, "sub": 1, "div": 1, "neg": 1, "pow": 1, "sqrt": 1, "rsqrt": 1, "exp": 1, "tanh": 1,
    "addcmul": 2, "silu": 4, "silu_backward": 9, "_softmax": 4, "_log_softmax": 4,
    "_log_softmax_backward_data": 4,
}  # fmt: skip
# Operators that only make, describe or pass on a tensor, and start no kernel themselves.
NO_KERNEL = {
    "_local_scalar_dense", "_reshape_alias", "_to_copy", "_unsafe_view", "alias", "as_strided", "chunk",
    "clone", "contiguous", "detach", "detach_", "empty", "empty_like", "empty_strided", "expand",
    "is_nonzero", "item", "lift_fresh", "narrow", "new_empty", "ones", "ones_like", "permute", "reshape",
    "resolve_conj", "resolve_neg", "result_type", "select", "slice", "split", "squeeze", "t", "to",
    "transpose", "unsqueeze", "view", "zeros", "zeros_like",
}  # fmt: skip
GPU_WORK = {"kernel", "gpu_memcpy", "gpu_memset"}  # Chrome's categories of what a GPU does
HELPERS = {"fill_", "zero_", "copy_"}  # what a kernel may call and still be one


@dataclass(frozen=True)
class Event:
    """One event; times in ms. `own` is its duration without the events that it called.

    `kind` is Chrome's category, such as "cpu_op" or "kernel". `dims` and `types` are the shapes and data
    types of its inputs, where they were recorded; what is no tensor has an empty shape. `kernel`: numbers
    are computed or moved here, by a GPU's kernel or copy; in a trace that has none of these, by a CPU's
    operator that calls no other one for it.
    """

    name: str
    start: float
    end: float
    thread: int | str
    kind: str = "cpu_op"
    dims: tuple = ()
    types: tuple = ()
    own: float = 0.0
    kernel: bool = False

    @property
    def ms(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Operator:
    """All calls of one operator: own time in ms; FLOPs and bytes of the `counted` ones, of known work."""

    name: str
    count: int
    own: float
    flops: float = 0.0
    bytes: float = 0.0
    counted: int = 0

    @property
    def intensity(self) -> float:
        """FLOPs per byte; nan where no work is known."""
        return self.flops / self.bytes if self.bytes else math.nan

    @property
    def rate(self) -> float:
        """FLOP/s in its own time; nan unless the work of every call is known."""
        return self.flops / self.own * 1e3 if self.own and self.counted == self.count else math.nan


@dataclass(frozen=True)
class Trace:
    """Events in the order of their start."""

    events: tuple[Event, ...]

    def named(self, part: str) -> list[Event]:
        """Events whose name contains `part`; raises CourseError if there are none."""
        if found := [event for event in self.events if part in event.name]:
            return found
        known = sorted({event.name for event in self.events if event.kind == "user_annotation"})
        raise CourseError(
            f"No event has {part!r:.40} in its name. Annotations: {', '.join(known)[:200] or 'none'}."
        )

    def inside(self, outer: Event) -> list[Event]:
        """What ran on the same thread while `outer` did, without `outer`; a GPU is a thread of its own."""
        return [
            event
            for event in self.events
            if event.thread == outer.thread and event is not outer
            and outer.start <= event.start and event.end <= outer.end
        ]  # fmt: skip


def of(recording: profile) -> Trace:
    """The trace of a profiler that has stopped."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        with quiet_stderr():
            recording.export_chrome_trace(str(file))
        return read(file)


def read(file: Path | str) -> Trace:
    """The trace in a file that `export_chrome_trace` wrote. Raises CourseError where it holds none."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError:
        raise CourseError(f"There is no trace in {file}.") from None
    except ValueError:
        raise CourseError(f"{file} is not JSON: a trace that was cut off, or still compressed.") from None
    found = content.get("traceEvents") if isinstance(content, dict) else content
    timed = [
        e for e in found or [] if e.get("ph") == "X" and "dur" in e and e.get("cat") not in (None, "Trace")
    ]
    if not timed:
        raise CourseError(f"{file} has no event with a duration. Did the profiler stop before the export?")
    return Trace(tuple(nested(timed)))


def nested(timed: Sequence[dict[str, Any]]) -> list[Event]:
    """Chrome's events with what each did itself: its duration minus those of the events right below it."""
    zero = min(event["ts"] for event in timed)
    ordered = sorted(timed, key=lambda event: (event["ts"], -event["dur"]))
    ends = [event["ts"] + event["dur"] for event in ordered]
    own = [event["dur"] / 1e3 for event in ordered]
    callers: list[int | None] = []
    running: dict[Any, list[int]] = defaultdict(list)  # thread: places of what runs there, outermost first
    for place, event in enumerate(ordered):
        above = running[event["tid"]]
        while above and ends[above[-1]] < ends[place] - 1e-3:
            above.pop()
        callers.append(above[-1] if above else None)
        if above:
            own[above[-1]] -= event["dur"] / 1e3
        above.append(place)
    kernels = _kernels(ordered, callers)
    events = []
    for place, event in enumerate(ordered):
        start, args = (event["ts"] - zero) / 1e3, event.get("args", {})
        dims, types = frozen(args.get("Input Dims", ())), tuple(args.get("Input type", ()))
        times = (start, start + event["dur"] / 1e3)
        rest = (event["tid"], event["cat"], dims, types, max(0.0, own[place]), kernels[place])
        events.append(Event(event["name"], *times, *rest))
    return events


def _kernels(ordered: Sequence[dict[str, Any]], callers: Sequence[int | None]) -> list[bool]:
    """Which events are kernels: callees come after their caller, so we go from the last to the first.

    Where a GPU computed, the operators on the host's lane only start its kernels.
    """
    on_gpu = any(event["cat"] in GPU_WORK for event in ordered)
    found, calls_one = [False] * len(ordered), [False] * len(ordered)
    for place in reversed(range(len(ordered))):
        event, caller = ordered[place], callers[place]
        kind, name = event["cat"], event["name"].removeprefix("aten::")
        dims = event.get("args", {}).get("Input Dims")
        scalar = name in HELPERS and dims and not dims[0]
        works = name != event["name"] and name not in NO_KERNEL and not scalar and not calls_one[place]
        found[place] = kind in GPU_WORK if on_gpu else kind == "cpu_op" and works
        if caller is not None and (calls_one[place] or (found[place] and name not in HELPERS)):
            calls_one[caller] = True
    return found


def frozen(dims: Any) -> tuple:
    return tuple(frozen(each) if isinstance(each, list | tuple) else each for each in dims)


# Time


def busy(spans: Iterable[Event | tuple[float, float]]) -> float:
    """ms in which at least one of the spans ran: what overlaps counts once."""
    total, until = 0.0, -math.inf
    for start, end in sorted(map(_ends, spans)):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def gaps(spans: Iterable[Event | tuple[float, float]], start: float, end: float) -> list[tuple[float, float]]:
    """The stretches of [start, end], in ms, in which none of the spans ran."""
    found, until = [], start
    for begin, stop in sorted(map(_ends, spans)):
        if min(begin, end) > until:
            found.append((until, min(begin, end)))
        until = max(until, stop)
    if until < end:
        found.append((until, end))
    return found


def _ends(span: Event | tuple[float, float]) -> tuple[float, float]:
    return (span.start, span.end) if isinstance(span, Event) else span


def amdahl(share: float, factor: float) -> float:
    """How much faster the whole is when `share` of its time becomes `factor` times as fast (Amdahl 1967).

    1 / (1 - share + share / factor), for parts that run one after the other.
    """
    if not 0 <= share <= 1 or factor <= 0:
        raise CourseError(f"A share lies between 0 and 1 and a factor above 0, not {share:g} and {factor:g}.")
    return 1 / (1 - share + share / factor)


# Work


def operators(events: Iterable[Event]) -> list[Operator]:
    """The kernels among the events, by name, the one with the most own time first."""
    calls: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.kernel:
            calls[event.name].append(event)
    found = []
    for name, group in calls.items():
        known = [work for event in group if (work := work_of(event))]
        flops, moved = (sum(each) for each in zip(*known, strict=True)) if known else (0.0, 0.0)
        own = sum(event.own for event in group)
        found.append(Operator(name, len(group), own, flops, moved, len(known)))
    return sorted(found, key=lambda operator: -operator.own)


def work_of(event: Event) -> tuple[float, float] | None:
    """(FLOPs, bytes that must move at least once) from an operator's shapes; None for one not known here.

    A product of (m, k) and (k, n) takes 2 m k n FLOPs. Attention takes two products forward and, since it
    computes the scores again, five backward; every score counts, also those that a causal mask hides.
    Elsewhere `EACH` says what a number of the result costs. Inputs are read and the result is written once.
    """
    name = event.name.removeprefix("aten::")
    size = BYTES.get(event.types[0] if event.types else "", 4)
    shapes = [dims for dims in event.dims if dims and all(isinstance(n, int) for n in dims)]
    if name in ("mm", "bmm") and len(shapes) >= 2:
        *many, m, k = shapes[0]
        n, times = shapes[1][-1], math.prod(many)
        return 2 * times * m * k * n, size * times * (m * k + k * n + m * n)
    if name.startswith("_scaled_dot_product_") and len(shapes) >= 3:
        back = "backward" in name
        query, key = shapes[1:3] if back else shapes[:2]
        one = 2 * math.prod(query) * key[-2]  # a product with all scores
        moved = (4, 4) if back else (2, 2)  # q, out and their gradients; k, v and theirs
        return (5 if back else 2) * one, size * (moved[0] * math.prod(query) + moved[1] * math.prod(key))
    if name.rstrip("_") in EACH and shapes:
        result = math.prod(broadcast(shapes))
        return EACH[name.rstrip("_")] * result, size * (sum(map(math.prod, shapes)) + result)
    return None


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of what an operator makes of tensors of these shapes, number by number."""
    longest = max(map(len, shapes))
    filled = [(1,) * (longest - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(max(column) if 0 not in column else 0 for column in zip(*filled, strict=True))

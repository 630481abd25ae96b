"""A plan held against measured steps: one factor from what was measured, and how far off such factors were.

What a plan does not know of a program, a machine and its settings costs about the same share of a step on few
devices as on many. The ratio of measured and planned time of a small run therefore corrects the large one.
"""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import CourseError
from . import search
from .amounts import amount, whole
from .layout import Layout, Run
from .memory import fits
from .planner import Plan
from .steptime import step_time

# Measured / predicted time of the largest run of a published series, predicted from its smallest: one in ten
# lies below the first, one in ten above the last. `python -m scaleup.plan.evidence.calibrate` prints them; a
# test keeps them in step.
INTERVAL = (0.84, 0.99, 1.1)
GROWTH = 4  # those series grow by this factor or more

LONGEST = 2000  # characters
AT_MOST = 32  # measured steps
WAYS = ("tp", "pp", "cp", "ep", "vp", "zero", "micro_batch", "recompute")
FORM = (
    "Write it as 3,910tok/s@8 (tokens per second of one device, on 8 devices) or 7.2s@8 (seconds of a step)"
)
_STEP = re.compile(
    r"(?P<number>[\d.,_']+(?:e[+-]?\d+)?)\s*(?P<unit>tok/s|tokens/s|ms|s)\s*@\s*(?P<devices>[\d,._]+)(?::(?P<ways>\S+))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Step:
    """A measured step: seconds, or tokens per second of one device. `ways` says how it ran, where known."""

    devices: int
    seconds: float | None = None
    rate: float | None = None
    batch: int | None = None
    ways: Mapping[str, int | str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Calibration:
    """What was measured, as runs with their seconds, and the factor that follows."""

    points: tuple[tuple[Run, float], ...]

    @property
    def factor(self) -> float:
        return factor(self.points)

    def seconds(self, plan: Plan) -> tuple[float, float, float]:
        """Least, likely and most seconds of a plan's step."""
        low, _, high = INTERVAL
        likely = plan.step.total * self.factor
        return likely * min(1.0, low), likely, likely * max(1.0, high)

    def numbers(self, plan: Plan) -> dict[str, object]:
        """The plan's numbers with its steps as long as measured, each with its least and most."""
        steps = self.seconds(plan)
        tokens = plan.run.tokens_per_step / plan.run.layout.devices
        found: dict[str, object] = {
            "factor": self.factor,
            "step_s": list(steps),
            "tokens_per_s_per_device": [tokens / seconds for seconds in reversed(steps)],
        }
        if plan.tokens:
            hours = [plan.steps * seconds / 3600 for seconds in steps]
            found |= {"hours": hours, "node_hours": [plan.nodes * each for each in hours]}
            if plan.bill.units:
                found["bill"] = [plan.nodes * each * plan.bill.units for each in hours]
                if plan.price:
                    found["price"] = [plan.nodes * each * plan.bill.units * plan.price for each in hours]
        return found

    def lines(self, plan: Plan) -> list[tuple[str, str, str]]:
        """(what, likely value, from least to most) for a table."""
        named = {
            "step_s": ("step", "{:,.3g} s"),
            "tokens_per_s_per_device": ("tokens/s per device", "{:,.0f}"),
            "hours": ("wall time", "{:,.1f} h"),
            "node_hours": ("node-hours", "{:,.0f}"),
            "bill": (f"bill, {plan.bill.unit}", "{:,.0f}"),
            "price": ("price", "{:,.0f}"),
        }
        numbers = self.numbers(plan)
        return [
            (
                what,
                form.format(numbers[key][1]),
                f"{form.format(numbers[key][0])} to {form.format(numbers[key][2])}",
            )
            for key, (what, form) in named.items()
            if key in numbers
        ]

    def remarks(self, plan: Plan) -> list[str]:
        """What was taken as measured, and what the interval rests on."""
        largest = max(run.layout.devices for run, _ in self.points)
        ran = "; ".join(
            f"{seconds:.3g} s for {run.global_batch:,} sequences on {run.layout.devices:,} devices "
            f"({run.layout})"
            for run, seconds in self.points
        )
        low, _, high = INTERVAL
        said = [
            f"Measured: {ran}. That is {self.factor:.2f} times what is planned for it, and the plan's step "
            "is taken to be that much longer, too. If the measured run was split in another way, add it: "
            "3,910tok/s@8:tp=2,micro_batch=1,batch=64.",
            "The range is where eight in ten published series of runs lay when their largest run was "
            f"predicted from their smallest: {low:g} to {high:g} times.",
        ]
        if plan.run.layout.devices < GROWTH * largest:
            said.append(f"Those series grew by {GROWTH} times or more; this plan grows less.")
        factors = [seconds / step_time(run).total for run, seconds in self.points]
        if max(factors) > 1.25 * min(factors):
            said.append(
                f"The measured steps do not agree on one factor: {min(factors):.2f} to {max(factors):.2f}. "
                "Look for what differs between them before you trust the plan."
            )
        return said


def factor(points: Sequence[tuple[Run, float]]) -> float:
    """Measured / planned time, the geometric mean over some measured runs."""
    return statistics.geometric_mean([seconds / step_time(run).total for run, seconds in points])


def parse(text: str) -> list[Step]:
    """Steps from words such as "3,910tok/s@8; 7.2s@16:batch=64,tp=2". Raises CourseError for other words."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise CourseError(f"measured={text!r:.40} is no measured step. {FORM}.")
    words = [word.strip() for word in text.split(";") if word.strip()]
    if not words or len(words) > AT_MOST:
        raise CourseError(
            f"Between 1 and {AT_MOST} measured steps can be given. {FORM}, with ; between several."
        )
    return [one_step(word) for word in words]


def one_step(word: str) -> Step:
    found = _STEP.fullmatch(word)
    if not found:
        raise CourseError(f"{word[:40]!r} is no measured step. {FORM}.")
    number, unit, devices = amount(found["number"]), found["unit"].lower(), whole(found["devices"])
    if not 0 < number < 1e12 or not 1 <= devices <= 10**6:
        raise CourseError(
            f"{word[:40]!r} is impossible: both numbers must be above 0, and no run is so large."
        )
    ways: dict[str, int | str] = {}
    for part in (found["ways"] or "").split(","):
        name, _, value = part.partition("=")
        if part and name not in (*WAYS, "batch"):
            raise CourseError(f"A measured step has no {name[:20]!r}. It has batch, {', '.join(WAYS)}.")
        if part:
            ways[name] = value if name == "recompute" else whole(value)
    batch = ways.pop("batch", None)
    if batch is not None and not 1 <= batch <= 10**8:
        raise CourseError(f"batch={batch} is impossible: a step has 1 to 1e8 sequences.")
    if unit in ("tok/s", "tokens/s"):
        return Step(devices, rate=number, batch=batch, ways=ways)
    return Step(devices, seconds=number / (1000 if unit == "ms" else 1), batch=batch, ways=ways)


def calibrated(
    steps: Sequence[Step], task: search.Task, devices: int, layout: Mapping, like: Layout | None = None
) -> Calibration:
    """The calibration of a task that is planned on so many devices.

    A step ran as it says; where it does not say, in the layout that was asked for, or split `like` the plan,
    or where that does not fit as a search finds best. Without a batch, a rate belongs to the planned
    sequences of each device, seconds to the planned batch.
    """
    return Calibration(tuple(_point(step, task, devices, layout, like) for step in steps))


def _point(
    step: Step, task: search.Task, devices: int, layout: Mapping, like: Layout | None
) -> tuple[Run, float]:
    share = task.global_batch * step.devices / devices
    batch = step.batch or (task.global_batch if step.seconds else max(1, round(share)))
    task = dataclasses.replace(task, global_batch=batch)
    given = dict(layout) | dict(step.ways)
    ways = given.get("tp", 1) * given.get("pp", 1) * given.get("cp", 1)
    if step.ways and (ways < 1 or step.devices % ways):
        raise CourseError(f"{step.devices} measured devices do not split into tp x pp x cp = {ways}.")
    if given and ways >= 1 and step.devices % ways == 0:
        shape = Layout(dp=step.devices // ways, **given)
        run = (task if step.batch else search.whole_batch(task, shape)).run(shape)
        if problem := run.problem():
            raise CourseError(f"The measured step could not have run so. {problem}")
    else:
        run = _like(step, task, like) or search.search(task, step.devices, keep=1).best.run
    if step.batch and run.global_batch != step.batch:
        raise CourseError(
            f"{step.batch:,} sequences do not split over {step.devices:,} devices in a known way. "
            f"Say how they were split: 7.2s@{step.devices}:batch={step.batch},tp=2."
        )
    if step.seconds:
        return run, step.seconds
    return run, run.tokens_per_step / step.rate / step.devices


def _like(step: Step, task: search.Task, like: Layout | None) -> Run | None:
    """The measured run, split as the plan is, on fewer or more copies; None where that does not fit."""
    ways = like.tp * like.pp * like.cp if like else 0
    if not ways or step.devices % ways:
        return None
    layout = dataclasses.replace(like, dp=step.devices // ways)
    run = (task if step.batch else search.whole_batch(task, layout)).run(layout)
    return run if not run.problem() and fits(run) else None


def from_study(content: Mapping) -> list[Step]:
    """The measured points of a `study.json` of `scaleup study`. Raises CourseError for other content."""
    points = content.get("points") if content.get("format") == "scaleup study 1" else None
    if not isinstance(points, list):
        raise CourseError(
            "This is no study: it has not the format 'scaleup study 1'. scaleup study writes one."
        )
    steps = []
    try:
        train, parallel = content["config"]["train"], content["config"]["parallel"]
        for point in points:
            if point.get("step_seconds"):
                ways = {way: int(parallel[way]) for way in ("tp", "pp", "cp", "ep") if int(parallel[way]) > 1}
                ways |= {
                    "zero": 3 if int(parallel["shard"]) > 1 else 0,
                    "micro_batch": int(train["micro_batch"]),
                }
                ways["recompute"] = "none"
                seconds = float(point["step_seconds"]["value"])
                steps.append(Step(int(point["ranks"]), seconds, None, int(point["global_batch"]), ways))
    except (KeyError, TypeError, ValueError) as error:
        raise CourseError(
            f"This study lacks what a plan needs: {error}. scaleup study writes all of it."
        ) from None
    if not steps:
        raise CourseError("This study has no measured point yet. Wait for its jobs, and collect them.")
    return steps


def as_words(steps: Sequence[Step]) -> str:
    """Steps as the text that `parse` reads."""
    words = []
    for step in steps:
        ways = dict(step.ways) | ({"batch": step.batch} if step.batch else {})
        said = f"{step.seconds!r}s" if step.seconds else f"{step.rate!r}tok/s"
        words.append(
            f"{said}@{step.devices}" + (":" if ways else "") + ",".join(f"{k}={v}" for k, v in ways.items())
        )
    return "; ".join(words)

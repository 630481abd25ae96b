"""Rules on a run's curves: when an alarm goes on, and when it goes off again.

Two limits for each: it goes on above the higher and off below the lower (hysteresis), so that a value which
trembles around one limit does not ring at every step.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WINDOW = 20  # steps that a median looks back on
Past = Sequence[float]


@dataclass(frozen=True)
class Rule:
    """`value(now, past)` of the curve `of`, on at `on` for `patience` steps in a row, off at `off` likewise.

    `past` are up to WINDOW values from before, of calm steps only, so that an alarm does not get used to
    itself. `why` is told with the alarm. A rule waits for `needs` calm values.
    """

    name: str
    of: Callable[[Mapping[str, Any]], float | None]
    value: Callable[[float, Past], float]
    on: float
    off: float
    patience: int = 1
    needs: int = 10
    why: str = ""


@dataclass
class Alarm:
    """Rule `name` was on from step `began` until before step `ended` (None: still); `worst` is its value."""

    name: str
    began: int
    worst: float
    why: str = ""
    ended: int | None = None

    def __str__(self) -> str:
        until = "still on" if self.ended is None else f"until step {self.ended}"
        return f"{self.name}: from step {self.began}, {until}, {self.worst:.3g} at worst"


def over_median(now: float, past: Past) -> float:
    """How many times its running median."""
    return now / max(statistics.median(past), 1e-12)


def spike(now: float, past: Past) -> float:
    """How many robust standard deviations above the running median.

    The deviation is 1.4826 times the median distance from the median, which is the standard deviation of a
    normal distribution and does not move when one value in twenty is wild; at least 1 % of the median.
    """
    middle = statistics.median(past)
    spread = 1.4826 * statistics.median(abs(value - middle) for value in past)
    return (now - middle) / max(spread, 0.01 * abs(middle), 1e-12)


def loss_share(now: float, past: Past) -> float:
    """How much of the median of the past is missing: 0.25 where a quarter of the rate is lost."""
    return 1 - now / max(statistics.median(past), 1e-12)


def as_it_is(now: float, past: Past) -> float:
    return now


def field_of(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda step: step.get(name)


def wait_share(step: Mapping[str, Any]) -> float | None:
    seconds, wait = step.get("seconds"), step.get("input_wait")
    return wait / seconds if seconds and wait is not None else None


def slowest_rank(step: Mapping[str, Any]) -> float | None:
    """The slowest rank's own seconds over the median rank's, where a run notes them (`own_seconds`)."""
    own = step.get("own_seconds")
    return max(own) / statistics.median_low(own) if own and len(own) > 1 else None


def not_finite(step: Mapping[str, Any]) -> float | None:
    """1 where the loss or the norm of the gradients is NaN or infinite, else 0."""
    numbers = [step[name] for name in ("loss", "gradient_norm") if step.get(name) is not None]
    return float(not all(map(math.isfinite, numbers))) if numbers else None


RULES = (
    Rule(
        "not a number", not_finite, as_it_is, 1, -1, needs=0, why="stop: nothing after it is worth its hours"
    ),
    Rule("loss spike", field_of("loss"), spike, 6, 3, why="look at the gradient norm and at these batches"),
    Rule("gradient norm", field_of("gradient_norm"), over_median, 4, 2, why="a spike of the loss may follow"),
    Rule(
        "slow step", field_of("seconds"), over_median, 3, 1.5, why="one is chance; many are a node, or disks"
    ),
    Rule("tokens/s", field_of("tokens_per_second"), loss_share, 0.25, 0.1, 3, why="you pay for less"),
    Rule("input wait", wait_share, as_it_is, 0.2, 0.1, 3, 0, why="the loader, the file system"),
    Rule("straggler", slowest_rank, as_it_is, 2, 1.5, 5, 0, why="all ranks wait for this one: which node?"),
)


@dataclass
class _State:
    past: deque = field(default_factory=lambda: deque(maxlen=WINDOW))
    alarm: Alarm | None = None
    above: int = 0
    below: int = 0
    first: int = 0  # the first of the steps above in a row


class Watcher:
    """Sees a run step by step; `see` returns alarms that went on or off, `alarms` holds all so far."""

    def __init__(self, rules: Iterable[Rule] = RULES) -> None:
        self.rules = tuple(rules)
        self.alarms: list[Alarm] = []
        self._start()

    def _start(self) -> None:
        self.states = {rule.name: _State() for rule in self.rules}
        self.last = -1

    def see(self, step: Mapping[str, Any]) -> list[Alarm]:
        """`step` is a line of `metrics.jsonl`. A step that comes again, after a resume, starts anew."""
        number = int(step["step"])
        if number <= self.last:
            for state in self.states.values():
                if state.alarm:
                    state.alarm.ended = number
            self._start()
        self.last = number
        changed = (self._judge(rule, self.states[rule.name], step, number) for rule in self.rules)
        return [alarm for alarm in changed if alarm]

    def _judge(self, rule: Rule, state: _State, step: Mapping[str, Any], number: int) -> Alarm | None:
        now = rule.of(step)
        if now is None or (len(state.past) < rule.needs and math.isfinite(now)):
            if now is not None:
                state.past.append(now)
            return None
        value = rule.value(now, state.past) if math.isfinite(now) else math.inf
        if state.alarm is None:
            if value < rule.on:
                state.above = 0
                state.past.append(now)
                return None
            state.first = number if state.above == 0 else state.first
            state.above += 1
            if state.above < rule.patience:
                return None
            state.alarm = Alarm(rule.name, state.first, value, rule.why)
            state.above = state.below = 0
            self.alarms.append(state.alarm)
            return state.alarm
        state.alarm.worst = max(state.alarm.worst, value)
        state.below = state.below + 1 if value < rule.off else 0
        if state.below < rule.patience:
            return None
        ended, state.alarm = state.alarm, None
        ended.ended = number - rule.patience + 1
        state.below = 0
        state.past.append(now)
        return ended


def alarms(steps: Iterable[Mapping[str, Any]], rules: Iterable[Rule] = RULES) -> list[Alarm]:
    """All alarms of a run, in the order in which they went on."""
    watcher = Watcher(rules)
    for step in steps:
        watcher.see(step)
    return watcher.alarms

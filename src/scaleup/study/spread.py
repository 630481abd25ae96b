"""The time of a step and its error, from a few runs of many steps; speed-up and efficiency from two of them.

Steps of one run resemble each other more than steps of two runs: another day, other nodes, another neighbour.
So runs are what is counted. The time of a run is the median of its steps, which a slow step does not move;
the time of several runs is the geometric mean of those.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import CourseError

Runs = Sequence[Sequence[float]]  # seconds of the steps of each run, warm-up left out
DRAWS = 2000
LEVEL = 0.95
# Student's t at 97.5 % for 1, 2, 3 … degrees of freedom; beyond, the series of Cornish and Fisher is exact
# to three digits.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
Z = 1.95996


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval; `low` and `high` are None where there are too few runs to know."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float | None:
        """Half of the interval's width over the value."""
        return None if self.low is None else (self.high - self.low) / 2 / self.value

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.value:.3g} (error unknown)"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def medians(runs: Runs) -> list[float]:
    """The median step of each run. Raises CourseError for no runs, no steps, times that are not positive."""
    if not runs or not all(len(steps) for steps in runs):
        raise CourseError("A time needs at least one run with at least one step.")
    if not all(math.isfinite(second) and second > 0 for steps in runs for second in steps):
        raise CourseError("A step took no time, or one that is not a number. Give seconds.")
    return [statistics.median(steps) for steps in runs]


def spread(runs: Runs) -> float | None:
    """Standard deviation of the runs' medians over their mean; None for a single run."""
    found = medians(runs)
    return statistics.stdev(found) / statistics.mean(found) if len(found) > 1 else None


def student(freedom: int) -> float:
    """Student's t at 97.5 %."""
    if freedom <= len(T):
        return T[freedom - 1]
    z = Z
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def logarithms(runs: Runs, draw: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Bootstrap: the logarithm of the time as `draws` other studies might have found it, (draws,).

    Each draws as many runs as were made, with replacement. With k runs this alone is too sure: k runs lie
    closer to their own mean than to the true one, and their deviation is badly known. Both are put right by
    the factor sqrt(k / (k - 1)) t(k - 1) / 1.96 (Hesterberg, What teachers should know about the bootstrap,
    2015); t is Student's. `tests/study/test_spread.py` counts how often the truth lies within.
    """
    made = np.log(medians(runs))
    count = len(made)
    found = made[draw.integers(count, size=(draws, count))].mean(axis=1)
    return made.mean() + widening(count) * (found - made.mean())


def widening(runs: int) -> float:
    """The factor for so many runs: 9.2 for two, 2.7 for three, 1.6 for five, 1.2 for ten."""
    return math.sqrt(runs / (runs - 1)) * student(runs - 1) / Z


def interval(runs: Runs, seed: int = 1) -> Interval:
    """The seconds of a step. With one run the error is unknown: its steps say nothing of the next run."""
    value = math.exp(statistics.mean(map(math.log, medians(runs))))
    if len(runs) < 2:
        return Interval(value)
    found = logarithms(runs, np.random.default_rng(seed))
    return around(value, found)


def around(value: float, found: np.ndarray) -> Interval:
    """The middle 95 % of what was drawn, as logarithms."""
    low, high = np.exp(np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Interval(value, float(low), float(high))


def speed_up(base: Runs, runs: Runs, work: float = 1.0, seed: int = 1) -> Interval:
    """How many times as fast as the baseline the work is done; `work`: how many times as much a step does.

    Strong scaling has work 1; weak scaling has nodes / nodes of the baseline. Both times have an error, and
    the error of the baseline is in every point that is compared with it.
    """
    first, then = (math.exp(statistics.mean(map(math.log, medians(each)))) for each in (base, runs))
    value = work * first / then
    if min(len(base), len(runs)) < 2:
        return Interval(value)
    draw = np.random.default_rng(seed)
    return around(value, math.log(work) + logarithms(base, draw) - logarithms(runs, draw))


def efficiency(base: Runs, runs: Runs, nodes: float, work: float = 1.0, seed: int = 1) -> Interval:
    """The speed-up over the factor `nodes` = nodes / nodes of the baseline."""
    found = speed_up(base, runs, work, seed)
    if found.low is None:
        return Interval(found.value / nodes)
    return Interval(found.value / nodes, found.low / nodes, found.high / nodes)

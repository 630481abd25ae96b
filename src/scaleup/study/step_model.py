"""What a step's time consists of: a small model of known amounts, fitted to measured times.

seconds = sum over the terms of (seconds per unit) x (how many units a step has), each at least zero.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import CourseError

Amounts = Mapping[str, float]  # {term: how many units of it a step has}


@dataclass(frozen=True)
class Fit:
    """`costs` are {term: seconds per unit}; `errors` are predicted / measured - 1, point by point."""

    costs: dict[str, float]
    errors: tuple[float, ...]

    def parts(self, amounts: Amounts) -> dict[str, float]:
        """Seconds of each term of a step."""
        return {term: cost * amounts.get(term, 0.0) for term, cost in self.costs.items()}

    def seconds(self, amounts: Amounts) -> float:
        """Predicted seconds of a step."""
        return sum(self.parts(amounts).values())

    @property
    def worst(self) -> float:
        """The largest relative error, without its sign."""
        return max(map(abs, self.errors))


def fit(points: Sequence[Amounts], seconds: Sequence[float]) -> Fit:
    """Least squares of the relative errors, over the terms of the first point; no cost is below zero.

    Raises CourseError for fewer points than terms, for times that are not positive, and where the points do
    not tell two terms apart.
    """
    if not points or len(points) != len(seconds):
        raise CourseError(f"{len(points)} points and {len(seconds)} times do not belong together.")
    terms = list(points[0])
    if len(points) < len(terms):
        raise CourseError(
            f"{len(terms)} terms need as many points or more, and there are {len(points)}. Measure more "
            "numbers of nodes or both kinds of scaling, or leave out a term."
        )
    if min(seconds) <= 0:
        raise CourseError("A step took no time. Give seconds.")
    amounts = np.array([[point.get(term, 0.0) for term in terms] for point in points], dtype=float)
    relative = amounts / np.asarray(seconds, dtype=float)[:, None]
    scale = np.abs(relative).max(axis=0)
    empty = [term for term, most in zip(terms, scale, strict=True) if most == 0]
    if empty:
        raise CourseError(f"No point has any {empty[0]}: leave that term out.")
    if np.linalg.matrix_rank(relative / scale, tol=1e-6) < len(terms):
        raise CourseError(
            f"These points do not tell {' and '.join(terms)} apart: two of them grow alike. Leave one out."
        )
    found = nonnegative(relative / scale) / scale
    costs = dict(zip(terms, map(float, found), strict=True))
    errors = amounts @ found / np.asarray(seconds) - 1
    return Fit(costs, tuple(map(float, errors)))


def nonnegative(columns: np.ndarray) -> np.ndarray:
    """The x >= 0 for which columns @ x is nearest to 1 everywhere.

    The best is the free solution of some subset of the columns, the others being zero. With a handful of
    terms all subsets can be tried.
    """
    count = columns.shape[1]
    best, least = np.zeros(count), float(len(columns))
    for size in range(1, count + 1):
        for chosen in itertools.combinations(range(count), size):
            free, *_ = np.linalg.lstsq(columns[:, chosen], np.ones(len(columns)), rcond=None)
            if free.min() < 0:
                continue
            wrong = float(((columns[:, chosen] @ free - 1) ** 2).sum())
            if wrong < least * (1 - 1e-9):
                best, least = np.zeros(count), wrong
                best[list(chosen)] = free
    return best


def ring(nodes: int, devices: int, size: float) -> dict[str, float]:
    """What one ring all-reduce of `size` bytes sends between nodes of so many devices each.

    Neighbours in the ring are on one node wherever they can be, so that one message leaves a node at a time:
    2 (N - 1) messages one after the other, 2 (N - 1) / N x size bytes through each node's link; on a single
    node none. Source: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009.
    """
    if nodes == 1:
        return {"messages": 0.0, "bytes": 0.0}
    ranks = nodes * devices
    return {"messages": 2.0 * (ranks - 1), "bytes": 2 * (ranks - 1) / ranks * size}


# Communication that hides behind computing


@dataclass(frozen=True)
class Overlapped:
    """c + max(0, m - hidden x c) seconds; c = fixed + per_sequence x micro-batch, m = start + per_device x N.

    The part `hidden` of the computing c can go on while parameters and gradients travel, which takes m.
    Without `m > hidden x c` nothing is seen of it: that is the flat part of the curve, and its end the knee.
    """

    fixed: float
    per_sequence: float
    start: float
    per_device: float
    hidden: float
    errors: tuple[float, ...] = ()

    def computing(self, micro_batch: float) -> float:
        return self.fixed + self.per_sequence * micro_batch

    def exposed(self, micro_batch: float, devices: float) -> float:
        """Seconds of communication that nothing hides."""
        travels = self.start + self.per_device * devices
        return max(0.0, travels - self.hidden * self.computing(micro_batch))

    def seconds(self, micro_batch: float, devices: float) -> float:
        return self.computing(micro_batch) + self.exposed(micro_batch, devices)

    def knee(self, micro_batch: float) -> float:
        """Devices at which communication begins to show."""
        return (self.hidden * self.computing(micro_batch) - self.start) / self.per_device

    @property
    def typical(self) -> float:
        """The median relative error, without its sign."""
        return statistics.median(map(abs, self.errors))


def fit_overlapped(points: Sequence[tuple[float, float]], seconds: Sequence[float]) -> Overlapped:
    """Fit the model to (micro-batch, devices) and seconds, by least squares of the relative errors.

    For each `hidden` of a grid: which points show communication is guessed, the rest is linear and fitted,
    and the guess repeated with what was found. The best of all is taken.
    """
    if len(points) < 6 or len(points) != len(seconds):
        raise CourseError(f"Five numbers need six points or more with a time each, not {len(points)}.")
    measured = np.asarray(seconds, dtype=float)
    best: Overlapped | None = None
    for hidden in np.arange(0, 1.001, 0.05):
        for first in np.quantile([devices for _, devices in points], [0.3, 0.5, 0.7, 0.85]):
            shows = np.array([devices > first for _, devices in points])
            found = None
            for _ in range(20):
                found = overlapped_given(points, measured, float(hidden), shows)
                now = np.array([found.exposed(*point) > 0 for point in points])
                if (now == shows).all():
                    break
                shows = now
            if best is None or squares(found) < squares(best):
                best = found
    return best


def squares(found: Overlapped) -> float:
    return sum(error**2 for error in found.errors)


def overlapped_given(points, measured: np.ndarray, hidden: float, shows: np.ndarray) -> Overlapped:
    """The best other four numbers where it is given which points show communication."""
    rows = []
    for (micro_batch, devices), shown in zip(points, shows, strict=True):
        left = 1 - hidden * shown
        rows.append([left, left * micro_batch, float(shown), shown * devices])
    columns = np.array(rows) / measured[:, None]
    scale = np.where((most := np.abs(columns).max(axis=0)) > 0, most, 1.0)
    four = nonnegative(columns / scale) / scale
    made = Overlapped(*map(float, four), hidden)
    errors = tuple(float(made.seconds(*point) / t - 1) for point, t in zip(points, measured, strict=True))
    return Overlapped(*map(float, four), hidden, errors)

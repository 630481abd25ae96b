"""The alpha-beta model, fitted to measured times: a message costs alpha, a latency, and beta per byte."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import CourseError


@dataclass(frozen=True)
class AlphaBeta:
    """seconds(bytes) = alpha + beta x bytes; `alpha` in seconds, `beta` in seconds per byte.

    Source: Hockney, The communication challenge for MPP, 1994.
    """

    alpha: float
    beta: float

    def seconds(self, size: float) -> float:
        """Predicted seconds for `size` bytes."""
        return self.alpha + self.beta * size

    @property
    def bandwidth(self) -> float:
        """Bytes per second that a very large message approaches."""
        return 1 / self.beta

    @property
    def half_size(self) -> float:
        """Bytes at which half of the time is latency: below it latency rules, above it bandwidth."""
        return self.alpha / self.beta


def fit(seconds: Mapping[int, Sequence[float]]) -> AlphaBeta:
    """The model of {bytes: measured seconds}, by least squares of the *relative* errors of the medians.

    With absolute errors the largest message alone would decide, and alpha would be noise. Raises CourseError
    for fewer than two sizes, for times that are not positive, and where the best line has a part below zero.
    """
    if len(seconds) < 2:
        raise CourseError(f"A line needs two sizes or more, and {len(seconds)} was measured.")
    medians = {size: statistics.median(times) for size, times in seconds.items()}
    if min(medians.values()) <= 0:
        raise CourseError("A measured time is not positive. Give seconds, with the start subtracted.")
    # Minimise the sum of ((alpha + beta s - t) / t)^2: two linear equations.
    weights = [(size, time, 1 / time**2) for size, time in medians.items()]
    w, ws, wss = (sum(each * size**power for size, _, each in weights) for power in range(3))
    wt, wst = (sum(each * time * size**power for size, time, each in weights) for power in range(2))
    determinant = w * wss - ws**2
    alpha, beta = (wss * wt - ws * wst) / determinant, (w * wst - ws * wt) / determinant
    if alpha <= 0 or beta <= 0:
        raise CourseError(
            f"The best line has alpha {alpha:.1e} s and beta {beta:.1e} s per byte; both must be positive. "
            "Measure sizes that are further apart, with more repeats."
        )
    return AlphaBeta(alpha, beta)

"""How long a piece of work takes on the device, with its spread."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timings:
    """Repeated measurements in seconds, warm-up already removed."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range divided by the median: half of the runs lie within this band."""
        if len(self.seconds) < 2:
            return float("nan")
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / self.median

    def rate(self, amount: float) -> float:
        """`amount` per second at the median, e.g. tokens per step -> tokens per second."""
        return amount / self.median

    @property
    def scatter(self) -> float:
        """Standard deviation of a single run, divided by the mean."""
        return statistics.stdev(self.seconds) / statistics.mean(self.seconds)

    @property
    def precision(self) -> float:
        """How well these runs know their mean: half the width of its 95 % interval, divided by the mean."""
        return 1.96 * self.scatter / math.sqrt(len(self.seconds))

    def runs_for(self, precision: float) -> int:
        """Runs needed before the mean is known to `precision` (0.05 = 5 %) with 95 % confidence.

        n = (1.96 s / precision)^2 for independent runs of relative standard deviation s.
        """
        return max(2, math.ceil((1.96 * self.scatter / precision) ** 2))


def repeat(function: Callable[[], object], repeats: int = 10, warmup: int = 2) -> Timings:
    """Call `function` warmup + repeats times and keep the last `repeats` durations."""
    seconds = []
    for _ in range(warmup + repeats):
        synchronize()
        start = time.perf_counter()
        function()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return Timings(tuple(seconds[warmup:]))


def synchronize() -> None:
    """Wait for the GPU's queued work: without this a clock measures only how fast work is submitted."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device() -> torch.device:
    """The accelerator this process trains on, or the CPU."""
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )

"""How well one measured step predicts a larger run: `python -m scaleup.plan.evidence.calibrate`.

Published series of runs, each on more and more devices, are predicted at their largest from their smallest.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...paths import root
from ...words import markdown_table
from .. import measured
from ..given_machine import machine_from
from ..layout import SOFTWARE, Layout, Run
from ..question import machine_facts
from ..shapes import Shape
from ..steptime import step_time
from .read_runs import read_table

RUNS = "data/published_runs.csv"
SHARDING = "data/sharding_runs.csv"
GROWTH = 4  # a series is one where its largest run has so many times the devices of its smallest
# The model of SHARDING: its file of sources says what was inferred.
MODALITIES = Shape(
    32, 2560, 32, 10240, 50304, gated=False, tied=True, bias=True, norm_vectors=2, positions=4096
)

Point = tuple[Run, float]  # a run and its measured seconds per step


@dataclass(frozen=True)
class Series:
    """One training on more and more devices. `points` by devices."""

    source: str
    name: str
    points: tuple[Point, ...]

    @property
    def growth(self) -> float:
        return self.points[-1][0].layout.devices / self.points[0][0].layout.devices

    def ratio(self) -> float:
        """Measured / predicted seconds of the largest run, predicted from the time of the smallest."""
        first, last = self.points[0], self.points[-1]
        factor = measured.factor([first])
        return last[1] / (factor * step_time(last[0]).total)

    @property
    def error(self) -> float:
        """Predicted / measured - 1 of the largest run, calibrated on the smallest."""
        return 1 / self.ratio() - 1

    @property
    def plain_error(self) -> float:
        """The same without calibration."""
        run, seconds = self.points[-1]
        return step_time(run).total / seconds - 1


def published() -> list[tuple[tuple, tuple, Run, float]]:
    """(what all runs of a series share, what they should share as well, run, seconds) of each trusted row."""
    found = []
    for reading in read_table(root() / RUNS):
        run, row = reading.run, reading.row
        if run is None or not reading.measured_s or row["status"] != "ok" or row["trust"] not in "AB":
            continue
        w = run.layout
        device = run.machine.accelerator.name
        share = (row["src_key"], row["model"], device, run.seq, run.bits, row.get("sharding") or "")
        more = (w.tp, w.pp, w.cp, w.ep, w.micro_batch, w.recompute)
        found.append((share, more, run, reading.measured_s))
    if not any(share[0].startswith("modalities") for share, *_ in found):
        found += fully_sharded()
    return found


def fully_sharded() -> Iterable[tuple[tuple, tuple, Run, float]]:
    """The fully sharded runs of SHARDING: one micro-batch per device and step."""
    with open(root() / SHARDING, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["sharding"] != "full":
                continue
            devices, micro = int(row["gpus"]), int(row["micro_batch"])
            machine, _, _ = machine_from(machine_facts(row["machine"]))
            layout = Layout(dp=devices, zero=3, micro_batch=micro)
            run = Run(MODALITIES, 4096, devices * micro, layout, machine, SOFTWARE["fsdp"])
            seconds = micro * 4096 / float(row["tokens_per_s_per_gpu"])
            share = (
                "modalities",
                f"GPT 2.7B on {row['machine']}",
                machine.accelerator.name,
                4096,
                16,
                "full",
            )
            yield share, (micro,), run, seconds


def series() -> list[Series]:
    """Every series of the published runs that grows by GROWTH.

    Runs of one layout and micro-batch; where a model has no such series, runs of any layout, as published.
    """
    strict, loose = defaultdict(list), defaultdict(list)
    for share, more, run, seconds in published():
        strict[share, more].append((run, seconds))
        loose[share].append((run, seconds))
    found = [_series(share, f", {more}", points) for (share, more), points in strict.items()]
    found = [each for each in found if each.growth >= GROWTH]
    have = {(each.source, each.name.split(", (")[0]) for each in found}
    for share, points in loose.items():
        each = _series(share, "", points)
        if each.growth >= GROWTH and (each.source, each.name) not in have:
            found.append(each)
    return sorted(found, key=lambda each: (each.source, each.name))


def _series(share: tuple, more: str, points: Sequence[Point]) -> Series:
    source, model, device, seq, bits, sharding = share
    name = f"{model}, {device}, {seq} tokens, {bits} bit{', ' if sharding else ''}{sharding}"
    return Series(source, name + more, tuple(sorted(points, key=lambda point: point[0].layout.devices)))


def quantile(values: Sequence[float], share: float) -> float:
    """Between the two nearest of the sorted values."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def interval(some: Sequence[Series]) -> tuple[float, float, float]:
    """10th percentile, median and 90th percentile of measured / predicted over some series."""
    ratios = [each.ratio() for each in some]
    return tuple(round(quantile(ratios, share), 2) for share in (0.1, 0.5, 0.9))


def covered(some: Sequence[Series]) -> float:
    """Share of the series whose largest run lies within the interval of all others."""
    inside = 0
    for one in some:
        low, _, high = interval([each for each in some if each is not one])
        inside += low <= one.ratio() <= high
    return inside / len(some)


def by_source(some: Iterable[Series]) -> dict[str, list[Series]]:
    found = defaultdict(list)
    for each in some:
        found[each.source].append(each)
    return dict(sorted(found.items()))


def main() -> None:
    some = series()
    rows = [
        [
            each.source,
            each.name,
            f"{each.points[0][0].layout.devices} to {each.points[-1][0].layout.devices}",
            f"{each.plain_error:+.1%}",
            f"{each.error:+.1%}",
        ]
        for each in some
    ]
    print(markdown_table(["source", "series", "devices", "error without", "error calibrated"], rows))
    print()
    rows = []
    for source, own in by_source(some).items():
        errors = [
            statistics.median(abs(getattr(each, what)) for each in own) for what in ("plain_error", "error")
        ]
        rows.append([source, str(len(own)), *(f"{error:.1%}" for error in errors)])
    errors = [
        statistics.median(abs(getattr(each, what)) for each in some) for what in ("plain_error", "error")
    ]
    rows.append(["all", str(len(some)), *(f"{error:.1%}" for error in errors)])
    print(markdown_table(["source", "series", "median error without", "median error calibrated"], rows))
    close = sum(abs(each.error) <= 0.1 for each in some)
    low, middle, high = interval(some)
    print(f"\n{close} of {len(some)} series are predicted at their largest within 10 %.")
    print(
        f"Measured / predicted: {low:g} to {high:g} for eight in ten, {middle:g} in the median; "
        f"the interval of all other series holds {covered(some):.0%} of them."
    )


if __name__ == "__main__":
    main()

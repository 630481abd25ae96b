"""Fit the numbers of each accelerator to published runs: few numbers, many runs, no number per source.

Two more numbers belong to programs, not to devices: the pauses between kernels of one, the slow collectives
inside another's pipeline stages. They are fitted together with the device on which they can be told apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable

from ..accelerators import ACCELERATORS, Efficiency
from ..layout import Run
from ..steptime import step_time

NAMES = tuple(field.name for field in dataclasses.fields(Efficiency))
BOUNDS = {
    "matmul": (0.2, 0.95),
    "attention": (0.05, 0.9),
    "memory": (0.2, 0.95),
    "link": (0.1, 0.95),
    "network": (0.05, 0.95),
    "layer_s": (1e-4, 6e-3),
    "hop_s": (1e-6, 1e-3),
    "pause_s": (0.0, 0.03),
    "stage_hop_s": (0.0, 1e-3),
}
FIRST = Efficiency(matmul=0.7, attention=0.25, memory=0.7, link=0.7, network=0.5, layer_s=0.003, hop_s=4e-5)
PROGRAMS = {
    "A100": {"pause_s": 0.003},
    "H100": {"stage_hop_s": 3e-4},
}  # where a program's number is told apart
LARGEST_LOSS = (
    0.5  # a run that is off by more than a factor of 1.6 pulls no harder than one that is off by that
)
PULL = 0.002  # towards the first guess: a number that no run depends on stays there, or at 0

Numbers = dict[str, float]
Sample = tuple[Run, float, float]  # a run, its measured seconds, its weight


def weighted(runs: Iterable[tuple[Run, float, str]]) -> list[Sample]:
    """(run, seconds, source) -> samples: a source of n runs weighs as much as the square root of n."""
    runs = list(runs)
    count = Counter(source for _, _, source in runs)
    return [(run, seconds, count[source] ** -0.5) for run, seconds, source in runs]


def with_numbers(run: Run, numbers: Numbers) -> Run:
    """The same run with other fitted numbers for its device and its program."""
    efficiency = Efficiency(**{n: numbers[n] for n in NAMES})
    device = dataclasses.replace(run.machine.accelerator, efficiency=efficiency)
    program = run.software
    if program.pause_s and "pause_s" in numbers:
        program = dataclasses.replace(program, pause_s=numbers["pause_s"])
    if program.stage_hop_s and "stage_hop_s" in numbers:
        program = dataclasses.replace(program, stage_hop_s=numbers["stage_hop_s"])
    machine = dataclasses.replace(run.machine, accelerator=device)
    return dataclasses.replace(run, machine=machine, software=program)


def loss(samples: list[Sample], numbers: Numbers, first: Numbers) -> float:
    """Weighted mean of |log(predicted / measured)|, each capped, and the pull towards the first guess."""
    total = weights = 0.0
    for run, seconds, weight in samples:
        error = abs(math.log(step_time(with_numbers(run, numbers)).total / seconds))
        total += weight * min(error, LARGEST_LOSS)
        weights += weight
    pull = sum(abs(math.log(numbers[n] / first[n])) for n in NAMES)
    pull += sum(numbers[n] / first[n] for n in first if n not in NAMES)
    return total / max(1e-9, weights) + PULL * pull


def fit(samples: list[Sample], name: str, known: Numbers | None = None) -> Numbers:
    """The numbers of one accelerator: coordinate search from a few starts, the best of them.

    Each number in turn is multiplied and divided by a step while that lowers the loss. `known` numbers of
    programs are taken as they are.
    """
    first = dataclasses.asdict(FIRST) | PROGRAMS.get(name, {})
    free = tuple(first)
    fixed = {n: v for n, v in (known or {}).items() if n not in first}
    best: Numbers = first
    least = math.inf
    for matmul, memory, network in ((1, 1, 1), (1.2, 1, 1), (0.85, 0.7, 0.7)):
        start = first | {
            "matmul": first["matmul"] * matmul,
            "memory": first["memory"] * memory,
            "network": first["network"] * network,
        }
        found, at = _descend(samples, start, first, free, fixed)
        if at < least:
            best, least = found, at
    return best | fixed


def _descend(samples, start: Numbers, first: Numbers, free: tuple[str, ...], fixed: Numbers):
    best, least = start, loss(samples, start | fixed, first)
    for step in (1.25, 1.08, 1.03):
        moved, rounds = True, 0
        while moved and rounds < 4:
            moved, rounds = False, rounds + 1
            for name in free:
                low, high = BOUNDS[name]
                factors = (step, 1 / step) if name in NAMES else (step, 1 / step, 0.0)
                for factor in factors:
                    while True:
                        value = min(high, max(low, best[name] * factor))
                        trial = best | {name: value}
                        if value == best[name] or (at := loss(samples, trial | fixed, first)) >= least:
                            break
                        best, least, moved = trial, at, True
    return best, least


def fit_all(runs: Iterable[tuple[Run, float, str]]) -> dict[str, Numbers]:
    """{accelerator: its numbers} from (run, seconds, source). The A100 tells programs apart."""
    runs = list(runs)
    found: dict[str, Numbers] = {}
    for name in ("A100", "H100", "MI250X"):
        samples = weighted(r for r in runs if r[0].machine.accelerator.name == name)
        if samples:
            known = {"pause_s": found["A100"]["pause_s"]} if "A100" in found else {}
            found[name] = fit(samples, name, known)
    return found


def rounded(numbers: Numbers) -> Numbers:
    """Two significant figures are more than the runs support."""
    return {n: float(f"{value:.2g}") for n, value in numbers.items()}


def shipped() -> dict[str, Numbers]:
    """The numbers that the planner uses: those written in accelerators.py and layout.py."""
    from ..layout import SOFTWARE

    programs = {
        "pause_s": SOFTWARE["megatron-deepspeed"].pause_s,
        "stage_hop_s": SOFTWARE["nanotron"].stage_hop_s,
    }
    return {name: dataclasses.asdict(a.efficiency) | programs for name, a in ACCELERATORS.items()}

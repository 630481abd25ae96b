"""The sweep behind the lesson on scaling laws: `python -m tools.scaling_sweep`.

It trains what `data/scaling_runs.csv` does not hold yet, a run a core, and adds a row when a run ends:
interrupt it and start it again as you like.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm

from scaleup.computer.resources import usable_cores
from scaleup.decide.scaling_runs import BUDGETS, COLUMNS, Point, Row, load, on_budget, train
from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.text import corpus

DIMS = (8, 16, 32, 48, 64)
SMALL = 2e11  # the narrowest model runs only up to here: on the larger budgets it would take the longest
GRID = tuple(on_budget(flops, dim) for flops in BUDGETS for dim in DIMS if dim > 8 or flops <= SMALL)
FULL = (
    on_budget(4 * BUDGETS[-1], 64, purpose="held-out"),
    on_budget(2 * BUDGETS[-1], 96, purpose="held-out"),
    *sorted(GRID, key=lambda point: -point.steps),  # the longest first, so that no core waits at the end
    *(on_budget(BUDGETS[0], 32, seed=seed, purpose="seed") for seed in (2, 3)),
)
QUICK = (Point(8, 16), Point(8, 32))


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to the file, with the first line where there is none, in one write."""
    lines = [] if path.exists() else [",".join(COLUMNS)]
    lines += [",".join(map(str, dataclasses.astuple(row))) for row in rows]
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def cuts(point: Point, points: Sequence[Point]) -> list[int]:
    """Where to look at a grid point on its way: at the ends of the shorter runs of the same width."""
    if point.purpose != "grid":
        return []
    same = [other for other in points if other.purpose == "grid" and other.dim == point.dim]
    return sorted({other.steps for other in same if other.steps < point.steps})


def sweep(points: Sequence[Point], path: Path, workers: int) -> int:
    """Train the points that the file does not hold yet, `workers` at once on a core each; how many were."""
    if workers < 1:
        raise CourseError("A sweep needs at least one worker: --workers 1")
    known = {row.point for row in load(path) if row.finished} if path.exists() else set()
    missing = [point for point in points if point not in known]
    corpus.prepare()
    jobs = [(point, cuts(point, points)) for point in missing]
    bar = tqdm(total=len(jobs), desc="runs", unit="run", disable=not sys.stderr.isatty())
    with bar, multiprocessing.get_context("spawn").Pool(workers, start_worker) as pool:
        for rows in pool.imap_unordered(work, jobs):  # leaving the block ends the workers
            append(path, rows)
            bar.update()
    return len(missing)


def start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def work(job: tuple[Point, list[int]]) -> list[Row]:
    return train(*job)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.scaling_sweep", description="Train a law's runs.")
    parser.add_argument("--quick", action="store_true", help="two tiny runs of some seconds; needs --out")
    parser.add_argument("--out", type=Path, help="file of results (default: data/scaling_runs.csv)")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="runs at once")
    chosen = parser.parse_args(arguments)
    if chosen.quick and not chosen.out:
        parser.error("--quick needs --out FILE: its numbers are no part of the law")
    try:
        path = chosen.out or root() / "data" / "scaling_runs.csv"
        made = sweep(QUICK if chosen.quick else FULL, path, chosen.workers)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. The runs that had ended are kept; start again to go on.", file=sys.stderr)
        return 130
    print(f"{made} runs were missing and are trained. {path.name} holds them all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

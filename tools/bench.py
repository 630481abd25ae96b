"""How fast is the course's own code? Training beside transformers, a bare loop, two ranks, preparing data.

`make bench` measures here; `bench_page` writes the numbers, the figure and the page into `book/reference/`.
The contenders take turns step by step, so that whatever disturbs the machine hits all alike.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from scaleup import measure, ranks
from scaleup.computer.resources import usable_cores
from scaleup.config import Config, DataConfig, TrainConfig
from scaleup.errors import CourseError
from scaleup.measure import Timings
from scaleup.model import GPT, GPTConfig
from scaleup.paths import root, state
from scaleup.train import process_group, train
from scaleup.words import count

from .bench_data import WORK, measure_data
from .bench_feeding import fastest, measure_feeding
from .bench_page import millions, publish
from .contenders import COURSE, GPT2, LLAMA, assert_same_work, gpt2_near, llama_like, random_batch, stepper
from .progress import Progress

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LOOP_STEPS = 6  # in each block of the loop; the first one warms up


@dataclass(frozen=True)
class Sizes:
    """What to measure: pairs (shape, sequences per step), the peak's matrix (None: the usual), MB of text.

    One more round than `rounds` warms up.
    """

    shapes: tuple[tuple[GPTConfig, int], ...]
    rounds: int
    loop_blocks: int
    matmul: int | None
    megabytes: float  # of text to prepare
    preparings: int


FULL = Sizes(
    shapes=((GPTConfig(), 8), (GPTConfig(layers=6, heads=6, dim=384, hidden=1152), 4)),
    rounds=9,
    loop_blocks=6,
    matmul=None,
    megabytes=16,
    preparings=3,
)
QUICK = Sizes(
    shapes=((GPTConfig(layers=2, heads=2, dim=32, hidden=64, context=32), 2),),
    rounds=2,
    loop_blocks=1,
    matmul=256,
    megabytes=0.2,
    preparings=1,
)


def take_turns(
    steps: Mapping[str, Callable[[], None]], rounds: int, tick: Callable[[], None]
) -> dict[str, Timings]:
    """Seconds of every step. Each round calls all of them, each round starting with another one."""
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            steps[name]()
            seconds[name].append(time.perf_counter() - start)
        tick()
    return {name: Timings(tuple(found[1:])) for name, found in seconds.items()}


def speedup(ours: Timings, theirs: Timings) -> dict[str, float]:
    """How many times as fast `ours` is, compared round by round: the median and the quartiles."""
    ratios = [b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"median": round(statistics.median(ratios), 3), "low": round(low, 3), "high": round(high, 3)}


def rate(timings: Timings, tokens: int) -> dict[str, float]:
    return {"tokens_per_second": round(timings.rate(tokens), 1), "spread": round(timings.spread, 3)}


def measure_steps(sizes: Sizes, progress: Progress) -> tuple[list[dict], list[dict]]:
    """(shapes, steps): what competes, and how fast, for every size, dtype and number of threads."""
    shapes, steps = [], []
    for shape, sequences in sizes.shapes:
        torch.manual_seed(1)
        batch = random_batch(shape, sequences)
        course = GPT(shape)
        models = {COURSE: course, LLAMA: llama_like(course), GPT2: gpt2_near(shape)}
        counts = {name: measure.parameters(model) for name, model in models.items()}
        size = millions(counts[COURSE])
        losses = assert_same_work(course, models[LLAMA], batch)
        shapes.append(
            {
                "size": size,
                "shape": vars(shape),
                "sequences": sequences,
                "parameters": counts,
                "loss": losses,
            }
        )
        contenders = {name: stepper(model, batch) for name, model in models.items()}
        for threads in sorted({1, min(2, usable_cores())}):
            torch.set_num_threads(threads)
            for dtype_name, dtype in DTYPES.items():
                progress.part(f"{size} parameters, {dtype_name}, {count(threads, 'thread')}")
                peak = measure.matmul_peak(dtype, sizes.matmul, measure.device())
                turns = {
                    name: lambda step=step, dtype=dtype: step(dtype) for name, step in contenders.items()
                }
                times = take_turns(turns, sizes.rounds, progress.tick)
                # Before and after: a peak that somebody else's work cut short would flatter the MFU.
                peak = max(peak, measure.matmul_peak(dtype, sizes.matmul, measure.device()))
                tokens = sequences * shape.context
                flops = measure.flops_per_token(shape, shape.context)
                found = {
                    name: {**rate(timings, tokens), "mfu": round(timings.rate(tokens) * flops / peak, 4)}
                    for name, timings in times.items()
                }
                faster = {name: speedup(times[COURSE], times[name]) for name in (LLAMA, GPT2)}
                steps.append(
                    {
                        "size": size,
                        "dtype": dtype_name,
                        "threads": threads,
                        "peak_flops": round(peak),
                        "found": found,
                        "course_over": faster,
                    }
                )
    return shapes, steps


def measure_loop(sizes: Sizes, progress: Progress) -> dict[str, Any]:
    """`scaleup.train.train` beside the bare step, on the smallest shape, in blocks that take turns.

    The loop clocks its own steps: loading a batch, learning rate, clipping of gradients and all the rest, but
    not the line it writes into its log nor validation. Validation happens after the last step.
    """
    shape, sequences = sizes.shapes[0]
    threads = min(2, usable_cores())
    torch.set_num_threads(threads)
    progress.part(f"the course's loop, {count(threads, 'thread')}")
    name = f"benchmark-{os.getpid()}"
    settings = TrainConfig(
        steps=LOOP_STEPS, global_batch=sequences, micro_batch=sequences, validate_every=LOOP_STEPS
    )
    config = Config(shape, DataConfig(seq=shape.context), settings, out=name)
    step = stepper(GPT(shape), random_batch(shape, sequences))
    tokens = sequences * shape.context
    loop: list[float] = []
    bare: list[float] = []
    try:
        for _ in range(sizes.loop_blocks):
            loop += [tokens / done.tokens_per_second for done in train(config, quiet=True)[1:]]
            shutil.rmtree(state() / "runs" / name)
            bare += measure.repeat(step, repeats=LOOP_STEPS - 1, warmup=1).seconds
            progress.tick()
    finally:
        shutil.rmtree(state() / "runs" / name, ignore_errors=True)
    timings = Timings(tuple(loop)), Timings(tuple(bare))
    return {
        "size": millions(measure.parameters(GPT(shape))),
        "threads": threads,
        "loop": rate(timings[0], tokens),
        "bare": rate(timings[1], tokens),
        "loop_over_bare": round(timings[1].median / timings[0].median, 3),
    }


def measure_ranks(quick: bool, progress: Progress) -> list[dict]:
    """Two ranks of one thread beside one rank, taking turns within one run of `rank_part`."""
    progress.part("two ranks")
    arguments = ["--rank-part", *(["--quick"] if quick else [])]
    found = ranks.run("tools.bench", 2, *arguments, timeout=900, quiet=True).results[0]
    progress.tick()
    return found


def rank_part(sizes: Sizes) -> None:
    """Runs on each of two ranks. While rank 0 works alone, rank 1 waits in a barrier and takes no time."""
    found = []
    with process_group() as (rank, _, _):
        for shape, sequences in sizes.shapes:
            torch.manual_seed(1)
            single, shared = GPT(shape), GPT(shape)
            batch, double = random_batch(shape, sequences), random_batch(shape, 2 * sequences)
            alone, together = stepper(single, batch), stepper(DistributedDataParallel(shared), batch)
            whole = stepper(single, double)

            turns = {
                "one rank, one thread": ready_together(alone, rank == 0, 1),
                "two ranks, one thread each": ready_together(together, True, 1),
                "one rank, two threads": ready_together(whole, rank == 0, 2),
            }
            times = take_turns(turns, sizes.rounds, lambda: None)
            one, two, threads = times.values()
            tokens = sequences * shape.context
            weak, against = speedup(two, one), speedup(two, threads)
            found.append(
                {
                    "size": millions(measure.parameters(single)),
                    "sequences_per_rank": sequences,
                    "found": {
                        name: rate(timings, tokens if timings is one else 2 * tokens)
                        for name, timings in times.items()
                    },
                    "weak_scaling_efficiency": weak,
                    "ranks_over_threads": against,
                }
            )
        ranks.save_result(found)


def ready_together(step: Callable[[], None], mine: bool, threads: int) -> Callable[[], None]:
    """The step, if it is this rank's, then wait for the other rank: neither begins its next turn early."""

    def turn() -> None:
        if mine:
            torch.set_num_threads(threads)
            step()
        dist.barrier()

    return turn


def run(sizes: Sizes, quick: bool) -> dict[str, Any]:
    """Measure everything in these sizes; numbers, versions, cores and date as they go into benchmark.json."""
    if importlib.util.find_spec("transformers") is None:
        raise CourseError("The benchmark needs transformers. Run 'make bench', which installs it.")
    threads = torch.get_num_threads()
    turns = len(sizes.shapes) * len(DTYPES) * len({1, min(2, usable_cores())}) * (sizes.rounds + 1)
    rest = sizes.loop_blocks + 1 + len(WORK) * sizes.preparings + 1
    progress = Progress(turns + rest, "round")
    try:
        shapes, steps = measure_steps(sizes, progress)
        loop = measure_loop(sizes, progress)
        parallel = measure_ranks(quick, progress)
        data = measure_data(sizes.megabytes, sizes.preparings, progress.part, progress.tick)
    finally:
        progress.close()
        torch.set_num_threads(threads)
    return {
        "date": date.today().isoformat(),
        "cores": usable_cores(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        },
        "rounds": sizes.rounds,
        "shapes": shapes,
        "steps": steps,
        "loop": loop,
        "ranks": parallel,
        "data": data,
        "feeding": measure_feeding(sizes.rounds, fastest({"steps": steps}, COURSE)),
    }


def only_data(sizes: Sizes, before: Path) -> dict[str, Any]:
    """The numbers of an earlier run, with those of preparing data measured anew."""
    print("Everything but preparing data is kept as it was measured.", flush=True)
    told = partial(print, flush=True)
    data = measure_data(sizes.megabytes, sizes.preparings, told, lambda: None)
    return {**json.loads(before.read_text("utf-8")), "data": data}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description="Measure the course's code.")
    parser.add_argument("--quick", action="store_true", help="a tiny model for a few seconds; needs --out")
    parser.add_argument(
        "--out", type=Path, help="folder for page, figure and numbers (default: book/reference)"
    )
    parser.add_argument(
        "--only", choices=["data"], help="measure preparing data anew, and keep the other numbers"
    )
    parser.add_argument("--rank-part", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    sizes = QUICK if chosen.quick else FULL
    if chosen.rank_part:
        rank_part(sizes)
        return 0
    if chosen.quick and not chosen.out:
        parser.error("--quick needs --out FOLDER: its numbers are not for the book")
    try:
        home = root() / "book" / "reference"
        page = (home / "benchmark.md").read_text("utf-8")
        before = home / "benchmark.json"
        result = only_data(sizes, before) if chosen.only else run(sizes, chosen.quick)
        publish(result, page, chosen.out or home)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Wrote benchmark.md, benchmark.json and benchmark.png to {chosen.out or 'book/reference'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

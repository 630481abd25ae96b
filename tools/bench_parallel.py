"""What do the course's functions cost beside bare PyTorch calls? Per technique, on two ranks of this machine.

`python -m tools.bench_parallel` writes book/reference/benchmark-parallel.md and .json, as `make bench` does.
The course's step and the bare one take turns within one run, and are compared pair by pair. Accelerate is
measured where it can be imported; it is not among the course's packages.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.tensor.parallel import parallelize_module
from torch.nn.parallel import DistributedDataParallel

from scaleup import ranks
from scaleup.computer.resources import usable_cores
from scaleup.config import Config, DataConfig, ParallelConfig, TrainConfig
from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import refusals, tensor_split
from scaleup.parallel.stages import Chunk
from scaleup.paths import root
from scaleup.train import Share, make_optimizer, process_group
from scaleup.words import markdown_table

from .bench import ready_together, speedup, take_turns
from .contenders import random_batch

Step = Callable[[], None]
FULL, QUICK = GPTConfig(), GPTConfig(vocab_size=64, layers=2, heads=2, dim=16, hidden=24, context=16)
SEQUENCES, CLIP, ROUNDS, QUICK_ROUNDS = 8, 1.0, 40, 3
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TECHNIQUES = {
    "copies (DDP)": {"dp": 2},
    "shards (FSDP2)": {"shard": 2},
    "tensor, sequence": {"tp": 2},
    "pipeline, 1F1B": {"pp": 2},
}


def course(shape: GPTConfig, ways: dict[str, int]) -> Step:
    """A step as `scaleup train` takes it, on the same batch each time."""
    copies = ways.get("dp", 1) * ways.get("shard", 1)
    micro = 2 if "pp" in ways else SEQUENCES
    train = TrainConfig(global_batch=SEQUENCES * copies, micro_batch=micro, clip=CLIP)
    config = Config(shape, DataConfig(seq=shape.context), train, parallel=ParallelConfig(**ways))
    share = Share(config, refusals.settled(config, 2), torch.device("cpu"))
    optimizer = make_optimizer(share.model, train)
    batch = random_batch(shape, SEQUENCES)

    def step() -> None:
        share.step(zip(*(tensor.split(micro) for tensor in batch), strict=True))
        share.clip(CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return step


def trained(called: nn.Module, batch: tuple[Tensor, Tensor]) -> Step:
    """The bare step of a module that is called as a whole."""
    optimizer = make_optimizer(called, TrainConfig())

    def step() -> None:
        next_token_loss(called(batch[0]), batch[1]).backward()
        nn.utils.clip_grad_norm_(called.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare(shape: GPTConfig, technique: str) -> Step:
    """The same work in PyTorch's own calls."""
    torch.manual_seed(1)
    model, batch = GPT(shape), random_batch(shape, SEQUENCES)
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("ranks",))
    match technique:
        case "copies (DDP)":
            return trained(DistributedDataParallel(model), batch)
        case "shards (FSDP2)":
            for block in model.blocks:
                fully_shard(block, mesh=mesh)
            return trained(fully_shard(model, mesh=mesh, reshard_after_forward=False), batch)
        case "tensor, sequence":
            return trained(parallelize_module(model, mesh, tensor_split.plan(shape.layers)), batch)
    rank, half = mesh.get_local_rank(), shape.layers // 2
    layers = range(half) if rank == 0 else range(half, shape.layers)
    chunk = Chunk(model, layers, rank == 0, rank == 1)
    chunk.seq = shape.context
    stage = PipelineStage(chunk, rank, 2, torch.device("cpu"))
    schedule = Schedule1F1B(stage, SEQUENCES // 2, loss_fn=next_token_loss)
    optimizer = make_optimizer(chunk, TrainConfig())

    def step() -> None:
        schedule.step(batch[0]) if rank == 0 else schedule.step(target=batch[1], losses=[])
        squares = nn.utils.get_total_norm([p.grad for p in chunk.parameters()]).square()
        dist.all_reduce(squares)
        nn.utils.clip_grads_with_norm_(chunk.parameters(), CLIP, squares.sqrt())
        optimizer.step()
        optimizer.zero_grad()

    return step


def by_accelerate(shape: GPTConfig) -> Step | None:
    """Copies as Hugging Face Accelerate prepares them; None where it is not installed."""
    if importlib.util.find_spec("accelerate") is None:
        return None
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    torch.manual_seed(1)
    model, batch = GPT(shape), random_batch(shape, SEQUENCES)
    model, optimizer = accelerator.prepare(model, make_optimizer(model, TrainConfig()))

    def step() -> None:
        accelerator.backward(next_token_loss(model(batch[0]), batch[1]))
        accelerator.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return step


def together(step: Step) -> Step:
    """Both ranks begin at the same time, and the step has ended when both have."""

    def turn() -> None:
        step()
        dist.barrier()

    return turn


def cost(ours: Any, theirs: Any) -> dict[str, float]:
    """How much longer ours takes, pair by pair: median and quartiles, as a fraction."""
    ratios = [a / b - 1 for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"median": round(median, 4), "low": round(low, 4), "high": round(high, 4)}


def rank_part(shape: GPTConfig, rounds: int) -> None:
    """Runs on each of two ranks."""
    found: dict[str, Any] = {"techniques": {}}
    with process_group() as (rank, _, _):
        torch.set_num_threads(1)
        for name, ways in TECHNIQUES.items():
            steps = {"course": together(course(shape, ways)), "bare": together(bare(shape, name))}
            if name == "copies (DDP)" and (other := by_accelerate(shape)):
                steps["accelerate"] = together(other)
            times = take_turns(steps, rounds, lambda: None)
            found["techniques"][name] = {
                "bare_seconds": round(times["bare"].median, 5),
                "course": cost(times["course"], times["bare"]),
            }
            if "accelerate" in times:
                found["techniques"][name]["accelerate"] = cost(times["accelerate"], times["bare"])
        single = trained(GPT(shape), random_batch(shape, SEQUENCES))
        pair = course(shape, {"dp": 2})
        turns = {"one": ready_together(single, rank == 0, 1), "two": ready_together(pair, True, 1)}
        times = take_turns(turns, rounds, lambda: None)
        found["ddp_against_ideal"] = speedup(times["two"], times["one"])
    if "accelerate" in sys.modules:
        found["accelerate"] = sys.modules["accelerate"].__version__
    ranks.save_result(found)


def measured(quick: bool) -> dict[str, Any]:
    words = ("--rank-part", *(["--quick"] if quick else []))
    begun = time.perf_counter()
    found = ranks.run("tools.bench_parallel", 2, *words, timeout=3000, quiet=True).results[0]
    about = {
        "date": date.today().isoformat(), "python": platform.python_version(), "torch": torch.__version__,
        "cores": usable_cores(), "rounds": QUICK_ROUNDS if quick else ROUNDS,
        "seconds": round(time.perf_counter() - begun),
    }  # fmt: skip
    return about | found


def percent(cost: dict[str, float]) -> str:
    return f"{cost['median']:+.1%} ({cost['low']:+.1%} to {cost['high']:+.1%})"


def render(result: dict[str, Any]) -> str:
    version = result.get("accelerate")
    rows = []
    for name, found in result["techniques"].items():
        other = percent(found["accelerate"]) if "accelerate" in found else "—"
        rows.append([name, f"{found['bare_seconds'] * 1e3:.0f} ms", percent(found["course"]), other])
    header = ["technique", "bare PyTorch", "the course", f"Accelerate {version}" if version else "Accelerate"]
    ideal = result["ddp_against_ideal"]
    return "\n\n".join(
        (
            f"Measured on {result['date']} on {result['cores']} CPU cores, two ranks of one thread, with "
            f"Python {result['python']} and PyTorch {result['torch']}. {result['rounds']} pairs each.",
            markdown_table(header, rows, numbers=True),
            f"Two ranks with copies reach {ideal['median']:.0%} of the ideal (quartiles {ideal['low']:.0%} "
            f"and {ideal['high']:.0%}), which is twice what one rank alone does.",
        )
    )


def filled(page: str, result: dict[str, Any]) -> str:
    before, found_begin, rest = page.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found_begin or not found_end:
        raise CourseError(f"benchmark-parallel.md has lost its markers. Put {BEGIN} and {END} back.")
    return f"{before}{BEGIN}\n\n{render(result)}\n\n{END}{after}"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model for a few seconds; needs --out")
    parser.add_argument("--out", type=Path, help="folder for page and numbers (default: book/reference)")
    parser.add_argument("--rank-part", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    if chosen.rank_part:
        rank_part(*((QUICK, QUICK_ROUNDS) if chosen.quick else (FULL, ROUNDS)))
        return 0
    if chosen.quick and not chosen.out:
        parser.error("--quick needs --out FOLDER: its numbers are not for the book")
    home = root() / "book" / "reference"
    page = (home / "benchmark-parallel.md").read_text("utf-8")
    result = measured(chosen.quick)
    folder = chosen.out or home
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark-parallel.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (folder / "benchmark-parallel.md").write_text(filled(page, result), "utf-8")
    with contextlib.suppress(ValueError):
        folder = folder.relative_to(root())
    print(f"Wrote benchmark-parallel.md and benchmark-parallel.json to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

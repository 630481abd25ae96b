"""Smoke test: do all ranks meet, do they add up correctly, how fast do they do it?

Start it by torchrun as you would the training run, on its nodes, with its variables.
"""

import json
import os
import statistics
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

BYTES = 2**30 if torch.cuda.is_available() else 8 * 2**20
REPEATS, PATIENCE = 3, timedelta(seconds=60)


def sent() -> dict[str, int]:
    """Bytes that this node has sent by each interface so far, as the kernel counts."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    lines = [line.split(":") for line in lines if ":" in line]
    return {name.strip(): int(counts.split()[8]) for name, counts in lines}


def measure(buffer: torch.Tensor, group: dist.ProcessGroup | None) -> dict:
    """Median seconds of an all-reduce, bus bandwidth, bytes sent by interface."""
    dist.all_reduce(buffer, group=group)  # the first one also connects
    before, seconds = sent(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        dist.all_reduce(buffer, group=group)
        if buffer.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    dist.barrier(group=group)
    taken, ranks = statistics.median(seconds), dist.get_world_size(group)
    bus = 2 * (ranks - 1) / ranks * BYTES / taken  # bytes per second of a ring's rank
    after = sent()
    ways = {name: (after[name] - before[name]) / REPEATS for name in before}
    return {"seconds": taken, "bus": bus, "sent": ways}


def report(name: str, got: dict) -> None:
    """Print a line; interfaces with less than a tenth of the buffer are left out."""
    counts = sorted(got["sent"].items())
    ways = [f"{n} ≈ {much / 1e6:.1f} MB" for n, much in counts if much > BYTES / 10]
    taken, bus = got["seconds"] * 1e3, got["bus"] / 1e6
    print(f"{name}: ≈ {taken:.0f} ms, bus ≈ {bus:.0f} MB/s;", *ways, flush=True)


def main() -> None:
    gpu = torch.cuda.is_available()
    device = torch.device("cpu")
    if gpu:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    rank, world_size = dist.get_rank(), dist.get_world_size()
    here = int(os.environ["LOCAL_WORLD_SIZE"])

    total = torch.tensor(rank, device=device)
    dist.all_reduce(total)
    if total.item() != world_size * (world_size - 1) // 2:
        raise SystemExit(f"The {world_size} ranks add up to {total.item()}.")

    buffer = torch.ones(BYTES // 4, device=device)  # fp32
    found = {}
    for name, members in {
        "all ranks": None,  # the default group comes first: new groups may hang
        "one node": list(range(here)),
        "first rank of each node": list(range(0, world_size, here)),
    }.items():
        # Every rank must make the group, member or not.
        group = dist.new_group(members) if members else None
        dist.barrier()
        if members is None or rank in members:
            found[name] = measure(buffer, group)
        if rank == 0:
            report(name, found[name])
            Path("smoke.json").write_text(json.dumps(found))
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

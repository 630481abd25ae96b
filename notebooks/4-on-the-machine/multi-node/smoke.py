"""Smoke test: do all ranks meet, do they add up correctly, how fast is the way between them?

Started by torchrun like a training run, on the nodes and with the variables of that run.
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
    """Bytes that this node has sent by each of its interfaces so far, as the kernel counts them."""
    lines = [line.split(":") for line in Path("/proc/net/dev").read_text().splitlines() if ":" in line]
    return {name.strip(): int(counts.split()[8]) for name, counts in lines}


def measure(buffer: torch.Tensor, group: dist.ProcessGroup | None) -> dict:
    """Median seconds of an all-reduce, its bus bandwidth, and the bytes that this node sent by interface."""
    dist.all_reduce(buffer, group=group)  # the first one also connects
    before, seconds = sent(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        dist.all_reduce(buffer, group=group)
        if buffer.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    dist.barrier(group=group)
    taken, ranks, after = statistics.median(seconds), dist.get_world_size(group), sent()
    bus = 2 * (ranks - 1) / ranks * BYTES / taken  # what a rank of a ring sends each second
    return {"seconds": taken, "bus": bus, "sent": {n: (after[n] - before[n]) / REPEATS for n in before}}


def report(name: str, got: dict) -> None:
    """Print a line; interfaces with less than a tenth of the buffer are left out."""
    ways = [f"{n} ≈ {count / 1e6:.1f} MB" for n, count in sorted(got["sent"].items()) if count > BYTES / 10]
    print(f"{name}: ≈ {got['seconds'] * 1e3:.0f} ms, bus ≈ {got['bus'] / 1e6:.0f} MB/s;", *ways, flush=True)


def main() -> None:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    rank, world_size, here = dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_WORLD_SIZE"])

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
        group = dist.new_group(members) if members else None  # every rank must call this, member or not
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

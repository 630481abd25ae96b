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

MIB, REPEATS, PATIENCE = 8, 3, timedelta(seconds=60)
INTERFACES = os.environ.get("NCCL_SOCKET_IFNAME") or os.environ.get("GLOO_SOCKET_IFNAME") or "eth0"


def sent() -> int:
    """Bytes that this node has sent by its interfaces so far, as the kernel counts them."""
    lines = [line.split(":") for line in Path("/proc/net/dev").read_text().splitlines() if ":" in line]
    return sum(int(counts.split()[8]) for name, counts in lines if name.strip() in INTERFACES.split(","))


def measure(buffer: torch.Tensor, group: dist.ProcessGroup) -> dict[str, float]:
    """Median seconds of an all-reduce, and the bytes that this node sent for each."""
    dist.all_reduce(buffer, group=group)  # the first one also connects
    before, seconds = sent(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        dist.all_reduce(buffer, group=group)
        if buffer.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    dist.barrier(group=group)
    return {"seconds": statistics.median(seconds), "sent": (sent() - before) / REPEATS}


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

    buffer = torch.ones(MIB * 2**20 // 4, device=device)  # fp32
    found = {}
    for name, members in {
        "one node": list(range(here)),
        "first rank of each node": list(range(0, world_size, here)),
        "all ranks": list(range(world_size)),
    }.items():
        group = dist.new_group(members)  # every rank must call this, member or not
        dist.barrier()
        if rank in members:
            found[name] = measure(buffer, group)
        dist.barrier()
    if rank == 0:
        for name, got in found.items():
            time_taken, speed = got["seconds"], MIB * 2**20 / got["seconds"]
            print(f"{name}: ≈ {time_taken * 1e3:.0f} ms, ≈ {speed / 1e6:.0f} MB/s,", end=" ")
            print(f"this node sent ≈ {got['sent'] / 1e6:.1f} MB")
        Path("smoke.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""Every pair of nodes in turn: how long does 1 MiB take from one to the other?"""

import time

import torch
import torch.distributed as dist
from small_run import rank, save, world_size


def seconds(start: int, end: int, size: int) -> float:
    tensor, begin = torch.zeros(size // 4), time.perf_counter()
    if rank == start:
        dist.send(tensor, end)
    elif rank == end:
        dist.recv(tensor, start)
    dist.barrier()
    return time.perf_counter() - begin


pairs = [(a, b) for a in range(world_size) for b in range(world_size) if a != b]
for pair in pairs:
    seconds(*pair, 64)  # makes the connection
save("link", [(*pair, seconds(*pair, 2**20)) for pair in pairs])

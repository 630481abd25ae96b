"""Times of all-reduces by hand. srun starts one task per rank; argument: the file for the times."""

import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from scaleup.parallel import ring, tree

SMALL = 2**9  # bytes; timed many times, since its relative error weighs most in the fit
PAIR = [SMALL] * 20 + [2**18, 2**20, 4 * 2**20]
ALL = [SMALL] * 20 + [2 * 2**20]

torch.set_num_threads(1)
os.environ |= {"RANK": os.environ["SLURM_PROCID"], "WORLD_SIZE": os.environ["SLURM_NTASKS"]}
dist.init_process_group("gloo")
pair = dist.new_group([0, 1])  # all ranks make it, members or not
full = torch.ones(2**18)


def seconds(way, size: int, group: dist.ProcessGroup | None = None) -> float:
    """Seconds of one all-reduce of `size` bytes on the rank that takes longest."""
    buffer = torch.ones(size // 4)
    dist.barrier(group)
    if size > SMALL:
        ring.all_reduce(full, group)  # uses up what the throttle lets through at once
    start = time.perf_counter()
    way.all_reduce(buffer, group)
    taken = torch.tensor(time.perf_counter() - start, dtype=torch.float64)
    dist.all_reduce(taken, op=dist.ReduceOp.MAX, group=group)
    return taken.item()


times = {"pair": {}, "ring": {}, "tree": {}}
repeats = 5 if dist.get_world_size() > 2 else 20
for _ in range(repeats):  # all sizes in turn, so that a disturbance hits each of them
    for size in PAIR if dist.get_rank() < 2 else []:
        times["pair"].setdefault(size, []).append(seconds(ring, size, pair))
    dist.barrier()
    for size in ALL if dist.get_world_size() > 2 else []:
        for name, way in {"ring": ring, "tree": tree}.items():
            times[name].setdefault(size, []).append(seconds(way, size))
if dist.get_rank() == 0:
    Path(sys.argv[1]).write_text(json.dumps(times))
dist.destroy_process_group()

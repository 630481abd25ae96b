"""Times of all-reduces by hand. srun starts one task per rank; argument: the file for the times."""

import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from scaleup.parallel import ring, tree

REPEATS = 5
SIZES = [4 * 2**10, 2**20, 2 * 2**20, 4 * 2**20]  # bytes

torch.set_num_threads(1)
os.environ |= {"RANK": os.environ["SLURM_PROCID"], "WORLD_SIZE": os.environ["SLURM_NTASKS"]}
dist.init_process_group("gloo")
pair = dist.new_group([0, 1])  # all ranks make it, members or not
full = torch.ones(2**18)  # 1 MiB


def seconds(way, size: int, group: dist.ProcessGroup | None) -> float:
    """One all-reduce of `size` bytes, from when all ranks are there until it has ended here."""
    buffer = torch.ones(size // 4)
    ring.all_reduce(full, group)  # uses up what the throttle lets through at once
    dist.barrier(group)
    start = time.perf_counter()
    way(buffer, group)
    return time.perf_counter() - start


times = {"pair": {}, "ring": {}, "tree": {}}
for _ in range(REPEATS):  # all sizes in turn, so that a disturbance hits each of them
    for size in SIZES if dist.get_rank() < 2 else []:
        times["pair"].setdefault(size, []).append(seconds(ring.all_reduce, size, pair))
    dist.barrier()
    for name, way in {"ring": ring, "tree": tree}.items():
        for size in (SIZES[0], SIZES[-1]) if dist.get_world_size() > 2 else []:
            times[name].setdefault(size, []).append(seconds(way.all_reduce, size, None))
if dist.get_rank() == 0:
    Path(sys.argv[1]).write_text(json.dumps(times))
dist.destroy_process_group()

"""Four ranks meet; the last dies half a second later, while the others wait."""

import os
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

rank, world_size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
patience = timedelta(seconds=60)
dist.init_process_group("gloo", rank=rank, world_size=world_size, timeout=patience)
if rank == 3:
    time.sleep(0.5)
    os._exit(1)
start = time.perf_counter()
try:
    dist.all_reduce(torch.tensor(rank))
except RuntimeError as error:
    said = "connection lost" if "Connection" in str(error) else str(error)
    Path(f"one-dies-{rank}.txt").write_text(
        f"rank {rank}: {said} after ≈ {time.perf_counter() - start:.1f} s\n"
    )

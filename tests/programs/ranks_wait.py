"""A run that hangs: rank 0 waits in a collective that rank 1 never calls. Each rank leaves a note first."""

import os
import sys
import time
from pathlib import Path

import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
print("waiting")
part = Path(sys.argv[1], f"{rank}.part")
part.write_text(os.environ["SCALEUP_RUN"])
part.rename(part.with_suffix(".note"))
if rank == 0:
    dist.barrier()
time.sleep(600)

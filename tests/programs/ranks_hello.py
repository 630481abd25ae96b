"""Each rank says hello, adds up the ranks, and saves what it saw."""

import os
import sys

import torch
import torch.distributed as dist

from scaleup import ranks

dist.init_process_group("gloo")
rank = dist.get_rank()
total = torch.tensor([rank + 1.0])
dist.all_reduce(total)
print(f"hello, the sum is {total.item():.0f}")
print(f"warned by {rank}", file=sys.stderr)
print("Traceback (most recent call last): handled", file=sys.stderr)
ranks.save_result(
    {
        "rank": rank,
        "sum": total.item(),
        "args": sys.argv[1:],
        "greeting": os.environ.get("GREETING"),
        "threads": os.environ["OMP_NUM_THREADS"],
        "run": os.environ["SCALEUP_RUN"],
    }
)
dist.destroy_process_group()

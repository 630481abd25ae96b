"""Every rank says who it is and counts the ranks that it meets."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

dist.init_process_group("gloo", timeout=timedelta(seconds=20))
met = torch.tensor(1)
dist.all_reduce(met)
place = f"{os.uname().nodename}, local rank {os.environ['LOCAL_RANK']}"
print(f"rank {dist.get_rank()} of {dist.get_world_size()} on {place}: met {met.item()} ranks", flush=True)
dist.destroy_process_group()

"""Activations are kept in a list for a plot, and the list grows."""

import resource

import psutil
import torch

now = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (now + 300 * 2**20,) * 2)  # in place of the job's --mem
kept = []
for step in range(1000):
    kept.append(torch.ones(16, 1024, 1024))  # 64 MiB
    print(f"step {step}: resident {psutil.Process().memory_info().rss / 2**20:,.0f} MiB", flush=True)

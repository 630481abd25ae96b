"""Three ranks train under torchrun; one is killed, as the kernel does when memory runs out."""

import os
import signal
import time
import traceback

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank = dist.get_rank()
for step in range(1000):
    if rank == 2 and step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    try:
        dist.all_reduce(torch.ones(1000))
    except RuntimeError:
        traceback.print_exc()
        time.sleep(60)  # as a rank would that waits in NCCL, until torchrun ends it

"""Ten steps; one rank's device is slow. Each rank notes when it began, was ready, and had the sum."""

import time

import torch.distributed as dist
from small_run import batch_of, copy_of_model, own_gradient, rank, save, update, world_size

model, stamps = copy_of_model(), []
dist.barrier()
for step in range(10):
    begin = time.time()
    _, own = own_gradient(model, *batch_of(step))
    time.sleep(0.25 if rank == 2 else 0.05)  # in place of a device, and of one that is too hot
    ready = time.time()
    dist.all_reduce(own)
    stamps.append((begin, ready, time.time()))
    update(model, own / world_size)
save("straggler", stamps)

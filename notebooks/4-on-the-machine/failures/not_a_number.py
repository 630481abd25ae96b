"""Six steps; one sample of rank 1 is broken in the fourth. First without a guard, then with one."""

import math

import torch
import torch.distributed as dist
from small_run import batch_of, copy_of_model, own_gradient, rank, save, update, world_size

for guarded in (False, True):
    model, seen = copy_of_model(), []
    for step in range(6):
        inputs, targets = batch_of(step)
        if rank == 1 and step == 3:
            inputs[7, 0] = math.inf
        loss, own = own_gradient(model, inputs, targets)
        norm = own.norm().item()  # this rank's own, before it is mixed
        good = torch.tensor(float(own.isfinite().all()))
        dist.all_reduce(own)
        if guarded:
            dist.all_reduce(good, dist.ReduceOp.MIN)
        if not guarded or good:  # the same answer on every rank
            update(model, own / world_size)
        seen.append((loss, norm))
    save("guarded" if guarded else "unguarded", [[str(round(x, 4)) for x in row] for row in seen])

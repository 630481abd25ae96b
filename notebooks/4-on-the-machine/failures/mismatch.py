"""Rank 0 makes another call than the rest. Everything that tells is written before the time-out."""

import faulthandler
import json
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from small_run import batch_of, copy_of_model, own_gradient, rank
from torch._C._distributed_c10d import _dump_fr_trace_json

group = dist.new_group(timeout=timedelta(seconds=4))
stack = Path(f"stack-{rank}.txt").open("w")  # noqa: SIM115 - open until the end
model = copy_of_model()
for step in range(3):
    faulthandler.dump_traceback_later(2, file=stack)  # if this step takes longer
    loss, own = own_gradient(model, *batch_of(step))
    try:
        if step == 2 and rank == 0:
            dist.broadcast(torch.tensor(loss), 0, group=group)  # "only rank 0 logs"
            dist.barrier(group=group)
        dist.all_reduce(own, group=group)
    except RuntimeError as error:
        Path(f"hang-{rank}.txt").write_text(f"[rank{rank}]: RuntimeError: {error}\n")
        break
    faulthandler.cancel_dump_traceback_later()
Path(f"recorder-{rank}.json").write_text(json.dumps(json.loads(_dump_fr_trace_json())["entries"]))

"""Two ranks train a small model with a planted fault, and write what `scaleup watch` reads.

torchrun --standalone --nproc-per-node=2 planted.py spike straggler stall
"""

import json
import statistics
import sys
import time
from types import SimpleNamespace

import torch
import torch.distributed as dist
from small_run import BATCH, RATE, SEQ, SmallRun
from torch.nn.parallel import DistributedDataParallel

from scaleup.train.run_folder import run_folder
from scaleup.train.step_record import peak_memory

STEPS, FAULT = 70, range(40, 56)


def train(fault: str, rank: int, ranks: int) -> None:
    run = SmallRun(rank, ranks)
    run.called = DistributedDataParallel(run.model)
    lines, kept, usual = [], [], 0.0
    for step in range(STEPS):
        begun, here = time.perf_counter(), step in FAULT
        batch = run.batch(step, broken=fault == "spike" and step in FAULT[:4])
        if fault == "stall" and here:
            time.sleep(1.5 * usual)  # the file system answers late
        wait = time.perf_counter() - begun
        extra = 16 if fault == "straggler" and here and rank == 1 else 0
        if fault == "pause" and step in (25, 50):
            time.sleep(4 * usual)  # all ranks save something
        if fault == "leak":
            kept.append(torch.ones(2**21))  # 8 MiB that nobody gives back
        if fault == "nan" and step == FAULT[0]:
            run.model.head.weight.data[0] = float("inf")
        loss, norm, own = run.train(*batch, rate=RATE * min(1, (step + 1) / 10), extra=extra)
        everyone = [torch.empty(2) for _ in range(ranks)]
        dist.all_gather(everyone, torch.tensor([loss, own]))
        seconds = time.perf_counter() - begun
        lines.append({
            "step": step,
            "loss": statistics.mean(each[0].item() for each in everyone),
            "gradient_norm": norm.item(),
            "tokens_per_second": ranks * BATCH * SEQ / seconds,
            "seconds": seconds,
            "input_wait": wait,
            "own_seconds": [round(each[1].item(), 5) for each in everyone],
            "memory_bytes": peak_memory(torch.device("cpu")),
            "at": time.time(),
        })  # fmt: skip
        if step == 20:
            usual = statistics.median(line["seconds"] for line in lines[5:])
    if rank == 0:
        folder = run_folder(SimpleNamespace(out=f"planted-{fault}"))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for name in sys.argv[1:]:
        train(name, dist.get_rank(), dist.get_world_size())
    dist.destroy_process_group()

"""One step of pipeline-parallel training of the course's GPT, on a laptop's cores or a machine's GPUs.

torchrun --standalone --nproc-per-node=4 pipeline_parallel.py 1F1B
"""

import os
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig
from scaleup.parallel.stages import stages
from scaleup.text import corpus
from scaleup.text.windows import Windows

BATCH, SEQ, MICRO_BATCHES = 8, 64, 8
CONFIG = GPTConfig(layers=8, dim=64, hidden=192)


def main(schedule: str) -> None:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda:" + os.environ["LOCAL_RANK"] if gpu else "cpu")
    if gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if gpu else "gloo")
    ranks = dist.get_world_size()
    mesh = init_device_mesh(device.type, (ranks,), mesh_dim_names=("pp",))

    torch.manual_seed(1)  # the same on all ranks: each keeps its part of one model
    model = GPT(CONFIG).to(device)
    pipeline = stages(model, mesh, MICRO_BATCHES, schedule)
    optimizer = torch.optim.SGD(pipeline.parameters(), lr=0.5)

    dataset = Windows(corpus.prepare(quiet=True).tokens("train"), SEQ)
    windows = [dataset[number] for number in range(BATCH)]
    inputs, targets = (torch.stack(part).to(device) for part in zip(*windows, strict=True))
    loss = pipeline.step(inputs, targets)  # None, except where the last layers are
    optimizer.step()
    parity.record(model, loss)
    if loss is not None:
        print(f"{schedule}: loss {loss.item():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])

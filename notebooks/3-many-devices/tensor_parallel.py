"""Tensor-parallel training of the course's GPT, on a laptop's cores or the GPUs of one node.

torchrun --standalone --nproc-per-node=2 tensor_parallel.py
"""

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import loss_parallel

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import tensor_split
from scaleup.text import corpus
from scaleup.text.windows import Windows

BATCH, SEQ, STEPS = 4, 128, 5


def main() -> None:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda:" + os.environ["LOCAL_RANK"] if gpu else "cpu")
    if gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if gpu else "gloo")
    mesh = init_device_mesh(device.type, (dist.get_world_size(),), mesh_dim_names=("tp",))

    torch.manual_seed(dist.get_rank())  # different on purpose: rank 0's weights are dealt out
    model = tensor_split.split(GPT(GPTConfig()).to(device), mesh, loss_parallel=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    dataset = Windows(corpus.prepare(quiet=True).tokens("train"), SEQ)
    for step in range(STEPS):
        windows = [dataset[BATCH * step + number] for number in range(BATCH)]
        inputs, targets = (torch.stack(part).to(device) for part in zip(*windows, strict=True))
        with loss_parallel():  # the same tokens on every rank, another part of the logits
            loss = next_token_loss(model(inputs), targets)
            loss.backward()
        optimizer.step()
        if step == 0:
            parity.record(model, loss.full_tensor())
        optimizer.zero_grad()
    print(f"loss {loss.full_tensor().item():.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

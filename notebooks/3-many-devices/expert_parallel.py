"""Expert-parallel training of a mixture of experts: each rank holds its share of the experts.

torchrun --standalone --nproc-per-node=2 expert_parallel.py
"""

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import experts
from scaleup.text import corpus
from scaleup.text.windows import Windows

GLOBAL_BATCH, SEQ, STEPS, EXPERTS = 8, 64, 3, 8


def main() -> None:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda:" + os.environ["LOCAL_RANK"] if gpu else "cpu")
    if gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if gpu else "gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    mesh = init_device_mesh(device.type, (world_size,), mesh_dim_names=("ep",))

    torch.manual_seed(1)  # the same model on all ranks, before each keeps its experts
    model = experts.sparse(GPT(GPTConfig()), EXPERTS, top_k=2).to(device)
    model = experts.spread(model, mesh)
    own = {id(parameter) for parameter in experts.expert_parameters(model)}
    shared = [parameter for parameter in model.parameters() if id(parameter) not in own]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    dataset = Windows(corpus.prepare(quiet=True).tokens("train"), SEQ)
    for step in range(STEPS):
        mine = range(GLOBAL_BATCH * step, GLOBAL_BATCH * (step + 1))[rank::world_size]
        windows = [dataset[i] for i in mine]
        inputs, targets = (torch.stack(each).to(device) for each in zip(*windows, strict=True))
        loss = next_token_loss(model(inputs), targets)
        loss = loss + 0.01 * experts.balance_loss(model, dist.group.WORLD)
        loss.backward()
        for parameter in shared:  # an expert's gradient is right already
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size
        optimizer.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        if step == 0:
            parity.record(model, mean / world_size)
        optimizer.zero_grad()
    rows = [mixture.router.counts.tolist() for mixture in experts.mixtures(model)]
    print(f"mean loss {mean.item() / world_size:.4f}, rows of the first layer {rows[0]}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""Data-parallel training of the course's GPT, on a laptop's cores or a machine's GPUs.

torchrun --standalone --nproc-per-node=2 data_parallel.py
"""

import os
from itertools import islice

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.text import corpus
from scaleup.text.windows import Windows

GLOBAL_BATCH, SEQ, STEPS = 8, 128, 5


def mean_over_ranks(loss: torch.Tensor) -> float:
    """The batch's loss: the mean of the ranks' losses, each of an equal share."""
    total = loss.detach().clone()
    dist.all_reduce(total)
    return total.item() / dist.get_world_size()


def main() -> None:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda:" + os.environ["LOCAL_RANK"] if gpu else "cpu")
    if gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if gpu else "gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if GLOBAL_BATCH % world_size:
        raise SystemExit(f"{GLOBAL_BATCH} windows do not divide by {world_size}.")

    dataset = Windows(corpus.prepare(quiet=True).tokens("train"), SEQ)
    sampler = DistributedSampler(dataset, seed=1, drop_last=True)  # knows the rank
    share = GLOBAL_BATCH // world_size
    loader = DataLoader(dataset, share, sampler=sampler, drop_last=True)

    torch.manual_seed(rank)  # different on purpose: DDP sends rank 0's weights to all
    model = DistributedDataParallel(GPT(GPTConfig()).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    sampler.set_epoch(0)
    for step, (inputs, targets) in enumerate(islice(loader, STEPS)):
        loss = next_token_loss(model(inputs.to(device)), targets.to(device))
        loss.backward()  # gradients are averaged in here
        optimizer.step()
        if step == 0:
            parity.record(model, mean_over_ranks(loss))
        optimizer.zero_grad()
    mean = mean_over_ranks(loss)
    print(f"own loss {loss.item():.4f}, mean over the ranks {mean:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

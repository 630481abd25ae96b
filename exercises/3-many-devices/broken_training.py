"""Data-parallel training by hand on two ranks. It runs, and its loss falls."""

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from scaleup import paths
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.text import corpus
from scaleup.text.windows import Windows

EPOCHS, WINDOWS = 2, 32


def average(model: torch.nn.Module, world_size: int) -> None:
    """Make every gradient the mean over the ranks, here and nowhere else."""
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)


def main() -> None:
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(rank)
    model = GPT(GPTConfig(layers=1, dim=32, heads=2, hidden=64))

    tokens = corpus.prepare(quiet=True).tokens("train")[: WINDOWS * 64 + 1]
    dataset = Windows(tokens, seq=64)
    sampler = DistributedSampler(dataset, seed=1, drop_last=True)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    for epoch in range(EPOCHS):
        for inputs, targets in loader:
            loss = next_token_loss(model(inputs), targets)
            loss.backward()
            average(model, world_size)
            optimizer.step()
            optimizer.zero_grad()
        print(f"epoch {epoch}: loss {loss.item():.2f}")

    torch.save(model.state_dict(), paths.state() / "broken_training.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

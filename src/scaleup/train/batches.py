"""Which windows each rank sees, and how many micro-batches make one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from ..config import TrainConfig
from ..errors import CourseError
from ..parallel import refusals
from ..text.windows import Windows


def batches(
    dataset: Windows, config: TrainConfig, rank: int, world_size: int, done: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Micro-batches without end: (inputs, targets), each (micro_batch, seq). Reshuffled every epoch.

    `done` steps are left out without being read. A step's windows are the same for any number of ranks, so a
    run goes on with others where it ended.
    """
    sampler = DistributedSampler(dataset, world_size, rank, seed=config.seed, drop_last=True)
    steps = len(dataset) // config.global_batch  # whole steps an epoch, the same for any number of ranks
    if not steps:
        raise CourseError(f"{len(dataset)} windows are too few for train.global_batch={config.global_batch}. "
                          "Use a smaller batch.")  # fmt: skip
    a_step = accumulation(config, world_size)
    epoch, skipped = divmod(done, steps)
    while True:
        sampler.set_epoch(epoch)  # without this every epoch has the same order
        order = list(sampler)[skipped * a_step * config.micro_batch :]
        # A generator of its own: the loader draws a number at each epoch, which a resumed run would miss.
        loader = DataLoader(
            dataset, config.micro_batch, sampler=order, drop_last=True, generator=torch.Generator()
        )
        yield from islice(loader, (steps - skipped) * a_step)
        epoch, skipped = epoch + 1, 0


def accumulation(config: TrainConfig, world_size: int) -> int:
    """Micro-batches that each rank adds up before one optimizer step."""
    for reason in refusals.batch(config, world_size):
        raise CourseError(reason)
    return config.global_batch // (config.micro_batch * world_size)

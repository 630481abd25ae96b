"""Which windows each rank sees, and how many micro-batches make one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from ..config import TrainConfig
from ..errors import CourseError
from ..text.windows import Windows


def batches(
    dataset: Windows, config: TrainConfig, rank: int, world_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Micro-batches without end: (inputs, targets), each (micro_batch, seq). Reshuffled every epoch."""
    sampler = DistributedSampler(dataset, world_size, rank, seed=config.seed, drop_last=True)
    loader = DataLoader(dataset, config.micro_batch, sampler=sampler, drop_last=True)
    steps = len(dataset) // config.global_batch  # whole steps an epoch, the same for any number of ranks
    if not steps:
        raise CourseError(f"{len(dataset)} windows are too few for train.global_batch={config.global_batch}. "
                          "Use a smaller batch.")  # fmt: skip
    epoch = 0
    while True:
        sampler.set_epoch(epoch)  # without this every epoch has the same order
        yield from islice(loader, steps * accumulation(config, world_size))
        epoch += 1


def accumulation(config: TrainConfig, world_size: int) -> int:
    """Micro-batches that each rank adds up before one optimizer step."""
    together = config.micro_batch * world_size
    if config.global_batch % together:
        raise CourseError(
            f"train.global_batch={config.global_batch} is not a multiple of train.micro_batch="
            f"{config.micro_batch} x {world_size} ranks = {together}. Change one of them."
        )
    return config.global_batch // together

"""All-reduce by hand in a ring: each rank sends to its right neighbour only, one chunk per step."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist


def all_reduce(
    tensor: torch.Tensor,
    group: dist.ProcessGroup | None = None,
    watch: Callable[[int], object] = lambda step: None,
) -> int:
    """Add up a contiguous `tensor`, of any shape, over the N ranks of `group`, in place.

    Takes 2(N - 1) steps, and each rank sends 2(N - 1)/N of the tensor; returns how many bytes this rank sent.
    `watch(step)` is called after each step. Raises ValueError for a tensor that is not contiguous.
    Source: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009.
    """
    if not tensor.is_contiguous():
        raise ValueError("The tensor is not contiguous, so its chunks would be copies. Call contiguous().")
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    left, right = (rank - 1) % size, (rank + 1) % size
    chunks = tensor.view(-1).tensor_split(size)  # views: what changes them changes the tensor
    arrived, sent = torch.empty_like(chunks[0]), 0
    for step in range(2 * (size - 1)):
        give, take = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
        new = arrived[: len(take)]
        # Neither call waits, so all ranks send at once. The place for what comes is there before it comes.
        works = [dist.irecv(new, group=group, group_src=left), dist.isend(give, group=group, group_dst=right)]
        for work in works:
            work.wait()
        if step < size - 1:
            take += new  # a reduce-scatter
        else:
            take.copy_(new)  # an all-gather
        sent += give.nbytes
        watch(step)
    return sent

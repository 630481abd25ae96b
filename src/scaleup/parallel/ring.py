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

    Takes 2(N - 1) steps. Each rank sends 2(N - 1)/N of the tensor; returns the bytes that
    this rank sent. `watch(step)` is called after each step. Raises ValueError for a tensor
    that is not contiguous.
    Source: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009.
    """
    if not tensor.is_contiguous():
        raise ValueError("The tensor is not contiguous. Call contiguous() first.")
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    left, right = (rank - 1) % size, (rank + 1) % size
    chunks = tensor.view(-1).tensor_split(size)  # views: they share the tensor's memory
    place, sent = torch.empty_like(chunks[0]), 0
    for step in range(2 * (size - 1)):
        give, take = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
        arrived = place[: len(take)]
        # Neither call waits, and the place for what comes is there before it comes.
        receiving = dist.irecv(arrived, group=group, group_src=left)
        sending = dist.isend(give, group=group, group_dst=right)
        receiving.wait()
        sending.wait()
        if step < size - 1:
            take += arrived  # a reduce-scatter
        else:
            take.copy_(arrived)  # an all-gather
        sent += give.nbytes
        watch(step)
    return sent

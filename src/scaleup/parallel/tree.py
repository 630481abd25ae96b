"""All-reduce by hand along a tree: sums go up to rank 0 in pairs, and come down the same way."""

from __future__ import annotations

import torch
import torch.distributed as dist


def all_reduce(tensor: torch.Tensor, group: dist.ProcessGroup | None = None) -> int:
    """Add up a contiguous `tensor`, of any shape, over the N ranks of `group`, in place.

    Takes 2 ceil(log2 N) steps, and passes the whole tensor in each; returns how many bytes this rank sent.
    That differs from rank to rank; all ranks together send 2(N - 1) tensors. Raises ValueError for a tensor
    that is not contiguous.
    Source: the binomial tree of Thakur, Rabenseifner and Gropp, Optimization of collective communication
    operations in MPICH, 2005.
    """
    if not tensor.is_contiguous():
        raise ValueError("The tensor is not contiguous. Call contiguous() first.")
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    distances = [2**level for level in range((size - 1).bit_length())]  # 1, 2, 4, ...
    arrived, sent = torch.empty_like(tensor), 0
    for distance in distances:  # up: the upper of each pair sends, and is then out
        if rank % (2 * distance) == distance:
            dist.send(tensor, group=group, group_dst=rank - distance)
            sent += tensor.nbytes
        elif rank % (2 * distance) == 0 and rank + distance < size:
            dist.recv(arrived, group=group, group_src=rank + distance)
            tensor += arrived
    for distance in reversed(distances):  # down: the same pairs, the other way round
        if rank % (2 * distance) == distance:
            dist.recv(tensor, group=group, group_src=rank - distance)
        elif rank % (2 * distance) == 0 and rank + distance < size:
            dist.send(tensor, group=group, group_dst=rank + distance)
            sent += tensor.nbytes
    return sent

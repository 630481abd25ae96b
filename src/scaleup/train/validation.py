"""The loss on held-out text: the same for any number of ranks and any way to split the model."""

from __future__ import annotations

import torch
import torch.distributed as dist

from ..text.windows import Windows
from .share import Share

WINDOWS = 32
LEFT_OUT = -100  # a target that cross-entropy does not count


def validation_loss(share: Share, dataset: Windows) -> float:
    """Mean loss over 32 windows spread over the validation text, shared out among the ranks.

    The ranks of a split model call it together, so all take as many windows: where too few are left, a rank
    takes one that does not count.
    """
    chosen = list(range(0, len(dataset), max(1, len(dataset) // WINDOWS))[:WINDOWS])
    total = torch.zeros(2, device=share.device)  # loss, windows
    for begin in range(0, len(chosen), share.data_ranks):
        together = chosen[begin : begin + share.data_ranks]
        counts = share.data_rank < len(together)
        inputs, targets = (t[None] for t in dataset[together[share.data_rank] if counts else 0])
        loss = share.judge(inputs, targets if counts else torch.full_like(targets, LEFT_OUT))
        if loss is not None:  # not every rank of a pipeline has one
            total[0] += loss
            total[1] += counts
    if share.mesh is not None:
        dist.all_reduce(total)
    return (total[0] / total[1]).item()

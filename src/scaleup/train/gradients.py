"""Gradients of a model whose parts are on several ranks: their mean over copies, their norm over parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

Groups = tuple[dist.ProcessGroup, ...]


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of it; a plain tensor is all there."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """All of it, on the CPU. The ranks of a DTensor's mesh call this together."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()


def settle(parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient laid out as its parameter is, and zeros where this rank's batch did not touch it.

    The gradient of a DTensor may be a sum that is still to be made.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        elif isinstance(parameter, DTensor) and parameter.grad.placements != parameter.placements:
            parameter.grad = parameter.grad.redistribute(placements=parameter.placements)


@torch.no_grad()
def mean(parameters: Sequence[nn.Parameter], group: dist.ProcessGroup) -> None:
    """The mean of the gradients over a group, in one message."""
    gradients = [local(parameter.grad) for parameter in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat, group=group)
    flat /= group.size()
    pieces = flat.split([gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


def spread_over(tensor: Tensor) -> Groups:
    """The groups of ranks each of which holds a different part of this tensor."""
    if not isinstance(tensor, DTensor):
        return ()
    mesh = tensor.device_mesh
    return tuple(mesh.get_group(axis) for axis, way in enumerate(tensor.placements) if not way.is_replicate())


@torch.no_grad()
def clip(
    parameters: Sequence[nn.Parameter],
    limit: float,
    elsewhere: Mapping[nn.Parameter, Groups],
    stages: dist.ProcessGroup | None = None,
) -> Tensor:
    """Shorten all gradients together so that their norm is at most `limit`; returns the norm before.

    It is the norm of the whole model: squares are added up over the ranks that hold other parts of a tensor,
    once for each part, and over the stages of a pipeline. `elsewhere` are the groups whose ranks hold other
    tensors instead, such as other experts.
    """
    alike: dict[Groups, list[Tensor]] = {}
    for parameter in parameters:
        groups = spread_over(parameter.grad) + elsewhere.get(parameter, ())
        alike.setdefault(groups, []).append(local(parameter.grad))
    total = torch.zeros((), device=local(parameters[0]).device)
    for groups, gradients in alike.items():
        squares = torch.stack(torch._foreach_norm(gradients)).square().sum()
        for group in groups:
            dist.all_reduce(squares, group=group)
        total += squares
    if stages is not None:
        dist.all_reduce(total, group=stages)
    norm = total.sqrt()
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([gradient for gradients in alike.values() for gradient in gradients], factor)
    return norm

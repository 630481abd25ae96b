"""ZeRO by hand: the optimizer state, then the gradients, then the parameters are shared out over the ranks.

Rajbhandari et al., ZeRO: Memory optimizations toward training trillion parameter models, 2020.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ..model import Block


class Unit:
    """Parameters that are sent together: `full` is all of them as one flat tensor, `shard` this rank's slice.

    The parameters become views of `full`, which is padded so that its numbers divide by the ranks. So does
    the shard, unless it is `apart`.
    """

    def __init__(self, parameters: list[nn.Parameter], apart: bool = False) -> None:
        self.parameters = parameters
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.full = self.flat([parameter.detach() for parameter in parameters])
        self.bytes = self.full.nbytes
        pieces = self.full.split([p.numel() for p in parameters] + [self.padding])
        for parameter, piece in zip(parameters, pieces, strict=False):
            parameter.data = piece.view_as(parameter)
        slice_ = self.full.chunk(self.size)[self.rank]
        self.shard = nn.Parameter(slice_.clone() if apart else slice_)

    @property
    def padding(self) -> int:
        return -sum(parameter.numel() for parameter in self.parameters) % self.size

    def flat(self, tensors: list[Tensor]) -> Tensor:
        """(padded numbers of the unit,)"""
        return F.pad(torch.cat([tensor.flatten() for tensor in tensors]), (0, self.padding))

    def gather(self) -> None:
        """All ranks' shards become the parameters of each."""
        self.full.untyped_storage().resize_(self.bytes)
        dist.all_gather_single(self.full, self.shard.detach())

    def free(self) -> None:
        """Give the memory of the parameters back; a shard that is apart stays."""
        self.full.untyped_storage().resize_(0)

    def reduce(self) -> None:
        """The mean of all ranks' gradients, this rank's part of it; the full gradients are freed."""
        gradient = torch.empty_like(self.shard)
        dist.reduce_scatter_single(gradient, self.flat([p.grad for p in self.parameters]))
        gradient /= self.size
        self.shard.grad = gradient if self.shard.grad is None else self.shard.grad + gradient
        for parameter in self.parameters:
            parameter.grad = None


def stage_1(model: nn.Module, apart: bool = False) -> list[Unit]:
    """A unit of what is outside of the blocks, then one for each block: the optimizer gets their shards.

    Call `reduce` on each unit after the backward pass, and `gather` after the optimizer's step.
    """
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    inside = {parameter for block in blocks for parameter in block.parameters()}
    rest = [parameter for parameter in model.parameters() if parameter not in inside]
    return [Unit(part, apart) for part in (rest, *(list(block.parameters()) for block in blocks))]


def when_complete(unit: Unit, act: Callable[[], object]) -> None:
    """Call `act()` in a backward pass as soon as all gradients of the unit are there."""
    ready = 0

    def count(_: Tensor) -> None:
        nonlocal ready
        ready = (ready + 1) % len(unit.parameters)
        if ready == 0:
            act()

    for parameter in unit.parameters:
        parameter.register_post_accumulate_grad_hook(count)


def stage_2(model: nn.Module) -> list[Unit]:
    """Gradients are sharded, too: a unit's are reduced and freed as soon as the last of them is complete."""
    made = stage_1(model)
    for unit in made:
        when_complete(unit, unit.reduce)
    return made


def stage_3(model: nn.Module) -> list[Unit]:
    """Parameters, too: a block's are gathered for its forward and its backward pass, and freed after each."""
    rest, *blocks = made = stage_1(model, apart=True)
    model.register_forward_pre_hook(lambda *_: rest.gather())  # kept: backward begins with it
    modules = [module for module in model.modules() if isinstance(module, Block)]
    for module, unit in zip(modules, blocks, strict=True):
        module.register_forward_pre_hook(lambda *_, unit=unit: unit.gather())
        module.register_forward_hook(lambda *_, unit=unit: unit.free())
        module.register_full_backward_pre_hook(lambda *_, unit=unit: unit.gather())
    for unit in made:
        when_complete(unit, lambda unit=unit: (unit.reduce(), unit.free()))
        unit.free()
    return made

"""Fully sharded data parallelism with PyTorch's FSDP2: each rank keeps a part of everything.

`zero` does the same by hand.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from ..model import Block


def shard(
    model: nn.Module,
    mesh: DeviceMesh,
    reshard: bool | int = True,
    policy: MixedPrecisionPolicy | None = None,
    ignored: Iterable[nn.Parameter] = (),
    blocks: bool = True,
) -> nn.Module:
    """Shard `model` in place: every block is a unit, and what is left over is the unit of the whole.

    A mesh with one axis shards over all its ranks. With two axes, such as ("dp", "shard"), parameters are
    sharded over the second and replicated over the first: HSDP. With `reshard=False` a gathered block stays
    until its backward pass is over; a number is the size of the groups that it stays sharded over. The unit
    of the whole always stays, since the backward pass begins with it. `ignored` parameters are left alone,
    such as experts that are spread over other ranks. Without `blocks` the model is one unit: a pipeline stage
    has to be one where the backward pass comes in two parts. Make the optimizer afterwards.
    """
    options = {"mesh": mesh, "mp_policy": policy or MixedPrecisionPolicy(), "ignored_params": set(ignored)}
    for block in [module for module in model.modules() if blocks and isinstance(module, Block)]:
        fully_shard(block, reshard_after_forward=reshard, **options)
    return fully_shard(model, reshard_after_forward=False, **options)

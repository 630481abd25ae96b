"""All ranks as a grid with a named axis for each way to share the work."""

from __future__ import annotations

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ..config import ParallelConfig
from .refusals import AXES


def make(parallel: ParallelConfig, device_type: str) -> DeviceMesh:
    """The mesh (pp, dp, shard, cp, tp) of all ranks; axes of size 1 are there, too.

    The last axis changes fastest: ranks of one `tp` group have neighbouring numbers and so, where a machine
    is filled node by node, share a node. `mesh["tp"]` is the group that this rank belongs to.
    """
    sizes = tuple(getattr(parallel, axis) for axis in AXES)
    return init_device_mesh(device_type, sizes, mesh_dim_names=AXES)


def for_experts(mesh: DeviceMesh, ep: int) -> DeviceMesh:
    """The same ranks with dp x shard as (copies, ep): ranks of one `ep` group share out the experts.

    They are neighbours among the ranks of data. Ranks of one group of `copies` hold the same experts.
    """
    grid = mesh.mesh.permute(0, 3, 4, 1, 2)  # (pp, cp, tp, dp, shard)
    grid = grid.reshape(*grid.shape[:3], -1, ep)
    return DeviceMesh(mesh.device_type, grid, mesh_dim_names=("pp", "cp", "tp", "copies", "ep"))


def of_batch(mesh: DeviceMesh) -> DeviceMesh:
    """The axis `batch`: all ranks that hold other tokens of one batch for the same parameters."""
    grid = mesh.mesh.permute(0, 4, 1, 2, 3).flatten(2)
    return DeviceMesh(mesh.device_type, grid, mesh_dim_names=("pp", "tp", "batch"))["batch"]


def place(mesh: DeviceMesh, *axes: str) -> int:
    """This rank's number on the axes together, the last one changing fastest."""
    number = 0
    for axis in axes:
        number = number * mesh[axis].size() + mesh.get_local_rank(axis)
    return number

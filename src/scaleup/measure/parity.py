"""Do N ranks compute what one rank computes? Run the same program on both and compare, tensor by tensor.

A program records one step with `record(...)`. `prove(program)` runs it on one rank and on several, and names
the first tensor that differs. Written once, used by every lesson on parallelism.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import ranks
from ..errors import CourseError

Snapshot = dict[str, Tensor]


def snapshot(model: nn.Module, loss: Tensor | float | None) -> Snapshot:
    """Loss, every gradient and every parameter, in full and on the CPU; keys "loss", "gradient NAME", …

    Sharded tensors are gathered, so every rank has to call this. A rank that has no loss gives None.
    """
    found: Snapshot = {}
    if loss is not None:
        found["loss"] = torch.as_tensor(loss).detach().cpu().double().reshape(())
    named = [(clean(name), p) for name, p in model.named_parameters()]
    for name, parameter in named:
        if parameter.grad is not None:
            found[f"gradient {name}"] = full(parameter.grad)
    for name, parameter in named:
        found[f"parameter {name}"] = full(parameter)
    return found


def clean(name: str) -> str:
    """Names as the bare model has them, whatever wraps it."""
    return name.removeprefix("module.").replace("_orig_mod.", "")


def full(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return tensor.cpu().clone()


def record(model: nn.Module, loss: Tensor | float | None) -> None:
    """Called by a program on every rank after a step: rank 0 stores all snapshots where `prove` looks.

    All of them, because a stage of a pipeline or an expert lives on some ranks only, and because copies that
    should be equal may not be.
    """
    found = [snapshot(model, loss)]
    rank = 0
    if dist.is_initialized():
        rank, everybody = dist.get_rank(), [None] * dist.get_world_size()
        dist.gather_object(found[0], everybody if rank == 0 else None)
        found = everybody
    if rank == 0 and (place := os.environ.get("SCALEUP_PARITY")):
        torch.save(found, place)


@dataclass(frozen=True)
class Difference:
    """How far two snapshots are apart. `first` names the first tensor beyond the tolerance, or is None."""

    compared: int
    largest: float
    first: str | None
    tolerance: float

    @property
    def equal(self) -> bool:
        return self.first is None

    def __str__(self) -> str:
        if self.equal:
            return f"equal: {self.compared} tensors within {self.tolerance:g}"
        return f"differ: {self.first} (tolerance {self.tolerance:g})"


def compare(reference: Snapshot, *others: Snapshot, tolerance: float = 1e-5) -> Difference:
    """Compare tensor by tensor; the difference is max |a - b| / max |a|, per tensor.

    Relative to each tensor's own size, because gradients are small: an absolute tolerance would hide
    a wrong one. Of several ranks each may lack a tensor, but not all of them, and every copy is compared.
    """
    largest, first = 0.0, None
    for name, expected in reference.items():
        copies = {rank: other[name] for rank, other in enumerate(others) if name in other}
        if not copies:
            first = first or f"{name} is missing"
        for rank, got in copies.items():
            where = f" on rank {rank}" if rank else ""
            if got.shape != expected.shape:
                first = first or f"{name} has shape {tuple(got.shape)}, not {tuple(expected.shape)}{where}"
                continue
            scale = expected.abs().max().item() or 1.0
            distance = (expected.double() - got.double()).abs().max().item() / scale
            largest = max(largest, math.inf if math.isnan(distance) else distance)
            if not distance <= tolerance:  # also catches NaN
                first = first or f"{name} by {distance:.1e}{where}"
    for name in [name for other in others for name in other]:
        if name not in reference:
            first = first or f"{name} is not in the reference"
    return Difference(len(reference), largest, first, tolerance)


def prove(
    program: str | Path, *args: str, world_sizes: Iterable[int] = (2,), tolerance: float = 1e-5
) -> dict[int, Difference]:
    """Run `program` on one rank and on each world size; return {world size: difference to one rank}.

    The program calls `record(model, loss)` once on every rank, with the loss over all ranks, or None where a
    rank has none. Raises CourseError if it never does.
    """
    with tempfile.TemporaryDirectory() as folder:
        snapshots = {}
        for world_size in (1, *world_sizes):
            place = Path(folder) / f"{world_size}.pt"
            ranks.run(program, world_size, *args, env={"SCALEUP_PARITY": str(place)}, quiet=True)
            if not place.exists():
                raise CourseError(f"{program} never recorded a step. Call parity.record(model, loss) in it.")
            snapshots[world_size] = torch.load(place)
    one = snapshots[1][0]
    return {n: compare(one, *snapshots[n], tolerance=tolerance) for n in snapshots if n != 1}

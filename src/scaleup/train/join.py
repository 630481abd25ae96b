"""How ranks find each other: a process group from what torchrun or Slurm set, or none for a single rank."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from .. import measure
from ..computer.resources import usable_cores
from ..computer.torch_probe import OLDEST_TORCH
from ..errors import CourseError

RANKS_PER_CORE = 4  # beyond this, processes only take turns


@contextlib.contextmanager
def process_group() -> Iterator[tuple[int, int, torch.device]]:
    """Join the ranks that torchrun or srun started; yields (rank, world size, device).

    Without either it is rank 0 of 1 and no process group is made. A group that is there already is used, and
    stays.
    """
    if dist.is_initialized():
        yield dist.get_rank(), dist.get_world_size(), measure.device()
        return
    check_environment()
    slurm_task = "RANK" not in os.environ and "SLURM_PROCID" in os.environ  # salloc's shell is no task
    if slurm_task and int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        if "MASTER_ADDR" not in os.environ:
            raise CourseError(
                "Slurm started several tasks, but MASTER_ADDR is not set. Export the name of the job's first "
                "node as MASTER_ADDR, and a free MASTER_PORT."
            )
        slurm = {"RANK": "PROCID", "WORLD_SIZE": "NTASKS", "LOCAL_RANK": "LOCALID"}
        os.environ.update({ours: os.environ[f"SLURM_{theirs}"] for ours, theirs in slurm.items()})
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    if "RANK" not in os.environ:
        yield 0, 1, measure.device()
        return
    try:
        dist.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(minutes=10))
    except (dist.DistNetworkError, dist.DistStoreError, ValueError) as error:
        raise CourseError(rendezvous_advice(error)) from None
    try:
        yield dist.get_rank(), dist.get_world_size(), measure.device()
    finally:
        dist.destroy_process_group()


def rendezvous_advice(error: Exception) -> str:
    port = os.environ.get("MASTER_PORT", "unset")
    if "EADDRINUSE" in str(error) or "address already in use" in str(error):
        return f"Port {port} is taken by another program. Set MASTER_PORT to a free one and start again."
    first = str(error).splitlines()[0]
    return (
        f"The ranks did not find each other ({first}). Check MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE."
    )


def check_environment() -> None:
    """Refuse early what would fail late: an old PyTorch, far more ranks than cores."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise CourseError(
            f"PyTorch {torch.__version__} is too old: the course needs at least {oldest}. "
            "Run 'make setup' to get the pinned version."
        )
    cores = usable_cores()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if not torch.cuda.is_available() and local > RANKS_PER_CORE * cores:
        raise CourseError(f"{local} ranks on {cores} cores would only take turns. "
                          f"Start at most {RANKS_PER_CORE * cores} ranks here.")  # fmt: skip

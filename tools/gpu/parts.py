"""All that `make gpu` measures: each part is a function (device, sizes) -> numbers, also on a CPU.

Those that train are in `steps`; rates, a checkpoint and a process group of one rank are here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from scaleup import measure
from scaleup.computer.resources import free_port
from scaleup.config import TrainConfig
from scaleup.errors import CourseError
from scaleup.measure import Timings
from scaleup.measure.number_formats import relative_error
from scaleup.model import next_token_loss
from scaleup.paths import state
from scaleup.train import make_optimizer, process_group

from .device import Device
from .steps import compiled, memory, precision, profiled, training
from .work import (
    Sizes,
    all_parameters,
    attempt,
    batch_on,
    model_on,
)

# Rates


def matmul(device: Device, sizes: Sizes) -> dict[str, Any]:
    """Best FLOP/s of large square products in each format; bf16 also by the function that lessons use.

    fp8 is multiplied with one scale per tensor, by `torch._scaled_mm`, into bf16.
    """

    def best(n: int, prepared: Callable[[int], Callable[[], object]]) -> float:
        return 2 * n**3 / min(device.seconds(prepared(n)))

    def plain(dtype: torch.dtype, precision: str, n: int) -> Callable[[], object]:
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(n, n, device=device.device).to(dtype) for _ in range(2))
        return lambda: a @ b

    def scaled(n: int) -> Callable[[], object]:
        a, b = (torch.randn(n, n, device=device.device).to(device.fp8) for _ in range(2))
        one = torch.ones((), device=device.device)
        return lambda: torch._scaled_mm(a, b.t(), one, one, out_dtype=torch.bfloat16)

    formats = {
        "fp32": partial(plain, torch.float32, "highest"),
        "tf32": partial(plain, torch.float32, "high"),
        "bf16": partial(plain, torch.bfloat16, "highest"),
        "fp16": partial(plain, torch.float16, "highest"),
        "fp8": scaled,
    }
    found: dict[str, Any] = {}
    for name, prepared in formats.items():
        rates = {n: attempt(lambda n=n, p=prepared: {"flops": best(n, p)}) for n in sizes.matmul}
        device.settle()
        reached = {n: rate["flops"] for n, rate in rates.items() if "flops" in rate}
        size = max(reached, key=reached.get) if reached else None
        found[name] = {"size": size, "flops": reached[size]} if reached else rates[sizes.matmul[0]]
    lesson = attempt(
        lambda: {"flops": measure.matmul_peak(torch.bfloat16, max(sizes.matmul), measure.device())}
    )
    return {"formats": found, "bf16_by_the_lessons": lesson}


def bandwidth(device: Device, sizes: Sizes) -> dict[str, Any]:
    """Bytes per second: copying and scaling on the device; to and from the host's pinned memory."""
    count = sizes.copy_mb * 2**20 // 4
    source = torch.ones(count, device=device.device)
    target = torch.empty_like(source)
    copied = min(device.seconds(lambda: target.copy_(source)))
    scaled = min(device.seconds(lambda: torch.mul(source, 2.0, out=target)))
    found = {
        "copy": 2 * source.nbytes / copied,
        "scale": 2 * source.nbytes / scaled,
        "copy_by_the_lessons": measure.copy_bandwidth(sizes.copy_mb, measure.device()),
    }

    def link() -> dict[str, float]:
        host, there = device.pinned(source.nbytes), source.view(torch.uint8)
        to_device = min(device.seconds(lambda: there.copy_(host, non_blocking=True), repeats=5))
        to_host = min(device.seconds(lambda: host.copy_(there, non_blocking=True), repeats=5))
        return {"host_to_device": host.nbytes / to_device, "device_to_host": host.nbytes / to_host}

    return found | {"link": attempt(link)}


# A checkpoint


def checkpoint(device: Device, sizes: Sizes) -> dict[str, Any]:
    """Model and optimizer: to the host, to disk, and back, in bytes per second; and whether all is as it was.

    The disk is that of the course's folder. Before reading, the system is asked to forget the file, so that
    it comes from the disk and not from memory; some file systems do not listen.
    """
    shape, _ = sizes.models["middle"]
    model = model_on(device, shape)
    batch = batch_on(device, shape, 1)
    optimizer = make_optimizer(model, TrainConfig())
    next_token_loss(model(batch[0]), batch[1]).backward()
    optimizer.step()
    whole = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    tensors = list(tensors_in(whole))
    size = sum(tensor.nbytes for tensor in tensors)
    free = shutil.disk_usage(state()).free
    if free < 3 * size:
        raise CourseError(
            f"The disk has {free / 1e9:.1f} GB left, and three times {size / 1e9:.1f} are needed."
        )
    device.synchronize()
    to_host = measure.repeat(lambda: [tensor.cpu() for tensor in tensors], repeats=1, warmup=1).median
    with tempfile.TemporaryDirectory(dir=state()) as folder:
        file = Path(folder) / "checkpoint.pt"
        start = time.perf_counter()
        with open(file, "wb") as out:
            torch.save(whole, out)
            out.flush()
            os.fsync(out.fileno())
        written = time.perf_counter() - start
        forgotten = forget(file)
        start = time.perf_counter()
        back = torch.load(file, map_location=device.device, weights_only=True)
        device.synchronize()
        read = time.perf_counter() - start
    pairs = zip(tensors, tensors_in(back), strict=True)
    return {
        "parameters": all_parameters(shape),
        "bytes": size,
        "to_host_bytes_s": size / to_host,
        "write_bytes_s": size / written,
        "read_bytes_s": size / read,
        "asked_to_forget_before_reading": forgotten,
        "same_bits": all(torch.equal(ours, theirs) for ours, theirs in pairs),
    }


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of a nest of dictionaries and lists, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(each)


def forget(file: Path) -> bool:
    """Ask the system to drop the file from its memory; False where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with open(file, "rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


# One rank of NCCL or RCCL


def all_reduce(device: Device, sizes: Sizes) -> dict[str, Any]:
    """A process group of one rank: seconds of an all-reduce, and DDP against the bare model.

    Nothing travels with one rank. It shows that the library loads and works here, and what a call costs.
    """
    with one_rank(), process_group() as (_, world_size, _):
        found: dict[str, Any] = {"backend": dist.get_backend(), "ranks": world_size, "calls": []}
        for count in sizes.messages:
            numbers = torch.arange(count, device=device.device, dtype=torch.float32)
            before = numbers.clone()
            taken = Timings(tuple(device.seconds(lambda n=numbers: dist.all_reduce(n))))
            row = {"bytes": numbers.nbytes, "seconds": taken.median, "same": torch.equal(numbers, before)}
            found["calls"].append(row)
        shape, windows = sizes.models["small"]
        batch = batch_on(device, shape, windows)
        alone, wrapped = model_on(device, shape), DistributedDataParallel(model_on(device, shape))
        found["error_of_ddp_gradient"] = relative_error(
            gradients_of(wrapped, batch), gradients_of(alone, batch)
        )
        return found


def gradients_of(model: torch.nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    next_token_loss(model(batch[0]), batch[1]).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@contextlib.contextmanager
def one_rank() -> Iterator[None]:
    """The variables that torchrun would set for a single rank; what was there before comes back."""
    ours = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    ours |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# All of them


@dataclass(frozen=True)
class Part:
    """A part and the seconds after which its process is ended, its start included."""

    seconds: int
    call: Callable[[Device, Sizes], dict[str, Any]]


PARTS = {
    "device": Part(50, lambda device, _: device.facts()),
    "matmul": Part(30, matmul),
    "bandwidth": Part(25, bandwidth),
    "training, small": Part(35, partial(training, "small")),
    "training, middle": Part(45, partial(training, "middle")),
    "training, large": Part(60, partial(training, "large")),
    "memory": Part(25, memory),
    "precision": Part(60, precision),
    "profile": Part(30, profiled),
    "checkpoint": Part(35, checkpoint),
    "all-reduce": Part(25, all_reduce),
    "compile": Part(150, compiled),  # the last, since it may take all that is left
}

"""What a device reaches: its rate of matrix products, its memory traffic, where a step spends its time.

The rates are measured here and are no vendor's numbers: a large matrix multiplication is close to the best
that a training step can reach.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

import torch
from torch.profiler import ProfilerActivity, profile

from .timing import repeat


def matmul_peak(
    dtype: torch.dtype = torch.float32, size: int | None = None, where: torch.device | str = "cpu"
) -> float:
    """FLOP/s of the best of some large square matrix multiplications (2 n^3 FLOPs each) on `where`.

    Tries several sizes n, or only `size`. Ask for the data type that the training uses.
    """
    usual = (512, 1024, 1536) if torch.device(where).type == "cpu" else (4096, 8192)

    def rate(n: int) -> float:
        a, b = (torch.randn(n, n, device=where).to(dtype) for _ in range(2))
        return 2 * n**3 / min(repeat(lambda: a @ b, repeats=8, warmup=2).seconds)

    return max(rate(n) for n in ((size,) if size else usual))


def copy_bandwidth(size_mb: int = 256, where: torch.device | str = "cpu") -> float:
    """Bytes per second read plus written on `where` by a copy far larger than the caches."""
    source = torch.ones(size_mb * 2**20 // 4, device=where)
    target = torch.empty_like(source)
    best = min(repeat(lambda: target.copy_(source), repeats=5, warmup=1).seconds)
    return 2 * source.nbytes / best


def operator_times(function: Callable[[], object], repeats: int = 5) -> dict[str, float]:
    """Share of the time that each operator spends itself, largest first; operators go by PyTorch's names."""
    activities = [ProfilerActivity.CPU]
    with quiet_stderr(), profile(activities=activities) as trace:
        for _ in range(repeats):
            function()
    own = {event.key: event.self_cpu_time_total for event in trace.key_averages()}
    total = sum(own.values())
    return {name: own[name] / total for name in sorted(own, key=own.get, reverse=True)}


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """The profiler's library writes a line to standard error whenever it starts or stops."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

"""Measuring a training step: time with its spread, tokens per second, model FLOPs, MFU, memory.

MFU is stated against the matrix-multiply rate *measured* on this device, not against a vendor's number: a
large matrix multiplication is close to the best that a training step can reach.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from .model import GPT, GPTConfig


@dataclass(frozen=True)
class Timings:
    """Repeated measurements in seconds, warm-up already removed."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range divided by the median: half of the runs lie within this band."""
        if len(self.seconds) < 2:
            return float("nan")
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / self.median

    def rate(self, amount: float) -> float:
        """`amount` per second at the median, e.g. tokens per step -> tokens per second."""
        return amount / self.median

    @property
    def scatter(self) -> float:
        """Standard deviation of a single run, divided by the mean."""
        return statistics.stdev(self.seconds) / statistics.mean(self.seconds)

    @property
    def precision(self) -> float:
        """How well these runs know their mean: half the width of its 95 % interval, divided by the mean."""
        return 1.96 * self.scatter / math.sqrt(len(self.seconds))

    def runs_for(self, precision: float) -> int:
        """Runs needed before the mean is known to `precision` (0.05 = 5 %) with 95 % confidence.

        n = (1.96 s / precision)^2 for independent runs of relative standard deviation s.
        """
        return max(2, math.ceil((1.96 * self.scatter / precision) ** 2))


def repeat(function: Callable[[], object], repeats: int = 10, warmup: int = 2) -> Timings:
    """Call `function` warmup + repeats times and keep the last `repeats` durations."""
    seconds = []
    for _ in range(warmup + repeats):
        synchronize()
        start = time.perf_counter()
        function()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return Timings(tuple(seconds[warmup:]))


def synchronize() -> None:
    """Wait for the GPU's queued work: without this a clock measures only how fast work is submitted."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device() -> torch.device:
    """The accelerator this process trains on, or the CPU."""
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def matmul_peak(dtype: torch.dtype = torch.float32, size: int | None = None) -> float:
    """FLOP/s of the best of some large square matrix multiplications (2 n^3 FLOPs each) on this device.

    Tries several sizes n, or only `size`. Ask for the data type that the training uses.
    """
    usual = (4096, 8192) if torch.cuda.is_available() else (512, 1024, 1536)

    def rate(n: int) -> float:
        a, b = (torch.randn(n, n, device=device()).to(dtype) for _ in range(2))
        return 2 * n**3 / min(repeat(lambda: a @ b, repeats=8, warmup=2).seconds)

    return max(rate(n) for n in ((size,) if size else usual))


def copy_bandwidth(size_mb: int = 256) -> float:
    """Bytes per second read plus written by a copy far larger than the caches."""
    source = torch.ones(size_mb * 2**20 // 4, device=device())
    target = torch.empty_like(source)
    best = min(repeat(lambda: target.copy_(source), repeats=5, warmup=1).seconds)
    return 2 * source.nbytes / best


def operator_times(function: Callable[[], object], repeats: int = 5) -> dict[str, float]:
    """Share of the time that each operator spends itself, largest first; operators go by PyTorch's names."""
    activities = [ProfilerActivity.CPU]
    with _quiet_stderr(), profile(activities=activities) as trace:
        for _ in range(repeats):
            function()
    own = {event.key: event.self_cpu_time_total for event in trace.key_averages()}
    total = sum(own.values())
    return {name: own[name] / total for name in sorted(own, key=own.get, reverse=True)}


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
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


def parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def matmul_parameters(config: GPTConfig) -> int:
    """Parameters that multiply every token: all matrices except the embedding, which is only looked up."""
    per_layer = 4 * config.dim**2 + 3 * config.dim * config.hidden
    return config.layers * per_layer + config.vocab_size * config.dim


def flops_per_token(config: GPTConfig, seq: int, causal: bool = False) -> int:
    """FLOPs of forward and backward for one token: 6 N + 12 layers dim seq.

    N = `matmul_parameters`: 2 FLOPs per parameter forward, 4 backward. The second term is attention's scores
    and their use, 2 products of 2 dim seq forward and twice that backward (PaLM, Chowdhery et al. 2022,
    appendix B); a causal kernel may skip half of it. Norms, softmax and the optimizer are not counted.
    """
    attention = 12 * config.layers * config.dim * seq
    return 6 * matmul_parameters(config) + (attention // 2 if causal else attention)


def mfu(model: GPT, tokens_per_second: float, seq: int, peak: float) -> float:
    """Model FLOPs utilisation: useful FLOPs per second over `peak` FLOP/s, between 0 and 1."""
    return tokens_per_second * flops_per_token(model.config, seq) / peak


def peak_memory() -> int:
    """Most bytes held so far: allocated on the GPU, or resident in this process on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024

"""All that a CUDA or ROCm device does in another way than a CPU. ROCm goes by CUDA's names in PyTorch.

The parts ask only this class, so that their logic runs, and is tested, on a CPU too.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, record_function

from scaleup import measure
from scaleup.errors import CourseError


@dataclass(frozen=True)
class Mark:
    """Bytes that tensors use before and after a phase, and the most within it."""

    before: int
    after: int
    peak: int


class Device:
    """A GPU (`kind` "cuda", also for ROCm) or the CPU (`kind` "cpu"). Raises CourseError without a GPU."""

    def __init__(self, kind: str = "cuda") -> None:
        if kind == "cuda" and not torch.cuda.is_available():
            raise CourseError(
                "'make gpu' needs one NVIDIA or AMD GPU, and a PyTorch 2.11 or newer for CUDA or ROCm that "
                f"sees it; PyTorch {torch.__version__} sees none here, so nothing was measured."
            )
        self.gpu = kind == "cuda"
        self.device = torch.device(kind)

    def facts(self) -> dict[str, Any]:
        """What the device is: card, kind, memory in bytes, generation, the versions below PyTorch."""
        if not self.gpu:
            return {"card": "a CPU", "kind": "CPU", "memory_bytes": psutil.virtual_memory().total}
        found, hip = torch.cuda.get_device_properties(0), torch.version.hip
        versions = {"rocm": hip} if hip else {"cuda": torch.version.cuda}
        if torch.backends.cudnn.is_available():
            versions["miopen" if hip else "cudnn"] = str(torch.backends.cudnn.version())
        with contextlib.suppress(AttributeError, RuntimeError):
            versions["rccl" if hip else "nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
        return {
            "card": found.name,
            "kind": "ROCm" if hip else "CUDA",
            "memory_bytes": found.total_memory,
            "generation": found.gcnArchName if hip else f"{found.major}.{found.minor}",
            "multiprocessors": found.multi_processor_count,
            "versions": versions,
        }

    @property
    def fp8(self) -> torch.dtype:
        """The 8-bit format of weights and activations; AMD's MI300 has one of its own."""
        own = torch.version.hip and torch.cuda.get_device_properties(0).gcnArchName.startswith("gfx94")
        return torch.float8_e4m3fnuz if self.gpu and own else torch.float8_e4m3fn

    @property
    def kept_by_norm(self) -> int:
        """Tensors that a norm keeps besides its output: a GPU's fused one its input, a CPU's also a copy."""
        return 1 if self.gpu else 2

    # Time

    def synchronize(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], object], repeats: int = 10, warmup: int = 3) -> list[float]:
        """Seconds of each call by the device's own clock, without the time that it takes to start one."""
        for _ in range(warmup):
            call()
        if not self.gpu:
            return list(measure.repeat(call, repeats=repeats, warmup=0).seconds)
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        for start, end in events:
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in events]

    # Memory

    def settle(self) -> None:
        """Give back what is no longer used, so that the next piece of work finds the memory."""
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()

    def free(self) -> int:
        """Bytes that a program could still use."""
        return torch.cuda.mem_get_info()[0] if self.gpu else psutil.virtual_memory().available

    def pinned(self, size: int) -> torch.Tensor:
        """Bytes in the host's memory that the device can fetch by itself."""
        return torch.ones(size, dtype=torch.uint8, pin_memory=self.gpu)

    @contextlib.contextmanager
    def peak(self) -> Iterator[dict[str, int | None]]:
        """Fills in "used" and "reserved", the most bytes meanwhile; a CPU has no such counter, so None."""
        found: dict[str, int | None] = {"used": None, "reserved": None}
        self.settle()
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
        yield found
        if self.gpu:
            torch.cuda.synchronize()
            found |= {
                "used": torch.cuda.max_memory_allocated(),
                "reserved": torch.cuda.max_memory_reserved(),
            }

    @contextlib.contextmanager
    def phases(self) -> Iterator[Phases]:
        """Counts memory phase by phase: a GPU's allocator counts itself, a CPU's is watched."""
        phases = Phases(self)
        if self.gpu:
            yield phases
            return
        with measure.watch() as use:
            yield phases
        for name in phases.marks:
            phases.marks[name] = Mark(use.before(name), use.after(name), use.peak(name))

    # A profile

    @property
    def activities(self) -> list[ProfilerActivity]:
        return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.gpu else [])]

    @property
    def work(self) -> set[str]:
        """Categories of a trace's events in which the device is at work."""
        return {"kernel", "gpu_memcpy", "gpu_memset"} if self.gpu else {"cpu_op"}

    def own_times(self, trace: torch.profiler.profile) -> dict[str, float]:
        """{operator: microseconds of the device that it took itself}, by PyTorch's names."""
        what = "self_device_time_total" if self.gpu else "self_cpu_time_total"
        found = {
            event.key: getattr(event, what)
            for event in trace.key_averages()
            if event.device_type == DeviceType.CPU and not getattr(event, "is_user_annotation", False)
        }
        return {name: time for name, time in found.items() if time > 0}


class Phases:
    """`with phases("forward"): …` notes a Mark of that name in `marks`; names are used once."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.marks: dict[str, Mark] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.marks[name] = Mark(0, 0, 0)
        if not self._device.gpu:
            with record_function(name):
                yield
            return
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield
        torch.cuda.synchronize()
        self.marks[name] = Mark(before, torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated())

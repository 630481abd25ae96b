"""What a step tells besides its loss: gradient norm, its seconds, waiting for data, memory, energy, FLOPs.

Nothing here waits for the device between two readings: norms stay on it until `take` fetches them together.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..config import Config
from ..files import write_whole
from ..measure.energy_counters import Metered
from ..measure.utilisation import flops_per_token
from .pace import Pace

MOST = 1000  # steps whose computing is remembered: all ranks send it to each other at the end


class StepRecord:
    """Wraps the stream of batches and collects for each optimizer step what a `Step` holds besides its loss.

    Seconds are the host's, from one `note` to the next: on a GPU the host runs ahead between two readings, so
    there their mean over a reading is right, and a single one is not. Energy is that of this rank's node as
    far as its counters see (`about.json` says how far); it is shared out evenly over the steps of a reading.
    """

    def __init__(self, config: Config, stream: Iterator[Any], device: torch.device, ranks: int = 1) -> None:
        self.config, self.stream, self.device, self.ranks = config, stream, device, ranks
        self.norms: list[Tensor] = []
        self.notes: list[dict[str, float]] = []
        self.energy, self.joules = Metered(), 0.0
        self.pace, self.computed = Pace(device), []
        self.waited = 0.0
        self.begun = self.read = time.perf_counter()

    def __iter__(self) -> StepRecord:
        return self

    def __next__(self) -> Any:
        begun = time.perf_counter()
        try:
            return next(self.stream)
        finally:
            self.waited += time.perf_counter() - begun

    def start(self) -> None:
        """What happened since the last step, such as a validation, belongs to no step."""
        self.begun = self.read = time.perf_counter()
        self.waited, self.joules = 0.0, self.energy.joules() or 0.0
        self.pace.begin()

    def note(self, norm: Tensor) -> None:
        """A step has ended; `norm` is the norm of its gradients before clipping, still on the device."""
        computed = self.pace.keep()
        if computed is not None and len(self.computed) < MOST:
            self.computed.append(computed)
        now = time.perf_counter()
        self.norms.append(norm)
        self.notes.append({"at": time.time(), "seconds": now - self.begun, "input_wait": self.waited})
        self.begun, self.waited = now, 0.0
        self.pace.begin()

    def take(self, rate: float, count: int) -> list[dict[str, Any]]:
        """The fields of `count` steps that were read together, at `rate` tokens per second over all ranks."""
        norms = torch.stack(self.norms).tolist() if self.norms else []
        shared = {"memory_bytes": peak_memory(self.device), "model_flops": self.flops(rate), "watts": None}
        if (joules := self.energy.joules()) is not None:
            seconds = time.perf_counter() - self.read
            shared["watts"], self.joules = (joules - self.joules) / seconds, joules
        found = [note | {"gradient_norm": norm} | shared
                 for note, norm in zip(self.notes, norms, strict=False)]  # fmt: skip
        self.norms.clear()
        self.notes.clear()
        return (found + [{} for _ in range(count)])[:count]

    def flops(self, rate: float) -> float | None:
        """Model FLOPs per second of all ranks; None for a mixture of experts, whose count is another one."""
        if self.config.experts.count:
            return None
        return rate * flops_per_token(self.config.model, self.config.data.seq)

    def describe(self, folder: Path) -> None:
        """Write `about.json`: what it ran on, and what the energy is that the steps name."""
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        about = {"device": device, "ranks": self.ranks, "energy": self.energy.says,
                 "torch": torch.__version__, "device_share": self.pace.share,
                 "model": dataclasses.asdict(self.config.model), "seq": self.config.data.seq,
                 "global_batch": self.config.train.global_batch, "clip": self.config.train.clip}  # fmt: skip
        write_whole(folder / "about.json", json.dumps(about, indent=1) + "\n")

    def tell_computed(self, folder: Path | None) -> None:
        """All ranks call this at the end: rank 0 writes `computed.json`, {"seconds": a list for each rank}.

        They are the seconds that each of the first steps kept the rank's device busy, see `pace`; none where
        that is unknown, as on a GPU.
        """
        everybody: list[Any] = [self.computed]
        if dist.is_initialized():
            everybody = [None] * dist.get_world_size()
            dist.all_gather_object(everybody, self.computed)
        if folder:
            write_whole(folder / "computed.json", json.dumps({"seconds": everybody}) + "\n")


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: of tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024  # Linux counts KiB

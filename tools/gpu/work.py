"""What the parts of `make gpu` share: sizes, failures as sentences, timing, a step, whether it fits.

All numbers are in seconds, bytes, FLOP/s and tokens/s; shares lie between 0 and 1.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scaleup import measure
from scaleup.config import TrainConfig
from scaleup.errors import CourseError
from scaleup.measure import Timings
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.train import make_optimizer
from scaleup.words import one_line

from ..contenders import random_batch
from .device import Device

ROOM = 0.8  # the share of the free memory that a training may fill, by the formula


@dataclass(frozen=True)
class Sizes:
    """How large everything is. `models`: name -> (shape, windows per step). `seconds`: for each timing."""

    models: dict[str, tuple[GPTConfig, int]]
    seconds: float
    matmul: tuple[int, ...]
    copy_mb: int
    steps: int  # to compare precisions by
    messages: tuple[int, ...]  # numbers in an all-reduce
    compiler: str = "inductor"


FULL = Sizes(
    models={
        "small": (GPTConfig(), 8),
        "middle": (GPTConfig(layers=12, heads=12, dim=768, hidden=2048, context=1024), 16),
        "large": (GPTConfig(layers=24, heads=12, dim=1536, hidden=4096, context=1024), 16),
    },
    seconds=5,
    matmul=(4096, 8192),
    copy_mb=1024,
    steps=20,
    messages=(256, 2**20, 2**26),
)
TINY = GPTConfig(layers=2, heads=2, dim=32, hidden=64, context=32)
QUICK = Sizes(
    models={"small": (TINY, 4), "middle": (TINY, 4), "large": (replace(TINY, layers=3), 4)},
    seconds=0.05,
    matmul=(128,),
    copy_mb=4,
    steps=4,
    messages=(256,),
    compiler="aot_eager",
)


# One failure stays one failure


def attempt(call: Callable[..., dict], *arguments: Any) -> dict[str, Any]:
    """What the call returns, or {"failed": a sentence that says why it did not return}."""
    try:
        return call(*arguments)
    except torch.OutOfMemoryError:
        return {"failed": "The device has too little free memory for it."}
    except CourseError as error:
        return {"failed": told(error)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {told(error)}"}


def told(error: object) -> str:
    """An error in one line, without this machine's name and folders: the record will be public."""
    line = one_line(error).replace(os.uname().nodename, "this-machine")
    return re.sub(r"(?<![\w.:/])/(?:[\w.+@~-]+/)+", ".../", line)


# What several parts do


class Clock:
    """Says when a piece of work has had its time."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end


def timed(step: Callable[[], object], seconds: float, least: int = 3, most: int = 50) -> Timings:
    """Time single calls for about so many seconds. The first three, which warm up, are left out."""
    clock, found = Clock(seconds), []
    measure.repeat(step, repeats=1, warmup=2)
    while len(found) < least or (len(found) < most and not clock.over):
        found += measure.repeat(step, repeats=1, warmup=0).seconds
    return Timings(tuple(found))


def speed(timings: Timings, tokens: int) -> dict[str, Any]:
    return {
        "tokens_per_second": timings.rate(tokens),
        "spread": timings.spread,
        "steps_timed": len(timings.seconds),
    }


def batch_on(device: Device, shape: GPTConfig, windows: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (windows, context), on the device."""
    torch.manual_seed(1)
    inputs, targets = (tensor.to(device.device) for tensor in random_batch(shape, windows))
    return inputs, targets


def model_on(device: Device, shape: GPTConfig) -> GPT:
    torch.manual_seed(1)
    return GPT(shape).to(device.device)


def bare_step(device: Device, model: torch.nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    """Forward under bf16 autocast, loss, backward, fused AdamW, and nothing else."""
    optimizer, (inputs, targets) = make_optimizer(model, TrainConfig()), batch

    def step() -> None:
        with torch.autocast(device.device.type, torch.bfloat16):
            loss = next_token_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


# Whether it fits


def autocast_bytes(shape: GPTConfig, tokens: int, kept_by_norm: int) -> int:
    """Most bytes of a step under bf16 autocast with fused AdamW: at the loss's gradient, or at the update.

    At the loss, per parameter 12 for the states, and 2 for autocast's copies of the matrices that multiply.
    Per token and layer: fp32 inputs of the norms; in bf16 a copy for each of five products, q, k, v,
    attention's result and four widths of the MLP. The loss keeps fp32 probabilities, and the logits'
    gradient comes on top.
    """
    layer = 2 * 4 * kept_by_norm * shape.dim + 2 * 5 * shape.dim + 2 * 4 * shape.dim + 2 * 4 * shape.hidden
    ends = 4 * kept_by_norm * shape.dim + 2 * shape.dim + 4 * shape.vocab_size
    kept = tokens * (shape.layers * layer + ends) + 2 * measure.matmul_parameters(shape)
    n = all_parameters(shape)
    return max(12 * n + kept + 2 * tokens * shape.vocab_size, 16 * n)


def all_parameters(shape: GPTConfig) -> int:
    norms = (2 * shape.layers + 1) * shape.dim
    return measure.matmul_parameters(shape) + shape.vocab_size * shape.dim + norms


def windows_that_fit(device: Device, shape: GPTConfig, windows: int) -> int:
    """The most windows per step, halving from `windows`, that the formula sees in the free memory."""
    free = device.free()
    while windows and autocast_bytes(shape, windows * shape.context, device.kept_by_norm) > ROOM * free:
        windows //= 2
    if not windows:
        need = autocast_bytes(shape, shape.context, device.kept_by_norm) / ROOM
        raise CourseError(
            f"It needs about {need / 1e9:.1f} GB of free memory for a single window, and the device has "
            f"{free / 1e9:.1f} GB."
        )
    return windows

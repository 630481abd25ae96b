"""When the stages of a pipeline work: their time stamps, the idle share of a step, what is kept meanwhile.

`Takes` is a layer whose passes last as long as they are told: with it a schedule can be watched on a computer
that has fewer cores than the pipeline has stages, because a pause needs no core.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage


class Stamp(NamedTuple):
    """A stage's work on one micro-batch, in seconds of one clock for all processes of this computer.

    `kind` is "forward", "backward", or, where the backward pass is split, "input" (the gradient that the
    stage before waits for) and "weight" (the gradients of the parameters).
    """

    stage: int
    micro_batch: int
    kind: str
    start: float
    end: float


def watch(stage: PipelineStage) -> list[Stamp]:
    """From now on note when this stage computes. Returns the list that fills; `clear()` it between steps."""
    seen: list[Stamp] = []

    def timed(name: str, kind: str) -> None:
        real = getattr(stage, name)

        def call(chunk: int, *args: object, **options: object) -> object:
            start = time.perf_counter()
            result = real(chunk, *args, **options)
            split = kind == "backward" and options.get("full_backward") is False
            what = "input" if split else kind
            seen.append(Stamp(stage.stage_index, chunk, what, start, time.perf_counter()))
            return result

        setattr(stage, name, call)

    timed("forward_one_chunk", "forward")
    timed("backward_one_chunk", "backward")
    timed("backward_weight_one_chunk", "weight")
    return seen


def bubble(ranks: Sequence[Iterable[Sequence]]) -> float:
    """Idle share of a step: `ranks` has the stamps of each rank, from the first start to the last end."""
    stamps = [[Stamp(*stamp) for stamp in rank] for rank in ranks]
    begin = min(stamp.start for rank in stamps for stamp in rank)
    end = max(stamp.end for rank in stamps for stamp in rank)
    worked = sum(stamp.end - stamp.start for rank in stamps for stamp in rank)
    return 1 - worked / (len(stamps) * (end - begin))


def in_flight(stamps: Iterable[Sequence]) -> int:
    """Most micro-batches whose activations one rank keeps at once, counted per chunk.

    A forward pass begins to keep them. They are free after the backward pass; where that is split, after its
    second part.
    """
    events = []
    for stamp in (Stamp(*stamp) for stamp in stamps):
        if stamp.kind == "forward":
            events.append((stamp.start, 1))
        elif stamp.kind in ("backward", "weight"):
            events.append((stamp.end, -1))
    kept = most = 0
    for _, change in sorted(events):
        kept += change
        most = max(most, kept)
    return most


class _Pause(torch.autograd.Function):
    """Hands its tensor on unchanged; sleeps on the way there, and on the way back."""

    @staticmethod
    def forward(ctx, x: Tensor, there: float, back: float) -> Tensor:
        ctx.back = back
        time.sleep(there)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        time.sleep(ctx.back)
        return gradient, None, None


class Takes(nn.Module):
    """A linear layer (…, dim) -> (…, dim) whose passes last: `forward`, `input` and `weight` seconds.

    `input` and `weight` are the two parts of the backward pass. The product is real, and too small to count.
    """

    def __init__(self, dim: int, forward: float, input: float, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim) + torch.randn(dim, dim) / dim)
        self.seconds = {"forward": forward, "input": input, "weight": weight}

    def forward(self, x: Tensor) -> Tensor:
        seconds = self.seconds
        weight = _Pause.apply(self.weight, 0.0, seconds["weight"])
        if not x.requires_grad:  # the first stage has no input to give a gradient to, but shall last as long
            weight = _Pause.apply(weight, 0.0, seconds["input"])
            return F.linear(_Pause.apply(x, seconds["forward"], 0.0), weight)
        return F.linear(_Pause.apply(x, seconds["forward"], seconds["input"]), weight)

"""The parts of `make gpu` that train: the course's loop, memory, precision, a profile, torch.compile."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.profiler import profile, record_function

from scaleup import measure
from scaleup.config import Config, DataConfig, TrainConfig
from scaleup.errors import CourseError
from scaleup.measure import Timings
from scaleup.measure.number_formats import relative_error
from scaleup.measure.rates import quiet_stderr
from scaleup.model import GPTConfig, next_token_loss
from scaleup.paths import state
from scaleup.text import corpus
from scaleup.text.windows import Windows
from scaleup.train import make_optimizer, train

from .device import Device
from .work import (
    TINY,
    Clock,
    Sizes,
    all_parameters,
    attempt,
    autocast_bytes,
    bare_step,
    batch_on,
    model_on,
    speed,
    timed,
    windows_that_fit,
)

READ_EVERY = 5  # steps, between two looks at the loss
AGREES = 0.01  # relative difference of two losses up to which they count as the same


# Training with the course's loop


def training(name: str, device: Device, sizes: Sizes) -> dict[str, Any]:
    """The course's loop in bf16 on real text: tokens/s, MFU, memory against the formula, the losses.

    Beside it a bare step on one batch that stays on the device, and the peak that the MFU is of.
    """
    shape, wanted = sizes.models[name]
    windows = windows_that_fit(device, shape, wanted)
    tokens = windows * shape.context
    peak = measure.matmul_peak(torch.bfloat16, max(sizes.matmul), measure.device())
    model = model_on(device, shape)
    bare = timed(bare_step(device, model, batch_on(device, shape, windows)), sizes.seconds)
    parameters = measure.parameters(model)
    del model
    device.settle()
    steps = READ_EVERY * min(40, max(3, round(3 * sizes.seconds / bare.median / READ_EVERY)))
    settings = TrainConfig(
        steps=steps,
        global_batch=windows,
        micro_batch=windows,
        dtype="bfloat16",
        validate_every=steps,
        log_every=READ_EVERY,
    )
    config = Config(shape, DataConfig(seq=shape.context), settings, out=f"gpu-{os.getpid()}")
    try:
        with device.peak() as memory:
            history = train(config, quiet=True)
    finally:
        shutil.rmtree(state() / "runs" / config.out, ignore_errors=True)
    # Steps that were read together have one rate; the first of them warm up.
    readings = [step.tokens_per_second for step in history[READ_EVERY::READ_EVERY]]
    loop = Timings(tuple(tokens / rate for rate in readings))
    peak = max(peak, measure.matmul_peak(torch.bfloat16, max(sizes.matmul), measure.device()))
    flops = measure.flops_per_token(shape, shape.context)
    return {
        "shape": vars(shape),
        "parameters": parameters,
        "windows": windows,
        "steps": steps,
        **speed(loop, tokens),
        "bare": speed(bare, tokens),
        "peak_flops": peak,
        "flops_per_token": flops,
        "mfu": loop.rate(tokens) * flops / peak,
        "bare_mfu": bare.rate(tokens) * flops / peak,
        "first_loss": history[0].loss,
        "last_loss": history[-1].loss,
        "validation_loss": history[-1].validation_loss,
        "memory": {
            "formula": autocast_bytes(shape, tokens, device.kept_by_norm),
            "measured": memory["used"],
            "reserved": memory["reserved"],
        },
    }


# Memory


def fp32_bytes(shape: GPTConfig, tokens: int, kept_by_norm: int) -> dict[str, int]:
    """The lesson's formula for a step in fp32 with a fused update: bytes of each kind, and the peak.

    A norm keeps its input, where it is not fused the normalised copy too, and its output.
    """
    n, norm = all_parameters(shape), kept_by_norm + 1
    layer = (2 * norm + 4) * shape.dim + 4 * shape.hidden
    kept = 4 * tokens * (shape.layers * layer + norm * shape.dim + shape.vocab_size)
    for_loss = 4 * max(tokens, 2 * min(tokens, 512)) * shape.vocab_size
    parts = {"parameters": 4 * n, "gradients": 4 * n, "optimizer state": 8 * n, "activations": kept}
    return parts | {"for the loss": for_loss, "peak": max(12 * n + kept + for_loss, 16 * n)}


def memory(device: Device, sizes: Sizes) -> dict[str, Any]:
    """Bytes of two steps in fp32: the formula, the device's own counter, and what hooks see kept."""
    shape, wanted = sizes.models["middle"]
    windows = max(1, wanted // 2)
    batch = batch_on(device, shape, windows)
    first = model_on(device, TINY)  # so that the libraries have their workspaces before we look
    next_token_loss(first(batch_on(device, TINY, 1)[0]), batch_on(device, TINY, 1)[1]).backward()
    del first
    with device.phases() as phase:
        with phase("model"):
            model = model_on(device, shape)
            optimizer = make_optimizer(model, TrainConfig())
        for step in (1, 2):
            with phase(f"forward {step}"):
                loss = next_token_loss(model(batch[0]), batch[1])
            with phase(f"backward {step}"):
                loss.backward()
            with phase(f"update {step}"):
                optimizer.step()
                optimizer.zero_grad()
    marks = phase.marks
    start, ready = marks["model"].before, marks["forward 2"].before
    counted = {
        "parameters": marks["model"].after - start,
        "gradients": marks["backward 2"].after - ready,
        "optimizer state": ready - marks["model"].after,
        "activations": marks["forward 2"].after - ready,
        "for the loss": max(marks[f"{name} 2"].peak for name in ("forward", "backward"))
        - marks["forward 2"].after,
        "peak": max(mark.peak for mark in marks.values()) - start,
    }
    with measure.kept_for_backward(model) as kept:
        loss = next_token_loss(model(batch[0]), batch[1])
    formula = fp32_bytes(shape, windows * shape.context, device.kept_by_norm)
    return {
        "shape": vars(shape),
        "windows": windows,
        "bytes": {
            name: {
                "formula": formula[name],
                "measured": size,
                "off": formula[name] / size - 1 if size else None,
            }
            for name, size in counted.items()
        },
        "activations_by_hooks": sum(kept.values()),
        "before_the_model": start,
    }


# Precision


@dataclass(frozen=True)
class Mode:
    """How to multiply: PyTorch's word for fp32 products, autocast's type, whether to scale the loss."""

    products: str = "highest"
    autocast: torch.dtype | None = None
    scaled: bool = False


MODES = {
    "fp32": Mode(),
    "tf32": Mode("high"),
    "bf16 autocast": Mode(autocast=torch.bfloat16),
    "fp16 autocast, scaler": Mode(autocast=torch.float16, scaled=True),
}


def precision(device: Device, sizes: Sizes) -> dict[str, Any]:
    """The same start, text and steps in each mode: tokens/s; how far losses and gradients are from fp32."""
    shape, wanted = sizes.models["middle"]
    windows = max(1, wanted // 2)
    dataset = Windows(corpus.prepare(quiet=True).tokens("train"), shape.context)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(1)).tolist()
    picked = [dataset[i] for i in order[: sizes.steps * windows]]
    stacked = (torch.stack(part).to(device.device).split(windows) for part in zip(*picked, strict=True))
    batches = list(zip(*stacked, strict=True))
    runs: dict[str, dict] = {}
    for name, mode in MODES.items():
        runs[name] = attempt(one_mode, device, shape, batches, mode, 2 * sizes.seconds)
        device.settle()
    torch.set_float32_matmul_precision("highest")
    truth = runs["fp32"]
    rows = {name: against(run, truth) for name, run in runs.items()}
    return {"shape": vars(shape), "windows": windows, "agrees_within": AGREES, "modes": rows}


def one_mode(
    device: Device, shape: GPTConfig, batches: Sequence[tuple[Tensor, Tensor]], mode: Mode, seconds: float
) -> dict[str, Any]:
    """Losses of the steps that fit into the time, at least four; the first step's gradients; tokens/s."""
    torch.set_float32_matmul_precision(mode.products)
    model = model_on(device, shape)
    optimizer = make_optimizer(model, TrainConfig())
    scaler = GradScaler(device.device.type, enabled=mode.scaled)
    losses, gradients, skipped, taken, clock = [], None, 0, [], Clock(seconds)

    def step(batch: tuple[Tensor, Tensor]) -> Tensor:
        dtype = mode.autocast or torch.bfloat16
        with torch.autocast(device.device.type, dtype, enabled=mode.autocast is not None):
            loss = next_token_loss(model(batch[0]), batch[1])
        scaler.scale(loss).backward()
        return loss.detach()

    for batch in batches:
        if len(losses) >= 4 and clock.over:
            break
        before = scaler.get_scale()
        device.synchronize()
        start = time.perf_counter()
        losses.append(step(batch))
        if gradients is None:
            factor = before if mode.scaled else 1.0
            gradients = torch.cat([p.grad.flatten() for p in model.parameters()]) / factor
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        device.synchronize()
        taken.append(time.perf_counter() - start)
        skipped += mode.scaled and scaler.get_scale() < before
    timings = Timings(tuple(taken[2:]))  # the first steps warm up, and the first one copies the gradients
    found = {**speed(timings, batches[0][0].numel()), "losses": torch.stack(losses).tolist()}
    if mode.scaled:
        found |= {"scale": scaler.get_scale(), "skipped_steps": skipped}
    return found | {"gradients": gradients}


def against(run: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
    """A run beside the one in fp32; the gradients themselves are left out."""
    row = {name: value for name, value in run.items() if name != "gradients"}
    if "failed" in run or "failed" in truth:
        return row
    pairs = list(zip(run["losses"], truth["losses"], strict=False))
    apart = max((abs(ours - theirs) / theirs for ours, theirs in pairs), key=unlike)
    return row | {
        "faster_than_fp32": run["tokens_per_second"] / truth["tokens_per_second"],
        "losses_compared": len(pairs),
        "largest_difference_of_loss": apart,
        "agrees": apart <= AGREES,
        "error_of_first_gradient": relative_error(run["gradients"], truth["gradients"]),
    }


def unlike(difference: float) -> float:
    """NaN counts as the largest difference."""
    return math.inf if math.isnan(difference) else difference


# A profile


def profiled(device: Device, sizes: Sizes) -> dict[str, Any]:
    """Of a small and a middle model's steps: share of the time in which the device works, gaps, operators."""
    return {name: attempt(one_profile, device, *sizes.models[name]) for name in ("small", "middle")}


def one_profile(device: Device, shape: GPTConfig, windows: int, steps: int = 5) -> dict[str, Any]:
    windows = windows_that_fit(device, shape, windows)
    step = bare_step(device, model_on(device, shape), batch_on(device, shape, windows))
    for _ in range(5):
        step()
    device.synchronize()
    with quiet_stderr(), profile(activities=device.activities) as trace, record_function("all steps"):
        for _ in range(steps):
            step()
        device.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        with quiet_stderr():
            trace.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    own = device.own_times(trace)
    total = sum(own.values()) or 1.0
    shares = {name: own[name] / total for name in sorted(own, key=own.get, reverse=True)}
    return {
        "parameters": all_parameters(shape),
        "windows": windows,
        **at_work(events, device.work, "all steps", steps),
        "products": sum(shares.get(name, 0.0) for name in ("aten::mm", "aten::bmm", "aten::addmm")),
        "attention": sum(share for name, share in shares.items() if "attention" in name),
        "operators": dict(list(shares.items())[:8]),
    }


def at_work(events: list[dict], work: set[str], window: str, steps: int) -> dict[str, Any]:
    """Of a Chrome trace: the share of `window` in which something of the categories `work` runs; the gaps.

    Pieces of work that overlap count once. A gap is where none runs. A trace counts in microseconds.
    """
    of = next(e for e in events if e.get("cat") == "user_annotation" and e["name"] == window)
    start, end = of["ts"], of["ts"] + of["dur"]
    pieces = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in work and "dur" in e)
    pieces = [(max(a, start), min(b, end)) for a, b in pieces if b > start and a < end]
    if not pieces:
        raise CourseError("The profiler saw no work on the device.")
    reached, busy, gaps = start, 0.0, []
    for a, b in pieces:
        if a > reached:
            gaps.append(a - reached)
        busy += max(0.0, b - max(a, reached))
        reached = max(reached, b)
    if end > reached:
        gaps.append(end - reached)
    gaps.sort()
    return {
        "seconds_per_step": (end - start) / steps / 1e6,
        "share_at_work": busy / (end - start),
        "pieces_per_step": len(pieces) / steps,
        "median_piece_s": sorted(b - a for a, b in pieces)[len(pieces) // 2] / 1e6,
        "gaps_per_step": len(gaps) / steps,
        "median_gap_s": gaps[len(gaps) // 2] / 1e6 if gaps else 0.0,
        "largest_gap_s": gaps[-1] / 1e6 if gaps else 0.0,
    }


# torch.compile


def compiled(device: Device, sizes: Sizes) -> dict[str, Any]:
    """Four layers of the middle model, plain and compiled: how much faster, how long compiling takes.

    Compiling is what the first forward and backward pass takes beyond a later step. `make gpu` gives each
    part an empty cache.
    """
    shape, wanted = sizes.models["middle"]
    shape = replace(shape, layers=min(4, shape.layers))
    windows = windows_that_fit(device, shape, wanted)
    batch, tokens = batch_on(device, shape, windows), windows * shape.context
    found: dict[str, Any] = {"shape": vars(shape), "windows": windows}
    for name in ("plain", "compiled"):
        model = model_on(device, shape)
        model = torch.compile(model, backend=sizes.compiler) if name == "compiled" else model
        step = bare_step(device, model, batch)
        device.synchronize()
        with torch.autocast(device.device.type, torch.bfloat16):
            start = time.perf_counter()
            loss = next_token_loss(model(batch[0]), batch[1])
            loss.backward()
            device.synchronize()
            first = time.perf_counter() - start
        model.zero_grad()
        with device.peak() as used:
            timings = timed(step, sizes.seconds)
        row = {"first_pass_s": first, "loss": loss.item(), "peak_bytes": used["used"]}
        found[name] = row | speed(timings, tokens)
        del model, step, loss
        device.settle()
    plain, fast = found["plain"], found["compiled"]
    gain = fast["tokens_per_second"] / plain["tokens_per_second"]
    saved = tokens / plain["tokens_per_second"] - tokens / fast["tokens_per_second"]
    compiling = max(0.0, fast["first_pass_s"] - tokens / fast["tokens_per_second"])
    return found | {
        "faster": gain,
        "compile_s": compiling,
        "steps_until_it_pays": compiling / saved if saved > 0 else None,
        "difference_of_loss": abs(fast["loss"] - plain["loss"]) / plain["loss"],
    }

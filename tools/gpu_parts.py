"""What `make gpu` measures: each part is a function (device, sizes) -> numbers, and runs on a CPU as well.

All numbers are in seconds, bytes, FLOP/s and tokens/s; shares lie between 0 and 1.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import profile, record_function

from scaleup import measure
from scaleup.computer.resources import free_port
from scaleup.config import Config, DataConfig, TrainConfig
from scaleup.errors import CourseError
from scaleup.measure import Timings
from scaleup.measure.number_formats import relative_error
from scaleup.measure.rates import quiet_stderr
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.paths import state
from scaleup.text import corpus
from scaleup.text.windows import Windows
from scaleup.train import make_optimizer, process_group, train
from scaleup.words import one_line

from .contenders import random_batch
from .gpu_device import Device

ROOM = 0.8  # the share of the free memory that a training may fill, by the formula
READ_EVERY = 5  # steps, between two looks at the loss
AGREES = 0.01  # relative difference of two losses up to which they count as the same


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
    lesson = attempt(lambda: {"flops": measure.matmul_peak(torch.bfloat16, max(sizes.matmul))})
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
        "copy_by_the_lessons": measure.copy_bandwidth(sizes.copy_mb),
    }

    def link() -> dict[str, float]:
        host, there = device.pinned(source.nbytes), source.view(torch.uint8)
        to_device = min(device.seconds(lambda: there.copy_(host, non_blocking=True), repeats=5))
        to_host = min(device.seconds(lambda: host.copy_(there, non_blocking=True), repeats=5))
        return {"host_to_device": host.nbytes / to_device, "device_to_host": host.nbytes / to_host}

    return found | {"link": attempt(link)}


# Training with the course's loop


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


def training(name: str, device: Device, sizes: Sizes) -> dict[str, Any]:
    """The course's loop in bf16 on real text: tokens/s, MFU, memory against the formula, the losses.

    Beside it a bare step on one batch that stays on the device, and the peak that the MFU is of.
    """
    shape, wanted = sizes.models[name]
    windows = windows_that_fit(device, shape, wanted)
    tokens = windows * shape.context
    peak = measure.matmul_peak(torch.bfloat16, max(sizes.matmul))
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
    peak = max(peak, measure.matmul_peak(torch.bfloat16, max(sizes.matmul)))
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
    "compile": Part(60, compiled),
    "checkpoint": Part(35, checkpoint),
    "all-reduce": Part(25, all_reduce),
}

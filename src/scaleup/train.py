"""The training loop: the same file on one CPU core, on the ranks of a laptop, and on GPU nodes under Slurm.

Start it as `scaleup train --config FILE` (one rank), or the same words after `torchrun --no-python`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from tqdm.auto import tqdm

from . import corpus, measure
from .config import Config, TrainConfig
from .data import Windows
from .doctor import OLDEST_TORCH
from .errors import CourseError
from .model import GPT, next_token_loss
from .paths import state

RANKS_PER_CORE = 4  # beyond this, processes only take turns


@dataclass(frozen=True)
class Step:
    """What one optimizer step tells: losses in nats per token, rate in tokens per second over all ranks."""

    step: int
    loss: float
    tokens_per_second: float
    learning_rate: float
    validation_loss: float | None = None


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(1.0, progress)))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; matrices decay, norms do not."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


@contextlib.contextmanager
def process_group() -> Iterator[tuple[int, int, torch.device]]:
    """Join the ranks that torchrun or srun started; yields (rank, world size, device).

    Without either it is rank 0 of 1 and no process group is made.
    """
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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if not torch.cuda.is_available() and local > RANKS_PER_CORE * cores:
        raise CourseError(f"{local} ranks on {cores} cores would only take turns. "
                          f"Start at most {RANKS_PER_CORE * cores} ranks here.")  # fmt: skip


def batches(
    dataset: Windows, config: TrainConfig, rank: int, world_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Micro-batches without end: (inputs, targets), each (micro_batch, seq). Reshuffled every epoch."""
    sampler = DistributedSampler(dataset, world_size, rank, seed=config.seed, drop_last=True)
    loader = DataLoader(dataset, config.micro_batch, sampler=sampler, drop_last=True)
    steps = len(dataset) // config.global_batch  # whole steps an epoch, the same for any number of ranks
    if not steps:
        raise CourseError(f"{len(dataset)} windows are too few for train.global_batch={config.global_batch}. "
                          "Use a smaller batch.")  # fmt: skip
    epoch = 0
    while True:
        sampler.set_epoch(epoch)  # without this every epoch has the same order
        yield from islice(loader, steps * accumulation(config, world_size))
        epoch += 1


def accumulation(config: TrainConfig, world_size: int) -> int:
    """Micro-batches that each rank adds up before one optimizer step."""
    together = config.micro_batch * world_size
    if config.global_batch % together:
        raise CourseError(
            f"train.global_batch={config.global_batch} is not a multiple of train.micro_batch="
            f"{config.micro_batch} x {world_size} ranks = {together}. Change one of them."
        )
    return config.global_batch // together


@torch.no_grad()
def validate(model: nn.Module, dataset: Windows, rank: int, world_size: int, device: torch.device) -> float:
    """Mean loss over 32 windows spread over the validation text, shared out among the ranks."""
    total = torch.zeros(2, device=device)
    windows = range(0, len(dataset), max(1, len(dataset) // 32))
    for index in list(windows)[rank:32:world_size]:
        inputs, targets = (t[None].to(device) for t in dataset[index])
        total += torch.tensor([next_token_loss(model(inputs), targets).item(), 1.0], device=device)
    if world_size > 1:
        dist.all_reduce(total)
    return (total[0] / total[1]).item()


def train(config: Config, quiet: bool = False) -> list[Step]:
    """Train as the configuration says, on as many ranks as were started; returns one Step per optimizer step.

    Rank 0 writes `.scaleup/runs/NAME/metrics.jsonl` while it trains and `model.pt` at the end, or when
    interrupted. An earlier run of the same name is set aside, not overwritten. SIGTERM on any rank ends the
    run on all of them after the same step, with exit status 143.
    """
    with process_group() as (rank, world_size, device), sigterm_noted() as asked:
        settings = config.train
        micro_steps = accumulation(settings, world_size)
        text = corpus.prepare(config.data.corpus, quiet=rank > 0)
        if text.vocab_size > config.model.vocab_size:
            raise CourseError(
                f"The corpus has {text.vocab_size} tokens, but model.vocab_size={config.model.vocab_size}. "
                f"Raise it to at least {text.vocab_size}."
            )
        torch.manual_seed(settings.seed)
        bare = GPT(config.model).to(device)
        model = DistributedDataParallel(bare) if world_size > 1 else bare
        optimizer = make_optimizer(model, settings)
        stream = batches(Windows(text.tokens("train"), config.data.seq), settings, rank, world_size)
        held_out = Windows(text.tokens("valid"), config.data.seq)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.dtype == "bfloat16")
        tokens = settings.global_batch * config.data.seq
        history: list[Step] = []
        folder = run_folder(config) if rank == 0 else None
        silent = quiet or rank > 0
        bar = tqdm(total=settings.steps, desc="train", unit="step", disable=silent or not sys.stderr.isatty())
        try:
            for step in range(settings.steps):
                start = time.perf_counter()
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, settings)
                loss = accumulate(model, stream, micro_steps, autocast, device)
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
                optimizer.step()
                optimizer.zero_grad()
                measure.synchronize()
                rate = tokens / (time.perf_counter() - start)
                validation = None
                if (step + 1) % settings.validate_every == 0 or step + 1 == settings.steps:
                    validation = validate(bare, held_out, rank, world_size, device)
                mean, stop = average(torch.stack([loss, loss.new_tensor(bool(asked))]), world_size)
                history.append(Step(step, mean, rate, learning_rate(step, settings), validation))
                if folder:
                    with open(folder / "metrics.jsonl", "a") as file:
                        file.write(json.dumps(dataclasses.asdict(history[-1])) + "\n")
                bar.update()
                bar.set_postfix(loss=f"{mean:.3f}", tokens_per_s=f"{rate:,.0f}")
                if (
                    validation is not None and not silent and bar.disable
                ):  # a job's log wants lines, not a bar
                    print(f"step {step + 1}: loss {mean:.3f}, {rate:,.0f} tokens/s", flush=True)
                if stop:
                    break
        finally:
            bar.close()
            if folder and history:
                corpus.replace(folder / "model.pt", serialise(bare))
        if len(history) < settings.steps:
            if world_size > 1:
                dist.barrier()  # where one task's end ends the others, rank 0 must have saved before
            if not silent:
                print(f"step {len(history)}: stopped by SIGTERM; what was finished is kept.", flush=True)
            raise SystemExit(128 + signal.SIGTERM)
        return history


@contextlib.contextmanager
def sigterm_noted() -> Iterator[list[int]]:
    """SIGTERM, by which Slurm and torchrun end a run, only adds to the list: the loop decides when to stop.

    It can come twice, from both of them. Python lets only the main thread handle signals.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def accumulate(model, stream, micro_steps: int, autocast, device: torch.device) -> Tensor:
    """Forward and backward over the micro-batches of one step; gradients are averaged once, at the last."""
    total = torch.zeros((), device=device)
    for micro in range(micro_steps):
        inputs, targets = (t.to(device) for t in next(stream))
        more_to_come = micro + 1 < micro_steps and isinstance(model, DistributedDataParallel)
        with model.no_sync() if more_to_come else contextlib.nullcontext():
            with autocast:
                loss = next_token_loss(model(inputs), targets) / micro_steps
            loss.backward()
        total += loss.detach()
    return total


def average(values: Tensor, world_size: int) -> list[float]:
    """The mean over all ranks of each entry of a vector."""
    if world_size > 1:
        dist.all_reduce(values)
    return [value / world_size for value in values.tolist()]


def run_folder(config: Config) -> Path:
    folder = state() / "runs" / config.out
    if (folder / "metrics.jsonl").exists():
        folder.rename(folder.with_name(f"{config.out}.{datetime.now():%Y-%m-%d-%H%M%S-%f}"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def serialise(model: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()

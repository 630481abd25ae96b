"""The training loop: the same file on one CPU core, on the ranks of a laptop, and on GPU nodes under Slurm.

Start it as `scaleup train --config FILE` (one rank), or the same words after `torchrun --no-python`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from .. import measure
from ..config import Config
from ..errors import CourseError
from ..files import write_whole
from ..model import GPT, next_token_loss
from ..text import corpus
from ..text.windows import Windows
from .batches import accumulation, batches
from .join import process_group
from .optimizer import learning_rate, make_optimizer
from .run_folder import run_folder, serialise
from .signals import sigterm_noted


@dataclass(frozen=True)
class Step:
    """What one optimizer step tells: losses in nats per token, rate in tokens per second over all ranks."""

    step: int
    loss: float
    tokens_per_second: float
    learning_rate: float
    validation_loss: float | None = None


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
                write_whole(folder / "model.pt", serialise(bare))
        if len(history) < settings.steps:
            if world_size > 1:
                dist.barrier()  # where one task's end ends the others, rank 0 must have saved before
            if not silent:
                print(f"step {len(history)}: stopped by SIGTERM; what was finished is kept.", flush=True)
            raise SystemExit(128 + signal.SIGTERM)
        return history


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

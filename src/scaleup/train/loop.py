"""The training loop: the same file on one CPU core, on the ranks of a laptop, and on GPU nodes under Slurm.

Start it as `scaleup train --config FILE` (one rank), or the same words after `torchrun --no-python`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from ..config import Config
from ..errors import CourseError
from ..files import write_whole
from ..model import GPT, next_token_loss
from ..text import corpus
from ..text.windows import Windows
from .batches import accumulation, batches
from .join import process_group
from .optimizer import learning_rate, make_optimizer
from .run_folder import append_metrics, run_folder, serialise
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
def validation_loss(
    model: nn.Module, dataset: Windows, rank: int, world_size: int, device: torch.device
) -> float:
    """Mean loss over 32 windows spread over the validation text, shared out among the ranks."""
    total = torch.zeros(2, device=device)
    windows = range(0, len(dataset), max(1, len(dataset) // 32))
    for index in list(windows)[rank:32:world_size]:
        inputs, targets = (t[None].to(device) for t in dataset[index])
        total[0] += next_token_loss(model(inputs), targets)
        total[1] += 1
    if world_size > 1:
        dist.all_reduce(total)
    return (total[0] / total[1]).item()


def train(config: Config, quiet: bool = False) -> list[Step]:
    """Train as the configuration says, on as many ranks as were started; returns one Step per optimizer step.

    Losses are read after the first step, every `train.log_every` steps and where the model is validated.
    Between two readings the processor does not wait for the device, and the rate of a Step is the mean of
    the steps that were read together. Rank 0 writes `.scaleup/runs/NAME/metrics.jsonl` while it trains and
    `model.pt` at the end, or when interrupted. An earlier run of the same name is set aside, not overwritten.
    SIGTERM on any rank ends the run on all of them at the next reading, with exit status 143.
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
        unread: list[Tensor] = []  # losses that are still on the device
        folder = run_folder(config) if rank == 0 else None
        silent = quiet or rank > 0
        bar = tqdm(total=settings.steps, desc="train", unit="step", disable=silent or not sys.stderr.isatty())

        def read(begun: float) -> bool:
            """Wait for the device, note the steps since the last reading; True if a rank was asked to end."""
            flag = unread[0].new_tensor(bool(asked))
            *means, stop = average(torch.stack([*unread, flag]), world_size)
            rate = tokens * len(means) / (time.perf_counter() - begun)
            unread.clear()
            for mean in means:
                history.append(Step(len(history), mean, rate, learning_rate(len(history), settings)))
            bar.set_postfix(loss=f"{means[-1]:.3f}", tokens_per_s=f"{rate:,.0f}")
            return stop > 0

        begun, written, stop = time.perf_counter(), 0, False
        try:
            for step in range(1, settings.steps + 1):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step - 1, settings)
                loss = accumulate(model, stream, micro_steps, autocast, device)
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
                optimizer.step()
                optimizer.zero_grad()
                unread.append(loss)
                bar.update()
                validated = step % settings.validate_every == 0 or step == settings.steps
                if not validated and step > 1 and step % settings.log_every:
                    continue
                stop = read(begun)
                if validated:
                    found = validation_loss(bare, held_out, rank, world_size, device)
                    history[-1] = dataclasses.replace(history[-1], validation_loss=found)
                if folder:
                    append_metrics(folder, history[written:])
                    written = len(history)
                if validated and not silent and bar.disable:  # a job's log wants lines, not a bar
                    last = history[-1]
                    print(
                        f"step {step}: loss {last.loss:.3f}, {last.tokens_per_second:,.0f} tokens/s",
                        flush=True,
                    )
                if stop:
                    break
                begun = time.perf_counter()
        finally:
            bar.close()
            if unread and world_size == 1:  # interrupted; with several ranks the others are not there to ask
                read(begun)
            if folder and history:
                append_metrics(folder, history[written:])
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

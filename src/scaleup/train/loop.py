"""The training loop: the same file on one CPU core, on the ranks of a laptop, and on GPU nodes under Slurm.

Start it as `scaleup train --config FILE` (one rank), or the same words after `torchrun --no-python`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import sys
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm.auto import tqdm

from ..checkpoint import Saver
from ..config import Config, ParallelConfig
from ..errors import CourseError
from ..files import write_whole
from ..parallel.refusals import settled
from ..text import corpus
from ..text.windows import Windows
from .batches import batches
from .join import process_group
from .optimizer import learning_rate, make_optimizer
from .run_folder import append_metrics, cut_metrics, folder_of, read_metrics, run_folder, serialise
from .share import Share
from .signals import sigterm_noted
from .step_record import StepRecord
from .validation import validation_loss


@dataclass(frozen=True)
class Step:
    """What one optimizer step tells: losses in nats per token, rate in tokens per second over all ranks.

    The rest is rank 0's, see `step_record`: when it ended (seconds since 1970), how long it took and waited
    for data, the norm of all gradients before clipping, the most bytes so far, the model's FLOPs per second
    over all ranks, and the power in W as far as this node's counters see it.
    """

    step: int
    loss: float
    tokens_per_second: float
    learning_rate: float
    validation_loss: float | None = None
    at: float | None = None
    seconds: float | None = None
    input_wait: float | None = None
    gradient_norm: float | None = None
    memory_bytes: int | None = None
    model_flops: float | None = None
    watts: float | None = None


FREE = ("micro_batch", "log_every", "validate_every")  # of [train]: a run may go on with others


def train(config: Config, quiet: bool = False, anew: bool = False) -> list[Step]:
    """Train as the configuration says, on as many ranks as were started; returns one Step per optimizer step.

    A run of the same name and settings that was not finished goes on from its newest sound checkpoint, also
    on other ranks; `anew` begins from nothing instead.

    Losses are read after the first step, every `train.log_every` steps and where the model is validated.
    Between two readings the processor does not wait for the device, and the rate of a Step is the mean of
    the steps that were read together. Rank 0 writes `.scaleup/runs/NAME/metrics.jsonl` while it trains and
    `model.pt` at the end, or when interrupted. Another run of the same name is set aside, not overwritten.
    SIGTERM on any rank ends the run on all of them at the next reading, after a checkpoint, with exit status
    143. A model that is split is saved in both cases; after an error it is not, because ranks that failed
    cannot hand over theirs.
    """
    with process_group() as (rank, world_size, device), sigterm_noted() as asked:
        settings, ways = config.train, settled(config, world_size)
        text = corpus.prepare(config.data.corpus, quiet=rank > 0)
        if text.vocab_size > config.model.vocab_size:
            raise CourseError(
                f"The corpus has {text.vocab_size} tokens, but model.vocab_size={config.model.vocab_size}. "
                f"Raise it to at least {text.vocab_size}."
            )
        share = Share(config, ways, device)
        optimizer = make_optimizer(share.model, settings)
        windows = Windows(text.tokens("train"), config.data.seq)
        held_out = Windows(text.tokens("valid"), config.data.seq)
        tokens = settings.global_batch * config.data.seq
        unread: list[Tensor] = []  # losses that are still on the device
        silent = quiet or rank > 0
        saver, done, history = take_up(config, share, optimizer, ways, silent, anew)
        batched = batches(windows, settings, share.data_rank, share.data_ranks, done)
        stream = record = StepRecord(config, batched, device, world_size)
        folder, numbers = folder_of(config) if rank == 0 else None, itertools.count(done)
        if folder:
            record.describe(folder)
        bar = tqdm(total=settings.steps, initial=done, desc="train", unit="step",
                   disable=silent or not sys.stderr.isatty())  # fmt: skip

        def read(begun: float) -> bool:
            """Wait for the device, note the steps since the last reading; True if a rank was asked to end."""
            flag = unread[0].new_tensor(bool(asked))
            *means, stop = average(torch.stack([*unread, flag]), world_size // ways.pp)
            rate = tokens * len(means) / (time.perf_counter() - begun)
            unread.clear()
            for mean, more in zip(means, record.take(rate, len(means)), strict=True):
                number = next(numbers)
                history.append(Step(number, mean, rate, learning_rate(number, settings), **more))
            bar.set_postfix(loss=f"{means[-1]:.3f}", tokens_per_s=f"{rate:,.0f}")
            return stop > 0

        begun, written, step, in_order = time.perf_counter(), len(history), done, False
        record.start()
        try:
            for step in range(done + 1, settings.steps + 1):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step - 1, settings)
                loss = share.step(stream)
                norm = share.clip(settings.clip)
                optimizer.step()
                optimizer.zero_grad()
                unread.append(loss)
                record.note(norm)
                bar.update()
                validated = step % settings.validate_every == 0 or step == settings.steps
                kept = config.checkpoint.every and step % config.checkpoint.every == 0
                if not (validated or kept) and step > 1 and step % settings.log_every:
                    continue
                stop = read(begun)
                if validated:
                    found = validation_loss(share, held_out)
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
                if stop or kept:
                    saver.save(step, wait=stop)
                if stop:
                    break
                begun = time.perf_counter()
                record.start()
            saver.settle()
            record.tell_computed(folder)
            in_order = True
        finally:
            bar.close()
            if world_size == 1:  # with several ranks, after an error, the others may not be there
                saver.wait()
            if unread and world_size == 1:  # interrupted; with several ranks the others are not there to ask
                read(begun)
            if folder and history:
                append_metrics(folder, history[written:])
            if share.is_whole or in_order:  # gathering a split model takes all ranks
                state = share.whole_state()
                if folder and history:
                    write_whole(folder / "model.pt", serialise(state))
        if step < settings.steps:
            if world_size > 1:
                dist.barrier()  # where one task's end ends the others, rank 0 must have saved before
            if not silent:
                print(f"step {step}: stopped by SIGTERM; what was finished is kept.", flush=True)
            raise SystemExit(128 + signal.SIGTERM)
        return history


def take_up(
    config: Config, share: Share, optimizer: torch.optim.AdamW, ways: ParallelConfig, silent: bool, anew: bool
) -> tuple[Saver, int, list[Step]]:
    """Go on with an unfinished run, or begin one: what saves it, the steps that are done, what they told."""
    folder, first = folder_of(config), not dist.is_initialized() or dist.get_rank() == 0
    same = dataclasses.asdict(config)
    run = {part: same[part] for part in ("model", "data", "train", "experts")}
    run["train"] = {key: value for key, value in run["train"].items() if key not in FREE}
    layout = {"parallel": dataclasses.asdict(ways), "micro_batch": config.train.micro_batch}
    kept = config.checkpoint
    saver = Saver(folder / "checkpoints", share.model, optimizer, run, layout, kept.keep, kept.asynchronous)
    finished = (folder / "model.pt").exists() and len(read_metrics(folder)) >= config.train.steps
    if first and (anew or finished):
        run_folder(config)
    done, wrong = saver.resume()
    told = [[]]
    if first and done:
        told = [[Step(**line) for line in cut_metrics(folder, done)]]
        saver.sweep(done)
    elif first:
        run_folder(config)
        wrong += ["It begins anew. What was there is kept beside its folder."] if wrong else []
    if first:
        write_whole(folder / "config.json", json.dumps(same, indent=1) + "\n")
    if dist.is_initialized():
        dist.broadcast_object_list(told, src=0)
    if done:
        wrong.append(f"goes on after step {done} of {config.train.steps}, from its checkpoint.")
    for sentence in wrong if not silent else ():
        print(sentence, flush=True)
    return saver, done, told[0]


def average(values: Tensor, ranks: int) -> list[float]:
    """The sum over all ranks of each entry of a vector, divided by the number of ranks that have one."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return [value / ranks for value in values.tolist()]

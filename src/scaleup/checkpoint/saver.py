"""Saving while a run goes on: a copy is taken, and the files are written behind the next steps."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter

from ..errors import CourseError
from . import complete_state, publication, resuming


class Saver:
    """The checkpoints of one run. All ranks make it together and call it at the same steps.

    `run` holds the settings that have to be the same for a run to go on, `layout` those that may differ.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimizer: torch.optim.AdamW,
        run: dict[str, Any],
        layout: dict[str, Any] | None = None,
        keep: int = 2,
        asynchronous: bool = True,
    ) -> None:
        self.folder, self.model, self.optimizer = folder, model, optimizer
        self.run, self.layout, self.keep, self.asynchronous = run, layout or {}, keep, asynchronous
        self.alone = not dist.is_initialized()
        self.rank, self.ranks = (0, 1) if self.alone else (dist.get_rank(), dist.get_world_size())
        # Ranks agree on what was written while they train, so they need a group that training does not use.
        self.group = None if self.alone else dist.new_group(backend="gloo", timeout=timedelta(minutes=30))
        self.behind: threading.Thread | None = None
        self.failure: Exception | None = None
        # What PyTorch says of a save is for its developers: that one process is alone, what it times.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        logging.getLogger("torch.distributed.checkpoint").setLevel(logging.ERROR)

    def save(self, step: int, wait: bool = False) -> None:
        """Save the state after `step` steps. Without `wait` it returns as soon as the state is copied.

        At most one checkpoint is being written: the call waits for the one before. If that one could not be
        written, rank 0 says so and the run goes on; with `wait`, all ranks get a CourseError.
        """
        self.settle()
        part = publication.hidden(self.folder, step)
        with contextlib.suppress(OSError):  # a full disk: all ranks learn of it when they write
            part.mkdir(parents=True, exist_ok=True)
        randomness = json.dumps(complete_state.random_states())
        state = complete_state.tensors(self.model, self.optimizer)
        target = {
            "storage_writer": HuggingFaceStorageWriter(str(part), save_distributed=True),
            "process_group": self.group,
            "no_dist": self.alone,
        }
        if self.asynchronous and not wait:
            written = dcp.async_save(state, **target)
            own = (step, written.result, randomness)
            self.behind = threading.Thread(target=self.complete, args=own, daemon=True)
            self.behind.start()
        else:
            self.complete(step, lambda: dcp.save(state, **target), randomness)
            self.finish()

    def complete(self, step: int, write: Callable[[], Any], randomness: str) -> None:
        """`written`, whose failure is kept for whoever waits."""
        try:
            self.written(step, write, randomness)
        except Exception as error:
            self.failure = error

    def written(self, step: int, write: Callable[[], Any], randomness: str) -> None:
        """Write, see that it is on the disk, and publish: on all ranks, with one verdict for all."""
        part, files, trouble = publication.hidden(self.folder, step), {}, None
        try:
            write()
            (part / f"rank-{self.rank:05}.json").write_text(randomness)
        except Exception as error:  # the ranks have to agree before any of them gives up
            trouble = error
        self.gather(None)  # all files have to be there before the ranks share them out
        try:
            names = sorted(path.name for path in part.iterdir())
            files = {name: publication.settle(part / name) for name in names[self.rank :: self.ranks]}
        except OSError as error:
            trouble = trouble or error
        told = self.gather((files, None if trouble is None else reason(trouble)))
        if failed := next((why for _, why in told if why), None):
            if self.rank == 0:
                publication.remove(part)  # it may be what fills the disk
            raise CourseError(f"The checkpoint of step {step} could not be written: {failed}")
        why = None
        if self.rank == 0:
            every = {name: entry for found, _ in told for name, entry in found.items()}
            layout = {"ranks": self.ranks, "torch": torch.__version__, **self.layout}
            try:
                publication.publish(self.folder, step, every, {"run": self.run, "layout": layout})
                publication.retain(self.folder, self.keep)
            except OSError as error:
                why = reason(error)
        # No rank goes on before the checkpoint has its name, or all know that it has none.
        if why := self.gather(why)[0]:
            raise CourseError(f"The checkpoint of step {step} could not be published: {why}")

    def gather(self, mine: Any) -> list[Any]:
        """What every rank gives, on every rank."""
        if self.alone:
            return [mine]
        found = [None] * self.ranks
        dist.all_gather_object(found, mine, group=self.group)
        return found

    def wait(self) -> None:
        """Until nothing is being written, whatever became of it."""
        if self.behind:
            self.behind.join()
            self.behind = None

    def settle(self) -> None:
        """`wait`; if the checkpoint could not be written, rank 0 says so, and the run goes on."""
        self.wait()
        if isinstance(self.failure, CourseError):
            if self.rank == 0:
                print(f"{self.failure} The run goes on without it.", flush=True)
            self.failure = None
        self.finish()

    def finish(self) -> None:
        """Wait until the checkpoint that is being written has its name. Raises what went wrong with it."""
        self.wait()
        if self.failure:
            failure, self.failure = self.failure, None
            raise failure

    def sweep(self, done: int) -> None:
        """Delete what an earlier job left half written, and set aside later checkpoints than `done`'s.

        Rank 0 calls it with the step that the run goes on from, before anything is saved.
        """
        publication.sweep(self.folder)
        publication.set_aside(self.folder, done)

    def resume(self) -> tuple[int, list[str]]:
        """Load the newest sound checkpoint: its step (0: there is none), and what was wrong with newer ones.

        The ranks may be more or fewer than those that saved, and split the model otherwise.
        """
        if self.rank == 0:
            publication.restore(self.folder)
        found, wrong = resuming.newest(self.folder, self.run, self.rank, self.ranks, self.gather)
        if found is None:
            return 0, wrong
        checkpoint, told = found
        state = complete_state.tensors(self.model, self.optimizer)
        reader = HuggingFaceStorageReader(str(checkpoint))
        try:
            dcp.load(state, storage_reader=reader, process_group=self.group, no_dist=self.alone)
        except Exception as error:
            raise CourseError(f"{checkpoint.name} does not fit this model: {reason(error)}") from None
        complete_state.set_steps(self.optimizer, told["step"])
        own = checkpoint / f"rank-{self.rank:05}.json"
        try:
            if own.exists():
                complete_state.set_random_states(json.loads(own.read_text()))
            else:  # there were fewer ranks: this one has no states to go on with
                complete_state.seed(told["step"] * 1_000_003 + self.rank)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CourseError(f"{checkpoint.name} has random states of another form: {error}.") from None
        self.gather(None)  # rank 0 deletes old checkpoints: not while another rank still reads
        return told["step"], wrong


def reason(error: Exception) -> str:
    """The first line of what happened, without the ranks that PyTorch puts around it."""
    failures = getattr(error, "failures", None)
    if failures:
        error = next(iter(failures.values()))
        error = error[0] if isinstance(error, tuple) else error
    return f"{type(error).__name__}: {error}".splitlines()[0]

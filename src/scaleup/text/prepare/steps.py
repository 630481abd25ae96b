"""What every task of a preparing knows, and how tasks leave results that a kill cannot damage."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import CourseError
from ...files import write_whole
from .recipe import Recipe

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # full, over a quota, over a limit on a file's size


@dataclass(frozen=True)
class Preparation:
    """Where texts come from, where results go, and the recipe. Paths are whole, so any worker finds them."""

    folder: Path
    out: Path
    recipe: Recipe
    opt_outs: tuple[str, ...]
    partitions: int

    @property
    def work(self) -> Path:
        return self.out / ".preparing"

    @property
    def buckets(self) -> int:
        """Shares of the keys that are compared apart: they grow with the corpus, so that each stays small."""
        return max(1, (self.partitions + 1) // 2) if self.recipe.threshold is not None else 1

    def file(self, step: str, number: int, suffix: str) -> Path:
        return self.work / step / f"{number:05d}{suffix}"

    def facts(self, step: str, number: int) -> dict | None:
        """What a task wrote last, or None where it has not finished."""
        try:
            return json.loads(self.file(step, number, ".json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # a power cut can leave a name without its bytes
            return None

    def finish(self, step: str, number: int, facts: dict) -> None:
        """Say that a task is done: its other files are complete. A later call skips it."""
        write_whole(self.file(step, number, ".json"), json.dumps(facts, ensure_ascii=False))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A stream into a file that appears under its name when all is written, and not at all otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with part.open("wb") as stream:
            yield stream
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def save_array(path: Path, array: np.ndarray) -> None:
    """Nothing but the numbers: who loads them knows their type."""
    write_whole(path, array.tobytes())


def load_array(path: Path, dtype: Any) -> np.ndarray:
    """A memory map of what `save_array` wrote, flat."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)


def batches(items: Iterator[Any], characters: Callable[[Any], int]) -> Iterator[list[Any]]:
    """Groups of documents, small enough to hold: 256 of them, or about a million characters."""
    batch, held = [], 0
    for item in items:
        batch.append(item)
        held += characters(item)
        if len(batch) == 256 or held > 2**20:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def task(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step on a worker. `after` only orders the graph; what a system refuses becomes a sentence."""

    @functools.wraps(step)
    def told(prep: Preparation, *arguments: Any, after: Any = None) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are the parallelism here
        try:
            step(prep, *arguments)
        except OSError as error:
            raise sentence(error, prep.out) from None
        except MemoryError:
            raise CourseError("A worker had not enough memory. Take fewer workers, or a smaller partition "
                              "(--partition).") from None  # fmt: skip

    return told


def sentence(error: OSError, out: Path) -> CourseError:
    """What the operating system refused, as a sentence."""
    if error.errno in NO_ROOM:
        return CourseError(f"There is no room left for {out} (about twice the size of the texts is needed). "
                           "Make room and call again: what was finished is kept.")  # fmt: skip
    return CourseError(f"{error.filename or out} cannot be used: {error.strerror or error}.")

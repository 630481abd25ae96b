"""Feed training from a folder of token shards: each window once per epoch, shuffled, from any point on.

An epoch's order is a formula and no list: `shuffled` says which window is at which place, in constant memory.
So a position is a seed, an epoch and how many of its windows were consumed. What a rank reads next follows
from those, from its number and from how many ranks there are. That is why a run may go on with another
number of ranks.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import CourseError
from .shards import open_shard, read_manifest

ROUNDS = 6
AT_ONCE = 64  # batches whose windows are worked out in one go


def scrambled(x: np.ndarray) -> np.ndarray:
    """64 bits that look random for each number of an array of uint64: the finaliser of SplitMix64.

    Source: Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    x = x + np.uint64(0x9E3779B97F4A7C15)  # arithmetic modulo 2^64
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shuffled(places: np.ndarray, n: int, seed: int, epoch: int | np.ndarray = 0) -> np.ndarray:
    """Which of `n` windows is at each place of an epoch: (k,) whole numbers below `n` -> (k,) int64.

    A permutation of 0..n-1 for every seed and epoch, computed place by place; `epoch` is one for all places
    or (k,). It is a Feistel network: a place is a pair (row, column) in a grid of at least n cells, and each
    round moves one of the two by a scrambled value of the other, which can be undone and so maps no two cells
    onto one. A result outside the n cells is sent through again ("cycle walking"). Good for shuffling and not
    for secrets. Source: Black and Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002.
    """
    columns = np.uint64(math.isqrt(n - 1) + 1)
    rows = np.uint64(-(-n // int(columns)))
    cells = np.asarray(places, dtype=np.uint64)
    epochs = np.broadcast_to(np.asarray(epoch, dtype=np.uint64), cells.shape)
    key = scrambled(scrambled(np.array([seed], dtype=np.uint64)) ^ epochs)
    keys = [scrambled(key + np.uint64(turn)) for turn in range(ROUNDS)]

    def once(cells: np.ndarray, keys: list[np.ndarray]) -> np.ndarray:
        row, column = cells // columns, cells % columns
        for turn, key in enumerate(keys):
            if turn % 2:
                row = (row + scrambled(column ^ key) % rows) % rows
            else:
                column = (column + scrambled(row ^ key) % columns) % columns
        return row * columns + column

    cells = once(cells, keys)
    while (outside := cells >= np.uint64(n)).any():
        cells[outside] = once(cells[outside], [key[outside] for key in keys])
    return cells.astype(np.int64)


class ShardWindows(Dataset):
    """Windows of seq + 1 tokens over all shards of a folder; none lies across the end of a shard.

    Item i is (inputs, targets), each (seq,) int64; targets are the inputs shifted by one token. With a
    sequence of k numbers instead of i they are (k, seq). Neighbours share one token, as in `Windows`. What
    is left at the end of each shard, at most `seq` tokens, belongs to no window. Raises CourseError for a
    folder that is not complete, a shard that is cut off, or tokens that the manifest does not know.
    """

    def __init__(self, folder: Path, seq: int) -> None:
        self.folder, self.seq = Path(folder), seq
        self.shards = []
        for line in read_manifest(self.folder)["shards"]:
            shard = open_shard(self.folder / line["name"])
            if len(shard.tokens) != line["tokens"]:
                raise CourseError(f"{self.folder / line['name']}.bin has {len(shard.tokens):,} tokens, and "
                                  f"the manifest says {line['tokens']:,}. Copy it again.")  # fmt: skip
            self.shards.append(shard)
        each = [max(0, (len(shard.tokens) - 1) // seq) for shard in self.shards]
        self.ends = list(accumulate(each))  # how many windows there are up to the end of each shard
        if not each or not self.ends[-1]:
            raise CourseError(f"{self.folder} has no window of {seq + 1} tokens. Take shorter windows.")

    def __reduce__(self) -> tuple:
        """A worker that is not a fork opens the shards itself, and gets no copy of their tokens."""
        return type(self), (self.folder, self.seq)

    def __len__(self) -> int:
        return self.ends[-1]

    def place(self, number: int) -> tuple[int, int]:
        """(shard, first token within the shard) of a window."""
        if not 0 <= number < len(self):
            raise IndexError(f"window {number} of {len(self)}")
        shard = bisect_right(self.ends, number)
        return shard, (number - (self.ends[shard - 1] if shard else 0)) * self.seq

    def __getitem__(self, numbers: int | Sequence[int]) -> tuple[Tensor, Tensor]:
        if isinstance(numbers, int | np.integer):
            shard, start = self.place(int(numbers))
            ids = self.shards[shard].tokens[start : start + self.seq + 1].astype(np.int64)
        else:
            ids = np.empty((len(numbers), self.seq + 1), dtype=np.int64)
            for row, number in enumerate(numbers):
                shard, start = self.place(int(number))
                ids[row] = self.shards[shard].tokens[start : start + self.seq + 1]
        window = torch.from_numpy(ids)
        return window[..., :-1], window[..., 1:]


class Order(Sampler):
    """What one rank reads, without end: arrays of `batch` window numbers, beginning at place `first`.

    Places go on from epoch to epoch: place p is place p % n of epoch p // n. All ranks together take
    `batch * world_size` places at a time, so a batch may lie across the end of an epoch.
    """

    def __init__(self, n: int, batch: int, rank: int, world_size: int, seed: int, first: int = 0) -> None:
        self.n, self.batch, self.rank, self.world_size = n, batch, rank, world_size
        self.seed, self.first = seed, first

    def __iter__(self) -> Iterator[np.ndarray]:
        steps = self.batch * self.world_size * np.arange(AT_ONCE)[:, None]
        places = self.first + steps + self.rank * self.batch + np.arange(self.batch)  # (AT_ONCE, batch)
        while True:
            epochs, within = np.divmod(places.ravel(), self.n)
            yield from shuffled(within, self.n, self.seed, epochs).reshape(places.shape)
            places = places + AT_ONCE * self.batch * self.world_size


class Feed:
    """Batches for one rank without end, with a position that can be saved: `for inputs, targets in feed`.

    `dataset` takes a sequence of window numbers, as `ShardWindows` does. Each batch has `batch` windows for
    each of `world_size` ranks. The order is fixed by `seed`, and neither `workers` nor `prefetch` changes
    it. `workers` processes read ahead, each `prefetch` batches; with none, reading begins when a batch is
    asked for. Batches are in pageable memory: pin them yourself where a copy to a GPU shall not block.
    Raises CourseError for a batch, rank or seed that cannot be.

    The position counts what the loop was given and not what workers have read ahead. Save `state_dict()`
    after a step, when all ranks have taken the same number of batches.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch: int,
        rank: int = 0,
        world_size: int = 1,
        *,
        seed: int = 0,
        workers: int = 0,
        prefetch: int = 2,
    ) -> None:
        if batch < 1 or not 0 <= rank < world_size:
            raise CourseError(f"batch={batch} for rank {rank} of {world_size}: a batch has at least one "
                              "window, and ranks count from 0.")  # fmt: skip
        if seed < 0:
            raise CourseError(f"seed={seed}: take a whole number from 0 on.")
        self.dataset, self.batch, self.rank, self.world_size = dataset, batch, rank, world_size
        self.seed, self.workers, self.prefetch = seed, workers, prefetch
        self.taken = 0  # windows that all ranks together were given, over all epochs

    @property
    def epoch(self) -> int:
        return self.taken // len(self.dataset)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from the position on. Begin again after `load_state_dict`."""
        order = Order(len(self.dataset), self.batch, self.rank, self.world_size, self.seed, self.taken)
        loader = DataLoader(
            self.dataset,
            batch_size=None,  # the order hands over whole batches
            sampler=order,
            num_workers=self.workers,
            prefetch_factor=self.prefetch if self.workers else None,
            generator=torch.Generator(),  # leaves the model's random numbers alone
        )
        for batch in loader:
            self.taken += self.batch * self.world_size
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The position, for a checkpoint. It is the same on every rank and says nothing of their number."""
        windows = len(self.dataset)
        return {"seed": self.seed, "epoch": self.epoch, "consumed": self.taken % windows, "windows": windows}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where a run of any number of ranks stopped. Raises CourseError for another set of windows."""
        if state["windows"] != len(self.dataset):
            raise CourseError(f"The position was saved over {state['windows']:,} windows, and these shards "
                              f"have {len(self.dataset):,}. Take the same shards and seq.")  # fmt: skip
        self.seed = state["seed"]
        self.taken = state["epoch"] * state["windows"] + state["consumed"]

"""How fast is the course's feed, and does it lose nothing? Beside torchdata's StatefulDataLoader.

Both read the same shards in a shuffled order, in blocks of batches that take turns. A run of its own,
`python -m tools.bench_feeding`, measures this part only and puts it into `book/reference/`.
"""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler

from scaleup.files import write_whole
from scaleup.measure import Timings
from scaleup.paths import root
from scaleup.text import corpus, shards
from scaleup.text.feed import Feed, ShardWindows

FEED, STATEFUL = "the course's feed", "torchdata StatefulDataLoader"
SEQ, BATCH, SHARDS = 256, 8, 8
BLOCK = 200  # batches of one turn
STOP, RANKS = 100, (2, 3)  # batches of each rank before the restart; ranks before and after it


def write_shards(folder: Path) -> None:
    """The course's training text as equal shards, with their manifest."""
    tokens = np.array(corpus.prepare(quiet=True).tokens("train"))
    parts = enumerate(np.array_split(tokens, SHARDS))
    lines = [shards.write_shard(folder / f"train-{n:05}", [part], np.uint16) for n, part in parts]
    write_whole(folder / shards.MANIFEST, json.dumps({"shards": lines}))


def stateful(dataset: Dataset, rank: int = 0, world_size: int = 1, workers: int = 0) -> Any:
    """torchdata's loader as its documentation uses it, with PyTorch's own sampler."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    sampler = DistributedSampler(dataset, world_size, rank, seed=1, drop_last=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls something of PyTorch that is deprecated
        return StatefulDataLoader(dataset, BATCH, sampler=sampler, num_workers=workers)


def endless(loader: Any) -> Iterator:
    for epoch in count():
        loader.sampler.set_epoch(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from loader


def measure_speed(windows: ShardWindows, rounds: int) -> list[dict[str, Any]]:
    """For none and for one worker: tokens per second of both, and how many times as fast the feed is."""
    found = []
    for workers in (0, 1):
        sources = {FEED: iter(Feed(windows, BATCH, workers=workers)),
                   STATEFUL: endless(stateful(windows, workers=workers))}  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in sources}
        for turn in range(rounds + 1):
            for name in list(sources)[:: 1 if turn % 2 else -1]:
                begun = time.perf_counter()
                for inputs, _ in islice(sources[name], BLOCK):
                    assert inputs.shape == (BATCH, SEQ)
                seconds[name].append(time.perf_counter() - begun)
        times = {name: Timings(tuple(each[1:])) for name, each in seconds.items()}
        rates = {
            name: {
                "tokens_per_second": round(each.rate(BLOCK * BATCH * SEQ)),
                "spread": round(each.spread, 3),
            }
            for name, each in times.items()
        }
        ratios = [b / a for a, b in zip(times[FEED].seconds, times[STATEFUL].seconds, strict=True)]
        low, middle, high = (round(q, 2) for q in statistics.quantiles(ratios, n=4, method="inclusive"))
        faster = {"median": middle, "low": low, "high": high}
        found.append({"workers": workers, "found": rates, "feed_over_torchdata": faster})
        del sources  # ends the workers
    return found


class Numbers(Dataset):
    """A dataset whose windows are their own numbers."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, numbers: Any) -> tuple[Any, Any]:
        return torch.as_tensor(numbers), torch.as_tensor(numbers)


def count_after_restart(size: int) -> dict[str, dict[str, int]]:
    """Windows of one epoch that came twice or never when two ranks stopped and three went on."""
    numbers = Numbers(size)
    makers: Mapping[str, Callable[[int, int], Any]] = {
        FEED: lambda rank, ranks: Feed(numbers, BATCH, rank, ranks),
        STATEFUL: lambda rank, ranks: stateful(numbers, rank, ranks),
    }
    found = {}
    for name, make in makers.items():
        given, state = [], None
        for ranks, stop in zip(RANKS, (STOP, None), strict=True):
            left = stop or -(-(size - len(given)) // (BATCH * ranks))
            shares, states = [], []
            for rank in range(ranks):
                loader = make(rank, ranks)
                if state:
                    loader.load_state_dict(state)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    shares.append([x.tolist() for x, _ in islice(loader, left)])
                states.append(loader.state_dict())
            # step by step, so that what belongs to the next epoch comes last
            longest = max(map(len, shares))
            steps = [part[step] for step in range(longest) for part in shares if step < len(part)]
            given += [number for batch in steps for number in batch]
            state = states[0]
        seen = Counter(given[:size])
        twice = sum(times > 1 for times in seen.values())
        found[name] = {"twice": twice, "never": size - len(seen)}
    return found


def measure_feeding(rounds: int, model: float) -> dict[str, Any]:
    """Speed and correctness of both; `model` is the tokens per second that the fastest step consumed."""
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder))
        windows = ShardWindows(Path(folder), SEQ)
        speed = measure_speed(windows, rounds)
        restart = count_after_restart(len(windows))
    fed = speed[0]["found"][FEED]["tokens_per_second"]
    return {"date": date.today().isoformat(), "torchdata": importlib.metadata.version("torchdata"),
            "windows": len(windows), "seq": SEQ, "batch": BATCH, "speed": speed, "restart": restart,
            "model_tokens_per_second": model, "feed_over_model": round(fed / model, 1)}  # fmt: skip


def fastest(result: Mapping[str, Any], name: str) -> float:
    """The most tokens per second that contender `name` trained on, of all configurations."""
    return max(step["found"][name]["tokens_per_second"] for step in result["steps"])


def main() -> None:
    """Measure this part and put it into the numbers and the page in the book."""
    from .bench_page import filled
    from .contenders import COURSE

    torch.set_num_threads(1)
    home = root() / "book" / "reference"
    result = json.loads((home / "benchmark.json").read_text("utf-8"))
    result["feeding"] = measure_feeding(result["rounds"], fastest(result, COURSE))
    print(json.dumps(result["feeding"], indent=1))
    (home / "benchmark.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    page = (home / "benchmark.md").read_text("utf-8")
    (home / "benchmark.md").write_text(filled(page, result), "utf-8")


if __name__ == "__main__":
    sys.exit(main())

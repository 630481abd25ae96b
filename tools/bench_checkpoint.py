"""What does saving cost a run's steps? `python -m tools.bench_checkpoint [CONFIG] [--ranks N] [--rounds N]`.

CONFIG is the run of the lesson on checkpoints unless another is given. A round is one interval of its
`[checkpoint]` with an asynchronous save, one with a save that is waited for, and one without, in turns; they
are compared round by round, by the clock and by the time on the cores, which other programs disturb less. An
interval ends when its checkpoint has its name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch.distributed as dist

from scaleup import config, ranks
from scaleup.checkpoint import Saver
from scaleup.computer.resources import usable_cores
from scaleup.parallel.refusals import settled
from scaleup.paths import root
from scaleup.text import corpus
from scaleup.text.windows import Windows
from scaleup.train import Share, batches, make_optimizer, process_group

LESSON = Path("notebooks", "4-on-the-machine", "checkpoints", "run.toml")
KINDS = ("without", "behind", "waited")


def rank_part(file: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each interval by kind, by the clock and on the cores; the first round does not count."""
    given = config.load(file)
    with process_group() as (_, world_size, device), tempfile.TemporaryDirectory() as folder:
        share = Share(given, settled(given, world_size), device)
        optimizer = make_optimizer(share.model, given.train)
        text = Windows(corpus.prepare(given.data.corpus, quiet=True).tokens("train"), given.data.seq)
        stream = batches(text, given.train, share.data_rank, share.data_ranks)
        places = [folder]  # that of rank 0
        dist.broadcast_object_list(places)
        saver = Saver(Path(places[0]), share.model, optimizer, {}, keep=2)
        found, number = {kind: [] for kind in KINDS}, 0
        for turn in range(rounds + 1):
            first = turn % len(KINDS)
            for kind in KINDS[first:] + KINDS[:first]:
                dist.barrier()
                number, begun, busy = number + 1, time.perf_counter(), time.process_time()
                if kind != "without":
                    saver.save(number, wait=kind == "waited")
                for _ in range(given.checkpoint.every):
                    share.step(stream).item()
                    share.clip(given.train.clip)
                    optimizer.step()
                    optimizer.zero_grad()
                saver.finish()
                dist.barrier()
                found[kind].append((time.perf_counter() - begun, time.process_time() - busy))
        return {kind: seconds[1:] for kind, seconds in found.items()}


def told(seconds: dict[str, list[tuple[float, float]]], every: int) -> dict[str, object]:
    """Milliseconds of a step without saving, and how much each kind of save adds, in percent of it."""
    found: dict[str, object] = {"rounds": len(seconds["without"])}
    for place, clock in enumerate(("clock", "cores")):
        without = [each[place] for each in seconds["without"]]
        found[f"step_ms_{clock}"] = round(1000 * statistics.median(without) / every, 1)
        for kind in KINDS[1:]:
            pairs = zip((each[place] for each in seconds[kind]), without, strict=True)
            added = [100 * (one / other - 1) for one, other in pairs]
            low, middle, high = (round(q, 1) for q in statistics.quantiles(added, n=4, method="inclusive"))
            found[f"{kind}_adds_{clock}"] = {"median": middle, "quartiles": [low, high]}
    return found


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", type=Path, default=root() / LESSON)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    chosen = parser.parse_args(words)
    given = config.load(chosen.config)
    done = ranks.run(
        Path(__file__), chosen.ranks, "--rank-part", chosen.config, chosen.rounds, quiet=True, timeout=1800
    )
    result = told(done.results[0], given.checkpoint.every)
    print(
        json.dumps(
            {"cores": usable_cores(), "ranks": chosen.ranks, "every": given.checkpoint.every, **result}
        )
    )
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank-part"]:
        ranks.save_result(rank_part(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        sys.exit(main())

"""Random configurations of parallel training: each trains as one rank does, or is refused.

`python -m tools.parallel_sweep --seeds 60:400` tries as many as there are seeds and prints what differs. The
tests try the first sixty. Ranks are started once for each number of ranks, and train one configuration after
another.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

from scaleup import ranks
from scaleup.config import SCHEDULES, Config, DataConfig, ExpertsConfig, ParallelConfig, TrainConfig, build
from scaleup.errors import CourseError
from scaleup.model import GPTConfig
from scaleup.parallel.refusals import filled, reasons
from scaleup.paths import state
from scaleup.train import Share, train, validation

STEPS, MOST_RANKS = 3, 4
JUDGED = 8  # windows of a validation: all 32 would take longer than the steps
LOSS, NORM, PARAMETER = 2e-5, 5e-4, 1e-4  # in nats; relative; root mean square of a tensor


@dataclass(frozen=True)
class Case:
    """A configuration, and on how many ranks it is tried."""

    seed: int
    ranks: int
    config: Config

    @property
    def name(self) -> str:
        return self.config.out

    def on_one_rank(self) -> Config:
        """The same training: as many micro-batches, each with the sequences of all ranks."""
        ways, settings = filled(self.config.parallel, self.ranks), self.config.train
        together = settings.micro_batch * ways.dp * ways.shard
        one = dataclasses.replace(settings, micro_batch=together)
        return dataclasses.replace(self.config, train=one, parallel=ParallelConfig(), out=f"{self.name}-one")


def draw(seed: int, vocabulary: int = 300) -> Case:
    """The configuration of a seed. About one in three cannot run, for one reason or several."""
    pick = random.Random(seed)
    world = pick.choice((1, 2, 2, 3, 4, 4, 4, 4, 4, 4))
    sizes = dict.fromkeys(("dp", "shard", "tp", "pp", "cp"), 1)
    left = world
    while left > 1:
        factor = 2 if left % 2 == 0 else left
        (axis,) = pick.choices(list(sizes), weights=(4, 4, 4, 7, 4))
        sizes[axis] *= factor
        left //= factor
    copies = sizes["dp"] * sizes["shard"]
    ways = ParallelConfig(
        **(sizes | {"dp": pick.choice((0, sizes["dp"]))}),
        ep=pick.choice((1, copies, copies)) if pick.random() < 0.95 else 2,
        schedule=pick.choice((*SCHEDULES, "1F1B")),
        attention=pick.choice(("ring", "all-to-all")),
    )
    odd = pick.random() < 0.15  # sizes that rarely split
    heads = pick.choice((3, 6) if odd else (4, 8))
    model = GPTConfig(
        vocab_size=vocabulary + (1 if odd else 0),
        layers=pick.choice((2, 4, 5, 7, 8)),
        heads=heads,
        dim=heads * 8,
        hidden=pick.choice((36, 48) if odd else (48, 96)),
        context=48,
    )
    wants_experts = ways.ep > 1 or pick.random() < (0.05 if ways.tp > 1 else 0.3)
    count = pick.choice((2, 4, 4, 6)) if wants_experts and pick.random() < 0.95 else 0
    experts = ExpertsConfig(count, top_k=pick.choice((1, 2)), balance=pick.choice((0.0, 0.0, 0.02)))
    micro_batch, micro_batches = (
        pick.choice((1, 2)),
        pick.choice((1, 2, 3, 4) if ways.pp == 1 else (1, 4, 6, 8, 8)),
    )
    batch = micro_batch * micro_batches * max(1, copies) + (1 if pick.random() < 0.05 else 0)
    settings = TrainConfig(
        steps=STEPS, global_batch=batch, micro_batch=micro_batch, learning_rate=3e-3, warmup_steps=1,
        validate_every=STEPS, log_every=2, clip=0.5, seed=seed,
    )  # fmt: skip
    seq = pick.choice((30, 36) if odd else (16, 32, 48))
    return Case(seed, world, Config(model, DataConfig(seq=seq), settings, experts, ways, out=f"sweep-{seed}"))


@dataclass(frozen=True)
class Found:
    """The largest difference to one rank of a loss, of a gradient norm, of a parameter tensor."""

    loss: float
    norm: float
    parameter: float

    @property
    def equal(self) -> bool:
        return self.loss <= LOSS and self.norm <= NORM and self.parameter <= PARAMETER


def sweep(cases: Iterable[Case], timeout: float = 600) -> dict[int, Found | str]:
    """{seed: what was found, or what went wrong} of cases that are not refused."""
    found: dict[int, Found | str] = {}
    for world in range(1, MOST_RANKS + 1):
        some = [case for case in cases if case.ranks == world and not list(reasons(case.config, world))]
        if some:
            split = on_ranks(some, world, timeout) if world > 1 else [watched(case.config) for case in some]
            for case, told in zip(some, split, strict=True):
                found[case.seed] = told if isinstance(told, str) else compare(case, told)
    return found


def compare(case: Case, told: dict[str, list[float]]) -> Found:
    """Beside the training on one rank. Both runs' folders are removed."""
    one = watched(case.on_one_rank())
    folders = [state() / "runs" / name for name in (case.name, f"{case.name}-one")]
    split, whole = (torch.load(folder / "model.pt") for folder in folders)
    for folder in folders:
        shutil.rmtree(folder)
    if split.keys() != whole.keys():
        raise CourseError(f"{case.name}: model.pt lacks or adds {sorted(split.keys() ^ whole.keys())[:3]}.")
    return Found(
        loss=max(abs(a - b) for a, b in zip(told["losses"], one["losses"], strict=True)),
        norm=max(abs(a / b - 1) for a, b in zip(told["norms"], one["norms"], strict=True)),
        parameter=max((split[name] - whole[name]).square().mean().sqrt().item() for name in whole),
    )


def watched(config: Config) -> dict[str, list[float]]:
    """Train; {losses: of steps, then of validations; norms: of each step's gradients}."""
    norms: list[float] = []
    clip = Share.clip

    def noted(share: Share, limit: float) -> torch.Tensor:
        norm = clip(share, limit)
        norms.append(norm.item())
        return norm

    Share.clip = noted
    try:
        with mock.patch.object(validation, "WINDOWS", JUDGED):
            history = train(config, quiet=True)
    finally:
        Share.clip = clip
    losses = [step.loss for step in history] + [s.validation_loss for s in history if s.validation_loss]
    return {"losses": losses, "norms": norms}


def on_ranks(cases: list[Case], world: int, timeout: float) -> list[dict | str]:
    """What rank 0 tells of each case; a sentence where a rank failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.json"
        file.write_text(json.dumps([dataclasses.asdict(case.config) for case in cases]))
        words = ("--rank-part", file)
        told = ranks.run(Path(__file__), world, *words, timeout=timeout, quiet=True, warm=True)
    return told.results[0]


def rank_part(file: Path) -> None:
    """Runs on each rank. Every case has a process group of its own: none is left with a broken one."""
    store, rank, world = next(dist.rendezvous("env://"))
    told: list[dict | str] = []
    for number, table in enumerate(json.loads(file.read_text())):
        own = dist.PrefixStore(str(number), store)
        dist.init_process_group("gloo", store=own, rank=rank, world_size=world, timeout=timedelta(minutes=2))
        try:
            told.append(watched(build(Config, table, str(file))))
        except (RuntimeError, ValueError, AssertionError, CourseError) as error:
            told.append(f"{type(error).__name__}: {error}")
        finally:
            dist.destroy_process_group()
    ranks.save_result(told)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="60:160", help="first and one after the last")
    parser.add_argument("--rank-part", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.rank_part:
        rank_part(arguments.rank_part)
        return 0
    from scaleup.text import corpus

    first, end = map(int, arguments.seeds.split(":"))
    cases = [draw(seed, corpus.prepare().vocab_size) for seed in range(first, end)]
    found = sweep(cases, timeout=3600)
    wrong = {seed: what for seed, what in found.items() if isinstance(what, str) or not what.equal}
    print(f"{len(cases)} configurations: {len(found) - len(wrong)} equal to one rank, "
          f"{len(cases) - len(found)} refused, {len(wrong)} wrong.")  # fmt: skip
    for seed, what in wrong.items():
        print(f"seed {seed}: {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

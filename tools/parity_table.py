"""Every technique beside one rank: loss, gradients, and parameters after a step. Writes the page on parity.

`python -m tools.parity_table` measures on 2 and 4 ranks and writes book/reference/parity.md. What `scaleup
train` does is what is measured: a `Share` of the same configuration, whose gradients are clipped. Then the
same with one thing broken on purpose, and what parity says of it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from scaleup import ranks
from scaleup.config import SCHEDULES, Config, DataConfig, ExpertsConfig, ParallelConfig, TrainConfig
from scaleup.measure import parity
from scaleup.model import GPTConfig, next_token_loss
from scaleup.parallel import experts, long_context, mesh, refusals, stages
from scaleup.paths import root
from scaleup.train import Share, gradients
from scaleup.words import markdown_table

TOLERANCE = 1e-5  # relative to the largest number of each tensor
WORLDS = (2, 4)
KINDS = ("loss", "gradient", "parameter")
MODEL = GPTConfig(vocab_size=64, layers=8, heads=4, dim=32, hidden=48, context=32)
SEQUENCES, CLIP = 16, 0.1
PAGE = "book/reference/parity.md"
BROKEN_WORDS = """\
One thing is broken in each row. Parity names the first tensor that differs, in the order of loss, gradients
and parameters. Some rows are mistakes that users of distributed programs have reported, read on
27 November 2026."""
BEGIN, END = "<!-- measured -->", "<!-- end of what is measured -->"


@dataclass(frozen=True)
class Technique:
    """What is asked for, once for 2 and once for 4 ranks (None: not on so few)."""

    name: str
    two: ParallelConfig | None
    four: ParallelConfig | None
    experts: int = 0

    def ways(self, world: int) -> ParallelConfig | None:
        return self.two if world == 2 else self.four


def line(name: str, way: str, experts: int = 0, **more: object) -> Technique:
    """One way over all ranks."""
    return Technique(name, ParallelConfig(**{way: 2}, **more), ParallelConfig(**{way: 4}, **more), experts)


def square(name: str, experts: int = 0, **ways: object) -> Technique:
    """Two ways, which take four ranks."""
    return Technique(name, None, ParallelConfig(**ways), experts)


TECHNIQUES = (
    line("copies (DDP)", "dp"),
    line("shards (FSDP2)", "shard"),
    square("copies of shards (HSDP)", dp=2, shard=2),
    line("tensor, sequence", "tp"),
    *(line(f"pipeline, {schedule}", "pp", schedule=schedule) for schedule in SCHEDULES),
    line("context, ring", "cp"),
    line("context, all-to-all", "cp", attention="all-to-all"),
    line("experts on every rank", "dp", experts=4),
    line("experts spread", "ep", experts=4),
    square("experts spread, and copied", experts=4, ep=2),
    square("tensor and copies", tp=2, dp=2),
    square("tensor and shards", tp=2, shard=2),
    square("pipeline and copies", pp=2, dp=2),
    square("pipeline and shards", pp=2, shard=2),
    square("zero-bubble pipeline and copies", pp=2, dp=2, schedule="ZBVZeroBubble"),
    square("zero-bubble pipeline and shards", pp=2, shard=2, schedule="ZBVZeroBubble"),
    square("pipeline and tensor", pp=2, tp=2),
    square("pipeline and context", pp=2, cp=2),
    square("context and shards", cp=2, shard=2),
    square("context and tensor", cp=2, tp=2),
    square("experts and shards", experts=4, shard=4, ep=2),
    square("experts and context", experts=4, ep=2, cp=2),
    square("experts and pipeline", experts=4, ep=2, pp=2),
)


# What is broken on purpose: each is what stands in for the real function


def not_averaged(real: Callable) -> Callable:
    return lambda share, module: module


def same_windows(real: Callable) -> Callable:
    return lambda mesh, *axes: 0


def added_up(real: Callable) -> Callable:
    def mean(parameters: list[nn.Parameter], group: dist.ProcessGroup) -> None:
        real(parameters, group)
        for parameter in parameters:
            parameter.grad *= group.size()

    return mean


def other_seed(real: Callable) -> Callable:
    return lambda seed: real(seed + dist.get_rank())


def in_order(real: Callable) -> Callable:
    """Neighbouring tokens, instead of an early and a late piece."""
    return lambda tensor, mesh, dim=1: tensor.chunk(mesh.size(), dim)[mesh.get_local_rank()]


def late(real: Callable) -> Callable:
    return lambda out, lse, new, new_lse: (new.float(), new_lse)


def summed(real: Callable) -> Callable:
    def stages(*args: object, **options: object) -> object:
        pipeline = real(*args, **options)
        pipeline.schedule.scale_grads = False
        return pipeline

    return stages


def exchanged(real: Callable) -> Callable:
    def spread(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
        real(model, mesh)
        for mixture in experts.mixtures(model):
            names, held = list(mixture.experts), list(mixture.experts.values())
            mixture.experts = nn.ModuleDict(zip(names, reversed(held), strict=True))
        return model

    return spread


def undivided(real: Callable) -> Callable:
    return lambda x, parts: x


def detached(real: Callable) -> Callable:
    """The router's gradient is zero. With none at all DDP itself ends the second step with an error."""

    def forward(router: nn.Module, tokens: Tensor) -> tuple[Tensor, Tensor]:
        weights, chosen = real(router, tokens)
        return weights.detach() + 0 * weights, chosen

    return forward


def first_instead_of_last(real: Callable) -> Callable:
    return lambda share, last: real(share, not last)


def too_late(real: Callable) -> Callable:
    """DDP is told whether to average between a forward pass and its backward pass."""

    def accumulate(share: Share, stream: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        total = torch.zeros(())
        for micro in range(share.micro_steps):
            inputs, targets = next(stream)
            loss = next_token_loss(share.called(inputs), targets) / share.micro_steps
            share.called.require_backward_grad_sync = micro + 1 == share.micro_steps
            loss.backward()
            total += loss.detach()
        return total

    return accumulate


def own_norm(real: Callable) -> Callable:
    return lambda tensor: ()


def without_experts(real: Callable) -> Callable:
    return lambda parameters, limit, elsewhere, stages: real(parameters, limit, {}, stages)


def without_stages(real: Callable) -> Callable:
    return lambda parameters, limit, elsewhere, stages: real(parameters, limit, elsewhere, None)


def is_shard(real: Callable) -> Callable:
    """FSDP's shards of what tensor parallelism has cut are of another kind, whose `is_shard` is False."""

    def spread_over(tensor: Tensor) -> tuple[dist.ProcessGroup, ...]:
        placed = enumerate(tensor.placements)
        return tuple(tensor.device_mesh.get_group(axis) for axis, way in placed if way.is_shard())

    return spread_over


@dataclass(frozen=True)
class Broken:
    """`by(real)` replaces an attribute of `thing`; parity has to name the tensor `told` first.

    `report` is a public report of the same mistake, as its address goes on after github.com.
    """

    name: str
    told: str
    ways: ParallelConfig
    thing: object
    attribute: str
    by: Callable[[Callable], Callable]
    experts: int = 0
    report: str = ""

    @property
    def ranks(self) -> int:
        return 4 if self.ways.tp * self.ways.shard == 4 else 2

    def patch(self) -> contextlib.AbstractContextManager:
        return mock.patch.object(self.thing, self.attribute, self.by(getattr(self.thing, self.attribute)))


FIRST, EXPERT = "embedding.weight", "blocks.0.mlp.experts.0.gate.weight"
COPIES, RING, EXPERTS = ParallelConfig(), ParallelConfig(cp=2), ParallelConfig(ep=2)
SHARDS, CUT_SHARDS, STAGES = ParallelConfig(shard=2), ParallelConfig(tp=2, shard=2), ParallelConfig(pp=2)
BROKEN = (
    Broken("copies: gradients are not averaged", f"gradient {FIRST}", COPIES, Share, "over_data",
           not_averaged),
    Broken("copies: averaged at the first micro-batch, not at the last", f"gradient {FIRST}", COPIES, Share,
           "averaging", first_instead_of_last, report="modelscope/FunASR/pull/3472"),
    Broken("copies: DDP is told to average after the forward pass", f"gradient {FIRST}", COPIES, Share,
           "accumulate", too_late, report="karpathy/build-nanogpt/pull/30"),
    Broken("copies: all ranks read the same windows", "loss", COPIES, mesh, "place", same_windows),
    Broken("context: gradients are added up, not averaged", f"gradient {FIRST}", RING, gradients, "mean",
           added_up),
    Broken("context: each rank starts from its own seed", "loss", RING, torch, "manual_seed", other_seed),
    Broken("context: tokens are dealt out in their order", "loss", RING, long_context, "part", in_order),
    Broken("context: what comes later replaces what was there", "loss", RING, long_context, "merge", late),
    Broken("pipeline: micro-batches are summed", f"gradient {FIRST}", STAGES, stages, "stages", summed),
    Broken("pipeline: each stage clips by its own norm", f"parameter {FIRST}", STAGES, gradients, "clip",
           without_stages, report="pytorch/torchtitan/issues/596"),
    Broken("experts: two of a rank are exchanged", "loss", EXPERTS, experts, "spread", exchanged, 4),
    Broken("experts: gradients are not divided", f"gradient {EXPERT}", EXPERTS, experts, "averaged",
           undivided, 4, report="pytorch/pytorch/issues/160285"),
    Broken("experts: the router gets no gradient", f"gradient {FIRST}", EXPERTS,
           experts.Router, "forward", detached, 4, report="huggingface/transformers/issues/48687"),
    Broken("experts: spread ones are not in the norm", f"parameter {FIRST}", EXPERTS, gradients, "clip",
           without_experts, 4, report="NVIDIA/Megatron-LM/pull/5916"),
    Broken("shards: each rank clips by its own norm", f"parameter {FIRST}", SHARDS, gradients, "spread_over",
           own_norm, report="pytorch/pytorch/issues/170862"),
    Broken("tensor and shards: some are not in the norm", f"parameter {FIRST}", CUT_SHARDS, gradients,
           "spread_over", is_shard),
)  # fmt: skip


# One step


def configured(parallel: ParallelConfig, experts: int, world: int) -> Config:
    """With micro-batches of one sequence, and as many of them as 16 sequences allow."""
    ways = refusals.filled(parallel, world)
    micro = 1 if ways.pp > 1 else SEQUENCES // (2 * ways.dp * ways.shard)
    train = TrainConfig(global_batch=SEQUENCES, micro_batch=micro, clip=CLIP, seed=3)
    return Config(MODEL, DataConfig(seq=MODEL.context), train, ExpertsConfig(experts), parallel)


def one_step(config: Config, world: int) -> list[parity.Snapshot]:
    """All ranks' snapshots after one step of SGD, on rank 0."""
    share = Share(config, refusals.settled(config, world), torch.device("cpu"))
    optimizer = torch.optim.SGD(share.model.parameters(), lr=1.0, foreach=False)
    ids = torch.randint(
        MODEL.vocab_size, (SEQUENCES, MODEL.context + 1), generator=torch.Generator().manual_seed(2)
    )
    own = ids[share.data_rank :: share.data_ranks].split(config.train.micro_batch)
    loss = share.step((each[:, :-1], each[:, 1:]) for each in own).clone()
    if dist.is_initialized():
        dist.all_reduce(loss)
        loss /= world // share.ways.pp
    # Gradients as they are before clipping, which would hide a factor that all of them share.
    before = parity.snapshot(share.model, loss)
    share.clip(CLIP)
    optimizer.step()
    after = parity.snapshot(share.model, None)
    mine = before | {name: tensor for name, tensor in after.items() if name.startswith("parameter")}
    if not dist.is_initialized():
        return [mine]
    everybody = [None] * world
    dist.all_gather_object(everybody, mine)
    return everybody


def alone(config: Config) -> Config:
    one = dataclasses.replace(config.train, micro_batch=SEQUENCES // 2)
    return dataclasses.replace(config, train=one, parallel=ParallelConfig())


def errors(one: parity.Snapshot, several: list[parity.Snapshot]) -> dict[str, float]:
    """{kind: largest difference}, over all tensors of that kind and all ranks that have one."""

    def of(kind: str, found: parity.Snapshot) -> parity.Snapshot:
        return {name: tensor for name, tensor in found.items() if name.startswith(kind)}

    return {kind: parity.compare(of(kind, one), *(of(kind, s) for s in several)).largest for kind in KINDS}


def rank_part() -> None:
    """Runs on each rank: all techniques, then what is broken, each in a process group of its own."""
    store, rank, world = next(dist.rendezvous("env://"))
    plans: list[tuple[str, ParallelConfig, int, contextlib.AbstractContextManager]] = [
        (t.name, t.ways(world), t.experts, contextlib.nullcontext()) for t in TECHNIQUES if t.ways(world)
    ]
    for broken in BROKEN:
        if broken.ranks == world:
            plans.append((broken.name, broken.ways, broken.experts, broken.patch()))
    references = {count: one_step(alone(configured(ParallelConfig(), count, 1)), 1)[0] for count in (0, 4)}
    told = {}
    for number, (name, parallel, count, broken) in enumerate(plans):
        own = dist.PrefixStore(str(number), store)
        dist.init_process_group("gloo", store=own, rank=rank, world_size=world, timeout=timedelta(minutes=2))
        with broken:
            several = one_step(configured(parallel, count, world), world)
        dist.destroy_process_group()
        said = str(parity.compare(references[count], *several, tolerance=TOLERANCE))
        told[name] = {"said": said, **errors(references[count], several)}
    ranks.save_result(told)


def measured() -> dict[int, dict[str, dict]]:
    """{ranks: {technique or what is broken: {said, loss, gradient, parameter}}}"""
    return {
        world: ranks.run(Path(__file__), world, "--rank-part", quiet=True, warm=True, timeout=900).results[0]
        for world in WORLDS
    }


# The page


def bound(error: float) -> str:
    """The next power of ten: digits below it differ from machine to machine."""
    return f"≤ {10.0 ** math.ceil(math.log10(error)):g}".replace("e-0", "e-") if error else "0"


def table(found: dict[int, dict[str, dict]]) -> str:
    rows = []
    for technique in TECHNIQUES:
        cells = [technique.name]
        for world in WORLDS:
            told = found[world].get(technique.name)
            cells += [bound(told[kind]) for kind in KINDS] if told else ["—"] * 3
        rows.append(cells)
    header = ["technique", *(f"{kind}, {world} ranks" for world in WORLDS for kind in KINDS)]
    return markdown_table(header, rows, numbers=True)


def broken_table(found: dict[int, dict[str, dict]]) -> str:
    rows = []
    for broken in BROKEN:
        told = found[broken.ranks][broken.name]["said"]
        rows.append([broken.name, str(broken.ranks), f"`{told.partition(' by ')[0]}`", link(broken.report)])
    return markdown_table(["what is broken", "ranks", "what parity says", "reported by users"], rows)


def link(report: str) -> str:
    """`owner/name#number`, with its address."""
    if not report:
        return "—"
    owner, name, _, number = report.split("/")
    return f"[{owner}/{name}#{number}](https://github.com/{report})"


def filled(page: str, found: dict[int, dict[str, dict]]) -> str:
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    tables = f"{table(found)}\n\n## Broken on purpose\n\n{BROKEN_WORDS}\n\n{broken_table(found)}"
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank-part", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args(words).rank_part:
        rank_part()
        return 0
    place = root() / PAGE
    place.write_text(filled(place.read_text("utf-8"), measured()), "utf-8")
    print(f"{PAGE} is written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

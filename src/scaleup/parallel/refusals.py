"""Why a configuration cannot run on so many ranks: each reason is one text that says what to change.

Standard library only: a job is checked on a login node that may have no PyTorch, a plan in a browser.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import CourseError
from ..words import count

if TYPE_CHECKING:
    from ..config import Config, ParallelConfig, TrainConfig

AXES = ("pp", "dp", "shard", "cp", "tp")  # outermost first: neighbours along tp are neighbours in the machine
ONE_STAGE = ("GPipe", "1F1B")  # on each rank; in every other schedule a rank has two
IN_ROUNDS = ("Interleaved1F1B", "InterleavedZeroBubble")
SPLIT_BACKWARD = ("InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV")  # weights' gradients come later


def settled(config: Config, ranks: int) -> ParallelConfig:
    """The configuration's ways with `dp` filled in. Raises CourseError for the first reason."""
    for reason in reasons(config, ranks):
        raise CourseError(reason)
    return filled(config.parallel, ranks)


def filled(ways: ParallelConfig, ranks: int) -> ParallelConfig:
    """With as many copies as the ranks allow where dp is left open."""
    return dataclasses.replace(ways, dp=ways.dp or ranks // (ways.shard * ways.cp * ways.tp * ways.pp))


def reasons(config: Config, ranks: int) -> Iterator[str]:
    """Every reason why `ranks` ranks cannot train this, the basic ones first; none if they can."""
    found = list(world(config.parallel, ranks))
    if not found:
        ways = filled(config.parallel, ranks)
        for kind in (batch_of, tensor, context, expert, pipeline):
            found += kind(config, ways)
    yield from found


def world(ways: ParallelConfig, ranks: int) -> Iterator[str]:
    sizes = {axis: getattr(ways, axis) or 1 for axis in AXES}
    needed = math.prod(sizes.values())
    product = " x ".join(f"{axis}={size}" for axis, size in sizes.items() if size > 1) or "dp=1"
    if ways.dp and ranks != needed:
        yield (
            f"{product} takes {count(needed, 'rank')}, and there are {ranks}. Start {needed}, or leave out "
            "parallel.dp: then there are as many copies of the model as the ranks allow."
        )
    elif ranks % needed:
        yield (
            f"{product} takes {needed} ranks or a multiple of them, and there are {ranks}. Start so many, or "
            "change [parallel]."
        )


def batch(train: TrainConfig, ranks: int) -> Iterator[str]:
    """`ranks` are those that see other sequences: dp x shard."""
    together = train.micro_batch * ranks
    if train.global_batch % together:
        yield (
            f"train.global_batch={train.global_batch} is not a multiple of train.micro_batch="
            f"{train.micro_batch} x {ranks} ranks = {together}. Change one of them."
        )


def batch_of(config: Config, ways: ParallelConfig) -> Iterator[str]:
    yield from batch(config.train, ways.dp * ways.shard)


def tensor(config: Config, ways: ParallelConfig) -> Iterator[str]:
    tp, cp, seq = ways.tp, ways.cp, config.data.seq
    for name in ("heads", "hidden", "vocab_size"):
        if (size := getattr(config.model, name)) % tp:
            yield f"model.{name}={size} does not split over tp={tp}. Choose a tp that divides it."
    if seq % (cp * tp):
        yield (
            f"data.seq={seq} does not split over cp x tp = {cp * tp} ranks. Choose a multiple of {cp * tp}: "
            "between the split matrices each rank of tp has a part of the sequence."
        )
    if tp > 1 and config.experts.count:
        yield f"tp={tp} cuts MLPs, and experts are in their place. Spread the experts with ep, and set tp=1."


def context(config: Config, ways: ParallelConfig) -> Iterator[str]:
    cp, seq, heads = ways.cp, config.data.seq, config.model.heads // ways.tp
    if cp > 1 and seq % (2 * cp):
        yield (
            f"data.seq={seq} does not split into 2 x cp = {2 * cp} pieces, of which each rank has an "
            f"early and a late one. Choose a multiple of {2 * cp}."
        )
    if cp > 1 and ways.attention == "all-to-all" and heads % cp:
        yield (
            f"{heads} heads of a rank do not split over cp={cp}, and attention='all-to-all' deals out heads. "
            "Choose a cp that divides them, or attention='ring'."
        )


def expert(config: Config, ways: ParallelConfig) -> Iterator[str]:
    experts, top_k, ep = config.experts.count, config.experts.top_k, ways.ep
    if experts and top_k > experts:
        yield f"experts.top_k={top_k} is more than experts.count={experts}. Choose a smaller top_k."
    elif experts and config.model.hidden % top_k:
        yield (
            f"model.hidden={config.model.hidden} does not split over the experts.top_k={top_k} experts that "
            "a token meets. Choose a top_k that divides it."
        )
    if ep > 1 and not experts:
        yield f"ep={ep} spreads experts over ranks, and this model has none. Set experts.count, or ep=1."
    elif experts % ep:
        yield f"experts.count={experts} does not split over ep={ep}. Choose an ep that divides it."
    if ways.dp * ways.shard % ep:
        yield (
            f"ep={ep} does not divide dp x shard = {ways.dp * ways.shard}, the ranks that experts are spread "
            "over. Choose an ep that does."
        )


def pipeline(config: Config, ways: ParallelConfig) -> Iterator[str]:
    pp, schedule, layers = ways.pp, ways.schedule, config.model.layers
    if pp == 1:
        return
    stages = pp if schedule in ONE_STAGE else 2 * pp
    if layers < stages - 1:  # the last one may make the logits only
        yield (
            f"model.layers={layers} is too few for the {stages} stages of pp={pp} with "
            f"schedule='{schedule}'. Take at least {stages - 1} layers, or a smaller pp."
        )
    if config.experts.count and config.experts.balance:
        yield (
            "experts.balance adds a loss in every layer, and a pipeline has its loss on the last stage only. "
            "Set experts.balance=0, or pp=1."
        )
    share = config.train.micro_batch * ways.dp * ways.shard
    if config.train.global_batch % share == 0:
        yield from micro_batches(ways, config.train.global_batch // share, stages)


def micro_batches(ways: ParallelConfig, have: int, stages: int) -> Iterator[str]:
    """`have` is how many of them a step has."""
    pp, schedule = ways.pp, ways.schedule
    if ways.micro_batches not in (0, have):
        yield (
            f"parallel.micro_batches={ways.micro_batches}, and a step has {have}: train.global_batch over "
            f"train.micro_batch x dp x shard. Set it to {have}, or leave it out."
        )
    least = {"GPipe": 1, "DualPipeV": stages}.get(schedule, pp)
    if have < least:
        yield (
            f"schedule='{schedule}' needs at least {least} micro-batches, and a step has {have}. Choose a "
            "smaller train.micro_batch, or a larger train.global_batch."
        )
    elif schedule in IN_ROUNDS and have % (rounds := have // pp):
        yield (
            f"schedule='{schedule}' works through {have} micro-batches in {rounds} rounds, which must be "
            f"equal. Choose a multiple of pp={pp}."
        )

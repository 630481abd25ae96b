"""Between the planner's layouts and the [parallel] of `scaleup train`: the same words, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import CourseError
from ..parallel.refusals import ONE_STAGE, settled
from .planner import Plan
from .shapes import Shape

if TYPE_CHECKING:
    from ..config import Config


def asked_by(config: Config, ranks: int) -> dict[str, object]:
    """The fields of a Question that a configuration answers. Without ways in [parallel] no layout is given.

    Raises CourseError where `scaleup train` would refuse, and for what the planner has no formula for.
    """
    model, experts, train = config.model, config.experts, config.train
    shape = Shape(
        model.layers, model.dim, model.heads, model.hidden // (experts.top_k if experts.count else 1),
        model.vocab_size, experts=experts.count, experts_per_token=experts.top_k if experts.count else 0,
    )  # fmt: skip
    found = {
        "model": shape, "seq": config.data.seq, "global_batch": train.global_batch, "software": "scaleup",
    }  # fmt: skip
    if config.parallel == type(config.parallel)():
        return found
    ways = settled(config, ranks)
    if ways.dp > 1 and ways.shard > 1:
        raise CourseError(
            f"The planner shards over all copies or over none, not dp={ways.dp} x shard={ways.shard}. Plan "
            f"with dp=1 and shard={ways.dp * ways.shard}, or with shard=1, which need less and more memory."
        )
    layout = {way: getattr(ways, way) for way in ("tp", "pp", "cp", "ep")}
    chunks = 2 if ways.pp > 1 and ways.schedule not in ONE_STAGE else 1
    zero = 3 if ways.shard > 1 else 0
    return found | layout | {
        "vp": chunks, "zero": zero, "micro_batch": train.micro_batch, "recompute": "none",
    }  # fmt: skip


def sections(plan: Plan) -> str:
    """TOML that `scaleup train` takes for this plan. Raises CourseError for what it cannot do."""
    layout = plan.run.layout
    if layout.recompute != "none":
        raise CourseError(f"scaleup train does not recompute, and this plan does: {layout}.")
    if layout.vp > 2:
        raise CourseError(f"scaleup train has two chunks in a stage at most, and this plan has {layout.vp}.")
    sharded = layout.zero > 0
    ways = {"dp": 1 if sharded else layout.dp, "shard": layout.dp if sharded else 1}
    ways |= {way: getattr(layout, way) for way in ("tp", "pp", "cp", "ep")}
    lines = ["[train]", f"global_batch = {plan.run.global_batch}", f"micro_batch = {layout.micro_batch}", ""]
    lines += ["[parallel]", *(f"{name} = {size}" for name, size in ways.items())]
    if layout.pp > 1:
        lines.append(f'schedule = "{"1F1B" if layout.vp == 1 else "Interleaved1F1B"}"')
        lines.append(f"micro_batches = {plan.run.micro_batches:g}")
    return "\n".join(lines)

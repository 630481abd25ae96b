"""Stages of a pipeline: their layers, the slots of a step, the micro-batches that they keep."""

from __future__ import annotations

import math
from typing import NamedTuple

from .layout import Layout


class Work(NamedTuple):
    """A stage's work on one micro-batch, `forward` or `backward`, from `start` to `end`."""

    start: float
    end: float
    micro_batch: int
    forward: bool


def layers_of_stages(layers: int, pp: int, head: float = 0.0) -> tuple[int, int, int]:
    """Layers of the (first, middle, last) stage.

    `head` is what the logits cost, in layers, where a program shares that cost out; 0 where it does not.

    Where layers + 2 splits evenly, embedding and logits take the place of a layer each. Otherwise the layers
    are shared out evenly and the stages in the middle hold those that remain.
    """
    if pp == 1:
        return layers, layers, layers
    if head:
        each = math.ceil((layers + head) / pp)
        return min(layers, each), min(layers, each), max(0, layers - each * (pp - 1))
    if (layers + 2) % pp == 0 and layers % pp:
        each = (layers + 2) // pp
        return each - 1, each, each - 1
    least = layers // pp
    return least, math.ceil(layers / pp), least


def slots(layout: Layout, micro_batches: float) -> float:
    """Times that the slowest stage works in a step: micro-batches, and the bubble in front and behind.

    1F1B waits pp - 1 slots; with vp chunks per stage such a slot is 1 / vp as long (Narayanan et al. 2021).
    """
    return micro_batches + (layout.pp - 1) / layout.vp


def bubble(layout: Layout, micro_batches: float) -> float:
    """Share of the step in which a stage waits for the others."""
    return 1 - micro_batches / slots(layout, micro_batches)


def in_flight(layout: Layout, micro_batches: float) -> float:
    """Micro-batches whose activations the first stage keeps at once, in units of its whole stage (1F1B)."""
    if layout.pp == 1:
        return 1.0
    kept = min(float(layout.pp), micro_batches)
    if layout.vp > 1:
        kept = min(micro_batches, layout.pp * (1 + (layout.pp - 1) / (layout.pp * layout.vp)))
    return kept


def schedule(
    stages: int, micro_batches: int, forward: float = 1.0, backward: float = 2.0
) -> list[list[Work]]:
    """What each stage works on, and when: forward and backward in turn (1F1B, Narayanan et al. 2021).

    A stage starts with a forward pass for each stage behind it. `forward` and `backward` are the seconds, or
    any other unit, that one pass of one micro-batch takes on one stage; handing on takes none.
    """
    orders = []
    for stage in range(stages):
        ahead = min(stages - 1 - stage, micro_batches)
        order = [(True, n) for n in range(ahead)]
        for n in range(micro_batches - ahead):
            order += [(True, ahead + n), (False, n)]
        orders.append(order + [(False, n) for n in range(micro_batches - ahead, micro_batches)])
    done: dict[tuple[int, bool, int], float] = {}  # when (stage, forward, micro-batch) has ended
    work: list[list[Work]] = [[] for _ in range(stages)]
    while any(map(len, orders)):
        for stage, order in enumerate(orders):
            while order:
                is_forward, n = order[0]
                before = (stage + (-1 if is_forward else 1), is_forward, n)
                if 0 <= before[0] < stages and before not in done:
                    break
                free = work[stage][-1].end if work[stage] else 0.0
                start = max(free, done.get(before, 0.0))
                end = start + (forward if is_forward else backward)
                done[stage, is_forward, n] = end
                work[stage].append(Work(start, end, n, is_forward))
                del order[0]
    return work

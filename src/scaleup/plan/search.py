"""Every way to split a model over so many devices: which fit, which is fastest, and why the others lose.

`python -m scaleup.plan` prints how many layouts a second it weighs.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import CourseError
from . import flops
from .layout import RECOMPUTE, SOFTWARE, Layout, Machine, Run, Software
from .memory import GIB, RESERVED_BYTES, fits_well, memory
from .planner import Plan, predict_run
from .shapes import Shape
from .steptime import head_time, layer_time, step_time

MICRO_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
WEIGHED_AT_MOST = 500_000
CLOSE = 1 / 8  # of the asked batch: another one no further off is still about the same step


@dataclass(frozen=True)
class Task:
    """What is to be trained where. `global_batch` in sequences, `seq` in tokens."""

    shape: Shape
    seq: int
    global_batch: int
    machine: Machine
    software: Software = SOFTWARE["megatron"]
    bits: int = 16

    def run(self, layout: Layout) -> Run:
        return Run(
            self.shape, self.seq, self.global_batch, layout, self.machine, self.software, self.bits
        )  # fmt: skip


@dataclass(frozen=True)
class Found:
    """The best layouts, fastest first. `weighed` counts all of them, `lost` those that lost, by reason.

    `leanest` is the one that needs the least memory, None where no layout splits the batch.
    """

    plans: tuple[Plan, ...]
    weighed: int
    feasible: int
    lost: dict[str, int]
    leanest: Run | None = None

    @property
    def best(self) -> Plan:
        """The fastest. Raises CourseError where none fits, with what the leanest lacks."""
        if self.plans:
            return self.plans[0]
        if self.leanest is None:
            raise CourseError("No layout splits this batch over these devices. Choose another batch.")
        needs = memory(self.leanest).total
        room = self.leanest.machine.accelerator.memory_bytes - RESERVED_BYTES
        raise CourseError(
            f"No layout fits on {self.leanest.layout.devices:,} devices: each runs out of memory. "
            f"The leanest ({self.leanest.layout}) needs {needs / GIB:,.1f} GiB on its fullest device, "
            f"{(needs - room) / GIB:,.1f} GiB more than it has for a program. "
            "Take more devices, a smaller model or shorter sequences."
        )


def divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})


def splits(task: Task, devices: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(dp, tp, pp, cp, ep) of all ways that divide devices, heads, layers and batch evenly."""
    s, m, layers = task.shape, task.machine, task.shape.layers
    for tp in divisors(math.gcd(s.heads, s.ffn)):
        if devices % tp or tp > 2 * m.devices_per_node or s.kv_heads % tp and tp % s.kv_heads:
            continue
        for pp in divisors(devices // tp):
            if pp > layers or layers % pp and (layers + 2) % pp:
                continue
            rest = devices // tp // pp
            for cp in divisors(rest):
                dp = rest // cp
                if task.seq % (2 * cp) and cp > 1 or task.seq // cp < 1024 and cp > 1:
                    continue
                if task.global_batch % dp:
                    continue
                experts = divisors(math.gcd(s.experts, dp * cp)) if s.experts else (1,)
                for ep in experts:
                    yield dp, tp, pp, cp, ep


def nearest(batch: int, unit: int) -> int:
    """The multiple of `unit` that is nearest to a batch; at least one `unit`."""
    return max(1, round(batch / unit)) * unit


def whole_batch(task: Task, layout: Layout) -> Task:
    """The task with the batch nearest to its own that a layout splits into whole micro-batches.

    Raises CourseError where the layout takes more sequences than a step can have.
    """
    unit = layout.dp * layout.micro_batch * (layout.pp if layout.vp > 1 else 1)
    if unit > 10**8:
        raise CourseError(f"A step of this layout takes at least {unit:,} sequences. Split it in other ways.")
    return dataclasses.replace(task, global_batch=nearest(task.global_batch, unit))


def other_batches(task: Task, devices: int) -> list[int]:
    """Batches that split over so many devices, the nearest to the asked one first.

    For each number of replicas the nearest that gives them whole micro-batches of 1 to 8. One that
    splits in no way that a nearer one does not is left out.
    """
    replicas = {dp for dp, *_ in splits(dataclasses.replace(task, global_batch=0), devices)}  # of any batch
    batches = {nearest(task.global_batch, dp * micro) for dp in replicas for micro in (1, 2, 3, 4, 6, 8)}
    kept: dict[int, int] = {}
    for batch in sorted(batches, key=lambda batch: (abs(batch - task.global_batch), batch)):
        ways = math.gcd(batch, 24 * devices)
        if all(other % ways for other in kept.values()):
            kept[batch] = ways
    return list(kept)


def is_close(batch: int, asked: int) -> bool:
    """Is a batch so near to the one that was asked for that a step is about the same?"""
    return abs(batch - asked) <= CLOSE * asked


def search(task: Task, devices: int, keep: int = 10) -> Found:
    """Weigh all layouts of a task on so many devices; the `keep` fastest that fit, as plans.

    Where no layout that fits splits the asked batch, another batch is taken, and the plans' runs have it: of
    those close to it the fastest per token, where 1 % further off must be 1 % faster; otherwise the nearest.
    """
    found = weigh(task, devices, keep)
    if found.plans:
        return found
    weighed, others = 0, []
    for batch in other_batches(task, devices):
        close = is_close(batch, task.global_batch)
        if others and others[0].plans and (not close or weighed > WEIGHED_AT_MOST):
            break
        found = weigh(dataclasses.replace(task, global_batch=batch), devices, keep)
        weighed += found.weighed
        others.append(found)
        others.sort(key=lambda other: _badness(other, task.global_batch))
    return others[0]


def fewer_nodes(task: Task, nodes: int, tries: int = 32) -> Plan | None:
    """The best plan on the next smaller number of nodes that takes a batch close to the asked one."""
    for fewer in range(nodes - 1, max(0, nodes - 1 - tries), -1):
        devices = fewer * task.machine.devices_per_node
        if is_close(other_batches(task, devices)[0], task.global_batch):
            found = search(task, devices, keep=1)
            if found.plans and is_close(found.best.run.global_batch, task.global_batch):
                return found.best
    return None


def _badness(found: Found, asked: int) -> tuple[bool, float]:
    """Smaller for a faster plan near to the asked batch; without plans, for one that needs less memory."""
    if not found.plans:
        return True, memory(found.leanest).total
    step, batch = found.best.step.total, found.best.run.global_batch
    return False, step / batch * (1 + abs(batch / asked - 1))


def weigh(task: Task, devices: int, keep: int = 10) -> Found:
    """Weigh all layouts that split exactly the task's batch; the `keep` fastest that fit, as plans.

    A larger micro-batch never needs less memory, so those above the first that does not fit are passed over.
    What a layer costs does not depend on dp, pp, vp or ZeRO 0 to 2: it is computed once for all of them.
    """
    if not 1 <= devices <= 10**6:
        raise CourseError(f"{devices} devices are impossible. Give a number from 1 to 1,000,000.")
    best: list[tuple[float, int, Layout]] = []
    lost: Counter[str] = Counter()
    weighed = feasible = 0
    leanest, least = None, math.inf
    order = itertools.count()
    layers: dict[tuple, tuple] = {}
    for dp, tp, pp, cp, ep in splits(task, devices):
        chunks = chunks_of(task.shape.layers, pp)
        micros = [n for n in MICRO_BATCHES if (task.global_batch // dp) % n == 0]
        room = len(micros)
        for mode, zero in itertools.product(reversed(RECOMPUTE), (3, 2, 1, 0)):
            room = room if zero < 2 else len(micros)  # less sharding never makes room for a larger one
            if zero and dp * cp == 1 or zero >= 2 and pp > 1:
                weighed += len(micros) * len(chunks)
                lost["sharded where nothing is gained"] += len(micros) * len(chunks)
                continue
            for position, micro in enumerate(micros):
                run = task.run(Layout(dp, tp, pp, cp, ep, 1, zero, micro, mode)) if position < room else None
                used = memory(run) if run else None
                if used and used.total < least:
                    leanest, least = run, used.total
                if run is None or not fits_well(run, used):
                    room = position
                    passed = (len(micros) - position) * len(chunks)
                    weighed += passed
                    lost["out of memory"] += passed
                    break
                key = (tp, cp, ep, micro, mode, pp > 1, zero == 3 and dp)
                if key not in layers:
                    layers[key] = (layer_time(run), head_time(run))
                for vp in chunks:
                    weighed += 1
                    if vp > 1:
                        if run.micro_batches % pp:
                            lost["chunks without whole rounds of micro-batches"] += 1
                            continue
                        run = task.run(dataclasses.replace(run.layout, vp=vp))
                        if not fits_well(run):
                            lost["out of memory"] += 1
                            continue
                    feasible += 1
                    entry = (-step_time(run, *layers[key]).total, -next(order), run.layout)
                    if any(entry[0] == other[0] for other in best):
                        lost["just as fast as one before"] += 1
                    elif len(best) < keep:
                        heapq.heappush(best, entry)
                    elif entry > best[0]:
                        heapq.heapreplace(best, entry)
        if weighed > WEIGHED_AT_MOST:
            lost["never weighed: the search ended at its limit"] += 1
            break
    lost["slower"] = feasible - len(best) - lost["just as fast as one before"]
    ranked = [layout for *_, layout in sorted(best, reverse=True)]
    reasons = {reason: count for reason, count in lost.items() if count}
    plans = tuple(predict_run(task.run(layout)) for layout in ranked)
    return Found(plans, weighed, feasible, reasons, leanest)


def chunks_of(layers: int, pp: int) -> list[int]:
    """Numbers of chunks that each stage's layers can be cut into."""
    if pp == 1 or layers % pp:
        return [1]
    return [vp for vp in divisors(layers // pp) if vp <= 16]


def why_slower(best: Plan, other: Plan) -> str:
    """The part of the step that costs the other layout most against the best one."""

    def parts(p: Plan) -> dict[str, float]:
        step, layer = p.step, p.step.layer
        busy = p.run.micro_batches * step.layers_per_stage
        return {
            "more bubble": step.slot * (step.slots - p.run.micro_batches),
            "more recompute": layer.recompute * busy,
            "more tensor-parallel talk": layer.tensor * busy,
            "more context-parallel talk": layer.context * busy,
            "more talk between experts": layer.experts * busy,
            "weights gathered for each micro-batch": (layer.gather if layer.gather else 0.0) * busy,
            "smaller products": (layer.products + layer.attention) * 3 * busy,
            "waiting for the host": max(0.0, layer.least - layer.forward - layer.backward) * busy,
            "more gradients to sum": step.data,
            "a larger optimizer step": step.optimizer,
            "stages handing on": step.send * step.slots,
            "logits on the last stage": step.head * p.run.micro_batches,
        }

    ours, theirs = parts(best), parts(other)
    name, most = max(((n, theirs[n] - ours[n]) for n in ours), key=lambda item: item[1])
    slower = other.step.total / best.step.total - 1
    if slower < 5e-4:
        return "as fast"
    return f"{slower:.1%} slower" + (f": {name}" if most > 0 else "")


def beside(best: Plan, other: Plan) -> str:
    """What another plan is like beside the best: how much slower and why, or its MFU on other devices."""
    same = other.run.layout.devices == best.run.layout.devices
    return why_slower(best, other) if same else f"MFU {other.mfu:.1%}"


def scaling(task: Task, node_counts: list[int]) -> list[Plan]:
    """The best plan at each number of nodes; numbers at which nothing fits are left out.

    Raises CourseError where nothing fits at all, with what the largest number of nodes lacks.
    """
    counts = sorted(node_counts)
    found = [search(task, nodes * task.machine.devices_per_node, keep=1) for nodes in counts]
    return [each.best for each in found if each.plans] or [found[-1].best]


def nodes_that_pay(plans: list[Plan], efficiency: float = 0.8) -> Plan:
    """The largest of some plans that still gets `efficiency` of the smallest one's tokens/s per device."""
    first = min(plans, key=lambda p: p.run.layout.devices).tokens_per_s_per_device
    return max(
        (p for p in plans if p.tokens_per_s_per_device >= efficiency * first),
        key=lambda p: p.run.layout.devices,
    )


def largest_model(
    shapes: list[Shape], node_hours: float, tokens_per_parameter: float, nodes: int, **task
) -> Plan:
    """The largest of some shapes whose training, in proportion to its size, costs at most so many node-hours.

    Twenty tokens per parameter is the ratio of Hoffmann et al. 2022; models that serve many users take more.
    Raises CourseError where there is none, with what the smallest needs.
    """
    needs = ""
    for shape in sorted(shapes, key=lambda s: -s.parameters):
        one = Task(shape=shape, **task)
        a, per_node = one.machine.accelerator, one.machine.devices_per_node
        peak = max(a.peak_flops, a.peak_8bit, a.peak_4bit)
        work = tokens_per_parameter * shape.active_parameters * flops.per_token(shape, one.seq, "causal")
        if (least := work / (peak * per_node * 3600)) > node_hours:
            needs = f"The smallest needs {least:,.3g} at its devices' full peak, and more in truth."
            continue
        found = search(one, nodes * one.machine.devices_per_node, keep=1)
        if found.plans:
            whole = predict_run(found.best.run, tokens_per_parameter * shape.active_parameters)
            if whole.node_hours <= node_hours:
                return whole
            needs = f"The smallest needs {whole.node_hours:,.3g}."
        else:
            needs = f"The smallest does not fit on {found.leanest.layout.devices:,} devices."
    raise CourseError(
        f"None of these models is trained in {node_hours:g} node-hours. {needs} "
        "Allow more, or add smaller ones."
    )

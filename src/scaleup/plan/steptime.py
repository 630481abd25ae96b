"""How long a step takes: products, attention, operators between them, talking, pipeline, optimizer.

Everything is computed from the configuration. The six numbers of an accelerator's `Efficiency`, and two of
programs, are fitted to published runs; the constants below were chosen once, in view of the same runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from . import collectives, pipeline
from .accelerators import Accelerator
from .layout import Run
from .shapes import Shape

BYTES = 2  # of an activation or a weight in 16 bit
SUM_BYTES = 4  # of a gradient that is summed over replicas
OPTIMIZER_BYTES = 34  # read and written per parameter by Adam: gradient, weight, master copy, two moments
RESULT = 6.0  # times a product's result passes through memory before the next operator has it
ATTENTION_LIMIT = 0.68  # of the products' share of the peak: no attention kernel of the runs does better
FULLY_SHARDED = ("fsdp", "automodel", "llm-foundry")  # their selective recompute is of every second product
TILE = 128  # rows that a grouped kernel works on at once
IMBALANCE = 1.3  # of the mean load: that of the expert, or the device, that the others wait for
STRAGGLER = 0.012  # share of time lost with each doubling of the nodes that replicas are spread over


@dataclass(frozen=True)
class LayerTime:
    """Seconds of one layer, one micro-batch, one device. `forward` and `backward` hold all that computes.

    `tensor` and `context` are what shows of their communication, `..._hidden` what runs beneath computing;
    `gather` is all of its own.
    """

    products: float
    attention: float
    between: float
    forward: float
    backward: float
    recompute: float
    tensor: float
    context: float
    experts: float
    gather: float
    least: float
    total: float
    tensor_hidden: float = 0.0
    context_hidden: float = 0.0
    experts_hidden: float = 0.0


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step, part by part. `slot` is one micro-batch on the slowest stage.

    `send` (of a slot) and `data` are what shows of their communication; the rest runs beneath computing.
    """

    layer: LayerTime
    head: float
    layers_per_stage: int
    slot: float
    slots: float
    send: float
    pipeline: float
    data: float
    optimizer: float
    straggler: float
    total: float
    send_hidden: float = 0.0
    data_hidden: float = 0.0


def aligned(width: float) -> float:
    """Share of a product's speed that a width per device allows: tensor cores work on tiles of 64 and 8."""
    for tile, share in ((64, 1.0), (32, 0.95), (16, 0.88), (8, 0.66), (2, 0.25)):
        if width % tile == 0:
            return share
    return 0.25


def product(
    a: Accelerator, rows: float, inner: float, columns: float, bits: int = 16, frozen: bool = False
) -> tuple[float, float]:
    """Seconds, (forward, backward), of (rows, inner) x (inner, columns).

    Computing runs at the fitted rate; writing each result is paid for in addition. The backward pass is two
    products: its results are the gradients of the left factor and of the weights. `frozen` weights need none.
    """
    peak = {8: a.peak_8bit, 4: a.peak_4bit or a.peak_8bit}.get(bits, 0.0) or a.peak_flops
    rate = peak * a.efficiency.matmul * min(aligned(inner), aligned(columns))
    once = 2 * rows * inner * columns / rate
    write = RESULT * BYTES / a.memory_bytes_s
    if frozen:
        return once + write * rows * columns, once + write * inner * rows
    return once + write * rows * columns, 2 * once + write * inner * (rows + columns)


class Pass(NamedTuple):
    """Seconds of a part of a layer, or a sum of parts."""

    forward: float
    backward: float

    def __add__(self, other: tuple[float, float]) -> Pass:
        return Pass(self.forward + other[0], self.backward + other[1])

    def times(self, number: float) -> Pass:
        return Pass(self.forward * number, self.backward * number)


WHOLE, COLUMNS, INNER = range(3)  # what tensor parallelism cuts of a matrix


def matrices(shape: Shape) -> tuple[tuple[int, int, int], ...]:
    """(inner, columns, what tensor parallelism cuts) of a layer's matrices, those of experts left out."""
    s = shape
    if s.kv_rank:
        queries = s.heads * (s.head_dim + s.rope_dim)
        down = s.q_rank + s.kv_rank + s.rope_dim if s.q_rank else s.kv_rank + s.rope_dim
        found = [(s.hidden, down, WHOLE), (s.q_rank or s.hidden, queries, COLUMNS)]
        found += [(s.kv_rank, s.heads * (s.head_dim + s.value_dim), COLUMNS)]
    else:
        found = [(s.hidden, s.qkv_width, COLUMNS)]
    found.append((s.query_width, s.hidden, INNER))
    width = s.shared_ffn if s.experts else s.ffn
    if width:
        found += [(s.hidden, width * (s.mlp_matrices - 1), COLUMNS), (width, s.hidden, INNER)]
    return tuple(found)


def dense_products(run: Run) -> Pass:
    """Products of one layer with the matrices that every token meets."""
    a, tp, total = run.machine.accelerator, run.layout.tp, Pass(0.0, 0.0)
    for inner, columns, cut in matrices(run.shape):
        inner, columns = inner / (tp if cut == INNER else 1), columns / (tp if cut == COLUMNS else 1)
        total += product(a, run.micro_tokens, inner, columns, run.bits, bool(run.adapters))
        if run.adapters:  # reads the left factor, adds to the result; the backward pass does twice as much
            moved = BYTES * run.micro_tokens * (inner + 2 * columns)
            beside = moved / (a.memory_bytes_s * a.efficiency.memory)
            total += (beside, 2 * beside)
    return total


def expert_products(run: Run) -> Pass:
    """Products of one layer with the experts of one device, one after the other in a grouped kernel.

    Each expert's tokens fill whole tiles of 128 rows, the last one half in the mean; its weights are read for
    them alone. Without `expert_tensor` cuts an expert is whole on its device.
    """
    s, w, a = run.shape, run.layout, run.machine.accelerator
    held = max(1.0, s.experts / w.expert_ways)
    cut = max(1.0, w.expert_ways / s.experts)
    rows = busiest(run) * cut / held + TILE / 2
    memory = a.memory_bytes_s * a.efficiency.memory
    total = Pass(0.0, 0.0)
    for inner, columns in ((s.hidden, s.ffn / cut * (s.mlp_matrices - 1)), (s.ffn / cut, s.hidden)):
        read = BYTES * inner * columns / memory
        forward, backward = product(a, rows, inner, columns, run.bits, bool(run.adapters))
        total += (forward / run.software.grouped + read, backward / run.software.grouped + read)
    return total.times(held)


def routed_tokens(run: Run) -> float:
    """Tokens that one device sends to experts in one micro-batch, each as often as it has experts.

    The tensor-parallel ranks share them out, each its part of the sequence.
    """
    return run.micro_tokens * run.shape.experts_per_token / run.layout.tp


def busiest(run: Run) -> float:
    """Tokens that the device with most of them works on, where `routed_tokens` is the mean."""
    return routed_tokens(run) * (1.0 if run.balanced else IMBALANCE)


def expert_traffic(run: Run) -> tuple[float, float]:
    """Seconds of (copying, sending) in one of the two ways between tokens and experts."""
    s, w, a = run.shape, run.layout, run.machine.accelerator
    data = busiest(run) * s.hidden * BYTES
    copying = run.software.expert_copies / 2 * data / (a.memory_bytes_s * a.efficiency.memory)
    copies = s.experts_per_token if run.software.once_per_node else 1.0
    group = min(w.expert_ways, s.experts)
    return copying, collectives.all_to_all(run.machine, group, 1, data, copies, s.groups_per_token)


def layer_time(run: Run) -> LayerTime:
    """One layer, forward and backward, of one micro-batch on one device."""
    s, w, m, soft = run.shape, run.layout, run.machine, run.software
    a = m.accelerator
    eff, tokens = a.efficiency, run.micro_tokens
    memory = a.memory_bytes_s * eff.memory
    products, products_back = dense_products(run)
    sorting = sending = 0.0
    if s.experts:
        forward, backward = expert_products(run)
        products, products_back = products + forward, products_back + backward
        sorting, sending = expert_traffic(run)

    seen = (run.seq * (s.layers - s.windowed) + min(run.seq, 2 * s.window) * s.windowed) / s.layers
    work = 4 * tokens * seen * s.score_width / w.tp  # FLOPs with every position, forward
    if soft.fused_attention:
        rate = a.peak_flops * min(eff.attention * soft.attention_gain, ATTENTION_LIMIT * eff.matmul)
        attention = work / 2 / (rate * aligned(s.head_dim))
        attention_backward = 2.5 * attention
    else:
        scores = tokens * run.seq * s.heads / w.tp
        rate = a.peak_flops * eff.matmul * aligned(s.head_dim) * min(1.0, s.head_dim / 128)
        attention = work / rate + 13 * scores / memory
        attention_backward = 2 * work / rate + 20 * scores / memory

    split = w.tp if soft.sequence_parallel else 1
    moved = tokens * (22 * s.hidden / split)
    inside = s.experts_per_token * s.ffn + s.shared_ffn if s.experts else s.ffn
    moved += tokens * ((2 * (s.mlp_matrices - 1) + 2) * inside + 4 * s.qkv_width) / w.tp
    between = moved / memory + 2 * sorting

    forward = products + attention + between
    backward = products_back + attention_backward + between
    again = 0.0
    if w.recompute == "full":
        again = forward
    elif w.recompute == "selective":
        again = 0.5 * products + between if soft.name in FULLY_SHARDED else attention

    passes = 3 if w.recompute == "full" else 2
    each_way = 2 * collectives.all_reduce(m, w.tp, 1, tokens * s.hidden * BYTES)
    tensor, hidden = passes * each_way, 0.0
    if soft.hidden_tensor:  # beside products: those that give the weights' gradients, or all of them
        times = passes if soft.hidden_tensor == 2 else 1
        hidden = times * (each_way + products - collectives.overlap(products, each_way))
        tensor -= hidden
    width = (s.qkv_width - s.heads * (s.head_dim + s.rope_dim)) if s.kv_rank else 2 * s.kv_heads * s.head_dim
    keys = tokens * width / w.tp * BYTES
    around = collectives.gather(m, w.cp, w.tp, keys * w.cp) * (passes + 1)
    context = max(0.0, around - attention - attention_backward)
    experts, experts_hidden = 2 * passes * sending, 0.0
    if soft.hidden_experts and w.vp > 1:
        experts_hidden = experts
        experts = collectives.overlap(forward + backward, experts) - forward - backward
        experts_hidden -= experts
    gather = copied = 0.0
    if w.zero == 3:
        held = layer_held(run) * BYTES
        trained = trained_share(run)  # weights are gathered twice, and gradients of the trained ones leave
        gather = (2 + trained) * collectives.gather(m, w.sharded_over, w.tp, held)
        gather += sum_of_shards(run, held * trained)
        copied = soft.shard_copies * (1 + trained) / 2 * held / memory
    computing = forward + backward + again + soft.pause_s + tensor + context + experts + copied
    least = eff.layer_s * passes / 2
    if w.pp > 1 and w.tp > 1:
        least = max(least, 4 * passes * w.tp * soft.stage_hop_s)
    total = max(collectives.overlap(computing, gather), least)
    return LayerTime(
        products, attention, between, forward, backward, again, tensor, context, experts, gather, least,
        total, tensor_hidden=hidden, context_hidden=around - context, experts_hidden=experts_hidden,
    )  # fmt: skip


def layer_held(run: Run) -> float:
    """Parameters of one layer, in the mean, that one device holds whole or gathers."""
    s, w = run.shape, run.layout
    experts = (s.layers + s.mtp - s.dense_layers) / s.layers * s.experts * s.mlp_matrix
    return (s.inner_parameters / s.layers - experts) / w.tp + experts / w.expert_ways


def sum_of_shards(run: Run, data: float) -> float:
    """Seconds of adding up `data` bytes of gradients over the replicas of each shard (hybrid sharding)."""
    w = run.layout
    others = w.replicas // w.sharded_over
    return collectives.all_reduce(run.machine, others, w.tp * w.sharded_over, data / w.sharded_over)


def head_time(run: Run) -> float:
    """Logits and loss of one micro-batch, forward and backward, on the last stage."""
    s, w, a = run.shape, run.layout, run.machine.accelerator
    columns = s.vocab / w.tp
    padded = -(-columns // 64) * 64  # vocabularies are padded to whole tiles
    logits = sum(product(a, run.micro_tokens, s.hidden, padded, frozen=bool(run.adapters)))
    logits += 24 * run.micro_tokens * columns / (a.memory_bytes_s * a.efficiency.memory)
    return logits * (1 + s.mtp)


def trained_share(run: Run) -> float:
    """Share of the parameters that have gradients and an optimizer state: all, or those of adapters."""
    if not run.adapters:
        return 1.0
    s = run.shape
    beside = sum(inner + columns for inner, columns, _ in matrices(s))
    if s.experts:
        beside += s.experts * (2 * s.hidden + s.ffn * s.mlp_matrices)
    return run.adapters * s.layers * beside / s.parameters


def parameters_per_device(run: Run) -> float:
    """Parameters of the fullest stage on one device, before any sharding over dp."""
    s, w = run.shape, run.layout
    first, middle, last = pipeline.layers_of_stages(s.layers, w.pp)
    inner = layer_held(run)
    ends = s.embedding_parameters if w.pp > 1 else s.parameters - s.inner_parameters
    tail = (s.head_parameters + s.final_norm_parameters) / w.tp
    stages = (first * inner + ends / w.tp, middle * inner if w.pp > 2 else 0, last * inner + tail)
    return stages[0] if w.pp == 1 else max(stages)


def step_time(run: Run, layer: LayerTime | None = None, head: float | None = None) -> StepTime:
    """Seconds of one step of a run. It assumes a layout without `problem()`.

    `layer` and `head` can be given where they are known from a run that differs in dp, pp or vp only.
    """
    s, w, m = run.shape, run.layout, run.machine
    a = m.accelerator
    layer = layer or layer_time(run)
    head = head_time(run) if head is None else head
    first, middle, last = pipeline.layers_of_stages(s.layers, w.pp)
    stage = max(middle * layer.total, last * layer.total + head)
    if run.software.balanced_stages:
        stage = max(layer.total, head, (s.layers * layer.total + head) / w.pp)
    activation = run.micro_tokens * s.hidden * BYTES / (w.tp if run.software.split_sends else 1)
    neighbour = w.tp * w.cp * w.dp if w.pp > 1 else 1
    send = 2 * w.vp * collectives.send(m, neighbour, activation) if w.pp > 1 else 0.0
    send_hidden = data_hidden = 0.0
    if run.software.hidden_sends and w.vp > 1:
        whole, send = send, collectives.overlap(stage, send) - stage
        send_hidden = whole - send
    slot = stage + send
    turns = pipeline.slots(w, run.micro_batches)
    working = slot * turns

    numbers = parameters_per_device(run) * trained_share(run)
    replicas, over = w.replicas, w.sharded_over
    data = 0.0
    if w.zero < 3 and replicas > 1:
        data = collectives.gather(m, over, w.tp, numbers * SUM_BYTES)  # a reduce-scatter
        data += sum_of_shards(run, numbers * SUM_BYTES)
        often = run.micro_batches if w.sums_often else 1.0
        if run.software.hidden_data and (w.pp == 1 or w.vp > 1):  # beside the backward pass
            backward = middle * layer.backward
            whole, data = data, collectives.overlap(backward, data) - backward
            data_hidden = (whole - data) * often
        data *= often
        if w.zero:
            data += collectives.gather(m, over, w.tp, numbers * BYTES)
        if not w.zero or run.software.reduce_whole:
            data += collectives.gather(m, replicas, w.tp, numbers * SUM_BYTES)
    shards = over if w.zero else 1
    optimizer = numbers / shards * OPTIMIZER_BYTES / (a.memory_bytes_s * a.efficiency.memory)
    apart = math.ceil(replicas * w.tp / m.devices_per_node)  # nodes of the replicas of one stage
    exact = working + data + optimizer
    straggler = exact * STRAGGLER * (min(apart, replicas) - 1).bit_length()
    return StepTime(
        layer, head, middle, slot, turns, send, working, data, optimizer, straggler, exact + straggler,
        send_hidden, data_hidden,
    )  # fmt: skip


def tokens_per_s_per_device(run: Run, seconds: float) -> float:
    return run.tokens_per_step / seconds / run.layout.devices

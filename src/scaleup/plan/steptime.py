"""How long a step takes: products, attention, operators between them, talking, pipeline, optimizer.

Everything is computed from the configuration. The six numbers of an accelerator's `Efficiency`, and two of
programs, are fitted to published runs; the constants below were chosen once, in view of the same runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import collectives, pipeline
from .accelerators import Accelerator
from .layout import Run

BYTES = 2  # of an activation or a weight in 16 bit
SUM_BYTES = 4  # of a gradient that is summed over replicas
OPTIMIZER_BYTES = 34  # read and written per parameter by Adam: gradient, weight, master copy, two moments
RESULT = 6.0  # times a product's result passes through memory before the next operator has it
ATTENTION_LIMIT = 0.68  # of the products' share of the peak: no attention kernel of the runs does better
FULLY_SHARDED = ("fsdp", "llm-foundry")  # their selective recompute is of every second product
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


def product(a: Accelerator, rows: float, inner: float, columns: float, bits: int = 16) -> tuple[float, float]:
    """Seconds, (forward, backward), of (rows, inner) x (inner, columns).

    Computing runs at the fitted rate; writing each result is paid for in addition. The backward pass is two
    products: its results are the gradients of the left factor and of the weights.
    """
    peak = {8: a.peak_8bit, 4: a.peak_4bit or a.peak_8bit}.get(bits, 0.0) or a.peak_flops
    rate = peak * a.efficiency.matmul * min(aligned(inner), aligned(columns))
    once = 2 * rows * inner * columns / rate
    write = RESULT * BYTES / a.memory_bytes_s
    return once + write * rows * columns, 2 * once + write * inner * (rows + columns)


def layer_time(run: Run) -> LayerTime:
    """One layer, forward and backward, of one micro-batch on one device."""
    s, w, m, soft = run.shape, run.layout, run.machine, run.software
    a = m.accelerator
    eff, tokens = a.efficiency, run.micro_tokens
    memory = a.memory_bytes_s * eff.memory
    up = s.ffn * (s.mlp_matrices - 1)

    groups = max(1, s.experts // w.ep) if s.experts else 1  # matrices that one device holds
    routed = tokens * (s.experts_per_token or 1)
    each = routed / groups if s.experts else tokens
    pairs = (
        (1, product(a, tokens, s.hidden, s.qkv_width / w.tp, run.bits)),
        (1, product(a, tokens, s.query_width / w.tp, s.hidden, run.bits)),
        (groups, product(a, each, s.hidden, up / w.tp, run.bits)),
        (groups, product(a, each, s.ffn / w.tp, s.hidden, run.bits)),
    )
    products = sum(n * forward for n, (forward, _) in pairs)
    products_back = sum(n * back for n, (_, back) in pairs)

    work = 4 * tokens * run.seq * s.query_width / w.tp  # FLOPs with every position, forward
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
    moved += routed * (2 * (s.mlp_matrices - 1) + 2) * s.ffn / w.tp + tokens * 4 * s.qkv_width / w.tp
    between = moved / memory

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
    keys = 2 * tokens * s.kv_heads * s.head_dim / w.tp * BYTES
    around = collectives.gather(m, w.cp, w.tp, keys * w.cp) * (passes + 1)
    context = max(0.0, around - attention - attention_backward)
    experts = 0.0
    if w.ep > 1:
        experts = 2 * passes * collectives.all_to_all(m, w.ep, w.tp, routed * s.hidden * BYTES)

    gather = 0.0
    computing = forward + backward + again + soft.pause_s + tensor + context + experts
    if w.zero == 3:
        held = s.layer_parameters - s.experts * s.mlp_matrix * (1 - 1 / w.ep)
        gather = 3 * collectives.gather(m, w.dp * w.cp, w.tp, held / w.tp * BYTES)
    least = eff.layer_s * passes / 2
    if w.pp > 1 and w.tp > 1:
        least = max(least, 4 * passes * w.tp * soft.stage_hop_s)
    total = max(collectives.overlap(computing, gather), least)
    return LayerTime(
        products, attention, between, forward, backward, again, tensor, context, experts, gather, least,
        total, tensor_hidden=hidden, context_hidden=around - context,
    )  # fmt: skip


def head_time(run: Run) -> float:
    """Logits and loss of one micro-batch, forward and backward, on the last stage."""
    s, w, a = run.shape, run.layout, run.machine.accelerator
    columns = s.vocab / w.tp
    padded = -(-columns // 64) * 64  # vocabularies are padded to whole tiles
    logits = sum(product(a, run.micro_tokens, s.hidden, padded))
    return logits + 24 * run.micro_tokens * columns / (a.memory_bytes_s * a.efficiency.memory)


def parameters_per_device(run: Run) -> float:
    """Parameters of the fullest stage on one device, before any sharding over dp."""
    s, w = run.shape, run.layout
    first, middle, last = pipeline.layers_of_stages(s.layers, w.pp)
    inner = s.layer_parameters
    if s.experts:
        inner -= s.experts * s.mlp_matrix * (1 - 1 / w.ep)
    ends = s.embedding_parameters if w.pp > 1 else s.parameters - s.layers * s.layer_parameters
    tail = s.head_parameters + s.final_norm_parameters
    stages = (first * inner + ends, middle * inner if w.pp > 2 else 0, last * inner + tail)
    return (stages[0] if w.pp == 1 else max(stages)) / w.tp


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

    numbers = parameters_per_device(run)
    replicas = w.dp * w.cp
    data = 0.0
    if w.zero < 3 and replicas > 1:
        data = collectives.gather(m, replicas, w.tp, numbers * SUM_BYTES)  # a reduce-scatter
        often = run.micro_batches if w.zero == 2 else 1.0  # sharded sums leave after each micro-batch
        if run.software.hidden_data and (w.pp == 1 or w.vp > 1):  # beside the backward pass
            backward = middle * layer.backward
            whole, data = data, collectives.overlap(backward, data) - backward
            data_hidden = (whole - data) * often
        data *= often
        if w.zero:
            data += collectives.gather(m, replicas, w.tp, numbers * BYTES)
        if not w.zero or run.software.reduce_whole:
            data += collectives.gather(m, replicas, w.tp, numbers * SUM_BYTES)
    shards = replicas if w.zero else 1
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

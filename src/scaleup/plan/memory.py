"""How much memory the fullest device needs: weights, gradients, optimizer, activations, logits, buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from . import pipeline
from .layout import Run
from .steptime import FULLY_SHARDED, trained_share

GIB = 2**30
CONTEXT_BYTES = 5.0 * GIB  # outside of the program's allocator: context, libraries, communication buffers
SLACK = 0.05  # an allocator keeps more than is in use
RESERVED_BYTES = 1.0 * GIB  # of a device's memory that no program can have


@dataclass(frozen=True)
class Memory:
    """Bytes on one device of one stage, part by part."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    logits: float
    buffers: float

    @property
    def states(self) -> float:
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        return self.states + self.gathered + self.activations + self.logits + self.buffers


class LayerBytes(NamedTuple):
    """What one layer keeps of one micro-batch: without recompute, and as the run does it."""

    everything: float
    kept: float


def layer_activations(run: Run) -> float:
    """Bytes that one layer keeps of one micro-batch for its backward pass, without recompute."""
    s, w, soft = run.shape, run.layout, run.software
    split = w.tp if soft.sequence_parallel else 1
    whole = 2 * soft.residual_bytes * s.hidden / split  # what both norms read
    gathered = soft.keeps_gathered and w.tp <= run.machine.devices_per_node
    whole += 2 * soft.norm_copies * s.hidden / (1 if gathered else split)  # what they hand on
    if not soft.fused_attention:
        whole += 2 * s.hidden / split  # the two dropout masks
    inner = 2 * s.qkv_width + 2 * s.query_width + 2 * (s.q_rank + s.kv_rank)
    wide = s.experts_per_token * s.ffn + s.shared_ffn if s.experts else s.ffn
    inner += 2 * wide * (soft.mlp_copies if s.gated else 2)
    inner += s.experts_per_token * 6 * s.hidden  # tokens dealt out to experts, gathered again and weighted
    if not soft.fused_attention and w.recompute == "none":
        inner += 5 * s.heads * run.seq  # scores, their softmax, its mask
    return run.micro_tokens * (whole + inner / w.tp)


def kept_per_layer(run: Run, everything: float) -> float:
    """Bytes that one layer keeps of one micro-batch in the run's recompute mode.

    `everything` is what it would keep without recompute.
    """
    s, w = run.shape, run.layout
    if w.recompute == "full":
        split = w.tp if run.software.sequence_parallel else 1
        return run.micro_tokens * run.software.residual_bytes * s.hidden / split
    if w.recompute == "selective" and run.software.name in FULLY_SHARDED:
        return 0.42 * everything
    return everything


def stage_memory(run: Run, layers: int, ends: float, kept: float, logits: bool, layer: LayerBytes) -> Memory:
    """One stage of `layers` layers and `ends` parameters besides, keeping `kept` micro-batches at once."""
    s, w, soft = run.shape, run.layout, run.software
    experts_each = (s.layers + s.mtp - s.dense_layers) / s.layers * s.experts * s.mlp_matrix
    dense = s.inner_parameters / s.layers - experts_each
    experts = layers * experts_each / w.expert_ways
    numbers = (layers * dense + ends) / w.tp
    replicas = w.sharded_over
    expert_replicas = max(1.0, w.replicas * w.tp / w.expert_ways)
    trained = trained_share(run)

    held = numbers + experts
    part = numbers / replicas + experts / expert_replicas  # of a state that is sharded over the replicas
    weights = 4 * part if w.zero == 3 else 2 * held
    gradients = trained * soft.gradient_bytes * (part if w.zero == 3 or w.sums_often else held)
    optimizer = trained * (soft.optimizer_bytes - (4 if w.zero == 3 else 0)) * (part if w.zero else held)
    gathered = 0.0
    if w.zero == 3:  # two layers, or the logits' matrix, in 16 bit, and one layer's gradients
        each = dense / w.tp + experts / max(1, layers)
        gathered = 4 * max(each, s.head_parameters / 2 / w.tp) + 2 * dense / w.tp
    activations = kept * layers * layer.kept
    if w.pp > 1 and not soft.split_sends:  # what each stage handed on stays until its gradient comes back
        activations += kept * run.micro_tokens * 2 * s.hidden
    if w.recompute == "full" and layers:
        activations += layer.everything
    if layers and w.recompute != "none" and not soft.fused_attention:  # one layer's scores, worked out again
        activations += run.micro_tokens * 5 * s.heads * run.seq / w.tp
    scores = run.micro_tokens * s.vocab / w.tp * soft.logit_bytes if logits else 0.0
    busy = weights + gradients + optimizer + gathered + activations + scores
    return Memory(
        weights, gradients, optimizer, gathered, activations, scores, SLACK * busy
    )  # fmt: skip


def memory(run: Run) -> Memory:
    """The fullest stage: the first keeps most micro-batches, the last holds the logits."""
    s, w = run.shape, run.layout
    everything = layer_activations(run)
    layer = LayerBytes(everything, kept_per_layer(run, everything))
    head = s.head_parameters / s.matmul_parameters_per_layer if run.software.balanced_stages else 0.0
    first, middle, last = pipeline.layers_of_stages(s.layers, w.pp, head)
    if w.pp == 1:
        ends = s.parameters - s.inner_parameters
        return stage_memory(run, first, ends, 1.0, True, layer)
    kept = pipeline.in_flight(w, run.micro_batches)
    kept_last = 1.0 if w.vp == 1 else 1 + (w.pp - 1) / w.pp
    front = stage_memory(run, first, s.embedding_parameters, kept, False, layer)
    back = stage_memory(run, last, s.head_parameters + s.final_norm_parameters, kept_last, True, layer)
    stages = [front, back]
    if middle > first:
        kept_inner = max(1.0, kept * (w.pp - 1) / w.pp)
        stages.append(stage_memory(run, middle, 0, kept_inner, False, layer))
    return max(stages, key=lambda stage: stage.total)


def fits(run: Run, used: Memory | None = None) -> bool:
    """Does the fullest device hold it? An allocator gives its reserve back before it fails."""
    used = used or memory(run)
    return used.total - used.buffers + RESERVED_BYTES <= run.machine.accelerator.memory_bytes


def fits_well(run: Run, used: Memory | None = None) -> bool:
    """Does the fullest device hold it with the allocator's reserve? A plan should not count on less."""
    used = used or memory(run)
    return used.total + RESERVED_BYTES <= run.machine.accelerator.memory_bytes

"""A planned run: the model, its batch, the machine, and how the work is shared out."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CourseError
from .accelerators import Accelerator
from .shapes import Shape

RECOMPUTE = ("none", "selective", "full")


@dataclass(frozen=True)
class Software:
    """What a training program does that changes its time and its memory.

    `fused_attention`: the scores are never written to memory.
    `sequence_parallel`: what tensor parallelism leaves whole is split along the sequence.
    `gradient_bytes`: kept per parameter: the 32-bit sum, and a 16-bit copy where there is one.
    `optimizer_bytes`: per parameter in the optimizer: master copy, two moments, and what a step needs.
    `logit_bytes`: per logit, with its gradient; 12 where both exist in 16 and in 32 bit.
    `hidden_tensor`: tensor-parallel collectives run beside products: 0 never, 1 backward, 2 both ways.
    `hidden_data`: gradients leave while the last backward pass still runs.
    `reduce_whole`: gradients are summed on every replica, also where the optimizer is sharded.
    `hidden_sends`: stages of several chunks compute while they hand activations on.
    `attention_gain`: its attention kernel against the one that the device's number was fitted to.
    `split_sends`: each tensor-parallel rank hands on its part of the activations, not all of them.
    `balanced_stages`: layers are dealt out so that the logits' cost is shared by all stages.
    `keeps_gathered`: what sequence parallelism gathers inside a node stays whole for the backward pass.
    `pause_s`: pauses between the kernels of one layer of one micro-batch, in all.
    `stage_hop_s`: least time of each hop of a tensor-parallel collective inside a pipeline stage.
    `residual_bytes`: of a number of what passes from layer to layer, which both norms read and keep.
    `norm_copies`: in 16 bit, of what the two norms of a layer hand on; 5 where each matrix makes its own.
    `mlp_copies`: in 16 bit, of what a gated MLP keeps inside; 3 where one kernel does gate times up.
    `shard_copies`: times that ZeRO 3 moves a layer's weights, in 16 bit, through memory for a micro-batch:
    into one piece before they are used, gradients into pieces before they are summed.
    `expert_copies`: times that what is sent to experts, in 16 bit, passes through memory in a forward pass:
    sorted, sent, received, weighted and summed.
    `grouped`: share of a dense product's speed that its kernels for many experts reach.
    `once_per_node`: a token for several experts of a node crosses the network once.
    `hidden_experts`: in a pipeline of chunks, tokens travel while another micro-batch is computed.
    """

    name: str
    fused_attention: bool
    sequence_parallel: bool
    optimizer_bytes: int = 12
    logit_bytes: int = 12
    hidden_tensor: int = 1
    hidden_data: bool = True
    reduce_whole: bool = False
    hidden_sends: bool = False
    attention_gain: float = 1.0
    split_sends: bool = True
    gradient_bytes: int = 4
    balanced_stages: bool = False
    keeps_gathered: bool = False
    pause_s: float = 0.0
    stage_hop_s: float = 0.0
    residual_bytes: int = 2
    norm_copies: int = 2
    mlp_copies: int = 4
    shard_copies: float = 0.0
    expert_copies: float = 8.0
    grouped: float = 0.8
    once_per_node: bool = False
    hidden_experts: bool = False


_DEEPSPEED = {
    "hidden_tensor": 0,
    "hidden_data": False,
    "split_sends": False,
    "reduce_whole": True,
    "pause_s": 0.0082,
}
SOFTWARE = {
    s.name: s
    for s in (
        Software("megatron", True, True, hidden_tensor=2, hidden_sends=True, attention_gain=2.5, mlp_copies=3,
                 once_per_node=True, hidden_experts=True),
        Software("megatron-2022", False, True),
        Software("megatron-2022 without sequence parallelism", False, False),
        Software("megatron-deepspeed", False, False, gradient_bytes=10, **_DEEPSPEED),
        Software("megatron-deepspeed fp16", False, False, gradient_bytes=2, optimizer_bytes=19, **_DEEPSPEED),
        Software("fsdp", True, True, shard_copies=4, expert_copies=18, grouped=0.6),
        Software(
            "automodel", True, True, shard_copies=4, mlp_copies=3, attention_gain=2.5, once_per_node=True,
            expert_copies=6, grouped=0.9,
        ),
        Software("llm-foundry", True, True, logit_bytes=6, shard_copies=4),
        Software(
            "nanotron", True, True, gradient_bytes=6, hidden_data=False, balanced_stages=True,
            keeps_gathered=True, stage_hop_s=0.0004,
        ),
        # The course's GPT with autocast to 16 bit: what passes between layers stays in 32 bit.
        Software("scaleup", True, False, logit_bytes=6, hidden_tensor=0, residual_bytes=4, norm_copies=5),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What the planner needs of a machine. Bandwidth of a node's network in bytes/s, each direction."""

    accelerator: Accelerator
    devices_per_node: int
    network_bytes_s: float
    name: str = ""


@dataclass(frozen=True)
class Layout:
    """How a model and its batch are split. `tp`, `pp`, `cp`, `dp`, `ep`: ways of tensor, pipeline, context,
    data and expert parallelism; `vp`: chunks of the model per stage; `zero`: 0 to 3.

    `micro_batch` counts sequences. `shards`: over how many of the dp x cp replicas ZeRO divides its states,
    as hybrid sharding does inside a node; 0: over all of them.
    """

    dp: int = 1
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    vp: int = 1
    zero: int = 1
    micro_batch: int = 1
    recompute: str = "none"
    shards: int = 0

    def __post_init__(self) -> None:
        ways = (self.dp, self.tp, self.pp, self.cp, self.ep, self.vp, self.micro_batch)
        for value, field in zip(ways, ("dp", "tp", "pp", "cp", "ep", "vp", "micro_batch"), strict=True):
            if not isinstance(value, int) or not 1 <= value <= 10**6:
                raise CourseError(f"{field}={value!r:.40} is impossible. Give a whole number from 1.")
        if not isinstance(self.shards, int) or self.shards and self.replicas % self.shards:
            raise CourseError(
                f"shards={self.shards!r:.40} does not divide the {self.replicas} replicas. Choose a divisor."
            )
        if self.zero not in (0, 1, 2, 3):
            raise CourseError(f"zero={self.zero!r:.40}: the stages of ZeRO are 0, 1, 2 and 3.")
        if self.recompute not in RECOMPUTE:
            raise CourseError(f"recompute={self.recompute!r:.40}. Choose one of {', '.join(RECOMPUTE)}.")

    @property
    def devices(self) -> int:
        return self.dp * self.tp * self.pp * self.cp

    @property
    def replicas(self) -> int:
        """Devices that hold the same part of the model, before any sharding."""
        return self.dp * self.cp

    @property
    def sharded_over(self) -> int:
        """Replicas among which ZeRO divides a state."""
        return self.shards or self.replicas

    @property
    def sums_often(self) -> bool:
        """Do gradients leave for their shards after each micro-batch, as ZeRO 2 has it?

        In a pipeline they stay whole until a step's last micro-batch: programs sum a stage's gradients first.
        """
        return self.zero == 2 and self.pp == 1

    @property
    def expert_ways(self) -> int:
        """Devices that together hold one copy of a stage's experts, each whole: experts are not cut by tp."""
        return min(self.ep * self.tp, self.replicas * self.tp)

    def __str__(self) -> str:
        ways = [f"dp {self.dp}", f"tp {self.tp}", f"pp {self.pp}"]
        ways += [f"{name} {getattr(self, name)}" for name in ("cp", "ep", "vp") if getattr(self, name) > 1]
        ways += [f"sharded over {self.shards}"] if self.shards else []
        return (
            f"{', '.join(ways)}, ZeRO {self.zero}, micro-batch {self.micro_batch}, recompute {self.recompute}"
        )


@dataclass(frozen=True)
class Run:
    """One training run. `seq` in tokens, `global_batch` in sequences, `bits` of the matrix products.

    `adapters`: 0 where all weights are trained; with LoRA the rank of the matrices beside the frozen ones.
    `balanced`: tokens are dealt out evenly over experts by force, as benchmarks have it and training has not.
    """

    shape: Shape
    seq: int
    global_batch: int
    layout: Layout
    machine: Machine
    software: Software = SOFTWARE["megatron"]
    bits: int = 16
    adapters: int = 0
    balanced: bool = False

    @property
    def micro_batches(self) -> float:
        """Micro-batches that one pipeline works through in a step; a broken one counts as it is."""
        return max(1.0, self.global_batch / (self.layout.dp * self.layout.micro_batch))

    @property
    def micro_tokens(self) -> float:
        """Tokens of one micro-batch on one device."""
        return self.layout.micro_batch * self.seq / self.layout.cp

    @property
    def tokens_per_step(self) -> int:
        return self.global_batch * self.seq

    def can_be_estimated(self) -> bool:
        """Does the planner's arithmetic hold although `problem()` finds a remainder?"""
        s, w = self.shape, self.layout
        uneven = w.pp * w.vp <= s.layers + 2 and (not s.experts or s.experts % w.ep == 0)
        return uneven and self.seq >= 1 and self.global_batch >= w.dp and (w.ep == 1 or bool(s.experts))

    def problem(self) -> str | None:
        """Why this layout cannot run, in a sentence; None if it can. Memory is another question."""
        s, w = self.shape, self.layout
        if not all(isinstance(n, int) and 1 <= n <= 10**9 for n in (self.seq, self.global_batch)):
            return "A step needs at least one sequence of at least one token, both whole numbers."
        if not (isinstance(self.machine.devices_per_node, int) and self.machine.devices_per_node >= 1):
            return "A node needs at least one device, a whole number of them."
        if not (isinstance(self.machine.network_bytes_s, int | float) and self.machine.network_bytes_s > 0):
            return "A machine needs a network: its bytes per second, as a number above 0."
        if s.heads % w.tp:
            return f"{s.heads} heads do not split over tp={w.tp}. Choose a tp that divides the heads."
        if s.ffn % w.tp:
            return f"An MLP {s.ffn} wide does not split over tp={w.tp}. Choose a tp that divides it."
        pieces = w.pp * w.vp
        ends_take_a_place = (s.layers + 2) % pieces == 0 and w.pp > 1  # embedding and logits, of a layer each
        if pieces > s.layers and not ends_take_a_place:
            return f"{s.layers} layers are fewer than pp x vp = {pieces} pieces. Choose fewer stages."
        if w.vp > 1 and s.layers % pieces and not ends_take_a_place:
            return f"{s.layers} layers do not split into pp x vp = {pieces} equal pieces."
        if s.experts and s.experts % w.ep:
            return f"{s.experts} experts do not split over ep={w.ep}."
        if w.ep > 1 and not s.experts:
            return "Expert parallelism needs a mixture of experts. Set ep=1."
        if self.global_batch < w.dp:
            return f"A batch of {self.global_batch} sequences leaves some of dp={w.dp} replicas without work."
        return None

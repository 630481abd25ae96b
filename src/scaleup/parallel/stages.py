"""Pipeline parallelism: each rank holds consecutive layers of the GPT and hands activations to the next.

PyTorch's `torch.distributed.pipelining` sends, receives and keeps the order. What is ours is how the GPT is
cut into chunks, and that every rank then holds its own chunks only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import PipelineScheduleMulti, get_schedule_class
from torch.nn.parallel import DistributedDataParallel

from ..errors import CourseError
from ..model import GPT, GPTConfig, next_token_loss
from ..words import nearest

IN_A_LINE = ("GPipe", "1F1B")  # one chunk per rank
IN_TURNS = ("Interleaved1F1B", "LoopedBFS", "InterleavedZeroBubble")  # chunk c is on rank c % p
IN_A_V = ("ZBVZeroBubble", "DualPipeV")  # down the ranks and up again: the first rank has first and last
SPLIT = ("InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV")  # the backward pass in two parts
Loss = Callable[[Tensor, Tensor], Tensor]

SCHEDULES = (*IN_A_LINE, *IN_TURNS, *IN_A_V)


def cost_of_head(config: GPTConfig) -> float:
    """What the logits cost, in layers: the weights of their matrix over the weights of a layer's matrices."""
    layer = 4 * config.dim**2 + 3 * config.dim * config.hidden
    return config.vocab_size * config.dim / layer


def shares(layers: int, chunks: int, head: float = 0.0) -> list[int]:
    """Layers of each chunk, so that the slowest one is as fast as can be; `head` is what the logits cost.

    The last chunk makes the logits, so it gets fewer layers. Where the others' do not divide, the first ones
    get fewer: they keep most activations. Raises CourseError where a chunk would get nothing to do.
    """
    if chunks == 1:
        return [layers]
    lasts = range(0 if head else 1, layers - chunks + 2)
    if not lasts:
        raise CourseError(f"{layers} layers are too few for {chunks} chunks. Take fewer, or a deeper model.")
    last = min(lasts, key=lambda last: (max(-(-(layers - last) // (chunks - 1)), last + head), -last))
    each, more = divmod(layers - last, chunks - 1)
    return [each + (chunk >= chunks - 1 - more) for chunk in range(chunks - 1)] + [last]


class Chunk(nn.Module):
    """Consecutive layers of a GPT. The first chunk has the embedding, the last one makes the logits.

    Tokens (batch, seq) or activations (batch, seq, dim) -> activations or logits (batch, seq, vocab_size).
    """

    def __init__(self, model: GPT, layers: range, first: bool, last: bool) -> None:
        super().__init__()
        self.embedding = model.embedding if first else None
        self.blocks = nn.ModuleList(model.blocks[layer] for layer in layers)
        self.norm, self.head = (model.norm, model.head) if last else (None, None)
        self.register_buffer("cos", model.cos, persistent=False)
        self.register_buffer("sin", model.sin, persistent=False)
        self.seq = len(model.cos)  # what arrives may be cut along the sequence, and does not tell its length

    def forward(self, x: Tensor) -> Tensor:
        if self.embedding is not None:
            x = self.embedding(x)
        for block in self.blocks:
            x = block(x, self.cos[: self.seq], self.sin[: self.seq])
        return x if self.head is None else self.head(self.norm(x))


class Pipeline:
    """The chunks of this rank (`chunks`, by number), their stages and the schedule that drives them."""

    def __init__(
        self, model: GPT, stages: Sequence[PipelineStage], schedule: object, where: Sequence[int], loss: Loss
    ) -> None:
        self.model, self.stages, self.schedule, self.where, self.loss = model, stages, schedule, where, loss
        self.chunks = {stage.stage_index: stage.submod for stage in stages}

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that this rank holds. `model.named_parameters()` has them with their names."""
        return self.model.parameters()

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        """Forward and backward for a batch (batch, seq), the same on all ranks of the pipeline.

        Returns the mean loss where the last chunk is, None elsewhere. Set gradients to zero before: at its
        end they are divided by the micro-batches, with whatever they held.
        """
        self._set_length(inputs)
        losses: list[Tensor] = []
        first = [inputs] if 0 in self.chunks else []
        last = len(self.where) - 1 in self.chunks
        more = {"target": targets, "losses": losses} if last else {}
        self.schedule.step(*first, return_outputs=False, **more)
        return torch.stack(losses).mean().detach() if last else None

    @torch.no_grad()
    def evaluate(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        """The mean loss of a batch without a backward pass, where the last chunk is; None elsewhere.

        One chunk after the other, for any number of sequences. PyTorch's `schedule.eval` takes batches of one
        size only, and not every schedule can do without its backward pass.
        """
        self._set_length(inputs)
        here, group, last = self.stages[0].group_rank, self.stages[0].group, len(self.where) - 1
        x = inputs
        for number, chunk in self.chunks.items():
            if number and (before := self.where[number - 1]) != here:
                shape = torch.zeros(3, dtype=torch.int64, device=inputs.device)
                dist.recv(shape, group=group, group_src=before)
                x = torch.empty(shape.tolist(), device=inputs.device)
                dist.recv(x, group=group, group_src=before)
            x = chunk(x)
            if number < last and (after := self.where[number + 1]) != here:
                dist.send(torch.tensor(x.shape, device=x.device), group=group, group_dst=after)
                dist.send(x.contiguous(), group=group, group_dst=after)
        return self.loss(x, targets) if last in self.chunks else None

    def _set_length(self, inputs: Tensor) -> None:
        for chunk in self.chunks.values():
            for module in chunk.modules():
                if isinstance(module, Chunk):  # it may be wrapped
                    module.seq = inputs.shape[1]


def places(schedule: str, ranks: int, per_rank: int = 2) -> list[int]:
    """The rank of each chunk, in the order of the layers."""
    if schedule in IN_A_LINE:
        return list(range(ranks))
    if schedule in IN_A_V:
        return [*range(ranks), *reversed(range(ranks))]
    return list(range(ranks)) * per_rank


def stages(
    model: GPT,
    mesh: DeviceMesh,
    micro_batches: int,
    schedule: str = "1F1B",
    *,
    per_rank: int = 2,
    layers: Sequence[int] | None = None,
    wrap: Callable[[nn.Module], nn.Module] = lambda chunk: chunk,
    loss: Loss = next_token_loss,
) -> Pipeline:
    """Cut `model` into chunks over the ranks of `mesh` (one axis), driven by the schedule of this name.

    Afterwards `model` holds only what this rank has, under the same names; it cannot be called as a whole any
    more. `per_rank` is how many chunks a rank has in the schedules that take turns. `layers` are the layers
    of each chunk, by default such that the head's cost is balanced. `wrap` is applied to each chunk, for
    example to shard or to copy it over data-parallel ranks. Raises CourseError for a schedule that does not
    exist, or for micro-batches, layers or a wrapper that it cannot take.
    """
    if schedule not in SCHEDULES:
        near = nearest(schedule, SCHEDULES)
        hint = f"Did you mean '{near}'?" if near else f"There are {', '.join(SCHEDULES)}."
        raise CourseError(f"There is no schedule '{schedule}'. {hint}")
    rank, size = mesh.get_local_rank(), mesh.size()
    kind = get_schedule_class(schedule if size > 1 else "GPipe")  # one rank has no order to keep
    where = places(schedule, size, per_rank) if size > 1 else [0]
    chunks = len(where)
    if micro_batches < size and schedule != "GPipe":
        raise CourseError(
            f"{schedule} needs at least as many micro-batches as ranks: {micro_batches} is less than {size}."
        )
    given = list(layers) if layers else shares(len(model.blocks), chunks, cost_of_head(model.config))
    if len(given) != chunks or sum(given) != len(model.blocks) or min(given) < 0:
        raise CourseError(
            f"layers={given} does not deal out {len(model.blocks)} layers to {chunks} chunks: "
            "give one number per chunk, which add up to the layers."
        )

    device = next(model.parameters()).device
    mine, begin = [], 0
    for chunk, count in enumerate(given):
        if where[chunk] == rank:
            part = Chunk(model, range(begin, begin + count), chunk == 0, chunk == chunks - 1)
            wrapped = wrap(part)
            refuse(wrapped, schedule)
            if isinstance(wrapped, DistributedDataParallel):
                settle_buckets(wrapped, part)
            mine.append(PipelineStage(wrapped, chunk, chunks, device, group=mesh.get_group()))
        begin += count
    _drop_others(model, given, [n for n, owner in enumerate(where) if owner == rank])
    several = issubclass(kind, PipelineScheduleMulti)
    try:
        driver = kind(mine if several else mine[0], micro_batches, loss_fn=loss)
    except ValueError as error:
        raise CourseError(f"{schedule} refuses {micro_batches} micro-batches: {error}") from None
    return Pipeline(model, mine, driver, where, loss)


def refuse(chunk: nn.Module, schedule: str) -> None:
    """Raise CourseError for copies and shards that do not go with a schedule. Seen with PyTorch 2.13."""
    if isinstance(chunk, DistributedDataParallel) and schedule not in IN_A_LINE:
        why = "which splits the backward pass" if schedule in SPLIT else "from the second step on"
        raise CourseError(
            f"DDP does not average the gradients of {schedule}, {why}. Make each chunk a unit of "
            "fully_shard, or take 1F1B."
        )
    units = sum(isinstance(module, FSDPModule) for module in chunk.modules())
    if schedule in SPLIT and units > 1:
        raise CourseError(
            f"FSDP units inside of a chunk lose gradients of {schedule}, which splits the backward pass. "
            "Make each chunk one unit, or take Interleaved1F1B."
        )


def settle_buckets(copied: DistributedDataParallel, chunk: Chunk) -> None:
    """Two passes over zeros, whose gradients are forgotten: DDP cuts its buckets anew as the second begins.

    Within a pipeline it would do so in the second step, and end there with an assertion of PyTorch (seen with
    2.13) where a stage has no more micro-batches than passes to warm up.
    """
    device = chunk.cos.device
    if chunk.embedding is None:
        x = torch.zeros(1, chunk.seq, next(chunk.parameters()).shape[-1], device=device, requires_grad=True)
    else:
        x = torch.zeros(1, chunk.seq, dtype=torch.int64, device=device)
    for _ in range(2):
        copied(x).sum().backward()
    copied.zero_grad()


def _drop_others(model: GPT, given: Sequence[int], mine: Sequence[int]) -> None:
    """Take out of `model` what other ranks hold; names of what stays do not change."""
    begin = 0
    for chunk, count in enumerate(given):
        if chunk not in mine:
            for layer in range(begin, begin + count):
                model.blocks[layer] = nn.Identity()  # keeps the number of each layer
        begin += count
    if 0 not in mine:
        model.embedding = None
    if len(given) - 1 not in mine:
        model.norm = model.head = None

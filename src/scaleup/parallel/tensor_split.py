"""Tensor parallelism: every matrix of a layer is cut over the ranks of a group, by hand or by a DTensor plan.

`split` is what a program uses. The functions above it are what a plan does, written out: each is a collective
in the forward pass and its counterpart in the backward pass.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from ..errors import CourseError
from ..model import GPT, GPTConfig

Group = dist.ProcessGroup | None  # None is the group of all ranks

# By hand: a collective forward, its counterpart backward


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad, group=ctx.group)
        return grad, None


class _Leave(torch.autograd.Function):
    @staticmethod
    def forward(ctx, part: Tensor, group: Group) -> Tensor:
        total = part.contiguous().clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, part: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return _all_gather(part, group)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _reduce_scatter(grad, ctx.group), None


class _ScatterSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, part: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return _reduce_scatter(part, group)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _all_gather(grad, ctx.group), None


def _all_gather(part: Tensor, group: Group) -> Tensor:
    """(batch, seq / n, …) of each rank -> (batch, seq, …) on all. A collective joins along the first axis."""
    first = part.transpose(0, 1).contiguous()
    whole = first.new_empty(first.shape[0] * dist.get_world_size(group), *first.shape[1:])
    dist.all_gather_single(whole, first, group=group)
    return whole.transpose(0, 1).contiguous()  # or each product that reads it would keep a copy


def _reduce_scatter(whole: Tensor, group: Group) -> Tensor:
    """(batch, seq, …) on each rank -> the sum's part (batch, seq / n, …)."""
    first = whole.transpose(0, 1).contiguous()
    part = first.new_empty(first.shape[0] // dist.get_world_size(group), *first.shape[1:])
    dist.reduce_scatter_single(part, first, group=group)
    return part.transpose(0, 1).contiguous()


def enter(x: Tensor, group: Group = None) -> Tensor:
    """Into a split region: forward the same `x`, backward the sum of the ranks' gradients."""
    return _Enter.apply(x, group)


def leave(part: Tensor, group: Group = None) -> Tensor:
    """Out of a split region: forward the sum of the ranks' parts, backward the same gradient."""
    return _Leave.apply(part, group)


def gather(part: Tensor, group: Group = None) -> Tensor:
    """`enter` for a sequence that is cut: (batch, seq / n, dim) -> (batch, seq, dim)."""
    return _Gather.apply(part, group)


def scatter_sum(part: Tensor, group: Group = None) -> Tensor:
    """`leave` for a sequence that is cut: (batch, seq, dim) -> (batch, seq / n, dim)."""
    return _ScatterSum.apply(part, group)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, targets: Tensor, group: Group) -> Tensor:
        largest = logits.max(dim=-1).values
        dist.all_reduce(largest, dist.ReduceOp.MAX, group)
        powers = (logits - largest[:, None]).exp()
        mine, place = owned(targets, logits.shape[-1], group)
        own = logits.gather(1, place[:, None]).squeeze(1) - largest
        sums = torch.stack([powers.sum(dim=-1), own * mine])  # (2, tokens)
        dist.all_reduce(sums, group=group)
        ctx.save_for_backward(powers / sums[0][:, None], mine, place)
        return sums[0].log() - sums[1]

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        shares, mine, place = ctx.saved_tensors
        change = torch.zeros_like(shares).scatter_(1, place[:, None], mine[:, None].to(shares.dtype))
        return (shares - change) * grad[:, None], None, None


def owned(tokens: Tensor, words: int, group: Group = None) -> tuple[Tensor, Tensor]:
    """Which `tokens` are among the `words` that this rank holds, and their places there (0 for others)."""
    place = tokens - dist.get_rank(group) * words
    mine = (place >= 0) & (place < words)
    return mine, place * mine


def cross_entropy(logits: Tensor, targets: Tensor, group: Group = None) -> Tensor:
    """Each token's loss from logits (tokens, vocab / n) that are cut by words; targets (tokens,).

    Sends three numbers per token: the largest logit, the sum of the powers, the target's logit. Backward
    nothing is sent.
    """
    return _CrossEntropy.apply(logits.float(), targets, group)


def embed(tokens: Tensor, words: Tensor, group: Group = None) -> Tensor:
    """Look `tokens` up in a table that is cut by words (vocab / n, dim). Parts, to be summed by `leave`."""
    mine, place = owned(tokens, len(words), group)
    return words[place] * mine[..., None]


# As a plan


class Whole(ParallelStyle):
    """Parameters and activations are whole on every rank, and known to be so: both are replicated DTensors.

    Without it the norms would stay plain tensors, which clipping and fused optimizers refuse beside DTensors.
    """

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def known(module: nn.Module, inputs: tuple, mesh: DeviceMesh) -> tuple:
            (x,) = inputs
            return x if isinstance(x, DTensor) else DTensor.from_local(x, mesh, [Replicate()])

        return distribute_module(module, device_mesh, input_fn=known)


def plan(layers: int, sequence: bool = True, loss_parallel: bool = False) -> dict[str, ParallelStyle]:
    """The style of each module of a GPT. `sequence` cuts what is between the split regions along axis 1."""
    between = Shard(1) if sequence else Replicate()
    norm = SequenceParallel() if sequence else Whole()
    logits = Shard(-1) if loss_parallel else Replicate()
    styles = {
        "embedding": RowwiseParallel(input_layouts=Replicate(), output_layouts=between),
        "norm": norm,
        "head": ColwiseParallel(
            input_layouts=between, output_layouts=logits, use_local_output=not loss_parallel
        ),
    }
    block = {
        "attention_norm": norm,
        "attention": PrepareModuleInput(  # once, and not once each for query, key and value
            input_layouts=(between, None, None), desired_input_layouts=(Replicate(), None, None)
        ),
        "attention.query": ColwiseParallel(),
        "attention.key": ColwiseParallel(),
        "attention.value": ColwiseParallel(),
        "attention.out": RowwiseParallel(output_layouts=between),
        "mlp_norm": norm,
        "mlp": PrepareModuleInput(input_layouts=between, desired_input_layouts=Replicate()),
        "mlp.gate": ColwiseParallel(),
        "mlp.up": ColwiseParallel(),
        "mlp.down": RowwiseParallel(output_layouts=between),
    }
    for number in range(layers):
        styles |= {f"blocks.{number}.{name}": style for name, style in block.items()}
    return styles


def refuse(config: GPTConfig, ways: int) -> None:
    """Raise CourseError where a model cannot be cut into `ways` equal parts."""
    for name, count in {
        "heads": config.heads,
        "hidden": config.hidden,
        "vocab_size": config.vocab_size,
    }.items():
        if count % ways:
            raise CourseError(
                f"{name}={count} does not split over tp={ways}. Choose a tp that divides it"
                + (", or round the vocabulary up." if name == "vocab_size" else ".")
            )


def split(model: GPT, mesh: DeviceMesh, sequence: bool = True, loss_parallel: bool = False) -> GPT:
    """Cut the model, in place, over a mesh of one axis. Rank 0's parameters are the ones that are dealt out.

    The model is called as before, with the same tokens on every rank of the mesh, and returns whole logits.
    With `loss_parallel` they stay cut by words: compute the loss, and call backward, inside PyTorch's
    `loss_parallel()`. With `sequence` the number of tokens in a window must divide by the ranks.
    Raises CourseError for a model that does not split equally.
    """
    refuse(model.config, mesh.size())
    for norm in [module for module in model.modules() if isinstance(module, nn.RMSNorm)]:
        dist.broadcast(norm.weight.detach(), group=mesh.get_group(), group_src=0)
    if sequence:
        model.register_forward_pre_hook(_divides(mesh.size()))
    model = parallelize_module(model, mesh, plan(len(model.blocks), sequence, loss_parallel))
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(_lay_out)
    return model


def _divides(ways: int):
    def check(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if seq := inputs[0].shape[1] % ways:
            raise CourseError(
                f"{inputs[0].shape[1]} tokens do not split over tp={ways}: {seq} would be left. "
                "Choose another window, or sequence=False."
            )

    return check


def _lay_out(parameter: Tensor) -> None:
    """Gradients are laid out as their parameters are: sums of parts are added up, copies are cut."""
    grad = parameter.grad
    if isinstance(grad, DTensor) and grad.placements != parameter.placements:
        parameter.grad = grad.redistribute(placements=parameter.placements)

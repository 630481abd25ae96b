"""Context parallelism: each rank holds a part of every sequence, and attention brings the parts together.

By hand, on the course's GPT as it is. `spread` changes two things from outside: the positions that a rank's
tokens have, and the attention. Keys and values go round a ring, or an all-to-all turns parts of the sequence
into heads and back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.overrides import TorchFunctionMode

from ..errors import CourseError
from ..model import GPT

# Who has which tokens


def order(seq: int, size: int) -> Tensor:
    """Positions of the tokens of every rank, (size, seq / size): of 2 x size chunks rank r has r and -1 - r.

    A late chunk attends to more keys than an early one; each rank has one of both. Raises CourseError if the
    sequence does not divide into that many chunks.
    """
    if size == 1:
        return torch.arange(seq)[None]
    if seq % (2 * size):
        raise CourseError(f"{seq} tokens do not divide into 2 x {size} chunks. Take another length.")
    chunks = torch.arange(seq).view(2 * size, -1)
    return torch.cat((chunks[:size], chunks.flip(0)[:size]), dim=1)


def part(tensor: Tensor, mesh: DeviceMesh, dim: int = 1) -> Tensor:
    """This rank's zig-zag part of a tensor that all ranks of the mesh hold whole.

    Shift targets before this: the last token of a chunk is to predict the first of the next one.
    """
    own = order(tensor.shape[dim], mesh.size())[mesh.get_local_rank()]
    return tensor.index_select(dim, own.to(tensor.device))


def whole(tensor: Tensor, mesh: DeviceMesh, dim: int = 1) -> Tensor:
    """The opposite of `part`, on every rank, without gradients."""
    parts = torch.empty(mesh.size(), *tensor.shape, dtype=tensor.dtype, device=tensor.device)
    dist.all_gather_single(parts.flatten(0, 1), tensor.detach().contiguous(), group=mesh.get_group())
    found = torch.cat(parts.unbind(), dim)
    places = order(found.shape[dim], mesh.size()).flatten().argsort()
    return found.index_select(dim, places.to(tensor.device))


# One piece of attention: (batch, heads, seq, head_dim); log-sum-exp (batch, heads, queries) in fp32


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Attention of some queries to some keys, and the log-sum-exp of each query's scores.

    On a CPU it is PyTorch's own kernel. Elsewhere it is written out, and all scores are in memory at once:
    kernels that return the log-sum-exp differ from device to device.
    """
    if query.device.type == "cpu":
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return kernel(query, key, value, is_causal=causal)
    return attend_plainly(query, key, value, causal)


def attend_plainly(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    scores = scores_of(query, key, causal)
    lse = scores.logsumexp(dim=-1)
    return ((scores - lse[..., None]).exp() @ value.float()).to(query.dtype), lse


def scores_of(query: Tensor, key: Tensor, causal: bool) -> Tensor:
    scores = query.float() @ key.float().mT * query.shape[-1] ** -0.5
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
    return scores.masked_fill(later, -torch.inf) if causal else scores


Piece = tuple[Tensor, Tensor, Tensor]


def attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, causal: bool
) -> Piece:
    """What these keys contribute to the gradients of query, key and value.

    `out` and `lse` are those of the attention to *all* keys, so that exp(score - lse) is the probability.
    """
    if query.device.type == "cpu":
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        return kernel(grad, query, key, value, out, lse, 0.0, causal)
    return attend_backward_plainly(grad, query, key, value, out, lse, causal)


def attend_backward_plainly(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, causal: bool
) -> Piece:
    probability = (scores_of(query, key, causal) - lse[..., None]).exp()
    grad, scale = grad.float(), query.shape[-1] ** -0.5
    mean = (grad * out.float()).sum(dim=-1, keepdim=True)  # of the gradients of a query's probabilities
    grad_scores = probability * (grad @ value.float().mT - mean) * scale
    grads = grad_scores @ key.float(), grad_scores.mT @ query.float(), probability.mT @ grad
    return tuple(each.to(query.dtype) for each in grads)


def merge(out: Tensor, lse: Tensor, new: Tensor, new_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Two attentions of the same queries to different keys, as the attention to all of them. Exact.

    Source: online softmax, Milakov and Gimelshein 2018.
    """
    both = torch.logaddexp(lse, new_lse)
    return out * (lse - both).exp()[..., None] + new * (new_lse - both).exp()[..., None], both


# The ring: keys and values travel


def meet(rank: int, source: int, seq: int) -> tuple[slice, slice, bool]:
    """Which of this rank's `seq` queries see which keys of rank `source`, and whether a mask is needed.

    Zig-zag: of an earlier rank all queries see its early half, of a later one the late half sees everything.
    """
    everything, early, late = slice(None), slice(0, seq // 2), slice(seq // 2, None)
    if source == rank:
        return everything, everything, True
    return (everything, early, False) if source < rank else (late, everything, False)


def pass_on(tensor: Tensor, group: dist.ProcessGroup, tag: int = 0) -> Callable[[], Tensor]:
    """Start to send to the next rank; what is returned waits for what comes from the one before."""
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    came = torch.empty_like(tensor)
    give = dist.P2POp(dist.isend, tensor, group=group, group_peer=(rank + 1) % size, tag=tag)
    take = dist.P2POp(dist.irecv, came, group=group, group_peer=(rank - 1) % size, tag=tag)
    works = dist.batch_isend_irecv([give, take])

    def wait() -> Tensor:
        for work in works:
            work.wait()
        return came

    return wait


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, group: dist.ProcessGroup) -> Tensor:
        rank, size = dist.get_rank(group), dist.get_world_size(group)
        out = torch.zeros_like(query, dtype=torch.float32)
        lse = torch.full(query.shape[:-1], -torch.inf, device=query.device)
        held = torch.stack((key, value))
        for step in range(size):
            coming = pass_on(held, group) if step < size - 1 else None  # travels while we compute
            queries, keys, causal = meet(rank, (rank - step) % size, query.shape[2])
            piece = attend(query[:, :, queries], *held[..., keys, :], causal)
            seen = slice(None), slice(None), queries
            out[seen], lse[seen] = merge(out[seen], lse[seen], *piece)
            held = coming() if coming else held
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.group = group
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, out, lse = ctx.saved_tensors
        group = ctx.group
        rank, size = dist.get_rank(group), dist.get_world_size(group)
        grad_query = torch.zeros_like(query, dtype=torch.float32)
        held = torch.stack((key, value))
        grads = torch.zeros_like(held, dtype=torch.float32)  # travel with their keys and values
        for step in range(size):
            coming = pass_on(held, group) if step < size - 1 else None
            queries, keys, causal = meet(rank, (rank - step) % size, query.shape[2])
            seen = slice(None), slice(None), queries
            whole_row = out[seen], lse[seen].contiguous()
            piece = attend_backward(grad[seen], query[seen], *held[..., keys, :], *whole_row, causal)
            grad_query[seen] += piece[0]
            grads[..., keys, :] += torch.stack(piece[1:])
            grads = pass_on(grads, group, tag=1)() if size > 1 else grads  # after the last step: at home
            held = coming() if coming else held
        return grad_query.to(query.dtype), *grads.to(key.dtype).unbind(), None


def ring_attention(query: Tensor, key: Tensor, value: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Causal attention of the ranks' zig-zag parts, (batch, heads, seq / ranks, head_dim), to the sequence.

    Keys and values go round in N - 1 steps, each sent before the rank computes with what it has.
    Source: Liu, Zaharia and Abbeel, Ring Attention with Blockwise Transformers, 2023.
    """
    return _Ring.apply(query, key, value, group)


# The all-to-all: parts of the sequence become heads, and heads become parts again


def exchange(x: Tensor, cut: int, join: int, group: dist.ProcessGroup) -> Tensor:
    """Piece r along the axis `cut` goes to rank r; what came is joined along `join`, in the ranks' order."""
    pieces = torch.stack(x.chunk(dist.get_world_size(group), dim=cut))
    came = torch.empty_like(pieces)
    dist.all_to_all_single(came, pieces, group=group)
    return torch.cat(came.unbind(), dim=join)


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cut: int, join: int, group: dist.ProcessGroup) -> Tensor:
        ctx.back = join, cut, group
        return exchange(x, cut, join, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return exchange(grad, *ctx.back), None, None, None


def all_to_all_attention(query: Tensor, key: Tensor, value: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The same as `ring_attention`, for which each rank gets the whole sequence of some heads.

    Raises CourseError if the heads do not divide by the ranks.
    Source: Jacobs et al., DeepSpeed Ulysses, 2023.
    """
    size, heads = dist.get_world_size(group), query.shape[1]
    if heads % size:
        raise CourseError(f"{heads} heads do not divide by {size} ranks. Take fewer ranks, or the ring.")
    together = _Exchange.apply(torch.stack((query, key, value)), 2, 3, group)  # (3, batch, heads / N, seq, …)
    places = order(together.shape[3], size).flatten().to(query.device)  # position of each token as it came
    query, key, value = together[..., places.argsort(), :].unbind()
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return _Exchange.apply(mixed[..., places, :], 2, 1, group)


# On the model

WAYS = {"ring": ring_attention, "all-to-all": all_to_all_attention}


class _InsteadOfAttention(TorchFunctionMode):
    """Inside of this, causal attention is that of `way`; everything else is what it was."""

    def __init__(self, way: Callable[..., Tensor], group: dist.ProcessGroup) -> None:
        super().__init__()
        self.way, self.group = way, group

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is not F.scaled_dot_product_attention:
            return function(*args, **kwargs)
        if kwargs != {"is_causal": True}:
            raise CourseError(f"Only causal attention without further options is spread, not {kwargs}.")
        return self.way(*args, self.group)


def spread(model: GPT, mesh: DeviceMesh, way: str = "ring") -> GPT:
    """Let the model, in place, take this rank's `part` of the tokens; `way` is "ring" or "all-to-all".

    Each rank gets the logits of its own tokens, and the gradients that come from them: the caller averages
    loss and gradients over the mesh, as in data parallelism. The whole sequence must fit `config.context`.
    """
    if way not in WAYS:
        raise CourseError(f"A way is {' or '.join(WAYS)}, not {way!r}.")
    group, size, rank = mesh.get_group(), mesh.size(), mesh.get_local_rank()

    def positions(attention: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x, seq = inputs[0], inputs[0].shape[1] * size
        if seq > model.config.context:
            limit = f"context={model.config.context}"
            raise CourseError(f"{size} parts of {x.shape[1]} tokens are longer than {limit}.")
        own = order(seq, size)[rank].to(x.device)
        return x, model.cos[own], model.sin[own]

    def spread_out(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def attention(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            with _InsteadOfAttention(WAYS[way], group):
                return forward(x, cos, sin)

        return attention

    for block in model.blocks:
        block.attention.register_forward_pre_hook(positions)
        block.attention.forward = spread_out(block.attention.forward)
    return model

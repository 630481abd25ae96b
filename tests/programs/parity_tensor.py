"""One tensor-parallel step for each kind that is named: by plan, by hand, or broken on purpose.

All are recorded together, each under its name, since starting the processes takes longer than the steps.
"""

import contextlib
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import loss_parallel

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import tensor_split

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
config = GPTConfig(vocab_size=64, layers=2, heads=4, dim=32, hidden=48, context=16)


def columns(layer: nn.Module, strided: bool = False) -> None:
    weight = layer.weight.detach()
    layer.weight = nn.Parameter((weight[rank::size] if strided else weight.chunk(size)[rank]).clone())


def rows(layer: nn.Module) -> None:
    layer.weight = nn.Parameter(layer.weight.detach().chunk(size, dim=1)[rank].clone())


def by_hand(model: GPT, kind: str) -> None:
    """Cuts every matrix, and puts the gates around attention, MLP and head from outside."""
    sequence = kind in ("hand sequence", "hand norms")
    enter = tensor_split.gather if sequence else tensor_split.enter
    leave = tensor_split.scatter_sum if sequence else tensor_split.leave
    if kind == "hand unsummed":
        leave = tensor_split.enter  # the forward sum is missing
    if kind == "hand one way":
        enter = torch.Tensor.clone  # the backward sum is missing
    for block in model.blocks:
        a, m = block.attention, block.mlp
        for layer in (a.query, a.key, a.value, m.gate):
            columns(layer)
        columns(m.up, strided=kind == "hand strided")
        rows(a.out), rows(m.down)
        for part in (a, m):
            part.register_forward_pre_hook(lambda module, given: (enter(given[0]), *given[1:]))
            part.register_forward_hook(lambda module, given, out: leave(out))
    columns(model.embedding), columns(model.head)
    model.embedding.forward = lambda tokens: leave(tensor_split.embed(tokens, model.embedding.weight))
    model.head.register_forward_pre_hook(lambda module, given: (enter(given[0]),))


def whole_again(model: GPT) -> None:
    """What is cut becomes a DTensor that says so, for the comparison."""
    mesh = init_device_mesh("cpu", (size,))
    cut = {"out": Shard(1), "down": Shard(1), "norm": Replicate()}
    for name, module in list(model.named_modules()):
        if isinstance(weight := getattr(module, "weight", None), nn.Parameter):
            placed = [cut.get(name.rsplit(".")[-1].rsplit("_")[-1], Shard(0))]
            module.weight = nn.Parameter(DTensor.from_local(weight.detach(), mesh, placed))
            module.weight.grad = DTensor.from_local(weight.grad, mesh, placed)


def cut(model: GPT, kind: str) -> GPT:
    if kind.startswith("hand"):
        by_hand(model, kind)
    elif kind == "with fsdp":
        mesh = init_device_mesh("cpu", (min(2, size), max(1, size // 2)), mesh_dim_names=("dp", "tp"))
        tensor_split.split(model, mesh["tp"])
        for block in model.blocks:
            fully_shard(block, mesh=mesh["dp"])
        fully_shard(model, mesh=mesh["dp"])
    else:
        mesh = init_device_mesh("cpu", (size,))
        tensor_split.split(model, mesh, sequence=kind != "whole", loss_parallel=kind == "loss")
    return model


def step(kind: str) -> tuple[GPT, torch.Tensor]:
    torch.manual_seed(1)
    tokens = torch.randint(0, 64, (4, 17))
    model = cut(GPT(config), kind)
    if kind == "with fsdp":
        tokens = tokens.chunk(min(2, size))[rank // max(1, size // 2)]
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    with loss_parallel() if kind == "loss" else contextlib.nullcontext():
        logits = model(inputs)
        if kind.startswith("hand"):
            loss = tensor_split.cross_entropy(logits.flatten(0, 1), targets.flatten()).mean()
        else:
            loss = next_token_loss(logits, targets)
        loss.backward()
    loss = (loss.full_tensor() if isinstance(loss, DTensor) else loss).detach()
    if kind == "with fsdp":
        dist.all_reduce(loss)
        loss /= size
    if kind == "hand sequence":  # in a cut sequence a norm has seen this rank's tokens only
        for parameter in [p for p in model.parameters() if p.dim() == 1]:
            dist.all_reduce(parameter.grad)
    if kind == "hand drifting":
        model.norm.weight.grad *= 1 + 0.01 * rank
    if kind == "clip":
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    if kind.startswith("hand"):
        whole_again(model)
    return model, loss


models, losses = nn.ModuleDict(), nn.ParameterDict()
for kind in sys.argv[1:]:
    models[kind], losses[kind] = step(kind)
models["losses"] = losses
parity.record(models, None)
dist.destroy_process_group()

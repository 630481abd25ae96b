"""One step of a mixture of experts, its experts spread over ranks. An argument says what is done wrong.

"right" and "copies" (each expert is held by two ranks of four, or by both of two) make no mistake. Where
several are given, each one's record goes to a file of its own, with the argument as its ending.
"""

import os
import sys
from unittest import mock

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import experts

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
everybody = dist.group.WORLD
CONFIG = GPTConfig(vocab_size=64, layers=2, heads=2, dim=16, hidden=24, context=16)


def step(kind: str) -> None:
    ep = max(1, world // 2) if kind.startswith("copies") else world
    mesh = init_device_mesh("cpu", (world // ep, ep), mesh_dim_names=("copies", "ep"))
    torch.manual_seed(1)
    seed = rank if kind == "other seeds" else 3
    model = experts.sparse(GPT(CONFIG), experts=4, top_k=2, hidden=12, shared=1, seed=seed)
    tokens = torch.randint(0, 64, (8, 17))[rank::world]  # (8 / world, 17)
    model = experts.spread(model, mesh["ep"])
    for mixture in experts.mixtures(model):
        if kind == "wrong shard":  # a name says one expert, its weights are another's
            names = list(mixture.experts)
            values = [mixture.experts[name] for name in names[1:] + names[:1]]
            mixture.experts = torch.nn.ModuleDict(zip(names, values, strict=True))
        if kind == "wrong order":  # results go back to other tokens
            mixture.compute = lambda rows, counts, right=mixture.compute: right(rows, counts).roll(1, 0)

    loss = next_token_loss(model(tokens[:, :-1]), tokens[:, 1:])
    loss = loss + 0.1 * experts.balance_loss(model, None if kind == "own statistics" else everybody)
    loss = loss + 0.1 * experts.z_loss(model)
    loss.backward()

    own = {id(parameter) for parameter in experts.expert_parameters(model)}
    routers = {id(p) for mixture in experts.mixtures(model) for p in mixture.router.parameters()}
    for parameter in model.parameters():
        over = everybody
        if id(parameter) in own and kind != "experts averaged":
            over = None if kind == "copies not averaged" else mesh["copies"].get_group()
        if kind == "router not averaged" and id(parameter) in routers:
            over = None
        if over is None or kind == "nothing averaged":
            continue
        dist.all_reduce(parameter.grad, group=over)
        parameter.grad /= dist.get_world_size(over)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    parity.record(model, mean / world)


place = os.environ.get("SCALEUP_PARITY")
for kind in sys.argv[1:]:
    if place and len(sys.argv) > 2:
        os.environ["SCALEUP_PARITY"] = f"{place}.{kind}"
    wrong = (lambda x, parts: x) if kind == "experts summed" else experts.averaged
    with mock.patch.object(experts, "averaged", wrong):
        step(kind)
dist.destroy_process_group()

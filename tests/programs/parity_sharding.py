"""Two sharded steps, with clipping and AdamW, in every way and with every mistake of `CASES`.

Each rank compares what it has with what one rank computes alone on the whole batch, and saves what differs
first. The argument says which: `zero`, by hand, or `fsdp`.
"""

import sys

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy

from scaleup import ranks
from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import zero
from scaleup.parallel.sharding import shard

CONFIG = GPTConfig(vocab_size=61, layers=2, heads=2, dim=16, hidden=27, context=16)  # odd: needs padding
STEPS, NORM, RATE, EPS = (
    2,
    0.1,
    1e-2,
    1e-4,
)  # a large eps: Adam does not blow up the rounding of tiny gradients
BY_HAND = {"zero1": zero.stage_1, "zero2": zero.stage_2, "zero3": zero.stage_3}
WAYS = [*BY_HAND, "zero2 accumulated", "zero3 accumulated"]
WAYS += ["full", "kept", "part", "hybrid", "meta", "accumulated", "accumulated apart"]
MISTAKES = {  # {mistake: the ways in which it is made}
    "sum": ["zero1", "zero3", "full"],  # not averaged; before clipping, that would hide it
    "own norm": ["zero2", "full"],  # each rank clips by the norm of its own shards
    "neighbour": ["zero1"],  # the optimizer updates with another slice's gradient
    "not gathered": ["zero1", "zero2"],  # one unit's parameters are not gathered after the step
    "seed": ["zero3", "full"],  # ranks that start with different models
    "same batch": ["zero2", "hybrid"],  # every rank takes the first share
    "last only": ["zero2 accumulated"],  # the first micro-batch is lost
    "first only": ["accumulated"],  # gradients are reduced after the first micro-batch, not after the last
    "no table": ["meta"],  # buffers are not parameters, and were not filled
    "old optimizer": ["full"],  # made before sharding: it updates what is no longer used
}
CASES = [(way, "") for way in WAYS] + [(way, slip) for slip, ways in MISTAKES.items() for way in ways]

rank = world_size = 0


def plain_model(seed: int = 1) -> GPT:
    torch.manual_seed(seed)
    return GPT(CONFIG)


def batch() -> torch.Tensor:
    """(8, 17)"""
    return torch.randint(0, 61, (8, 17), generator=torch.Generator().manual_seed(2))


def mean_loss(model, tokens) -> torch.Tensor:
    return next_token_loss(model(tokens[:, :-1]), tokens[:, 1:])


def alone() -> parity.Snapshot:
    """What one rank computes, without any of the code that is tested."""
    model, tokens = plain_model(), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, eps=EPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = mean_loss(model, tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
    return parity.snapshot(model, loss)


def pieces(way: str, mistake: str) -> list[torch.Tensor]:
    share = batch()[(0 if mistake == "same batch" else rank) :: world_size]  # (8 / world_size, 17)
    return list(share.chunk(2)) if "accumulated" in way else [share]


def over_ranks(loss: torch.Tensor) -> torch.Tensor:
    dist.all_reduce(loss)
    return loss / world_size


def by_hand(way: str, mistake: str) -> parity.Snapshot:
    model = plain_model(1 + rank if mistake == "seed" else 1)
    name = way.split()[0]
    units = BY_HAND[name](model)
    optimizer = torch.optim.AdamW([unit.shard for unit in units], lr=RATE, eps=EPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = torch.zeros(())
        batches = pieces(way, mistake)
        for piece in batches:
            if mistake == "last only":
                optimizer.zero_grad()
            part = mean_loss(model, piece) / len(batches)
            part.backward()
            loss += part.detach()
        if name == "zero1":
            for unit in units:
                unit.reduce()
        gradients = [unit.shard.grad for unit in units]
        squares = sum(gradient.square().sum() for gradient in gradients)
        if mistake != "own norm":
            dist.all_reduce(squares)
        for gradient in gradients:
            gradient *= min(1.0, NORM / (squares.sqrt().item() + 1e-6))
            gradient *= world_size if mistake == "sum" else 1
        if mistake == "neighbour":
            for gradient in gradients:
                gradient.copy_(gradient.roll(1))
        optimizer.step()
        if name != "zero3":
            for unit in units[:-1] if mistake == "not gathered" else units:
                unit.gather()
    for unit in units:  # for the snapshot
        if mistake != "not gathered":
            unit.gather()
        whole = torch.empty(len(unit.shard) * world_size)
        dist.all_gather_single(whole, unit.shard.grad)
        sizes = [parameter.numel() for parameter in unit.parameters] + [unit.padding]
        for parameter, gradient in zip(unit.parameters, whole.split(sizes), strict=False):
            parameter.grad = gradient.view_as(parameter)
    return parity.snapshot(model, over_ranks(loss))


def mesh_of(way: str):
    if way == "hybrid" and world_size == 4:
        return init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "shard"))
    return init_device_mesh("cpu", (world_size,), mesh_dim_names=("shard",))


def from_meta(mistake: str) -> GPT:
    """Made without memory, sharded, and only then filled: weights come from rank 0."""
    with torch.device("meta"):
        model = GPT(CONFIG)
    shard(model, mesh_of("meta"))
    model.to_empty(device="cpu")
    whole = plain_model() if rank == 0 else None
    for buffer, right in zip(model.buffers(), plain_model().buffers(), strict=True):
        buffer.copy_(torch.zeros_like(right) if mistake == "no table" else right)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, whole.state_dict() if whole else {}, options=options)
    return model


def with_fsdp(way: str, mistake: str) -> parity.Snapshot:
    if way == "meta":
        model = from_meta(mistake)
    else:
        model = plain_model(1 + rank if mistake == "seed" else 1)
        early = torch.optim.AdamW(model.parameters(), lr=RATE, eps=EPS)
        reshard = {"kept": False, "part": 2 if world_size == 4 else True}.get(way, True)
        shard(model, mesh_of(way), reshard)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, eps=EPS)
    optimizer = early if mistake == "old optimizer" else optimizer
    for _ in range(STEPS):
        optimizer.zero_grad()
        model.zero_grad()
        loss = torch.zeros(())
        batches = pieces(way, mistake)
        for number, piece in enumerate(batches):
            last = number == len(batches) - 1
            if way == "accumulated":  # `accumulated apart` reduces each micro-batch's gradients
                model.set_requires_gradient_sync(last != (mistake == "first only"))
            part = mean_loss(model, piece) / len(batches)
            part.backward()
            loss += part.detach()
        if mistake == "own norm":
            own = [parameter.grad.to_local() for parameter in model.parameters()]
            norm = sum(part.square().sum() for part in own).sqrt().item()
            for part in own:
                part *= min(1.0, NORM / (norm + 1e-6))
        else:
            torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        if mistake == "sum":
            for parameter in model.parameters():
                parameter.grad *= world_size
        optimizer.step()
    return parity.snapshot(model, over_ranks(loss))


def mixed() -> list[float]:
    """Largest relative difference of a gradient with bfloat16 parameters, and whether shards are fp32."""
    model = plain_model()
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    shard(model, mesh_of("full"), policy=policy)
    share = pieces("full", "")[0]
    loss = mean_loss(model, share)
    loss.backward()
    found = parity.snapshot(model, over_ranks(loss.detach()))
    reference = plain_model()
    loss = mean_loss(reference, batch())
    loss.backward()
    difference = parity.compare(parity.snapshot(reference, loss), found)
    return [difference.largest, all(p.dtype == torch.float32 for p in model.parameters())]


def main() -> None:
    global rank, world_size
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    reference, found, hand = alone(), {}, sys.argv[1] == "zero"
    for way, mistake in CASES:
        if way.startswith("zero") != hand:
            continue
        snapshot = (by_hand if hand else with_fsdp)(way, mistake)
        difference = parity.compare(reference, snapshot)
        found[f"{way}: {mistake}"] = [difference.compared, difference.first or ""]
    ranks.save_result({"cases": found} | ({} if hand else {"mixed": mixed()}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

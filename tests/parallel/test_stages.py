"""scaleup.parallel.stages: in every schedule a pipeline computes what one rank computes."""

import sys

import cloudpickle
import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard

from scaleup import ranks
from scaleup.errors import CourseError
from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig
from scaleup.parallel import stage_times
from scaleup.parallel.stages import SCHEDULES, SPLIT, places, shares, stages

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks cannot import a test


def one_step(variants):
    """For each (schedule, data-parallel ways, what is broken): how it compares with one rank."""
    import contextlib
    from unittest import mock

    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    from scaleup.measure import parity
    from scaleup.model import GPT, GPTConfig, next_token_loss
    from scaleup.parallel.stages import stages

    def small(seed=1):
        torch.manual_seed(seed)
        return GPT(GPTConfig(vocab_size=64, layers=8, heads=2, dim=16, hidden=24, context=16))

    rank, said = dist.get_rank(), []
    torch.manual_seed(2)
    tokens = torch.randint(0, 64, (16, 17))
    for schedule, dp, broken in variants:
        whole, model = small(), small(1 + rank if broken == "seeds" else 1)
        loss = next_token_loss(whole(tokens[:, :-1]), tokens[:, 1:])
        loss.backward()
        torch.optim.SGD(whole.parameters(), lr=0.1).step()
        reference = parity.snapshot(whole, loss)

        mesh = init_device_mesh("cpu", (dist.get_world_size() // dp, dp), mesh_dim_names=("pp", "dp"))
        copies = mesh["dp"]
        wrap = {
            "sharded": lambda chunk, copies=copies: fully_shard(chunk, mesh=copies),
            "copied": lambda chunk, copies=copies: DistributedDataParallel(
                chunk, process_group=copies.get_group()
            ),
        }.get(broken.removeprefix("although refused, "), lambda chunk: chunk)
        own = tokens[copies.get_local_rank() :: dp]
        inputs, targets = own[:, :-1], own[:, 1:]
        refuses = contextlib.nullcontext()
        if broken.startswith("although refused"):
            refuses = mock.patch("scaleup.parallel.stages.refuse")
        with refuses:
            pipeline = stages(model, mesh["pp"], 8 // dp, schedule, wrap=wrap)
        if broken == "weights' part twice":  # of a backward pass in two parts
            for part in pipeline.stages:
                later = part.backward_weight_one_chunk
                part.backward_weight_one_chunk = lambda *a, later=later, part=part, **more: (
                    later(*a, **more),
                    [p.grad.mul_(2) for p in part.submod.parameters() if p.grad is not None],
                )
        if broken == "weights' part forgotten":
            for part in pipeline.stages:
                part.backward_weight_one_chunk = lambda *a, **more: None
        if broken == "wrong end":  # a chunk has another one's layers
            blocks = [chunk.blocks for chunk in pipeline.chunks.values()]
            for chunk, other in zip(pipeline.chunks.values(), reversed(blocks), strict=True):
                chunk.blocks = other
        if broken == "summed":
            pipeline.schedule.scale_grads = False
        if broken == "again":
            pipeline.step(inputs, targets)
        loss = pipeline.step(inputs, inputs if broken == "targets" else targets)
        if loss is not None and dp > 1:
            dist.all_reduce(loss, group=copies.get_group())
            loss /= dp
        if broken == "lost" and rank == 1:
            next(p for p in pipeline.parameters()).grad.zero_()
        if broken == "own loss" and loss is None:
            loss = torch.tensor(0.0)
        torch.optim.SGD(pipeline.parameters(), lr=0.1).step()
        every = [None] * dist.get_world_size()
        dist.all_gather_object(every, parity.snapshot(model, loss))
        said.append(str(parity.compare(reference, *every)))
    return said


EQUAL = "equal: 151 tensors within 1e-05"


@pytest.mark.processes
@pytest.mark.parametrize("world_size", [2, 4])
def test_every_schedule_computes_what_one_rank_computes(world_size):
    found = ranks.call(one_step, world_size, [(schedule, 1, "") for schedule in SCHEDULES])
    assert found == [[EQUAL] * len(SCHEDULES)] * world_size


@pytest.mark.processes
def test_whole_runs_are_equal_too():
    found = parity.prove("tests/programs/parity_stages.py", "Interleaved1F1B", world_sizes=(4,))
    assert str(found[4]) == EQUAL


@pytest.mark.processes
def test_pipelines_side_by_side_share_the_batch():
    variants = [(schedule, 2, "sharded") for schedule in ("1F1B", "ZBVZeroBubble")]
    variants += [(schedule, 2, "copied") for schedule in ("1F1B", "GPipe")]
    assert ranks.call(one_step, 4, variants)[0] == [EQUAL] * 4


@pytest.mark.processes
def test_parity_refuses_what_is_broken():
    broken = ("seeds", "summed", "again", "targets", "lost", "own loss")
    for words in ranks.call(one_step, 2, [("1F1B", 1, what) for what in broken])[0]:
        assert words.startswith("differ: "), words


@pytest.mark.processes
@pytest.mark.parametrize("schedule", SPLIT)
def test_parity_refuses_what_is_broken_in_a_split_backward_pass_or_a_wrong_chunk(schedule):
    broken = ("weights' part twice", "weights' part forgotten", "wrong end")
    for what, words in zip(
        broken, ranks.call(one_step, 2, [(schedule, 1, w) for w in broken])[0], strict=True
    ):
        assert words.startswith("differ: "), (what, words)


@pytest.mark.processes
def test_ddp_does_not_average_in_schedules_that_split_the_backward_pass():
    """Why `stages` refuses it. Where this fails PyTorch has learnt it, and refusal and lesson can go."""
    said = ranks.call(one_step, 4, [(schedule, 2, "although refused, copied") for schedule in SPLIT])[0]
    assert all(words.startswith("differ: gradient") for words in said), said


def test_layers_are_dealt_out_and_the_head_counts():
    assert shares(8, 4) == [2, 2, 2, 2]
    assert shares(4, 2, head=2.5) == [3, 1]
    assert shares(32, 4, head=2.4) == [8, 9, 9, 6]
    assert shares(7, 4) == [1, 2, 2, 2]
    for layers in range(4, 40):
        for head in (0.0, 0.5, 3.0):
            assert sum(shares(layers, 4, head)) == layers
    with pytest.raises(CourseError, match="too few"):
        shares(3, 8)


def test_chunks_have_their_places():
    assert places("1F1B", 3) == [0, 1, 2]
    assert places("Interleaved1F1B", 2, per_rank=3) == [0, 1, 0, 1, 0, 1]
    assert places("ZBVZeroBubble", 3) == [0, 1, 2, 2, 1, 0]


@pytest.fixture
def alone():
    """A mesh of one rank, in this process."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("pp",))
    dist.destroy_process_group()


@pytest.mark.parametrize("schedule", ["1F1B", "ZBVZeroBubble"])
def test_one_rank_holds_all_of_it(alone, schedule):
    torch.manual_seed(1)
    model = GPT(GPTConfig(vocab_size=32, layers=2, heads=2, dim=8, hidden=8, context=8))
    tokens = torch.randint(0, 32, (4, 9))
    whole = parity.snapshot(model, None)
    pipeline = stages(model, alone, 2, schedule)
    loss = pipeline.evaluate(tokens[:, :-1], tokens[:, 1:])
    assert torch.isclose(loss, pipeline.step(tokens[:, :-1], tokens[:, 1:]))
    assert parity.compare(whole, {n: t for n, t in parity.snapshot(model, None).items() if n in whole}).equal


def test_mistakes_get_a_sentence(alone):
    def made(**options):
        model = GPT(GPTConfig(vocab_size=32, layers=2, heads=2, dim=8, hidden=8, context=8))
        return stages(model, alone, **{"micro_batches": 2, **options})

    with pytest.raises(CourseError, match="Did you mean '1F1B'"):
        made(schedule="1f1b")
    with pytest.raises(CourseError, match="at least as many micro-batches"):
        made(micro_batches=0)
    with pytest.raises(CourseError, match="does not deal out 2 layers"):
        made(layers=[3])
    for schedule, why in {"ZBVZeroBubble": "which splits", "Interleaved1F1B": "from the second step"}.items():
        with pytest.raises(CourseError, match=f"DDP does not average the gradients of {schedule}, {why}"):
            made(schedule=schedule, wrap=nn.parallel.DistributedDataParallel)

    def blocks_too(chunk):
        for block in chunk.blocks:
            fully_shard(block, mesh=alone)
        return fully_shard(chunk, mesh=alone)

    with pytest.raises(CourseError, match="units inside of a chunk lose gradients of ZBVZeroBubble"):
        made(schedule="ZBVZeroBubble", wrap=blocks_too)
    made(schedule="Interleaved1F1B", wrap=blocks_too)


def test_the_bubble_and_what_is_kept_follow_from_stamps():
    first = [
        (0, 0, "forward", 0, 1),
        (0, 1, "forward", 1, 2),
        (0, 0, "backward", 4, 5),
        (0, 1, "backward", 5, 6),
    ]
    second = [
        (1, 0, "forward", 1, 2),
        (1, 1, "forward", 2, 3),
        (1, 0, "backward", 3, 4),
        (1, 1, "backward", 4, 5),
    ]
    assert stage_times.bubble([first, second]) == pytest.approx(1 - 8 / 12)
    assert stage_times.in_flight(first) == 2
    assert stage_times.in_flight([*first[:1], (0, 0, "input", 2, 3), (0, 0, "weight", 3, 4)]) == 1


def test_a_layer_takes_its_time_and_computes():
    torch.manual_seed(1)
    layer, plain = stage_times.Takes(4, 0.02, 0.03, 0.04), nn.Linear(4, 4, bias=False)
    plain.weight.data.copy_(layer.weight)
    x = torch.randn(2, 4)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    import time

    begin = time.perf_counter()
    layer(x1).sum().backward()
    assert time.perf_counter() - begin >= 0.09
    plain(x2).sum().backward()
    assert torch.equal(x1.grad, x2.grad)
    assert torch.equal(layer.weight.grad, plain.weight.grad)

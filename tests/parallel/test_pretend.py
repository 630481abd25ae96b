"""scaleup.parallel.pretend: what one rank of many holds and sends, counted, is what formulas say."""

import math
import resource
import sys

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy

from scaleup.errors import CourseError
from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import pretend
from scaleup.parallel.sharding import shard
from scaleup.parallel.stages import stages
from scaleup.parallel.tensor_split import split
from scaleup.paths import root
from scaleup.ranks import RanksFailed

HALF = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
SMALL = GPTConfig(vocab_size=256, layers=4, heads=4, dim=64, hidden=96, context=32)
LARGE = GPTConfig(vocab_size=32768, layers=80, heads=64, dim=8192, hidden=24576, context=4096)
PROGRAM = root() / "tests" / "programs" / "parity_composed.py"


@pytest.fixture(autouse=True)
def nothing_stays():
    hook = sys.excepthook
    yield
    assert not dist.is_initialized()
    assert sys.excepthook is hook
    assert type(torch.zeros(1)) is torch.Tensor


def matrices_and_norms(config: GPTConfig, layers: int) -> tuple[int, int]:
    """Numbers in the matrices, and in the norms, of so many layers."""
    return layers * (4 * config.dim**2 + 3 * config.dim * config.hidden), layers * 2 * config.dim


def check_hybrid_sharding(config: GPTConfig, copies: int, ranks: int) -> None:
    """A step of rank 0 in bf16, sharded over `ranks` and copied `copies` times: every call and every byte."""
    with pretend.one_of(copies * ranks):
        mesh = init_device_mesh("cpu", (copies, ranks), mesh_dim_names=("dp", "shard"))
        model = GPT(config)
        numbers = sum(p.numel() for p in model.parameters())
        blocks = sum(p.numel() for p in model.blocks.parameters())
        model = shard(model, mesh, policy=HALF)
        optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
        pretend.warm(optimizer)
        tokens = torch.randint(0, config.vocab_size, (1, config.context))
        with pretend.Watch(mesh, model, optimizer) as watch:
            watch.mark("before")
            next_token_loss(model(tokens), tokens).backward()
            optimizer.step()
        held = pretend.size(model) + pretend.size(optimizer)
    matrices, norms = matrices_and_norms(config, config.layers)
    assert blocks == matrices + norms
    calls = {name: (seen.count, seen.bytes) for name, seen in watch.traffic.items()}
    units = config.layers + 1
    assert calls == {
        ("shard", "all-gather"): (units + config.layers, 2 * (numbers + blocks)),  # the rest is gathered once
        ("shard", "reduce-scatter"): (units, 4 * numbers),
        ("dp", "all-reduce"): (units, 4 * numbers // ranks),
    }
    assert watch.traffic["dp", "all-reduce"].sent == 2 * (copies - 1) / copies * (4 * numbers // ranks)
    more = 4 * len(list(model.parameters()))  # the optimizer counts the steps of each tensor
    more += 2 * 4 * config.context * config.dim // config.heads  # cosines and sines
    assert watch.marks["before"] == 12 * numbers // ranks + more
    assert held == 16 * numbers // ranks + more
    assert watch.peak > held


def test_hybrid_sharding_holds_and_sends_what_the_formulas_say():
    check_hybrid_sharding(SMALL, copies=128, ranks=8)


def test_an_earlier_world_leaves_nothing_behind():
    for ways in (2, 4, 2):
        with pretend.one_of(2 * ways):
            mesh = init_device_mesh("cpu", (2, ways), mesh_dim_names=("dp", "tp"))
            model = split(GPT(SMALL), mesh["tp"])
            tokens = torch.zeros((1, 32), dtype=torch.int64)
            with pretend.Watch(mesh, model) as watch:
                next_token_loss(model(tokens), tokens).backward()
        per_layer = 4 * SMALL.layers + 2  # attention and MLP, forward and backward; embedding
        assert watch.traffic["tp", "all-gather"].count == per_layer + 1  # the logits
        assert watch.traffic["tp", "reduce-scatter"].count == per_layer
        assert watch.traffic["tp", "reduce-scatter"].sent == per_layer * 4 * 32 * 64 * (ways - 1) / ways


@pytest.mark.parametrize("reshard", [True, False])
def test_a_stage_sends_each_micro_batch_once_and_gathers_as_often_as_it_frees(reshard):
    micro_batches, axes = 6, {"pp": 4, "shard": 2, "tp": 2}
    with pretend.one_of(math.prod(axes.values())):
        mesh = init_device_mesh("cpu", tuple(axes.values()), mesh_dim_names=tuple(axes))
        model = split(GPT(SMALL), mesh["tp"])
        wrap = lambda part: shard(part, mesh["shard"], reshard, HALF)  # noqa: E731
        pipeline = stages(model, mesh["pp"], micro_batches, wrap=wrap)
        tokens = torch.zeros((micro_batches, 32), dtype=torch.int64)
        hidden = torch.empty((1, 16, 64), dtype=torch.bfloat16)
        pretend.tell_shapes(pipeline.stages, tokens[:1], hidden, torch.empty(1, 32, 256))
        layers = len([block for block in model.blocks if list(block.parameters())])
        with pretend.Watch(mesh, model) as watch:
            assert pipeline.step(tokens, tokens) is None  # the loss is on the last stage
    assert watch.traffic["pp", "send"].count == watch.traffic["pp", "receive"].count == micro_batches
    assert watch.traffic["pp", "send"].bytes == micro_batches * hidden.nbytes
    often = micro_batches + 1 if reshard else 1
    assert watch.traffic["shard", "all-gather"].count == layers * often + 1
    assert watch.traffic["shard", "reduce-scatter"].count == layers + 1
    assert watch.traffic["tp", "all-gather"].count == micro_batches * (4 * layers + 1)


def test_memory_goes_up_and_down():
    with pretend.one_of(2):
        mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("shard",))
        kept = torch.empty(100)
        with pretend.Watch(mesh, kept) as watch:
            view = torch.empty(1000)[:500]
            more = view * 2
            watch.mark("both")
            del view
            watch.mark("one")
            more.untyped_storage().resize_(0)
            watch.mark("freed")
    assert watch.marks == {"both": 400 + 4000 + 2000, "one": 400 + 2000, "freed": 400}
    assert watch.peak == 6400


def test_it_refuses_what_cannot_be():
    with pytest.raises(CourseError, match="no rank 4 of 4"), pretend.one_of(4, rank=4):
        pass
    with pretend.one_of(4, rank=3):
        assert dist.get_rank() == 3
        with pytest.raises(CourseError, match="real group"), pretend.one_of(2):
            pass


@pytest.mark.processes  # it starts none, and takes half a minute
def test_seventy_billion_parameters_on_1024_ranks():
    """The process that runs the tests stays small: 281 GB of parameters are never there."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_hybrid_sharding(LARGE, copies=128, ranks=8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


LAYOUTS = {4: ["shard=2 tp=2", "pp=2 shard=2", "pp=2 tp=2", "dp=2 shard=2"], 8: ["pp=2 shard=2 tp=2"]}
CASES = [(ranks, layout) for ranks, layouts in LAYOUTS.items() for layout in layouts]


@pytest.mark.processes
@pytest.mark.parametrize(("ranks", "layout"), CASES)
def test_composed_ranks_equal_one(ranks, layout):
    found = parity.prove(PROGRAM, *layout.split(), world_sizes=(ranks,))
    assert found[ranks].equal, found[ranks]
    assert found[ranks].compared == 1 + 2 * 39


@pytest.mark.processes
@pytest.mark.parametrize(
    ("layout", "mistake"),
    [
        ("shard=2 tp=2", "each rank its own"),
        ("pp=2 shard=2", "the same for all"),
        ("shard=2 tp=2", "axes swapped"),
        ("dp=2 shard=2", "loss of one"),
        ("pp=2 shard=2", "other seeds"),
        ("pp=2 tp=2", "each rank its own"),
    ],
)
def test_parity_refuses_each_mistake(layout, mistake):
    assert not parity.prove(PROGRAM, *layout.split(), mistake, world_sizes=(4,))[4].equal


@pytest.mark.processes
def test_split_needs_whole_matrices():
    with pytest.raises(RanksFailed, match="c10d.broadcast_"):
        parity.prove(PROGRAM, "shard=2", "tp=2", "sharded first", world_sizes=(4,))


@pytest.mark.processes
@pytest.mark.parametrize("layout", ["shard=2 tp=2", "pp=2 shard=2"])
def test_mixed_precision_is_that_of_one_rank_up_to_rounding(layout):
    """Tolerance: 5 % of each tensor's largest number, as far as bf16 on one rank is from fp32."""
    found = parity.prove(PROGRAM, *layout.split(), "half", world_sizes=(4,), tolerance=0.05)
    assert found[4].equal, found[4]


@pytest.mark.processes
def test_recompute_changes_nothing():
    assert parity.prove(PROGRAM, "shard=2", "tp=2", "recompute", world_sizes=(4,))[4].equal

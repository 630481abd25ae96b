"""scaleup.parallel.sharding: FSDP2 as the course applies it equals one rank, and broken ways are refused."""

import sys
from pathlib import Path

import cloudpickle
import pytest

from scaleup import ranks

pytestmark = pytest.mark.processes
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks cannot import a test
PROGRAM = Path(__file__).parents[1] / "programs" / "parity_sharding.py"


@pytest.fixture(scope="module", params=[1, 2, 4])
def found(request):
    """World size and what each rank found, on 1, 2 and 4 ranks."""
    result = ranks.run(PROGRAM, request.param, "fsdp", quiet=True)
    return request.param, list(result.results.values())


def test_each_way_to_shard_equals_one_rank_and_each_mistake_is_refused(found):
    world_size, of_ranks = found
    assert len(of_ranks) == world_size
    for name in of_ranks[0]["cases"]:
        way, _, mistake = name.partition(": ")
        compared, differences = zip(*(by_rank["cases"][name] for by_rank in of_ranks), strict=True)
        assert set(compared) == {1 + 2 * 21}, "a loss, 21 gradients and 21 parameters"
        if not mistake:
            assert not any(differences), (world_size, way, differences)
        elif world_size > 1:
            assert any(differences), f"{mistake} in {way} passed on {world_size} ranks"


def test_bfloat16_changes_gradients_by_its_precision_and_leaves_shards_in_fp32(found):
    for by_rank in found[1]:
        off, shards_are_fp32 = by_rank["mixed"]
        assert 1e-4 < off < 5e-2 and shards_are_fp32


def units_on_ranks():
    """How many modules are units, and the share of the parameters that a rank holds."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule

    from scaleup.model import GPT, GPTConfig
    from scaleup.parallel.sharding import shard

    found = {}
    shapes = {"one axis": (4,), "two axes": (2, 2)}
    for name, shape in shapes.items():
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("dp", "shard")[-len(shape) :])
        model = GPT(GPTConfig(vocab_size=64, layers=2, heads=2, dim=16, hidden=24, context=16))
        numbers = sum(p.numel() for p in model.parameters())
        same = shard(model, mesh) is model
        units = [module for module in model.modules() if isinstance(module, FSDPModule)]
        local = sum(p.to_local().numel() for p in model.parameters())
        found[name] = [same, len(units), numbers / local]
    dist.barrier()
    return found


def test_every_block_is_a_unit_and_the_second_axis_shards():
    for found in ranks.call(units_on_ranks, 4):
        assert found == {"one axis": [True, 3, 4.0], "two axes": [True, 3, 2.0]}

"""Who is whose neighbour in the grid of ranks."""

import pytest
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from scaleup.config import ParallelConfig
from scaleup.parallel import mesh


@pytest.fixture(params=[0, 5, 15])
def rank(request):
    """This process pretends to be one of 16 ranks."""
    dist.init_process_group("fake", store=FakeStore(), rank=request.param, world_size=16)
    yield request.param
    dist.destroy_process_group()


def members(group: dist.ProcessGroup) -> list[int]:
    return dist.get_process_group_ranks(group)


def test_every_way_has_an_axis_and_the_last_ones_are_neighbours(rank):
    grid = mesh.make(ParallelConfig(dp=2, shard=2, tp=2, pp=2), "cpu")
    assert grid.mesh_dim_names == ("pp", "dp", "shard", "cp", "tp") and grid.size() == 16
    assert members(grid["tp"].get_group()) == [rank // 2 * 2, rank // 2 * 2 + 1]
    assert members(grid["pp"].get_group()) == [rank % 8, rank % 8 + 8], "stages are farthest apart"
    assert members(grid["cp"].get_group()) == [rank]
    assert mesh.place(grid, "dp", "shard") == rank // 2 % 4
    assert mesh.place(grid, "pp") == rank // 8


def test_experts_are_spread_over_neighbours_among_those_with_other_data(rank):
    grid = mesh.make(ParallelConfig(dp=4, shard=2, tp=2), "cpu")
    experts = mesh.for_experts(grid, 4)
    begin = rank // 8 * 8 + rank % 2
    assert members(experts["ep"].get_group()) == [begin, begin + 2, begin + 4, begin + 6]
    assert members(experts["copies"].get_group()) == [rank % 8, rank % 8 + 8]


def test_a_batch_is_shared_by_all_who_have_other_tokens(rank):
    grid = mesh.make(ParallelConfig(dp=2, cp=2, tp=2, pp=2), "cpu")
    begin = rank // 8 * 8 + rank % 2
    assert members(mesh.of_batch(grid).get_group()) == [begin, begin + 2, begin + 4, begin + 6]

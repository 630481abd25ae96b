"""scaleup.parallel: what is added up by hand equals dist.all_reduce, in the bytes that the formulas say."""

import sys

import cloudpickle
import pytest

from scaleup import ranks
from scaleup.parallel import ring, tree


def by_hand_and_by_torch(length):
    """On each rank, for 2, 3 and 4 ranks: do both ways equal torch's, bytes sent, steps of the ring."""
    import torch
    import torch.distributed as dist

    from scaleup.parallel import ring, tree

    found = {}
    for size in (4, 2, 3):
        group = dist.new_group(list(range(size)))
        if dist.get_rank() >= size:
            continue
        own = torch.arange(length, dtype=torch.float64) * (dist.get_rank() + 1)
        want, steps = own.clone(), []
        dist.all_reduce(want, group=group)
        ways = {}
        for name, way in {"ring": ring, "tree": tree}.items():
            got = own.clone().view(2, -1)
            more = {"watch": steps.append} if way is ring else {}
            sent = way.all_reduce(got, group=group, **more)
            ways[name] = {"equal": torch.equal(got.flatten(), want), "sent": sent}
        found[str(size)] = ways | {"steps": len(steps)}
    return found


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks cannot import a test


@pytest.mark.processes
def test_ring_and_tree_equal_torch_and_send_what_the_formulas_say():
    length = 24
    for rank, found in enumerate(ranks.call(by_hand_and_by_torch, 4, length)):
        for size, ways in found.items():
            n = int(size)
            assert ways["ring"] == {"equal": True, "sent": 2 * (n - 1) * length * 8 // n}, (rank, size)
            assert ways["steps"] == 2 * (n - 1)
            assert ways["tree"]["equal"], (rank, size)
    assert {ways["tree"]["sent"] for ways in found.values()} == {8 * length}  # rank 3 is a leaf


@pytest.mark.processes
def test_chunks_may_be_unequal_and_empty():
    for length in (2, 10):
        for found in ranks.call(by_hand_and_by_torch, 4, length):
            assert all(ways[name]["equal"] for ways in found.values() for name in ("ring", "tree"))


@pytest.mark.parametrize("way", [ring, tree])
def test_a_tensor_that_is_not_contiguous_is_refused(way):
    import torch

    with pytest.raises(ValueError, match="contiguous"):
        way.all_reduce(torch.ones(2, 3).T)

"""scaleup.parallel.zero: stages by hand equal one rank, hold what the formulas say, are refused if broken."""

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
    """{way: [what each rank found different]} of the ways by hand, mistakes apart, on 1, 2 and 4 ranks."""
    result = ranks.run(PROGRAM, request.param, "zero", quiet=True)
    return request.param, [by_rank["cases"] for by_rank in result.results.values()]


def test_each_stage_equals_one_rank_and_each_mistake_is_refused(found):
    world_size, of_ranks = found
    assert len(of_ranks) == world_size
    for name in of_ranks[0]:
        way, _, mistake = name.partition(": ")
        compared, differences = zip(*(cases[name] for cases in of_ranks), strict=True)
        assert set(compared) == {1 + 2 * 21}, "a loss, 21 gradients and 21 parameters"
        if not mistake:
            assert not any(differences), (world_size, way, differences)
        elif world_size > 1:
            assert any(differences), f"{mistake} in {way} passed on {world_size} ranks"


def held_on_ranks():
    """Bytes of parameters, gradients and optimizer state after a step, by stage, and what a stage gathers."""
    import torch

    from scaleup.model import GPT, GPTConfig
    from scaleup.parallel import zero

    def held(tensors):
        return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())

    found = {}
    for stage in (1, 2, 3):
        torch.manual_seed(0)
        model = GPT(GPTConfig(vocab_size=64, layers=2, heads=2, dim=16, hidden=24, context=16))
        units = getattr(zero, f"stage_{stage}")(model)
        optimizer = torch.optim.AdamW([unit.shard for unit in units])
        model(torch.zeros(1, 8, dtype=torch.int64)).sum().backward()
        full = held([p.grad for p in model.parameters() if p.grad is not None])
        if stage == 1:
            for unit in units:
                unit.reduce()
        optimizer.step()
        found[stage] = {
            "numbers": sum(p.numel() for p in model.parameters()),
            "full parameters": held([unit.full for unit in units]),
            "full gradients after backward": full,
            "all parameters": held([t for unit in units for t in (unit.full, unit.shard)]),
            "gradients": held([unit.shard.grad for unit in units]),
            "optimizer": sum(t.nbytes for s in optimizer.state.values() for t in s.values() if t.dim()),
        }
    return found


def test_each_stage_holds_what_its_formula_says():
    for found in ranks.call(held_on_ranks, 4):
        for stage, held in found.items():
            whole = 4 * held["numbers"]  # all units divide by 4 here
            assert held["gradients"] == whole / 4
            assert held["optimizer"] == 2 * whole / 4
            assert held["full gradients after backward"] == (whole if stage == "1" else 0)
            assert held["full parameters"] == (0 if stage == "3" else whole)
            assert held["all parameters"] == (whole / 4 if stage == "3" else whole)

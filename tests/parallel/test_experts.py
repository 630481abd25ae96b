"""scaleup.parallel.experts: N ranks equal one, what is broken is told, the losses say what they should."""

import sys
from pathlib import Path

import cloudpickle
import pytest
import torch

from scaleup import ranks
from scaleup.errors import CourseError
from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig
from scaleup.parallel import experts

PROGRAM = Path(__file__).parents[1] / "programs" / "parity_experts.py"
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks cannot import a test
CONFIG = GPTConfig(vocab_size=64, layers=2, heads=2, dim=16, hidden=24, context=16)
TOKENS = torch.arange(32).view(2, 16)
BROKEN = [
    "copies not averaged", "experts averaged", "experts summed", "nothing averaged", "other seeds",
    "wrong shard", "wrong order", "own statistics", "router not averaged",
]  # fmt: skip


def made(**changes) -> GPT:
    torch.manual_seed(0)
    return experts.sparse(GPT(CONFIG), **({"experts": 4, "top_k": 2, "seed": 3} | changes))


# Ranks


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """{world size: {kind: the snapshots of all ranks}}, from one run for each world size."""
    folder, found = tmp_path_factory.mktemp("experts"), {}
    kinds = {1: ["right", "copies"], 2: ["right", "copies", *BROKEN], 4: ["right", "copies"]}
    for world, names in kinds.items():
        place = folder / f"{world}.pt"
        ranks.run(PROGRAM, world, *names, env={"SCALEUP_PARITY": str(place)}, quiet=True)
        found[world] = {name: torch.load(f"{place}.{name}") for name in names}
    return found


@pytest.mark.processes
@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("kind", ["right", "copies"])
def test_ranks_compute_what_one_computes(records, world, kind):
    reference = records[1]["right"][0]
    difference = parity.compare(reference, *records[world][kind])
    assert difference.equal, difference
    assert difference.compared == 1 + 2 * len(list(made(shared=1, hidden=12).parameters()))


@pytest.mark.processes
def test_each_expert_is_on_as_many_ranks_as_it_should_be(records):
    name = "parameter blocks.1.mlp.experts.{}.up.weight"
    for kind, copies in {"right": 1, "copies": 2}.items():
        for expert in range(4):
            held = [name.format(expert) in snapshot for snapshot in records[4][kind]]
            assert sum(held) == copies, (kind, expert, held)


@pytest.mark.processes
@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_told(records, kind):
    difference = parity.compare(records[1]["right"][0], *records[2][kind])
    assert not difference.equal and difference.largest > 1e-4, difference
    if kind == "experts summed":
        assert difference.first.startswith("gradient blocks.0.mlp.experts"), difference
    if kind == "router not averaged":
        assert difference.first.startswith("gradient blocks.0.mlp.router"), difference


def biases_after_a_step():
    """This rank's router bias after a step with the load of both ranks, and with its own only."""
    import torch.distributed as dist

    found = []
    for group in (dist.group.WORLD, None):
        model = made()
        for mixture in experts.mixtures(model):  # rank 0 fills experts 0 and 1, rank 1 more of 1 and 2
            mixture.router.counts = torch.tensor([[8, 8, 0, 0], [0, 12, 4, 0]][dist.get_rank()])
        experts.adjust_bias(model, rate=0.5, group=group)
        found.append(experts.mixtures(model)[0].router.bias.tolist())
    return found


@pytest.mark.processes
def test_the_bias_moves_by_the_load_of_all_ranks_and_stays_the_same_on_each():
    (first, first_alone), (second, second_alone) = ranks.call(biases_after_a_step, 2)
    assert first == second == [0.0, -0.5, 0.5, 0.5]  # in all 8, 20, 4 and 0 rows, and a mean of 8
    assert first_alone == [-0.5, -0.5, 0.5, 0.5] and second_alone == [0.5, -0.5, 0.0, 0.5]


# One rank


def test_a_mixture_of_one_expert_is_the_dense_model():
    torch.manual_seed(0)
    dense = GPT(CONFIG)
    model = made(experts=1, top_k=1)
    for one, block in zip(model.blocks, dense.blocks, strict=True):
        one.mlp.experts["0"].load_state_dict(block.mlp.state_dict())
    assert torch.allclose(model(TOKENS), dense(TOKENS), atol=1e-6)


def test_a_token_gets_the_weighted_sum_of_its_experts():
    mixture = made(shared=1, hidden=8).blocks[0].mlp
    x = torch.randn(2, 5, 16)
    got = mixture(x)
    weights, chosen = mixture.router(x.flatten(0, 1))
    for row, token in enumerate(x.flatten(0, 1)):
        want = mixture.shared[0](token)
        for weight, expert in zip(weights[row], chosen[row], strict=True):
            want = want + weight * mixture.experts[str(expert.item())](token)
        assert torch.allclose(got.flatten(0, 1)[row], want, atol=1e-6)
    assert torch.allclose(weights.sum(dim=1), torch.ones(10))


def test_the_same_seed_gives_the_same_model_and_another_one_does_not():
    first, same, other = made(), made(), made(seed=4)
    state = first.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in same.state_dict().items())
    assert not torch.equal(other.blocks[0].mlp.router.score.weight, first.blocks[0].mlp.router.score.weight)


def test_by_default_a_token_costs_what_it_did():
    dense = sum(p.numel() for p in GPT(CONFIG).blocks[0].mlp.parameters())
    model = made(experts=8, top_k=2)
    each = [sum(p.numel() for p in expert.parameters()) for expert in model.blocks[0].mlp.experts.values()]
    assert len(each) == 8 and 2 * each[0] == dense and len(set(each)) == 1
    assert len(experts.expert_parameters(model)) == 2 * 8 * 3


def test_an_expert_without_tokens_gets_a_gradient_of_zeros():
    model = made()
    router = model.blocks[0].mlp.router
    router.bias[2] = -9.0
    model(TOKENS).sum().backward()
    assert router.counts[2] == 0 and router.counts.sum() == 2 * TOKENS.numel()
    assert all(p.grad is not None and not p.grad.any() for p in model.blocks[0].mlp.experts["2"].parameters())


def test_with_one_expert_per_token_the_router_learns_too():
    model = made(top_k=1)
    model(TOKENS).square().sum().backward()
    assert model.blocks[0].mlp.router.score.weight.grad.abs().max() > 0


def test_autocast_keeps_the_router_exact():
    model = made()
    with torch.autocast("cpu", torch.bfloat16):
        model(TOKENS).float().sum().backward()
    router, rows = model.blocks[0].mlp.router, torch.randn(64, model.config.dim)
    weights, chosen = router(rows)
    with torch.autocast("cpu", torch.bfloat16):
        under, same = router(rows)
    assert torch.equal(under, weights) and torch.equal(same, chosen)


def test_the_balance_loss_is_one_where_all_is_equal_and_the_number_of_experts_where_one_gets_all():
    model = made(top_k=1)
    model(TOKENS)
    for mixture in experts.mixtures(model):
        mixture.router.counts = torch.full((4,), 8)
    assert experts.balance_loss(model).item() == pytest.approx(1.0)
    for mixture in experts.mixtures(model):
        mixture.router.counts = torch.tensor([32, 0, 0, 0])
        mixture.router.probability = torch.tensor([1.0, 0, 0, 0])
    assert experts.balance_loss(model).item() == pytest.approx(4.0)


def test_the_z_loss_is_the_square_of_the_log_of_the_sum():
    model = made()
    for mixture in experts.mixtures(model):
        torch.nn.init.zeros_(mixture.router.score.weight)
    model(TOKENS)
    assert experts.z_loss(model).item() == pytest.approx(torch.tensor(4.0).log().item() ** 2)


def test_the_bias_moves_against_the_load_and_weighs_nothing():
    model = made()
    router = model.blocks[0].mlp.router
    router.counts = torch.tensor([10, 4, 2, 4])
    model.blocks[1].mlp.router.counts = torch.tensor([5, 5, 5, 5])
    experts.adjust_bias(model, rate=0.1)
    assert torch.allclose(router.bias, torch.tensor([-0.1, 0.1, 0.1, 0.1]))
    assert not model.blocks[1].mlp.router.bias.any()
    assert "blocks.0.mlp.router.bias" in model.state_dict()
    router.bias.copy_(torch.tensor([9.0, 9.0, 0.0, 0.0]))
    weights, chosen = router(torch.zeros(3, 16))
    assert sorted(chosen[0].tolist()) == [0, 1] and torch.allclose(weights, torch.full((3, 2), 0.5))


def test_imbalance_is_the_fullest_over_the_mean():
    assert experts.imbalance(torch.tensor([6, 2, 4, 0])) == 2.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"top_k": 5}, "top_k=5 of experts=4"), ({"experts": 0}, "experts=0"), ({"top_k": 0}, "top_k=0"),
     ({"shared": -1}, "shared=-1"), ({"top_k": 4, "shared": 1}, "does not split over the 5 experts")],
)  # fmt: skip
def test_what_is_impossible_is_said(changes, words):
    with pytest.raises(CourseError, match=words):
        made(**changes)


def test_experts_that_do_not_split_are_told():
    class Three:
        def size(self):
            return 3

        def get_local_rank(self):
            return 0

    with pytest.raises(CourseError, match="4 experts do not split over 3 ranks"):
        experts.spread(made(), Three())

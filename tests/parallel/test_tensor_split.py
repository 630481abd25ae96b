"""Tensor parallelism is the same model, by plan and by hand; what is broken on purpose is found and named."""

import sys
from pathlib import Path

import cloudpickle
import pytest
import torch
from torch import nn

from scaleup import ranks
from scaleup.errors import CourseError
from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig
from scaleup.parallel import tensor_split

PROGRAM = Path(__file__).parents[1] / "programs" / "parity_tensor.py"
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks cannot import a test
TENSORS = 1 + 2 * 21  # a loss, and gradients and parameters of two blocks


def test_a_plan_has_a_style_for_every_module_with_parameters():
    model = GPT(GPTConfig(layers=3))
    styles = tensor_split.plan(layers=3)
    owners = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert owners <= set(styles)
    assert set(styles) - owners == {f"blocks.{n}.{part}" for n in range(3) for part in ("attention", "mlp")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 2}, r"heads=2 does not split over tp=4\. Choose a tp that divides it\."),
        ({"hidden": 390}, r"hidden=390 does not split over tp=4"),
        ({"vocab_size": 4098}, r"vocab_size=4098 .* tp=4\. .* or round the vocabulary up\."),
    ],
)
def test_what_does_not_split_is_refused_by_its_name(changes, words):
    with pytest.raises(CourseError, match=words):
        tensor_split.refuse(GPTConfig(**changes), 4)
    tensor_split.refuse(GPTConfig(**changes), 1)
    tensor_split.refuse(GPTConfig(), 4)


# On real ranks


RIGHT = ("plan", "whole", "loss", "clip", "with fsdp", "hand", "hand sequence")
BROKEN = {
    "hand unsummed": "loss",  # parts instead of sums
    "hand one way": "gradient embedding.weight",  # each rank's own share of the input's gradient
    "hand strided": "loss",  # gate and up are not cut alike
    "hand norms": "gradient blocks.0.attention_norm.weight",  # of this rank's tokens only
    "hand drifting": "gradient norm.weight",  # a copy that is updated otherwise
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> dict[int, list[parity.Snapshot]]:
    """{world size: what each rank has, of all kinds}."""
    found = {}
    for size in (1, 2, 4):
        place = tmp_path_factory.mktemp("parity") / f"{size}.pt"
        env = {"SCALEUP_PARITY": str(place)}
        ranks.run(PROGRAM, size, *RIGHT, *BROKEN, env=env, quiet=True, timeout=300)
        found[size] = torch.load(place)
    return found


def of(kind: str, snapshot: parity.Snapshot) -> parity.Snapshot:
    picked = {"loss": snapshot[f"parameter losses.{kind}"]}
    for name, tensor in snapshot.items():
        what, _, where = name.partition(" ")
        if where.startswith(f"{kind}."):
            picked[f"{what} {where.removeprefix(f'{kind}.')}"] = tensor
    return picked


def proved(kind: str, size: int, recorded) -> parity.Difference:
    return parity.compare(of(kind, recorded[1][0]), *(of(kind, rank) for rank in recorded[size]))


@pytest.mark.processes
@pytest.mark.parametrize("kind", RIGHT)
def test_the_split_model_trains_as_one_rank_does(kind, recorded):
    """`plan` has sequence parallelism, `whole` has not; with `loss` the logits stay cut."""
    for size in (2, 4):
        difference = proved(kind, size, recorded)
        assert difference.equal, difference
        assert difference.compared == TENSORS


@pytest.mark.processes
@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_found_and_named(kind, recorded):
    for size in (2, 4):
        difference = proved(kind, size, recorded)
        assert not difference.equal
        assert difference.first.startswith(BROKEN[kind]), difference


def deals_out_and_refuses():
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    mesh, rank = init_device_mesh("cpu", (2,)), dist.get_rank()
    torch.manual_seed(rank)
    model = GPT(GPTConfig(vocab_size=64, layers=1, heads=2, dim=16, hidden=24, context=16))
    model.norm.weight.detach().fill_(1 + rank)
    tensor_split.split(model, mesh)
    whole = [p.full_tensor().sum().item() for p in model.parameters()]
    try:
        model(torch.zeros(1, 5, dtype=torch.int64))
    except CourseError as error:
        return whole, str(error)


@pytest.mark.processes
def test_rank_0_deals_out_its_parameters_and_a_window_has_to_divide():
    (first, said), (second, _) = ranks.call(deals_out_and_refuses, 2)
    assert first == second
    assert said == (
        "5 tokens do not split over tp=2: 1 would be left. Choose another window, or sequence=False."
    )


def by_hand(seed: int):
    """Differences of the loss, its gradient and the looked up words from what PyTorch computes whole."""
    import torch.distributed as dist

    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(seed)
    logits, targets = 30 * torch.randn(10, 12, requires_grad=True), torch.randint(0, 12, (10,))
    table = torch.randn(12, 5)
    leaf = logits.detach().requires_grad_()
    expected = nn.functional.cross_entropy(leaf, targets, reduction="none")
    (expected * torch.arange(10)).sum().backward()
    own = leaf.detach().chunk(size, dim=1)[rank].clone().requires_grad_()
    found = tensor_split.cross_entropy(own, targets)
    (found * torch.arange(10)).sum().backward()
    looked_up = tensor_split.leave(tensor_split.embed(targets, table.chunk(size)[rank]))
    return [
        (found - expected).abs().max().item(),
        (own.grad - leaf.grad.chunk(size, dim=1)[rank]).abs().max().item(),
        (looked_up - table[targets]).abs().max().item(),
    ]


@pytest.mark.processes
@pytest.mark.parametrize("size", [1, 2, 4])
def test_loss_and_embedding_from_parts_are_those_of_the_whole_also_for_large_logits(size):
    for differences in ranks.call(by_hand, size, 3):
        assert max(differences) < 1e-5


def placements_of_gradients():
    """Whether each gradient is placed as its parameter is: after our split, and after a bare plan."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import parallelize_module

    mesh = init_device_mesh("cpu", (2,))
    found = []
    for ours in (True, False):
        torch.manual_seed(1)
        model = GPT(GPTConfig(vocab_size=64, layers=1, heads=2, dim=16, hidden=24, context=16))
        if ours:
            model = tensor_split.split(model, mesh)
        else:
            model = parallelize_module(model, mesh, tensor_split.plan(layers=1))
        model(torch.zeros(1, 4, dtype=torch.int64)).square().sum().backward()
        found.append([p.grad.placements == p.placements for p in model.parameters()])
    return found


@pytest.mark.processes
def test_gradients_are_laid_out_as_their_parameters_are_and_a_bare_plan_leaves_them_otherwise():
    for ours, bare in ranks.call(placements_of_gradients, 2):
        assert all(ours) and len(ours) == 12
        assert not all(bare)

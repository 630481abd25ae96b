"""scaleup.parallel.long_context: a sequence on several ranks is the same on one, and mistakes are seen."""

import sys
from pathlib import Path

import cloudpickle
import pytest
import torch

from scaleup import ranks
from scaleup.errors import CourseError
from scaleup.measure import parity
from scaleup.parallel import long_context

PROGRAM = Path(__file__).parents[1] / "programs" / "parity_context.py"
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks cannot import a test

# Who has which tokens


def test_each_rank_has_an_early_and_a_late_chunk_and_equal_work():
    assert long_context.order(8, 2).tolist() == [[0, 1, 6, 7], [2, 3, 4, 5]]
    for size in (1, 2, 3, 4, 8):
        places = long_context.order(48, size)
        assert sorted(places.flatten().tolist()) == list(range(48))
        assert len(set((places + 1).sum(dim=1).tolist())) == 1  # a query at place p sees p + 1 keys


def test_a_length_that_does_not_divide_is_refused():
    with pytest.raises(CourseError, match="10 tokens do not divide into 2 x 4 chunks"):
        long_context.order(10, 4)


def test_meet_covers_every_pair_that_a_causal_mask_allows_and_no_other():
    seq, size = 16, 4
    places, seen = long_context.order(seq, size), torch.zeros(seq, seq, dtype=torch.int)
    for rank in range(size):
        for source in range(size):
            queries, keys, causal = long_context.meet(rank, source, seq // size)
            block = torch.ones(len(places[rank][queries]), len(places[source][keys]), dtype=torch.int)
            block = block.tril() if causal else block
            seen[places[rank][queries][:, None], places[source][keys][None]] += block
    assert torch.equal(seen, torch.ones(seq, seq, dtype=torch.int).tril())


# One piece


def pieces(seq=12, dtype=torch.float32):
    torch.manual_seed(1)
    return [torch.randn(2, 3, seq, 8, dtype=dtype) for _ in range(4)]


@pytest.mark.parametrize("causal", [True, False])
def test_the_kernel_and_what_is_written_out_agree_forward_and_backward(causal):
    query, key, value, grad = pieces()
    ours, theirs = (f(query, key, value, causal) for f in (long_context.attend_plainly, long_context.attend))
    for mine, kernel in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, kernel)
    rest = (grad, query, key, value, *ours, causal)
    back = long_context.attend_backward_plainly(*rest), long_context.attend_backward(*rest)
    for mine, kernel in zip(*back, strict=True):
        torch.testing.assert_close(mine, kernel)


@pytest.mark.parametrize("at", [1, 5, 11])
def test_two_attentions_merge_exactly(at):
    query, key, value, _ = pieces(dtype=torch.float64)
    parts = [long_context.attend_plainly(query, key[:, :, s], value[:, :, s], False)
             for s in (slice(0, at), slice(at, None))]  # fmt: skip
    out, lse = long_context.merge(*parts[0], *parts[1])
    want, want_lse = long_context.attend_plainly(query, key, value, False)
    torch.testing.assert_close(out.float(), want.float())
    torch.testing.assert_close(lse, want_lse)


def test_large_scores_do_not_overflow():
    query, key, value, _ = pieces()
    halves = [long_context.attend(100 * query, 100 * key[:, :, s], value[:, :, s], False)
              for s in (slice(0, 6), slice(6, None))]  # fmt: skip
    out, _ = long_context.merge(*halves[0], *halves[1])
    torch.testing.assert_close(out, long_context.attend(100 * query, 100 * key, value, False)[0])


# On ranks


@pytest.mark.processes
@pytest.mark.parametrize("way", ["ring", "all-to-all"])
def test_two_and_four_ranks_equal_one(way):
    for difference in parity.prove(PROGRAM, way, world_sizes=(2, 4)).values():
        assert difference.equal and difference.compared == 43, difference


BROKEN = {
    "ring": ("positions", "alone", "forgets", "plain mean", "own sum", "no way home", "shifted after"),
    "all-to-all": ("positions", "as it came", "heads stay", "sum", "not averaged"),
}


def steps():
    """On four ranks: {size of the mesh: {(way, what is broken): the comparison with one rank}}, and more."""
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    from torch.distributed.device_mesh import init_device_mesh
    from torch.utils.checkpoint import checkpoint

    from scaleup.measure import parity
    from scaleup.model import GPT, GPTConfig, next_token_loss
    from scaleup.parallel import long_context

    tokens = torch.randint(0, 64, (2, 33), generator=torch.Generator().manual_seed(1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    kept = {name: getattr(long_context, name) for name in ("merge", "pass_on", "exchange")}

    def made(dtype=torch.float32):
        torch.manual_seed(1)
        model = GPT(GPTConfig(vocab_size=64, layers=2, heads=4, dim=32, hidden=48, context=32))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(10 if parameter.dim() > 1 else 1)
        return model.to(dtype)

    def forgets(out, lse, new, new_lse):
        return new.float(), new_lse

    def plain_mean(out, lse, new, new_lse):
        first = lse.isinf()[..., None]
        return torch.where(first, new, (out.nan_to_num() + new) / 2), torch.logaddexp(lse, new_lse)

    def at_home(tensor, group, tag=0):
        return (lambda: tensor) if tag else kept["pass_on"](tensor, group)

    def as_it_came(query, key, value, group):
        together = long_context._Exchange.apply(torch.stack((query, key, value)), 2, 3, group)
        mixed = F.scaled_dot_product_attention(*together.unbind(), is_causal=True)
        return long_context._Exchange.apply(mixed, 2, 1, group)

    def heads_stay(x, cut, join, group):  # what comes back keeps the ranks' order along the sequence
        came = kept["exchange"](x, cut, join, group)
        return came.roll(1, dims=1) if join == 1 else came

    def step(mesh, way, broken, dtype=torch.float32, again=False):
        size, model = mesh.size(), made(dtype)
        replaced = {"forgets": ("merge", forgets), "plain mean": ("merge", plain_mean),
                    "no way home": ("pass_on", at_home), "heads stay": ("exchange", heads_stay)}  # fmt: skip
        name, function = replaced.get(broken, ("merge", kept["merge"]))
        setattr(long_context, name, function)
        if broken == "as it came":
            long_context.WAYS[way] = as_it_came
        own = [long_context.part(each, mesh) for each in (inputs, targets)]
        if broken == "shifted after":  # the next token of a chunk's last one is another rank's
            own[1] = own[0].roll(-1, dims=1)
        long_context.spread(model, mesh, way)
        for block in model.blocks:
            if broken == "positions":  # every rank counts from 0
                block.attention._forward_pre_hooks.clear()
            if broken == "alone":
                del block.attention.forward
            if again:
                block.forward = lambda *args, run=block.forward: checkpoint(run, *args, use_reentrant=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = next_token_loss(model(own[0]), own[1])
        if broken == "own sum":
            attend = long_context.attend_backward
            long_context.attend_backward = lambda grad, q, k, v, out, lse, causal: attend(
                grad, q, k, v, *long_context.attend(q, k, v, causal), causal
            )
        loss.backward()
        if broken == "own sum":
            long_context.attend_backward = attend
        mean = loss.detach().clone()
        group = mesh.get_group()
        dist.all_reduce(mean, group=group)
        for parameter in model.parameters() if broken != "not averaged" else ():
            dist.all_reduce(parameter.grad, group=group)
            parameter.grad /= 1 if broken == "sum" else size
        optimizer.step()
        for name, function in kept.items():
            setattr(long_context, name, function)
        long_context.WAYS["all-to-all"] = long_context.all_to_all_attention
        return parity.snapshot(model, mean / size)

    def reference(dtype=torch.float32):
        model = made(dtype)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = next_token_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return parity.snapshot(model, loss)

    both = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "cp"))
    meshes = {2: both["cp"], 4: init_device_mesh("cpu", (4,), mesh_dim_names=("cp",))}
    one, half = reference(), reference(torch.bfloat16)
    found = {"rounding": parity.compare(one, half).largest}
    for size, mesh in meshes.items():
        for way, names in BROKEN.items():
            for name in ("right", *names):
                found[f"{size} {way} {name}"] = parity.compare(one, step(mesh, way, name)).largest
            found[f"{size} {way} recompute"] = parity.compare(
                one, step(mesh, way, "right", again=True)
            ).largest
            narrow = step(mesh, way, "right", torch.bfloat16)
            found[f"{size} {way} bf16"] = parity.compare(half, narrow).largest
            found[f"{size} {way} bf16 against fp32"] = parity.compare(one, narrow).largest
        x = torch.arange(32).view(2, 16)
        back = long_context.whole(long_context.part(x, mesh), mesh)
        found[f"{size} whole"] = float((back - x).abs().max())
    model = long_context.spread(made(), meshes[4])
    refused = []
    for wrong in (
        lambda: model(torch.zeros(1, 16, dtype=torch.long)),
        lambda: long_context.all_to_all_attention(*torch.zeros(3, 1, 2, 8, 4), meshes[4].get_group()),
        lambda: long_context.spread(model, meshes[4], "star"),
        lambda: odd(long_context, F, meshes[4]),
    ):
        try:
            wrong()
        except Exception as error:
            refused.append(str(error))
    return found, refused


def odd(long_context, F, mesh):
    query = torch.zeros(1, 4, 8, 4)
    with long_context._InsteadOfAttention(long_context.ring_attention, mesh.get_group()):
        F.scaled_dot_product_attention(query, query, query)


@pytest.fixture(scope="module")
def on_ranks():
    return ranks.call(steps, 4, timeout=240)


@pytest.mark.processes
def test_parity_sees_every_mistake_and_none_where_there_is_none(on_ranks):
    for found, _ in on_ranks:
        for name, largest in found.items():
            if name.endswith(("right", "recompute", "whole")):
                assert largest < 1e-5, name
            elif name.endswith("bf16"):
                assert largest < 5e-2, name
            elif name.endswith("fp32"):  # several ranks round hardly more than one does
                assert largest < 1.5 * found["rounding"], name
            else:
                assert largest > 1e-3, name


@pytest.mark.processes
def test_what_cannot_work_is_refused_in_a_sentence(on_ranks):
    for _, refused in on_ranks:
        assert refused == [
            "4 parts of 16 tokens are longer than context=32.",
            "2 heads do not divide by 4 ranks. Take fewer ranks, or the ring.",
            "A way is ring or all-to-all, not 'star'.",
            "Only causal attention without further options is spread, not {}.",
        ]

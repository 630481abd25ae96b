"""Checks of the exercises on sharding. Two run on four real ranks, with a group that does not wait long."""

import math
from types import SimpleNamespace

from scaleup import ranks
from scaleup.exercises import NotYet, code, formula, rules, says, slip, values


def bytes_kept(parameter, gradient, optimizer):
    """The formula with these bytes, each divided by the ranks from its stage on."""
    return (f"parameters * ({parameter} / (ranks if stage >= 3 else 1) + {gradient} / (ranks if stage >= 2 "
            f"else 1) + {optimizer} / (ranks if stage >= 1 else 1))")  # fmt: skip


formula(
    "kept", "kept(parameters, ranks, stage)", bytes_kept(2, 2, 12),
    [(1e9, 8, 0), (7.5e9, 64, 1), (7.5e9, 64, 2), (7.5e9, 64, 3), (2e9, 4, 1)],
    {"parameters * 16": "this is DDP at every stage: nothing is divided by the ranks",
     "parameters * 16 / ranks": "this divides everything at every stage. Only stage 3 does",
     bytes_kept(4, 4, 8): "these are the bytes of training in fp32. Here parameters and gradients have 2 "
                          "each, and the optimizer state has 12",
     bytes_kept(2, 2, 8): "the optimizer state has 12 bytes: the copy in fp32 counts, too",
     f"{bytes_kept(2, 2, 8)} + 4 * parameters":
         "the copy in fp32 belongs to the optimizer state, and is sharded with it",
     bytes_kept(2, 4, 12): "the gradient has 2 bytes here",
     "parameters * (12 / (ranks if stage >= 3 else 1) + 2 / (ranks if stage >= 2 else 1) + 2 / (ranks if "
     "stage >= 1 else 1))": "the order is turned round: stage 1 shards the optimizer state",
     "parameters * (2 / (ranks if stage >= 2 else 1) + 2 / (ranks if stage >= 3 else 1) + 12 / (ranks if "
     "stage >= 1 else 1)) + (0.5 * parameters if stage == 2 else 0)":
         "stage 2 shards the gradients, stage 3 the parameters",
     "parameters * (12 / (ranks if stage == 1 else 1) + 2 / (ranks if stage == 2 else 1) + 2 / (ranks if "
     "stage == 3 else 1))": "each stage also shards what the stages before it do",
     "parameters * (12 / (ranks if stage >= 0 else 1) + 2 / (ranks if stage >= 1 else 1) + 2 / (ranks if "
     "stage >= 2 else 1))": "you are one stage ahead: stage 0 shards nothing",
     "parameters * (12 / (ranks if stage >= 2 else 1) + 2 / (ranks if stage >= 3 else 1) + 2)":
         "you are one stage behind: stage 1 shards the optimizer state already",
     f"ranks * {bytes_kept(2, 2, 12)}": "this is the sum over all ranks. What does one of them keep?",
     f"{bytes_kept(2, 2, 12)} / 1e9": "give bytes, not GB",
     f"{bytes_kept(2, 2, 12)} / 2**30": "give bytes, not GiB",
     bytes_kept(0, 2, 12): "the parameters are missing", bytes_kept(2, 0, 12): "the gradients are missing"},
    otherwise=lambda off: f"for {off.row} the right number is {off.want:.4g}, yours is {off.got:.4g}",
    hint="Three parts, and each is divided by the ranks from its own stage on.",
    done="120, 31.4, 16.6 and 1.9 GB for 7.5 billion parameters on 64 ranks, as in the paper",
    also=[says("def kept(parameters, ranks, stage):\n    return 7 * parameters",
               "for (1000000000.0, 8, 0) the right number is 1.6e+10, yours is 7e+09")])  # fmt: skip

KNOWN = ("blocks", "kept", "one unit", "hybrid", "prefetch", "by hand")
RIGHT = ("kept", "hybrid", "prefetch", "by hand")
PLACES = ("first", "second", "third", "fourth")


def named(answer):
    """The four names in one spelling."""
    given = answer if isinstance(answer, tuple | list) else ()
    if len(given) != 4 or not all(isinstance(name, str) for name in given):
        raise NotYet("give four names in quotes: (first, second, third, fourth)")
    names = tuple(" ".join(name.lower().replace("-", " ").replace("_", " ").split()) for name in given)
    if "..." in names:
        raise NotYet("write your answer where the … stands")
    for name in names:
        if name not in KNOWN:
            raise NotYet(f"'{name}' is none of the six names of the exercise")
    return names


def but(place, name):
    return tuple(name if n == place else right for n, right in enumerate(RIGHT))


def at(place, *wrong):
    return lambda names: names[place] in wrong


rules(
    "order", named,
    [slip(at(0, "one unit"), "first: one unit is gathered by one G. Here each block has its own",
          but(0, "one unit")),
     slip(at(0, "blocks", "by hand", "prefetch"),
          "first: there is no G in the backward pass, so the blocks were still there", but(0, "blocks"),
          but(0, "by hand"), but(0, "prefetch")),
     slip(lambda names: "hybrid" in names and names[1] != "hybrid",
          "hybrid sharding needs an all-reduce between the groups: look for the A",
          ("hybrid", "kept", "prefetch", "by hand"), ("kept", "blocks", "prefetch", "hybrid")),
     slip(lambda names: names[1] != "hybrid", "second: what needs an all-reduce after each reduce-scatter?",
          but(1, "blocks"), but(1, "kept")),
     slip(at(2, "blocks"), "third: there are three G before F0. Without a setting there are two",
          but(2, "blocks")),
     slip(lambda names: names[2:] == ("by hand", "prefetch"),
          "third and fourth are exchanged: which one gathers a block before it is needed?",
          ("kept", "hybrid", "by hand", "prefetch")),
     slip(at(2, "by hand"), "third: by hand each block is gathered right before it is needed. Here one comes "
          "early", but(2, "by hand")),
     slip(at(2, "kept", "one unit"), "third: blocks are gathered again in the backward pass", but(2, "kept"),
          but(2, "one unit")),
     slip(at(3, "blocks"), "fourth: FSDP2 gathers the next block before it computes: two G between F2 and "
          "B2. Here there is one", but(3, "blocks")),
     slip(at(3, "prefetch"), "fourth: no block is gathered early, neither forward nor backward",
          but(3, "prefetch")),
     slip(at(3, "kept", "one unit"), "fourth: blocks are gathered again in the backward pass", but(3, "kept"),
          but(3, "one unit"))],
    hint="Look for an A, for G in the backward pass, and for G that come a block early.",
    done="a log of calls shows which choices were made",
    also=[says("kept", "give four names in quotes: (first, second, third, fourth)"),
          says(("...",) * 4, "write your answer where the … stands"),
          says(but(3, "zero 3"), "'zero 3' is none of the six names of the exercise"),
          says(but(1, "Kept"), "second: what needs an all-reduce after each reduce-scatter?"),
          says(but(3, "One-Unit"), "fourth: blocks are gathered again in the backward pass")])  # fmt: skip

WATCHED = ("all_reduce", "reduce_scatter", "reduce_scatter_single", "reduce_scatter_tensor", "all_gather")
WATCHED += ("all_gather_single", "all_gather_into_tensor", "reduce", "broadcast", "gather", "scatter")
WATCHED += ("all_to_all", "all_to_all_single", "send", "isend")
OBJECTS = ("all_gather_object", "broadcast_object_list", "gather_object", "scatter_object_list")
WATCHED += OBJECTS


def on_ranks(answer, watched, act):
    """One rank's view: what `act(answer)` found, and how it ended."""
    import os
    import warnings
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    warnings.simplefilter("ignore")
    dist.set_debug_level(dist.DebugLevel.DETAIL)  # compares type and shape, else gloo ends the process
    dist.init_process_group("gloo", timeout=timedelta(seconds=4))
    dist.barrier()
    seen, works, rank = {"used": [], "hangs": False, "error": "", "found": None}, [], int(os.environ["RANK"])
    seen["sent"] = 0  # bytes of the whole tensors; an all-reduce counts twice

    class Work:
        def __init__(self, work):
            self.work, self.waited = work, False
            works.append(self)

        def wait(self, *args):
            self.waited = True
            return self.work.wait(*args)

        def __getattr__(self, name):
            return getattr(self.work, name)

    def counted(name, real):
        def function(*args, **options):
            seen["used"].append(name)
            parts = [a if isinstance(a, list | tuple) else [a] for a in (*args, *options.values())]
            sizes = [sum(t.nbytes for t in part if isinstance(t, torch.Tensor)) for part in parts]
            seen["sent"] += max(sizes, default=0) * (2 if name == "all_reduce" else 1)
            work = real(*args, **options)
            return work if work is None else Work(work)

        return function

    groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    for name in watched:
        setattr(dist, name, counted(name, getattr(dist, name)))
    try:
        seen["found"] = act(answer, rank, groups[rank // 2])
    except Exception as error:
        told = str(error).splitlines()[0] if str(error) else ""
        signs = ("imed out", "mismatch", "closed", "onnection", "monitoredBarrier")
        seen["hangs"] = any(sign in told for sign in signs)
        seen["error"] = f"{type(error).__name__}: {told}"
    seen["unwaited"] = sum(not work.waited for work in works)
    return seen


def two_steps(answer, rank, group):
    import torch

    flat, momentum = torch.arange(8.0), torch.zeros(2)
    for _ in range(2):
        answer(flat, torch.arange(1.0, 9.0) * (rank + 1), momentum, 0.1)
    return [flat.tolist(), momentum.tolist()]


def four(answer, act):
    every = ranks.call(on_ranks, 4, answer, WATCHED, act, timeout=60, join=False)
    seen = SimpleNamespace(hangs=any(s["hangs"] for s in every), found=[s["found"] for s in every])
    seen.error = next((s["error"] for s in every if s["error"] and not s["hangs"]), "")
    seen.unwaited = any(s["unwaited"] for s in every)
    seen.used = every[0]["used"]
    seen.times = max(s["sent"] for s in every) / DDP_SENDS
    return seen


DDP_SENDS = 2 * 2 * 8 * 4  # two steps, an all-reduce of eight numbers of four bytes
GRADIENT = [float(n) for n in range(1, 9)]
RAISED = says("def step(flat, gradient, momentum, lr):\n    return flat / 'a'",
              error="TypeError: unsupported operand type(s) for /: 'Tensor' and 'str'")  # fmt: skip


def held(change, ranks_alike=True):
    """Whether all ranks ended with `flat` changed by `change(place)` times the learning rate."""
    want = [n - 0.1 * change(n) for n in range(8)]
    return lambda seen: all(near(found[0], want) for found in seen.found)


def near(got, want):
    return len(got) == len(want) and all(math.isclose(g, w, rel_tol=1e-4, abs_tol=1e-5)
                                         for g, w in zip(got, want, strict=True))  # fmt: skip


def mean(n):
    return 2.5 * GRADIENT[n]


def own_slice_only(seen):
    """Whether each rank has the right slice of its own, and the old ones of the others."""
    for rank, (flat, _) in enumerate(seen.found):
        want = [n - 0.1 * 2.9 * mean(n) if n // 2 == rank else float(n) for n in range(8)]
        if not near(flat, want):
            return False
    return True


def zero_1(mean="dist.reduce_scatter_single(mean, gradient)", divide="mean /= size",
           moment="momentum.mul_(0.9).add_(mean)", own="own = flat.chunk(size)[rank] - lr * momentum",
           last="dist.all_gather_single(flat, own)"):  # fmt: skip
    lines = ["rank, size = dist.get_rank(), dist.get_world_size()", "mean = torch.empty_like(momentum)"]
    lines += [line for part in (mean, divide, moment, own, last) for line in part.split("\n")]
    return ("import torch\nimport torch.distributed as dist\ndef step(flat, gradient, momentum, lr):\n    "
            + "\n    ".join(lines))  # fmt: skip


ALL = "whole = gradient.clone()\ndist.all_reduce(whole)\nmean = whole.chunk(size)[rank]"
rules(
    "step", lambda answer: four(answer, two_steps),
    [slip(lambda seen: seen.error, "on four ranks your function raised {error}", RAISED),
     slip(lambda seen: seen.hangs,
          "it hangs, or the calls of the ranks do not match: every rank makes the same calls, with "
          "tensors of the same size", zero_1(last="if rank == 0:\n    dist.all_gather_single(flat, own)")),
     slip(lambda seen: seen.unwaited, "wait() is missing: what async_op=True returns has to be waited for",
          zero_1(mean="dist.reduce_scatter_single(mean, gradient, async_op=True)")),
     slip(held(lambda n: 0.0), "flat has not changed. Write into it in place, for example as the output of "
          "the all-gather", zero_1(last="flat = torch.empty_like(flat)\ndist.all_gather_single(flat, own)")),
     slip(own_slice_only, "each rank has its own new slice and the old ones of the others: all-gather the "
          "slices", zero_1(last="flat.chunk(size)[rank].copy_(own)")),
     slip(held(lambda n: 4 * 2.9 * mean(n)), "this is the sum of the gradients: divide it by the ranks",
          zero_1(divide="")),
     slip(held(lambda n: 2.9 * GRADIENT[n] * (n // 2 + 1)),
          "each slice was updated with the gradient of one rank: they have to be added up over the ranks",
          zero_1(mean="mean = gradient.chunk(size)[rank]", divide="")),
     slip(held(lambda n: 2.9 / 4 * GRADIENT[n] * (n // 2 + 1)),
          "each slice was updated with the gradient of one rank: they have to be added up over the ranks",
          zero_1(mean="mean = gradient.chunk(size)[rank].clone()")),
     slip(held(lambda n: 2 * mean(n)), "the momentum is forgotten after the step: change it in place",
          zero_1(moment="momentum = 0.9 * momentum + mean")),
     slip(held(lambda n: -2.9 * mean(n)), "the parameters go uphill: subtract",
          zero_1(own="own = flat.chunk(size)[rank] + lr * momentum")),
     slip(held(lambda n: 29 * mean(n)), "the learning rate is missing",
          zero_1(own="own = flat.chunk(size)[rank] - momentum")),
     slip(held(lambda n: 0.29 * mean(n)), "the momentum is 0.9 m + g: the gradient counts in full",
          zero_1(moment="momentum.mul_(0.9).add_(0.1 * mean)")),
     slip(lambda seen: held(lambda n: 2.9 * mean(n))(seen) and "all_reduce" in seen.used,
          "the result is right, but an all-reduce sends twice what is needed: a rank needs the sums of its "
          "own slice only", zero_1(mean=ALL)),
     slip(lambda seen: held(lambda n: 2.9 * mean(n))(seen)
          and seen.times > 1 and any(name in seen.used for name in ("all_gather", "reduce", "broadcast"))
          and not any(name.startswith("reduce_scatter") for name in seen.used),
          "the result is right, but more is sent than under DDP: take one reduce-scatter of the gradients",
          zero_1(mean="every = [torch.empty_like(gradient) for _ in range(size)]\n"
                      "dist.all_gather(every, gradient)\nmean = sum(every).chunk(size)[rank]")),
     slip(lambda seen: held(lambda n: 2.9 * mean(n))(seen) and any(name in seen.used for name in OBJECTS),
          "the result is right, but objects are pickled and copied before they are sent: send the tensors",
          zero_1(last="every = [None] * size\ndist.all_gather_object(every, own)\n"
                      "flat.copy_(torch.cat(every))")),
     slip(lambda seen: held(lambda n: 2.9 * mean(n))(seen) and seen.times > 1,
          "the result is right, but {times:g} times the bytes of DDP are sent: each rank hands round its own "
          "slice only", says(zero_1(last="flat.chunk(size)[rank].copy_(own)\n"
          "every = [torch.empty_like(flat) for _ in range(size)]\ndist.all_gather(every, flat.clone())\n"
          "flat.copy_(torch.cat([every[r].chunk(size)[r] for r in range(size)]))"), times=2.5)),
     slip(lambda seen: all(near(found[0], [n % 2 - 0.1 * mean(n % 2) - 0.19 * mean(n) for n in range(8)])
                           for found in seen.found),
          "every slice was made from the first one: rank r owns flat.chunk(size)[r]",
          zero_1(own="own = flat.chunk(size)[0] - lr * momentum")),
     slip(lambda seen: not held(lambda n: 2.9 * mean(n))(seen),
          lambda seen: f"parameter 0 goes from 0 to {-0.1 * 2.9 * mean(0):.3f} in two steps. On rank 0 it is "
                       f"{seen.found[0][0][0]:.3f}",
          says(zero_1(divide="mean /= 2"),
               "parameter 0 goes from 0 to -0.725 in two steps. On rank 0 it is -1.450"))],
    needs="step", example=code, limit=120,
    hint="Reduce-scatter, divide, update the momentum and the slice, all-gather.",
    done="two steps on four ranks, and no byte more than DDP")  # fmt: skip


def two_norms(answer, rank, group):
    import torch

    found = []
    for scale in (1.0, 0.1, 0.0):
        shards = [torch.tensor([1.0, 2.0]), torch.tensor([2.0])]
        if rank % 2:
            shards = [torch.tensor([4.0]), torch.tensor([0.0, 0.0])]
        for shard in shards:
            shard *= scale
        same = list(shards)  # the tensors themselves: the model's gradients, whatever becomes of the list
        try:
            norm = answer(shards, 1.0, group)
        except ZeroDivisionError:
            if scale:
                raise
            norm = math.nan
        found.append([None if norm is None else float(norm), torch.cat(same).tolist()])
    return found


def norms(first, second=None):
    """Whether the ranks of a node returned these norms for the large gradient."""
    want = (first, first if second is None else second) * 2
    return lambda seen: all(found[0][0] is not None and math.isclose(found[0][0], w, rel_tol=1e-3)
                            for found, w in zip(seen.found, want, strict=True))  # fmt: skip


def shards(trial, factor):
    """Whether the shards of the large (0) or small (1) gradient are what they were times a factor."""
    start = 1.0 if trial == 0 else 0.1
    want = [[start * factor * x for x in row] for row in ([1, 2, 2], [4, 0, 0])] * 2
    return lambda seen: all(near(found[trial][1], w) for found, w in zip(seen.found, want, strict=True))


def clipped(squares="squares = sum(shard.square().sum() for shard in shards)",
            send="dist.all_reduce(squares, group=group)", norm="norm = squares.sqrt().item()",
            scale="if norm > limit:\n    for shard in shards:\n        shard *= limit / norm",
            end="return norm"):  # fmt: skip
    lines = [line for part in (squares, send, norm, scale, end) for line in part.split("\n")]
    return ("import torch\nimport torch.distributed as dist\ndef clip(shards, limit, group):\n    "
            + "\n    ".join(lines))  # fmt: skip


SUM_OF_NORMS = "squares = sum(shard.norm() for shard in shards)"
rules(
    "clip", lambda answer: four(answer, two_norms),
    [slip(lambda seen: seen.error, "on four ranks your function raised {error}",
          says("def clip(shards, limit, group):\n    return limit / 'a'",
               error="TypeError: unsupported operand type(s) for /: 'float' and 'str'")),
     slip(lambda seen: seen.hangs,
          "it hangs, or the calls of the ranks do not match: every rank makes the same calls, in its group",
          clipped(send="if dist.get_rank() % 2:\n    dist.all_reduce(squares, group=group)")),
     slip(lambda seen: seen.unwaited, "wait() is missing: what async_op=True returns has to be waited for",
          clipped(send="dist.all_reduce(squares, group=group, async_op=True)")),
     slip(lambda seen: any(found[0][0] is None for found in seen.found),
          "some rank got nothing back: return the norm",
          clipped(end="pass")),
     slip(norms(3.0, 4.0), "each rank has the norm of its own shards: add up the squares over the group",
          clipped(send="")),
     slip(norms(5**0.5 + 2, 4.0), "a rank's norms were added, and the other ranks are missing. Add up "
          "squares, also over the group", clipped(SUM_OF_NORMS, send="", norm="norm = squares.item()")),
     slip(norms(7.0), "norms do not add up over the ranks, squares do",
          clipped(norm="norm = own", send="own = squares.sqrt()\ndist.all_reduce(own, group=group)\n"
                                          "own = own.item()")),
     slip(norms(5**0.5 + 6), "norms do not add up, neither over tensors nor over ranks: squares do",
          clipped(SUM_OF_NORMS, norm="norm = squares.item()")),
     slip(norms(25.0), "this is the sum of squares: take its root", clipped(norm="norm = squares.item()")),
     slip(norms(50**0.5), "each square counts twice: the other group has a copy. Give group=group",
          clipped(send="dist.all_reduce(squares)")),
     slip(norms(12.5**0.5), "this is a mean over the ranks: the squares of different shards are added",
          clipped(norm="norm = (squares / 2).sqrt().item()")),
     slip(norms(4.0), "this is the largest of the ranks' norms: their squares have to be added",
          clipped(send="dist.all_reduce(squares, op=dist.ReduceOp.MAX, group=group)",
                  norm="norm = squares.sqrt().item()")),
     slip(lambda seen: norms(1.0)(seen) and shards(0, 0.2)(seen), "return the norm from before the scaling",
          clipped(end="return min(limit, norm)")),
     slip(lambda seen: norms(5.0)(seen) and shards(0, 1.0)(seen),
          "the norm is right, and the shards have not changed: scale them in place",
          clipped(scale="for shard in shards:\n    shard = shard * min(1.0, limit / norm)"),
          clipped(scale="shards[:] = [shard * min(1.0, limit / norm) for shard in shards]")),
     slip(lambda seen: norms(5.0)(seen) and shards(0, 5.0)(seen), "the factor is upside down: limit / norm",
          clipped(scale="for shard in shards:\n    shard *= norm / limit")),
     slip(lambda seen: norms(5.0)(seen) and shards(0, 0.2)(seen) and shards(1, 2.0)(seen),
          "a small gradient was scaled up. Leave it alone where its norm is below the limit",
          clipped(scale="for shard in shards:\n    shard *= limit / norm")),
     slip(lambda seen: norms(5.0)(seen) and shards(0, 0.2)(seen) and shards(1, 1.0)(seen)
          and not all(near([found[2][0], *found[2][1]], [0.0] * 4) for found in seen.found),
          "a gradient of zeros has the norm 0, and limit / 0 is no number: divide only where the norm is "
          "above the limit", clipped(scale="for shard in shards:\n    shard *= min(1.0, limit / norm)")),
     slip(lambda seen: not (norms(5.0)(seen) and shards(0, 0.2)(seen) and shards(1, 1.0)(seen)),
          lambda seen: "with 1, 2, 2 on one rank and 4, 0, 0 on the other the norm is 5. Rank 0 returned "
                       f"{seen.found[0][0][0]:.3g}, and its shards became "
                       f"{', '.join(f'{x:.2g}' for x in seen.found[0][0][1])}",
          says(clipped(scale="for shard in shards:\n    shard.clamp_(-limit, limit)"),
               "with 1, 2, 2 on one rank and 4, 0, 0 on the other the norm is 5. Rank 0 returned 5, and its "
               "shards became 1, 1, 1"))],
    needs="clip", example=code, limit=120,
    hint="Squares of own shards, all-reduced over the group; a root; a factor of at most one.",
    done="the norm of the whole gradient, counted once, on every rank")  # fmt: skip

values(
    "mesh", (8, 32),
    {(32, 8): "the axes are exchanged: the second one shards",
     (8, 8): "eight groups is right; the second axis counts devices, not nodes",
     (64, 4): "one node does not hold the states: 1,052 GiB against half of 4 x 96",
     (32, 2): "the second axis counts devices, and two nodes do not hold the states",
     (16, 16): "four nodes have 768 GiB for the states, and 1,052 are needed",
     (64 / 6, 24): "six nodes would hold the states, but 64 does not divide by six",
     (10, 24): "six nodes would hold the states, but 64 does not divide by six: four nodes would be idle",
     (11, 24): "six nodes would hold the states, but 64 does not divide by six",
     (64 / 3, 12): "three nodes would do with all of their memory. Half of it is for other things",
     (21, 12): "three nodes would do with all of their memory. Half of it is for other things",
     (4, 64): "that fits, but groups of half the size would do",
     (2, 128): "that fits, but smaller groups would do",
     (1, 256): "this is full sharding over all nodes. Smaller groups hold the states, too",
     (256, 1): "here nothing is sharded at all"},
    ask="give two numbers: (first axis, second axis)",
    otherwise=slip(lambda given: True, "the product is the number of devices, 256, and the second axis a "
                   "multiple of the four devices of a node", (3, 7), (16, 32)),
    hint="GiB of the states over GiB that a node has for them, rounded up to a divisor of 64.",
    done="eight groups of 32 devices, each with one copy of the states")  # fmt: skip

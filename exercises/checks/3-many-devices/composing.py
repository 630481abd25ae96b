"""Checks of the exercises on composing. One runs on four real ranks; the last asks the planner."""

import math
from types import SimpleNamespace

from scaleup import plan, ranks
from scaleup.errors import CourseError
from scaleup.exercises import NotYet, code, formula, rules, says, slip, values
from scaleup.plan import search

# Who is in my group?

MESHES = (
    {"pp": 2, "shard": 4, "tp": 4},
    {"shard": 2, "tp": 2},
    {"pp": 3, "dp": 2, "shard": 4, "tp": 1},
)


def strides(sizes, outermost=False):
    """How far apart neighbours on each axis are; with `outermost`, if the first axis changed fastest."""
    found, stride = {}, 1
    for axis in sizes if outermost else reversed(sizes):
        found[axis], stride = stride, stride * sizes[axis]
    return found


def in_group(rank, sizes, axis, outermost=False):
    stride = strides(sizes, outermost)[axis]
    first = rank - rank // stride % sizes[axis] * stride
    return [first + n * stride for n in range(sizes[axis])]


def all_groups(answer):
    seen = SimpleNamespace(rows=[])
    for sizes in MESHES:
        for rank in range(math.prod(sizes.values())):
            for axis in sizes:
                got = answer(rank, dict(sizes), axis)
                if isinstance(got, set | tuple | range):
                    got = sorted(got)
                if got is None or not isinstance(got, list):
                    raise NotYet(f"members has to return a list of ranks, not {got!r:.40}")
                seen.rows.append((rank, sizes, axis, got, in_group(rank, sizes, axis)))
    seen.wrong = [row for row in seen.rows if row[3] != row[4]]
    return seen


def gives(other):
    """Whether the answer gives what `other(rank, sizes, axis)` does wherever it is wrong."""
    return lambda seen: (
        bool(seen.wrong) and all(got == other(rank, sizes, axis) for rank, sizes, axis, got, _ in seen.wrong)
    )


def neighbours(rank, sizes, axis):
    first = rank // sizes[axis] * sizes[axis]
    return list(range(first, first + sizes[axis]))


def alike(rank, sizes, axis):
    """All ranks with the same place on the axis."""
    stride, size = strides(sizes)[axis], sizes[axis]
    every = range(math.prod(sizes.values()))
    return [other for other in every if other // stride % size == rank // stride % size]


def first_wrong(seen):
    rank, sizes, axis, got, want = seen.wrong[0]
    return f"in the mesh {sizes} rank {rank} has the {axis} group {want}, yours is {got}"


MEMBERS = """
def members(rank, sizes, axis):
    stride = 1
    for name in {order}:
        if name == axis:
            break
        stride *= sizes[name]
    first = {first}
    return {end}
"""


def members(order="reversed(sizes)", first="rank - rank // stride % sizes[axis] * stride",
            end="[first + n * stride for n in range(sizes[axis])]"):  # fmt: skip
    return MEMBERS.format(order=order, first=first, end=end)


rules(
    "members", all_groups,
    [slip(gives(lambda rank, sizes, axis: in_group(rank, sizes, axis, outermost=True)),
          "the mesh is turned round: the last axis changes fastest, so its ranks are neighbours",
          members(order="sizes")),
     slip(gives(neighbours),
          "these are neighbours. On an axis further out ranks are as far apart as all axes inside it "
          "have ranks",
          "def members(rank, sizes, axis):\n    first = rank // sizes[axis] * sizes[axis]\n"
          "    return list(range(first, first + sizes[axis]))"),
     slip(gives(lambda rank, sizes, axis: [rank + n * strides(sizes)[axis] for n in range(sizes[axis])]),
          "the group begins with rank itself: only the rank whose place on the axis is 0 is its first",
          members(first="rank")),
     slip(gives(lambda rank, sizes, axis: [n * strides(sizes)[axis] for n in range(sizes[axis])]),
          "this is the group of rank 0, whatever the rank: each group begins elsewhere", members(first="0")),
     slip(gives(lambda rank, sizes, axis: [other for other in in_group(rank, sizes, axis) if other != rank]),
          "rank itself is missing: it is a member of its group",
          members(end="[first + n * stride for n in range(sizes[axis]) if first + n * stride != rank]")),
     slip(gives(alike),
          "these are all ranks with the same place on the axis. A group differs on the axis, and on no other",
          "import math\ndef members(rank, sizes, axis):\n    stride = 1\n    for name in reversed(sizes):\n"
          "        if name == axis:\n            break\n        stride *= sizes[name]\n"
          "    place = lambda r: r // stride % sizes[axis]\n"
          "    return [r for r in range(math.prod(sizes.values())) if place(r) == place(rank)]"),
     slip(lambda seen: seen.wrong and all(sorted(got) == want for *_, got, want in seen.wrong),
          "these are the right ranks in another order: give them ascending",
          members(end="[first + n * stride for n in range(sizes[axis])][::-1]")),
     slip(lambda seen: seen.wrong, first_wrong,
          says(members(end="[first + n for n in range(sizes[axis])]"),
               "in the mesh {'pp': 2, 'shard': 4, 'tp': 4} rank 0 has the pp group [0, 16], "
               "yours is [0, 1]"))],
    needs="members", example=code,
    hint="Stride, place, first rank.",
    done="three meshes, every rank, every axis",
    also=[says("def members(rank, sizes, axis):\n    pass",
               "members has to return a list of ranks, not None")])  # fmt: skip


# Two mistakes in a step on four ranks


def on_four_ranks(answer):
    """One rank's view of a step on a mesh of 2 x 2: what went in, how far its gradients are off."""
    import warnings
    from datetime import timedelta

    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    from scaleup.model import GPT, GPTConfig, next_token_loss

    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", timeout=timedelta(seconds=20))
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("shard", "tp"))
    config = GPTConfig(vocab_size=64, layers=1, heads=2, dim=16, hidden=24, context=8)

    def made():
        torch.manual_seed(1)
        return GPT(config)

    torch.manual_seed(2)
    tokens = torch.randint(0, 64, (8, 9))
    seen = {"place": mesh.get_coordinate(), "fed": [], "error": "", "off": None, "cuts": []}
    seen |= {"loss": None, "across": []}
    known = {tuple(row[:-1].tolist()): number for number, row in enumerate(tokens)}
    model = made()
    plain = model.forward

    def forward(inputs):
        rows = inputs.full_tensor() if isinstance(inputs, DTensor) else inputs
        if not torch.is_grad_enabled():  # a look at the loss beforehand is no part of the step
            return plain(inputs)
        seen["fed"] += [known.get(tuple(row.tolist()), -1) for row in rows]
        return plain(inputs)

    model.forward = forward
    try:
        loss = answer(model, mesh, tokens)
        seen["loss"] = float(loss) if loss is not None else None
    except Exception as error:
        seen["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        return seen
    whole = made()
    next_token_loss(whole(tokens[:, :-1]), tokens[:, 1:]).backward()
    weight = model.blocks[0].mlp.down.weight
    if isinstance(weight, DTensor):
        axes = weight.device_mesh.mesh_dim_names
        seen["across"] = [a for a, cut in zip(axes, weight.placements, strict=True) if cut == Shard(1)]
        seen["cuts"] = [a for a, cut in zip(axes, weight.placements, strict=True) if isinstance(cut, Shard)]
    apart = []
    for mine, right in zip(model.parameters(), whole.parameters(), strict=True):
        if mine.grad is None:
            seen["off"] = -1.0
            return seen
        grad = mine.grad.full_tensor() if isinstance(mine.grad, DTensor) else mine.grad
        apart.append(((grad - right.grad).norm() / right.grad.norm()).item())
    seen["off"] = max(apart)
    return seen


def four_views(answer):
    every = ranks.call(on_four_ranks, 4, answer, timeout=60, join=False)
    seen = SimpleNamespace(fed=[sorted(s["fed"]) for s in every], off=[s["off"] for s in every])
    seen.error = next((s["error"] for s in every if s["error"]), "")
    seen.cuts, seen.across = sorted(every[0]["cuts"]), every[0]["across"]
    seen.loss = [s["loss"] for s in every]
    seen.pairs = [[sorted(seen.fed[rank]) for rank in pair] for pair in ((0, 1), (2, 3))]
    seen.agree = all(a == b for a, b in seen.pairs)  # the ranks of each tp group
    seen.turned = seen.fed[0] == seen.fed[2] and seen.fed[1] == seen.fed[3]
    dealt = seen.fed[0] + seen.fed[2]
    seen.whole = sorted(dealt) == list(range(8))
    return seen


STEP = """
from scaleup.model import next_token_loss
from scaleup.parallel.sharding import shard
from scaleup.parallel.tensor_split import split
import torch.distributed as dist
def step(model, mesh, tokens):
    {put}
    place, replicas = mesh["shard"].get_local_rank(), mesh["shard"].size()
    share = {share}
    loss = next_token_loss(model(share[:, :-1]), share[:, 1:]){more}
    {backward}
    {end}
"""


def step(put='split(model, mesh["tp"]); shard(model, mesh["shard"])', share="tokens[place::replicas]",
         more="", backward="loss.backward()", end="return loss.item()"):  # fmt: skip
    return STEP.format(put=put, share=share, more=more, backward=backward, end=end)


def off_by(share):
    return lambda seen: all(off is not None and math.isclose(off, share, rel_tol=1e-3) for off in seen.off)


FIRST = 'shard(model, mesh["shard"]); split(model, mesh["tp"])'
BY_RANK = "tokens[dist.get_rank() :: dist.get_world_size()]"
rules(
    "step", four_views,
    [slip(lambda seen: "c10d.broadcast_" in seen.error and not any(seen.fed),
          "shard comes first, and split then meets matrices that are cut already: it needs whole ones",
          step(put=FIRST)),
     slip(lambda seen: "does not split over tp=4" in seen.error,
          "split was given the whole mesh, and would cut over all four ranks: give it one axis, mesh['tp']",
          step(put='split(model, mesh); shard(model, mesh["shard"])')),
     slip(lambda seen: seen.error, "on four ranks your function raised {error}",
          says(step(share="tokens['a']"), error="TypeError: new(): invalid data type 'str'")),
     slip(lambda seen: not all(seen.fed), "some rank never called the model: every rank has to",
          step(share="tokens[place::replicas]", backward="pass").replace(
              "    loss = next_token_loss(model(", "    return 1.0\n    loss = next_token_loss(model(")),
     slip(lambda seen: not seen.agree and seen.turned,
          "the batch is dealt out along tp: the ranks of a tp group need the same sequences, those of "
          "shard different ones",
          step(share='tokens[mesh["tp"].get_local_rank() :: 2]')),
     slip(lambda seen: not seen.agree,
          "the ranks of a tp group get different sequences, and add up parts of different things: deal "
          "out by place on "
          "shard, not by rank",
          step(share=BY_RANK)),
     slip(lambda seen: seen.fed[0] == seen.fed[2] == list(range(8)),
          "every rank computes the whole batch. The gradient is right, and sharding saves no time: deal "
          "the batch out",
          step(share="tokens")),
     slip(lambda seen: seen.fed[0] == seen.fed[2],
          "both replicas get the same sequences, and the rest of the batch is left out: use this rank's "
          "place on shard",
          step(share="tokens[0::replicas]")),
     slip(lambda seen: any(len(fed) > len(set(fed)) for fed in seen.fed),
          "a rank computes the same sequences more than once with gradients: a step has one forward pass",
          step(backward="loss.backward()\n    again = model(share[:, :-1])\n"
                        "    next_token_loss(again, share[:, 1:]).backward()")),
     slip(lambda seen: not seen.whole,
          "together the replicas have to see each sequence of the batch once",
          step(share="tokens[place : place + 2]")),
     slip(lambda seen: seen.cuts == ["shard"], "the model is sharded, and not split: its matrices are "
                                               "cut along shard only",
          step(put='shard(model, mesh["shard"])')),
     slip(lambda seen: seen.cuts == ["tp"], "the model is split, and not sharded: each replica holds "
                                            "all of its part",
          step(put='split(model, mesh["tp"])')),
     slip(lambda seen: seen.cuts != ["shard", "tp"],
          "the model is on neither axis: call split with mesh['tp'], then shard with mesh['shard']",
          step(put="pass")),
     slip(lambda seen: seen.across == ["shard"],
          "the axes are swapped: split cuts over mesh['tp'], and shard over mesh['shard']",
          step(put='split(model, mesh["shard"]); shard(model, mesh["tp"])')),
     slip(lambda seen: any(off == -1.0 for off in seen.off), "there are no gradients: call backward()",
          step(backward="pass")),
     slip(off_by(0.5),
          "the gradients are half of what they should be: FSDP divides by the replicas already",
          step(more=" / 2")),
     slip(off_by(1.0),
          "the gradients are twice what they should be: FSDP has taken their mean already",
          step(more=" * 2")),
     slip(lambda seen: not all(off is not None and off < 1e-4 for off in seen.off),
          "the gradients are not those of the whole batch", step(more=" * 3")),
     slip(lambda seen: any(loss is None for loss in seen.loss), "step has to return the loss",
          step(end="pass"))],
    needs="step", example=code, limit=120,
    hint="Split, then shard; one share per replica.",
    done="four ranks have the gradients of the whole batch")  # fmt: skip

# Bytes along tp

formula(
    "sent", "sent(layers, m, seq, dim, tp)", "16 * layers * m * seq * dim * (tp - 1) / tp",
    [(10, 16, 4096, 8192, 8), (4, 3, 1024, 512, 2), (12, 32, 8192, 6144, 4)],
    {"16 * layers * m * seq * dim": "a rank has its own part already: (tp - 1) / tp of each tensor is sent",
     "8 * layers * m * seq * dim * (tp - 1) / tp":
         "this is half: either a number has 2 bytes, or the backward pass sends as much again",
     "4 * layers * m * seq * dim * (tp - 1) / tp":
         "this is a quarter: attention and MLP, all-gather and reduce-scatter, forward and backward are "
         "8 calls",
     "2 * layers * m * seq * dim * (tp - 1) / tp": "this is one call per layer and micro-batch. There are 8",
     "32 * layers * m * seq * dim * (tp - 1) / tp":
         "this is twice as much: an all-gather is half of an all-reduce, and sends (tp - 1) / tp of the "
         "tensor once",
     "16 * layers * seq * dim * (tp - 1) / tp": "this is one micro-batch. A step has m of them",
     "16 * layers * m * seq * dim / tp": "this is one step of each ring. A ring has tp - 1",
     "16 * layers * m * seq * dim * (tp - 1)": "a step of the ring carries one tp-th of the tensor",
     "16 * m * seq * dim * (tp - 1) / tp": "this is one layer. The stage has several",
     "24 * layers * m * seq * dim * (tp - 1) / tp":
         "the backward pass sends as often as the forward pass, not twice as often: recompute is not "
         "switched on"},
    otherwise=lambda off: f"for {off.row} the right number is {off.want:.4g}, yours is {off.got:.4g}",
    hint="Eight calls, two bytes, (n - 1) / n.", done="eight calls per layer and micro-batch",
    also=[says("def sent(layers, m, seq, dim, tp):\n    return 7 * layers",
               "for (10, 16, 4096, 8192, 8) the right number is 7.516e+10, yours is 70")])  # fmt: skip

# Read the calls of an unknown run

values(
    "read", (4, 32, 4),
    {(1, 32, 4): "tp: a message along pp is smaller than a micro-batch. Who hands on the rest?",
     (2, 32, 4): "tp: a number in bf16 has 2 bytes",
     (8, 32, 4): "tp: a number in bf16 has 2 bytes, not 4",
     (4, 64, 4): "micro-batches: each is sent once; what is received are the gradients that come back",
     (4, 49, 4): "micro-batches: 49 is the number of gathers per micro-batch",
     (4, 16, 4): "micro-batches: each is sent once along pp, so there are as many as sends",
     (4, 1568, 4): "micro-batches: along tp there are several calls for each",
     (4, 32, 12): "pp: 12 are the layers of a stage, and 48 layers make so many stages",
     (4, 32, 48): "pp: 48 are all layers, and a stage has several",
     (4, 32, 8): "pp: a layer has two gathers forward and two backward: four in all",
     (4, 32, 2): "pp: a layer has two gathers forward and two backward, not one",
     (4, 32, 1): "pp: 49 gathers per micro-batch are those of fewer than 48 layers: a layer has four",
     (4, 32, 13): "pp: the 13 gathers along shard are of 12 blocks and of what is left over",
     (4, 4, 32): "the order is tp, micro-batches, pp"},
    ask="give three numbers: (tp, micro-batches, pp)",
    otherwise=slip(bool, "use the sizes: a micro-batch has 2 x 4,096 x 6,144 bytes; 1,568 gathers are "
                         "49 for each of 32",
                   (3, 30, 3)),
    hint="Message size over micro-batch size; gathers per micro-batch.",
    done="tp 4, 32 micro-batches, pp 4, and the 13 gathers along shard agree")  # fmt: skip

# A layout for two machines

NODES = {"lumi-g": 32, "mn5-acc": 64}
NAMES = {"lumi-g": "LUMI-G", "mn5-acc": "MareNostrum 5"}
ASKED = {"seq": 8192, "global_batch": 512, "micro_batch": 1}
KEYS = {"tp": 1, "pp": 1, "cp": 1, "zero": 1, "recompute": "none"}
_best: dict[str, float] = {}


def best_of(name, machine):
    if name not in _best:
        shape = plan.model("llama-3-70b")
        _best[name] = search.search(search.Task(shape, 8192, 512, machine), 256, keep=1).best.step.total
    return _best[name]


def both_plans(answer):
    if not isinstance(answer, dict) or set(answer) != set(NODES):
        raise NotYet("give a dictionary with a layout for 'lumi-g' and one for 'mn5-acc'")
    seen = []
    for name, layout in answer.items():
        if not isinstance(layout, dict):
            raise NotYet("each layout is a dictionary, such as {'tp': 2, 'pp': 2}")
        if ... in layout.values():
            raise NotYet("write your answer where the … stands")
        for key in layout:
            if key not in KEYS:
                raise NotYet(f"'{key}' is not asked for. Give {', '.join(KEYS)}; dp is what is left")
        one = SimpleNamespace(key=name, name=NAMES[name], **(KEYS | layout))
        if not all(
            isinstance(getattr(one, axis), int) and getattr(one, axis) > 0 for axis in ("tp", "pp", "cp")
        ):
            raise NotYet("tp, pp and cp are whole numbers from 1")
        one.ways = one.tp * one.pp * one.cp
        one.room = 4 if name == "mn5-acc" else 8
        one.plan, one.problem = None, ""
        if 256 % one.ways == 0:
            try:
                one.plan = plan.plan("llama-3-70b", name, nodes=NODES[name], **ASKED, **(KEYS | layout)).best
            except CourseError as error:
                one.problem = str(error)
        if one.plan:
            run = one.plan.run
            one.need, one.fits = one.plan.memory.total / 2**30, one.plan.verdict == "it fits"
            one.states = one.plan.memory.states / 2**30
            one.slower = 100 * (one.plan.step.total / best_of(name, run.machine) - 1)
        seen.append(one)
    return seen


def any_of(test):
    return lambda seen: any(test(one) for one in seen)


def of_first(test, words):
    def sentence(seen):
        one = next(one for one in seen if test(one))
        return words.format_map(vars(one))

    return sentence


def row(test, words, *examples):
    return slip(any_of(test), of_first(test, words), *examples)


GOOD = {"lumi-g": {"tp": 8, "pp": 4}, "mn5-acc": {"tp": 4, "pp": 8, "cp": 2}}


def on(name, **layout):
    return GOOD | {name: layout}


rules(
    "layouts", both_plans,
    [row(lambda o: 256 % o.ways, "{name}: tp x pp x cp = {ways} does not divide 256 devices",
         says(on("lumi-g", tp=8, pp=10), "LUMI-G: tp x pp x cp = 80 does not divide 256 devices")),
     row(lambda o: o.tp > o.room,
         "{name}: tp {tp} leaves the node of {room} devices, and its collectives cross the network in "
         "every layer",
         says(on("mn5-acc", tp=8, pp=4),
              "MareNostrum 5: tp 8 leaves the node of 4 devices, and its collectives cross the network "
              "in every layer")),
     row(lambda o: o.problem, "{name}: {problem}",
         says(on("lumi-g", tp=1, pp=128),
              "LUMI-G: 80 layers are fewer than pp x vp = 128 pieces. Choose fewer stages.")),
     row(lambda o: 80 % o.pp, "{name}: 80 layers do not split evenly over {pp} stages",
         says(on("lumi-g", tp=4, pp=64), "LUMI-G: 80 layers do not split evenly over 64 stages")),
     row(lambda o: not o.fits and o.states > 56,
         "{name}: the states alone take {states:.0f} GiB of 64. Divide them by tp, pp or a higher ZeRO",
         says(on("lumi-g", zero=1), "LUMI-G: the states alone take 397 GiB of 64. Divide them by tp, pp "
                                    "or a higher ZeRO")),
     row(lambda o: not o.fits,
         "{name}: it needs {need:.0f} GiB of 64, mostly for activations. tp and cp divide those, "
         "recompute drops "
         "them; pp and ZeRO do neither",
         says(on("mn5-acc", tp=4, pp=4),
              "MareNostrum 5: it needs 74 GiB of 64, mostly for activations. tp and cp divide those, "
              "recompute drops "
              "them; pp and ZeRO do neither"),
         says(on("lumi-g", zero=3),
              "LUMI-G: it needs 198 GiB of 64, mostly for activations. tp and cp divide those, "
              "recompute drops "
              "them; pp and ZeRO do neither")),
     row(lambda o: o.slower > 15 and o.recompute == "full",
         "{name}: it fits, and repeats every forward pass, so it is {slower:.0f} % slower than the "
         "best. What else "
         "divides activations?",
         says(on("lumi-g", zero=3, recompute="full"),
              "LUMI-G: it fits, and repeats every forward pass, so it is 26 % slower than the "
              "best. What else "
              "divides activations?")),
     row(lambda o: o.slower > 15 and o.zero >= 2,
         "{name}: ZeRO {zero} gathers or scatters for each micro-batch, over the network: {slower:.0f} "
         "% slower than "
         "the best. A pipeline with ZeRO 1 keeps the weights",
         says(on("lumi-g", tp=8, zero=3),
              "LUMI-G: ZeRO 3 gathers or scatters for each micro-batch, over the network: 72 % slower "
              "than the best. A "
              "pipeline with ZeRO 1 keeps the weights")),
     row(lambda o: o.slower > 15, "{name}: it fits, and is {slower:.0f} % slower than the best",
         says(on("mn5-acc", tp=2, pp=16, cp=4), "MareNostrum 5: it fits, and is 25 % slower than the best"))],
    hint="tp fills the node, pp makes the states fit, cp halves what is left of the activations.",
    done="both fit, and are within 15 % of the planner's best",
    limit=60,
    also=[says({"lumi-g": {"tp": 8}}, "give a dictionary with a layout for 'lumi-g' and one for 'mn5-acc'"),
          says(GOOD | {"mn5-acc": "tp 4"}, "each layout is a dictionary, such as {'tp': 2, 'pp': 2}"),
          says(on("lumi-g", tp=..., pp=4), "write your answer where the … stands"),
          says(on("lumi-g", tp=8, dp=8), "'dp' is not asked for. Give tp, pp, cp, zero, recompute; dp "
                                         "is what is left"),
          says(on("lumi-g", tp=8.0, pp=4), "tp, pp and cp are whole numbers from 1")])  # fmt: skip

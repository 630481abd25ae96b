"""Checks of the exercises on tensor parallelism. Two run on real ranks."""

from types import SimpleNamespace

from scaleup import ranks
from scaleup.exercises import NotYet, code, formula, rules, says, slip

ALL = "tokens * width * number"
formula(
    "bytes", "sent(n, tokens, width, number)", f"8 * (n - 1) / n * {ALL}",
    [(2, 1000, 128, 4), (4, 4096, 4096, 2), (8, 8192, 8192, 2), (16, 8192, 8192, 2)],
    {f"4 * (n - 1) / n * {ALL}": "this is half. Two all-reduces forward and two backward, and each sends "
                                 "2 (n - 1) / n of its tensor",
     f"2 * (n - 1) / n * {ALL}": "this is one all-reduce. A block has four of them in a step",
     f"6 * (n - 1) / n * {ALL}": "these are three all-reduces. Attention and MLP have one each way",
     f"14 * (n - 1) / n * {ALL}": "these are seven all-reduces, one per column-cut matrix backward. Query, "
                                  "key and value share one, and so do gate and up",
     f"16 * (n - 1) / n * {ALL}": "this is twice as much. Sequence parallelism halves each all-reduce into a "
                                  "reduce-scatter and an all-gather, and sends the same bytes",
     f"10 * (n - 1) / n * {ALL}": "these are also the two gathers that Megatron-LM adds backward. Here the "
                                  "gathered inputs are kept",
     f"8 * (n - 1) // n * {ALL}": "// drops a fraction: 8 (n - 1) / n is 7.5 for 16 ranks",
     f"8 * {ALL}": "(n - 1) / n is missing: a rank has its own piece already",
     f"4 * {ALL}": "a ring sends 2 (n - 1) / n of the tensor for each of the four all-reduces",
     f"8 * (n - 1) * {ALL}": "a piece is one nth of the tensor: divide by n",
     f"8 / n * {ALL}": "this is one step of each ring. A ring has n - 1",
     "8 * (n - 1) / n * tokens * width": "these are numbers: multiply by the bytes of each",
     "8 * (n - 1) / n * width * number": "this is for one token",
     f"8 * (n - 1) / n * {ALL} / n": "the tensors that are summed are whole, not cut by n: each rank has a "
                                     "part of every sum"},
    otherwise=lambda off: f"for {off.row} the right number is {off.want:.4g}, yours is {off.got:.4g}",
    hint="How many all-reduces, of which tensor, and how much does a ring send of it?",
    done="four all-reduces, or four reduce-scatters and four all-gathers: the same bytes",
    also=[says("def sent(n, tokens, width, number):\n    return n * tokens",
               "for (2, 1000, 128, 4) the right number is 2.048e+06, yours is 2000")])  # fmt: skip


def on_ranks_attention(answer):
    """One rank's view: which of the known results came out, and what the gradients are."""
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    from torch.utils.flop_counter import FlopCounterMode

    rank, size, heads, width = dist.get_rank(), dist.get_world_size(), 4, 32
    generator = torch.Generator().manual_seed(1)
    x, *matrices, coming = (
        torch.randn(*shape, generator=generator)
        for shape in [(2, 6, width), *[(width, width)] * 4, (2, 6, width)]
    )
    matrices = [matrix / width**0.5 for matrix in matrices]

    def attend(x, q, k, v, out, count):
        q, k, v = ((x @ matrix).view(2, 6, count, -1).transpose(1, 2) for matrix in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).flatten(2) @ out

    def leaves():
        return [tensor.clone().requires_grad_() for tensor in (x, *matrices)]

    whole = leaves()
    right = attend(*whole, heads)
    right.backward(coming)
    parts = [matrix.chunk(size, dim=1)[rank] for matrix in matrices[:3]]
    parts.append(matrices[3].chunk(size, dim=0)[rank])
    narrow = attend(x, *parts, heads) if size < heads else right
    dist.all_reduce(narrow := narrow.clone())
    known = {
        "right": right,
        "part": attend(x, *parts, heads // size),
        "times": size * right,
        "swapped": attend(size * x, *parts, heads // size),
        "narrow": narrow,
    }
    mine = leaves()
    dist.barrier()
    seen = {"error": "", "kind": "", "shape": "", "graph": True, "x": "", "used": [], "matrices": False}
    seen |= {"work": 0.0, "sums": 0}
    all_reduce = dist.all_reduce

    def counted(*args, **options):
        seen["sums"] += 1
        return all_reduce(*args, **options)

    dist.all_reduce = counted
    try:
        with FlopCounterMode(display=False) as flops:
            result = answer(*mine, heads)
    except Exception as error:
        return seen | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    if not isinstance(result, torch.Tensor):
        return seen | {"kind": "nothing"}
    if result.shape != right.shape:
        return seen | {"kind": "shape", "shape": str(tuple(result.shape))}

    def like(one, other):
        return torch.allclose(one, other, rtol=1e-4, atol=1e-4)

    seen["kind"] = next((name for name, value in known.items() if like(result, value)), "other")
    if not result.requires_grad:
        return seen | {"graph": False}
    try:
        result.backward(coming)
    except Exception as error:
        return seen | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    got, true = [tensor.grad for tensor in mine], [tensor.grad for tensor in whole]
    if any(gradient is None for gradient in got):
        return seen | {"graph": False}
    products = sum(
        flops.get_flop_counts()["Global"].get(op, 0) for op in (torch.ops.aten.mm, torch.ops.aten.bmm)
    )
    seen["work"] = products * size / (4 * 2 * 2 * 6 * width * width)
    share = got[0].clone()
    all_reduce(share)
    for name, gradient in {"right": true[0], "times": size * true[0]}.items():
        if like(got[0], gradient):
            seen["x"] = name
    if not seen["x"] and like(share, true[0]):
        seen["x"] = "share"
    equal = []
    for gradient, wanted in zip(got[1:], true[1:], strict=True):
        touched = gradient != 0
        seen["used"].append(touched.float().mean().item() * size)
        equal.append(like(gradient[touched], wanted[touched]))
    return seen | {"matrices": all(equal)}


def two_and_four(answer):
    for size in (2, 4):
        last = ranks.call(on_ranks_attention, size, answer, timeout=60)[-1]
        seen = SimpleNamespace(**last, size=size, heads=4)
        seen.uncut = [
            name
            for name, used in zip(("query", "key", "value", "out"), seen.used, strict=False)
            if used > 1.01
        ]
        seen.names = ", ".join(seen.uncut)
        fine = not seen.error and seen.kind == "right" and seen.x == "right" and seen.matrices
        seen.idle, seen.often = seen.work > 1.01, seen.sums > 2
        if not fine or seen.uncut or seen.idle or seen.often:
            break
    return seen


def attention(
    first="x = enter(x)",
    cut="x @ m.chunk(size, dim=1)[rank] for m in (query, key, value)",
    view="-1, head_dim",
    last="leave(mixed @ out.chunk(size, dim=0)[rank])",
):
    return (
        "import torch\nimport torch.distributed as dist\nimport torch.nn.functional as F\n"
        "from scaleup.parallel.tensor_split import enter, gather, leave\n"
        "def attention(x, query, key, value, out, heads):\n"
        "    rank, size = dist.get_rank(), dist.get_world_size()\n"
        "    batch, seq, width = x.shape\n    head_dim = width // heads\n"
        f"    {first}\n    q, k, v = ({cut})\n"
        f"    q, k, v = (p.view(batch, seq, {view}).transpose(1, 2) for p in (q, k, v))\n"
        "    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)\n"
        f"    mixed = mixed.transpose(1, 2).flatten(2)\n    return {last}\n"
    )


WHOLE = "x @ m for m in (query, key, value)"
rules(
    "attention", two_and_four,
    [slip(lambda seen: "shapes cannot be multiplied" in seen.error,
          "on {size} ranks two shapes do not meet ({error}). Query, key and value are cut by columns, dim=1, "
          "and out by rows, dim=0",
          says(attention(last="leave(mixed @ out.chunk(size, dim=1)[rank])"), size=2,
               error="RuntimeError: mat1 and mat2 shapes cannot be multiplied (12x16 and 32x16)")),
     slip(lambda seen: "invalid for input of size" in seen.error,
          "on {size} ranks a view does not fit ({error}). A rank has heads / n heads of the full width, "
          "head_dim: let view find their number with -1",
          says(attention(view="heads, head_dim"), size=2,
               error="RuntimeError: shape '[2, 6, 4, 8]' is invalid for input of size 192")),
     slip(lambda seen: seen.error, "on {size} ranks your function raised: {error}",
          says(attention(first="x = entre(x)"), size=2, error="NameError: name 'entre' is not defined")),
     slip(lambda seen: seen.kind == "nothing", "return the result, a tensor (batch, seq, width)",
          attention(last="None")),
     slip(lambda seen: seen.kind == "shape",
          "the result has the shape {shape}. It has to be (2, 6, 32), as the input's: multiply by this "
          "rank's rows of out, and add up the parts",
          says(attention(last="leave(mixed)"), shape="(2, 6, 16)")),
     slip(lambda seen: not seen.graph,
          "no gradient arrives: detach() or no_grad() cuts the graph. enter and leave are all you need",
          attention(last="leave((mixed @ out.chunk(size, dim=0)[rank]).detach())"),
          attention(first="x = enter(x.detach())")),
     slip(lambda seen: len(seen.uncut) == 4,
          "every rank computes all heads, with all of each matrix: give each only its own",
          attention(cut=WHOLE, last="mixed @ out", first="pass"),
          attention(cut=WHOLE, last="leave(mixed @ out)")),
     slip(lambda seen: seen.kind == "part",
          "on {size} ranks the result is this rank's part of the sum: the sum over the ranks is missing at "
          "the end. Use leave",
          says(attention(last="mixed @ out.chunk(size, dim=0)[rank]"), size=2),
          says(attention(last="enter(mixed @ out.chunk(size, dim=0)[rank])"), size=2)),
     slip(lambda seen: seen.kind == "times", "on {size} ranks the result is {size} times too large: it was "
                                             "added up twice",
          says(attention(last="leave(leave(mixed @ out.chunk(size, dim=0)[rank]))"), size=2)),
     slip(lambda seen: seen.kind == "swapped",
          "enter and leave are swapped: x is the same on all ranks and must not be summed, the results are "
          "parts and must",
          attention(first="x = leave(x)", last="enter(mixed @ out.chunk(size, dim=0)[rank])")),
     slip(lambda seen: seen.kind == "narrow",
          "each rank made {heads} narrow heads of its columns. It has {heads} / {size} heads of the full "
          "width: view(batch, seq, -1, head_dim)",
          says(attention(view="heads, -1"), heads=4, size=2)),
     slip(lambda seen: seen.uncut, "every rank uses all of {names}: give each rank its own part",
          says(attention(last="gather(mixed.transpose(1, 2)).transpose(1, 2) @ out"), names="out")),
     slip(lambda seen: seen.kind == "other",
          "on {size} ranks the result is wrong. Does each rank take whole heads, the same ones of query, key "
          "and value, and the rows of out that belong to them?",
          says(attention(cut="x @ m[:, rank::size] for m in (query, key, value)"), size=2)),
     slip(lambda seen: seen.x == "share",
          "the result is right, and the gradient of x is only this rank's share. Something has to add it up "
          "on the way back: enter",
          attention(first="pass")),
     slip(lambda seen: seen.x == "times",
          "the result is right, and the gradient of x is {size} times too large: it was added up twice",
          says(attention(first="x = enter(enter(x))"), size=2),
          says(attention(last="enter(leave(mixed @ out.chunk(size, dim=0)[rank]))"), size=2)),
     slip(lambda seen: seen.x != "right" or not seen.matrices,
          "the result is right, and a gradient is not. One enter before the products, on x, and one leave "
          "after the last one are all it takes",
          attention(cut="x @ enter(m.chunk(size, dim=1)[rank]) for m in (query, key, value)")),
     slip(lambda seen: seen.idle,
          "the result is right, and each rank computes {work:g} times its share: it multiplies by whole "
          "matrices and throws away a part of what comes out. Cut the matrices, not the results",
          says(attention(cut="(x @ m).chunk(size, dim=2)[rank] for m in (query, key, value)"), work=1.75),
          says(attention(cut="(x @ m).view(batch, seq, heads, head_dim).chunk(size, dim=2)[rank].flatten(2) "
                             "for m in (query, key, value)"), work=1.75)),
     slip(lambda seen: seen.often,
          "the result is right, with {sums} all-reduces. Two are enough: let x enter once for all three "
          "products, and the sum leave once",
          says(attention(first="pass",
                         cut="enter(x) @ m.chunk(size, dim=1)[rank] for m in (query, key, value)"), sums=4))],
    needs="attention", example=code, limit=150,
    hint="x = enter(x); columns of three matrices; -1 heads; rows of out; leave.",
    done="two and four ranks give the whole result and gradients, each with its own heads")  # fmt: skip


def on_ranks_finish(answer):
    """One rank's view: each gradient's value afterwards. Before, it is the rank's number plus one."""
    import torch
    import torch.distributed as dist

    from scaleup.model import GPT, GPTConfig

    rank = dist.get_rank()
    model = GPT(GPTConfig(vocab_size=32, layers=2, heads=2, dim=8, hidden=16, context=8))
    start = [p.detach().clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, rank + 1.0)
    seen = {"error": "", "values": {}, "lost": False, "kept": True, "calls": 0, "unwaited": False}
    all_reduce, started = dist.all_reduce, []

    class Work:
        """What a call with async_op=True returns; notes whether it was waited for."""

        def __init__(self, real):
            self.real, self.waited = real, False
            started.append(self)

        def wait(self, *args):
            self.waited = True
            return self.real.wait(*args)

        def __getattr__(self, name):
            return getattr(self.real, name)

    def counted(*args, **options):
        seen["calls"] += 1
        work = all_reduce(*args, **options)
        return work and Work(work)

    dist.all_reduce = counted
    try:
        answer(model)
        seen["unwaited"] = not all(work.waited for work in started)
        for work in started:  # or the process would end with a collective under way
            work.real.wait()
    except Exception as error:
        return seen | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    for (name, parameter), before in zip(model.named_parameters(), start, strict=True):
        seen["kept"] = seen["kept"] and torch.equal(parameter, before)
        if not isinstance(parameter.grad, torch.Tensor):
            seen["lost"] = True
            continue
        seen["values"][name] = parameter.grad.flatten()[0].item()
    return seen


def two_sides(answer):
    both = ranks.call(on_ranks_finish, 2, answer, timeout=30)
    seen = SimpleNamespace(error=next((rank["error"] for rank in both if rank["error"]), ""))
    seen.lost, seen.kept = any(rank["lost"] for rank in both), all(rank["kept"] for rank in both)
    seen.alone_in_it = len({rank["calls"] for rank in both}) > 1
    seen.unwaited = any(rank["unwaited"] for rank in both)
    pairs = {name: (value, both[1]["values"].get(name)) for name, value in both[0]["values"].items()}
    seen.norms = {name: pair for name, pair in pairs.items() if "norm" in name}
    seen.cut = {name: pair for name, pair in pairs.items() if "norm" not in name}
    seen.alone = [name for name, pair in seen.norms.items() if pair == (1, 2)]
    seen.touched = [name for name, pair in seen.cut.items() if pair != (1, 2)]
    seen.first = (seen.alone or [""])[0]
    seen.spoilt = (seen.touched or [""])[0]
    return seen


def all_are(*pair):
    return lambda seen: bool(seen.norms) and set(seen.norms.values()) == {pair}


def finish(which='"norm" in name', do="dist.all_reduce(parameter.grad)"):
    return (
        "import torch\nimport torch.distributed as dist\ndef finish(model):\n"
        f"    for name, parameter in model.named_parameters():\n        if {which}:\n            {do}\n"
    )


rules(
    "norms", two_sides,
    [slip(lambda seen: seen.alone_in_it,
          "one rank called all_reduce more often than the other. It adds up nothing until all have come: "
          "every rank has to call the collective",
          finish(which='"norm" in name and dist.get_rank() == 0'),
          finish(which='"norm" in name and dist.get_rank() == 1')),
     slip(lambda seen: seen.error, "your function raised: {error}",
          says(finish(do="dist.all_reduce(parameter.gradient)"),
               error="AttributeError: 'Parameter' object has no attribute 'gradient'")),
     slip(lambda seen: seen.lost,
          "all_reduce changes its tensor in place and returns nothing: a gradient is gone",
          finish(do="parameter.grad = dist.all_reduce(parameter.grad)")),
     slip(lambda seen: seen.unwaited,
          "all_reduce(…, async_op=True) returns at once, and the sum comes later: call wait() on what it "
          "returns, or leave async_op out",
          finish(do="dist.all_reduce(parameter.grad, async_op=True)")),
     slip(lambda seen: not seen.kept, "the parameters were changed. Only gradients are parts of a sum here",
          finish(do="dist.all_reduce(parameter.data)")),
     slip(lambda seen: seen.touched and all_are(3, 3)(seen),
          "the norms are right, and {spoilt} was summed, too. Each rank has another part of that matrix, so "
          "its gradient is complete: adding different parts makes nonsense",
          says(finish(which="True"), spoilt="embedding.weight"),
          says(finish(which='"norm" in name or name == "head.weight"'), spoilt="head.weight")),
     slip(lambda seen: seen.touched and len(seen.alone) == len(seen.norms),
          "it is the other way round: a cut matrix ({spoilt}) has its own gradient, and a norm, a copy on "
          "each rank, has seen this rank's tokens only",
          says(finish(which='"norm" not in name'), spoilt="embedding.weight")),
     slip(lambda seen: len(seen.alone) == len(seen.norms),
          "no gradient was summed over the ranks. Which parameters are whole on every rank and have seen "
          "only this rank's tokens?",
          finish(which="False"), finish(do="dist.all_reduce(parameter.grad.clone())")),
     slip(all_are(1.5, 1.5),
          "this is the mean. The loss is a sum over tokens that are dealt out, so the parts of its gradient "
          "are added up, not averaged",
          finish(do="dist.all_reduce(parameter.grad); parameter.grad /= 2")),
     slip(all_are(6, 6), "the sum was taken twice",
          finish(do="dist.all_reduce(parameter.grad); dist.all_reduce(parameter.grad)")),
     slip(lambda seen: set(seen.norms.values()) <= {(1, 1), (2, 2)} and len(set(seen.norms.values())) == 1,
          "one rank's gradient was sent to the other. Both have seen half of the tokens: add them up",
          finish(do="dist.broadcast(parameter.grad, src=0)")),
     slip(lambda seen: seen.touched,
          "{spoilt} was changed. Each rank has another part of it, so its gradient is complete",
          says(finish(which='name.startswith("blocks.0")'), spoilt="blocks.0.attention.query.weight")),
     slip(lambda seen: seen.alone,
          "{first} was left out: the model has two norms per block, and one before the head",
          says(finish(which='name == "norm.weight"'), first="blocks.0.attention_norm.weight"),
          says(finish(which='"_norm" in name'), first="norm.weight")),
     slip(lambda seen: not all_are(3, 3)(seen),
          lambda seen: "two ranks with 1 and 2 have to end with 3 on both, and yours end with "
                       "{:g} and {:g}".format(*next(iter(seen.norms.values()))),
          says(finish(do="dist.all_reduce(parameter.grad, dist.ReduceOp.MAX); parameter.grad += 2"),
               "two ranks with 1 and 2 have to end with 3 on both, and yours end with 4 and 4"))],
    needs="finish", example=code, limit=60,
    hint="Parameters of one dimension.",
    done="five norms are summed, and each cut matrix keeps its own gradient",
)  # fmt: skip

CASES = [
    (8, 8, 4),
    (32, 8, 4),
    (32, 8, 8),
    (8, 2, 4),
    (32, 8, 16),
    (64, 4, 16),
    (12, 4, 6),
]  # heads, KV heads, ranks


def held(rank, heads, kv_heads, n):
    queries = list(range(rank * heads // n, (rank + 1) * heads // n))
    return queries, sorted({head * kv_heads // heads for head in queries})


def as_list(value):
    try:
        return [int(number) for number in value]
    except (TypeError, ValueError):
        raise NotYet("return two lists of head numbers: (query heads, KV heads)") from None


def every_rank(answer):
    """The first rank for which the answer is wrong, or the last one."""
    for heads, kv_heads, n in CASES:
        for rank in range(n):
            said = answer(rank, heads, kv_heads, n)
            if not isinstance(said, tuple | list) or len(said) != 2:
                raise NotYet("return two lists of head numbers: (query heads, KV heads)")
            queries, kv = map(as_list, said)
            right = held(rank, heads, kv_heads, n)
            seen = SimpleNamespace(rank=rank, heads=heads, kv_heads=kv_heads, n=n, queries=queries, kv=kv)
            seen.right_queries, seen.right_kv = right
            seen.turns = list(range(rank, heads, n))
            seen.wrong = (queries, sorted(kv)) != right
            seen.shared, seen.each = n > kv_heads, heads // kv_heads
            seen.case = f"rank {rank} of {n} with {heads} query and {kv_heads} KV heads"
            if seen.wrong:
                return seen
    return seen


def heads_of(
    queries="range(rank * heads // n, (rank + 1) * heads // n)",
    kv="{q * kv_heads // heads for q in own}",
):
    return f"def holds(rank, heads, kv_heads, n):\n    own = list({queries})\n    return own, sorted({kv})\n"


FOUR = "rank 0 of 4 with 8 query and 2 KV heads"
rules(
    "heads", every_rank,
    [slip(lambda seen: seen.wrong and seen.queries == seen.turns != seen.right_queries,
          "query heads are dealt out in turns. A matrix is cut into blocks of columns: rank 0 has the first "
          "ones",
          heads_of(queries="range(rank, heads, n)")),
     slip(lambda seen: seen.wrong and seen.queries and min(seen.queries) == seen.right_queries[0] + 1,
          "head numbers begin at 0",
          heads_of(queries="range(rank * heads // n + 1, (rank + 1) * heads // n + 1)")),
     slip(lambda seen: seen.wrong and seen.queries == list(range(seen.heads)) != seen.right_queries,
          "for {case} you gave all query heads: each rank has heads / n of them",
          says(heads_of(queries="range(heads)"), case="rank 0 of 4 with 8 query and 8 KV heads")),
     slip(lambda seen: seen.wrong and seen.queries != seen.right_queries,
          "for {case} the query heads are {right_queries}, yours are {queries}",
          says(heads_of(queries="range(rank, rank + heads // n)"),
               case="rank 1 of 4 with 8 query and 8 KV heads", right_queries=[2, 3], queries=[1, 2])),
     slip(lambda seen: seen.wrong and not seen.kv,
          "for {case} you left the rank without a KV head: kv_heads // n is 0 there. Then each KV head is on "
          "several ranks",
          says(heads_of(kv="range(rank * (kv_heads // n), (rank + 1) * (kv_heads // n))"), case=FOUR)),
     slip(lambda seen: seen.wrong and seen.kv == list(range(seen.kv_heads)) != seen.right_kv,
          "for {case} you gave all KV heads. Neighbouring query heads share one: give those that this rank's "
          "query heads look at",
          says(heads_of(kv="range(kv_heads)"), case="rank 0 of 4 with 8 query and 8 KV heads"),
          says(heads_of(kv="range(kv_heads) if n > kv_heads else "
                           "range(rank * kv_heads // n, (rank + 1) * kv_heads // n)"), case=FOUR)),
     slip(lambda seen: seen.wrong and seen.shared and seen.kv == [seen.rank % seen.kv_heads],
          "for {case} KV heads are dealt out in turns: the query heads {queries} look at KV head {right_kv}, "
          "since {each} neighbours share one",
          says(heads_of(kv="[rank % kv_heads] if n > kv_heads else {q * kv_heads // heads for q in own}"),
               case="rank 1 of 4 with 8 query and 2 KV heads", queries=[2, 3], right_kv=[0], each=4)),
     slip(lambda seen: seen.wrong and seen.shared and len(seen.kv) < len(seen.right_kv),
          "for {case} the query heads {queries} look at the KV heads {right_kv}: a rank can hold the end of "
          "one group and the beginning of the next",
          says(heads_of(kv="range(rank * kv_heads // n, rank * kv_heads // n + max(1, kv_heads // n))"),
               case="rank 1 of 6 with 12 query and 4 KV heads", queries=[2, 3], right_kv=[0, 1])),
     slip(lambda seen: seen.wrong and seen.kv and max(seen.kv) >= seen.kv_heads,
          "for {case} you gave the KV heads {kv}, and there are only {kv_heads}, numbered from 0",
          says(heads_of(kv="{q * heads // kv_heads for q in own}"),
               case="rank 0 of 4 with 32 query and 8 KV heads", kv=list(range(0, 32, 4)), kv_heads=8)),
     slip(lambda seen: seen.wrong,
          "for {case} the query heads {queries} look at the KV heads {right_kv}, yours are {kv}",
          says(heads_of(kv="{rank * kv_heads // n}"), case="rank 0 of 4 with 8 query and 8 KV heads",
               queries=[0, 1], right_kv=[0, 1], kv=[0]))],
    needs="holds", example=code,
    hint="KV head of query head q: q * kv_heads // heads.",
    done="seven models, also those with fewer KV heads than ranks",
    also=[says("def holds(rank, heads, kv_heads, n):\n    return 1, 2",
               "return two lists of head numbers: (query heads, KV heads)"),
          says("def holds(rank, heads, kv_heads, n):\n    return [1, 2, 3]",
               "return two lists of head numbers: (query heads, KV heads)")])  # fmt: skip

BOUND = "4.5 * share * width * link / peak"
formula(
    "largest", "largest(width, peak, link, share)", f"1 + floor({BOUND})",
    [(16384, 312e12, 300e9, 1.0), (8192, 989e12, 450e9, 0.5), (8192, 989e12, 25e9, 1.0),
     (12288, 989e12, 450e9, 0.7)],
    {f"floor({BOUND})": "the formula has n - 1: add the 1",
     f"1 + {BOUND}": "n is a whole number: round down",
     BOUND: "the formula has n - 1, and n is a whole number: add 1 and round down",
     f"round(1 + {BOUND})": "rounded to the nearest, talking can take more than the share: round down",
     f"1 + ceil({BOUND})": "rounded up, talking takes more than the share: round down",
     "1 + floor(4.5 * width * link / peak)": "the share is not used: talking may take `share` of computing",
     "1 + floor(4.5 / share * width * link / peak)": "multiply by the share: who may talk less is cut less",
     "1 + floor(4.5 * share * width * peak / link)": "link and peak are swapped: a faster link allows more "
                                                     "ranks",
     "1 + floor(share * 3 / 8 * width * link / peak)": "the 12 is missing: P is 12 width²",
     "1 + floor(2 / 9 * share * width * link / peak)": "turn the factor round: n - 1 is 9/2 of the rest"},
    otherwise=lambda off: f"for {off.row} the right number is {off.want:g}, yours is {off.got:g}",
    hint="Put P = 12 width² into the lesson's ratio, set it equal to share, solve for n.",
    done="the same bound for every link: a node's carries several ranks, a network often not even two",
    within=1e-9,
    also=[says("def largest(width, peak, link, share):\n    return 8",
               "for (16384, 312000000000000.0, 300000000000.0, 1.0) the right number is 71, yours is 8")],
)  # fmt: skip

"""Checks of the exercises on mixtures of experts. One runs on real ranks; its groups do not wait long."""

import math
from types import SimpleNamespace

import torch

from scaleup import ranks
from scaleup.exercises import NotYet, code, formula, rules, says, slip

ROOM = "ceil(factor * sum(counts) / len(counts))"
formula(
    "dropped", "dropped(counts, factor)",
    f"sum(max(c - {ROOM}, 0) for c in counts) / sum(counts)",
    [([10, 2, 4, 1], 1.25), ([7, 9, 3, 5, 1, 12, 2, 8], 1.0), ([30, 1, 1, 1, 1, 1, 1, 1], 2.0)],
    {f"sum(max(c - {ROOM}, 0) for c in counts)": "this is the number of dropped copies: divide by all copies",
     f"1 - sum(max(c - {ROOM}, 0) for c in counts) / sum(counts)": "this is the share that is kept",
     f"sum(min(c, {ROOM}) for c in counts) / sum(counts)": "this is the share that is kept",
     f"sum(max({ROOM} - c, 0) for c in counts) / sum(counts)":
         "these are the empty places of the experts with too little. Dropped is what is beyond the capacity",
     f"sum(max({ROOM} - c, 0) for c in counts) / ({ROOM} * len(counts))":
         "this is the share of padding. Dropped is what is beyond the capacity",
     "sum(max(c - ceil(sum(counts) / len(counts)), 0) for c in counts) / sum(counts)":
         "the capacity factor is missing: this is what factor 1 drops",
     "sum(max(c - floor(factor * sum(counts) / len(counts)), 0) for c in counts) / sum(counts)":
         "round the capacity up to a whole row, not down",
     "sum(max(c - factor * sum(counts) / len(counts), 0) for c in counts) / sum(counts)":
         "a capacity is a whole number of rows: round it up",
     f"sum(c > {ROOM} for c in counts) / len(counts)":
         "this is the share of experts that are too full. Count copies",
     f"sum(c for c in counts if c > {ROOM}) / sum(counts)":
         "an expert that is too full drops only what is beyond its capacity, not everything",
     "sum(max(c - ceil(factor * sum(counts)), 0) for c in counts) / sum(counts)":
         "the capacity is of one expert: divide all copies by the number of experts",
     f"max(max(counts) - {ROOM}, 0) / sum(counts)": "add up over all experts, not only the fullest one",
     "max(1 - factor * sum(counts) / len(counts) / max(counts), 0)":
         "this looks at the fullest expert only: add up what each expert drops"},
    otherwise=lambda off: f"for {off.row} the right share is {off.want:.4g}, yours is {off.got:.4g}",
    hint="First the capacity, a whole number of rows. Then what each expert has beyond it.",
    done="the share of copies beyond a capacity",
    also=[says("def dropped(counts, factor):\n    return 0.123",
               "for ([10, 2, 4, 1], 1.25) the right share is 0.2353, yours is 0.123")])  # fmt: skip


def cases():
    for seed, (tokens, experts, k) in enumerate([(12, 4, 1), (20, 8, 2), (9, 5, 3)]):
        random = torch.Generator().manual_seed(seed)
        scores = torch.randn(tokens, experts, generator=random) + torch.linspace(1, 0, experts)
        probabilities = scores.softmax(dim=-1)
        yield "", probabilities, probabilities.topk(k, dim=-1).indices
    random = torch.Generator().manual_seed(3)
    scores = torch.randn(10, 4, generator=random)
    rare = (scores + torch.tensor([2.0, 1.0, 1.0, -9.0])).softmax(dim=-1)  # nobody visits the last expert
    yield "empty", rare, rare.topk(2, dim=-1).indices
    probabilities = scores.softmax(dim=-1)  # a bias chooses others than the most probable ones
    yield "biased", probabilities, (probabilities + torch.tensor([0, 0.3, 0, 0.6])).topk(2, dim=-1).indices


def try_balance(answer):
    """For five routers: what the answer gives, what is right, and what usual mistakes give."""
    seen = SimpleNamespace(rows=[], flat=False, moved=False, short=False)
    for case, plain, chosen in cases():
        probabilities = plain.clone().requires_grad_()
        kept = chosen.clone()
        try:
            loss = answer(probabilities, chosen)
        except (RuntimeError, LookupError):
            if case != "empty":
                raise
            seen.short = True
            return seen
        if not isinstance(loss, torch.Tensor):
            kind = type(loss).__name__
            raise NotYet(f"return a tensor: {kind} has no gradient, and the router cannot learn")
        if loss.numel() != 1:
            raise NotYet(f"return one number: this tensor has the shape {tuple(loss.shape)}")
        seen.moved |= not torch.equal(kept, chosen)
        tokens, experts = plain.shape
        count = chosen.flatten().bincount(minlength=experts).to(plain.dtype)
        first = chosen[:, 0].bincount(minlength=experts).to(plain.dtype)
        f, mean = count / count.sum(), plain.mean(dim=0)
        right = experts * (f * mean).sum()
        gradient = torch.zeros_like(plain)
        if loss.requires_grad:
            (given,) = torch.autograd.grad(loss.sum(), probabilities, allow_unused=True)
            gradient = given if given is not None else gradient
        seen.flat |= not gradient.any().item()
        wanted = (experts * f / tokens).expand(tokens, experts)
        seen.rows.append(SimpleNamespace(
            case=case, got=loss.item(), right=right.item(), e=experts, t=tokens, k=chosen.shape[1],
            twice=(experts * (mean * mean).sum()).item(), counts=(experts * (f * f).sum()).item(),
            first=(experts * (first / first.sum() * mean).sum()).item(),
            even=(mean.sum()).item(), slope=torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-7),
            spread=((f - 1 / experts) ** 2).sum().item()))  # fmt: skip
    return seen


def only_wrong(case):
    """Whether the loss of this router is wrong, and that of all others right."""

    def test(seen):
        return {row.case for row in seen.rows if not math.isclose(row.got, row.right, rel_tol=1e-4)} == {case}

    return test


def gives(value):
    """Whether the answer is `value(row)` for each router, and not the right one for all."""

    def test(seen):
        like = all(math.isclose(row.got, value(row), rel_tol=1e-4, abs_tol=1e-7) for row in seen.rows)
        return like and not all(math.isclose(row.got, row.right, rel_tol=1e-4) for row in seen.rows)

    return test


def balance(*lines, last="return experts * (shares * probabilities.mean(dim=0)).sum()"):
    before = lines or (
        "counts = chosen.flatten().bincount(minlength=experts)", "shares = counts / counts.sum()",
    )  # fmt: skip
    body = "\n    ".join(["experts = probabilities.shape[1]", *before, last])
    return f"import torch\ndef balance_loss(probabilities, chosen):\n    {body}\n"


HURRY = (
    "import torch\ndef balance_loss(probabilities, chosen):\n"
    "    load = chosen.flatten().bincount(minlength=probabilities.shape[1])\n"
    "    return (load * probabilities.sum(dim=0)).sum()\n"
)
SHAPE = "return one number: this tensor has the shape (4,)"
rules(
    "balance", try_balance,
    [slip(lambda seen: seen.moved, "your function changed `chosen`: leave it as it is",
          balance("chosen.clamp_(max=1)", "counts = chosen.flatten().bincount(minlength=experts)",
                  "shares = counts / counts.sum()")),
     slip(lambda seen: seen.short or only_wrong("empty")(seen),
          "where nobody chose the last expert, your counts are too short. There are as many experts as "
          "probabilities.shape[1]: tell bincount, with minlength",
          balance("counts = chosen.flatten().bincount()", "shares = counts / counts.sum()"),
          balance("experts = int(chosen.max()) + 1",
                  "counts = torch.nn.functional.one_hot(chosen, experts).sum(dim=(0, 1))",
                  "shares = counts / counts.sum()"),
          balance("experts = int(chosen.max()) + 1",
                  "counts = chosen.flatten().bincount(minlength=probabilities.shape[1])",
                  "shares = counts / counts.sum()")),
     slip(only_wrong("biased"),
          "you choose the experts anew, by their probabilities. A router with a bias chooses others: count "
          "`chosen`",
          balance("again = probabilities.topk(chosen.shape[1], dim=-1).indices",
                  "counts = again.flatten().bincount(minlength=experts)", "shares = counts / counts.sum()")),
     slip(gives(lambda r: r.right * r.t * r.t * r.k / r.e),
          "counts and sums grow with the batch: turn counts into shares, sums into means, and multiply by "
          "the number of experts", HURRY),
     slip(gives(lambda r: r.right * r.t * r.k * r.t),
          "counts and sums grow with the batch: divide the counts by all copies, and take the mean "
          "probability",
          HURRY.replace("return (load", "return probabilities.shape[1] * (load")),
     slip(gives(lambda r: r.counts),
          "both factors are shares of the copies, which have no gradient: one of them has to be the mean "
          "probability", balance(last="return experts * (shares * shares).sum() + 0 * probabilities.sum()"),
          balance(last="return experts * (shares * shares).sum()")),
     slip(gives(lambda r: r.twice),
          "both factors are mean probabilities. One of them has to be the share of the copies that an "
          "expert got",
          balance(last="return experts * probabilities.mean(dim=0).square().sum()")),
     slip(gives(lambda r: r.right / r.e), "multiply by the number of experts: equal shares have to give 1",
          balance(last="return (shares * probabilities.mean(dim=0)).sum()")),
     slip(gives(lambda r: r.right / r.e**2),
          "the mean over experts divides by their number, and the loss multiplies by it: take the sum",
          balance(last="return (shares * probabilities.mean(dim=0)).mean()")),
     slip(gives(lambda r: r.right * r.t),
          "take the mean probability over the tokens. The sum grows with the batch",
          balance(last="return experts * (shares * probabilities.sum(dim=0)).sum()")),
     slip(gives(lambda r: r.right * r.t * r.k),
          "divide the counts by all copies: these are numbers of rows, not shares",
          balance("shares = chosen.flatten().bincount(minlength=experts)")),
     slip(gives(lambda r: r.right * r.k),
          "divide by the number of copies, k for each token, and not by the number of tokens",
          balance("counts = chosen.flatten().bincount(minlength=experts)", "shares = counts / len(chosen)")),
     slip(gives(lambda r: r.right * r.k / r.e),
          "the loss is E / k times as large: divide the counts by the number of copies, not of tokens, and "
          "multiply the sum by the number of experts E, not by k",
          balance(last="return chosen.shape[1] * (shares * probabilities.mean(dim=0)).sum()"),
          balance("counts = chosen.flatten().bincount(minlength=experts)", "shares = counts / len(chosen)",
                  last="return (shares * probabilities.mean(dim=0)).sum()")),
     slip(gives(lambda r: r.first), "you count first choices only: every token visits k experts",
          balance("counts = chosen[:, 0].bincount(minlength=experts)", "shares = counts / counts.sum()")),
     slip(gives(lambda r: r.even),
          "the shares do not enter: this is 1 for every router",
          balance(last="return probabilities.mean(dim=0).sum()")),
     slip(lambda seen: all(math.isclose(r.got, r.right, rel_tol=1e-4) for r in seen.rows) and seen.flat,
          "the value is right and has no gradient, so the router learns nothing. Where did the probabilities "
          "lose it: detach(), no_grad() or item()?",
          balance(last="return experts * (shares * probabilities.detach().mean(dim=0)).sum()"),
          balance(last="return torch.tensor(experts * (shares * probabilities.mean(dim=0)).sum().item())")),
     slip(lambda seen: all(math.isclose(r.got, r.right, rel_tol=1e-4) for r in seen.rows)
          and not all(r.slope for r in seen.rows),
          "the value is right, and its gradient is not: only the mean probability may carry one",
          balance("counts = chosen.flatten().bincount(minlength=experts)",
                  "shares = counts / counts.sum()",
                  "shares = shares * probabilities.sum() / probabilities.sum().detach()")),
     slip(lambda seen: not all(math.isclose(r.got, r.right, rel_tol=1e-4) for r in seen.rows),
          lambda seen: next(f"for {r.t} tokens, {r.e} experts and k = {r.k} the loss is {r.right:.4f}, "
                            f"yours is "
                            f"{r.got:.4f}" for r in seen.rows
                            if not math.isclose(r.got, r.right, rel_tol=1e-4)),
          says(balance(last="return experts * (shares * probabilities.mean(dim=0)).sum() - 1"),
               "for 12 tokens, 4 experts and k = 1 the loss is 1.1590, yours is 0.1590"))],
    needs="balance_loss", example=code,
    hint="Shares of all copies, mean probabilities, times the number of experts.",
    done="1 where all experts get equally much, with a gradient through the probabilities only",
    also=[says("def balance_loss(probabilities, chosen):\n    return 1.0",
               "return a tensor: float has no gradient, and the router cannot learn"),
          says(balance(last="return experts * shares * probabilities.mean(dim=0)"), SHAPE)])  # fmt: skip


def on_ranks_exchange(answer):
    """One rank's view of three exchanges: what came out, what should have, and what went wrong."""
    import os
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=4))
    seen = {"error": "", "hangs": False, "gathered": "", "rows": [], "unwaited": 0}

    def counts_only(name):
        real = getattr(dist, name)

        def function(*args, **options):
            given = args[1] if len(args) > 1 else None
            if isinstance(given, torch.Tensor) and given.dim() < 2:  # counts may be gathered, rows may not
                return real(*args, **options)
            seen["gathered"] = name
            raise RuntimeError("refused")

        return function

    for name in ("all_gather", "all_gather_single", "gather", "broadcast", "all_gather_object"):
        setattr(dist, name, counts_only(name))
    dist.barrier()
    for seed, each in ((1, 2), (2, 1), (3, 3)):
        experts, every = size * each, []
        for r in range(size):  # what all ranks hold: row = its expert, its rank, its number
            random = torch.Generator().manual_seed(10 * seed + r)
            counts = torch.randint(0, 4, (experts,), generator=random)
            owner = torch.arange(experts).repeat_interleave(counts)
            held = torch.stack([owner, torch.full_like(owner, r), torch.arange(len(owner))], dim=1).double()
            every.append((held, counts))
        held, counts = every[rank]
        mine = range(rank * each, (rank + 1) * each)
        by_rank = torch.cat([h[(h[:, 0] >= mine[0]) & (h[:, 0] <= mine[-1])] for h, _ in every])
        by_expert = torch.cat([by_rank[by_rank[:, 0] == e] for e in mine])
        want = torch.stack([c[mine[0] : mine[-1] + 1] for _, c in every])  # (from rank, my experts)
        row = {}
        try:
            given = answer(held.clone(), counts.clone())
            if not (isinstance(given, tuple | list) and len(given) == 2):
                return seen | {"error": "shape"}
            got, numbers = given
            numbers = torch.as_tensor(numbers).flatten().tolist()
            row["same"] = got.shape == by_expert.shape and torch.equal(got.double(), by_expert)
            row["unsorted"] = got.shape == by_rank.shape and torch.equal(got.double(), by_rank)
            ours = got.shape == by_expert.shape and sorted(got.tolist()) == sorted(by_expert.tolist())
            grouped = ours and torch.equal(got[:, 0].double(), by_expert[:, 0])
            row["ours"], row["grouped"] = ours, grouped
            row["within"] = got.shape == by_expert.shape and set(got[:, 0].tolist()) <= set(mine)
            row["untouched"] = got.shape == held.shape and torch.equal(got.double(), held)
            row["numbers"] = numbers == want.sum(dim=0).tolist()
            row["senders"] = numbers == want.sum(dim=1).tolist()
            row["own"] = numbers == counts[mine[0] : mine[-1] + 1].tolist()
            row["flat"] = numbers == want.flatten().tolist() and size > 1
        except RuntimeError as error:
            words = str(error)
            seen["hangs"] = any(w in words for w in ("Timed out", "Connection closed", "reset by", "imeout"))
            seen["error"] = words.splitlines()[0]
            return seen
        except Exception as error:
            return seen | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        seen["rows"].append(row)
    return seen


UNEQUAL = (
    "the ranks do not agree on who sends how much. Exchange the counts first, send as many rows as your "
    "counts "
    "say for each rank, and receive as many as the others' counts say"
)


def exchanges(answer):
    try:
        every = ranks.call(on_ranks_exchange, 3, answer, timeout=60, join=False)
    except ranks.RanksFailed as error:
        if "did not make the same call" not in str(error):
            raise
        raise NotYet(UNEQUAL) from None
    seen = SimpleNamespace(gathered=next((s["gathered"] for s in every if s["gathered"]), ""))
    seen.hangs = any(s["hangs"] for s in every)
    seen.error = next((s["error"] for s in every if s["error"]), "")
    seen.sizes = any(w in seen.error.lower() for w in ("split size", "preamble", "sum of the", "split_sizes"))
    seen.rows = [row for s in every for row in s["rows"]]
    seen.lists = "splits not equal to group size" in seen.error
    return seen


def every_row(name):
    return lambda seen: bool(seen.rows) and all(row[name] for row in seen.rows)


def counted_as(name):
    """The rows are right and their numbers are not: they are `name`."""

    def test(seen):
        return all(every_row(each)(seen) for each in ("grouped", name)) and not every_row("numbers")(seen)

    return test


def exchange(
    sent="sent = counts.view(size, -1)",
    came="came = torch.empty_like(sent)\n    dist.all_to_all_single(came, sent)",
    sizes="send, receive = sent.sum(dim=1).tolist(), came.sum(dim=1).tolist()",
    move="arrived = rows.new_empty(sum(receive), rows.shape[1])\n"
         "    dist.all_to_all_single(arrived, rows, receive, send)",
    sort="expert = torch.arange(came.shape[1]).repeat(size).repeat_interleave(came.flatten())\n"
         "    arrived = arrived[expert.argsort(stable=True)]",
    end="return arrived, came.sum(dim=0)",
):  # fmt: skip
    body = "\n    ".join(["size = dist.get_world_size()", sent, came, sizes, move, sort, end])
    return f"import torch\nimport torch.distributed as dist\ndef to_experts(rows, counts):\n    {body}\n"


rules(
    "exchange", exchanges,
    [slip(lambda seen: seen.gathered,
          "your function calls dist.{gathered}, which sends every row to every rank. Send each row to the "
          "rank "
          "of its expert only: dist.all_to_all_single with split sizes",
          says("import torch\nimport torch.distributed as dist\ndef to_experts(rows, counts):\n"
               "    every = [None] * dist.get_world_size()\n    dist.all_gather_object(every, rows)\n"
               "    return rows, counts", gathered="all_gather_object")),
     slip(lambda seen: seen.error == "shape", "return two things: the rows that arrived, and how many each "
                                              "of "
          "this rank's experts got", exchange(end="return arrived")),
     slip(lambda seen: seen.lists,
          "each list of split sizes needs one number for each rank: sum the table over the experts, dim=1",
          exchange(sizes="send, receive = sent.sum(dim=0).tolist(), came.sum(dim=0).tolist()")),
     slip(lambda seen: seen.sizes and not seen.hangs,
          "the split sizes do not add up to the rows. dist.all_to_all_single(arrived, rows, receive, send): "
          "first how many come from each rank, then how many go to each",
          exchange(move="arrived = rows.new_empty(sum(receive), rows.shape[1])\n"
                        "    dist.all_to_all_single(arrived, rows, send, receive)"),
          exchange(move="arrived = torch.empty_like(rows)\n"
                        "    dist.all_to_all_single(arrived, rows, receive, send)")),
     slip(lambda seen: "different dtypes" in seen.error,
          "the buffer has another dtype than the rows. rows.new_empty(…) makes one of the same kind, and "
          "torch.empty_like(sent) for counts",
          exchange(move="arrived = torch.empty(sum(receive), rows.shape[1])\n"
                        "    dist.all_to_all_single(arrived, rows, receive, send)"),
          exchange(came="came = torch.empty(sent.shape)\n    dist.all_to_all_single(came, sent)")),
     slip(lambda seen: seen.hangs, UNEQUAL,
          exchange(sizes="send, receive = sent.sum(dim=1).tolist(), sent.sum(dim=1).tolist()")),
     slip(lambda seen: seen.error, "on three ranks your function raised: {error}",
          says(exchange(sizes="send, receive = sent.sum(dim=1).tolist(), undefined"),
               error="NameError: name 'undefined' is not defined")),
     slip(lambda seen: every_row("untouched")(seen), "these are the rank's own rows: nothing travelled",
          exchange(move="arrived = rows", sort="")),
     slip(lambda seen: not every_row("grouped")(seen) and every_row("unsorted")(seen),
          "the right rows arrived, still in the order of the ranks that sent them. Number them by expert as "
          "they came, one rank after the other (came.flatten(), not came.sum(dim=0)), and sort by that",
          exchange(sort=""),
          exchange(sort="expert = torch.arange(came.shape[1]).repeat_interleave(came.sum(dim=0))\n"
                        "    arrived = arrived[expert.argsort(stable=True)]")),
     slip(lambda seen: not every_row("grouped")(seen) and every_row("ours")(seen),
          "the right rows arrived, and they are not sorted by expert. What came from a rank is sorted by "
          "expert: number the rows with repeat_interleave, then sort by that number",
          exchange(sort="numbers = torch.arange(came.shape[1]).repeat(size)\n"
                        "    expert = numbers.repeat_interleave(came.T.flatten())\n"
                        "    arrived = arrived[expert.argsort(stable=True)]")),
     slip(counted_as("senders"),
          "the rows are right. Their numbers are those of each sender; give those of each expert: sum over "
          "the "
          "ranks", exchange(end="return arrived, came.sum(dim=1)")),
     slip(counted_as("own"),
          "the rows are right. Their numbers count only this rank's own rows: sum over all ranks",
          exchange(end="mine = counts.view(size, -1)[dist.get_rank()]\n    return arrived, mine")),
     slip(counted_as("flat"),
          "the rows are right. Give one number for each of this rank's experts: sum the table over the ranks",
          exchange(end="return arrived, came")),
     slip(lambda seen: not every_row("ours")(seen) and every_row("within")(seen),
          "as many rows as should arrive, some of them twice and others missing: to sort, index with "
          "expert.argsort(stable=True), not with the numbers of the experts",
          exchange(sort="numbers = torch.arange(came.shape[1]).repeat(size)\n"
                        "    arrived = arrived[numbers.repeat_interleave(came.flatten())]")),
     slip(lambda seen: not every_row("ours")(seen),
          "a rank did not get exactly the rows of its own experts. Rank r holds the r-th share of the "
          "experts: "
          "counts.view(size, -1)[r] are its rows",
          exchange(sent="sent = counts.view(size, -1).flip(0)")),
     slip(lambda seen: not every_row("numbers")(seen),
          "the rows are right. The second result has to say how many rows each of this rank's experts got, "
          "in "
          "their order", exchange(end="return arrived, came.sum(dim=0) + 1"))],
    needs="to_experts", example=code, limit=120,
    hint="Counts first. Then rows, with two lists of split sizes. Then one sort.",
    done="three uneven exchanges on three ranks, also where an expert gets nothing")  # fmt: skip

formula(
    "volume", "sent(tokens, k, dim, bytes_each, n)",
    "6 * tokens * k * dim * bytes_each * (n - 1) / n",
    [(4096, 8, 2048, 2, 8), (1024, 2, 512, 4, 2), (8192, 1, 7168, 1, 64)],
    {"4 * tokens * k * dim * bytes_each * (n - 1) / n":
         "this is without recomputing: the two forward trips happen twice",
     "2 * tokens * k * dim * bytes_each * (n - 1) / n":
         "this is the forward pass once: there and back. Add the second forward pass and the backward pass",
     "3 * tokens * k * dim * bytes_each * (n - 1) / n":
         "every pass has two trips, to the experts and back: three passes make six",
     "8 * tokens * k * dim * bytes_each * (n - 1) / n":
         "only the forward pass happens twice: six trips, not eight",
     "tokens * k * dim * bytes_each * (n - 1) / n": "this is a single trip. Count the trips of a step",
     "6 * tokens * dim * bytes_each * (n - 1) / n": "each token travels to k experts: k copies of it",
     "6 * tokens * k * dim * bytes_each": "with even load one n-th of the copies stays on its own rank",
     "6 * tokens * k * dim * bytes_each / n":
         "this is what stays on the rank, or goes to one other: (n - 1) / n of the copies leave it",
     "6 * tokens * k * dim * bytes_each * (n - 1)":
         "a copy goes to one rank, not to all others: (n - 1) / n of the copies leave",
     "6 * tokens * k * dim * (n - 1) / n": "these are numbers, not bytes",
     "6 * tokens * k * bytes_each * (n - 1) / n": "a row has `dim` numbers",
     "12 * tokens * k * dim * bytes_each * (n - 1) / n": "twice too much: count what is sent, and not also "
         "what is received"},
    otherwise=lambda off: f"for {off.row} the right number is {off.want:.6g}, yours is {off.got:.6g}",
    hint="How many trips: forward, forward again, backward, each there and back.",
    done="six trips of k copies, (n - 1) / n of them over a link",
    also=[says("def sent(tokens, k, dim, bytes_each, n):\n    return 5.0",
               "for (4096, 8, 2048, 2, 8) the right number is 7.04643e+08, yours is 5")])  # fmt: skip


def skewed(seed, tokens, experts):
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(tokens, experts, generator=random)
    return (scores + torch.linspace(1.2, 0, experts)).softmax(dim=-1)


def load(scores, k):
    return scores.topk(k, dim=-1).indices.flatten().bincount(minlength=scores.shape[1]).double()


def fullest(counts):
    return (counts.max() / counts.mean()).item()


def try_repair(answer):
    """For two routers: the numbers that the answer gives, and what its bias really does."""
    seen = SimpleNamespace(rows=[])
    for seed, tokens, experts, k in ((1, 512, 8, 2), (2, 300, 6, 1)):
        scores = skewed(seed, tokens, experts)
        kept = scores.clone()
        given = answer(scores, k)
        if not (isinstance(given, tuple | list) and len(given) == 3):
            raise NotYet("return three things: the imbalance before, the bias, the imbalance after")
        before, bias, after = given
        before, after = (x.item() if hasattr(x, "item") else x for x in (before, after))
        if not all(isinstance(x, int | float) for x in (before, after)) or bias is None:
            raise NotYet("the first and the last of the three have to be numbers, the second a tensor")
        bias = torch.as_tensor(bias, dtype=scores.dtype)
        if bias.shape != (experts,):
            shape = tuple(bias.shape)
            raise NotYet(f"the bias needs one number per expert, {experts}; yours has the shape {shape}")
        if not bias.isfinite().all():
            raise NotYet("the bias holds a number that is not finite")
        counts, repaired = load(kept, k), load(kept + bias, k)
        share = counts / counts.sum()
        seen.rows.append(SimpleNamespace(
            before=before, after=after, right=fullest(counts), real=fullest(repaired),
            moved=not torch.equal(kept, scores), zero=not bias.any().item(),
            least=(counts.max() / counts.clamp(min=1e-9).min()).item(), most=share.max().item(),
            times=(counts.max() / tokens).item(), rows=counts.max().item(),
            first=fullest(load(kept, 1))))  # fmt: skip
    return seen


def is_before(value):
    def test(seen):
        like = all(math.isclose(row.before, value(row), rel_tol=1e-3) for row in seen.rows)
        return like and not all(math.isclose(row.before, row.right, rel_tol=1e-3) for row in seen.rows)

    return test


LOOP = (
    "for _ in range(400):\n"
    "        counts = load(scores + bias)\n"
    "        bias += 0.001 * (counts.mean() - counts).sign()"
)


def repair(loop=LOOP, load="chosen = (s).topk(k, dim=-1).indices", count="fullest", start="", end=""):
    ratio = {
        "fullest": "(c.max() / c.mean()).item()", "least": "(c.max() / c.clamp(min=1e-9).min()).item()",
        "share": "(c.max() / c.sum()).item()", "tokens": "(c.max() / len(scores)).item()",
        "rows": "c.max().item()", "under": "(c.mean() / c.max()).item()",
    }[count]  # fmt: skip
    return (
        "import torch\ndef repair(scores, k):\n"
        "    experts = scores.shape[1]\n"
        f"    def load(s):\n        {load}\n"
        "        return chosen.flatten().bincount(minlength=experts).float()\n"
        f"    def ratio(c):\n        return {ratio}\n"
        f"    {start or 'bias = torch.zeros(experts)'}\n    before = ratio(load(scores))\n    {loop}\n"
        f"    {end or 'return before, bias, ratio(load(scores + bias))'}\n"
    )


rules(
    "repair", try_repair,
    [slip(lambda seen: any(r.moved for r in seen.rows),
          "your function changes the scores themselves. The bias is added for the choice only: scores + bias "
          "makes a new tensor, scores += bias does not",
          repair(loop="for _ in range(400):\n        counts = load(scores)\n"
                      "        step = 0.001 * (counts.mean() - counts).sign()\n"
                      "        scores += step\n        bias += step", end="return before, bias, 1.0")),
     slip(is_before(lambda r: r.least), "the imbalance is the fullest over the mean, not over the emptiest",
          repair(count="least")),
     slip(is_before(lambda r: r.most), "this is the fullest expert's share of all copies: divide by the "
                                       "mean load",
          repair(count="share")),
     slip(is_before(lambda r: r.times),
          "this is the fullest expert's rows per token: divide by the mean load of the experts",
          repair(count="tokens")),
     slip(is_before(lambda r: r.rows), "this is the fullest expert's number of rows: divide by the mean load",
          repair(count="rows")),
     slip(is_before(lambda r: 1 / r.right), "turn it round: the fullest over the mean is at least 1",
          repair(count="under")),
     slip(is_before(lambda r: r.first), "you count first choices only: every token visits k experts",
          repair(load="chosen = (s).topk(1, dim=-1).indices")),
     slip(lambda seen: any(not math.isclose(r.before, r.right, rel_tol=1e-3) for r in seen.rows),
          lambda seen: next(f"before the repair the fullest expert has {r.right:.3f} times the mean, you say "
                            f"{r.before:.3f}" for r in seen.rows
                            if not math.isclose(r.before, r.right, rel_tol=1e-3)),
          says(repair(end="return before + 1, bias, ratio(load(scores + bias))"),
               "before the repair the fullest expert has 1.750 times the mean, you say 2.750")),
     slip(lambda seen: all(r.zero for r in seen.rows), "the bias is all zeros: nothing is repaired",
          repair(loop="pass")),
     slip(lambda seen: any(r.real > 1.02 * r.right for r in seen.rows),
          "the imbalance grew: an expert with too much load has to become less likely, in small steps. Is "
          "the "
          "sign right, and is the step small?",
          repair(loop=LOOP.replace("counts.mean() - counts", "counts - counts.mean()"))),
     slip(lambda seen: any(r.real > 1.1 for r in seen.rows),
          lambda seen: f"the imbalance is still {max(r.real for r in seen.rows):.2f} on one of the routers; "
                       f"1.1 "
                       "is asked for. Small steps and many of them: a large step overshoots, few steps do "
                       "not "
                       "arrive",
          says(repair(loop=LOOP.replace("400", "20")), "the imbalance is still 2.02 on one of the routers; "
                                                       "1.1 is asked for. Small steps and many of them: a "
               "large step overshoots, few steps do not arrive"),
          says(repair(loop=LOOP.replace("0.001", "0.03")),
               "the imbalance is still 1.41 on one of the routers; 1.1 is asked for. Small steps and many "
               "of them: a "
               "large step overshoots, few steps do not arrive")),
     slip(lambda seen: any(not math.isclose(r.after, r.real, rel_tol=1e-3) for r in seen.rows),
          lambda seen: next(f"with your bias the fullest expert has {r.real:.3f} times the mean, you say "
                            f"{r.after:.3f}: choose with scores + bias, then count" for r in seen.rows
                            if not math.isclose(r.after, r.real, rel_tol=1e-3)),
          says(repair(end="return before, bias, before"), "with your bias the fullest expert has 1.016 "
                                                          "times the mean, you say 1.750: choose with "
                                                          "scores + "
               "bias, then count"))],
    needs="repair", example=code,
    hint="Count, compare with the mean, move each bias a little against the load, repeat.",
    done="measured, repaired with a bias, and measured again",
    also=[says("def repair(scores, k):\n    return 1.0",
               "return three things: the imbalance before, the bias, the imbalance after"),
          says("def repair(scores, k):\n    return None, None, None",
               "the first and the last of the three have to be numbers, the second a tensor"),
          says("import torch\ndef repair(scores, k):\n    return 1.0, torch.zeros(3), 1.0",
               "the bias needs one number per expert, 8; yours has the shape (3,)")])  # fmt: skip

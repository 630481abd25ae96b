"""Checks of the exercises on pipeline parallelism. One of them runs on real ranks."""

import math
from types import SimpleNamespace

from scaleup import ranks
from scaleup.exercises import NotYet, code, formula, rules, says, slip

formula(
    "enough", "enough(p, share)", "floor((p - 1) * (1 - share) / share) + 1",
    [(4, 0.08), (8, 0.11), (6, 0.07), (9, 0.06), (3, 0.3), (4, 0.25), (2, 0.5)],
    {"ceil((p - 1) / share)": "this makes (p - 1) / m small. The step has m + p - 1 slots, not m",
     "(p - 1) / share": "this makes (p - 1) / m small. The step has m + p - 1 slots, not m",
     "ceil((p - 1) * (1 - share) / share)":
         "where the quotient is whole, the bubble is exactly share, and it has to be below: one more",
     "(p - 1) * (1 - share) / share": "there is no fraction of a micro-batch: round up",
     "round((p - 1) * (1 - share) / share)": "to the nearest number is sometimes one too few: round up",
     "floor((p - 1) * (1 - share) / share)": "with so many the bubble is still larger: round up, not down",
     "floor(p * (1 - share) / share) + 1": "p stages make p - 1 ramps, not p",
     "ceil(p / share)": "p stages make p - 1 ramps, and the bubble is a share of the whole step",
     "9 * (p - 1) + 1": "that is right for 10 % only: use share",
     "9 * (p - 1)": "that is for 10 % only, and at m = 9 (p - 1) the bubble is 10 %, not below: use share",
     "floor((p - 1) * (100 - share) / share) + 1": "share is a fraction such as 0.1, not a percentage",
     "(p - 1) / (p - 1 + share)": "this is a bubble. Turn the formula round, and give micro-batches",
     "ceil((p - 1) * share / (1 - share))": "share and 1 - share are the wrong way round",
     "floor((p - 1) * (1 - share) / share) + 2": "one fewer is enough, too"},
    otherwise=lambda off: f"for p, share = {off.row} the least number is {off.want:g}, yours is {off.got:g}",
    within=1e-9, hint="Solve (p - 1) / (m + p - 1) < share for m, then take the next integer above.",
    done="the least m for seven pairs of stages and share",
    also=[says("def enough(p, share):\n    return 1000",
               "for p, share = (4, 0.08) the least number is 35, yours is 1000")])  # fmt: skip


# A schedule, played


def played(p, m, order):
    """The step in units (forward 1, backward 2), what each stage keeps; NotYet for what cannot run."""
    lists = []
    for stage in range(p):
        given = order(stage, p, m)
        try:
            given = list(given)
            if any(isinstance(pair, str) for pair in given):
                raise NotYet("each entry is a pair such as ('F', 0), not text such as 'F0'")
            work = [(kind, int(n)) for kind, n in given]
        except (TypeError, ValueError):
            raise NotYet(f"order has to return a list of pairs such as ('F', 0), not {given!r:.40}") from None
        if {kind for kind, _ in work} - {"F", "B"}:
            raise NotYet("each pair begins with 'F' for forward or 'B' for backward")
        whole = sorted([("B", n) for n in range(m)] + [("F", n) for n in range(m)])
        if sorted(work) != whole:
            counts = [sum(kind == letter for kind, _ in work) for letter in "FB"]
            raise NotYet(
                f"stage {stage} of {p}, m = {m}: {counts[0]} forward and {counts[1]} backward passes are not "
                f"each micro-batch once each way"
                + (": with m < p only m can go ahead" if m < min(counts[0], p) else "")
            )
        for n in range(m):
            if work.index(("B", n)) < work.index(("F", n)):
                raise NotYet(f"stage {stage} of {p} with m = {m}: micro-batch {n} goes back before it came")
        lists.append(work)
    done, free, at = {}, [0] * p, [0] * p
    while any(at[s] < 2 * m for s in range(p)):
        before = list(at)
        for s in range(p):
            while at[s] < 2 * m:
                kind, n = lists[s][at[s]]
                needs = (kind, s - 1 if kind == "F" else s + 1, n)
                if 0 <= needs[1] < p and needs not in done:
                    break
                free[s] = max(free[s], done.get(needs, 0)) + (1 if kind == "F" else 2)
                done[kind, s, n] = free[s]
                at[s] += 1
        if at == before:
            raise NotYet(
                f"with p = {p} and m = {m} all stages wait for each other. The first one has to work "
                "ahead most, the last one not at all"
            )
    kept = []
    for work in lists:
        now = most = 0
        for kind, _ in work:
            now += 1 if kind == "F" else -1
            most = max(most, now)
        kept.append(most)
    return SimpleNamespace(p=p, m=m, lists=lists, seconds=max(free), kept=kept, least=3 * (m + p - 1))


def three_pipelines(order):
    seen = [played(p, m, order) for p, m in ((4, 8), (2, 12), (4, 2))]
    return next((s for s in seen if not right(s)), seen[0])


def right(s):
    return s.seconds == s.least and all(kept <= min(s.p - n, s.m) for n, kept in enumerate(s.kept))


def mixed(s):
    return any([n for kind, n in work if kind == "B"] != list(range(s.m)) for work in s.lists)


def one(warm, rest="[pair for n in range(ahead, m) for pair in (('F', n), ('B', n - ahead))]", tail=""):
    return (
        f"def order(stage, p, m):\n    ahead = {warm}\n    work = [('F', n) for n in range(ahead)]\n"
        f"    work += {rest}\n    return work + [('B', n) for n in range(m - ahead, m)]{tail}"
    )


GPIPE = "def order(stage, p, m):\n    return [('F', n) for n in range(m)] + [('B', n) for n in range(m)]"
rules(
    "order", three_pipelines,
    [slip(lambda s: not right(s) and all(kept == s.m for kept in s.kept) and s.m > s.p,
          "this is GPipe: every stage keeps all micro-batches. Go back as soon as you can", GPIPE),
     slip(lambda s: not right(s) and all(kept == 1 for kept in s.kept),
          "no stage works ahead, so the others starve: p - 1 - stage forward passes come ahead",
          "def order(stage, p, m):\n    return [pair for n in range(m) for pair in (('F', n), ('B', n))]"),
     slip(lambda s: not right(s) and mixed(s),
          "the backward passes are not in the order of the micro-batches, in which gradients come back",
          one("min(p - 1 - stage, m)", tail="[::-1]")),
     slip(lambda s: not right(s) and set(s.kept) == {min(s.p, s.m)},
          "every stage works ahead as far as only the first one has to: the last one can go back at once",
          one("min(p - 1, m)")),
     slip(lambda s: not right(s) and s.seconds == s.least
          and all(kept <= min(s.p - n + 1, s.m) for n, kept in enumerate(s.kept)),
          "as fast as it can be, but each stage keeps one micro-batch more than it needs: go back one "
          "forward pass earlier", one("min(p - stage, m)")),
     slip(lambda s: not right(s) and s.kept == [min(2 * (s.p - n) - 1, s.m) for n in range(s.p)],
          "twice as many ahead as needed: p - 1 - stage forward passes are enough",
          one("min(2 * (p - 1 - stage), m)")),
     slip(lambda s: not right(s) and s.seconds > s.least,
          lambda s: f"with p = {s.p} and m = {s.m} it takes {s.seconds} units, where {s.least} are possible: "
          "a stage does not work far enough ahead",
          says(one("min(max(0, p - 2 - stage), m)"),
               "with p = 4 and m = 8 it takes 54 units, where 33 are possible: a stage does not work far "
               "enough ahead")),
     slip(lambda s: not right(s),
          lambda s: f"with p = {s.p} and m = {s.m} the stages keep {s.kept} micro-batches: more than needed",
          says(one("min(p + 1 - stage, m)"),
               "with p = 4 and m = 8 the stages keep [6, 5, 4, 3] micro-batches: more than needed"))],
    needs="order", example=code,
    hint="p - 1 - stage forward passes ahead, then forward and backward in turn, then the rest.",
    done="as fast as GPipe, and stage s keeps p - s micro-batches",
    also=[says("def order(stage, p, m):\n    return None",
               "order has to return a list of pairs such as ('F', 0), not None"),
          says("def order(stage, p, m):\n    return [f'F{n}' for n in range(m)]",
               "each entry is a pair such as ('F', 0), not text such as 'F0'"),
          says("def order(stage, p, m):\n    return [('forward', 0)]",
               "each pair begins with 'F' for forward or 'B' for backward"),
          says(one("p - 1 - stage"),
               "stage 0 of 4, m = 2: 3 forward and 3 backward passes are not each micro-batch once each way: "
               "with m < p only m can go ahead"),
          says("def order(stage, p, m):\n    return [('F', n) for n in range(m)]",
               "stage 0 of 4, m = 8: 8 forward and 0 backward passes are not each micro-batch once each way"),
          says("def order(stage, p, m):\n    return [(kind, n) for kind in 'BF' for n in range(m)]",
               "stage 0 of 4 with m = 8: micro-batch 0 goes back before it came"),
          says("def order(stage, p, m):\n    b = [('B', n) for n in range(m)]\n"
               "    return [('F', n) for n in range(m)] + (b if stage else b[::-1])",
               "this is GPipe: every stage keeps all micro-batches. Go back as soon as you can"),
          ])  # fmt: skip


# Time stamps

TIMES = [
    ([[(5.0, 6.0), (6.0, 7.0), (11.0, 13.0), (13.0, 15.0)], [(6.0, 7.0), (7.0, 8.0), (8.0, 10.0)]],),
    ([[(100.0, 101.0), (104.5, 106.5)], [(101.0, 102.0), (102.5, 104.5)], [(101.0, 101.5)]],),
    ([[(0.0, 2.0), (2.5, 4.0)], [(4.0, 9.0)]],),
]
ALL = "sum(e - s for r in ranks for s, e in r)"
END, START = "max(e for r in ranks for s, e in r)", "min(s for r in ranks for s, e in r)"
OWN = "sum(max(e for s, e in r) - min(s for s, e in r) for r in ranks)"
formula(
    "idle", "idle(ranks)", f"1 - {ALL} / (len(ranks) * ({END} - {START}))", TIMES,
    {f"{ALL} / (len(ranks) * ({END} - {START}))": "this is the share that is worked: 1 minus it is idle",
     f"1 - {ALL} / (len(ranks) * {END})":
         "the clock does not start at 0: the step begins at the earliest start of all ranks",
     f"{ALL} / (len(ranks) * {END})":
         "this is what is worked, and the clock does not start at 0: the step begins at the earliest start",
     f"1 - {ALL} / ({END} - {START})": "each rank could have worked all the time: times the ranks",
     f"1 - {ALL} / {OWN}":
         "a rank also waits before its own first stamp and after its last one: take the step of all ranks",
     f"({OWN} - {ALL}) / (len(ranks) * ({END} - {START}))":
         "a rank also waits before its own first stamp and after its last one: these gaps are missing",
     "sum(1 - sum(e - s for s, e in r) / (r[-1][1] - r[0][0]) for r in ranks) / len(ranks)":
         "a rank also waits before its own first stamp and after its last one: take the step of all ranks",
     f"len(ranks) * ({END} - {START}) / {ALL} - 1": "this is idle over worked: divide by the whole",
     f"len(ranks) * ({END} - {START}) - {ALL}": "these are idle seconds: divide by the seconds of all ranks",
     f"100 * (1 - {ALL} / (len(ranks) * ({END} - {START})))": "give a fraction, not a percentage",
     f"({END} - {START}) - {ALL} / len(ranks)": "these are idle seconds per rank: divide by the step",
     f"1 - {ALL} / (len(ranks) * (max(e for s, e in ranks[0]) - min(s for s, e in ranks[0])))":
         "the step is not rank 0's: it goes from the first start to the last end of all ranks",
     f"max(1 - sum(e - s for s, e in r) / ({END} - {START}) for r in ranks)":
         "this is the rank that waits most: take all ranks",
     f"({END} - {START}) * len(ranks) / {ALL}": "turned round: 1 minus the work over the whole",
     f"1 - sum(e - s for s, e in ranks[0]) / ({END} - {START})": "this is rank 0's: take all ranks",
     f"1 - sum(e - s for s, e in ranks[-1]) / ({END} - {START})": "this is the last rank's: take all ranks"},
    otherwise=lambda off: f"for ranks = {off.row[0]!r:.60}… it is {off.want:.3f}, yours is {off.got:.3f}",
    within=1e-6, hint="Work of all ranks, over the ranks times the step from first start to last end.",
    done="three timelines: idle from the first start of all ranks to the last end",
    also=[says("def idle(ranks):\n    return 0.123",
               "for ranks = [[(5.0, 6.0), (6.0, 7.0), (11.0, 13.0), (13.0, 15.0)], [(6.0… it is 0.500, yours "
               "is 0.123")])  # fmt: skip


# A timeline, drawn

ENTRIES = [[0, "forward", 107.0, 109.0], [1, "forward", 110.0, 113.0], [0, "backward", 120.0, 126.0]]
DRAWN = [(7.0, 9.0, "compute", "0"), (10.0, 13.0, "compute", "1"), (20.0, 26.0, "backward", "0")]


def four_columns(answer):
    spans = answer([list(entry) for entry in ENTRIES], 100.0)
    try:
        rows = [(span.start, span.end, span.kind, span.words) for span in spans]
    except (AttributeError, TypeError):
        raise NotYet("spans has to return a list of Span, one per entry") from None
    if len(rows) != len(ENTRIES):
        raise NotYet(f"{len(ENTRIES)} entries need {len(ENTRIES)} spans, yours are {len(rows)}")
    start, end, kind, words = zip(*rows, strict=True)
    return SimpleNamespace(start=start, end=end, kind=kind, words=words)


def column(number):
    return tuple(row[number] for row in DRAWN)


def spans(span):
    return (
        "from scaleup.notebook.diagrams import Span\ndef spans(rank, zero):\n"
        "    kinds = {'forward': 'compute', 'backward': 'backward'}\n"
        f"    return [{span} for n, kind, start, end in rank]"
    )


rules(
    "draw", four_columns,
    [slip(lambda s: s.start == (107.0, 110.0, 120.0),
          "the clock does not start at 0: take zero from each start and end",
          spans("Span(start, end, kinds[kind], str(n))")),
     slip(lambda s: s.start == (-7.0, -10.0, -20.0), "turned round: start - zero, not zero - start",
          spans("Span(zero - start, zero - end, kinds[kind], str(n))")),
     slip(lambda s: s.start == (0.0, 3.0, 13.0),
          "count from the zero that is given, not from the rank's own first start",
          spans("Span(start - rank[0][2], end - rank[0][2], kinds[kind], str(n))")),
     slip(lambda s: s.start != column(0), "the spans do not start where the entries do, counted from zero",
          spans("Span(start - zero - 1, end - zero, kinds[kind], str(n))")),
     slip(lambda s: s.end == (2.0, 3.0, 6.0), "a Span takes its end, not its length",
          spans("Span(start - zero, end - start, kinds[kind], str(n))")),
     slip(lambda s: s.end == (109.0, 113.0, 126.0), "take zero from the end as well",
          spans("Span(start - zero, end, kinds[kind], str(n))")),
     slip(lambda s: s.end != column(1), "the spans do not end where the entries do, counted from zero",
          spans("Span(start - zero, end - zero + 1, kinds[kind], str(n))")),
     slip(lambda s: "forward" in s.kind, "the colour of a forward pass is called 'compute'",
          spans("Span(start - zero, end - zero, kind, str(n))")),
     slip(lambda s: s.kind != column(2), "'compute' is for forward passes, 'backward' for backward passes",
          spans("Span(start - zero, end - zero, 'compute', str(n))")),
     slip(lambda s: s.words == (0, 1, 0), "words are text: str(n)",
          spans("Span(start - zero, end - zero, kinds[kind], n)")),
     slip(lambda s: s.words != column(3), "words is the number of the micro-batch, as text",
          spans("Span(start - zero, end - zero, kinds[kind])"),
          spans("Span(start - zero, end - zero, kinds[kind], kind)"))],
    needs="spans", example=code, hint="Span(start - zero, end - zero, kind, words) for each entry.",
    done="each entry is a span, from zero on, in its colour and with its number",
    also=[says(spans("(start, end)"), "spans has to return a list of Span, one per entry"),
          says("def spans(rank, zero):\n    return 3", "spans has to return a list of Span, one per entry"),
          says(spans("Span(start, end)").replace("in rank]", "in rank if n]"),
               "3 entries need 3 spans, yours are 1")])  # fmt: skip


# A timeline, read

READ = {"schedule": "1F1B", "micro_batches": 6, "slowest": 2, "kept": 3}


def reading(answer):
    if not isinstance(answer, dict) or set(READ) - set(answer):
        raise NotYet(f"give a dictionary with {', '.join(READ)}")
    name = answer["schedule"]
    if "..." in (name, *(answer[key] for key in READ)) or ... in answer.values():
        raise NotYet("write your answer where the … stands")
    if not isinstance(name, str):
        raise NotYet("schedule is a name in quotes, such as 'GPipe'")
    for key in ("micro_batches", "slowest", "kept"):
        if isinstance(answer[key], bool) or not isinstance(answer[key], int):
            raise NotYet(f"{key} is a whole number")
    return SimpleNamespace(**answer | {"name": name.lower().replace("-", "").replace(" ", "")})


def but(**changes):
    return READ | changes


rules(
    "reading", reading,
    [slip(lambda s: s.name == "gpipe",
          "rank 0 goes back while it still has forward passes to do: that is not GPipe",
          but(schedule="GPipe")),
     slip(lambda s: s.name != "1f1b",
          "each rank has one chunk and its backward passes are whole: neither interleaved nor zero-bubble",
          but(schedule="Interleaved1F1B"), but(schedule="ZBV")),
     slip(lambda s: s.micro_batches == 12, "these are forward and backward passes: each micro-batch has both",
          but(micro_batches=12)),
     slip(lambda s: s.micro_batches == 5, "numbers start at 0: 5 is the sixth one", but(micro_batches=5)),
     slip(lambda s: s.micro_batches != 6, "count the forward passes of one rank", but(micro_batches=8)),
     slip(lambda s: s.slowest == 0, "rank 0 waits longest. The slowest rank is the one that hardly waits",
          but(slowest=0)),
     slip(lambda s: s.slowest == 3,
          "ranks are counted from 0. If you did so: rank 3 has gaps while it waits for the one before",
          but(slowest=3)),
     slip(lambda s: s.slowest != 2, "the slowest rank is the one that hardly waits while others do",
          but(slowest=1)),
     slip(lambda s: s.kept == 6,
          "that would be GPipe. How many forward passes has rank 1 done when it first goes back?",
          but(kept=6)),
     slip(lambda s: s.kept == 4, "that is rank 0. The question is about rank 1", but(kept=4)),
     slip(lambda s: s.kept == 2, "that is rank 2, or without the one that goes back first", but(kept=2)),
     slip(lambda s: s.kept == 1,
          "only the last stage goes back after each forward pass: look at rank 1's first ones",
          but(kept=1)),
     slip(lambda s: s.kept != 3, "count how many forward passes rank 1 has done when it first goes back",
          but(kept=5))],
    hint="Which rank has the fewest gaps? What does rank 1 do before its first backward pass?",
    done="1F1B, six micro-batches; rank 2 sets the pace, and rank 1 keeps three",
    also=[says("1F1B", "give a dictionary with schedule, micro_batches, slowest, kept"),
          says(but(kept=...), "write your answer where the … stands"),
          says(but(schedule=1), "schedule is a name in quotes, such as 'GPipe'"),
          says(but(kept="three"), "kept is a whole number"),
          says(but(schedule="gpipe"),
               "rank 0 goes back while it still has forward passes to do: that is not GPipe"),
          ])  # fmt: skip


# A pipeline on real ranks


def on_ranks_step(answer, micro):
    """One rank's view: its gradients against the whole model's, what it returned, what went wrong."""
    import os
    from datetime import timedelta

    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    from torch import nn

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=4))
    torch.manual_seed(3)
    stages = [nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(size)]
    inputs, targets = torch.randn(2 * micro, 3), torch.randn(2 * micro, 3)
    loss = F.mse_loss(nn.Sequential(*stages)(inputs), targets)
    loss.backward()
    wanted = [p.grad.clone() for p in stages[rank].parameters()]
    stages[rank].zero_grad()

    seen = {"error": "", "hangs": False, "none": False, "returned": None, "loss": loss.item()}
    places, works, real = [], [], {name: getattr(dist, name) for name in ("isend", "irecv", "recv", "send")}

    class Work:
        def __init__(self, work, kept):
            self.work, self.kept, self.waited = work, kept, False
            works.append(self)

        def wait(self, *args):
            self.waited = True
            return self.work.wait(*args)

        def __getattr__(self, name):
            return getattr(self.work, name)

    def starts(name):
        def function(tensor, *args, **options):
            if tensor is None:
                seen["none"] = True
            peer = args[0] if args else options.get("src", options.get("dst"))
            if name in ("irecv", "recv") and peer == rank - 1:
                places.append(tensor.data_ptr())
            work = real[name](tensor, *args, **options)
            return Work(work, tensor) if name in ("isend", "irecv") else work

        return function

    dist.barrier()
    changed = {name: starts(name) for name in real}
    theirs, operation = {changed[name]: real[name] for name in real}, dist.P2POp
    changed["P2POp"] = lambda op, *args, **options: operation(theirs.get(op, op), *args, **options)
    for name, function in changed.items():
        setattr(dist, name, function)
    answer.__globals__.update({n: changed[n] for n in changed if n in answer.__globals__})
    try:
        value = answer(stages[rank], list(inputs.chunk(micro)), list(targets.chunk(micro)))
        seen["returned"] = None if value is None else float(value)
    except RuntimeError as error:
        seen["hangs"] = any(words in str(error) for words in ("Timed out", "Connection closed", "reset by"))
        seen["error"] = str(error).splitlines()[0]
    except Exception as error:
        seen["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    got = [p.grad for p in stages[rank].parameters()]
    seen["empty"] = any(g is None for g in got)

    def equal(factor):
        return not seen["empty"] and all(
            torch.allclose(g, factor * w, rtol=1e-4, atol=1e-6) for g, w in zip(got, wanted, strict=True)
        )

    seen |= {
        "by_ranks": equal(micro / size),
        "right": equal(1.0),
        "summed": equal(float(micro)),
        "twice": equal(1 / micro),
    }
    seen["shared"] = len(set(places)) < len(places)
    seen["unwaited"] = 0 if seen["error"] else sum(not work.waited for work in works)
    return seen


def three_and_two(answer):
    for size, micro in ((3, 4), (2, 3)):
        every = ranks.call(on_ranks_step, size, answer, micro, timeout=60, join=False)
        views = [SimpleNamespace(**each) for each in every]
        seen = SimpleNamespace(size=size, micro=micro, views=views, last=views[-1])
        seen.none = any(v.none for v in views)
        errors = [v.error for v in views if v.error and not v.hangs]
        seen.error = errors[0] if errors else ""
        seen.hangs = any(v.hangs for v in views)
        seen.right = all(v.right for v in views)
        seen.shared = any(v.shared for v in views) and not seen.right
        seen.summed, seen.twice = (all(getattr(v, n) for v in views) for n in ("summed", "twice"))
        seen.by_ranks = all(v.by_ranks for v in views)
        seen.empty = [n for n, v in enumerate(views) if v.empty]
        seen.unwaited = any(v.unwaited for v in views)
        returned = views[-1].returned
        seen.no_loss = returned is None
        seen.close = not seen.no_loss and math.isclose(returned, views[-1].loss, rel_tol=1e-4)
        seen.total = not seen.no_loss and math.isclose(returned, micro * views[-1].loss, rel_tol=1e-4)
        seen.others = any(v.returned is not None for v in views[:-1])
        if not (seen.right and seen.close) or seen.others or seen.unwaited or seen.error or seen.hangs:
            break
    return seen


STEP = """
import torch, torch.distributed as dist, torch.nn.functional as F
def train_step(stage, inputs, targets):
    rank, last, m = dist.get_rank(), dist.get_world_size() - 1, len(inputs)
    kept, sends, losses = [], [], []
    place = torch.empty_like(inputs[0])
    for n in range(m):
        x = inputs[n] if rank == 0 else torch.empty_like(inputs[n])
        if rank > 0:
            dist.irecv(x, src=rank - 1).wait()
            x.requires_grad_()
        y = stage(x)
        if rank < last:
            sends.append(dist.isend(y.detach(), dst=rank + 1))
        else:
            y = F.mse_loss(y, targets[n]) / m
            losses.append(y.item())
        kept.append((x, y))
    for n in range(m):
        x, y = kept[n]
        gradient = None
        if rank < last:
            gradient = torch.empty_like(y)
            dist.irecv(gradient, src=rank + 1).wait()
        y.backward(gradient)
        if rank > 0:
            sends.append(dist.isend(x.grad, dst=rank - 1))
    for work in sends:
        work.wait()
    return sum(losses) if rank == last else None
"""


def step(**changes):
    """The right step with some of its words replaced: changes are numbered pairs (old, new)."""
    text = STEP
    for old, new in changes.values():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


OWN_PLACE = ("torch.empty_like(inputs[n])\n", "place\n")
GRADIENT = ("            x.requires_grad_()\n", "")
DIVIDED = ("targets[n]) / m", "targets[n])")
rules(
    "repair", three_and_two,
    [slip(lambda s: s.none,
          "x.grad is None: what a stage receives has to be told that it needs a gradient, before the "
          "stage runs",
          step(a=GRADIENT), step(a=GRADIENT, b=DIVIDED, c=OWN_PLACE),
          step(a=GRADIENT, b=("        kept.append((x, y))\n",
                              "        kept.append((x.requires_grad_() if rank else x, y))\n"))),
     slip(lambda s: s.shared,
          "all micro-batches of a stage are received into one tensor, but the backward pass still needs the "
          "earlier ones: make a new place for each",
          step(a=OWN_PLACE), step(a=OWN_PLACE, b=DIVIDED)),
     slip(lambda s: s.unwaited, "the sends are not waited for: call wait() on each of them",
          step(a=("    for work in sends:\n        work.wait()\n", ""))),
     slip(lambda s: s.hangs and not s.error,
          "it hangs: each message that is sent has to be received, in the same order",
          step(a=("            sends.append(dist.isend(x.grad, dst=rank - 1))\n", "            pass\n")),
          step(a=("dst=rank + 1))", "dst=rank + 1)) if n else None"))),
     slip(lambda s: s.error, "on {size} ranks your function raised {error}",
          says(step(a=("y = stage(x)", "y = stage(x) + None")), size=3,
               error="TypeError: unsupported operand type(s) for +: 'Tensor' and 'NoneType'")),
     slip(lambda s: s.empty and len(s.empty) == s.size, "no rank has gradients: call backward",
          "def train_step(stage, inputs, targets):\n    return None"),
     slip(lambda s: s.summed,
          "the gradients are {micro} times too large: divide each loss by the number of micro-batches",
          says(step(a=DIVIDED), micro=4)),
     slip(lambda s: s.twice, "the gradients were divided by the number of micro-batches twice",
          step(a=("targets[n]) / m", "targets[n]) / m**2"))),
     slip(lambda s: s.by_ranks,
          "the loss is divided by the number of ranks ({size}): divide by the micro-batches ({micro})",
          says(step(a=("targets[n]) / m", "targets[n]) / (last + 1)")), size=3, micro=4)),
     slip(lambda s: not s.right,
          "some gradients are not those of the whole batch: does each micro-batch meet its own target, and "
          "its own gradient from behind?",
          step(a=("x, y = kept[n]", "x, y = kept[m - 1 - n if rank else n]")),
          step(a=("targets[n])", "targets[0])"))),
     slip(lambda s: s.others, "only the last rank knows the loss: return None on the others",
          step(a=(" if rank == last else None", ""))),
     slip(lambda s: s.no_loss, "the last rank has to return the loss of the batch",
          step(a=("return sum(losses) if rank == last else None", "return None"))),
     slip(lambda s: s.total, "the gradients are right. The loss is a sum over micro-batches, not their mean",
          step(a=("return sum(losses)", "return m * sum(losses)"))),
     slip(lambda s: not s.close, "the gradients are right, the loss is not the mean over all micro-batches",
          step(a=("return sum(losses)", "return losses[-1]")))],
    needs="train_step", example=code, limit=120,
    hint="Three mistakes: one crashes, one scales, and one overwrites what is still needed.",
    done="on two and three ranks the gradients and the loss are those of the whole batch")  # fmt: skip


# A layout

DEVICES, LAYERS, BATCH = 256, 80, 128
LAYOUT = ("tp", "pp", "dp", "vp")
GOOD = {"tp": 4, "pp": 8, "dp": 8, "vp": 5}


def layout(answer):
    if not isinstance(answer, dict) or set(answer) != set(LAYOUT):
        raise NotYet("give a dictionary with tp, pp, dp and vp")
    if ... in answer.values():
        raise NotYet("write your answer where the … stands")
    if any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in answer.values()):
        raise NotYet("tp, pp, dp and vp are whole numbers from 1")
    s = SimpleNamespace(**answer)
    s.devices = s.tp * s.pp * s.dp
    s.m = BATCH / s.dp
    s.lost = (s.pp - 1) / s.vp / (s.m + (s.pp - 1) / s.vp)
    s.percent, s.chunks, s.split = 100 * s.lost, s.pp * s.vp, s.tp * s.pp
    return s


def with_(**changes):
    return GOOD | changes


rules(
    "layout", layout,
    [slip(lambda s: s.vp > 1 and s.devices in (DEVICES * s.vp, DEVICES / s.vp),
          "vp cuts a rank's layers into chunks and needs no devices: tp x pp x dp is 256",
          {"tp": 4, "pp": 8, "dp": 2, "vp": 4}),
     slip(lambda s: s.devices != DEVICES, "tp x pp x dp is {devices}, and there are 256 devices",
          says(with_(dp=4), devices=128)),
     slip(lambda s: s.tp > 4, "tp = {tp} leaves the node of 4 devices, and its all-reduces the fast links",
          says({"tp": 8, "pp": 8, "dp": 4, "vp": 5}, tp=8)),
     slip(lambda s: s.split < 32, "the model is split {split} ways, and it needs 32 to fit",
          says({"tp": 4, "pp": 4, "dp": 16, "vp": 5}, split=16)),
     slip(lambda s: s.m < s.pp,
          "each pipeline has only {m:g} micro-batches for {pp} stages: fewer copies, or fewer stages",
          says({"tp": 1, "pp": 32, "dp": 8, "vp": 1}, m=16, pp=32)),
     slip(lambda s: LAYERS % s.pp, "80 layers do not divide by {pp} stages",
          says({"tp": 4, "pp": 64, "dp": 1, "vp": 1}, pp=64)),
     slip(lambda s: LAYERS % s.chunks, "80 layers do not divide by pp x vp = {chunks} chunks",
          says(with_(vp=4), chunks=32), says(with_(vp=3), chunks=24)),
     slip(lambda s: s.lost >= 0.1 and (s.pp - 1) / (s.m * (LAYERS // s.pp) + s.pp - 1) >= 0.1,
          "the bubble is {percent:.1f} %, and with one layer per chunk it is still too large: fewer stages, "
          "or fewer copies", says({"tp": 2, "pp": 16, "dp": 8, "vp": 1}, percent=48.387096),
          says({"tp": 2, "pp": 16, "dp": 8, "vp": 5}, percent=15.789474)),
     slip(lambda s: s.lost >= 0.1 and s.vp == 1,
          "the bubble is {percent:.1f} %. Each rank can have several chunks, which need no more devices",
          says(with_(vp=1), percent=30.434782),
          says({"tp": 4, "pp": 16, "dp": 4, "vp": 1}, percent=31.914893)),
     slip(lambda s: s.lost >= 0.1, "the bubble is {percent:.1f} %: more chunks per rank",
          says(with_(vp=2), percent=17.948717))],
    hint="Fix tp by the node and pp by the memory. Then see how large m is, and what vp has to be.",
    done=lambda s: f"m = {s.m:g}, bubble {s.percent:.1f} %, layers per chunk: {LAYERS // s.chunks}",
    also=[says("tp 4", "give a dictionary with tp, pp, dp and vp"),
          says(with_(vp=...), "write your answer where the … stands"),
          says(with_(vp=2.5), "tp, pp, dp and vp are whole numbers from 1")])  # fmt: skip

"""Checks of the exercises on collectives. Two run on real ranks, with a group that does not wait long."""

import math
import re
from types import SimpleNamespace

from scaleup import ranks
from scaleup.exercises import NotYet, code, formula, rules, says, slip

KNOWN = ("broadcast", "scatter", "gather", "reduce")
KNOWN += ("all-reduce", "reduce-scatter", "all-gather", "all-to-all")
RIGHT = ("reduce-scatter", "all-to-all", "reduce", "scatter")
SPELT = {name.replace("-", ""): name for name in KNOWN}  # "allreduce" and "AllReduce" are all-reduce


def named(answer):
    """The four names in one spelling."""
    given = answer if isinstance(answer, tuple | list) else ()
    if len(given) != 4 or not all(isinstance(name, str) for name in given):
        raise NotYet("give four names in quotes: (first, second, third, fourth)")
    names = tuple(name.strip().lower().replace("_", "-").replace(" ", "-") for name in answer)
    names = tuple(SPELT.get(name.replace("-", ""), name) for name in names)
    if "..." in names:
        raise NotYet("write your answer where the … stands")
    for name in names:
        if name not in KNOWN:
            raise NotYet(f"'{name}' is none of the eight names of the exercise")
    return names


def at(place, *wrong):
    return lambda names: names[place] in wrong


def but(**changes):
    return tuple(changes.get(f"n{place}", name) for place, name in enumerate(RIGHT))


rules(
    "names", named,
    [slip(at(0, "all-reduce"), "first: after an all-reduce each rank has all three sums. Here it has one",
          but(n0="all-reduce")),
     slip(at(0, "reduce"), "first: a reduce leaves sums on one rank. Here each rank holds one of them",
          but(n0="reduce")),
     slip(at(0, "scatter"), "first: these numbers are sums over the ranks, and a scatter adds nothing up",
          but(n0="scatter")),
     slip(at(1, "all-gather"), "second: after an all-gather all ranks hold the same. Here they differ",
          but(n1="all-gather")),
     slip(at(1, "gather", "scatter"), "second: every rank gives to every other one: there is no root",
          but(n1="gather"), but(n1="scatter")),
     slip(at(2, "all-reduce"), "third: the other ranks do not have the sums", but(n2="all-reduce")),
     slip(at(2, "gather"), "third: a gather collects numbers as they are. These were added up",
          but(n2="gather")),
     slip(at(3, "broadcast"), "fourth: after a broadcast all ranks hold the same three numbers",
          but(n3="broadcast")),
     slip(at(3, "reduce-scatter"), "fourth: nothing was added up. These are the numbers of rank 1",
          but(n3="reduce-scatter")),
     slip(lambda names: names != RIGHT,
          "for each line, ask whether numbers were added up, and whose numbers a rank holds afterwards",
          but(n2="broadcast"), but(n0="broadcast"))],
    hint="Sums or copies? One root or none?",
    done="sums, a transposed table, sums on one rank, a root that deals",
    also=[says("reduce", "give four names in quotes: (first, second, third, fourth)"),
          says(("...",) * 4, "write your answer where the … stands"),
          says(but(n0="allreduce"),
               "first: after an all-reduce each rank has all three sums. Here it has one"),
          says(but(n0="ReduceScatter", n1="alltoall", n2="gather"),
               "third: a gather collects numbers as they are. These were added up"),
          says(but(n1="alltoallv"), "'alltoallv' is none of the eight names of the exercise")])  # fmt: skip

formula(
    "bytes", "sent(n, size)", "3 * (n - 1) / n * size", [(2, 1e6), (8, 3e6), (1024, 4e9)],
    {"6 * (n - 1) / n * size": "these are three all-reduces. A gather or a scatter is half of one",
     "2 * (n - 1) / n * size": "these are two of the three. Weights twice, gradients once",
     "(n - 1) / n * size": "this is one of the three collectives",
     "3 * size": "a rank has its own piece already: (n - 1) / n of the tensor passes by, not all of it",
     "3 * (n - 1) * size": "a piece is one nth of the tensor, and one piece is sent per step",
     "3 * size / n": "this is one step of each ring. A ring has n - 1",
     "4 * (n - 1) / n * size": "the gradients are reduce-scattered, not all-reduced",
     "1.5 * (n - 1) / n * size": "a reduce-scatter sends (n - 1) / n of it, and so does each all-gather"},
    otherwise=lambda off: f"for {off.row} the right number is {off.want:.4g}, yours is {off.got:.4g}",
    hint="Three half all-reduces.", done="three times (n - 1) / n: 1.5 times what data parallelism sends",
    also=[says("def sent(n, size):\n    return 7 * size",
               "for (2, 1000000.0) the right number is 1.5e+06, yours is 7e+06")])  # fmt: skip


def on_ranks_ring(answer):
    """One rank's view: what came out, the bytes it sent and to whom, and what went wrong."""
    import os
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=4))
    seen = {"sent": 0, "to": [], "collective": "", "error": "", "hangs": False, "inside": ""}
    real = {name: getattr(dist, name) for name in ("send", "recv", "isend", "irecv", "P2POp")}
    works = []

    class Work:
        def __init__(self, work):
            self.work, self.waited = work, False
            works.append(self)

        def wait(self, *args):
            self.waited = True
            return self.work.wait(*args)

        def __getattr__(self, name):
            return getattr(self.work, name)

    def counted(name):
        def function(tensor, dst=None, *args, **options):
            seen["sent"] += tensor.nbytes
            seen["to"].append(options.get("group_dst", dst))
            seen["inside"] = name  # stays if the call fails
            work = real[name](tensor, dst, *args, **options)
            seen["inside"] = ""
            return work if work is None else Work(work)

        return function

    def receive(*args, **options):
        return Work(real["irecv"](*args, **options))

    def wait_for(*args, **options):
        seen["inside"] = "recv"
        source = real["recv"](*args, **options)
        seen["inside"] = ""
        return source

    def operation(op, tensor, peer=None, *args, **options):
        if op is dist.isend:
            seen["sent"] += tensor.nbytes
            seen["to"].append(peer)
        op = real["isend"] if op is dist.isend else real["irecv"]
        return real["P2POp"](op, tensor, peer, *args, **options)

    def refused(name):
        def function(*args, **options):
            seen["collective"] = name
            raise RuntimeError("a collective")

        return function

    length = 10
    tensor = torch.arange(length, dtype=torch.float64) + 100 * rank
    before = tensor.clone()
    wanted = sum(torch.arange(length, dtype=torch.float64) + 100 * r for r in range(size))
    dist.barrier()
    changed = {name: counted(name) for name in ("send", "isend")}
    changed |= {"recv": wait_for, "irecv": receive, "P2POp": operation}
    names = ("all_reduce", "all_gather", "reduce_scatter", "reduce", "broadcast", "gather", "scatter")
    names += ("all_gather_single", "reduce_scatter_single", "all_to_all", "all_to_all_single")
    changed |= {name: refused(name) for name in names}
    for name, function in changed.items():
        setattr(dist, name, function)
    answer.__globals__.update({n: changed[n] for n in changed if n in answer.__globals__})
    try:
        answer(tensor)
    except RuntimeError as error:
        seen["hangs"] = any(words in str(error) for words in ("Timed out", "Connection closed", "reset by"))
        seen["error"] = str(error).splitlines()[0]
    except Exception as error:
        seen["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    chunks, right = tensor.tensor_split(size), wanted.tensor_split(size)
    seen["unwaited"] = 0 if seen["error"] else sum(not work.waited for work in works)
    seen |= {"right": torch.equal(tensor, wanted), "untouched": torch.equal(tensor, before)}
    seen["ready"] = sum(torch.equal(a, b) for a, b in zip(chunks, right, strict=True))
    begun = [(before + 100 * (r - rank)).tensor_split(size) for r in range(size)]
    seen["copied"] = all(any(torch.equal(chunk, of[n]) for of in begun) for n, chunk in enumerate(chunks))
    return seen | {"bytes": tensor.nbytes, "left": (rank - 1) % size}


UNEQUAL = (
    "a chunk arrived that is longer than the place for it: chunks and neighbours do not turn the same way. "
    "What a rank takes in a step is what its right neighbour gives in it"
)


def two_three_four(answer):
    for size in (3, 2, 4):
        try:
            every = ranks.call(on_ranks_ring, size, answer, timeout=60, join=False)
        except ranks.RanksFailed as error:
            if "did not make the same call" not in str(error):
                raise
            raise NotYet(UNEQUAL) from None
        all_seen = [SimpleNamespace(**each) for each in every]
        seen = SimpleNamespace(size=size, most=2 * (size - 1) * math.ceil(10 / size) * 8)
        seen.collective = next((s.collective for s in all_seen if s.collective), "")
        seen.hangs = any(s.hangs for s in all_seen)
        seen.order = seen.hangs and all(s.inside == all_seen[0].inside for s in all_seen)
        seen.inside = all_seen[0].inside
        seen.unwaited = max(s.unwaited for s in all_seen)
        seen.error = next((s.error for s in all_seen if s.error and not s.hangs), "")
        seen.right = all(s.right for s in all_seen)
        seen.untouched = all(s.untouched for s in all_seen)
        seen.copied = all(s.copied for s in all_seen)
        seen.sent, seen.whole = max(s.sent for s in all_seen), all_seen[0].bytes
        seen.half = all(s.ready == 1 for s in all_seen) and seen.sent <= seen.most / 2
        seen.astray = any(to != s.left for s in all_seen for to in s.to)
        failed = seen.collective or seen.hangs or seen.unwaited or seen.error or not seen.right
        if failed or seen.astray or not seen.most / 2 <= seen.sent <= seen.most:
            break
    return seen


def ring(
    give="(rank + step) % size",
    take="(rank + step + 1) % size",
    to="rank - 1",
    come="rank + 1",
    put="if step < size - 1:\n            take += arrived\n        else:\n            take.copy_(arrived)",
    steps="2 * (size - 1)",
    move="",
):
    move = move or (
        f"receiving = dist.irecv(arrived, src=({come}) % size)\n"
        f"        sending = dist.isend(give, dst=({to}) % size)\n"
        "        receiving.wait(); sending.wait()"
    )
    return (
        "import torch\nimport torch.distributed as dist\n"
        "def ring_to_the_left(tensor):\n    rank, size = dist.get_rank(), dist.get_world_size()\n"
        f"    chunks = tensor.tensor_split(size)\n    for step in range({steps}):\n"
        f"        give, take = chunks[{give}], chunks[{take}]\n"
        f"        arrived = torch.empty_like(take)\n        {move}\n        {put}\n"
    )


PASS_ON = (
    "import torch\nimport torch.distributed as dist\n"
    "def ring_to_the_left(tensor):\n    rank, size = dist.get_rank(), dist.get_world_size()\n"
    "    give = tensor.clone()\n    for step in range(size - 1):\n        arrived = torch.empty_like(give)\n"
    "        receiving = dist.irecv(arrived, src=(rank + 1) % size)\n"
    "        sending = dist.isend(give, dst=(rank - 1) % size)\n        receiving.wait(); sending.wait()\n"
    "        tensor += arrived; give = arrived\n"
)
rules(
    "ring", two_three_four,
    [slip(lambda seen: seen.collective,
          "your function calls dist.{collective}. Use messages between neighbours only: isend and irecv",
          says("import torch.distributed as dist\ndef ring_to_the_left(tensor):\n    dist.all_reduce(tensor)",
               collective="all_reduce")),
     slip(lambda seen: seen.error, "on {size} ranks your function raised: {error}",
          says(ring(give="rank + step"), size=3, error="IndexError: tuple index out of range")),
     slip(lambda seen: seen.unwaited,
          "on {size} ranks a rank did not wait for {unwaited} of its messages: call wait() on each one",
          says(ring(move="dist.irecv(arrived, src=(rank + 1) % size); "
                         "dist.isend(give, dst=(rank - 1) % size).wait()"), size=3, unwaited=4),
          says(ring(move="sending = dist.isend(give, dst=(rank - 1) % size); "
                         "dist.recv(arrived, src=(rank + 1) % size)"), size=3, unwaited=4)),
     slip(lambda seen: seen.order and seen.inside in ("send", "recv"),
          "the order is wrong: on {size} ranks each one waits in {inside} for a neighbour that does the "
          "same. Use isend and irecv, or let the even ranks send first and the odd ones receive first",
          says(ring(move="dist.send(give, dst=(rank - 1) % size); dist.recv(arrived, src=(rank + 1) % size)"),
               size=3, inside="send"),
          says(ring(move="dist.recv(arrived, src=(rank + 1) % size); dist.send(give, dst=(rank - 1) % size)"),
               size=3, inside="recv")),
     slip(lambda seen: seen.hangs,
          "on {size} ranks somebody waits for a message that is never sent. Does every rank send to the left "
          "and receive from the right, in every step?",
          says(ring(come="rank - 1"), size=3)),
     slip(lambda seen: seen.astray, "a message went to the right. This ring turns to the left: rank - 1",
          ring("(rank - step) % size", "(rank - step - 1) % size", "rank + 1", "rank - 1")),
     slip(lambda seen: seen.untouched, "the tensor is what it was before: write into it, in place",
          ring(put="take = take + arrived")),
     slip(lambda seen: not seen.right and seen.copied,
          "nothing was added up in the tensor: each chunk is still what some rank began with. take += "
          "arrived adds in place, and take = take + arrived makes a new tensor",
          ring(put="if step < size - 1:\n            take = take + arrived\n        else:\n            "
                   "take.copy_(arrived)"),
          ring(put="take.copy_(arrived)")),
     slip(lambda seen: not seen.right and seen.half,
          "each rank has one finished chunk: the sums still have to be handed round, for another n - 1 steps",
          ring(steps="size - 1")),
     slip(lambda seen: seen.right and seen.sent < seen.most / 2,
          "the sums are right, and hardly a message to a neighbour was seen: use dist.isend and dist.irecv",
          "from torch.distributed.distributed_c10d import all_reduce as add\n"
          "def ring_to_the_left(tensor):\n    add(tensor)"),
     slip(lambda seen: seen.right and seen.sent > seen.most,
          "the sum is right, and a rank sends {sent} bytes of a tensor of {whole}. Send one chunk per step",
          says(PASS_ON, sent=160, whole=80)),
     slip(lambda seen: not seen.right and seen.size == 3,
          "on {size} ranks the sums are wrong. Which chunk does a rank give in a step, and does it add or "
          "copy what arrives?",
          says(ring(put="take += arrived"), size=3)),
     slip(lambda seen: not seen.right, "right on three ranks, wrong on {size}: use the number of ranks",
          says(ring(steps="4", put="if step < 2:\n            take += arrived\n        else:\n            "
                                   "take.copy_(arrived)"), size=2))],
    needs="ring_to_the_left", example=code, limit=240,
    hint="Give chunk rank + step, take chunk rank + step + 1; add first, copy later.",
    done="two, three and four ranks hold all sums, with 2(n - 1)/n of the bytes",
    also=[says(ring("(rank - step) % size", "(rank - step - 1) % size"), UNEQUAL),
          says(ring(to="rank + 1", come="rank - 1"), UNEQUAL)])  # fmt: skip


def table(alpha, beta):
    """Times of two ranks, one message of `alpha` seconds and `beta` seconds per byte."""
    return {size: 2 * alpha + beta * size for size in (1_000, 100_000, 1_000_000, 10_000_000)}


def ring_time(alpha, beta, n, size):
    return 2 * (n - 1) * (alpha + beta * size / n)


def tree_time(alpha, beta, n, size):
    return 2 * math.ceil(math.log2(n)) * (alpha + beta * size)


QUESTIONS = [(20e-6, 1e-10, 64, 1_000), (20e-6, 1e-10, 8, 500_000_000), (5e-6, 4e-11, 6, 20_000)]
QUESTIONS += [(20e-6, 1e-10, 2, 3_000_000), (3e-6, 1e-11, 1000, 5_000_000)]


UNWRAPPED = "alpha_beta.fit wants a list of seconds for each size, also for one time: {size: [seconds]}"


def answers(answer):
    """For each question what the answer said, and what is right."""
    seen = SimpleNamespace(rows=[])
    for alpha, beta, n, size in QUESTIONS:
        try:
            said = answer(table(alpha, beta), n, size)
        except TypeError as error:
            if "not iterable" not in str(error):
                raise
            raise NotYet(UNWRAPPED) from None
        if not isinstance(said, tuple | list) or len(said) != 2 or said[0] not in ("ring", "tree"):
            raise NotYet('return a name and seconds, such as ("ring", 0.012)')
        ring, tree = ring_time(alpha, beta, n, size), tree_time(alpha, beta, n, size)
        right = ("ring", ring) if ring <= tree else ("tree", tree)
        seen.rows.append(SimpleNamespace(way=said[0], got=float(said[1]), n=n, size=size, right=right))
        seen.rows[-1].given = alpha, beta
    seen.wrong = next((r for r in seen.rows if not good(r)), None)
    return seen


def good(row):
    return row.way == row.right[0] and math.isclose(row.got, row.right[1], rel_tol=0.01)


def made(time):
    """Whether each wrong row is what `time(way, alpha, beta, n, size)` gives for the way that it names."""

    def test(seen):
        wrong = [row for row in seen.rows if not good(row)]
        return bool(wrong) and all(
            math.isclose(r.got, time(r.way, *r.given, r.n, r.size), rel_tol=0.01) for r in wrong
        )

    return test


def of(way):
    return ring_time if way == "ring" else tree_time


def solution(
    alpha="line.alpha / 2",
    beta="line.beta",
    ring="2 * (n - 1) * (alpha + beta * size / n)",
    tree="2 * math.ceil(math.log2(n)) * (alpha + beta * size)",
    end='("ring", ring) if ring <= tree else ("tree", tree)',
):
    return (
        "import math\nfrom scaleup.measure import alpha_beta\ndef faster(times, n, size):\n"
        "    line = alpha_beta.fit({s: [t] for s, t in times.items()})\n"
        f"    alpha, beta = {alpha}, {beta}\n    ring = {ring}\n    tree = {tree}\n    return {end}\n"
    )


rules(
    "predict", answers,
    [slip(made(lambda way, a, b, n, s: of(way)(2 * a, b, n, s)),
          "two ranks take two messages, so one message has half of the latency that you fitted",
          solution(alpha="line.alpha")),
     slip(made(lambda way, a, b, n, s: of(way)(a, b / 2, n, s)),
          "beta is not halved: two messages of half the size are as many bytes as one of the whole",
          solution(beta="line.beta / 2")),
     slip(made(lambda way, a, b, n, s: of(way)(2 * a, b / 2, n, s)),
          "you halved beta, and it is alpha that has to be halved: two messages are two latencies, and as "
          "many bytes as one of the whole",
          solution(alpha="line.alpha", beta="line.beta / 2")),
     slip(made(lambda way, a, b, n, s: of(way)(0, b, n, s)), "the latency is missing: every step costs alpha",
          solution(alpha="0")),
     slip(made(lambda way, a, b, n, s: of(way)(a, b, n, s) / 2),
          "this is half of an all-reduce: up and down, or adding and handing round",
          solution(ring="(n - 1) * (alpha + beta * size / n)",
                   tree="math.ceil(math.log2(n)) * (alpha + beta * size)")),
     slip(lambda seen: seen.wrong and {r.way for r in seen.rows} == {"tree"},
          "you always say tree. For large messages the ring is faster", solution(end='("tree", tree)')),
     slip(made(lambda way, a, b, n, s: 2 * (n - 1) * (a + b * s) if way == "ring" else tree_time(a, b, n, s)),
          "a step of the ring carries one chunk, an nth of the tensor",
          solution(ring="2 * (n - 1) * (alpha + beta * size)")),
     slip(lambda seen: any(made(lambda way, a, b, n, s, steps=steps: 2 * steps(n) * (a + b * s)
                                if way == "tree" else math.nan)(seen)
                           for steps in (math.log2, lambda n: math.floor(math.log2(n)))),
          "a tree of 6 ranks takes as many steps as one of 8: round log2(n) up",
          solution(tree="2 * math.log2(n) * (alpha + beta * size)"),
          solution(tree="2 * math.floor(math.log2(n)) * (alpha + beta * size)")),
     slip(made(lambda way, a, b, n, s: 2 * math.ceil(math.log2(n)) * (a + b * s / n)
               if way == "tree" else math.nan),
          "the simple tree carries the whole tensor in every step",
          solution(tree="2 * math.ceil(math.log2(n)) * (alpha + beta * size / n)")),
     slip(lambda seen: seen.wrong and {r.way for r in seen.rows} == {"ring"},
          "you always say ring. For small messages on many ranks the tree is faster",
          solution(end='("ring", ring)')),
     slip(made(lambda way, a, b, n, s: of(way)(a, b, n, s)),
          "the times are right, and you return the slower way",
          solution(end='("tree", tree) if ring <= tree else ("ring", ring)')),
     slip(lambda seen: seen.wrong,
          lambda seen: f"for {seen.wrong.n} ranks and {seen.wrong.size:,} bytes the right answer is the "
                       f"{seen.wrong.right[0]} in {seen.wrong.right[1] * 1e3:.4g} ms, yours is the "
                       f"{seen.wrong.way} in {seen.wrong.got * 1e3:.4g} ms",
          says(solution(ring="n * (alpha + beta * size / n)"),
               "for 8 ranks and 500,000,000 bytes the right answer is the ring in 87.78 ms, yours is the "
               "ring in 50.16 ms"))],
    needs="faster", example=code,
    hint="Fit, halve alpha, write down both formulas, compare.",
    done="five questions, from 2 to 1,000 ranks, for sizes that were not measured",
    also=[says(solution().replace("[t]", "t"), UNWRAPPED),
          says("def faster(times, n, size):\n    return 0.1",
               'return a name and seconds, such as ("ring", 0.012)')])  # fmt: skip

LISTS = [[[1.0, 2.0, 6.0], [4.0], [8.0, 3.0]], [[1.0, 2.0], [], [9.0]]]


def on_ranks_mean(answer):
    """One rank's view: what the function returned for two epochs, or how it ended."""
    import os
    from datetime import timedelta

    import torch.distributed as dist

    rank, found, works = int(os.environ["RANK"]), [], []
    dist.set_debug_level(dist.DebugLevel.DETAIL)  # compares type and shape, else gloo ends the process
    dist.init_process_group("gloo", timeout=timedelta(seconds=4))
    dist.barrier()

    class Work:
        def __init__(self, work):
            self.work, self.waited = work, False
            works.append(self)

        def wait(self, *args):
            self.waited = True
            return self.work.wait(*args)

        def __getattr__(self, name):
            return getattr(self.work, name)

    def watched(real):
        def function(*args, **options):
            work = real(*args, **options)
            return work if work is None else Work(work)

        return function

    for name in ("all_reduce", "all_gather", "reduce", "broadcast", "gather", "all_gather_single"):
        setattr(dist, name, watched(getattr(dist, name)))
    for epoch in [[[5.0, 7.0]] * 3, *LISTS]:
        try:
            value = answer(list(epoch[rank]))
            found.append(float(value) if value is not None else None)
        except RuntimeError as error:
            return {"hangs": True, "error": str(error).splitlines()[0], "found": found, "unwaited": 0}
        except Exception as error:
            error = f"{type(error).__name__}: {error}"
            return {"hangs": False, "error": error, "found": found, "unwaited": 0}
    unwaited = sum(not work.waited for work in works)
    return {"hangs": False, "error": "", "found": found, "unwaited": unwaited}


def three_means(answer):
    every = ranks.call(on_ranks_mean, 3, answer, timeout=60, join=False)
    seen = SimpleNamespace(hangs=any(s["hangs"] for s in every))
    seen.error = next((s["error"] for s in every if s["error"] and not s["hangs"]), "")
    seen.found = [s["found"] for s in every]
    seen.unwaited = max(s["unwaited"] for s in every)
    unlike = [s["error"] for s in every if s["hangs"] and "mismatch" in s["error"]]
    for part in ("OpType", "TensorDtypes", "TensorShape"):
        kinds = {kind for words in unlike for kind in re.findall(rf"{part}=(\[[^]]*\]|\w+)", words)}
        setattr(seen, part.lower(), len(kinds) > 1)
    seen.alike = bool(unlike) and not seen.optype  # one collective, with tensors that differ
    seen.whole = len({len(found) for found in seen.found}) == 1 and len(seen.found[0]) == 3
    return seen


def held(*values):
    """Whether the ranks returned these for the unequal lists, one number each or one for all."""
    wanted = [value if isinstance(value, tuple) else (value,) * 3 for value in values]

    def test(seen):
        got = list(zip(*seen.found, strict=True))[1:] if seen.whole else []
        return bool(got) and all(
            g is not None and math.isclose(g, w, rel_tol=1e-3)
            for gots, wants in zip(got, wanted, strict=False)
            for g, w in zip(gots, wants, strict=True)
        )

    return test


def mean(body):
    lines = "\n    ".join(body.split("\n"))
    return f"import torch\nimport torch.distributed as dist\ndef mean_loss(losses):\n    {lines}\n"


HURRY = (
    "total = torch.tensor(0.0)\nfor loss in losses:\n    value = torch.tensor(loss)\n"
    "    dist.all_reduce(value)\n    total += value\n"
)
BOTH = "total = torch.tensor([sum(losses), len(losses)], dtype=torch.float64)\n"


def shortest(seen):
    """Whether all ranks stopped at the shortest list of the second epoch."""
    return all(len(f) > 1 and f[1] and math.isclose(f[1], 13 / 3, rel_tol=1e-3) for f in seen.found)


LONGEST = (
    "longest = torch.tensor(len(losses))\ndist.all_reduce(longest, op=dist.ReduceOp.MAX)\n"
    "padded, total = list(losses) + [0.0] * (longest.item() - len(losses)), 0.0\n"
    "for loss in padded:\n    value = torch.tensor(float(loss), dtype=torch.float64)\n"
    "    dist.all_reduce(value)\n    total += value.item()\n"
)
rules(
    "deadlock", three_means,
    [slip(shortest,
          "what is longer than the shortest list is left out: every batch counts, also where another rank "
          "has none",
          mean("least = torch.tensor(len(losses))\ndist.all_reduce(least, op=dist.ReduceOp.MIN)\n"
               "total = torch.tensor(sum(losses[:least], 0.0))\ndist.all_reduce(total)\n"
               "return total.item() / least.item() / dist.get_world_size()")),
     slip(lambda seen: seen.alike and seen.tensordtypes,
          "a rank without a batch makes a tensor of whole numbers, and the others one of fractions: give "
          "dtype=torch.float64",
          mean("total = torch.tensor([sum(losses), len(losses)])\ndist.all_reduce(total)\n"
               "return (total[0] / total[1]).item()")),
     slip(lambda seen: seen.alike and seen.tensorshape,
          "the ranks call the same collective with tensors of unequal length: send a sum and a count, or "
          "agree on a length and pad",
          mean("mine = torch.tensor(losses, dtype=torch.float64)\n"
               "every = [torch.empty_like(mine) for _ in range(dist.get_world_size())]\n"
               "dist.all_gather(every, mine)\nreturn torch.cat(every).mean().item()")),
     slip(lambda seen: seen.unwaited, "wait() is missing: what async_op=True returns has to be waited for",
          mean(f"{BOTH}dist.all_reduce(total, async_op=True)\nreturn (total[0] / total[1]).item()")),
     slip(lambda seen: seen.error.startswith("ZeroDivisionError"),
          "a rank without any batch divides by zero. Divide only after the sums are there",
          mean("value = torch.tensor(sum(losses) / len(losses))\ndist.all_reduce(value)\n"
               "return value.item() / 3")),
     slip(lambda seen: seen.error, "on three ranks your function raised {error}",
          says(mean("return sum(losses) / 'a'"),
               error="TypeError: unsupported operand type(s) for /: 'float' and 'str'")),
     slip(lambda seen: seen.hangs,
          "it hangs, or the calls of the ranks do not match: their number still depends on a rank's own list",
          mean(f"{HURRY}return total.item() / max(1, len(losses)) / dist.get_world_size()"),
          mean(f"{BOTH}if losses:\n    dist.all_reduce(total)\nreturn (total[0] / total[1]).item()")),
     slip(lambda seen: any(f is None for found in seen.found for f in found),
          "some rank got nothing back. Every rank has to return the mean",
          mean(f"{BOTH}dist.all_reduce(total)\nif dist.get_rank() == 0:\n"
               "    return (total[0] / total[1]).item()")),
     slip(held((3.0, 4.0, 5.5)), "each rank returns the mean of its own losses: nothing was added up",
          mean("return sum(losses) / max(1, len(losses))")),
     slip(held((3 + 4 + 5.5) / 3),
          "this is the mean of the ranks' means. A rank with more batches has to count more",
          mean("value = torch.tensor(sum(losses) / max(1, len(losses)))\ndist.all_reduce(value)\n"
               "return value.item() / dist.get_world_size()")),
     slip(held(24.0), "this is the sum of all losses: divide it by the number of all batches",
          mean(f"{BOTH}dist.all_reduce(total)\nreturn total[0].item()")),
     slip(lambda seen: held((24 / 9, 8.0, 4.0))(seen) or held(24 / 9, 2.0)(seen),
          "the zeros that fill up a list are no batches: divide by the number of all batches that there were",
          mean(f"{LONGEST}return total / max(1, len(losses)) / dist.get_world_size()"),
          mean(f"{LONGEST}return total / longest.item() / dist.get_world_size()")),
     slip(held((8.0, 24.0, 12.0)), "the sum is of all ranks, the count is the rank's own: add that up, too",
          mean("total = torch.tensor(float(sum(losses)))\ndist.all_reduce(total)\n"
               "return total.item() / max(1, len(losses))")),
     slip(lambda seen: seen.whole and seen.found[0][1:] == [4.0, 4.0] and not held(4.0, 4.0)(seen),
          "only rank 0 has the right mean: use all_reduce, which gives the sums to every rank",
          mean(f"{BOTH}dist.reduce(total, dst=0)\n"
               "return (total[0] / total[1]).item() if dist.get_rank() == 0 else 0.0")),
     slip(lambda seen: not held(4.0, 4.0)(seen),
          "the losses 1, 2, 6 on rank 0, 4 on rank 1 and 8, 3 on rank 2 have the mean 4, on every rank",
          mean(f"{BOTH}dist.all_reduce(total)\nreturn (total[0] / total[1]).item() + 1"))],
    needs="mean_loss", example=code, limit=120,
    hint="Sum and count, in one all_reduce that every rank calls once.",
    done="every rank makes the same calls, also one without a batch")  # fmt: skip

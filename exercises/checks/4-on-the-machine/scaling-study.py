"""Checks of the exercises on scaling studies."""

import statistics
from types import SimpleNamespace

from scaleup.exercises import NotYet, close, formula, is_number, rules, says, slip, word_each

# ---------------------------------------------------------------- efficiency

formula(
    "efficiency", "efficiency(base_seconds, base_nodes, base_batch, seconds, nodes, batch)",
    "(batch / seconds) / (base_batch / base_seconds) / (nodes / base_nodes)",
    [(1.0, 1, 64, 0.3, 4, 64), (1.0, 1, 64, 1.25, 4, 256), (2.0, 4, 128, 1.2, 8, 128),
     (0.9, 2, 32, 1.1, 6, 96), (1.2, 2, 64, 0.75, 3, 64)],
    {"base_seconds / seconds": "this is a speed-up, and only where the batch stays: what is it per node?",
     "(batch / seconds) / (base_batch / base_seconds)": "this is the speed-up: divide by nodes / base_nodes",
     "base_seconds / seconds / (nodes / base_nodes)":
         "this is right for strong scaling. A larger batch is more work: count sequences per second",
     "base_seconds / seconds / nodes * batch / base_batch":
         "the baseline may have several nodes: divide by nodes / base_nodes",
     "base_seconds / seconds / nodes": "the baseline may have several nodes, and the batch may grow",
     "base_seconds / seconds * batch / base_batch / (nodes - base_nodes)":
         "divide by how many *times* the nodes, nodes / base_nodes, not by how many more",
     "(seconds / batch) / (base_seconds / base_batch) * (nodes / base_nodes)":
         "this is one over the efficiency: it grows as the point gets slower",
     "(seconds / batch) / (base_seconds / base_batch) / (nodes / base_nodes)":
         "seconds per sequence is upside down: sequences per second belong on top",
     "base_seconds / seconds * base_batch / batch / (nodes / base_nodes)":
         "the work is upside down: a larger batch is more of it, batch / base_batch",
     "(batch / seconds) / (base_batch / base_seconds) / nodes / base_nodes":
         "twice divided: the point has nodes / base_nodes times the nodes of the baseline",
     "batch / seconds / nodes": "these are sequences per second and node: divide by the baseline's",
     "min(1, (batch / seconds) / (base_batch / base_seconds) / (nodes / base_nodes))":
         "do not cut off at 1: a smaller part of the work may fit a cache, and efficiency be above 1",
     "100 * (batch / seconds) / (base_batch / base_seconds) / (nodes / base_nodes)":
         "this is in per cent: return a share, such as 0.8"},
    otherwise=lambda off: "for {:g} s on {} nodes with {} sequences, then {:g} s on {} with {}, it is "
                          "{:.3f}, yours is {:.3f}".format(*off.row, off.want, off.got),
    hint="How many sequences per second and node are these?",
    done="strong, weak, and any baseline",
    also=[says("def efficiency(base_seconds, base_nodes, base_batch, seconds, nodes, batch):\n    return 0.5",
               "for 1 s on 1 nodes with 64 sequences, then 0.3 s on 4 with 64, it is 0.833, yours is 0.500")],
)  # fmt: skip

# ---------------------------------------------------------------- half-width

formula(
    "half-width", "half_width(spread, k, t)", "sqrt(2) * t * spread / sqrt(k)",
    [(0.03, 3, 4.303), (0.03, 5, 2.776), (0.1, 2, 12.706)],
    {"t * spread / sqrt(k)": "this is the error of one time. Efficiency is a ratio of two, and both have it",
     "2 * t * spread / sqrt(k)": "errors that know nothing of each other add up as squares: sqrt(2), not 2",
     "2 * sqrt(2) * t * spread / sqrt(k)": "this is the whole width: half of it was asked",
     "sqrt(2) * t * spread": "a mean of k runs is surer than a run: divide by sqrt(k)",
     "t * spread": "a mean of k runs is surer than a run, and the baseline has an error, too",
     "sqrt(2) * t * spread / k": "the error of a mean goes with the root of k, not with k",
     "sqrt(2) * spread / sqrt(k)": "`t` is missing: k runs hardly know their own spread",
     "sqrt(2) * 1.96 * spread / sqrt(k)": "1.96 is for many runs. For k of them take `t`",
     "1.96 * spread / sqrt(k)": "1.96 is for many runs, take `t`; and the baseline has an error, too",
     "spread / sqrt(k)": "this is the standard error of one time: it lacks `t`, and the baseline's error",
     "t * spread / k": "the error of a mean goes with the root of k; and the baseline has an error, too",
     "t * spread / sqrt(k - 1)":
         "t takes care of k - 1 already: divide by sqrt(k); and the baseline has an error, too",
     "2 * t * spread": "divide by sqrt(k), and add errors up as squares: sqrt(2), not 2",
     "2 * t**2 * spread**2 / k": "this is the square of the half width: take its root",
     "100 * sqrt(2) * t * spread / sqrt(k)": "this is in per cent: return a share, such as 0.05",
     "exp(sqrt(2) * t * spread / sqrt(k)) - 1": "to first order, as was asked, no exponential is needed",
     "sinh(sqrt(2) * t * spread / sqrt(k))": "to first order, as asked, no exponential is needed",
     "sqrt(2) * t * spread / sqrt(k - 1)": "t takes care of k - 1 already: divide by sqrt(k)",
     "t * spread / sqrt(2 * k)":
         "this is the error if all 2k runs were of one time. They are k of each, and both err"},
    otherwise=lambda off: "for a spread of {:g}, {} runs and t = {:g} it is {:.4f}, yours is "
                          "{:.4f}".format(*off.row, off.want, off.got),
    hint="The error of a mean of k is t times spread over the root of k. Then two of them, as squares.",
    done="both times have their error",
    also=[says("def half_width(spread, k, t):\n    return 1.0",
               "for a spread of 0.03, 3 runs and t = 4.303 it is 0.1054, yours is 1.0000")],
)  # fmt: skip

# ---------------------------------------------------------------- bubble

M = "(global_batch / dp / micro_batch)"
formula(
    "bubble", "bubble(global_batch, dp, micro_batch, pp)", f"(pp - 1) / ({M} + pp - 1)",
    [(1024, 32, 2, 8), (2048, 8, 2, 12), (64, 4, 1, 4)],
    {f"(pp - 1) / {M}": "this is the bubble over the full turns. The share is of *all* turns",
     f"pp / ({M} + pp)": "the pipeline is full after pp - 1 turns: the first stage begins at once",
     f"pp / ({M} + pp - 1)": "a stage is idle for pp - 1 turns, not for pp",
     f"(pp - 1) / ({M} + pp)": "the step has m + pp - 1 turns, not m + pp",
     "(pp - 1) / pp": "this is for one micro-batch. How many does a pipeline get?",
     f"(pp - 1) / ({M} / pp + pp - 1)":
         "stages share the layers, not the batch: each micro-batch goes through all of them",
     f"2 * (pp - 1) / ({M} + 2 * (pp - 1))":
         "a turn is forward and backward: with twice the idle turns, there are twice the full ones, too",
     f"{M} / ({M} + pp - 1)": "in this share a stage works: the bubble is the rest",
     "(pp - 1) / (global_batch / micro_batch + pp - 1)":
         "the copies share the batch: one pipeline gets a part",
     "(pp - 1) / (global_batch / dp + pp - 1)": "a turn takes a micro-batch, not a sequence",
     "(pp - 1) / (global_batch + pp - 1)": "one pipeline gets global_batch / dp sequences, in micro-batches",
     "(pp - 1) / (micro_batch + pp - 1)": "`micro_batch` is its size. How many of them does a pipeline get?",
     f"100 * (pp - 1) / ({M} + pp - 1)": "this is in per cent: return a share, such as 0.3"},
    otherwise=lambda off: "for {} sequences, {} copies, micro-batches of {} and {} stages it is "
                          "{:.3f}, yours is {:.3f}".format(*off.row, off.want, off.got),
    hint="Micro-batches of one pipeline: the batch over copies, over their size. Turns: those, and pp - 1.",
    done="fewer micro-batches, the same bubble",
    also=[says("def bubble(global_batch, dp, micro_batch, pp):\n    return 0.5",
               "for 1024 sequences, 32 copies, micro-batches of 2 and 8 stages it is 0.304, yours is 0.500")],
)  # fmt: skip

# ---------------------------------------------------------------- faults, causes


FAULTS = {"A": "held fixed", "B": "baseline", "C": "repeats", "D": "other question"}
see, odd = word_each(FAULTS)
rules(
    "faults",
    see,
    [
        slip(
            lambda seen: seen["A"] == "other question",
            "A: it is strong scaling, and meant so. What else than the nodes differs between its points?",
            FAULTS | {"A": "other question"},
        ),
        slip(
            lambda seen: seen["A"] != "held fixed",
            "A: a device that gets 1 sequence at a time is slower than one that gets 8, without any network",
            FAULTS | {"A": "repeats"},
        ),
        slip(
            lambda seen: seen["B"] != "baseline",
            "B: what is the 94 % compared with, and what was lost up to there?",
            FAULTS | {"B": "held fixed"},
        ),
        slip(
            lambda seen: seen["C"] != "repeats",
            "C: 500 steps of one job resemble each other. What does another job say?",
            FAULTS | {"C": "baseline"},
        ),
        slip(
            lambda seen: seen["D"] != "other question",
            "D: in the study the global batch grows with the nodes; in the plan it stays at 512",
            FAULTS | {"D": "held fixed"},
        ),
    ],
    hint="Compared with what, what changed, what was repeated, which question?",
    done="four studies, four faults",
    also=odd,
)

CAUSES = {"A": "volume", "B": "latency", "C": "hiding", "D": "serial"}
see, odd = word_each(CAUSES)
rules(
    "causes",
    see,
    [
        slip(
            lambda seen: (seen["A"], seen["B"]) == ("latency", "volume"),
            "A and B are swapped: a ring's bytes go towards a limit, its messages do not",
            CAUSES | {"A": "latency", "B": "volume"},
        ),
        slip(
            lambda seen: seen["A"] == "serial",
            "A: a serial part is in the first point, too, and adds nothing later. Here seconds are added",
            CAUSES | {"A": "serial"},
        ),
        slip(
            lambda seen: seen["A"] != "volume",
            "A: what is added is 0.25, 0.37, 0.44, 0.47, 0.48: it goes towards 0.5",
            CAUSES | {"A": "latency"},
        ),
        slip(
            lambda seen: seen["B"] != "latency",
            "B: what is added is 0.02, 0.06, 0.14, 0.30, 0.62: in proportion to N - 1",
            CAUSES | {"B": "hiding"},
        ),
        slip(
            lambda seen: seen["C"] != "hiding",
            "C: up to 8 nodes nothing is added at all",
            CAUSES | {"C": "latency"},
        ),
        slip(
            lambda seen: seen["D"] != "serial",
            "D: take 0.2 from each: what is left halves with each doubling. Nothing grows",
            CAUSES | {"D": "volume"},
        ),
    ],
    hint="What is added to the first point: a limit, a line, or nothing for a while?",
    done="four bends, four causes",
    also=odd,
)

# ---------------------------------------------------------------- study


def studied(answer):
    content, interval, left = (answer.get(key) for key in ("study", "interval", "left"))
    if not isinstance(interval, tuple | list) or len(interval) != 3 or not all(map(is_number, interval)):
        raise NotYet("`interval` has to be three numbers: value, lower end, upper end")
    if not is_number(left):
        raise NotYet(f"`left` has to be a number of seconds, not {left!r:.30}")
    content = getattr(content, "content", content)
    if not isinstance(content, dict) or "measured" not in content:
        raise NotYet('`study` has to be what studies.load("mine") returns')
    asked = content["measured"]
    strong = {row["nodes"]: row["efficiency"] for row in content["scaling"].get("strong", [])}
    point = next(
        (p for p in content["points"] if p["nodes"] == 2 and "strong" in p["modes"] and p["runs"]), None
    )
    known = tuple(strong.get(2, {}).get(key) for key in ("value", "low", "high"))
    rest, least, whole, mean, most = [], [], [], [], []
    for run in point["runs"] if point else []:
        for number, step in enumerate(run["step_seconds"]):
            busy = [rank[number] for rank in run["computed_seconds"]]
            rest.append(step - max(busy))
            least.append(step - min(busy))
            whole.append(step)
            mean.append(step - statistics.mean(busy))
            most.append(max(busy))
    middle = [statistics.median(each) if each else 0.0 for each in (rest, least, whole, mean, most)]
    return SimpleNamespace(
        asked=asked, known=known, interval=tuple(interval), left=left, missing=content["missing"],
        count=len(content["missing"]), rest=middle[0], least=middle[1], whole=middle[2],
        mean=middle[3], most=middle[4],
        repeats=asked["repeats"], steps=asked["steps"], warm=asked["warmup_steps_left_out"],
    )  # fmt: skip


def same(given, wanted):
    return close(given, wanted, 0.02)


def mine(interval=(0.8, 0.7, 0.9), left=0.1, missing=(), low=0.7, second=0.5, **asked):
    """An answer about a study of two nodes whose steps take half a second, of which 0.4 and 0.3 are busy."""
    usual = {"nodes": [1, 2], "modes": ["strong"], "repeats": 3, "steps": 6, "warmup_steps_left_out": 2}
    run = {"step_seconds": [second] * 6, "computed_seconds": [[0.4] * 6, [0.3] * 6]}
    content = {
        "measured": usual | asked,
        "missing": list(missing),
        "points": [{"nodes": 2, "modes": ["strong"], "runs": [run]}],
        "scaling": {"strong": [{"nodes": 2, "efficiency": {"value": 0.8, "low": low, "high": 0.9}}]},
    }
    return {"study": content, "interval": interval, "left": left}


rules(
    "study",
    studied,
    [
        slip(
            lambda seen: seen.asked["nodes"] != [1, 2] or "strong" not in seen.asked["modes"],
            "the study is to have 1 and 2 nodes, strong: --nodes 1,2",
            mine(nodes=[1, 2, 4]),
            mine(modes=["weak"]),
        ),
        slip(
            lambda seen: seen.missing,
            "{count:d} of its runs are missing: run the same command again, and look into `failed`",
            says(mine(missing=["n2-b16-r3"]), count=1),
        ),
        slip(
            lambda seen: seen.repeats < 3,
            "with {repeats:d} repeats the error is unknown or several times the spread: at least 3",
            says(mine(repeats=2), repeats=2),
            says(mine(repeats=1), repeats=1),
        ),
        slip(
            lambda seen: seen.warm < 2,
            "leave out at least two steps of warm-up: --warmup 2",
            mine(warmup_steps_left_out=1),
        ),
        slip(lambda seen: seen.steps < 6, "at least six steps have to count: --steps 6", mine(steps=4)),
        slip(
            lambda seen: all(
                same(given, 100 * value) for given, value in zip(seen.interval, seen.known, strict=True)
            ),
            "the interval is in per cent: write shares, such as 0.8",
            mine(interval=(80, 70, 90)),
        ),
        slip(
            lambda seen: all(
                same(given, 2 * value) for given, value in zip(seen.interval, seen.known, strict=True)
            ),
            "this is the speed-up: efficiency is that over two",
            mine(interval=(1.6, 1.4, 1.8)),
        ),
        slip(
            lambda seen: all(
                same(given, abs(end - seen.known[0]))
                for given, end in zip(seen.interval[1:], seen.known[1:], strict=True)
            ),
            "these are distances from the value: write the lower and the upper end themselves",
            mine(interval=(0.8, 0.1, 0.1)),
        ),
        slip(
            lambda seen: not seen.interval[1] <= seen.interval[0] <= seen.interval[2],
            "the order is value, lower end, upper end",
            mine(interval=(0.7, 0.8, 0.9)),
        ),
        slip(
            lambda seen: (
                not all(same(given, value) for given, value in zip(seen.interval, seen.known, strict=True))
            ),
            "`interval` is not what your study found: value, low and high of its efficiency on 2 nodes",
            mine(interval=(0.75, 0.7, 0.8)),
        ),
        slip(
            lambda seen: same(seen.left, 1000 * seen.rest),
            "`left` is in milliseconds: write seconds",
            mine(left=100),
        ),
        slip(
            lambda seen: same(seen.left, seen.whole),
            "`left` is the whole step: take the computing of its slowest rank away",
            mine(left=0.5),
        ),
        slip(
            lambda seen: same(seen.left, seen.least) and not same(seen.left, seen.rest),
            "`left` has the waiting for the slower rank in it: take the *largest* computing away",
            mine(left=0.2),
        ),
        slip(
            lambda seen: same(seen.left, seen.mean) and not same(seen.left, seen.rest),
            "`left` has some waiting for slower ranks in it: take the *largest* computing away, not the mean",
            mine(left=0.15),
        ),
        slip(
            lambda seen: same(-seen.left, seen.rest),
            "`left` has the wrong sign: step less computing",
            mine(left=-0.1),
        ),
        slip(
            lambda seen: same(seen.left, seen.most) and not same(seen.left, seen.rest),
            "this is the computing of the slowest rank: what is left of the step without it?",
            mine(left=0.4),
        ),
        slip(
            lambda seen: not same(seen.left, seen.rest),
            "`left` is not the median of step less the largest of the ranks' computed_seconds, on 2 nodes",
            mine(left=0.3),
            mine(left=0.107),
        ),
    ],
    hint="First the study itself, then its interval, then what no rank's computing explains.",
    done=lambda seen: (
        f"{seen.repeats} jobs per point; ≈ {1000 * seen.left:.0f} ms of a step are not computing"
    ),
    also=[
        says(mine(interval=0.8), "`interval` has to be three numbers: value, lower end, upper end"),
        says(mine() | {"study": "mine"}, '`study` has to be what studies.load("mine") returns'),
        says(mine(left="x"), "`left` has to be a number of seconds, not 'x'"),
    ],
)

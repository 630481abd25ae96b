"""Checks of the exercises on feeding data. Three run the answer's function on small epochs and count."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
from torch.utils.data._utils import worker as torch_worker

from scaleup.exercises import NotYet, code, is_number, rules, says, slip


def numbers(count, ask):
    """Reads a tuple, a list or an array of so many numbers."""

    def see(answer):
        answer = answer.tolist() if isinstance(answer, np.ndarray) else answer
        if not isinstance(answer, tuple | list) or len(answer) != count or not all(map(is_number, answer)):
            raise NotYet(ask)
        return tuple(answer)

    return see


READ = "these are the windows that are read. Asked is the difference to 10,001"
PADDING = "give three numbers: (repeated, left out, left out by both)"

rules(
    "padding", numbers(3, PADDING),
    [slip(lambda given: given == (17, 47, 273),
          "the first two are swapped: padding repeats, dropping leaves out",
          (17, 47, 273)),
     slip(lambda given: min(given) > 9_000, READ, (10048, 9984, 9728)),
     slip(lambda given: given[0] > 9_000, f"the first: {READ}", (10048, 17, 273)),
     slip(lambda given: given[0] == 17,
          "17 are left over; padding fills up to the next multiple of 64",
          (17, 17, 273)),
     slip(lambda given: given[0] == 48, "10,001 + 47 is already a multiple of 64", (48, 17, 273)),
     slip(lambda given: given[0] in (0.73, 1) or given[0] == 47 / 64,
          "the first is of one rank, and there are 64",
          (1, 17, 273)),
     slip(lambda given: given[0] == 0,
          "padding gives every rank equally many windows, and 10,001 is not a multiple of 64",
          (0, 0, 0), (0, 17, 273)),
     slip(lambda given: given[0] != 47,
          "the first: how far is it from 10,001 to the next multiple of 64?",
          (50, 17, 273), (239, 17, 273)),
     slip(lambda given: given[1] > 9_000, f"the second: {READ}", (47, 9984, 273)),
     slip(lambda given: given[1] == 16, "156 windows on each of 64 ranks are 9,984", (47, 16, 273)),
     slip(lambda given: given[1] == 47,
          "47 fill up; drop_last goes down to the multiple of 64 below",
          (47, 47, 273)),
     slip(lambda given: given[1] == 273,
          "in the second the loader keeps its last batch, though it is short",
          (47, 273, 273)),
     slip(lambda given: given[1] != 17,
          "the second: what is left of 10,001 when every rank gets equally many?",
          (47, 1, 273), (47, 0, 273)),
     slip(lambda given: given[2] > 9_000, f"the third: {READ}", (47, 17, 9728)),
     slip(lambda given: given[2] == 256,
          "the third lacks the 17 that the sampler had already left out",
          (47, 17, 256)),
     slip(lambda given: given[2] == 4,
          "the third is of one rank, and without the sampler's 17. There are 64 ranks",
          (47, 17, 4)),
     slip(lambda given: given[2] == 17,
          "the third lacks what the loader drops on every rank: 156 is not a multiple of 8",
          (47, 17, 17), np.array([47, 17, 17]), [47, 17, 17]),
     slip(lambda given: given[2] == 0, "with drop_last in both, both leave something out", (47, 17, 0)),
     slip(lambda given: given[2] == 1,
          "the third is not 10,001 modulo 8: each rank drops the rest of its own 156",
          (47, 17, 1)),
     slip(lambda given: given[2] == 21, "the third has the 4 of one rank. There are 64 ranks", (47, 17, 21)),
     slip(lambda given: given[2] in (337, 320),
          "the third: the sampler drops, too, so a rank has 156 windows and not 157",
          (47, 17, 337)),
     slip(lambda given: given[2] != 273,
          "the third: to what the sampler leaves out comes, on every rank, what does not fill a batch of 8",
          (47, 17, 300))],
    hint="How many windows does one rank get in each case? Then multiply by 64 and compare with 10,001.",
    done="47 windows come twice with padding; 17 are left out, or 273 if the loader drops, too",
    also=[says("a word", PADDING), says([1.0] * 4, PADDING)])  # fmt: skip


# Sharing a stream out

NUMBERS = range(23)
GRID = ((1, 0), (1, 3), (2, 0), (3, 2), (4, 3))  # ranks, and workers of each; 0: no worker process


def as_worker(number, workers, function):
    """Calls a function as it would run in a worker of a DataLoader; with no workers, in the main process."""
    before = torch_worker._worker_info
    info = SimpleNamespace(id=number, num_workers=workers, seed=0, dataset=None) if workers else None
    torch_worker._worker_info = info
    try:
        return list(function())
    finally:
        torch_worker._worker_info = before


def shared(answer):
    """{(ranks, workers): what every worker of every rank was given}."""
    found = {}
    for ranks, workers in GRID:
        try:
            found[ranks, workers] = [
                as_worker(number, workers, lambda rank=rank, ranks=ranks: answer(NUMBERS, rank, ranks))
                for rank in range(ranks)
                for number in range(workers or 1)
            ]
        except AttributeError as error:
            if "NoneType" in str(error):
                raise NotYet(NONE) from None
            raise
        except TypeError as error:
            if "not iterable" in str(error):
                raise NotYet("share has to yield numbers, or to return a list of them") from None
            raise
    return found


NONE = "in the main process get_worker_info() is None: there is one reader then, with the number 0"


def share(body, info=True):
    asked = "worker = get_worker_info()\n    number, workers = " if info else ""
    asked += "(worker.id, worker.num_workers) if worker else (0, 1)\n    " if info else ""
    return (
        "from torch.utils.data import get_worker_info\n"
        f"def share(numbers, rank, world_size):\n    {asked}{body}"
    )


def counts(found, key):
    return Counter(number for part in found[key] for number in part)


def times(found, key, factor):
    return all(counts(found, key)[number] == factor for number in NUMBERS)


rules(
    "workers", shared,
    [slip(lambda found: any(set(counts(found, key)) - set(NUMBERS) for key in GRID),
          "share yields something that is not among the numbers",
          share("yield from range(rank * workers + number, 40, world_size * workers)")),
     slip(lambda found: times(found, (4, 3), 12),
          "every worker of every rank gets everything: nobody asked who it is",
          share("yield from numbers")),
     slip(lambda found: times(found, (2, 0), 1) and times(found, (4, 3), 3),
          "ranks share, but the workers of a rank all get the same: ask get_worker_info()",
          share("yield from numbers[rank::world_size]")),
     slip(lambda found: times(found, (1, 3), 1) and times(found, (4, 3), 4),
          "workers share, but all ranks get the same",
          share("yield from numbers[number::workers]")),
     slip(lambda found: times(found, (1, 3), 1) and found[3, 2][1] == found[3, 2][2] != [],
          "rank + worker is the same for worker 1 of rank 0 and worker 0 of rank 1: no two readers may have "
          "one number",
          share("yield from numbers[rank + number :: world_size * workers]")),
     slip(lambda found: times(found, (2, 0), 2) and times(found, (4, 3), 1),
          "with workers it is right. Without them every rank reads all: it still has to share with others",
          share("worker = get_worker_info()\n    if worker is None:\n        yield from numbers\n"
                "        return\n    yield from numbers[rank * worker.num_workers + worker.id"
                " :: world_size * worker.num_workers]", False)),
     slip(lambda found: any(max(counts(found, key).values(), default=0) > 1 for key in GRID),
          "some numbers come to two readers",
          share("yield from numbers[rank * workers + number :: max(world_size, workers)]")),
     slip(lambda found: not any(any(parts) for parts in found.values()),
          "share gives nothing",
          share("yield from []")),
     slip(lambda found: all(set(counts(found, key)) == set(NUMBERS[:12]) for key in GRID),
          "only the first 12 numbers come: share has to hand out what is in numbers, however many they are",
          share("yield from range(rank * workers + number, 12, world_size * workers)")),
     slip(lambda found: found[1, 0] == [[]] and found[2, 0] == [[], []] and times(found, (4, 3), 1),
          "without workers share gives nothing: the main process is a reader, too",
          share("worker = get_worker_info()\n    if worker:\n        "
                "yield from numbers[rank * worker.num_workers + worker.id"
                " :: world_size * worker.num_workers]", False)),
     slip(lambda found: any(set(NUMBERS[:-15]) - set(counts(found, key)) for key in GRID),
          "some numbers come to no reader at all",
          share("yield from numbers[rank * workers + number :: 2 * world_size * workers]")),
     slip(lambda found: any(set(NUMBERS) - set(counts(found, key)) for key in GRID),
          "the last numbers come to nobody: 23 are not a multiple of the readers, so do not round down",
          share("readers = world_size * workers\n    each = len(numbers) // readers\n"
                "    first = (rank * workers + number) * each\n"
                "    yield from numbers[first : first + each]"))],
    needs="share", example=code,
    hint="How many readers are there in all? Give each a number, and let it take every so many-th window.",
    done="every number comes to exactly one reader, on 1 to 4 ranks with 0 to 3 workers",
    also=[says(share("worker = get_worker_info()\n    workers = worker.num_workers\n"
                     "    yield from numbers[rank * workers + worker.id :: world_size * workers]", False),
               NONE),
          says(share("return None"), "share has to yield numbers, or to return a list of them")])  # fmt: skip


# Proving it

WINDOWS = 12
EPOCHS = {  # what each rank was given, batch by batch
    "right": [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [10, 11]]],
    "lost": [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [10]]],
    "repeated": [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [10, 11, 0]]],
    "both": [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [10, 10]]],
    "three times": [[[0, 1], [4, 1], [8, 9]], [[2, 3], [6, 1], [10, 11]]],
    "one rank": [[[0, 1], [2, 3]], []],
}


def proved(answer):
    found = {}
    for name, given in EPOCHS.items():
        pair = answer([[list(batch) for batch in batches] for batches in given], WINDOWS)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise NotYet("return two lists: lost, repeated")
        try:
            found[name] = tuple(sorted(int(number) for number in part) for part in pair)
        except TypeError:
            raise NotYet("return two lists of window numbers, and not how many there are") from None
    return found


def once(body):
    return f"from collections import Counter\ndef once(ranks, windows):\n    {body}"


ALL = "seen = Counter(n for batches in ranks for batch in batches for n in batch)\n    "
LOST = "[n for n in range(windows) if not seen[n]]"
TWICE = "[n for n in range(windows) if seen[n] > 1]"

rules(
    "once", proved,
    [slip(lambda found: found["right"] == (sorted(range(WINDOWS)), []),
          "the first list has what was read. Asked is what was not",
          once(f"{ALL}return sorted(seen), {TWICE}")),
     slip(lambda found: found["lost"] == ([], [11]) and found["repeated"] == ([0], []),
          "the lists are swapped: lost first, then repeated",
          once(f"{ALL}return {TWICE}, {LOST}"),
          once(f"{ALL}return [{TWICE}, {LOST}]"),
          once(f"import numpy as np\n    {ALL}return np.array({TWICE}), set({LOST})")),
     slip(lambda found: found["right"][0] == [2, 3, 6, 7, 10, 11],
          "only rank 0 was looked at: a window is not lost if another rank has it",
          once(f"seen = Counter(n for batch in ranks[0] for n in batch)\n    return {LOST}, {TWICE}")),
     slip(lambda found: found["both"] == ([], []) and found["lost"][0],
          "12 were read of 12, and yet 11 is missing and 10 came twice: comparing totals hides that",
          once(f"{ALL}if sum(seen.values()) == windows:\n        return [], []\n    return {LOST}, {TWICE}")),
     slip(lambda found: found["repeated"][1] == [] and found["lost"][0] == [11],
          "a window that another rank, or another batch, had already is not noticed: count over all of them, "
          "and not in a set, which keeps each only once",
          once("seen = {n for batches in ranks for batch in batches for n in batch}\n"
               "    return [n for n in range(windows) if n not in seen], []"),
          once("lost, repeated = set(range(windows)), set()\n    for batches in ranks:\n"
               "        seen = Counter(n for batch in batches for n in batch)\n        lost -= set(seen)\n"
               "        repeated |= {n for n in seen if seen[n] > 1}\n"
               "    return sorted(lost), sorted(repeated)")),
     slip(lambda found: found["lost"][0] == [] and found["repeated"][1] == [0],
          "a window that never comes is not noticed: ask for every number below windows",
          once(f"{ALL}return [n for n in seen if not seen[n]], {TWICE}"),
          once(f"{ALL}return [n for n in range(1 + max(seen)) if not seen[n]], {TWICE}"),
          once(f"{ALL}return [n for n in range(windows - 1) if not seen[n]], {TWICE}")),
     slip(lambda found: found["three times"][1] == [] and found["repeated"][1] == [0],
          "a window that comes three times is not noticed",
          once(f"{ALL}return {LOST}, [n for n in range(windows) if seen[n] == 2]")),
     slip(lambda found: any(len(set(twice)) < len(twice) for _, twice in found.values()),
          "a window stands more than once in the list of repeated ones: name each once",
          once(f"{ALL}return {LOST}, [n for n in range(windows) for _ in range(seen[n] - 1)]"),
          once("seen = [n for batches in ranks for batch in batches for n in batch]\n"
               "    lost = [n for n in range(windows) if n not in seen]\n"
               "    return lost, [n for n in seen if seen.count(n) > 1]")),
     slip(lambda found: found["one rank"][0] != [4, 5, 6, 7, 8, 9, 10, 11]
                        or found["lost"] != ([11], []) or found["both"] != ([11], [10])
                        or found["right"] != ([], []) or found["three times"] != ([5, 7], [1]),
          "for rank 0 with [0, 1], [2, 3] and rank 1 with nothing, windows 4 to 11 are lost and none is "
          "repeated",
          once(f"{ALL}return [], []"),
          once(f"{ALL}return {LOST}[:4], {TWICE}"))],
    needs="once", example=code,
    hint="A Counter over all ranks and batches; then ask it for every number in range(windows).",
    done="lost and repeated windows are found, even where the totals agree",
    also=[says(once("return True"), "return two lists: lost, repeated"),
          says(once(f"{ALL}return len({LOST}), len({TWICE})"),
               "return two lists of window numbers, and not how many there are")])  # fmt: skip


# Going on with other ranks

ROWS = [
    (step, taken, rank, world_size, batch, 20)
    for taken, world_size, batch in ((0, 1, 4), (12, 2, 3), (12, 3, 2), (36, 4, 3))
    for rank in range(world_size)
    for step in range(4)
]


def resume(places, epoch="place // n", within="place % n"):
    return (
        "def resume(step, taken, rank, world_size, batch, n):\n"
        f"    places = {places}\n"
        f"    return [({epoch}, {within}) for place in places]"
    )


def run(start):
    return f"[{start} + j for j in range(batch)]"


FIRST = "taken + step * world_size * batch + rank * batch"


RIGHT = code(resume(run(FIRST)))


def resumed(answer):
    found = []
    for row in ROWS:
        pairs = answer(*row)
        pairs = pairs.tolist() if isinstance(pairs, np.ndarray) else pairs
        forms = tuple | list
        if not isinstance(pairs, forms) or any(not isinstance(p, forms) or len(p) != 2 for p in pairs):
            raise NotYet("return a list of pairs: (epoch, place within it)")
        found.append([tuple(pair) for pair in pairs])
    return found


def same_as(source):
    """Whether an answer gives what this one gives, everywhere."""
    wrong = code(source)
    return lambda found: found == [wrong(*row) for row in ROWS]


def slip_of(sentence, source, *other_forms):
    return slip(same_as(source), sentence, source, *other_forms)


def read_in_all(found, world_size, batch):
    """How often each place was read in the steps of this number of ranks."""
    pairs = zip(ROWS, found, strict=True)
    return Counter(pair for row, part in pairs if row[3:5] == (world_size, batch) for pair in part)


rules(
    "resume", resumed,
    [slip(lambda found: any(len(part) != row[4] for row, part in zip(ROWS, found, strict=True)),
          "each batch has `batch` windows for this rank, no more and no fewer",
          resume(f"[{FIRST}]")),
     slip_of("taken is missing: every run begins anew",
             resume(run(FIRST.removeprefix("taken + "))),
             resume(run(FIRST.removeprefix("taken + "))).replace("[(", "[[").replace(") for", "] for"),
             resume(run(FIRST.removeprefix("taken + "))).replace("return [(", "return tuple([(") + ")"),
     slip_of("taken counts the windows of all ranks already: do not multiply it",
             resume(run(FIRST.replace("taken", "taken * world_size")))),
     slip_of("taken is a position of all ranks: do not divide it",
             resume(run(FIRST.replace("taken", "taken // world_size")))),
     slip_of("one step takes batch windows on every rank, not on one: world_size is missing",
             resume(run("taken + step * batch + rank * batch"))),
     slip_of("all ranks read the same: rank is missing", resume(run("taken + step * world_size * batch"))),
     slip_of("the ranks' batches overlap: rank 1 begins a whole batch behind rank 0",
             resume(run(FIRST.replace("rank * batch", "rank")))),
     slip_of("the step counts windows here, and one step takes world_size * batch of them",
             resume(run("taken + step + rank * batch"))),
     slip_of("the place goes on counting: within an epoch it is below n",
             resume(run(FIRST), within="place")),
     slip_of("a batch may lie across the end of an epoch: take the epoch of each place, not of the first",
             resume(run(FIRST), epoch="places[0] // n")),
     slip_of("the epoch does not change: it is place // n", resume(run(FIRST), epoch="0")),
     slip_of("the epoch is that of `taken`: a later place may lie in the next epoch, so take place // n",
             resume(run(FIRST), epoch="taken // n")),
     slip_of("`taken` counts over all epochs: its epoch is taken // n, and it is lost in taken % n",
             resume(run(FIRST.replace("taken", "taken % n")))),
     slip_of("the ranks take turns window by window here. Each reads a whole batch of places, rank 0 first",
             resume("[taken + step * world_size * batch + j * world_size + rank for j in range(batch)]")),
     slip_of("the ranks are in the wrong order: rank 0 reads first, the last rank last",
             resume(run(FIRST.replace("rank * batch", "(world_size - 1 - rank) * batch")))),
     slip_of("the places of the batch are backwards: the smallest comes first",
             resume(f"[{FIRST} + j for j in reversed(range(batch))]")),
     slip_of("each rank keeps a stretch of its own here, for all steps. In one step the ranks read batches "
             "that lie side by side, and the next step goes on behind them",
             resume(run("taken + rank * 4 * batch + step * batch"))),
     slip_of("a pair is (epoch, place), in this order",
             resume(run(FIRST), epoch="place % n", within="place // n")),
     slip(lambda found: any(max(read_in_all(found, *how).values()) > 1 for how in ((2, 3), (3, 2), (4, 3))),
          "two batches read the same place",
          resume(run("taken + step * batch * (world_size - 1) + rank * batch"))),
     slip(lambda found: [set(read_in_all(found, *how)) for how in ((2, 3), (3, 2), (4, 3))]
                        != [{(p // 20, p % 20) for p in range(first, first + size)}
                            for first, size in ((12, 24), (12, 24), (36, 48))],
          "some place is left out: the ranks' batches lie one behind the other, without a gap",
          resume(run("taken + step * (world_size + 1) * batch + rank * batch"))),
     slip(lambda found: found != [RIGHT(*row) for row in ROWS],
          "all places are read, but not by the right rank in the right step: in a step rank 0 has the first "
          "batch, rank 1 the next",
          resume(run("taken + (3 - step) * world_size * batch + rank * batch")))],
    needs="resume", example=code,
    hint="Where does this step begin for all ranks together? Where, in it, does this rank?",
    done="from any position, with 1 to 4 ranks, each place comes once and epochs follow one another",
    also=[says("def resume(step, taken, rank, world_size, batch, n):\n    return taken",
               "return a list of pairs: (epoch, place within it)")])  # fmt: skip

ASK = "give three numbers: (workers, prefetch_factor, windows ahead)"

rules(
    "starve", numbers(3, ASK),
    [slip(lambda given: given[0] == 2,
          "290 ms are more than two steps: two workers deliver too slowly on average",
          (2, 4, 256), (2, 3, 192), np.array([2, 4, 256])),
     slip(lambda given: given[0] in (7.5, 8),
          "the slowest batch says how far they are ahead, and the mean how many there are: 290 / 120",
          (8, 1, 256)),
     slip(lambda given: given[0] != 3,
          "the first is the mean reading time over the step, 290 / 120, rounded up",
          (1, 1, 32), (4, 2, 256), (2.4, 3, 288)),
     slip(lambda given: given[1] in (7, 7.5, 8, 9),
          "prefetch_factor counts per worker, and 7.5 batches are needed over all three",
          (3, 8, 768), (3, 7, 672), (3, 9, 864)),
     slip(lambda given: given[1] == 2,
          "twice three are six batches. They last 720 ms, and the slowest batch takes 900",
          (3, 2, 192)),
     slip(lambda given: given[1] != 3,
          "the second is 900 / 120 batches, shared out among three workers and rounded up",
          (3, 4, 384), (3, 1, 96)),
     slip(lambda given: given[2] == 0,
          "what workers have read ahead was not consumed; how many windows is that?",
          (3, 3, 0)),
     slip(lambda given: given[2] in (9, 36),
          "the third is a number of batches. Asked are windows, 8 in each, of all four ranks",
          (3, 3, 9), (3, 3, 36)),
     slip(lambda given: given[2] == 72,
          "the third is of one rank. There are four",
          (3, 3, 72)),
     slip(lambda given: given[2] in (32, 96),
          "the third is too small: three workers are each up to three batches ahead, on each rank",
          (3, 3, 32), (3, 3, 96)),
     slip(lambda given: given[2] == 256,
          "the third counts eight batches. Three workers with three each may have nine ready",
          (3, 3, 256)),
     slip(lambda given: given[2] != 288,
          "the third is ranks x workers x prefetch_factor x windows of a batch",
          (3, 3, 24), (3, 3, 300))],
    hint="290 / 120 and 900 / 120, each rounded up; the second is over all workers of a rank.",
    done="3 workers keep up, 9 batches bridge 900 ms, and 288 windows must not be counted",
    also=[says("a word", ASK), says((3, 3), ASK)])  # fmt: skip

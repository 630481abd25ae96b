"""Checks of the exercises on failures: six logs, two readers of evidence, a decision, a forecast."""

import itertools

from scaleup.exercises import NotYet, code, rules, says, slip, values

# ---------------------------------------------------------------- six logs

CAUSES = ("killed rank", "lost network", "mismatched call", "short time-out", "full disk",
          "corrupt checkpoint", "straggler", "slow link", "stale rendezvous", "bad gradient",
          "learning rate")  # fmt: skip
RIGHT = {"night_a": ("killed rank", 10), "night_b": ("mismatched call", 7), "night_c": ("full disk", 5),
         "night_d": ("straggler", 3), "night_e": ("stale rendezvous", 12),
         "night_f": ("bad gradient", 8)}  # fmt: skip
ALSO = {"night_a": (24,)}  # lines that show it as well
LENGTH = {"night_a": 29, "night_b": 8, "night_c": 8, "night_d": 5, "night_e": 12, "night_f": 12}
WHY_NOT = {"night_a":
               {"lost network": "three ranks lost the contact to one that had ended. Why had it ended?",
                6: "rank 0 lost contact. Who had ended before?",
                8: "torchrun ends a rank with SIGTERM since another one has failed",
                18: "-15 is SIGTERM, sent by torchrun to a rank that was well",
                27: "the second node's agent lost the first one's store, which ended with its job"},
           "night_b":
               {"short time-out": "the ranks were in different calls: with any time-out they wait in vain",
                "straggler": "a slow rank is in the same call as the others, only later",
                "lost network": "the first two calls went through on all ranks. What about the third?",
                1: "all ranks say the same. Which lines differ between them?",
                5: "this rank is where most are. Whose last call is another one?"},
           "night_c":
               {"corrupt checkpoint": "the checkpoint is corrupt, but why? Look at the night before",
                2: "this says that writing failed. Which line says why?",
                3: "this says that writing failed. Which line says why?",
                8: "this is what the second night found. What had happened in the first?"},
           "night_d":
               {"slow link": "with a slow link all ranks wait. One of them does not",
                "mismatched call": "the steps end, so all made the same calls",
                2: "rank 0 waits most of its time, so it is not the one that is late"},
           "night_e":
               {"killed rank": "SIGTERM comes from torchrun, again and again. Why does it restart?",
                "lost network": "both jobs reached the store: one was let in, again and again",
                "short time-out": "the second job waited for an agent that did not belong to it",
                9: "the rendezvous was closed in the end. What made the agent restart before?",
                11: "this is how the second job ended. What do the two have in common?"},
           "night_f":
               {"learning rate": "in step 4 three ranks are well. Steps that are too large show on all",
                9: "in step 5 all have it, through the averaged gradient. Who had it first?"},
           }  # fmt: skip
ASK = "give a dictionary with night_a to night_f"


def first_wrong(answer):
    """The first log whose cause or line is wrong, as (log, word), else nothing: ()."""
    if not isinstance(answer, dict) or set(answer) != set(RIGHT):
        raise NotYet(ASK)
    for name, given in sorted(answer.items()):
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise NotYet(f"{name}: give two things, the cause and the number of a line")
        cause, line = given
        if cause not in CAUSES:
            raise NotYet(f"{name}: the cause {cause!r} is not in the list: {', '.join(CAUSES)}")
        if type(line) is not int or not 1 <= line <= LENGTH[name]:
            raise NotYet(f"{name}: the line is a whole number from 1 to {LENGTH[name]}, not {line!r}")
        if cause != RIGHT[name][0]:
            return name, cause
        if line != RIGHT[name][1] and line not in ALSO.get(name, ()):
            return name, line
    return ()


def other_words(name):
    """Each wrong answer about one log, with what it is told."""
    cause, line = RIGHT[name]
    for word in CAUSES:
        if word != cause:
            otherwise = (
                f"no line shows {word!r}. Which rank is in another place than the rest, and who was first?"
            )
            yield (name, word), f"{name}: {WHY_NOT[name].get(word, otherwise)}", {name: (word, line)}
    for number in range(1, LENGTH[name] + 1):
        if number != line and number not in ALSO.get(name, ()):
            otherwise = f"the cause is right. Line {number} fits other causes as well"
            yield (name, number), f"{name}: {WHY_NOT[name].get(number, otherwise)}", {name: (cause, number)}


rules(
    "logs", first_wrong,
    [
        slip(seen.__eq__, sentence, wrong)
        for seen, sentence, wrong in itertools.chain(*map(other_words, RIGHT))
    ],
    also=[says({"night_g": ("straggler", 1)}, ASK),
          says({"night_a": "killed rank"},
               "night_a: give two things, the cause and the number of a line"),
          says({"night_a": ("memory", 10)},
               f"night_a: the cause 'memory' is not in the list: {', '.join(CAUSES)}"),
          says({"night_b": ("mismatched call", 70)},
               "night_b: the line is a whole number from 1 to 8, not 70")],
    example=lambda wrong: RIGHT | wrong if set(wrong) <= set(RIGHT) else wrong,
    hint="Cross out what is a consequence: SIGTERM, lost contact, time-outs. What is left?",
    done="six causes, and the lines that show them")  # fmt: skip

# ---------------------------------------------------------------- who never waits

# What the ranks took from begin to ready in six steps. Rank 2 is slow; rank 0 has one slow step, the last;
# rank 3 begins the first step late, so that it is the last one there.
LATE, TOOK = 0.5, [[0.12] * 5 + [3.0], [0.1] * 6, [0.45] * 6, [0.15] * 6]


def stamped(took):
    """By rank, by step: (begin, ready, end), where all ranks end a step together."""
    stamps, now = [[] for _ in took], 0.0
    for step in range(len(took[0])):
        begins = [now + (LATE if (step, rank) == (0, 3) else 0) for rank in range(len(took))]
        ready = [begin + rank[step] for begin, rank in zip(begins, took, strict=True)]
        now = round(max(ready) + 0.05, 3)
        for rank, (begin, there) in enumerate(zip(begins, ready, strict=True)):
            stamps[rank].append((round(begin, 3), round(there, 3), now))
    return stamps


STAMPS = stamped(TOOK)


def slow_rank(body):
    return f"from statistics import mean, median\ndef slow_rank(stamps):\n    return {body}"


def of(value, how="min"):
    """The rank with the smallest or largest of a value of its steps."""
    return slow_rank(f"{how}(range(len(stamps)), key=lambda r: {value.replace('STEPS', 'stamps[r]')})")


rules(
    "slow-rank", lambda answer: answer([list(steps) for steps in STAMPS]),
    [slip(lambda rank: rank == 3, "rank 3 only began late once. How long did each wait, from ready to end?",
          of("STEPS[0][2] - STEPS[0][0]"), of("sum(c - a for a, b, c in STEPS)"),
          of("STEPS[0][2] - STEPS[0][1]")),
     slip(lambda rank: rank == 0,
          "rank 0 was slow in one step of six. Take what is usual for a rank, its median: not its worst "
          "step, its last, its sum or its mean",
          of("max(b - a for a, b, c in STEPS)", "max"), of("mean(b - a for a, b, c in STEPS)", "max"),
          of("mean(c - b for a, b, c in STEPS)"), of("STEPS[-1][2] - STEPS[-1][1]")),
     slip(lambda rank: rank == 1,
          "rank 1 waits longest, so it is the fastest. The slow one waits least",
          of("median(c - b for a, b, c in STEPS)", "max"), of("sum(c - b for a, b, c in STEPS)", "max")),
     slip(lambda rank: rank != 2, "return the number of a rank, from 0 on", slow_rank("'rank 2'"))],
    needs="slow_rank", example=code,
    hint="Waiting is end minus ready. Which rank waits least in its usual step?",
    done="rank 2 never waits; one slow step or a late start of others does not deceive you")  # fmt: skip

# ---------------------------------------------------------------- whose copy differs

SUMS = [["a1", "b1"], ["a2", "b1"], ["a2", "b1"], ["a2", "b1"]]
EQUAL = [["a1", "b1"]] * 3
TIE = [["a1", "b1"], ["a2", "b1"]]
LATER = [["a1", "b1"], ["a1", "b1"], ["a1", "b2"]]
PAIR = [["a1", "b1"], ["a2", "b2"], ["a1", "b1"], ["a2", "b2"], ["a1", "b1"]]


def odd_ranks(body):
    return f"from collections import Counter\ndef odd_ranks(sums):\n    {body}"


def seen_of(answer):
    return [answer([list(one) for one in table]) for table in (SUMS, EQUAL, TIE, LATER, PAIR)]


MAJORITY = (
    "keys = [tuple(s) for s in sums]\n    top, n = Counter(keys).most_common(1)[0]\n"
    "    return [r for r, k in enumerate(keys) if k != top]"
)
rules(
    "odd-ranks", seen_of,
    [slip(lambda seen: seen[0] == [1, 2, 3],
          "rank 0 is the odd one here: ranks 1, 2 and 3 agree. Compare with what most ranks have",
          odd_ranks("return [r for r, s in enumerate(sums) if s != sums[0]]")),
     slip(lambda seen: not isinstance(seen[0], list), "return a list of ranks, empty where all agree",
          odd_ranks("return 0")),
     slip(lambda seen: seen[0] != [0], "of the first four ranks only rank 0 differs: the list is [0]",
          odd_ranks("return []"), odd_ranks("return [r for r, s in enumerate(sums) if s[1] != 'b1']")),
     slip(lambda seen: seen[1] != [], "where all ranks agree the list is empty",
          odd_ranks("return [0]")),
     slip(lambda seen: seen[2] != [0, 1],
          "two ranks that differ cannot outvote each other. Without a majority return all ranks",
          odd_ranks(MAJORITY)),
     slip(lambda seen: seen[3] != [2],
          "of three ranks the last one differs in its second checksum only: compare whole lists",
          odd_ranks("firsts = [s[0] for s in sums]\n"
                    "    return [r for r, f in enumerate(firsts) if 2 * firsts.count(f) <= len(sums)]")),
     slip(lambda seen: seen[4] != [1, 3],
          "of five ranks two differ from the rest and equal each other: they are odd all the same, [1, 3]",
          odd_ranks("return [r for r, s in enumerate(sums) if sums.count(s) == 1]"))],
    needs="odd_ranks", example=code,
    hint="Count how often each whole list of checksums occurs. More than half of the ranks make a majority.",
    done="the majority outvotes the odd rank, and without a majority all are suspect")  # fmt: skip

# ---------------------------------------------------------------- restart or stop

KEEP = "keep the five situations as they are, and write 'restart' or 'stop' for each"
DECISIONS = {"node failure": "restart", "same error at the same step twice": "stop", "time limit": "restart",
             "checksums differ": "stop", "out of memory in the first step": "stop"}  # fmt: skip
WHY = {"node failure": "a node comes from outside: the next one is well, and the checkpoint is too",
       "same error at the same step twice": "it will come a third time, and each try costs node-hours",
       "time limit": "nothing is broken: the next job of the chain goes on",
       "checksums differ":
           "the weights are spoilt, and each further checkpoint is as well. Find the last one that agrees",
       "out of memory in the first step": "the same program needs the same memory again"}  # fmt: skip


def first_odd(answer):
    if not isinstance(answer, dict) or set(answer) != set(DECISIONS):
        raise NotYet(KEEP)
    for name in DECISIONS:
        if answer[name] not in ("restart", "stop"):
            raise NotYet(f"{name}: write 'restart' or 'stop', not {answer[name]!r}")
    return next((name for name in DECISIONS if answer[name] != DECISIONS[name]), "")


OPPOSITE = {"restart": "stop", "stop": "restart"}
rules(
    "restart", first_odd,
    [slip(name.__eq__, f"{name}: {WHY[name]}", {name: OPPOSITE[right]}) for name, right in DECISIONS.items()],
    also=[says({"a fire": "stop"}, KEEP),
          says({"time limit": "perhaps"}, "time limit: write 'restart' or 'stop', not 'perhaps'")],
    example=lambda wrong: DECISIONS | wrong if set(wrong) <= set(DECISIONS) else wrong,
    hint="Did it come from outside? Would it come again? Has it reached the weights?",
    done="restart what came from outside, stop what would come again or has reached the weights")  # fmt: skip

# ---------------------------------------------------------------- how many failures

values(
    "forecast", 419 / 54 * 20 * 256 / 16384,
    {419 / 54 * 20: "this is for 16,384 GPUs. You have 256",
     419 * 256 / 16384: "this is for 54 days. Your run has 20",
     54 * 24 / 419 * 16384 / 256: "these are the hours between two failures. How many fit into 20 days?",
     54 / 419 * 16384 / 256: "these are the days between two failures. How many fit into 20 days?",
     419 / 54 * 256 / 16384: "this is for one day. Your run has 20",
     466 / 54 * 20 * 256 / 16384: "466 has the planned interruptions, too: take the 419",
     2.0: "this is rounded: what is expected is a mean, and has decimals",
     3.0: "this is rounded: what is expected is a mean, and has decimals"},
    ask="give one number of failures",
    otherwise=slip(bool, "take the failures of a day, of one GPU, times your days and your GPUs", 7.0),
    hint="Failures per day and GPU, times days, times GPUs.",
    within=0.02,
    done="about two or three failures in 20 days on 256 GPUs: the run must go on by itself")  # fmt: skip

"""Checks of the exercises on checkpoints. One watches what a function does to files, none needs Slurm."""

import numbers
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from scaleup.exercises import NotYet, code, rules, says, slip, values

# ---------------------------------------------------------------- what was forgotten

PARTS = ("optimizer", "step", "position", "random")
RIGHT = ("step", "position", "optimizer", "random")


def four(answer):
    given = answer if isinstance(answer, tuple | list) else ()
    if len(given) != 4 or not all(isinstance(part, str) for part in given):
        raise NotYet("give four parts in quotes: (first, second, third, fourth)")
    parts = tuple(part.strip().lower() for part in given)
    for part in parts:
        if part not in PARTS:
            raise NotYet(f"'{part}' is none of the four parts: optimizer, step, position, random")
    return parts


def but(place, part):
    return tuple(part if n == place else right for n, right in enumerate(RIGHT))


def at(place, *wrong):
    return lambda parts: parts[place] in wrong


rules(
    "forgotten", four,
    [slip(lambda parts: parts[0] == "optimizer" and parts[2] == "step",
          "first and third are exchanged: from what does the learning rate follow?",
          ("optimizer", "position", "step", "random")),
     slip(lambda parts: parts[1] == "random" and parts[3] == "position",
          "second and fourth are exchanged: what was seen twice is data",
          ("step", "random", "optimizer", "position")),
     slip(at(0, "optimizer", "position", "random"),
          "first: the learning rate rises anew. It follows from one number", but(0, "optimizer"),
          but(0, "random")),
     slip(at(1, "optimizer", "step", "random"), "second: what says which data come next?", but(1, "step"),
          but(1, "random")),
     slip(at(2, "step", "position", "random"),
          "third: rate and data are right, and steps are as long as at the start. What does AdamW remember?",
          but(2, "step"), but(2, "random")),
     slip(at(3, "optimizer", "step", "position"),
          "fourth: nothing is worse, only otherwise. What differs without being better or worse?",
          but(3, "optimizer"), but(3, "position"))],
    hint="Ask of each symptom: is it the rate, the data, the length of steps, or only chance?",
    done="four symptoms, four parts; none of them is told by an error",
    also=[says("step", "give four parts in quotes: (first, second, third, fourth)"),
          says((...,) * 4, "write your answer where the … stands"),
          says(but(3, "seed"), "'seed' is none of the four parts: optimizer, step, position, random")],
)  # fmt: skip

# ---------------------------------------------------------------- publish


@contextmanager
def watched(told):
    """Note ("fsync", inode, bytes in the file) and ("rename", inode, source, target, target is there)."""
    kept = {name: getattr(os, name) for name in ("fsync", "replace", "rename")}
    moved = Path.replace, Path.rename

    def fsync(number):
        number = number if isinstance(number, int) else number.fileno()
        state = os.fstat(number)
        told.append(("fsync", (state.st_dev, state.st_ino), state.st_size))
        kept["fsync"](number)

    def renaming(name):
        def rename(source, target):
            source, target = Path(source).absolute(), Path(target).absolute()
            state = source.stat()
            told.append(("rename", (state.st_dev, state.st_ino), source, target, target.exists()))
            return kept[name](source, target)

        return rename

    os.fsync, os.replace, os.rename = fsync, renaming("replace"), renaming("rename")
    Path.replace = Path.rename = lambda self, target: os.replace(self, target)
    try:
        yield
    finally:
        Path.replace, Path.rename = moved
        for name, function in kept.items():
            setattr(os, name, function)


CONTENT = bytes(range(256)) * 10  # less than Python's buffer, so that a missing flush shows


def publishing(answer):
    """What `publish` did to a file that was there already."""
    told = []
    with tempfile.TemporaryDirectory() as folder:
        name = Path(folder).resolve() / "latest.pt"
        name.write_bytes(b"old")
        with open(name, "rb") as keep, watched(told):  # open, so that no other file gets its inode
            answer(str(name.parent), "latest.pt", CONTENT)
            inside = name.exists() and os.path.samestat(os.fstat(keep.fileno()), name.stat())
        there = name.read_bytes() if name.exists() else None
        left = [path.name for path in Path(folder).iterdir() if path.name != "latest.pt"]
    seen = SimpleNamespace(there=there, left=left, inside=inside and there != b"old")
    at = [n for n, each in enumerate(told) if each[0] == "rename" and each[3] == name]
    seen.renamed = bool(at)
    last = told[at[-1]] if at else None
    seen.elsewhere = bool(at) and last[2].resolve().parent != name.parent
    seen.gone = bool(at) and not last[4]
    sizes = [each[2] for each in told[: at[-1]] if each[:2] == ("fsync", last[1])] if at else []
    after = [each for each in told[at[-1] :] if each[:2] == ("fsync", last[1])] if at else []
    seen.late, seen.synced = bool(after) and not sizes, bool(sizes)
    seen.early = bool(sizes) and max(sizes) < len(CONTENT)
    return seen


def source(*lines):
    return "\n".join(["import os", "from pathlib import Path", "def publish(folder, name, content):",
                      *(f"    {line}" for line in lines)])  # fmt: skip


OPEN, WRITE, FLUSH = 'with open(part, "wb") as file:', "    file.write(content)", "    file.flush()"
PART, SYNC = 'part = Path(folder) / f".{name}.part"', "    os.fsync(file.fileno())"
RENAME = "os.replace(part, Path(folder) / name)"
rules(
    "publish", publishing,
    [slip(lambda seen: seen.inside,
          "the name itself was opened for writing: a reader finds half of it, or nothing",
          source("(Path(folder) / name).write_bytes(content)"),
          source('with open(Path(folder) / name, "wb") as file:', WRITE, FLUSH, SYNC)),
     slip(lambda seen: seen.there is None, "there is no file of that name in the end",
          source("(Path(folder) / name).unlink()", PART, OPEN, WRITE, FLUSH, SYNC)),
     slip(lambda seen: seen.there == b"old", "under the name there is still what was there before",
          source(PART, OPEN, WRITE, FLUSH, SYNC), source("pass")),
     slip(lambda seen: seen.there != CONTENT, "under the name there are other bytes than content",
          source(PART, OPEN, "    file.write(content[:100])", FLUSH, SYNC, RENAME)),
     slip(lambda seen: seen.elsewhere,
          "the part was written in another folder: from there a rename may be a copy, which is not atomic",
          source("import tempfile", "part = Path(tempfile.mkdtemp()) / name", OPEN, WRITE, FLUSH, SYNC,
                 RENAME)),
     slip(lambda seen: not seen.renamed, "nothing was renamed to the name: use os.replace at the end",
          source("import shutil", PART, OPEN, WRITE, FLUSH, SYNC, "os.remove(Path(folder) / name)",
                 "os.link(part, Path(folder) / name)", "os.remove(part)")),
     slip(lambda seen: seen.gone,
          "the old file was removed before the rename: a reader in between finds nothing under the name",
          source(PART, OPEN, WRITE, FLUSH, SYNC, "os.remove(Path(folder) / name)", RENAME)),
     slip(lambda seen: seen.late,
          "os.fsync was called after the rename: the name can be on the disk before the bytes are",
          source(PART, OPEN, WRITE, RENAME, 'with open(Path(folder) / name, "rb+") as file:', SYNC)),
     slip(lambda seen: not seen.synced,
          "nothing waits for the disk before the rename: after a power cut the name may stand for no bytes",
          source(PART, OPEN, WRITE, RENAME), source(PART, OPEN, WRITE, FLUSH, RENAME),
          source(PART, "part.write_bytes(content)", RENAME)),
     slip(lambda seen: seen.early,
          "when os.fsync was called the bytes were not all in the file: write, file.flush(), then os.fsync",
          source(PART, OPEN, SYNC, WRITE, FLUSH, RENAME), source(PART, OPEN, WRITE, SYNC, RENAME)),
     slip(lambda seen: bool(seen.left), "the part is still there beside the name. os.replace takes it away",
          source("import shutil", PART, OPEN, WRITE, FLUSH, SYNC, "shutil.copy(part, str(part) + '2')",
                 RENAME))],
    needs="publish", example=code,
    hint="Write all of it under another name in the same folder, wait for the disk, then os.replace.",
    done="a reader finds the old file or the new one, whenever the power goes",
)  # fmt: skip

# ---------------------------------------------------------------- how often

BETWEEN = 6 * 8766 * 3600 / 256


def minutes(seconds):
    return seconds / 60


values(
    "interval", minutes((2 * 20 * BETWEEN) ** 0.5),
    {minutes((2 * 20 * BETWEEN * 256) ** 0.5):
         "this is for one device: 256 of them fail 256 times as often",
     minutes((20 * BETWEEN) ** 0.5): "the 2 beneath the root is missing",
     (2 * 20 * BETWEEN) ** 0.5: "this is in seconds. Give minutes",
     minutes((2 * 20 * BETWEEN) ** 0.5) / 60: "this is in hours. Give minutes",
     minutes((2 * 20 * BETWEEN / 256) ** 0.5): "the 256 devices are counted twice",
     minutes(BETWEEN): "this is the time between two failures. Saving that rarely loses half of the work",
     minutes(BETWEEN) / 2: "this is half of the time between two failures, without the save's cost",
     minutes(2 * 20 * BETWEEN): "the root is missing",
     (2 * 20 / 60 * BETWEEN / 3600) ** 0.5: "save and failure have different units here: take seconds"},
    ask="give one number, in minutes",
    otherwise=slip(lambda _: True, "that is not the root of 2 x save x time between failures", 7.0, 300.0),
    hint="First the time between two failures of the whole job, in seconds; then the root of 2 C M.",
    done="about 91 minutes; twice or half of it costs only a quarter more",
)  # fmt: skip

# ---------------------------------------------------------------- cut anew

CASES = ((10, 4, 2, 1), (10, 4, 2, 0), (12, 4, 3, 1), (7, 2, 4, 3), (5, 4, 2, 1), (9, 3, 3, 2), (5, 4, 4, 3))


def truth(rows, saved, loading, rank):
    old, new = -(-rows // saved), -(-rows // loading)
    begin, end = min(rows, rank * new), min(rows, (rank + 1) * new)
    found = []
    for file in range(saved):
        first, last = min(rows, file * old), min(rows, (file + 1) * old)
        if max(begin, first) < min(end, last):
            found.append((file, max(begin, first) - first, min(end, last) - first))
    return found


def cuts(answer):
    """For each case what was given and what is right."""
    found = []
    for case in CASES:
        given = answer(*case)
        if not isinstance(given, list | tuple):
            raise NotYet(f"rows_to_read has to return a list, not {given!r:.40}")
        for each in given:
            if not (isinstance(each, list | tuple) and len(each) == 3
                    and all(isinstance(n, numbers.Integral) and n is not True for n in each)):  # fmt: skip
                raise NotYet(f"an entry has to be three whole numbers (file, first, last), not {each!r:.40}")
        whole = sorted(tuple(map(int, each)) for each in given)
        found.append(SimpleNamespace(case=case, given=whole, right=truth(*case)))
    return found


def wrong(seen):
    return [each for each in seen if each.given != each.right]


def everywhere(change):
    """Whether each wrong answer is the right one after `change(case, right)`, and there is one."""
    return lambda seen: (
        bool(wrong(seen))
        and all(sorted(each.given) == sorted(change(each.case, each.right)) for each in seen)
    )


def of_the_whole(case, right):
    rows, saved, *_ = case
    size = -(-rows // saved)
    return [(file, first + file * size, last + file * size) for file, first, last in right]


def with_last(_, right):
    return [(file, first, last - 1) for file, first, last in right]


def first_wrong(seen):
    """a sentence made from the first case that is wrong"""
    each = wrong(seen)[0]
    return f"for {each.case} it has to be {each.right}, and yours is {each.given}"


def cutting(old="-(-rows // saved)", new="-(-rows // loading)", entry="(f, max(b, x) - x, min(e, y) - x)",
            keep="max(b, x) < min(e, y)"):  # fmt: skip
    return f"""
def rows_to_read(rows, saved, loading, rank):
    old, new = {old}, {new}
    b, e = min(rows, rank * new), min(rows, (rank + 1) * new)
    found = []
    for f in range(saved):
        x, y = min(rows, f * old), min(rows, (f + 1) * old)
        if {keep}:
            found.append({entry})
    return found
"""


rules(
    "reshard", cuts,
    [slip(everywhere(of_the_whole), "these are rows of the whole matrix: subtract the first row of the file",
          cutting(entry="(f, max(b, x), min(e, y))")),
     slip(everywhere(with_last), "last is counted without itself: (0, 3) are three rows",
          cutting(entry="(f, max(b, x) - x, min(e, y) - x - 1)")),
     slip(lambda seen: any(first >= last for each in seen for _, first, last in each.given),
          "files from which no row is wanted are in the list",
          cutting(keep="True"), cutting(keep="max(b, x) <= min(e, y)")),
     slip(lambda seen: bool(wrong(seen)) and all(len(each.given) == 1 for each in wrong(seen)),
          "it reads from one file only. A part can lie in several",
          cutting().replace("return found", "return found[:1]")),
     slip(lambda seen: bool(wrong(seen)) and all(each.case[0] % each.case[1] or each.case[0] % each.case[2]
                                                 for each in wrong(seen)),
          "where rows do not divide, each rank gets ceil(rows / ranks) of them, and the last ones less",
          cutting(old="rows // saved", new="rows // loading")),
     slip(lambda seen: bool(wrong(seen)), first_wrong,
          says("def rows_to_read(rows, saved, loading, rank):\n    return []",
               "for (10, 4, 2, 1) it has to be [(1, 2, 3), (2, 0, 3), (3, 0, 1)], and yours is []"))],
    needs="rows_to_read", example=code,
    hint="Which rows does this rank want, which does each file have, and what have they in common?",
    done="also where rows do not divide, and where a rank has none",
    also=[says("def rows_to_read(rows, saved, loading, rank):\n    return 3",
               "rows_to_read has to return a list, not 3"),
          says("def rows_to_read(rows, saved, loading, rank):\n    return [(0, 1)]",
               "an entry has to be three whole numbers (file, first, last), not (0, 1)")],
)  # fmt: skip

# ---------------------------------------------------------------- the script

WHY = {
    "b": "b is not wrong: a shell can trap USR1. Only KILL and STOP cannot be trapped",
    "e": "e is not wrong: in the foreground the shell would run its trap only when the step has ended",
    "g": "g is not wrong: a requeued job keeps its number, and a checkpoint belongs to a run, not to a job",
    "h": "h is not wrong: KILL cannot be noted by a program, so nothing would be saved",
}
MISSED = {
    "a": "look at --signal: who gets the signal where B: is missing?",
    "c": "work out how long the save takes: 800 GB at 5 GB/s",
    "d": "what does wait do in a shell when a signal comes that it traps?",
    "f": "what happens after the last step of the run?",
}


def letters(answer):
    if not isinstance(answer, str) or not answer.strip():
        raise NotYet('give four letters as a text, such as "acfh"')
    given = sorted({letter for letter in answer.lower() if letter.isalpha()})
    if strange := [letter for letter in given if letter not in "abcdefgh"]:
        raise NotYet(f"'{strange[0]}' is none of the letters from a to h")
    return given


rules(
    "script", letters,
    [*(slip(lambda given, one=one: one in given, sentence, "acdf" + one, one)
       for one, sentence in WHY.items()),
     *(slip(lambda given, one=one: one not in given, sentence, "acdf".replace(one, ""))
       for one, sentence in MISSED.items())],
    hint="Follow the signal: who gets it, who waits for whom, what takes how long, what comes at the end.",
    done="with B:, five minutes, a second wait, and a requeue only where the step did not end with 0",
    also=[says(4, 'give four letters as a text, such as "acfh"'),
          says("acdz", "'z' is none of the letters from a to h")],
)  # fmt: skip

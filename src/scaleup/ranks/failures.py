"""What went wrong on which rank: the first cause, told in a sentence."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Callable
from pathlib import Path

from ..errors import CourseError

# What a rank reports when it only lost contact to another one. Such a rank is not the one that failed first.
AFTERMATH = re.compile(r"Connection closed by peer|Connection reset by peer|Broken pipe|Timed out waiting")

# gloo ends the process of a rank that is sent more bytes than it has room for.
MISMATCH = "op.preamble.length <= op.nbytes"

PACKAGE = str(Path(__file__).parents[1])  # all of the course

FRAME = re.compile(r'  File "(.+)", line (\d+) in (\S+)')


class RanksFailed(CourseError):
    """A rank raised an exception. `rank` is the first one that did, `traceback` the text of its traceback."""

    def __init__(self, message: str, rank: int, traceback: str) -> None:
        super().__init__(message)
        self.rank = rank
        self.traceback = traceback


class Interrupted(KeyboardInterrupt):
    """An interrupt whose consequence has been printed: a notebook shows its name and no stack."""

    def _render_traceback_(self) -> list[str]:
        return ["KeyboardInterrupt"]


def first_failed(failures: list[tuple[int, str, str, float]]) -> int | None:
    """The rank that failed first, of tuples (rank, exception type, message, when in seconds).

    A rank that lost contact is a consequence of another failure. Ranks that raise the same type within a
    second made the same mistake: then it is the lowest one, so that two runs name the same rank.
    """
    causes = [failure for failure in failures if not AFTERMATH.search(failure[2])] or failures
    if not causes:
        return None
    _, name, _, when = min(causes, key=lambda failure: failure[3])
    return min(rank for rank, other, _, then in causes if other == name and then - when < 1)


def sentence(rank: int, name: str, message: str) -> str:
    lines = message.strip().splitlines()
    what = f"{name}: {lines[0]}" if lines else name
    if AFTERMATH.search(message):
        return (
            f"Rank {rank} lost contact with another rank, which had ended or never made the same collective "
            f"call ({what.rstrip('.')})."
        )
    return f"Rank {rank} failed: {what.rstrip('.')}."


def unequal(rank: int, line: str) -> str:
    """For MISMATCH; `line` is what `where` says."""
    return (
        f"Rank {rank} was sent more than it expects{f' in {line}' if line else ''}: the ranks did not make "
        "the same call with tensors of equal shape and type."
    )


def exception(traceback: list[str]) -> tuple[str, str]:
    """Type and message from the text of a traceback: what follows the last frame.

    A syntax error's message also gets its file and line, which Python writes above it.
    """
    # A chain of exceptions has several tracebacks; a syntax error has none.
    start = max((i for i, line in enumerate(traceback) if line.startswith("Traceback")), default=0)
    for i, line in enumerate(traceback[start:], start):
        if found := re.match(r"([A-Za-z_][\w.]*)(: (.*)|$)", line):
            name, message = found[1].rpartition(".")[2], found[3] or ""
            if name in ("SyntaxError", "IndentationError", "TabError"):
                places = [
                    m for line in traceback[start:i] if (m := re.match(r'  File "(.+)", line (\d+)$', line))
                ]
                message += f" ({Path(places[-1][1]).name}, line {places[-1][2]})" if places else ""
            return name, "\n".join([message, *traceback[i + 1 :]])
    return "Error", traceback[-1]


def waits_in(stack: str, is_own: Callable[[str], bool]) -> tuple[str, int]:
    """The collective that a rank waits in ("" if the stack shows none) and its line of the learner's code.

    `stack` is what faulthandler writes, innermost call first; `is_own` tells the learner's file by its path.
    The line is 0 where no own code is on the stack.
    """
    frames = [(found[1], int(found[2]), found[3]) for found in FRAME.finditer(stack)]
    collective = ""
    for i, (file, _, name) in enumerate(frames):
        if is_own(file):
            # A cell's own frame is its outermost one: functions that it calls come from earlier cells.
            return collective, next((line for f, line, n in frames[i:] if is_own(f) and n == "<module>"), 0)
        if file.endswith("distributed_c10d.py"):
            collective = name
    return "", 0


def where(stack: str) -> tuple[str, str]:
    """The collective a program's rank waits in, and "line 12 of train.py": each "" if the stack has none.

    `stack` is what faulthandler writes, innermost call first. The learner's code is what is neither Python's,
    nor a package's, nor the course's, nor a check's.
    """
    paths = sysconfig.get_paths()
    others = (paths["purelib"], paths["platlib"], paths["stdlib"], PACKAGE, "<")
    collective = ""
    for file, line, name in FRAME.findall(stack):
        if not file.startswith(others) and "/exercises/checks/" not in file:
            inside = "its cell" if "ipykernel_" in file else Path(file).name
            return collective, f"line {line} of {inside}"
        if file.endswith("distributed_c10d.py"):
            collective = name
    return collective, ""


def stopped_in(stacks: dict[int, str]) -> str:
    """A sentence on what each rank did when a run was stopped; "" if no stack tells."""
    did: dict[tuple[str, str], list[int]] = {}
    for rank, stack in stacks.items():
        if any(found := where(stack)):
            did.setdefault(found, []).append(rank)
    told = []
    for (collective, line), ranks in did.items():
        who = f"rank{'s' if len(ranks) > 1 else ''} {' and '.join(map(str, ranks))}"
        doing = f"waited in dist.{collective}" if collective else ("were" if len(ranks) > 1 else "was")
        told.append(f"{who} {doing}{f' in {line}' if line else ''}")
    if not told:
        return ""
    waits = any(collective for collective, _ in did)
    ends = " What waits in a collective waits for ranks that did not make the same call." if waits else ""
    return f"{'; '.join(told).capitalize()}.{ends}"


def shorten(traceback: list[str]) -> list[str]:
    """File names without the folders of this machine, so that a page looks the same everywhere."""
    paths = sysconfig.get_paths()
    folders = [paths["purelib"], paths["platlib"], paths["stdlib"], str(Path.cwd())]
    short = []
    for line in traceback:
        for folder in folders:
            line = line.replace(folder + os.sep, "")
        short.append(line)
    return short

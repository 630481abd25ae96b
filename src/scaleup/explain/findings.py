"""A diagnosis in words, for a person at a terminal; and the command `scaleup explain`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..errors import CourseError
from ..words import count, one_line
from .causes import REMARK, SYMPTOM, WORDS
from .diagnosis import Candidate, Diagnosis, diagnose

LARGEST = 64 * 2**20  # bytes: of a longer log its start and its end


def text(found: Diagnosis, width: int = 150) -> str:
    """What is likely, the line that shows it, what to do first; what else is possible; what is no cause."""
    best = [each for each in found.candidates if each.cause.level != REMARK][:1]
    if best:
        said = _in_full(best[0], width)
    else:
        said = [f"No sign that I know in {count(found.lines, 'line')}."]
        if found.error:
            said.append(f"  the first error: line {found.error[0]}: {one_line(found.error[1], width)}")
        said.append("  next: the logs of the single ranks, the first that ended before all, and sacct -j JOB")
    if found.waits and (not best or best[0].cause.level == SYMPTOM):
        said.append(f"  who waits: {found.waits}")
    others = [each for each in found.candidates if each not in best]
    causes = [each for each in others if each.cause.level < SYMPTOM]
    for each in causes:
        said.append(f"Also possible: {each.cause.title} ({WORDS[each.cause.level]})")
        said.append(f"  line {each.line}: {one_line(each.text, width)}")
    for each in [each for each in others if each.cause.level == REMARK]:
        said.append(f"By the way, line {each.line}: {each.cause.title}: {each.cause.first}")
    after = [(each.line, each.text) for each in others if each.cause.level == SYMPTOM]
    after = sorted([*after, *found.consequences])
    if after:
        said.append(f"No cause, but its consequences: {count(len(after), 'line')}, the first")
        said.append(f"  line {after[0][0]}: {one_line(after[0][1], width)}")
    return "\n".join(said)


def _in_full(each: Candidate, width: int) -> list[str]:
    rank = f", rank {each.rank}" if each.rank is not None else ""
    return [
        f"{each.cause.title} ({WORDS[each.cause.level]}{rank})",
        f"  line {each.line}: {one_line(each.text, width)}",
        f"  first: {each.cause.first}",
        f"  to prevent it: {each.cause.prevent}",
    ]


def read_log(name: str) -> str:
    """The text of a log; `-` is the standard input. Raises CourseError for what cannot be read."""
    if name == "-":
        return sys.stdin.buffer.read().decode(errors="replace")
    try:
        with Path(name).open("rb") as file:
            start = file.read(LARGEST // 2)
            rest = Path(name).stat().st_size - len(start)
            if rest > LARGEST // 2:
                file.seek(-LARGEST // 2, 2)
                start += b"\n"
            return (start + file.read()).decode(errors="replace")
    except OSError as error:
        raise CourseError(f"{name} cannot be read: {error.strerror}.") from None


def main(name: str, as_json: bool) -> int:
    """Print what the log shows. Returns 0 where a cause is named, 1 where none is."""
    found = diagnose(read_log(name))
    print(json.dumps(found.as_json(), indent=1, ensure_ascii=False) if as_json else text(found))
    return 0 if found.verdict == "known" else 1

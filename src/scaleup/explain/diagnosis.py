"""Read a log: every line that shows a known cause, the likeliest cause first, consequences apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..ranks import failures
from . import waiting
from .causes import AFTERMATH, CAUSES, FOLLOWS, LIKELY, SYMPTOM, WORDS, Cause

FRAME = re.compile(r'\s+File ".+", line \d+(, in .+)?$')
PREFIX = re.compile(r"^(\[rank\d+\]:|\d+:)\s?")  # torchrun's and `srun --label`'s
RANK = re.compile(r"\[[Rr]ank ?(\d+)\]|(?<!_)\b[Rr]ank(?:\s+:)? (\d+)\b|^(\d+): ")
ENDED = re.compile(
    r"\brank\s*: (\d+) \(local_rank: \d+\)\s*exitcode\s*: -(?!15\b|6\b)\d+"
)  # torchrun's table
ERROR = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Interrupt))\b(?!.*\braise\b)")


@dataclass(frozen=True)
class Candidate:
    """A cause and the first line that shows it, counted from 1; `rank` where the line names one."""

    cause: Cause
    line: int
    text: str
    rank: int | None = None

    @property
    def sign(self) -> str:
        """The part of the line that shows the cause."""
        return self.cause.pattern.search(PREFIX.sub("", self.text))[0]

    def as_json(self) -> dict:
        cause = self.cause
        return {
            "cause": cause.name, "title": cause.title, "confidence": WORDS[cause.level],
            "line": self.line, "text": self.text, "sign": self.sign, "rank": self.rank,
            "first": cause.first, "prevent": cause.prevent,
        }  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """What a log shows. `candidates` has the likeliest first; `consequences` are lines that are none.

    `error` is the first exception that no cause explains, `waits` a sentence on who waited for whom.
    """

    lines: int
    candidates: tuple[Candidate, ...]
    consequences: tuple[tuple[int, str], ...]
    error: tuple[int, str] | None
    waits: str

    @property
    def verdict(self) -> str:
        """`known`, `symptom` where ranks only report that they waited, else `unknown`."""
        if not self.candidates or self.candidates[0].cause.level > SYMPTOM:
            return "unknown"
        return "symptom" if self.candidates[0].cause.level == SYMPTOM else "known"

    def as_json(self) -> dict:
        return {
            "verdict": self.verdict,
            "candidates": [candidate.as_json() for candidate in self.candidates],
            "first_unexplained_error": self.error and {"line": self.error[0], "text": self.error[1]},
            "waits": self.waits,
            "consequences": [{"line": line, "text": text} for line, text in self.consequences],
            "lines": self.lines,
        }


def diagnose(log: str) -> Diagnosis:
    """The diagnosis of a log's whole text. Terminal colours and the ranks' prefixes are looked through."""
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in log.splitlines()]
    found: dict[str, Candidate] = {}
    consequences, errors = [], []
    source = False  # whether the line before announced a line of Python's source
    for number, line in enumerate(lines, 1):
        plain = PREFIX.sub("", line)
        if source := bool(FRAME.match(plain)) or (source and plain.startswith("    ")):
            continue
        if cause := read(line):
            found.setdefault(cause.name, Candidate(cause, number, line.strip(), _rank(line)))
        elif AFTERMATH.search(line):
            consequences.append((number, line.strip()))
        elif ERROR.match(plain):
            errors.append((number, line.strip()))
    stacks = {0: log} if "most recent call first" in log else {}
    if ended := ENDED.search(log):
        for name, each in found.items():
            if each.cause.level == LIKELY and each.rank is None:
                found[name] = replace(each, rank=int(ended[1]))
    waits = waiting.told(lines) or failures.stopped_in(stacks)
    first = errors[0] if errors else None
    return Diagnosis(len(lines), tuple(ranked(list(found.values()))), tuple(consequences), first, waits)


def read(line: str) -> Cause | None:
    """The cause that one line shows; consequences show none."""
    plain = PREFIX.sub("", line)
    matches = [cause for cause in CAUSES if cause.pattern.search(plain)]
    if not matches or (AFTERMATH.search(line) and all(cause.level >= SYMPTOM for cause in matches)):
        return None
    return min(matches, key=lambda cause: cause.level)


def ranked(candidates: list[Candidate]) -> list[Candidate]:
    """The likeliest first: what is sure before what is likely before symptoms, and earlier lines first.

    What an earlier cause explains, such as the time limit that ends a hang, stands behind it.
    """

    def key(each: Candidate) -> tuple[float, int]:
        explaining = FOLLOWS.get(each.cause.name, ())
        earlier = [c.cause.level for c in candidates if c.cause.name in explaining and c.line < each.line]
        return (min(earlier) + 0.5 if earlier else each.cause.level), each.line

    return sorted(candidates, key=key)


def _rank(line: str) -> int | None:
    found = RANK.search(line)
    return int(next(group for group in found.groups() if group)) if found else None

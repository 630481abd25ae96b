"""Remarks on a job script: a sentence, its line, the lesson that explains it, and a mend where it is certain.

A remark never refuses a script: only the scheduler does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .reading import Reading

FIRST_JOB = "notebooks/4-on-the-machine/first-job.ipynb"
MULTI_NODE = "notebooks/4-on-the-machine/multi-node.ipynb"
SOFTWARE = "notebooks/4-on-the-machine/software.ipynb"


@dataclass(frozen=True)
class Remark:
    """`mend` maps numbers of lines to their new text; None removes the line."""

    name: str
    line: int | None
    sentence: str
    lesson: str
    mend: Mapping[int, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """Where a rule holds, with the values that its sentence wants."""

    line: int | None
    values: Mapping[str, object] = field(default_factory=dict)
    mend: Mapping[int, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """A script in which the rule finds something, in this line, on this machine."""

    text: str
    line: int | None
    machine: str = "leonardo-booster"


@dataclass(frozen=True)
class Rule:
    """`explains`: whether it can be the reason for which the scheduler refuses the script."""

    name: str
    test: Callable[[Reading], Iterable[Finding]]
    sentence: str
    lesson: str
    example: Example
    explains: bool = False

    def remarks(self, reading: Reading) -> Iterator[Remark]:
        for found in self.test(reading):
            sentence = self.sentence.format(line=found.line, **found.values)
            yield Remark(self.name, found.line, sentence, self.lesson, found.mend)


def remarks(reading: Reading, rules: Iterable[Rule]) -> list[Remark]:
    """All remarks of these rules, in their order; one sentence is said once."""
    found: dict[str, Remark] = {}
    for rule in rules:
        for remark in rule.remarks(reading):
            found.setdefault(remark.sentence, remark)
    return list(found.values())

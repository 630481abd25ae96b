"""What came of asking about a script, for a person and for an editor."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from .remark_table import EXPLAINING
from .remarks import Remark


@dataclass(frozen=True)
class Verdict:
    """`scheduler` is what Slurm said, `refusals` what to change, `remarks` what else there is to say."""

    accepted: bool
    scheduler: str
    refusals: tuple[Remark, ...] = ()
    remarks: tuple[Remark, ...] = ()

    @property
    def advice(self) -> str:
        """In one line: of a refused script only what can be the reason, of an accepted one all remarks."""
        said = [*self.refusals, *(each for each in self.remarks if self.accepted or each.name in EXPLAINING)]
        return " ".join(remark.sentence for remark in said)

    @property
    def all(self) -> tuple[Remark, ...]:
        return (*self.refusals, *self.remarks)

    def as_json(self, machine: str, script: Path) -> str:
        """For an editor: line numbers start at 1, null where no one line is meant."""
        found = [
            {
                "line": remark.line,
                "kind": "refusal" if remark in self.refusals else "remark",
                "rule": remark.name,
                "message": remark.sentence,
                "lesson": remark.lesson,
                "can_fix": bool(remark.mend),
            }
            for remark in self.all
        ]
        content = {
            "script": str(script),
            "machine": machine,
            "accepted": self.accepted,
            "scheduler": self.scheduler,
            "found": found,
        }
        return json.dumps(content, ensure_ascii=False, indent=2)


def to_dict(verdict: Verdict) -> dict:
    return asdict(verdict)


def from_dict(content: dict) -> Verdict:
    def read(found: Iterable[dict]) -> tuple[Remark, ...]:
        return tuple(
            Remark(**each | {"mend": {int(line): text for line, text in each["mend"].items()}})
            for each in found
        )

    return Verdict(
        content["accepted"], content["scheduler"], read(content["refusals"]), read(content["remarks"])
    )


def told(remark: Remark) -> str:
    """One line for a person."""
    place = f"line {remark.line}: " if remark.line else ""
    return f"  {place}{remark.sentence}"


def report(verdict: Verdict, machine: str) -> str:
    """The scheduler's words, then ours, each with its line, then the lessons that explain them."""
    lines = [verdict.scheduler]
    if verdict.accepted:
        lines.append(f"Accepted, by a Slurm with the limits of {machine} in data/machines.yml.")
    else:
        lines.append("Refused. To change:")
    lines += [told(remark) for remark in verdict.refusals]
    if verdict.remarks:
        lines.append("To look at:")
        lines += [told(remark) for remark in verdict.remarks]
    lessons = list(dict.fromkeys(remark.lesson for remark in verdict.all))
    if lessons:
        lines.append(f"Explained in {' and '.join(lessons)}.")
    if any(remark.mend for remark in verdict.all):
        lines.append("What is certain is mended with --fix, into a new file.")
    return "\n".join(lines)

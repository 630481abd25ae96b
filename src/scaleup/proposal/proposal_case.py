"""What an annex is written from: words, machine, mode, plan and study, looked up once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from .. import machines
from ..errors import CourseError
from ..machines import Machine
from ..plan import Answer, Question, answer
from ..plan.question import machine_facts
from ..study import Study
from ..words import did_you_mean
from . import asked_hours
from .asked_hours import Basis, Mode, Part
from .own_words import Words


@dataclass(frozen=True)
class Case:
    """All that an annex is written from."""

    words: Words
    name: str  # of the machine
    machine: Machine
    answer: Answer | None  # None: there is no plan to be made
    why_no_plan: str
    mode: Mode | None
    modes: tuple[Mode, ...]
    study: Study | None

    @property
    def basis(self) -> Basis | None:
        return asked_hours.basis(self.answer.best, self.words, self.study, self.name) if self.answer else None

    @property
    def parts(self) -> tuple[Part, ...]:
        return asked_hours.parts(self.basis, self.words) if self.answer else ()

    @property
    def node_hours(self) -> float:
        return asked_hours.total(self.parts)

    @property
    def asked(self) -> tuple[float, str] | None:
        """Hours and unit that the company asks for in its own words, or None: the computed ones."""
        hours, unit = (self.words.get("request", key) for key in ("hours", "unit"))
        return (hours, asked_hours.unit(unit)) if hours and unit else None


def case(words: Words, study: Study | None, modes: Mapping[str, Mode], machine: str | None = None,
         mode: str | None = None) -> Case:  # fmt: skip
    """Look up the machine and the mode, and ask the planner. `machine` and `mode` win over the file's."""
    name = machine or words.get("request", "machine")
    if not name:
        raise CourseError('Name the machine: machine = "lumi-g" below [request], or --machine lumi-g.')
    wanted = mode or words.get("request", "mode")
    if wanted and modes and wanted not in modes:
        raise CourseError(f"data/access.yml has no mode '{wanted}'. {did_you_mean(wanted, modes)}")
    facts = machines.machine(name)
    found, why = None, ""
    try:
        found = planned(words, name)
    except CourseError as error:
        why = str(error)
    return Case(words, name, facts, found, why, modes.get(wanted), tuple(modes.values()), study)


def planned(words: Words, machine: str) -> Answer:
    """The plan that [plan] asks for. Raises CourseError where it has none."""
    known = {field.name for field in fields(Question)} - {"machine", "deadline", "scale", "largest", "price"}
    for key in words.plan:
        if key not in known:
            raise CourseError(
                f"[plan] has '{key}', which the planner is not asked. {did_you_mean(key, known)}"
            )
    if not words.plan.get("model") or not words.plan.get("tokens"):
        raise CourseError("[plan] names no model, or no tokens: there is nothing to plan.")
    return answer(Question(machine=machine, **words.plan), machine_facts(machine))

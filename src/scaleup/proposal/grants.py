"""What an annex measures itself against, from `data/access.yml`: modes, who may ask, rules."""

from __future__ import annotations

from ..access import doors
from ..machines.facts import Fact
from .asked_hours import Mode


def rule(part: str, name: str) -> Fact:
    """One fact of a section of the file, such as ("law", "flop_line")."""
    return doors.section(part)[name]


def modes() -> dict[str, Mode]:
    """{key: mode}, in the file's order."""
    return {key: _mode(key, facts) for key, facts in doors.modes().items()}


def _mode(key: str, facts: doors.Mode) -> Mode:
    days = sorted({source.date for name in ("least", "most") for source in facts[name].sources})
    note = facts["status"].note
    return Mode(
        key=key,
        name=str(facts["name"]),
        unit=str(facts["unit"]),
        least=facts["least"].value,
        most=facts["most"].value,
        months=tuple(facts["months"].value or ()),
        decided=str(facts["decided"]),
        said=f"data/access.yml, sources of {' to '.join(dict.fromkeys((days[0], days[-1])))}",
        machines=tuple(facts["machines"].value or ()),
        machines_said=f"{facts['machines'].note} ({facts['machines'].date})",
        cut_offs=tuple(map(str, facts["cut_offs"].value or ())),
        status=f"{facts['status']} ({note})" if note else str(facts["status"]),
    )


def eligible(country: str) -> bool:
    """Whether the country is a member state, or one whose association gives access."""
    return doors.group_of(country) in ("member", "associated")

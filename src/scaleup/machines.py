"""The machines of `data/machines.yml`: each fact with its source and date."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import yaml

from .errors import CourseError
from .paths import root


@dataclass(frozen=True)
class Fact:
    """A value and where it comes from. `value` is None where no source gave one."""

    value: object
    source: str
    date: str
    note: str = ""

    def __str__(self) -> str:
        return "unknown" if self.value is None else str(self.value)


Machine = dict[str, Fact]


def load() -> dict[str, Machine]:
    """{machine id: {field: Fact}}, in the file's order."""
    content = yaml.safe_load((root() / "data" / "machines.yml").read_text())

    def fact(entry: dict) -> Fact:
        source = content["sources"][entry["source"]]
        return Fact(entry["value"], source["title"], str(source["date"]), entry.get("note", ""))

    machines = content["machines"].items()
    return {name: {field: fact(entry) for field, entry in fields.items()} for name, fields in machines}


def machine(name: str) -> Machine:
    """One machine. Raises CourseError with the nearest name."""
    known = load()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1) or list(known)
        raise CourseError(
            f"There is no machine '{name}' in data/machines.yml. Did you mean {' or '.join(near)}?"
        )
    return known[name]

"""The facts of `data/access.yml`: modes of access, who may use them, who helps, what binds afterwards."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import CourseError
from ..files import read_data
from ..machines.facts import Fact, address_problems, source_of
from ..words import did_you_mean

KINDS = ("law", "official", "press", "notes", "user", "course")
UNITS = ("GPU-hour", "node-hour")
CONFLICT = "CONFLICT"  # how the note of a fact begins where sources differ

NUMBER = (int, float)

# Every mode has these fields, in this order. `needed`: it must have a value.
FIELDS: dict[str, tuple[tuple[type, ...], str, bool]] = {
    "name": ((str,), "name", True),
    "call": ((str,), "call", True),
    "unit": ((str,), "unit", True),
    "least": (NUMBER, "least", True),
    "most": (NUMBER, "most", True),
    "months": ((list,), "months", True),
    "decided": ((str,), "how it is decided", True),
    "decision_days": (NUMBER, "working days to the decision", False),
    "start_days": (NUMBER, "days to the start", False),
    "cut_offs": ((list,), "cut-offs", False),
    "cut_off_day": ((int,), "day of the month of a cut-off", False),
    "status": ((str,), "status", True),
    "for_whom": ((str,), "for whom", True),
    "price": ((str,), "price", True),
    "apply": ((str,), "where to apply", True),
    "machines": ((list,), "machines", False),
}
# The other sections: what an entry of each must have. Nothing: its entries are facts themselves.
SECTIONS: dict[str, tuple[str, ...]] = {
    "countries": (),
    "company": (),
    "elsewhere": ("name", "what", "price"),
    "competitions": ("name", "announced", "awarded", "in_return", "status"),
    "help": ("name", "what", "who", "contact"),
    "after": (),
    "law": (),
    "context": (),
}

Mode = dict[str, Fact]


def content() -> dict:
    """The file as it stands, parsed."""
    return read_data("access.yml")


def _keys(source: str | list[str] | None) -> list[str]:
    return [source] if isinstance(source, str) else source or []


def _fact(entry: dict, known: dict) -> Fact:
    sources = tuple(source_of(key, known[key]) for key in _keys(entry["source"]))
    return Fact(entry["value"], sources, entry.get("note", ""))


def modes() -> dict[str, Mode]:
    """{key: {field: Fact}} of every mode of access, in the file's order. FIELDS has the meanings."""
    return entries("modes")


def mode(key: str) -> Mode:
    """One mode. Raises CourseError with the nearest name."""
    known = modes()
    if key not in known:
        raise CourseError(f"There is no mode '{key}' in data/access.yml. {did_you_mean(key, known)}")
    return known[key]


def section(name: str) -> dict[str, Fact]:
    """The facts of a section that has no entries of its own, such as "company", "law" or "after"."""
    file = content()
    return {key: _fact(entry, file["sources"]) for key, entry in file[name].items()}


def entries(name: str) -> dict[str, dict[str, Fact]]:
    """{key: {field: Fact}} of a section of entries: "elsewhere", "competitions" or "help"."""
    file = content()
    return {
        key: {field: _fact(entry, file["sources"]) for field, entry in fields.items()}
        for key, fields in file[name].items()
    }


def group_of(country: str) -> str:
    """A country's group: "member", "associated", "part" (associated in part) or "other"."""
    for group, fact in section("countries").items():
        if country in fact.value:
            return group
    return "other"


def countries() -> list[str]:
    """Every country that the file names, by alphabet."""
    return sorted(country for fact in section("countries").values() for country in fact.value)


@dataclass(frozen=True)
class Aged:
    """A fact with its place in the file, such as "modes, playground, most"."""

    place: str
    fact: Fact

    @property
    def oldest(self) -> str:
        """The day of its oldest source; empty where no source gave a value."""
        return min((source.date for source in self.fact.sources), default="")

    @property
    def newest(self) -> str:
        """The day of its newest source; empty where no source gave a value."""
        return max((source.date for source in self.fact.sources), default="")


def _places(node: dict, place: str = "") -> Iterator[tuple[str, dict]]:
    for key, entry in node.items():
        here = f"{place}, {key}" if place else key
        if "value" in entry and "source" in entry:
            yield here, entry
        else:
            yield from _places(entry, here)


def by_age() -> list[Aged]:
    """Every fact of the file, the one whose newest source is oldest first; those without a value last."""
    file = content()
    facts = [Aged(place, _fact(entry, file["sources"])) for place, entry in _places(_sections(file))]
    return sorted(facts, key=lambda aged: (aged.newest == "", aged.newest, aged.place))


def _sections(file: dict) -> dict:
    return {name: part for name, part in file.items() if name not in ("read", "sources")}


def problems(file: dict) -> list[str]:
    """What is wrong with a parsed file, a sentence each; nothing when it follows the schema."""
    wrong = []
    if list(file) != ["read", "sources", "modes", *SECTIONS]:
        wrong.append("the sections are not those of the schema, in its order.")
    for key, source in file["sources"].items():
        wrong += [f"{key}: {said}" for said in address_problems(source)]
        if source["kind"] not in KINDS:
            wrong.append(f"{key}: {source['kind']} is no kind of source.")
        if not isinstance(source["date"], datetime.date) or source["date"] > file["read"]:
            wrong.append(f"{key}: the date is a day, and not after the day of reading.")
        if "undated" in source["title"] and "read 20" not in source["title"]:
            wrong.append(f"{key}: an undated page says when it was read.")
    for place, entry in _places(_sections(file)):
        if not {"value", "source"} <= set(entry) <= {"value", "source", "note"}:
            wrong.append(f"{place}: a fact is value, source and perhaps a note.")
        if entry["value"] is not None and not _keys(entry["source"]):
            wrong.append(f"{place}: a value needs a source.")
        unknown = set(_keys(entry["source"])) - set(file["sources"])
        wrong += [f"{place}: the source {key} is not in the list." for key in sorted(unknown)]
    for key, fields in file["modes"].items():
        wrong += [f"modes, {key}: {said}" for said in _mode_problems(fields)]
    for name, wanted in SECTIONS.items():
        for key, fields in file[name].items() if wanted else ():
            if tuple(fields) != wanted:
                wrong.append(f"{name}, {key}: the fields are not those of the schema, in its order.")
    return wrong


def _mode_problems(fields: dict) -> list[str]:
    if list(fields) != list(FIELDS):
        return ["the fields are not those of the schema, in its order."]
    wrong = []
    for name, (types, _, needed) in FIELDS.items():
        value = fields[name]["value"]
        if value is None:
            wrong += [f"{name}: it needs a value."] if needed else []
        elif not isinstance(value, types) or isinstance(value, bool):
            wrong.append(f"{name}: {value!r} has the wrong type.")
    if fields["unit"]["value"] not in UNITS:
        wrong.append(f"unit: {fields['unit']['value']} is no unit.")
    if not wrong and fields["least"]["value"] >= fields["most"]["value"]:
        wrong.append("least is not below most.")
    return wrong

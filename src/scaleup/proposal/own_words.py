"""The company's own words: a TOML file that says what a proposal cannot be computed from.

Whatever is missing stays missing: the annex says there what is to be written, and by whom.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CourseError
from ..words import a_kind, did_you_mean

NUMBER = (int, float)


@dataclass(frozen=True)
class Entry:
    """One key of a table: its kinds, and what the company is asked for. `optional`: no gap without it."""

    ask: str
    kinds: tuple[type, ...] = (str,)
    example: str = '""'
    optional: bool = False


def _number(ask: str, example: str, optional: bool = False) -> Entry:
    return Entry(ask, NUMBER, example, optional)


TABLES: dict[str, dict[str, Entry]] = {
    "request": {
        "title": Entry("a title that names the workload", example='"…"'),
        "machine": Entry("the machine: a name in data/machines.yml", example='"leonardo-booster"'),
        "mode": Entry("the access mode: a name in data/access.yml", example='"fast-lane"'),
        "months": _number("how many months the allocation is to last", "3"),
        "hours": _number("the hours you ask for, if not the computed ones", "20000", optional=True),
        "unit": Entry("the unit of those hours", example='"GPU-hour"', optional=True),
        "continuation": Entry("what follows when the hours are used up: a product, other means, a next "
                              "request"),
    },
    "company": {
        "name": Entry("the company's registered name"),
        "country": Entry("the country of establishment"),
        "sme": Entry("how the status as an SME is documented, linked and partner companies included"),
        "activity": Entry("what the company does, and what the trained model is for"),
    },
    "workload": {
        "what": Entry("what is to be trained and why the result is not to be had otherwise"),
        "framework": Entry("the program that trains, its version, and where it has run before"),
        "why_here": Entry("why this machine, and why a smaller one will not do"),
    },
    "hours": {
        "tuning": _number("trial runs, as a share of the main run, and what they decide", "0.10"),
        "evaluation": _number("evaluation, as a share of the main run", "0.03"),
        "failures": _number("a reserve for failed and repeated work, as a share of all runs", "0.15"),
        "mfu": _number("the MFU that you measured on this machine", "0.38", optional=True),
        "mfu_source": Entry("where that MFU was measured", optional=True),
    },
    "model": {
        "origin": Entry("where the model comes from: from scratch, or whose weights under which licence"),
        "release": Entry("what becomes of the trained model: who gets it, under which licence"),
    },
    "data": {
        "what": Entry("the data: source, languages or modalities, how they were filtered"),
        "gigabytes": _number("the volume of the prepared data in GB", "200"),
        "files": _number("the number of files on the machine", "1200"),
        "rights": Entry("the right to train on each source: licence, contract or exception"),
        "personal": Entry("whether there are personal data, and on which ground they are processed"),
    },
    "layout": {
        "why": Entry("why this layout: what you measured or ruled out"),
    },
    "checkpoint": {
        "save_seconds": _number("how long training stands still for one save, measured", "20"),
        "node_failure_days": _number("mean days between failures of one node, from your runs or the "
                                     "site", "900"),
        "start_minutes": _number("minutes from the start of a job to its first step", "8"),
        "keep": _number("how many checkpoints are kept", "3"),
        "restart": Entry("how the restart was tested: that a stopped run goes on with the same numbers"),
    },
    "storage": {
        "mbit_s": _number("the rate at which data reach the machine, in Mbit/s, measured", "400"),
        "transfer": Entry("how data and results travel, and who does it"),
        "afterwards": Entry("what stays, what is deleted, and when"),
    },
    "team": {
        "experience": Entry("who does the work, and what they have run on how many nodes"),
        "support": Entry("what help is needed, from whom, and how much"),
    },
    "ethics": {
        "assessment": Entry("whom the model could harm, and what is done about it"),
        "ai_act": Entry("your role and duties under the AI Act: provider or deployer, of which kind of "
                        "model"),
    },
}  # fmt: skip
LISTS: dict[str, dict[str, Entry]] = {
    "milestones": {
        "month": _number("the month in which it is reached", "1"),
        "goal": Entry("what is reached"),
        "evidence": Entry("how a reader sees that it was reached"),
        "share": _number("the share of the hours used until then", "0.2"),
    },
    "risks": {
        "risk": Entry("what may go wrong"),
        "answer": Entry("what you do then"),
    },
}
ASKS = {
    "milestones": "milestones by month, each with what a reader can check and the share of hours used by "
    "then",
    "risks": "what may go wrong, and what you do then",
}
PLAN = "plan"  # a table of its own: a question to the planner


@dataclass(frozen=True)
class Words:
    """What the file says. `tables` holds what was there; a text of spaces counts as missing."""

    tables: dict[str, dict[str, Any]]
    milestones: tuple[dict[str, Any], ...] = ()
    risks: tuple[dict[str, Any], ...] = ()
    plan: dict[str, Any] = field(default_factory=dict)
    invented: bool = False

    def get(self, table: str, key: str) -> Any:
        """A value, or None where the company has not written it."""
        return self.tables.get(table, {}).get(key)


def load(path: str | Path) -> Words:
    """Read the company's file. Raises CourseError for a file that cannot be read, and for unknown keys."""
    try:
        with open(path, "rb") as file:
            return parse(tomllib.load(file), str(path))
    except FileNotFoundError:
        raise CourseError(
            f"There is no file {path}. Begin one with all questions in it: scaleup propose --new {path}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"{path} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path} is not TOML: {error}.") from None


def parse(content: Mapping[str, Any], name: str = "the file") -> Words:
    """The words of a parsed file, checked: keys that are known, values of their kind."""
    known = ["invented", PLAN, *TABLES, *LISTS]
    for key in content:
        if key not in known:
            raise CourseError(f"{name} has '{key}', which nothing asks for. {did_you_mean(key, known)}")
    tables = {
        table: _table(content.get(table, {}), keys, f"{name}, [{table}]") for table, keys in TABLES.items()
    }
    lists = {}
    for key, keys in LISTS.items():
        rows = content.get(key, [])
        if not isinstance(rows, list):
            raise CourseError(f"{name}: write each of the {key} below a line [[{key}]].")
        lists[key] = tuple(_table(row, keys, f"{name}, [[{key}]]") for row in rows)
    plan = content.get(PLAN, {})
    if not isinstance(plan, dict):
        raise CourseError(f"{name}: [plan] is a table of the planner's questions, such as model and nodes.")
    invented = content.get("invented", False)
    if not isinstance(invented, bool):
        raise CourseError(f"{name}: invented is true or false.")
    return Words(tables, lists["milestones"], lists["risks"], dict(plan), invented)


def _table(given: Any, keys: Mapping[str, Entry], place: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise CourseError(f"{place} is {a_kind(given)} where a table was expected.")
    found = {}
    for key, value in given.items():
        if key not in keys:
            raise CourseError(f"{place} has '{key}', which nothing asks for. {did_you_mean(key, keys)}")
        entry = keys[key]
        if isinstance(value, bool) or not isinstance(value, entry.kinds):
            kind = "a number" if entry.kinds == NUMBER else "a text"
            raise CourseError(f"{place}: {key} is {a_kind(value)} where {kind} was expected: {entry.ask}.")
        if isinstance(value, str) and not (value := value.strip()):
            continue
        if not isinstance(value, str) and not 0 <= value < 1e15:
            raise CourseError(f"{place}: {key}={value!r} is impossible: {entry.ask}.")
        found[key] = value
    return found


def template() -> str:
    """A file with every question in it, commented out: what stays so is marked in the annex."""
    lines = [
        "# The company's own words for `scaleup propose`. Take a # away and write; what stays is marked as a",
        "# gap in the annex. Texts may have several lines between triple quotes.",
        "",
        "# invented = true   # a company that does not exist, for practice",
    ]
    for table, keys in TABLES.items():
        lines += ["", f"[{table}]"]
        for key, entry in keys.items():
            lines += [f"# {entry.ask}", f"# {key} = {entry.example}"]
        if table == "request":
            lines += ["", f"[{PLAN}]", "# the training, as `scaleup plan` asks for it; nodes are whole nodes"]
            lines += ['# model = "llama-3-8b"', "# nodes = 16", "# seq = 4096", "# global_batch = 1024"]
            lines += ["# tokens = 50e9"]
    for name, keys in LISTS.items():
        lines += ["", f"# {ASKS[name]}; once for each", f"# [[{name}]]"]
        lines += [f"# {key} = {entry.example}   # {entry.ask}" for key, entry in keys.items()]
    return "\n".join(lines) + "\n"

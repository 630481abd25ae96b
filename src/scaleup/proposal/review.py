"""A draft as a reviewer reads it: each criterion with its points, and what is asked where it fails.

It reads the text alone, so that a draft may come from any hand. It counts what is there; whether the idea
is good it cannot say. The seven with three points are what refusals are most often for, by a catalogue of
access modes of August 2026, second-hand (`catalogue` in `data/access.yml`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .asked_hours import ROOM, UNITS
from .draft import GAP, NOT_READY, found

REFUSED, WANTED = 3, 1  # points: what refusals are most often for, and what else is looked for
ROUNDING = 0.51  # of each number in a sum


@dataclass
class Page:
    """A draft taken apart, titles and captions in small letters; `tables` are {caption: rows, head first}."""

    text: str
    sections: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)

    def about(self, *words: str) -> str:
        """The text of all sections whose title has one of these words, without gaps."""
        return "\n".join(
            re.sub(rf"^> \*\*{GAP}:.*$", "", text, flags=re.M)
            for title, text in self.sections.items()
            if any(word in title for word in words)
        )

    def has(self, section: str, *words: str) -> bool:
        """Whether a section says one of these things."""
        text = self.about(section).casefold()
        return any(word in text for word in words)

    def wrong(self, section: str, *words: str) -> bool:
        """Whether a section has a mark with one of these words."""
        marks = found(self.about(section), NOT_READY)
        return any(word in mark for mark in marks for word in words)

    def table(self, word: str) -> list[list[str]]:
        """The first table whose caption or head has the word; no rows where there is none."""
        for caption, rows in self.tables.items():
            if word in caption or any(word in cell.casefold() for cell in rows[0]):
                return rows
        return []

    def row(self, table: str, begins: str) -> list[str]:
        return next((row for row in self.table(table)[1:] if row[0].casefold().startswith(begins)), [])


def take_apart(markdown: str) -> Page:
    """Sections and tables of a draft in Markdown."""
    page = Page(markdown)
    title, caption, rows = "", "", []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                rows.append(cells)
            continue
        if rows:
            page.tables[caption or f"{title} {len(page.tables)}"] = rows
            caption, rows = "", []
        if heading := re.match(r"##+ +(.*)", line):
            title = heading[1].casefold()
        elif said := re.match(r"\*Table: (.*)\*$", line):
            caption = said[1].casefold()
        page.sections[title] = page.sections.get(title, "") + line + "\n"
    return page


def as_number(cell: str) -> float | None:
    """The first number of a cell: '1,809', '20 %', '4.5 TB'."""
    hit = re.search(r"\d[\d,]*\.?\d*", cell)
    return float(hit[0].replace(",", "")) if hit else None


def sums(page: Page) -> bool:
    """Whether the parts of the hours add up to their total, in every unit."""
    rows = page.table("hours by part")
    if len(rows) < 4 or not rows[-1][0].casefold().startswith("total"):
        return False
    for column, head in enumerate(rows[0]):
        if not any(unit.casefold() in head.casefold() for unit in UNITS):
            continue
        cells = [as_number(row[column]) for row in rows[1:] if len(row) == len(rows[0])]
        if None in cells or abs(sum(cells[:-1]) - cells[-1]) > ROUNDING * len(cells):
            return False
    return True


def fits_its_mode(page: Page) -> bool:
    """Whether mode and months are chosen, and nothing says that they do not fit."""
    mode, months = page.row("asked for", "access mode"), page.row("asked for", "duration")
    chosen = mode and months and "not chosen" not in (mode[1], months[1])
    return (
        bool(chosen)
        and not page.wrong("request", "lasts")
        and not page.wrong("hours", "do not fit", "counts in")
    )


def asks_what_it_needs(page: Page) -> bool:
    """Whether the hours asked for are the computed ones, or a little more."""
    need, asked = page.row("asked for", "computed"), page.row("asked for", "asked")
    if not need:
        return False
    if not asked:
        return True
    if need[1].split()[-1] != asked[1].split()[-1]:
        return False
    return 0.995 <= as_number(asked[1]) / as_number(need[1]) <= ROOM


def points_measured(page: Page) -> bool:
    """Whether a table of scaling has three points or more."""
    rows = page.table("strong scaling") or page.table("weak scaling")
    return len(rows) > 3


def with_error(page: Page) -> bool:
    rows = page.table("strong scaling") or page.table("weak scaling")
    known = len(rows) > 2 and all(re.search(r"\(.* to .*\)|±", " ".join(row)) for row in rows[2:])
    return known and not page.wrong("scaling", "point differ by")


def milestones_hold(page: Page) -> bool:
    rows = page.table("milestones")
    shares = [as_number(row[-1]) for row in rows[1:]]
    return len(shares) >= 2 and None not in shares and shares == sorted(shares) and shares[-1] == 100


@dataclass(frozen=True)
class Criterion:
    """What is looked for, its points, and what a reviewer asks who does not find it."""

    name: str
    points: int
    asks: str
    holds: Callable[[Page], bool]


CRITERIA = (
    Criterion("mode and size", REFUSED, "Are hours and months those of this access mode?",
              fits_its_mode),
    Criterion("status as an SME", REFUSED, "Where is it documented that you are an SME?",
              lambda p: p.has("request", "status as an sme.**")),
    Criterion("arithmetic of the hours", REFUSED, "How do tokens and FLOP become these hours? Do the parts "
                                                  "add up?",
              lambda p: p.has("hours", "flop") and sums(p)),
    Criterion("proof of scaling", REFUSED, "What was measured on 1, 2, 4 … nodes? Without it, why so many?",
              points_measured),
    Criterion("rights to the data", REFUSED, "By which licence, contract or exception may you train on each "
                                             "source?",
              lambda p: p.has("data", "rights.**") and p.has("data", "personal data.**")),
    Criterion("ethics and law", REFUSED, "Whom can the model harm, and what are you under the AI Act?",
              lambda p: p.has("ethics", "assessment.**") and p.has("ethics", "ai act.**")),
    Criterion("continuation", REFUSED, "What follows when the hours are used up?",
              lambda p: p.has("milestones", "continuation.**")),
    Criterion("need for this machine", WANTED, "Why will a smaller machine, or a cloud, not do?",
              lambda p: p.has("machine", "why this machine.**")),
    Criterion("hours asked and needed", WANTED, "You ask for other hours than you computed: what are the "
                                                "rest for?",
              asks_what_it_needs),
    Criterion("trial runs and failures", WANTED, "Nothing ever fails? Where are trial runs and repeated "
                                                 "work?",
              lambda p: None not in [as_number(p.row("hours by part", part)[-1])
                                     if p.row("hours by part", part) else None
                                     for part in ("tuning", "failures")]),
    Criterion("hours rest on a measurement", WANTED, "Which run of yours on this machine has that "
                                                     "throughput?",
              lambda p: p.has("hours", "mfu", "flop") and not p.wrong("hours", "rest on no measurement")),
    Criterion("error of the measurement", WANTED, "How many runs are behind each point, and how far do they "
                                                  "differ?",
              with_error),
    Criterion("scaling on this machine", WANTED, "The curve is of another machine or model: what says it of "
                                                 "yours?",
              lambda p: points_measured(p) and not p.wrong("scaling", "repeat it there", "measure the "
                                                                                         "model")),
    Criterion("scaling to the nodes asked for", WANTED, "What happens between the last point and your nodes?",
              lambda p: points_measured(p) and not p.wrong("scaling", "in between was not measured")),
    Criterion("memory", WANTED, "Does the model fit, with optimizer and activations?",
              lambda p: bool(p.row("memory of", "together")) and not p.wrong("memory", "does not fit")),
    Criterion("layout", WANTED, "Why these ways of parallelism and not others?",
              lambda p: p.has("layout", "why this layout.**")),
    Criterion("restart", WANTED, "Did you ever stop a run and go on? Are the numbers the same?",
              lambda p: p.has("checkpoints", "restart.**")),
    Criterion("wall time", WANTED, "How does the run fit into jobs of the partition's limit, and how often "
                                   "is it saved?",
              lambda p: bool(p.row("saving", "jobs of the chain")) and bool(p.row("saving", "a save every"))),
    Criterion("storage and transfer", WANTED, "How much data, in how many files, arrives how, and what "
                                              "stays?",
              lambda p: bool(p.row("stored", "data on")) and p.has("storage", "transfer.**")
              and p.has("storage", "afterwards.**")),
    Criterion("energy", WANTED, "What does it draw?", lambda p: bool(p.row("energy", "energy of all"))),
    Criterion("milestones", WANTED, "By what do we see in each month that it goes well? Which hours are "
                                    "used by then?",
              milestones_hold),
    Criterion("risks", WANTED, "What will you do when it goes wrong? Name three cases.",
              lambda p: len(p.table("risk")) > 3),
    Criterion("people and support", WANTED, "Who has run this before, and whose help do you need?",
              lambda p: p.has("people", "experience.**") and p.has("people", "support.**")),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """The score of a draft, criterion by criterion."""

    held: tuple[Criterion, ...]
    asked: tuple[Criterion, ...]
    gaps: tuple[str, ...]
    marks: tuple[str, ...]

    @property
    def score(self) -> int:
        return sum(criterion.points for criterion in self.held)

    @property
    def of(self) -> int:
        return sum(criterion.points for criterion in CRITERIA)

    def __str__(self) -> str:
        lines = [f"{self.score} of {self.of} points."]
        grave = [criterion for criterion in self.asked if criterion.points == REFUSED]
        slight = [criterion for criterion in self.asked if criterion.points != REFUSED]
        if grave:
            lines += ["", "What proposals are most often refused for:"]
            lines += [f"- {criterion.name}: {criterion.asks}" for criterion in grave]
        if slight:
            lines += ["", "What a reviewer would ask:"]
            lines += [f"- {criterion.name}: {criterion.asks}" for criterion in slight]
        if self.gaps:
            lines += ["", f"{len(self.gaps)} to be written by you:", *(f"- {gap}" for gap in self.gaps)]
        if self.marks:
            lines += ["", f"{len(self.marks)} not ready:", *(f"- {mark}" for mark in self.marks)]
        return "\n".join(lines)


def review(markdown: str) -> Verdict:
    """Score a draft in Markdown."""
    page = take_apart(markdown)
    held = tuple(criterion for criterion in CRITERIA if criterion.holds(page))
    asked = tuple(criterion for criterion in CRITERIA if criterion not in held)
    return Verdict(held, asked, tuple(found(markdown, GAP)), tuple(found(markdown, NOT_READY)))

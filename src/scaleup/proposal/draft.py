"""A proposal as sections of Markdown, in which gaps and what is not ready stand in place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..words import markdown_table

GAP = "To be written by you"
NOT_READY = "Not ready"
ENDED = tuple(".!?:…")


@dataclass
class Section:
    """A heading and what is below it. `gap` and `mark` write a sentence that stays visible."""

    title: str
    parts: list[str] = field(default_factory=list)

    def say(self, words: str) -> None:
        self.parts.append(words)

    def own(self, label: str, words: str | None, ask: str, key: str) -> None:
        """The company's own words below a label, or the gap that they leave."""
        if words:
            self.parts.append(f"**{label}.** {quiet(words)}")
        else:
            self.gap(ask, key)

    def gap(self, ask: str, key: str) -> None:
        self.parts.append(f"> **{GAP}:** {sentence(ask)} (`{key}`)")

    def mark(self, words: str) -> None:
        self.parts.append(f"> **{NOT_READY}:** {sentence(words)}")

    def table(
        self, caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False
    ) -> None:
        self.parts += [f"*Table: {caption}*", markdown_table(header, rows, numbers)]

    def figure(self, name: str, alt: str) -> None:
        self.parts.append(f"![{alt}]({name})")

    def markdown(self, level: int = 2) -> str:
        return "\n\n".join([f"{'#' * level} {self.title}", *self.parts])


@dataclass
class Draft:
    """A whole annex. `figures` are {file name: SVG}."""

    title: str
    opening: list[str]
    sections: list[Section]
    figures: dict[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        parts = [f"# {self.title}", *self.opening, *(section.markdown() for section in self.sections)]
        return "\n\n".join(parts) + "\n"

    @property
    def gaps(self) -> list[str]:
        return found(self.markdown(), GAP)

    @property
    def marks(self) -> list[str]:
        return found(self.markdown(), NOT_READY)


def found(markdown: str, kind: str) -> list[str]:
    """The sentences of all gaps, or of all marks, of a draft in Markdown."""
    return re.findall(rf"^> \*\*{kind}:\*\* (.+)$", markdown, re.M)


def sentence(words: str) -> str:
    """Words as a sentence: a capital letter first, a full stop last."""
    words = words.strip()
    words = words[:1].upper() + words[1:]
    return words if words.endswith(ENDED) else f"{words}."


def quiet(words: str) -> str:
    """A person's text as paragraphs: it makes no headings, tables or quotes of the draft's own kind."""
    paragraphs = [" ".join(block.split()) for block in re.split(r"\n\s*\n", words.strip())]
    return "\n\n".join(re.sub(r"^([#>|+=-])", r"\\\1", safe(block)) for block in paragraphs)


def cell(words: object) -> str:
    """A person's text in a cell of a table."""
    return safe(" ".join(str(words).split())).replace("|", "\\|")


def safe(words: str) -> str:
    """Words in which nothing is taken for a formula or for HTML; emphasis and code stay."""
    return re.sub(r"([$<])", r"\\\1", words)


def plain(words: object) -> str:
    """A fact's words as they are."""
    return re.sub(r"([\\`*_{}\[\]<>$|~^])", r"\\\1", str(words))

"""A fact of `data/`: a value, and where and when somebody said so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Where facts come from: `kind` is one of those that its file names, `date` an ISO day."""

    key: str
    title: str
    date: str
    kind: str
    url: str | None = None


@dataclass(frozen=True)
class Fact:
    """A value and where it comes from. `value` is None where no source gave one, `unit` empty for words."""

    value: Any
    sources: tuple[Source, ...] = ()
    note: str = ""
    unit: str = ""

    @property
    def source(self) -> str:
        """The titles of all its sources."""
        return "; ".join(source.title for source in self.sources)

    @property
    def date(self) -> str:
        """The days of all its sources, in their order, each once."""
        return ", ".join(dict.fromkeys(source.date for source in self.sources))

    @property
    def kind(self) -> str:
        """The kinds of all its sources, each once."""
        return ", ".join(dict.fromkeys(source.kind for source in self.sources))

    def __str__(self) -> str:
        return "unknown" if self.value is None else str(self.value)

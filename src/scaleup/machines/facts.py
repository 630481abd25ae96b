"""A fact of `data/`: a value, and where and when somebody said so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Source:
    """Where facts come from: `kind` is one of those that its file names, `date` an ISO day.

    Without an address, `why` says why there is none.
    """

    key: str
    title: str
    date: str
    kind: str
    url: str | None = None
    why: str = ""


def source_of(key: str, entry: Mapping[str, Any]) -> Source:
    """A source as its file has it: title, date, kind, url and, where that is null, why."""
    return Source(key, entry["title"], str(entry["date"]), entry["kind"], entry["url"], entry.get("why", ""))


def address_problems(entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with the address of a source, a sentence each: a link, or null and why."""
    if "url" not in entry:
        return ["a source needs url: an address, or null and why."]
    url, why = entry["url"], entry.get("why")
    if url is None:
        return [] if isinstance(why, str) and why.strip() else ["a source without an address needs why."]
    if not isinstance(url, str) or not re.fullmatch(r"https://\S+", url):
        return [f"{url!r} is no address of a page."]
    return ["why is for a source without an address."] if "why" in entry else []


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

    @property
    def links(self) -> str:
        """Its sources in Markdown, each with its day and, where it has an address, as a link."""
        return "; ".join(
            f"{f'[{source.title}]({source.url})' if source.url else source.title}, {source.date}"
            for source in self.sources
        )

    def __str__(self) -> str:
        return "unknown" if self.value is None else str(self.value)

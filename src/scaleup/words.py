"""Words for people: the nearest known name, one line of a longer text, a count, a table for a page."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was probably meant to be, or None where none is near."""
    known = list(known)
    begun = [name for name in known if word and name.startswith(word)]
    near = begun or difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return near[0] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence for an unknown name: the nearest one, or all that there are."""
    known = list(known)
    near = nearest(word, known)
    return f"Did you mean '{near}'?" if near else f"There is: {', '.join(known) or 'none yet'}."


def one_line(text: object, width: int = 300) -> str:
    """The first paragraph of a text on one line, cut at `width` characters."""
    line = " ".join(str(text).split("\n\n")[0].split())
    return line if len(line) <= width else line[: width - 1] + "…"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False) -> str:
    """A table of Markdown; the cells are Markdown too. `numbers`: all columns but the first align right."""
    rule = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def count(number: float, unit: str) -> str:
    """'1 node', '0.5 hours'."""
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def a_kind(value: object) -> str:
    """'an int', 'a list': the type of a value for a sentence."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"

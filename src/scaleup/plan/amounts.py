"""Numbers as people write them: 100B, 100,000,000,000, 2,50, 3.5e9."""

from __future__ import annotations

import re

from ..errors import CourseError

TIMES = {
    "k": 1e3, "m": 1e6, "mn": 1e6, "million": 1e6, "millions": 1e6, "b": 1e9, "bn": 1e9, "g": 1e9,
    "billion": 1e9, "billions": 1e9, "t": 1e12, "tn": 1e12, "trillion": 1e12, "trillions": 1e12,
}  # fmt: skip
_FORM = re.compile(
    r"(?P<sign>[+-]?)(?P<digits>\d[\d.,_'\s]*|[.,]\d+)(?P<power>e[+-]?\d+)?\s*(?P<word>[a-z]*)"
)


def amount(text: str) -> float:
    """A number from its text. Raises CourseError where it is none, or can be read in two ways.

    A comma or a point before three digits groups thousands where it stands more than once or another mark
    comes behind it; a comma alone before three digits does too, a point never.
    """
    said = str(text)[:40].strip()
    found = _FORM.fullmatch(said.lower().replace("\u00a0", " ").replace("\u202f", " "))
    word = found["word"] if found else ""
    if not found or word and word not in TIMES:
        raise CourseError(f"{said!r} is not a number. Write it as 100e9, 100B or 100,000,000,000.")
    digits = re.sub(r"[_'\s]", "", found["digits"])
    plain = _plain(digits)
    if plain is None:
        raise CourseError(f"{said!r} can be read in two ways. Write it without marks between thousands.")
    return float(f"{found['sign']}{plain}{found['power'] or ''}") * TIMES.get(word, 1.0)


def _plain(digits: str) -> str | None:
    """Digits with at most a point in them; None where the marks do not fit together."""
    marks = [mark for mark in digits if mark in ",."]
    if not marks:
        return digits
    kinds = set(marks)
    last = marks[-1]
    if len(kinds) == 2:  # 1,000.50 or 1.000,50: the last one is the decimal mark and stands once
        other = "." if last == "," else ","
        whole, _, part = digits.rpartition(last)
        if marks.count(last) > 1 or not re.fullmatch(rf"\d{{1,3}}(\{other}\d{{3}})+", whole):
            return None
        return f"{whole.replace(other, '')}.{part}"
    if len(marks) > 1 or last == "," and re.fullmatch(r"[1-9]\d{0,2},\d{3}", digits):
        return digits.replace(last, "") if re.fullmatch(rf"\d{{1,3}}(\{last}\d{{3}})+", digits) else None
    return digits.replace(",", ".")


def whole(text: str) -> int:
    """A whole number from its text, such as 1,024 or 4k."""
    value = amount(text)
    if value != int(value):
        raise CourseError(f"{str(text)[:40]!r} is not a whole number. Give one, such as 4.")
    return int(value)

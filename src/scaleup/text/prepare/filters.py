"""What leaves a corpus by rule, and what is blotted out of the texts that stay.

A rule is a function that looks at a text and says whether it goes. `RULES` names those used if you choose
none; a rule of your own is one more function under one more name. `scrub` replaces what looks like personal
data. It finds patterns and knows no people: names, street addresses and many national numbers pass, and
a version number such as 10.2.0.1 is taken for an address of a computer.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

Rule = Callable[[str], bool]


def tidy(text: str) -> str:
    """Composed letters (NFC), line ends of one kind, no zero bytes, no empty edges."""
    text = unicodedata.normalize("NFC", text.replace("\0", ""))
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def too_short(text: str) -> bool:
    """Fewer than eight words: a heading, a button, a broken download."""
    return len(text.split(maxsplit=8)) < 8


def few_letters(text: str) -> bool:
    """Fewer than six in ten visible characters are letters: tables, logs, keys."""
    visible = len(text) - sum(map(str.isspace, text))
    return sum(map(str.isalpha, text)) < 0.6 * visible


def repeated_lines(text: str) -> bool:
    """More than half of at least four lines have stood there before: menus, page footers."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    return len(lines) >= 4 and len(set(lines)) < 0.5 * len(lines)


def odd_words(text: str) -> bool:
    """Words of under 2 or over 15 letters on average: letters apart, or no spaces between words."""
    words = text.split()
    return bool(words) and not 2 <= sum(map(len, words)) / len(words) <= 15


def filler(text: str) -> bool:
    """Text that designers put where text will be."""
    return "lorem ipsum" in text.casefold()


RULES: Mapping[str, Rule] = {
    rule.__name__: rule for rule in (too_short, few_letters, repeated_lines, odd_words, filler)
}


def first_reason(text: str, rules: Mapping[str, Rule] = RULES) -> str | None:
    """The name of the first rule by which the text goes, or None where it stays."""
    return next((name for name, rule in rules.items() if rule(text)), None)


def is_iban(found: str) -> bool:
    """The check digits of ISO 13616: letters become numbers, and the whole leaves 1 when divided by 97."""
    plain = found.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1


def is_address(found: str) -> bool:
    """Whether Python reads it as an address of a computer, version 4 or 6."""
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


def is_address_6(found: str) -> bool:
    """An address of version 6 with three groups at least: `x[::2]` has one, and is Python."""
    return is_address(found) and sum(map(bool, found.split(":"))) >= 3


def is_phone(found: str) -> bool:
    """Eight to fifteen digits, the longest number of ITU-T E.164."""
    return 8 <= sum(map(str.isdigit, found)) <= 15


def is_national(found: str) -> bool:
    """A number that begins with the zero which is dialled within a country, with or without parentheses."""
    return found.lstrip("(").startswith("0") and is_phone(found)


class Pattern(NamedTuple):
    """One kind of personal data: where `sign` is in a text, `pattern` is looked for, and a match tested."""

    kind: str
    sign: str
    pattern: re.Pattern
    test: Callable[[str], bool] = bool


# A pattern begins with what is rare and looks back from there, so that a text is passed over quickly. They
# come in this order because an IBAN holds what looks like a phone number.
PATTERNS = (
    Pattern(
        "email", "@", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
    ),
    Pattern(
        "iban", "", re.compile(r"[A-Z](?<!\w.)[A-Z]\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), is_iban
    ),
    Pattern(
        "ip",
        ":",
        re.compile(r"[\dA-Fa-f:](?<![\w:.].)[\dA-Fa-f]{0,3}:[\dA-Fa-f:]{1,36}(?![\w:])"),
        is_address_6,
    ),
    Pattern("ip", ".", re.compile(r"\d(?<![\w.].)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\d)"), is_address),
    Pattern("phone", "+", re.compile(r"\+(?<![\w+].)[1-9][\d ()./-]{6,20}\d(?!\w)"), is_phone),
    Pattern("phone", "00", re.compile(r"00(?<![\w+]..)(?<!\d ..)[1-9][\d ()./-]{6,20}\d(?!\w)"), is_phone),
    Pattern(
        "phone",
        "0",
        re.compile(r"[(0](?<![\w+.,/-].)(?<!\d .)0?\d{1,4}\)?[ /-]\d[\d /-]{4,12}\d(?!\w|\.\d)"),
        is_national,
    ),
)


def scrub(text: str) -> tuple[str, Counter]:
    """(text with <email>, <iban>, <ip> and <phone> in the places of what was found, how many of each)."""
    found: Counter = Counter()
    for one in PATTERNS:
        if one.sign in text:
            text, count = blot(text, one)
            found[one.kind] += count
    return text, +found


def blot(text: str, one: Pattern) -> tuple[str, int]:
    """Replace every match that passes the test, and count them."""
    count = 0

    def replaced(match: re.Match) -> str:
        nonlocal count
        if not one.test(match[0]):
            return match[0]
        count += 1
        return f"<{one.kind}>"

    return one.pattern.sub(replaced, text), count

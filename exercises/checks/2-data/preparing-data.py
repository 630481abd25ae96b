"""Checks of the exercises on preparing data."""

import json
import math
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from scaleup.errors import CourseError
from scaleup.exercises import NotYet, code, rules, says, slip
from scaleup.exercises.slips import is_number
from scaleup.text import shards
from scaleup.text.prepare import filters

TOTAL_MB, WORKERS, SPEED, HALF_MB, TIMES = 240_000, 32, 2, 2_000, 5


def partition(size):
    if not is_number(size) or size <= 0:
        raise NotYet("give one number, the size of a partition in MB")
    return SimpleNamespace(
        size=size,
        seconds=size / SPEED,
        memory=TIMES * size,
        each=math.floor(100 * TOTAL_MB / size / WORKERS) / 100,  # 19.999 is not 20
        count=TOTAL_MB / size,
    )


rules(
    "partitions", partition,
    [slip(lambda seen: seen.seconds < 10,
          "a task takes {seconds:g} s, and the scheduler has {count:,.0f} of them to hand out: "
          "larger partitions",
          says(10, seconds=5, count=24_000), says(2, seconds=1, count=120_000)),
     slip(lambda seen: seen.size > HALF_MB,
          "the partition alone has {size:,.0f} MB, and a task may take 2,000",
          says(4_000, size=4_000), says(10_000, size=10_000)),
     slip(lambda seen: seen.memory > HALF_MB,
          "a task needs five times its partition, {memory:,.0f} MB, and may take 2,000: smaller partitions",
          says(2_000, memory=10_000), says(800, memory=4_000), says(450, memory=2_250)),
     slip(lambda seen: seen.each < 20,
          "it fits into the memory, but each worker gets only {each:.2f} tasks: who has the last ones "
          "works alone",
          says(400, each=18.75), says(390, each=19.23), says(375.1, each=19.99))],
    hint="Three bounds: what a worker cleans in ten seconds; a fifth of what a task may take; and the whole "
         "folder, divided by the least number of tasks for all workers.",
    done=lambda seen: f"{seen.count:,.0f} tasks of {seen.seconds:g} s, {seen.memory:,.0f} MB each",
    also=[says("100 MB", "give one number, the size of a partition in MB")])  # fmt: skip


def meet(similarity, bands, rows):
    return 1 - (1 - similarity**rows) ** bands


def two(answer):
    shape = isinstance(answer, tuple | list) and len(answer) == 2 and all(map(is_number, answer))
    if not shape or any(each != int(each) or each < 1 for each in answer):
        raise NotYet("give two whole numbers: (bands, rows of each)")
    bands, rows = map(int, answer)
    high, low = meet(0.85, bands, rows), meet(0.5, bands, rows)
    return SimpleNamespace(bands=bands, rows=rows, used=bands * rows, high=100 * high, low=100 * low)


def fits(bands, rows):
    return bands * rows <= 128 and meet(0.85, bands, rows) >= 0.99 and meet(0.5, bands, rows) <= 0.1


rules(
    "bands", two,
    [slip(lambda seen: not fits(seen.bands, seen.rows) and fits(seen.rows, seen.bands),
          "these numbers are right in the other order: bands first, then the rows of each", (8, 16), (7, 12)),
     slip(lambda seen: seen.used > 128,
          "{bands} bands of {rows} need {used} numbers, and a signature has 128",
          says((20, 8), bands=20, rows=8, used=160)),
     slip(lambda seen: seen.high < 99 and seen.low > 10,
          "pairs of 0.85 meet with {high:.1f} %, and those of 0.5 with {low:.1f} %: a few bands of few rows "
          "miss both wishes. Take more rows, and as many bands as there is room for",
          says((2, 3), high=85.1, low=23.4)),
     slip(lambda seen: seen.high < 99,
          "pairs of 0.85 meet with {high:.1f} % only: fewer rows, or more bands",
          says((14, 9), high=97.5), says((12, 8), high=97.8), says((1, 128), high=0)),
     slip(lambda seen: seen.low > 10,
          "pairs of 0.5 meet with {low:.1f} %: more rows, or fewer bands",
          says((18, 7), low=13.2), says((128, 1), low=100), says((25, 5), low=54.8))],
    hint="Print both chances for each number of rows from 4 to 12, with 128 // rows bands.",
    done=lambda seen: f"{seen.bands} bands of {seen.rows}: {seen.high:.1f} % of the pairs at 0.85 meet, and "
                      f"{seen.low:.1f} % at 0.5",
    also=[says(16, "give two whole numbers: (bands, rows of each)"),
          says((16.5, 8), "give two whole numbers: (bands, rows of each)")])  # fmt: skip

TEXTS_WITH_NUMBERS = {
    "plain": ("Write to +48221234567 now.", "Write to <phone> now."),
    "groups": ("Call +49 30 23125 000, or fax +33-1-99001234.", "Call <phone>, or fax <phone>."),
    "order": ("Order 4711000815, build 20261127, ISBN 9783161484100.", None),
    "small": ("The result is +3, not +12, in C++ 11 and +100 years.", None),
    "long": ("The key is +12345678901234567890 here.", None),
    "sixteen": ("The key is +1234567890123456 here.", None),
    "last": ("Reach me: +351 210 000 000", "Reach me: <phone>"),
    "eight": ("Bell: +12345678.", "Bell: <phone>."),
    "seven": ("Code +1234567 is not one.", None),
    "fifteen": ("Bell: +123456789012345.", "Bell: <phone>."),
    "spread": ("Bell: +123 456-789 012 345.", "Bell: <phone>."),
    "followed": ("Bell: +49 30 23125 000 123 45678.", None),
    "dots": ("Version +12.34.56.78 is out.", None),
    "lines": ("Room +1234\n56789 chairs", None),
    "double": ("Add +12 - 3456789, +1234  56789 and +12 -3456789.", None),
}  # {name: (text, what it has to become; None: it stays)}


def blotted(answer):
    seen = SimpleNamespace()
    for name, (text, wanted) in TEXTS_WITH_NUMBERS.items():
        found = answer(text)
        if not isinstance(found, str):
            raise NotYet("blot returns the text, with <phone> in the place of each number")
        setattr(seen, name, found)
        setattr(seen, f"no_{name}", found != (text if wanted is None else wanted))
    seen.nothing = seen.plain == TEXTS_WITH_NUMBERS["plain"][0]
    seen.groups_left = seen.groups == TEXTS_WITH_NUMBERS["groups"][0]
    return seen


def pattern(text, by="<phone>"):
    return f"import re\ndef blot(text):\n    return re.sub(r'{text}', '{by}', text)"


RIGHT = r"\+\d(?:[ -]?\d){7,14}(?![ -]?\d)"
rules(
    "scrub", blotted,
    [slip(lambda seen: "<phone>" in seen.order,
          "an order, a date or an ISBN became a telephone number: ask for the plus sign",
          pattern(r"\d{7,}"), pattern(r"\+?\d(?:[ -]?\d){7,14}")),
     slip(lambda seen: seen.nothing,
          "a number in one piece, such as +48221234567, is left",
          pattern(r"\+\d+ \d+ \d+"), pattern(r"49 30 23125 000")),
     slip(lambda seen: "+<phone>" in seen.plain,
          "the plus sign is left: it belongs to the number", pattern(r"(?<=\+)\d{8,}")),
     slip(lambda seen: seen.plain not in ("Write to <phone> now.", "Write to <phone>now."),
          "only a part of +48221234567 was replaced, or by another word than <phone>",
          pattern(RIGHT, by="<tel>"), pattern(r"\+\d{8}")),
     slip(lambda seen: seen.plain == "Write to <phone>now." or seen.groups.startswith("Call <phone>or"),
          "the space or comma after the number is gone with it: a number ends with a digit",
          pattern(r"\+\d[\d -]{7,14}")),
     slip(lambda seen: seen.groups_left or "+33" in seen.groups or "+49" in seen.groups,
          "a number in groups is left: between two digits there may be a space or a hyphen",
          pattern(r"\+\d{8,15}(?!\d)"), pattern(r"\+\d(?: ?\d){7,14}(?! ?\d)"),
          pattern(r"\+\d(?:-?\d){7,14}(?!-?\d)")),
     slip(lambda seen: seen.no_groups,
          "only a part of a number in groups was replaced: take 8 to 15 digits, with a space or a hyphen "
          "before any of them",
          pattern(r"\+\d{8,15}|\+\d+[ -]\d+"), pattern(r"\+\d{8,15}|\+\d+[ -]\d+[ -]\d+")),
     slip(lambda seen: seen.no_small,
          "+3, +12 or +100 became a telephone number, which has at least 8 digits",
          pattern(r"\+\d(?:[ -]?\d)*")),
     slip(lambda seen: seen.no_seven,
          "seven digits became a telephone number, which has at least 8: count the first digit, too",
          pattern(r"\+\d(?:[ -]?\d){4,14}(?![ -]?\d)"), pattern(r"\+\d(?:[ -]?\d){6,14}(?![ -]?\d)")),
     slip(lambda seen: seen.no_eight,
          "+12345678 is left: 8 digits are enough, and the first one counts",
          pattern(r"\+\d(?:[ -]?\d){9,14}(?![ -]?\d)"), pattern(r"\+\d(?:[ -]?\d){8,15}(?![ -]?\d)"),
          pattern(r"\+\d(?:[ -]?\d){10,14}(?![ -]?\d)")),
     slip(lambda seen: seen.no_fifteen,
          "a number of 15 digits is left", pattern(r"\+\d(?:[ -]?\d){7,13}(?![ -]?\d)")),
     slip(lambda seen: seen.no_spread,
          "a number of 15 digits in groups is left, or a part of it: spaces and hyphens are no digits",
          pattern(r"\+\d[\d -]{6,13}\d(?!\d)")),
     slip(lambda seen: seen.no_dots,
          "+12.34.56.78 became a telephone number: only a space or a hyphen divides groups",
          pattern(r"\+\d(?:[ .-]?\d){7,14}(?![ .-]?\d)"),
          "from scaleup.text.prepare import filters\ndef blot(text):\n    return filters.scrub(text)[0]"),
     slip(lambda seen: seen.no_long,
          "twenty digits became a telephone number, or a part of them did: it has at most 15, and no digit "
          "follows",
          pattern(r"\+\d(?:[ -]?\d){7,14}"), pattern(r"\+\d(?:[ -]?\d){7,}")),
     slip(lambda seen: seen.no_sixteen,
          "sixteen digits became a telephone number, which has at most 15",
          pattern(r"\+\d(?:[ -]?\d){7,18}(?![ -]?\d)"), pattern(r"\+\d(?:[ -]?\d){7,15}(?![ -]?\d)")),
     slip(lambda seen: seen.no_followed,
          "twenty digits in groups lost some of them: more than 15 in groups stay whole, so no space or "
          "hyphen with a digit may follow either",
          pattern(r"\+\d(?:[ -]?\d){7,14}(?!\d)"), pattern(r"\+\d(?:[ -]?\d){7,14}\b")),
     slip(lambda seen: seen.no_lines,
          "digits of two lines became one telephone number: ask for a space, not for any white space",
          pattern(r"\+\d(?:[\s-]?\d){7,14}(?![\s-]?\d)"), pattern(r"\+\d(?:\s?-?\d){7,14}(?!\s?-?\d)")),
     slip(lambda seen: seen.no_double,
          "+12 - 3456789 became a telephone number: one space or one hyphen divides groups, not several",
          pattern(r"\+\d(?:[ -]*\d){7,14}(?![ -]*\d)"), pattern(r"\+\d(?: ?-?\d){7,14}(?! ?-?\d)")),
     slip(lambda seen: seen.no_last,
          "a number at the end of the text is left", pattern(r"\+\d(?:[ -]?\d){7,14}(?=[ ,.]+(?!\d))"))],
    needs="blot", example=code,
    hint=r"Four pieces: \+, the first digit, {7,14} times a group of perhaps [ -] and a digit, and (?!…) "
         "with what must not follow.",
    done="numbers in one piece and in groups are found; orders, dates, versions and small numbers stay",
    also=[says("def blot(text):\n    return None",
               "blot returns the text, with <phone> in the place of each number")])  # fmt: skip

DAMAGED = {"bytes": "a", "index": "b", "tokens": "c", "documents": "d"}
NAMES = "abcdef"


def copied(folder):
    """Shards a to f; a has another byte, b another index, c and d are counted wrongly, e and f are right."""
    random, lines = np.random.default_rng(11), {}
    for name in NAMES:
        ids = [random.integers(0, 500, length).astype(np.uint16) for length in (5, 9, 7)]
        lines[name] = shards.write_shard(folder / name, ids, np.uint16)
    raw = bytearray((folder / "a.bin").read_bytes())
    raw[7] ^= 1
    (folder / "a.bin").write_bytes(raw)
    index = bytearray((folder / "b.idx").read_bytes())
    index[-8] ^= 1  # the last boundary, at which `open_shard` does not look
    (folder / "b.idx").write_bytes(index)
    lines["c"]["tokens"] += 512
    lines["d"]["documents"] -= 1
    (folder / shards.MANIFEST).write_text(json.dumps({"shards": list(lines.values())}))


def named(answer):
    with tempfile.TemporaryDirectory() as place:
        copied(Path(place))
        try:
            given = answer(Path(place))
        except CourseError:
            raise NotYet("shards.verify ends at the first difference, and compares no counts: look at every "
                         "shard yourself") from None  # fmt: skip
    if not isinstance(given, set | list | tuple | frozenset):
        raise NotYet("untrue returns a set of names, such as {'train-3'}")
    seen = SimpleNamespace(found=set(given))
    for name, letter in DAMAGED.items():
        setattr(seen, name, letter in seen.found)
    return seen


def loop(*conditions):
    body = "\n".join(f"        right = right and {condition}" for condition in conditions)
    return (
        "import hashlib\nfrom scaleup.text import shards\n"
        "def same(folder, line, kind):\n"
        "    raw = (folder / (line['name'] + '.' + kind)).read_bytes()\n"
        "    return hashlib.sha256(raw).hexdigest() == line['sha256'][kind]\n"
        "def untrue(folder):\n    wrong = set()\n"
        "    for line in shards.read_manifest(folder)['shards']:\n"
        "        shard, right = shards.open_shard(folder / line['name']), True\n"
        f"{body}\n        if not right:\n            wrong.add(line['name'])\n    return wrong"
    )


BIN, IDX = "same(folder, line, 'bin')", "same(folder, line, 'idx')"
TOKENS, DOCUMENTS = "len(shard.tokens) == line['tokens']", "len(shard) == line['documents']"
rules(
    "manifest", named,
    [slip(lambda seen: seen.found == {"e", "f"},
          "these are the shards that are right. Return the others", loop(f"not ({BIN} and {IDX} and {TOKENS} "
                                                                        f"and {DOCUMENTS})")),
     slip(lambda seen: not seen.found,
          "no shard is named, and some are wrong: compare each with its line. (shards.verify stops at the "
          "first difference)",
          loop("True"),
          "from scaleup.text import shards\ndef untrue(folder):\n    try:\n        shards.verify(folder)\n"
          "    except Exception:\n        pass\n    return set()"),
     slip(lambda seen: seen.found == set(NAMES),
          "all shards are named, and two are right: len(shard) counts documents, len(shard.tokens) counts "
          "tokens, and shards.verify looks at the whole folder",
          loop("len(shard) == line['tokens']", "len(shard.tokens) == line['documents']"), loop("False"),
          "from scaleup.text import shards\ndef untrue(folder):\n    wrong = set()\n"
          "    for line in shards.read_manifest(folder)['shards']:\n        try:\n"
          "            shards.verify(folder)\n        except Exception:\n"
          "            wrong.add(line['name'])\n    return wrong"),
     slip(lambda seen: seen.found & {"e", "f"} or not seen.found <= set(NAMES),
          "a shard is named about which everything is true, or that is not there",
          f"{loop(BIN, IDX, TOKENS, DOCUMENTS)} | {{'e'}}",
          "def untrue(folder):\n    return {'train-0', 'train-1'}"),
     slip(lambda seen: not (seen.bytes or seen.index),
          "a file whose bytes changed is not named: compare the checksums of .bin and .idx",
          loop(TOKENS, DOCUMENTS)),
     slip(lambda seen: not seen.index,
          "a changed .idx is not named: a shard has two files, and each has its checksum",
          loop(BIN, TOKENS, DOCUMENTS), loop(BIN)),
     slip(lambda seen: not seen.bytes, "a changed .bin is not named", loop(IDX, TOKENS, DOCUMENTS)),
     slip(lambda seen: not (seen.tokens or seen.documents),
          "the files are as their checksums say, but the manifest counts wrongly: compare documents and "
          "tokens, too", loop(BIN, IDX)),
     slip(lambda seen: not seen.tokens, "a wrong number of tokens is not named", loop(BIN, IDX, DOCUMENTS)),
     slip(lambda seen: not seen.documents,
          "a wrong number of documents is not named", loop(BIN, IDX, TOKENS))],
    needs="untrue", example=code,
    hint="Two counts and two checksums per line; add the name if one of the four differs.",
    done="changed files and wrong counts are found, and the shards that are right are not named",
    also=[says("def untrue(folder):\n    return None", "untrue returns a set of names, such as {'train-3'}"),
          says("from scaleup.text import shards\ndef untrue(folder):\n    shards.verify(folder)\n"
               "    return set()",
               "shards.verify ends at the first difference, and compares no counts: look at every shard "
               "yourself")])  # fmt: skip


def is_code(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return sum(line.startswith((">>>", "...")) for line in lines) > len(lines) / 2


CASES = {
    "prose": "Adds two numbers.\nReturns the sum.",
    "code": "Adds.\n>>> add(1, 2)\n>>> add(3, 4)",
    "dots": "Loops.\n>>> for i in range(3):\n...     print(i)",
    "half": "Adds.\n>>> add(1, 2)",
    "empty": "Adds.\n\n\n\n>>> add(1, 2)\n>>> add(3, 4)",
    "indented": "Adds.\n    >>> add(1, 2)\n    >>> add(3, 4)",
    "inside": "Read >>> as a prompt.\nAnd >>> again.\nWait ... for it.",
}


TEXTS = [
    "Adds two numbers and returns their sum as a number of the same kind.",
    "Adds.\n>>> add(one, two) or add(three, four)\n>>> add(many, numbers, of, any, kind)",
    "Takes.\n>>> take(these, words, before, others)\n>>> take(no, numbers, from, anywhere)",
    "Adds.\n>>> 1 + 2\n>>> 3 + 4",  # goes by an earlier rule
]


def filtered(answer):
    if not isinstance(answer, tuple) or len(answer) != 3 or not callable(answer[0]):
        raise NotYet("give all three: (mostly_code, explanations, removed)")
    rule, every, removed = answer
    found = {name: rule(text) for name, text in CASES.items()}
    if set(found.values()) == {None}:
        raise NotYet("mostly_code returns nothing yet: return True for a text that goes")
    seen = SimpleNamespace(**{name: bool(value) for name, value in found.items()})
    if is_number(removed):
        raise NotYet("removed is a number: give the list of the texts themselves, so that one can read them")
    if not isinstance(removed, list | tuple | set) or not all(isinstance(text, str) for text in removed):
        raise NotYet("removed has to be a list of texts")
    left = [text for text in every if filters.first_reason(text) is None]
    wanted = {text for text in left if is_code(text)}
    seen.count, seen.given = sum(map(is_code, left)), len(removed)
    seen.kept = set(removed) == set(left) - wanted
    seen.early = set(removed) == {text for text in every if is_code(text)} != wanted
    seen.right = set(removed) == wanted
    seen.gone = bool(removed) and not set(removed) & set(left)
    return seen


def rule(body, collect="[text for text in left if mostly_code(text)]"):
    """A learner's cell, on a few texts; `left` are those that the five rules leave."""
    names = {"every": TEXTS, "left": [text for text in TEXTS if filters.first_reason(text) is None]}
    exec(f"def mostly_code(text):\n    {body}\nremoved = {collect}", names)
    return names["mostly_code"], TEXTS, names["removed"]


LINES = "lines = [line.strip() for line in text.splitlines() if line.strip()]\n    "
COUNT = "code = sum(line.startswith(('>>>', '...')) for line in lines)\n    "
MORE = f"{COUNT}return code > len(lines) / 2"
rules(
    "filter", filtered,
    [slip(lambda seen: seen.prose and not seen.code,
          "the rule is the wrong way round: it returns True for what goes",
          rule(f"{LINES}{COUNT}return code <= len(lines) / 2")),
     slip(lambda seen: seen.inside,
          "a sentence that mentions >>> became code: ask how a line begins",
          rule(f"{LINES}return sum('>>>' in line or '...' in line for line in lines) > len(lines) / 2")),
     slip(lambda seen: seen.prose,
          "a text without any code goes", rule("return 'sum' in text or '>>> add(3' in text")),
     slip(lambda seen: not seen.code, "a text with two lines of code and one of prose stays",
          rule("return False"), rule(f"{LINES}{COUNT}return code == len(lines)")),
     slip(lambda seen: seen.half,
          "a text of one line of prose and one of code goes: the rule says more than half",
          rule(f"{LINES}{COUNT}return code >= len(lines) / 2")),
     slip(lambda seen: not seen.empty, "empty lines count as prose: leave them out",
          rule(f"lines = [line.strip() for line in text.splitlines()]\n    {MORE}")),
     slip(lambda seen: not seen.indented, "an indented line of code is not seen: strip it first",
          rule(f"lines = [line for line in text.splitlines() if line.strip()]\n    {MORE}")),
     slip(lambda seen: not seen.dots, "lines that begin with ... are not seen",
          rule(f"{LINES}return sum(line.startswith('>>>') for line in lines) > len(lines) / 2")),
     slip(lambda seen: seen.gone,
          "the rule is right, but these texts go by an earlier rule: first_reason is None for those that "
          "your rule has to look at",
          rule(f"{LINES}{MORE}", "[text for text in every if text not in left and mostly_code(text)]"),
          rule(f"{LINES}{MORE}", "[text for text in every if text not in left]")),
     slip(lambda seen: seen.early,
          "the rule is right, but some of these texts had gone by an earlier rule: ask "
          "filters.first_reason first",
          rule(f"{LINES}{MORE}", "[text for text in every if mostly_code(text)]")),
     slip(lambda seen: seen.kept, "the rule is right, but these are the texts that stay",
          rule(f"{LINES}{MORE}", "[text for text in left if not mostly_code(text)]")),
     slip(lambda seen: not seen.right,
          "the rule is right, but removed has {given} texts, and {count} go by it",
          says(rule(f"{LINES}{MORE}", "[text for text in left if mostly_code(text)][:1]"), given=1, count=2),
          says(rule(f"{LINES}{MORE}", "[]"), given=0, count=2))],
    hint="Strip each line, drop the empty ones, count those that begin with either sign.",
    done=lambda seen: f"your rule removes {seen.count} explanations that the five rules leave",
    also=[says(len, "give all three: (mostly_code, explanations, removed)"),
          says((is_code, TEXTS, 133),
               "removed is a number: give the list of the texts themselves, so that one can read them"),
          says((is_code, TEXTS, [1]), "removed has to be a list of texts"),
          says(rule("..."),
               "mostly_code returns nothing yet: return True for a text that goes")])  # fmt: skip

"""The commands of a job script, read as far as a person would: words, known variables, what is certain.

It follows no branch and runs nothing. A value that depends on one, or on a command, stays as it is written.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

OPENING = {"if", "for", "while", "until", "case", "select"}
CLOSING = {"fi", "done", "esac"}
SKIPPED = {"then", "else", "elif", "do", "!", "time", "exec", "command", "nohup", "builtin", "eval"}
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
HERE = re.compile(r"(?<!<)<<-?\s*(['\"]?)(\w+)\1")
OPERATORS = ("&&", "||", ";;", "|&", ";", "|", "&", "\n")
DECLARING = {"export", "declare", "local", "readonly", "typeset"}


@dataclass(frozen=True)
class Command:
    """One simple command. `early` names the variables that the batch shell itself puts in."""

    line: int
    words: tuple[str, ...]
    settings: Mapping[str, str]  # NAME=value in front of it
    background: bool = False
    certain: bool = True  # not in a branch, a loop or a function
    inside: bool = False  # in the text of bash -c
    early: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.words[0].rsplit("/", 1)[-1] if self.words else ""


@dataclass(frozen=True)
class Setting:
    """A variable that the script sets, with the value that is known of it."""

    line: int
    name: str
    value: str
    certain: bool
    early: frozenset[str]


@dataclass
class Body:
    commands: list[Command] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)

    def values(self, name: str) -> list[Setting]:
        return [setting for setting in self.settings if setting.name == name]


def read_body(text: str, known: Mapping[str, str] | None = None) -> Body:
    """All commands of a script, with the values of `known` variables put in."""
    body = Body()
    _read(text, 1, dict(known or {}), body, inside=False)
    return body


def _read(text: str, first: int, known: dict[str, str], body: Body, inside: bool) -> None:
    depth = 0
    for line, words, operator in _split(_without_documents(text), first):
        while words and (words[0].text in SKIPPED | OPENING | CLOSING | {"{", "}", "(", ")"}):
            word = words.pop(0).text
            depth += (word in OPENING or word in ("{", "(")) - (word in CLOSING or word in ("}", ")"))
            if word in ("for", "select", "case"):
                words = []
        if words and (words[0].text == "function" or [word.text[-1:] for word in words[:2]] == ["(", ")"]):
            depth += words[-1].text == "{"  # a function: its commands may never run
            continue
        while words and depth and words[-1].text == ")":
            words.pop()
            depth -= 1
        _take(line, words, operator, depth <= 0 and not inside, known, body, inside)


def _take(
    line: int, raw: list[_Word], operator: str, certain: bool, known: dict[str, str], body: Body, inside: bool
) -> None:
    words = [word for each in raw for word in each.expanded(known)]
    early = frozenset(name for each in raw for name in each.names)
    settings: dict[str, str] = {}
    while words and (found := ASSIGNMENT.fullmatch(words[0])):
        settings[found[1]] = found[2]
        words.pop(0)
    if words and words[0] in DECLARING:
        pairs = [ASSIGNMENT.fullmatch(word) for word in words[1:]]
        settings |= {pair[1]: pair[2] for pair in pairs if pair}
        words = []
    if not words:
        for name, value in settings.items():
            body.settings.append(Setting(line, name, value, certain, early))
            value = array(value) if value.startswith("(") else value
            if certain and "$" not in value and "`" not in value:
                known[name] = value
            else:
                known.pop(name, None)
        return
    command = Command(line, tuple(words), settings, operator == "&", certain, inside, early)
    body.commands.append(command)
    body.settings += [Setting(line, name, value, certain, early) for name, value in settings.items()]
    for text in shell_texts(words):
        _read(text, line, dict(known), body, inside=True)


def array(value: str) -> str:
    """The words of ( ... ) on one line."""
    try:
        return " ".join(shlex.split(value.strip("()"), comments=True))
    except ValueError:
        return value


def shell_texts(words: list[str] | tuple[str, ...]) -> Iterator[str]:
    """The programs that bash -c gets among the words of a command."""
    for place, word in enumerate(words[:-2]):
        options = words[place + 1]
        if word.rsplit("/", 1)[-1] in ("bash", "sh", "zsh") and re.fullmatch(r"-[a-z]*c", options):
            given = " ".join(words[place + 4 :])  # behind the text come $0 and the others
            yield words[place + 2].replace('"$@"', given).replace("$@", given)


def _without_documents(text: str) -> str:
    """The script without the texts of << EOF; the lines keep their numbers."""
    lines, end = [], None
    for line in text.splitlines():
        if end is not None:
            lines.append("")
            if line.strip() == end:
                end = None
            continue
        lines.append(line)
        if not line.lstrip().startswith("#") and (found := HERE.search(line)):
            end = found[2]
    return "\n".join(lines) + "\n"


# Words


@dataclass
class _Word:
    """Parts of a word: (text, whether a variable is put in, whether it stands in quotes)."""

    parts: list[tuple[str, bool, bool]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(text for text, _, _ in self.parts)

    @property
    def names(self) -> set[str]:
        found = [re.findall(r"[A-Za-z_]\w*", text) for text, is_variable, _ in self.parts if is_variable]
        return {name for names in found for name in names}

    def expanded(self, known: Mapping[str, str]) -> list[str]:
        """The word with known values; an unquoted one may become several words, or none."""
        whole, split = "", False
        for text, is_variable, quoted in self.parts:
            value = _value(text, known) if is_variable else text
            split = split or (is_variable and (not quoted or "[@]" in text) and value != text)
            whole += value
        if ASSIGNMENT.fullmatch(whole) or not split:
            return [whole]
        return whole.split()


def _value(text: str, known: Mapping[str, str]) -> str:
    """Of $NAME, ${NAME}, ${NAME:-default} with a known name, $((A * B)); anything else stays as it is."""
    if found := re.fullmatch(r"\$\{?([A-Za-z_]\w*)(\[[@*]\])?(:?-[^}]*)?\}?", text):
        return known.get(found[1], text)
    if found := re.fullmatch(r"\$\(\(([\w\s$*{}]+)\)\)", text):
        factors = [part.strip().strip("${}") for part in found[1].split("*")]
        numbers = [known.get(factor, factor) for factor in factors]
        if all(number.isdigit() for number in numbers):
            product = 1
            for number in numbers:
                product *= int(number)
            return str(product)
    return text


def _variable(text: str, place: int) -> int:
    """Where the expansion that begins at `place` ends: $A, ${...}, $(...), `...`."""
    if text[place] == "`":
        end = text.find("`", place + 1)
        return len(text) if end < 0 else end + 1
    opening = text[place + 1 : place + 2]
    if opening in ("{", "("):
        return _closing(text, place + 1)
    found = re.compile(r"\$(\w+|[@*#?$!-])").match(text, place)
    return found.end() if found else place + 1


def _closing(text: str, place: int) -> int:
    """Behind the bracket that closes the one at `place`."""
    depth, opening = 0, text[place]
    closing = {"{": "}", "(": ")"}[opening]
    for end in range(place, len(text)):
        depth += (text[end] == opening) - (text[end] == closing)
        if not depth:
            return end + 1
    return len(text)


def _split(text: str, first: int) -> Iterator[tuple[int, list[_Word], str]]:
    """(line, words, what ends the command) for each simple command."""
    words: list[_Word] = []
    word: _Word | None = None
    line = start = first
    place, quote = 0, ""

    def add(piece: str, is_variable: bool = False) -> None:
        nonlocal word
        word = word or _Word()
        word.parts.append((piece, is_variable, bool(quote)))

    def finish() -> None:
        nonlocal word
        if word is not None:
            words.append(word)
        word = None

    while place < len(text):
        letter = text[place]
        if quote == "'":
            end = text.find("'", place)
            end = len(text) if end < 0 else end
            add(text[place:end])
            line += text.count("\n", place, end)
            place, quote = end + 1, ""
        elif letter == "\\":
            following = text[place + 1 : place + 2]
            line += following == "\n"
            if following != "\n":
                add(following)
            place += 2
        elif letter == '"':
            quote = "" if quote else '"'
            add("")
            place += 1
        elif letter in "$`":
            end = _variable(text, place)
            add(text[place:end], is_variable=end > place + 1)
            line += text.count("\n", place, end)
            place = end
        elif quote:
            line += letter == "\n"
            add(letter)
            place += 1
        elif letter == "'":
            quote = "'"
            place += 1
        elif letter == "#" and word is None:
            end = text.find("\n", place)
            place = len(text) if end < 0 else end
        elif letter in " \t":
            finish()
            place += 1
        elif letter == "&" and (text[place + 1 : place + 2] == ">" or text[place - 1 : place] in "<>"):
            add(letter)
            place += 1
        elif operator := next((each for each in OPERATORS if text.startswith(each, place)), ""):
            finish()
            if words:
                yield start, words, operator
            words = []
            line += operator == "\n"
            place += len(operator)
            start = line
        elif letter == "(" and word is not None and word.text.endswith("="):  # an array
            end = _closing(text, place)
            add(text[place:end])
            line += text.count("\n", place, end)
            place = end
        elif letter == "(" and word is None and text.startswith("((", place):  # arithmetic
            end = _closing(text, place)
            add(text[place:end])
            place = end
        elif letter in "()" and (word is None or letter == ")"):
            finish()
            add(letter)
            finish()
            place += 1
        else:
            if word is None and not words:
                start = line
            add(letter)
            place += 1
    finish()
    if words:
        yield start, words, ""

"""A job script as it is written: the lines that sbatch reads, and those that were only meant for it.

sbatch reads lines that begin with #SBATCH, to the letter, above the first line that is neither empty nor a
comment; a comment may be indented.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

BYTE_ORDER_MARK = "\ufeff"
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
HET = ("hetjob", "packjob")
# Not '##SBATCH', which is how people switch a line off.
MEANT = re.compile(r"\s*#[ \t]*(SBATCH|S[A-Z]{4,5}H|[A-Z]BATCH|SBATC)\b:?(?=\s|$|-)", re.IGNORECASE)

SHORT = {
    "A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint",
    "c": "cpus-per-task", "D": "chdir", "d": "dependency", "e": "error", "G": "gpus", "H": "hold",
    "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution",
    "N": "nodes", "n": "ntasks", "o": "output", "O": "overcommit", "p": "partition", "q": "qos",
    "Q": "quiet", "S": "core-spec", "s": "oversubscribe", "t": "time", "v": "verbose", "W": "wait",
    "w": "nodelist", "x": "exclude",
}  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One option: its long name, its value ('' for none), and the line that gives it (None: no script)."""

    name: str
    value: str
    line: int | None


@dataclass
class Script:
    """The parts of a script's header. `parts` has the options of each component of a heterogeneous job."""

    text: str
    lines: list[str] = field(default_factory=list)
    parts: list[list[Option]] = field(default_factory=lambda: [[]])
    late: list[int] = field(default_factory=list)  # #SBATCH lines below the first command
    meant: list[int] = field(default_factory=list)  # lines that only look like #SBATCH, not below it
    pbs: list[int] = field(default_factory=list)
    first_command: int | None = None

    @property
    def read(self) -> list[int]:
        """The numbers of the lines that sbatch reads."""
        return sorted({option.line for part in self.parts for option in part if option.line})


def is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def words_of(directive: str) -> list[str]:
    """The words of an #SBATCH line. An open quote makes the rest one word: Slurm will say so."""
    rest = directive.removeprefix("#SBATCH")
    try:
        return shlex.split(re.sub(r"(^|\s)#.*", "", rest))
    except ValueError:
        return rest.split()


def options_of(words: Iterable[str], line: int | None = None) -> Iterator[Option]:
    """Options by their long names, in order."""
    name = value = None
    for word in [*words, "-"]:
        is_option = word.startswith("-") and not re.fullmatch(r"-\d+", word)
        if name is not None and (is_option or value):
            yield Option(name, value, line)
            name = None
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
        elif is_option and len(word) > 1:
            name, value = SHORT.get(word[1], word[1]), word[2:]
        elif name is not None:
            value = word


def parse(text: str) -> Script:
    """Read a script as sbatch does, line by line."""
    script = Script(text, text.removeprefix(BYTE_ORDER_MARK).splitlines())
    for number, line in enumerate(script.lines, start=1):
        if line.startswith("#SBATCH"):
            if script.first_command:
                script.late.append(number)
                continue
            words = words_of(line)
            if words and words[0] in HET:
                script.parts.append([])
            script.parts[-1] += options_of(words, number)
        elif not is_comment(line):
            script.first_command = script.first_command or number
        elif not script.first_command and number > 1:
            if line.startswith("#PBS"):
                script.pbs.append(number)
            elif MEANT.match(line) and not line.startswith("##"):
                script.meant.append(number)
    return script

"""Remarks on the #SBATCH lines of a job script: what Slurm does not read, and what it reads otherwise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from .reading import Reading
from .remarks import FIRST_JOB, Example, Finding, Rule
from .script_text import BYTE_ORDER_MARK, DASHES, MEANT
from .slurm_versions import NO_LOG_FOLDERS

HEAD = "#!/bin/bash\n#SBATCH --account=my_project\n#SBATCH --partition=boost_usr_prod\n#SBATCH --gres=gpu:4\n"
# Bare numbers that people write when they mean hours.
LIKE_HOURS = {1, 2, 3, 4, 6, 8, 12, 24, 36, 48, 72, 96}
SHORTEST = 5 / 60  # hours; less is hardly meant


def numbers(lines: list[int]) -> str:
    """'Line 3 is', 'Lines 3, 4 and 7 are'."""
    if len(lines) == 1:
        return f"Line {lines[0]} is"
    if len(lines) > 2 and lines == list(range(lines[0], lines[-1] + 1)):
        return f"Lines {lines[0]} to {lines[-1]} are"
    return f"Lines {', '.join(map(str, lines[:-1]))} and {lines[-1]} are"


def byte_order_mark(reading: Reading) -> Iterator[Finding]:
    if reading.text.startswith(BYTE_ORDER_MARK):
        yield Finding(1, mend={1: reading.script.lines[0]})


def dos_ends(reading: Reading) -> Iterator[Finding]:
    if "\r\n" in reading.text:
        yield Finding(None, mend={})


def pbs(reading: Reading) -> Iterator[Finding]:
    if reading.script.pbs:
        yield Finding(reading.script.pbs[0])


def meant(reading: Reading) -> Iterator[Finding]:
    for number in reading.script.meant:
        line = reading.script.lines[number - 1]
        written = MEANT.match(line)[0].strip()
        if line.startswith((" ", "\t")) and written == "#SBATCH":
            written = "#SBATCH behind spaces"
        right = re.sub(r"^#SBATCH(?=\S)", "#SBATCH ", MEANT.sub("#SBATCH", line))
        yield Finding(number, {"written": written}, {number: right})


def dashes(reading: Reading) -> Iterator[Finding]:
    for number, line in enumerate(reading.script.lines, start=1):
        if line.startswith("#SBATCH"):
            code, comment, rest = line.partition(" #")
            mended = " ".join(hyphens(word) for word in code.split(" ")) + comment + rest
            if mended != line:
                yield Finding(number, mend={number: mended})


def hyphens(word: str) -> str:
    """An option with hyphens; word processors make one long dash of two."""
    name, is_set, value = word.partition("=")
    if not re.match(rf"[{DASHES}-]+[A-Za-z]", name) or not re.search(rf"[{DASHES}]", name):
        return word
    letters = re.sub(rf"[{DASHES}]", "-", name).lstrip("-")
    return f"{'-' if len(letters) == 1 else '--'}{letters}{is_set}{value}"


def equals(reading: Reading) -> Iterator[Finding]:
    for number in reading.script.read:
        line = reading.script.lines[number - 1]
        if found := re.search(r"(--[a-z][a-z-]*)(\s+=\s*|\s*=\s+)(\S+)", line):
            right = f"{found[1]}={found[3]}"
            yield Finding(
                number, {"written": found[0], "right": right}, {number: line.replace(found[0], right)}
            )
        elif found := re.search(r"\s-([A-Za-z])=(\S+)", line):
            right = f"-{found[1]} {found[2]}"
            mend = {number: line.replace(found[0].strip(), right)}
            yield Finding(number, {"written": found[0].strip(), "right": right}, mend)


def late(reading: Reading) -> Iterator[Finding]:
    late, first = reading.script.late, reading.script.first_command
    if late:
        lines = reading.script.lines
        moved = "\n".join([*(lines[number - 1] for number in late), lines[first - 1]])
        yield Finding(late[0], {"which": numbers(late)}, {first: moved} | dict.fromkeys(late))


def variables(reading: Reading) -> Iterator[Finding]:
    for part in reading.script.parts:
        for option in part:
            if found := re.search(r"\$\{?\w+\}?|\$\(|`", option.value):
                hint = " Write %j for the job's id." if "JOB" in option.value else ""
                yield Finding(option.line, {"option": option.name, "written": found[0], "hint": hint})


def tilde(reading: Reading) -> Iterator[Finding]:
    for part in reading.script.parts:
        for option in part:
            if option.name in ("output", "error", "chdir", "input") and option.value.startswith("~"):
                yield Finding(option.line, {"option": option.name})


def short_time(reading: Reading) -> Iterator[Finding]:
    asked, text = reading.asked, reading.asked.options.get("time", "")
    if asked.hours is None or math.isinf(asked.hours):
        return
    found = re.fullmatch(r"(\d+)(?::(\d\d))?", text)
    if not found and asked.hours < SHORTEST:
        yield Finding(asked.line("time"), {"text": text, "said": length(asked.hours), "hint": ""})
    elif found and (asked.hours < SHORTEST or int(found[1]) in LIKE_HOURS):
        meant = f"{int(found[1]):02d}:{found[2] or '00'}:00"
        kind = "minutes:seconds" if found[2] else "minutes"
        hint = f" Slurm reads {kind}; hours are --time={meant}."
        yield Finding(asked.line("time"), {"text": text, "said": length(asked.hours), "hint": hint})


def length(hours: float) -> str:
    """'1 minute', '90 seconds'."""
    seconds = round(hours * 3600)
    if seconds % 60:
        return f"{seconds} seconds"
    return f"{seconds // 60} minute{'s' * (seconds != 60)}"


def log_folder(reading: Reading) -> Iterator[Finding]:
    version = reading.machine["slurm_version"].value
    if NO_LOG_FOLDERS.holds(version) is False:
        return
    for name in ("output", "error"):
        folder, slash, _ = reading.asked.options.get(name, "").rpartition("/")
        if slash and folder.strip("./") and not folder.startswith(("/dev", "~", "$", "/")):
            late = any(
                command.name == "mkdir"
                and any(folder.split("%")[0].rstrip("/") in word for word in command.words)
                for command in reading.body.commands
            )
            hint = " The mkdir in the script comes too late." if late else ""
            known = "" if version else " (which one runs here is not known)"
            yield Finding(reading.asked.line(name), {"folder": folder, "hint": hint, "known": known})


RULES = (
    Rule(
        "byte-order-mark",
        byte_order_mark,
        "The file begins with a byte-order mark, so Slurm sees no #!. Save it as UTF-8 without one.",
        FIRST_JOB,
        Example(BYTE_ORDER_MARK + HEAD, 1),
        explains=True,
    ),
    Rule(
        "dos-line-ends",
        dos_ends,
        "Save the script with Unix line ends: sed -i 's/\\r$//' FILE.",
        FIRST_JOB,
        Example(HEAD.replace("\n", "\r\n"), None),
        explains=True,
    ),
    Rule(
        "pbs",
        pbs,
        "This is a script for PBS. Slurm reads #SBATCH lines, with other options: --nodes, --time, "
        "--account.",
        FIRST_JOB,
        Example("#!/bin/bash\n#PBS -l walltime=01:00:00\n", 2),
        explains=True,
    ),
    Rule(
        "no-directive",
        meant,
        "To Slurm '{written}' is a comment: it reads #SBATCH at the start of a line only.",
        FIRST_JOB,
        Example(HEAD + "# SBATCH --time=01:00:00\n", 5),
        explains=True,
    ),
    Rule(
        "dash",
        dashes,
        "The dash in this line is not a hyphen, so Slurm sees no option: type -- anew.",
        FIRST_JOB,
        Example(HEAD + "#SBATCH \u2013\u2013time=01:00:00\n", 5),
        explains=True,
    ),
    Rule(
        "equals",
        equals,
        "Write {right}, not '{written}'.",
        FIRST_JOB,
        Example(HEAD + "#SBATCH --nodes = 2\n", 5),
        explains=True,
    ),
    Rule(
        "variable",
        variables,
        "Slurm puts no variable into an #SBATCH line: --{option} has '{written}' to the letter.{hint}",
        FIRST_JOB,
        Example(HEAD + "#SBATCH --output=$HOME/log-$SLURM_JOB_ID.out\n", 5),
        explains=True,
    ),
    Rule(
        "tilde",
        tilde,
        "Slurm does not know ~ as your home: write the path of --{option} out.",
        FIRST_JOB,
        Example(HEAD + "#SBATCH --output=~/log.out\n", 5),
    ),
    Rule(
        "late",
        late,
        "{which} below the first command, and there Slurm ignores #SBATCH.",
        FIRST_JOB,
        Example(HEAD + "set -e\n#SBATCH --time=01:00:00\n", 6),
        explains=True,
    ),
    Rule(
        "short-time",
        short_time,
        "--time={text} is {said}.{hint}",
        FIRST_JOB,
        Example(HEAD + "#SBATCH --time=01:00\n", 5),
    ),
    Rule(
        "log-folder",
        log_folder,
        "The folder {folder} must be there before you submit: Slurm before 23.02{known} makes none, and "
        "the job "
        "fails without a log.{hint}",
        FIRST_JOB,
        Example(HEAD + "#SBATCH --output=logs/%j.out\nmkdir -p logs\n", 5),
    ),
)

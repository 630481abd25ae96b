"""What a job script asks for: its #SBATCH lines, read as sbatch reads them."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """What a script asks for. None: not given, or not to be read from the options alone."""

    options: dict[str, str]
    late: tuple[int, ...]  # numbers of the #SBATCH lines that Slurm does not read
    partition: str | None
    qos: str | None
    account: str | None
    hours: float | None
    nodes: int | None
    tasks: int | None  # the next four: of one node
    devices: int | None
    cpus: int | None
    memory_gb: float | None


SHORT = {
    "A": "account",
    "c": "cpus-per-task",
    "G": "gpus",
    "N": "nodes",
    "n": "ntasks",
    "p": "partition",
    "q": "qos",
    "t": "time",
}


def options_of(words: Iterable[str]) -> dict[str, str]:
    """Options by their long names; of one given twice the last. An option without a value has ''."""
    found, name = {}, None
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
        elif word.startswith("-") and len(word) > 1:
            name, value = SHORT.get(word[1], word[1]), word[2:]
        elif name is None or found[name]:
            continue
        else:
            value = word
        found[name] = value
    return found


def directives(text: str) -> tuple[dict[str, str], tuple[int, ...]]:
    """The options of the #SBATCH lines, and the numbers of those lines that come after the first command."""
    words, late, command = [], [], False
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("#SBATCH"):
            command = command or not (line.startswith("#") or not line.strip())
        elif command:
            late.append(number)
        else:
            with contextlib.suppress(ValueError):  # an open quote: Slurm will say so
                words += shlex.split(line.removeprefix("#SBATCH"), comments=True)
    return options_of(words), tuple(late)


def request(text: str, extra: Iterable[str] = ()) -> Request:
    """Read a script, and options of the command line, which count for more."""
    options, late = directives(text)
    options |= options_of(extra)

    def number(name: str) -> int | None:
        return first_number(options.get(name))

    nodes, every = number("nodes"), number("ntasks")
    if nodes is None and 1 in (every, last_number(options.get("gpus", ""))):
        nodes = 1  # one task, or one device, is on one node
    tasks = number("ntasks-per-node")
    if tasks is None:
        tasks = 1 if every is None else math.ceil(every / nodes) if nodes else None
    return Request(
        options=options,
        late=late,
        partition=options.get("partition"),
        qos=options.get("qos"),
        account=options.get("account"),
        hours=hours(options.get("time")),
        nodes=nodes,
        tasks=tasks,
        devices=(devices := _devices(options, nodes, tasks)),
        cpus=(cpus := _cpus(options, tasks, devices)),
        memory_gb=_memory(options, cpus, devices),
    )


def _devices(options: dict[str, str], nodes: int | None, tasks: int | None) -> int | None:
    """Of one node; 0 if the script asks for none."""
    if "gpus-per-node" in options:
        return last_number(options["gpus-per-node"])
    if gres := re.search(r"\bgpu(:[^:,]*)??(:(\d+))?(,|$)", options.get("gres", "")):
        return int(gres[3] or 1)
    if "gpus-per-task" in options:
        each = last_number(options["gpus-per-task"])
        return each * tasks if each is not None and tasks else None
    if "gpus" in options:
        total = last_number(options["gpus"])
        return math.ceil(total / nodes) if total is not None and nodes else None
    return 0


def _cpus(options: dict[str, str], tasks: int | None, devices: int | None) -> int | None:
    if "cpus-per-gpu" in options:
        each = first_number(options["cpus-per-gpu"])
        return each * devices if each and devices is not None else None
    each = first_number(options.get("cpus-per-task", "1"))
    return each * tasks if each is not None and tasks else None


def _memory(options: dict[str, str], cpus: int | None, devices: int | None) -> float | None:
    for option, times in (("mem", 1), ("mem-per-gpu", devices), ("mem-per-cpu", cpus)):
        if option in options:
            each = gigabytes(options[option])
            return each * times if each is not None and times else None
    return None


def first_number(text: str | None) -> int | None:
    """2 of '2-4'."""
    found = re.match(r"\d+", text or "")
    return int(found[0]) if found else None


def last_number(text: str) -> int | None:
    """4 of 'a100:4'."""
    found = re.search(r"\d+$", text)
    return int(found[0]) if found else None


def hours(text: str | None) -> float | None:
    """Of minutes[:seconds], hours:minutes:seconds, or days-hours[:minutes[:seconds]], as Slurm reads them.

    Slurm takes 0 for no limit at all: infinity here.
    """
    if (text or "").lower() in ("unlimited", "infinite"):
        return math.inf
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text or "")
    if not found:
        return None
    days, *parts = found.groups()
    given = [int(part) for part in parts if part is not None]
    if days is None and len(given) < 3:
        given = [0, *given]  # minutes come first
    first, second, third = [*given, 0, 0][:3]
    return int(days or 0) * 24 + first + second / 60 + third / 3600 or math.inf


def gigabytes(text: str) -> float | None:
    """Of Slurm's notation: a number and K, M (also without a letter), G or T, each 1024 of the one before."""
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", text.upper())
    return int(found[1]) * 1024.0 ** ("KMGT".index(found[2] or "M") - 2) if found else None

"""What a job script asks for: its #SBATCH lines, read as sbatch reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from . import script_text
from .script_text import Option

# What later components of a heterogeneous job take over from the first.
SHARED = ("account", "qos", "time", "mem", "output", "error", "job-name", "reservation", "requeue")


@dataclass(frozen=True)
class NodeShape:
    """How much of each there is on a node, as far as it is known; None: no limit that we know."""

    devices: int | None = None
    cpus: int | None = None


@dataclass(frozen=True)
class Request:
    """What a script asks for. None: not given, or not to be read from the options alone."""

    options: dict[str, str]
    lines: dict[str, int | None]  # where each option is given
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

    def line(self, *names: str) -> int | None:
        """The line of the first of these options that is given."""
        return next((self.lines[name] for name in names if name in self.lines), None)


def request(text: str, extra: Iterable[str] = (), shape: NodeShape | None = None) -> Request:
    """Read a script, and options of the command line, which count for more. Of several parts the first."""
    return requests(script_text.parse(text), extra, shape)[0]


def requests(
    script: script_text.Script, extra: Iterable[str] = (), shape: NodeShape | None = None
) -> list[Request]:
    """One request for each component of the job; more than one where it is heterogeneous."""
    found: list[Request] = []
    for number, part in enumerate(script.parts):
        given = list(part)
        if number:
            known = {option.name for option in part}
            first = script.parts[0]
            given += [option for option in first if option.name in SHARED and option.name not in known]
        else:
            given += list(script_text.options_of(extra))
        found.append(_request(given, tuple(script.late), shape or NodeShape()))
    return found


def _request(given: list[Option], late: tuple[int, ...], shape: NodeShape) -> Request:
    options = {option.name: option.value for option in given}
    nodes = _nodes(options, shape)
    tasks = _tasks(options, nodes)
    devices = _devices(options, nodes, tasks)
    cpus = _cpus(options, tasks, devices)
    return Request(
        options=options,
        lines={option.name: option.line for option in given},
        late=late,
        partition=options.get("partition"),
        qos=options.get("qos"),
        account=options.get("account"),
        hours=hours(options.get("time")),
        nodes=nodes,
        tasks=tasks,
        devices=devices,
        cpus=cpus,
        memory_gb=_memory(options, cpus, devices),
    )


def on_nodes(asked: Request, nodes: int) -> Request:
    """The same request where the scheduler has said how many nodes it takes."""
    options = asked.options
    tasks = _tasks(options, nodes)
    devices = _devices(options, nodes, tasks)
    cpus = _cpus(options, tasks, devices)
    return replace(
        asked, nodes=nodes, tasks=tasks, devices=devices, cpus=cpus, memory_gb=_memory(options, cpus, devices)
    )


def _nodes(options: Mapping[str, str], shape: NodeShape) -> int | None:
    """As asked for, else the fewest that hold what is asked for, which is what Slurm takes."""
    if "nodes" in options:
        return first_number(options["nodes"])
    every, each = first_number(options.get("ntasks")), first_number(options.get("ntasks-per-node"))
    if 1 in (every, last_number(options.get("gpus", ""))):
        return 1  # one task, or one device, is on one node
    if every and each:
        return math.ceil(every / each)
    total = last_number(options.get("gpus", ""))
    if total is None and "gpus-per-task" in options and every:
        per_task = last_number(options["gpus-per-task"])
        total = per_task * every if per_task else None
    cpus = (every or 1) * (first_number(options.get("cpus-per-task", "1")) or 1)
    fewest = [math.ceil(n / most) for n, most in ((total, shape.devices), (cpus, shape.cpus)) if n and most]
    if shape.devices is None and (total or every):
        return None
    return max(fewest, default=1)


def _tasks(options: Mapping[str, str], nodes: int | None) -> int | None:
    every, each = first_number(options.get("ntasks")), first_number(options.get("ntasks-per-node"))
    if every is not None and nodes and not (each and math.ceil(every / each) > nodes):
        return math.ceil(every / nodes)
    if each is not None:
        return each
    if socket := first_number(options.get("ntasks-per-socket")):
        return socket if every is None else None
    return 1 if every is None else None


def _devices(options: Mapping[str, str], nodes: int | None, tasks: int | None) -> int | None:
    """Of one node; 0 if the script asks for none."""
    if "gpus-per-node" in options:
        return last_number(options["gpus-per-node"])
    if gres := re.search(r"\bgpu(:[^:,]*)??(:(\d+))?(,|$)", options.get("gres", "")):
        return int(gres[3] or 1)
    if "gpus-per-task" in options:
        each = last_number(options["gpus-per-task"])
        return each * tasks if each is not None and tasks else None
    if "gpus-per-socket" in options:
        return None
    if "gpus" in options:
        total = last_number(options["gpus"])
        return math.ceil(total / nodes) if total is not None and nodes else None
    return 0


def _cpus(options: Mapping[str, str], tasks: int | None, devices: int | None) -> int | None:
    if "cpus-per-gpu" in options:
        each = first_number(options["cpus-per-gpu"])
        return each * devices if each and devices is not None else None
    each = first_number(options.get("cpus-per-task", "1"))
    return each * tasks if each is not None and tasks else None


def _memory(options: Mapping[str, str], cpus: int | None, devices: int | None) -> float | None:
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

"""What a script asks more of, or less, than the queue and the node of the data have: all of it, a "
"sentence each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from ..machines import Machine
from ..words import count
from .queues import cpus_per_core, find_queue, has_devices, node_shape
from .request import Request


def clock(hours: float) -> str:
    """'48', '0.5', and '48 hours and 1 minute' where a decimal number would not say it."""
    whole, minutes = divmod(round(hours * 60), 60)
    if minutes % 15 == 0:
        return f"{whole + minutes / 60:g}"
    return " and ".join(count(*part) for part in ((whole, "hour"), (minutes, "minute")) if part[0])


class Excesses:
    """Of one request. Each method gives a sentence, or None where there is nothing to say."""

    def __init__(self, machine: Machine, asked: Request) -> None:
        self.machine, self.asked = machine, asked
        self.name = machine["name"].value
        self.queue = find_queue(machine, asked) or {}

    def all(self) -> Iterator[tuple[int | None, str]]:
        """(line, sentence) of everything that is too much or too little."""
        asked = self.asked
        devices = ("gpus-per-node", "gres", "gpus-per-task", "gpus")
        cores = ("cpus-per-task", "cpus-per-gpu", "ntasks-per-node", "ntasks")
        memory = ("mem", "mem-per-gpu", "mem-per-cpu")
        found = (
            (asked.line("partition"), self.on_request()),
            (asked.line("time"), self.time()),
            (asked.line("nodes", "ntasks"), self.nodes()),
            (asked.line("nodes"), self.least_nodes()),
            (asked.line("array"), self.array()),
            (asked.line(*devices), self.node("devices")),
            (asked.line(*cores), self.node("cores")),
            (asked.line(*memory), self.node("memory")),
            (asked.line(*devices), self.job_devices()),
            (asked.line(*cores), self.job_cores()),
            (asked.line("cpus-per-task", *devices), self.cores_for_devices()),
            (None, self.least_devices()),
        )
        yield from ((line, sentence) for line, sentence in found if sentence)

    def where(self) -> str:
        qos = f" with --qos={self.asked.qos}" if self.queue["qos"] else ""
        return f"{self.queue['partition']}{qos}"

    def most(self, limit: str, asked: float | str) -> str:
        return f"{self.where()} takes at most {limit}; the script asks for {asked}."

    def on_request(self) -> str | None:
        if not self.queue.get("on_request"):
            return None
        others = [each for each in self.machine["partitions"].value if not each.get("on_request")]
        largest = max(others, key=lambda each: each["nodes"] or 0)
        return (
            f"{self.where()} of {self.name} is open only to projects that asked for it; "
            f"{largest['partition']} takes up to {largest['nodes']} nodes."
        )

    def time(self) -> str | None:
        longest, hours = self.queue.get("hours"), self.asked.hours
        if not longest or not hours or hours <= longest:
            return None
        return self.most(count(longest, "hour"), "no limit" if math.isinf(hours) else clock(hours))

    def nodes(self) -> str | None:
        most, nodes = (self.queue.get("nodes") or self.machine["nodes"].value), self.asked.nodes
        if not self.queue or not most or not nodes or nodes <= most:
            return None
        return self.most(count(most, "node"), nodes)

    def least_nodes(self) -> str | None:
        least, nodes = self.queue.get("least_nodes"), self.asked.nodes or 1
        if not least or nodes >= least:
            return None
        return f"{self.where()} takes {least} nodes or more; the script asks for {nodes}."

    def array(self) -> str | None:
        most, jobs = self.queue.get("jobs"), array_size(self.asked.options.get("array"))
        if not most or not jobs or jobs <= most:
            return None
        return f"{self.where()} takes at most {count(most, 'job')} of a user at once; the array has {jobs}."

    def node(self, what: str) -> str | None:
        """Of one node: devices, cores or memory."""
        machine, asked = self.machine, self.asked
        cores, cpus = machine["cores_per_node"].value, node_shape(machine).cpus
        exact = machine["node_memory_mb"].value
        there = {
            "devices": machine["devices_per_node"].value if has_devices(machine, asked) else 0,
            "cores": cpus,
            "memory": exact / 1024 if exact else machine["node_memory_gb"].value,
        }
        threads, which = "" if cpus == cores else f" ({cpus} CPUs to Slurm)", self.name
        if self.queue.get("devices") == 0:  # nodes of its own
            cores = there["cores"] = self.queue.get("cpus", self.queue.get("cores", cpus))
            there["memory"] = self.queue["memory_mb"] / 1024 if "memory_mb" in self.queue else there["memory"]
            threads, which = "", f"{self.where()} of {self.name}"
        wanted = {"devices": asked.devices, "cores": asked.cpus, "memory": asked.memory_gb}[what]
        if not wanted or there[what] is None or wanted <= there[what]:
            return None
        has = {
            "devices": f"{there['devices'] or 'no'} devices",
            "cores": f"{cores} cores{threads}",
            "memory": f"{int(there['memory'] or 0)} GB of memory for jobs",
        }[what]
        return f"A node of {which} has {has}; the script asks for {wanted:g}."

    def job_devices(self) -> str | None:
        most, each, nodes = self.queue.get("devices"), self.asked.devices, self.asked.nodes
        if not most or not each or not nodes or each * nodes <= most:
            return None
        return self.most(count(most, "device"), each * nodes) if not self.nodes() else None

    def job_cores(self) -> str | None:
        most, each, nodes = self.queue.get("cores"), self.asked.cpus, self.asked.nodes
        if not most or not each or not nodes or self.queue.get("devices") == 0:
            return None
        if each * nodes <= most * cpus_per_core(self.machine) or self.nodes() or self.node("cores"):
            return None
        return self.most(count(most, "core"), each * nodes)

    def cores_for_devices(self) -> str | None:
        asked, each = self.asked, self.machine["cores_per_device"].value
        if not self.machine["cores_per_device_only"].value or "exclusive" in asked.options:
            return None
        if not asked.devices or not asked.cpus or asked.cpus == each * asked.devices:
            return None
        return (
            f"{self.name} takes {each} cores for each device, no more and no fewer: "
            f"{each * asked.devices} for {count(asked.devices, 'device')} of a node; the script asks for "
            f"{asked.cpus}."
        )

    def least_devices(self) -> str | None:
        least = self.queue.get("least_devices")
        if not least or self.asked.devices != 0:
            return None
        form = self.machine["gpu_request"].value.format(devices=self.machine["devices_per_node"])
        return f"{self.where()} of {self.name} takes no job without a device: ask with {form}."


def array_size(text: str | None) -> int | None:
    """How many jobs '0-9,20%5' are."""
    if not text:
        return None
    jobs = 0
    for part in text.split("%")[0].split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if not found:
            return None
        first, last, step = (int(number) if number else None for number in found.groups())
        jobs += 1 if last is None else (last - first) // (step or 1) + 1
    return jobs

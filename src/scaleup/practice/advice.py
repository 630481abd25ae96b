"""Our own words beside the scheduler's: what to change in a refused script, what an accepted one wastes."""

from __future__ import annotations

import math
import re

from ..machines import Machine
from ..words import count, nearest
from .request import Request
from .stand_in import OWN_QOS, cpus_per_core


def likely(given: str, known: list[str]) -> str:
    """The end of a sentence about a wrong name."""
    near = nearest(given, known)
    return f"did you mean {near}?" if near else f"known: {', '.join(known)}."


def clock(hours: float) -> str:
    """'48', '0.5', and '48 hours and 1 minute' where a decimal number would not say it."""
    whole, minutes = divmod(round(hours * 60), 60)
    if minutes % 15 == 0:
        return f"{whole + minutes / 60:g}"
    return " and ".join(count(*part) for part in ((whole, "hour"), (minutes, "minute")) if part[0])


class Adviser:
    """Compares what a script asks for with what the machine has, led by what the scheduler said."""

    def __init__(self, machine: Machine, asked: Request) -> None:
        self.machine = machine
        self.asked = asked
        self.name = machine["name"].value
        self.queues = machine["partitions"].value
        self.queue = self._find_queue()

    def _find_queue(self) -> dict | None:
        names = {self.asked.qos or ""}
        if self.asked.qos == "normal":
            names.add("")
        if self.asked.qos and self.asked.qos == self.asked.account:
            names.add(OWN_QOS)
        for queue in self.queues:
            if queue["partition"] == self.asked.partition and (queue["qos"] or "") in names:
                return queue
        return None

    def refusal(self, words: str, known_options: list[str]) -> str:
        """One sentence: what to change. A second one names #SBATCH lines that Slurm passed over."""
        for pattern, sentence in (
            (r"unrecognized option|invalid option|ambiguous", lambda: self._option(words, known_options)),
            (r"DOS line breaks", lambda: "Save the script with Unix line ends: sed -i 's/\\r$//' FILE."),
            (r"[Ii]nvalid (numeric|--)|not a valid|generic resource", lambda: self._value(words)),
            (r"feature|reservation|license|node name", self._unknown),
            (r"time limit", self._time),
            (r"account", self._account),
            (r"partition", self._partition),
            (r"qos", self._qos),
            (r"[Nn]ode count", self._nodes),
            (r"", self._size),
        ):
            if re.search(pattern, words) and (advice := sentence()):
                return f"{advice}{self._late()}"
        return f"Compare the #SBATCH lines with the facts of {self.name} in data/machines.yml.{self._late()}"

    def _where(self) -> str:
        qos = f" with --qos={self.asked.qos}" if self.queue["qos"] else ""
        return f"{self.queue['partition']}{qos}"

    def _option(self, words: str, known: list[str]) -> str | None:
        found = re.search(r"option (?:-- )?'(-*)([\w-]+)", words)
        if not found:
            return None
        if not found[1]:
            return f"sbatch has no option -{found[2]}; remove it."
        return (
            f"sbatch has no option --{found[2]}; {likely(f'--{found[2]}', [f'--{name}' for name in known])}"
        )

    def _value(self, words: str) -> str | None:
        if "generic resource" in words:
            return self._gpu_form()
        found = re.search(r"--([a-z][a-z-]+)", words)
        name = found[1] if found else "nodes" if "node count" in words else None
        given = self.asked.options.get(name)
        return f"Slurm cannot read --{name}={given}; correct the value." if given else None

    def _unknown(self) -> str | None:
        """What a site defines and the data do not hold: the machine itself may well take it."""
        names = ("constraint", "reservation", "licenses", "nodelist", "exclude")
        given = [name for name in names if name in self.asked.options]
        if not given:
            return None
        return f"The data do not say what {self.name} takes for --{given[0]}; remove it to check the rest."

    def _time(self) -> str | None:
        if not self.queue or not self.queue["hours"] or not self.asked.hours:
            return None
        longest = count(self.queue["hours"], "hour")
        asked = "no limit" if math.isinf(self.asked.hours) else clock(self.asked.hours)
        return f"{self._where()} takes at most {longest}; the script asks for {asked}."

    def _account(self) -> str | None:
        example, account = self.machine["account_example"], self.asked.account
        if not account:
            return f"Name the account of your project, such as --account={example}."
        if re.fullmatch(self.machine["account_pattern"].value, account):
            return None
        return f"Accounts of {self.name} look like {example}; the script says '{account}'."

    def _partition(self) -> str | None:
        known = list(dict.fromkeys(queue["partition"] for queue in self.queues))
        if not self.asked.partition:
            return f"Name a partition of {self.name}, such as --partition={known[0]}."
        if wrong := [name for name in self.asked.partition.split(",") if name not in known]:
            return f"{self.name} has no partition '{wrong[0]}'; {likely(wrong[0], known)}"
        return self._qos()

    def _qos(self) -> str | None:
        partition, given = self.asked.partition, self.asked.qos
        own = f"{self.asked.account} (the account's name)"
        known = [queue["qos"] or "" for queue in self.queues if queue["partition"] == partition]
        named = [own if qos == OWN_QOS else qos for qos in known if qos]
        if self.queue or not known:
            return None
        if not named:
            return f"{partition} of {self.name} takes no --qos; remove --qos={given}."
        if not given:
            return f"{partition} of {self.name} needs a QOS: --qos={' or '.join(named)}."
        return f"{partition} of {self.name} has no QOS '{given}'; {likely(given, named)}"

    def _nodes(self) -> str | None:
        if not self.queue or not self.asked.nodes:
            return None
        most = self.queue["nodes"] or self.machine["nodes"].value
        if not most or self.asked.nodes <= most:
            return None
        return f"{self._where()} takes at most {count(most, 'node')}; the script asks for {self.asked.nodes}."

    def _gpu_form(self) -> str:
        form = self.machine["gpu_request"].value.format(devices=self.machine["devices_per_node"])
        return f"Ask for the devices of a node of {self.name} with {form}."

    def _size(self) -> str | None:
        """Of one node: the first thing that the script asks more of than there is."""
        machine, asked = self.machine, self.asked
        cores = machine["cores_per_node"].value
        cpus = cores * cpus_per_core(machine)
        threads = "" if cpus == cores else f" ({cpus} CPUs to Slurm)"
        for wanted, there, words in (
            (asked.devices, machine["devices_per_node"].value, "{} devices"),
            (asked.cpus, cpus, f"{cores} cores{threads}"),
            (asked.memory_gb, machine["node_memory_gb"].value, "{} GB of memory for jobs"),
        ):
            if wanted and there and wanted > there:
                return f"A node of {self.name} has {words.format(there)}; the script asks for {wanted:g}."
        gpus = [f"gpu:{asked.options.get(name, '')}" for name in ("gpus", "gpus-per-node")]
        if re.search(r"\bgpu:[A-Za-z]", " ".join([*gpus, asked.options.get("gres", "")])):
            return self._gpu_form()  # with a type of device, and the data name none
        return self._nodes()

    def _late(self) -> str:
        if not self.asked.late:
            return ""
        return f" Line {self.asked.late[0]} is below the first command, and there Slurm ignores #SBATCH."

    def remarks(self) -> str:
        """What an accepted script wastes; '' if we see nothing."""
        found = (self._unused_devices(), self._crowded_devices(), self._dear_cores())
        return (" ".join(remark for remark in found if remark) + self._late()).strip()

    def _unused_devices(self) -> str | None:
        there, asked = self.machine["devices_per_node"].value, self.asked.devices
        if asked is None or asked >= there or not self._whole_nodes():
            return None
        return (
            f"The job gets whole nodes and pays for all {there} devices of each, "
            f"but the script asks for {asked or 'none'}."
        )

    def _crowded_devices(self) -> str | None:
        tasks, devices = self.asked.tasks, self.asked.devices
        if not devices or not tasks or tasks <= devices:
            return None
        return f"{tasks} tasks on a node share {count(devices, 'device')}; start one task per device."

    def _dear_cores(self) -> str | None:
        machine, asked = self.machine, self.asked
        rule = machine["billing_rule"].value or ""
        if not asked.devices or not asked.cpus or self._whole_nodes() or not re.search("core|thread", rule):
            return None
        share = machine["cores_per_device"].value * cpus_per_core(machine) * asked.devices
        if asked.cpus <= share:
            return None
        cores = "cores" if cpus_per_core(machine) == 1 else "CPUs (threads)"
        return (
            f"The share of {count(asked.devices, 'device')} of {self.name} is {share} {cores}; "
            f"the script asks for {asked.cpus}, and the larger share is charged."
        )

    def _whole_nodes(self) -> bool:
        """Whether all of a node is paid for: by the script's wish, or by the machine's rule for this job."""
        if "exclusive" in self.asked.options or "whole nodes" in (self.queue or {}).get("note", ""):
            return True
        rule = self.machine["billing_rule"].value or ""
        if "more than one node gets whole nodes" in rule:
            return (self.asked.nodes or 1) > 1
        return rule.startswith(("whole nodes", "nodes x"))

"""Our own words beside the scheduler's: what to change in a refused script, led by what it said."""

from __future__ import annotations

import re

from ..words import nearest
from .excesses import Excesses
from .queues import OWN_QOS, is_other, partition_of
from .reading import Reading
from .remarks import FIRST_JOB, Remark

# What the scheduler says, and which of our sentences answer it.
ANSWERS = (
    (r"unrecognized option|invalid option|ambiguous", "option"),
    (r"[Ii]nvalid (numeric|--)|not a valid|generic resource", "value"),
    (r"mandatory|is missing", "mandatory"),
    (r"time limit", "time"),
    (r"account", "account"),
    (r"partition", "partition"),
    (r"qos", "qos"),
    (r"[Nn]ode count", "nodes"),
)


def likely(given: str, known: list[str]) -> str:
    """The end of a sentence about a wrong name."""
    near = nearest(given, known)
    return f"did you mean {near}?" if near else f"known: {', '.join(known)}."


class Adviser:
    """Compares what a script asks for with what the machine has, led by what the scheduler said."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.machine, self.asked = reading.machine, reading.asked
        self.name = reading.name
        self.queues = self.machine["partitions"].value
        self.excesses = Excesses(self.machine, self.asked)

    def refusal(self, words: str, known_options: list[str]) -> list[Remark]:
        """What to change: what the scheduler's words mean first, then all else that is wrong."""
        answers = {"option": (None, self.option(words, known_options)), "value": self.value(words)}
        answers |= {name: getattr(self, name)() for name in ("mandatory", "account", "partition", "qos")}
        excesses = list(self.excesses.all())
        first = next((name for pattern, name in ANSWERS if re.search(pattern, words)), "")
        sizes = {"time": self.excesses.time(), "nodes": self.excesses.nodes()}
        leading = [answers[first]] if first in answers else []
        leading += [(line, said) for line, said in excesses if said == sizes.get(first)]
        rest = [answers[name] for name in ("account", "partition", "qos", "mandatory") if name != first]
        found = [(line, said) for line, said in [*leading, *rest, *excesses] if said]
        if not found and re.search(r"not available|More processors|generic resource", words):
            found = (
                [(self.asked.line("gres", "gpus-per-node", "gpus"), self.gpu_form())] if self.typed() else []
            )
        return [Remark("refusal", line, said, FIRST_JOB) for line, said in dict.fromkeys(found)]

    def general(self) -> Remark:
        """What to say where nothing better is known."""
        said = f"Compare the #SBATCH lines with the facts of {self.name} in data/machines.yml."
        return Remark("refusal", None, said, FIRST_JOB)

    def option(self, words: str, known: list[str]) -> str | None:
        found = re.search(r"option (?:-- )?'(-*)([\w-]+)", words)
        if not found:
            return None
        if not found[1]:
            return f"sbatch has no option -{found[2]}; remove it."
        return (
            f"sbatch has no option --{found[2]}; {likely(f'--{found[2]}', [f'--{name}' for name in known])}"
        )

    def value(self, words: str) -> tuple[int | None, str | None]:
        if "generic resource" in words:
            if self.excesses.least_devices():
                return None, None
            return self.asked.line("gres", "gpus-per-node", "gpus"), self.gpu_form()
        found = re.search(r"--([a-z][a-z-]+)", words)
        name = found[1] if found else "nodes" if "node count" in words else None
        given = self.asked.options.get(name)
        said = f"Slurm cannot read --{name}={given}; correct the value." if given else None
        return self.asked.line(name or ""), said

    def mandatory(self) -> tuple[int | None, str | None]:
        for option in self.machine["mandatory_options"].value or ():
            name = option.strip("-").partition("=")[0]
            if name not in self.asked.options and name not in ("account", "qos", "partition"):
                return None, f"{self.name} takes no job without {option}: add it."
        return None, None

    def account(self) -> tuple[int | None, str | None]:
        example, account = self.machine["account_example"], self.asked.account
        if not account:
            return None, f"Name the account of your project, such as --account={example}."
        if re.fullmatch(self.machine["account_pattern"].value, account):
            return None, None
        said = f"Accounts of {self.name} look like {example}; the script says '{account}'."
        return self.asked.line("account"), said

    def partition(self) -> tuple[int | None, str | None]:
        asked = self.asked
        known = list(dict.fromkeys(queue["partition"] for queue in self.queues))
        if not asked.partition:
            if partition_of(self.machine, asked) or self.machine["qos_names_partition"].value:
                return None, None
            return None, f"Name a partition of {self.name}, such as --partition={known[0]}."
        for name in asked.partition.split(","):
            if name not in known and not is_other(self.machine, name):
                return asked.line(
                    "partition"
                ), f"{self.name} has no partition '{name}'; {likely(name, known)}"
        return None, None

    def qos(self) -> tuple[int | None, str | None]:
        """Of the partition; where the QOS alone says it, of all."""
        asked, line = self.asked, self.asked.line("qos")
        partition, given = partition_of(self.machine, asked), asked.qos
        if is_other(self.machine, partition):
            return None, None
        own = f"{asked.account} (the account's name)"
        here = [queue for queue in self.queues if partition in (None, queue["partition"])]
        named = [own if queue["qos"] == OWN_QOS else queue["qos"] for queue in here if queue["qos"]]
        shown = partition or (here[0]["partition"] if here else "")
        if self.reading.queue or not here or (partition and "," in partition):
            return None, None
        if partition is None and not self.machine["qos_names_partition"].value:
            return None, None
        if not named:
            return line, f"{shown} of {self.name} takes no --qos; remove --qos={given}."
        if not given:
            return line, f"{shown} of {self.name} needs a QOS: --qos={' or '.join(named)}."
        return line, f"{shown} of {self.name} has no QOS '{given}'; {likely(given, named)}"

    def gpu_form(self) -> str:
        form = self.machine["gpu_request"].value.format(devices=self.machine["devices_per_node"])
        return f"Ask for the devices of a node of {self.name} with {form}."

    def typed(self) -> bool:
        """Whether the request names a type of device."""
        options = self.asked.options
        gpus = [f"gpu:{options.get(name, '')}" for name in ("gpus", "gpus-per-node", "gpus-per-task")]
        return bool(re.search(r"\bgpu:[A-Za-z]", " ".join([*gpus, options.get("gres", "")])))

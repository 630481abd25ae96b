"""A job script beside the machine that it is for: all that a remark may look at."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from ..machines import Machine
from . import queues, script_text
from .launches import Launches, launches
from .request import Request, on_nodes, requests
from .script_body import Body, read_body


class Reading:
    """`nodes` is what the scheduler said, where it has been asked."""

    def __init__(
        self, text: str, machine: Machine, extra: Iterable[str] = (), nodes: int | None = None
    ) -> None:
        self.text = text
        self.machine = machine
        self.name = machine["name"].value
        self.script = script_text.parse(text)
        self.parts = requests(self.script, extra, queues.node_shape(machine))
        if nodes and len(self.parts) == 1 and "nodes" not in self.parts[0].options:
            self.parts[0] = on_nodes(self.parts[0], nodes)

    @property
    def asked(self) -> Request:
        return self.parts[0]

    @cached_property
    def queue(self) -> dict | None:
        return queues.find_queue(self.machine, self.asked)

    @property
    def nodes(self) -> int | None:
        return self.asked.nodes

    @property
    def devices_there(self) -> int:
        return self.machine["devices_per_node"].value

    @cached_property
    def devices(self) -> int | None:
        """Of one node."""
        return self.asked.devices

    @cached_property
    def whole_nodes(self) -> bool:
        return queues.whole_nodes(self.machine, self.queue, self.asked)

    @cached_property
    def for_devices(self) -> bool:
        """Whether the job goes to nodes with devices."""
        return queues.has_devices(self.machine, self.asked)

    @cached_property
    def known(self) -> dict[str, str]:
        """Slurm's variables in the batch script, as far as the request decides them."""
        asked, options = self.asked, self.asked.options
        every = asked.tasks * asked.nodes if asked.tasks and asked.nodes else None
        if options.get("ntasks", "").isdigit():
            every = int(options["ntasks"])
        values = {
            "SLURM_NNODES": asked.nodes,
            "SLURM_JOB_NUM_NODES": asked.nodes,
            "SLURM_NTASKS": every,
            "SLURM_NPROCS": every,
            "SLURM_GPUS_ON_NODE": asked.devices or None,
        }
        given = {"SLURM_NTASKS_PER_NODE": "ntasks-per-node", "SLURM_CPUS_PER_TASK": "cpus-per-task",
                 "SLURM_GPUS_PER_NODE": "gpus-per-node"}  # fmt: skip
        values |= {name: options.get(option) for name, option in given.items()}
        return {name: str(value) for name, value in values.items() if value is not None}

    @cached_property
    def body(self) -> Body:
        return read_body(self.text, self.known)

    @cached_property
    def launches(self) -> Launches:
        return launches(self.body)

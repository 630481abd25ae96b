"""Which queue of a machine a job is for: by partition and QOS, by QOS alone, or by default."""

from __future__ import annotations

from ..machines import Machine
from .request import NodeShape, Request

OWN_QOS = "{account}"  # stands in the data for a QOS that has the account's name


def cpus_per_core(machine: Machine) -> int:
    """What Slurm counts for a core; one where the data do not say."""
    return machine["cpus_per_core"].value or 1


def node_shape(machine: Machine) -> NodeShape:
    return NodeShape(
        machine["devices_per_node"].value, machine["cores_per_node"].value * cpus_per_core(machine)
    )


def default_partition(machine: Machine) -> str | None:
    """Where a job goes that names neither partition nor QOS; None where that is refused or unknown."""
    return next((queue["partition"] for queue in machine["partitions"].value if queue.get("default")), None)


def partition_of(machine: Machine, asked: Request) -> str | None:
    """The partition that the job is sent to: named, implied by the QOS, or the default."""
    if asked.partition:
        return asked.partition
    if asked.qos and machine["qos_names_partition"].value:
        for queue in machine["partitions"].value:
            if queue["qos"] and queue["qos"] == asked.qos:
                return queue["partition"]
    return default_partition(machine)


def find_queue(machine: Machine, asked: Request) -> dict | None:
    """The queue that takes the job, or None."""
    names = {asked.qos or ""}
    if asked.qos == "normal":
        names.add("")
    if asked.qos and asked.qos == asked.account:
        names.add(OWN_QOS)
    partitions = (partition_of(machine, asked) or "").split(",")
    for queue in machine["partitions"].value:
        if queue["partition"] in partitions and (queue["qos"] or "") in names:
            return queue
    return None


def is_other(machine: Machine, partition: str | None) -> bool:
    """Whether the machine has the partition and the data do not describe it."""
    return partition in (machine["other_partitions"].value or ())


def has_devices(machine: Machine, asked: Request) -> bool:
    """Whether the nodes that the job goes to have devices."""
    others = machine["other_partitions"].value or {}
    if asked.partition in others:
        return not others[asked.partition].startswith("CPU")
    queue = find_queue(machine, asked)
    return queue is None or queue.get("devices") != 0


def whole_nodes(machine: Machine, queue: dict | None, asked: Request) -> bool:
    """Whether all of a node is paid for: by the script's wish, or by the machine's rule for this job."""
    if "exclusive" in asked.options:
        return True
    start = (queue or {}).get("whole_nodes_from")
    return start is not None and (asked.nodes or 1) >= start

"""Every limit in data/machines.yml against the scheduler: at the limit it accepts, above it refuses.

So the data and the validator cannot contradict each other. One scheduler for each machine.
"""

import pytest

from scaleup import machines
from scaleup.computer import slurm
from scaleup.machines import table
from scaleup.practice.queues import OWN_QOS, cpus_per_core
from scaleup.practice.validator import Validator

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence()),
]
# Fields of a queue that no request can break: what they say is tested elsewhere, or only told.
NO_LIMIT = {
    "partition",
    "qos",
    "default",
    "default_hours",
    "internet",
    "note",
    "whole_nodes_from",
    "running_jobs",
}


class Job:
    """A good job for one queue, to be changed in one place."""

    def __init__(self, machine: machines.Machine, queue: dict) -> None:
        fact = {name: each.value for name, each in machine.items()}
        account = fact["account_example"]
        devices = 0 if queue.get("devices") == 0 else 1
        cores = fact["cores_per_device"] * cpus_per_core(machine) if devices else 1
        self.fact, self.queue = fact, queue
        self.options = {
            "account": account, "partition": queue["partition"], "time": "10", "ntasks-per-node": "1",
            "nodes": str(queue.get("least_nodes", 1)), "cpus-per-task": str(cores),
        }  # fmt: skip
        if devices:
            self.options["gres"] = "gpu:1"
        if queue["qos"]:
            self.options["qos"] = account if queue["qos"] == OWN_QOS else queue["qos"]

    def text(self, **changes: str | None) -> str:
        options = self.options | {name.replace("_", "-"): value for name, value in changes.items()}
        lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
        return "\n".join(["#!/bin/bash", *lines, "hostname"]) + "\n"

    def at_and_above(self):
        """(what, text that is accepted, text that is refused); one of them may be None."""
        queue, fact = self.queue, self.fact
        most, least = queue["nodes"] or fact["nodes"], queue.get("least_nodes", 1)
        on = most if most else least
        yield "nodes", self.text(nodes=str(most)) if self.fits(most) else None, self.text(nodes=str(most + 1))
        if least > 1:
            yield "least_nodes", self.text(), self.text(nodes=str(least - 1))
        if queue["hours"]:
            minutes = round(queue["hours"] * 60)
            yield "hours", self.text(time=str(minutes)), self.text(time=str(minutes + 1))
        if jobs := queue.get("jobs"):
            yield "jobs", self.text(array=f"1-{jobs}"), self.text(array=f"1-{jobs + 1}")
        if queue.get("least_devices"):
            yield "least_devices", None, self.text(gres=None)
        if queue.get("devices") == 0:
            yield "devices", self.text(), self.text(gres="gpu:1")
        elif devices := queue.get("devices"):
            each = devices // on
            share = fact["cores_per_device"] * each
            good = {"nodes": str(on), "gres": f"gpu:{each}"}
            if fact["cores_per_device_only"]:
                good["cpus_per_task"] = str(share)
            fits = self.fits(on, each)
            yield "devices", self.text(**good) if fits else None, self.text(**good | {"nodes": str(on + 1)})
        if cores := queue.get("cores"):
            yield "cores", *self.cores(cores)
        if megabytes := queue.get("memory_mb"):
            yield "memory_mb", self.text(mem=str(megabytes)), self.text(mem=str(megabytes + 1))

    def fits(self, nodes: int, devices: int = 1) -> bool:
        """Whether no other limit of the queue is in the way."""
        cores = self.queue.get("cores", 10**9)
        return nodes * devices * self.fact["cores_per_device"] <= cores

    def cores(self, cores: int) -> tuple[str, str]:
        if self.queue.get("devices") == 0:
            cpus = self.queue.get("cpus", cores)
            return self.text(cpus_per_task=str(cpus)), self.text(cpus_per_task=str(cpus + 1))
        each = self.fact["cores_per_device"]
        devices = cores // each // (self.queue["nodes"] or 1)
        threads = self.fact["cpus_per_core"] or 1
        nodes = str(self.queue["nodes"] or 1)
        good = {"nodes": nodes, "gres": f"gpu:{devices}", "cpus_per_task": str(each * devices * threads)}
        more = good | {"gres": f"gpu:{devices + 1}", "cpus_per_task": str(each * (devices + 1) * threads)}
        return self.text(**good), self.text(**more)


def of_the_machine(machine: machines.Machine):
    """The limits that hold in every queue, tried in the first."""
    job = Job(machine, machine["partitions"].value[0])
    fact = job.fact
    cores, devices = fact["cores_per_node"] * cpus_per_core(machine), fact["devices_per_node"]
    whole = {"gres": f"gpu:{devices}", "cpus_per_task": str(cores)}
    yield "devices_per_node", job.text(**whole), job.text(**whole | {"gres": f"gpu:{devices + 1}"})
    yield "cores_per_node", job.text(**whole), job.text(**whole | {"cpus_per_task": str(cores + 1)})
    megabytes = fact["node_memory_mb"] or (fact["node_memory_gb"] or 0) * 1024
    if megabytes:
        yield "memory", job.text(**whole, mem=str(megabytes)), job.text(**whole, mem=str(megabytes + 1))
    for option in fact["mandatory_options"] or ():
        name = option.strip("-").partition("=")[0].replace("-", "_")
        yield option, None, job.text(**{name: None})
    if fact["cores_per_device_only"]:
        yield "cores_per_device", job.text(), job.text(cpus_per_task=str(fact["cores_per_device"] - 1))
    if kind := fact["device_type"]:
        yield "device_type", job.text(gres=f"gpu:{kind}:1"), job.text(gres=f"gpu:no{kind}:1")
    if (sockets := fact["sockets"]) and not fact["mandatory_options"]:
        good = {"nodes": "1", "ntasks_per_node": None, "ntasks": str(devices), "gres": f"gpu:{devices}"}
        each = -(-devices // sockets)
        yield "sockets", job.text(**good, ntasks_per_socket=str(each)), None
    for name in fact["other_partitions"] or ():
        yield name, job.text(partition=name, gres=None, cpus_per_task="1"), None


@pytest.mark.parametrize("name", machines.operational())
def test_the_scheduler_holds_every_limit_of_the_data(name, tmp_path):
    machine = machines.machine(name)
    path, wrong, tried = tmp_path / "job.sh", [], set()
    with Validator(name) as validator:

        def ask(text: str | None, expected: bool, what: str) -> None:
            if text is None:
                return
            path.write_text(text)
            verdict = validator.check(path)
            if verdict.accepted != expected:
                wrong.append(f"{what}: {'refused' if expected else 'accepted'}: {verdict.scheduler}\n{text}")
            elif not expected and (not verdict.refusals or "Compare the #SBATCH" in verdict.advice):
                wrong.append(f"{what}: refused without a sentence: {verdict.scheduler}\n{text}")

        for what, good, bad in of_the_machine(machine):
            ask(good, True, what)
            ask(bad, False, what)
        for queue in machine["partitions"].value:
            label = f"{queue['partition']} {queue['qos'] or ''}"
            job = Job(machine, queue)
            tried |= set(queue)
            if queue.get("on_request"):
                ask(job.text(), False, f"{label} on_request")
                continue
            ask(job.text(), True, label)
            for what, good, bad in job.at_and_above():
                ask(good, True, f"{label} {what}")
                ask(bad, False, f"{label} {what}")
    assert not wrong, "\n".join(wrong)
    known = {
        "nodes",
        "least_nodes",
        "hours",
        "jobs",
        "least_devices",
        "devices",
        "cores",
        "memory_mb",
        "on_request",
    }
    assert tried - NO_LIMIT <= {*known, "cpus"}, "a new field of a queue needs its trial here"


def test_every_field_of_a_queue_is_a_limit_or_said_not_to_be():
    limits = {"nodes", "least_nodes", "hours", "jobs", "least_devices", "devices", "cores", "cpus"}
    limits |= {"memory_mb", "on_request"}
    assert set(table.QUEUE) == limits | NO_LIMIT

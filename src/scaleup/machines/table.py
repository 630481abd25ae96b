"""The machines of `data/machines.yml`: each fact with its source and date."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CourseError
from ..files import read_data
from ..words import did_you_mean
from .facts import Fact, Source, address_problems, source_of

KINDS = ("official", "course", "user", "press", "derived")
NUMBER = (int, float)


@dataclass(frozen=True)
class Pitfall:
    """What goes wrong, in which machines (None: in all)."""

    title: str
    text: str
    machines: tuple[str, ...] | None
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Field:
    """One line of the schema. A machine that runs must have a value where `needed`."""

    name: str
    group: str
    types: type | tuple[type, ...]
    unit: str
    meaning: str
    needed: bool = False


FIELDS = (
    Field("name", "identity", str, "", "name", True),
    Field("site", "identity", str, "", "site", True),
    Field("country", "identity", str, "", "country", True),
    Field("status", "identity", str, "", "status", True),
    Field("device", "hardware", str, "", "device", True),
    Field("devices_per_node", "hardware", int, "", "devices per node, as Slurm counts them", True),
    Field("memory_gb", "hardware", NUMBER, "GB", "memory per device, as it is sold: in effect GiB"),
    Field("peak_bf16_tflops", "hardware", NUMBER, "TFLOP/s", "peak per device, dense bf16"),
    Field("memory_bandwidth_gb_s", "hardware", NUMBER, "GB/s", "memory bandwidth per device"),
    Field("nodes", "hardware", int, "", "nodes"),
    Field("intra_node", "hardware", str, "", "link inside the node"),
    Field(
        "link_gb_s_per_device",
        "hardware",
        NUMBER,
        "GB/s",
        "a device to all others of its node, each direction",
    ),
    Field("network", "hardware", str, "", "network of a node"),
    Field("network_gb_s_per_node", "hardware", NUMBER, "GB/s", "network per node, each direction"),
    Field("topology", "hardware", str, "", "topology"),
    Field("cpu", "hardware", str, "", "processor"),
    Field("architecture", "hardware", str, "", "architecture", True),
    Field("accelerator_stack", "hardware", str, "", "software of the device", True),
    Field("cores_per_node", "hardware", int, "", "cores per node that jobs can use", True),
    Field("sockets", "hardware", int, "", "sockets per node"),
    Field("threads_per_core", "hardware", int, "", "hardware threads per core"),
    Field("cpus_per_core", "hardware", int, "", "CPUs that Slurm counts for one core"),
    Field("cores_per_device", "hardware", int, "", "cores per device", True),
    Field("node_memory_gb", "hardware", int, "GB", "memory of a node that a job can ask for"),
    Field("node_memory_mb", "hardware", int, "MB", "the same to the megabyte, as Slurm counts"),
    Field("binding", "hardware", str, "", "which cores belong to which device"),
    Field("binding_masks", "hardware", list, "", "mask of cores, device by device"),
    Field("measured_bf16_tflops", "hardware", float, "TFLOP/s", "reached in a published run, per device"),
    Field("partitions", "queues", list, "", "partitions", True),
    Field("account_example", "queues", str, "", "account, example", True),
    Field("account_pattern", "queues", str, "", "account, form that is checked", True),
    Field("slurm_version", "queues", str, "", "version of Slurm"),
    Field("qos_names_partition", "queues", bool, "", "whether the QOS alone names the partition"),
    Field("other_partitions", "queues", dict, "", "partitions that are not described here"),
    Field("mandatory_options", "queues", list, "", "options without which a job is refused"),
    Field(
        "cores_per_device_only", "queues", bool, "", "whether a job must ask for just these cores per device"
    ),
    Field("other_gres", "queues", list, "", "generic resources beside devices"),
    Field("home", "files", str, "", "home"),
    Field("scratch", "files", str, "", "scratch"),
    Field("project", "files", str, "", "project space"),
    Field("purge", "files", str, "", "what is deleted, and when"),
    Field("local_storage", "files", str, "", "storage on the node"),
    Field("billing_unit", "cost", str, "", "unit of the bill", True),
    Field("node_hour_cost", "cost", NUMBER, "units", "one node for one hour"),
    Field("billing_rule", "cost", str, "", "what is counted"),
    Field("billed_by", "cost", list, "", "whose largest share is charged"),
    Field("login", "access", str, "", "login"),
    Field("internet_on_compute", "access", bool, "", "internet on compute nodes"),
    Field("software", "access", str, "", "software"),
    Field("container", "access", str, "", "container runtime"),
    Field("gpu_request", "job", str, "", "how to ask for devices", True),
    Field("device_type", "job", str, "", "Slurm's name for the type of device"),
    Field("login_shell", "job", bool, "", "whether the site's scripts start a login shell"),
    Field("memory_request", "job", str, "", "how to ask for memory"),
    Field("job_options", "job", list, "", "further sbatch options"),
    Field("setup", "job", list, "", "lines before the launch"),
    Field("container_command", "job", str, "", "command of the container"),
    Field("srun_options", "job", list, "", "srun options"),
    Field("environment", "job", dict, "", "environment variables"),
    Field("master_suffix", "job", str, "", "ending of the first node's name"),
)

# What is said of a machine to come, in this order. The first NEEDED_OF_ANNOUNCED must be there, the others
# where known; the last three are of announced machines only.
ANNOUNCED = {
    "name": str,
    "site": str,
    "country": str,
    "status": str,
    "device": str,
    "devices_per_node": int,
    "nodes": int,
    "cpu": str,
    "accelerator_stack": str,
    "network": str,
    "contracted": str,  # the day, in words where sources differ
    "expected": str,  # when it is to take jobs
    "cost": str,
}
NEEDED_OF_ANNOUNCED = 4

# What an entry of `partitions` may hold; the first four must be there. A limit that is not there is unknown.
QUEUE = {
    "partition": (str,),
    "qos": (str, type(None)),
    "hours": (int, float, type(None)),  # the most of a job
    "nodes": (int, type(None)),  # the most of a job
    "least_nodes": (int,),
    "devices": (int,),  # the most of a job; 0: its nodes have none
    "least_devices": (int,),
    "cores": (int,),  # the most of a job
    "cpus": (int,),  # the same as Slurm counts, where that is another number than the machine's rule gives
    "memory_mb": (int,),  # of a node, as Slurm counts, where it is not the machine's
    "jobs": (int,),  # the most of a user that run or wait; the tasks of an array count
    "running_jobs": (int,),
    "default": (bool,),  # where a job goes that names no partition
    "default_hours": (int, float),
    "on_request": (bool,),
    "whole_nodes_from": (int,),  # a job of so many nodes gets, and pays for, all of each
    "internet": (bool,),
    "note": (str,),
}
NEEDED_OF_QUEUE = 4

Machine = dict[str, Fact]


def content() -> dict:
    """The file as it stands, parsed."""
    return read_data("machines.yml")


def _keys(source: str | list[str] | None) -> list[str]:
    return [source] if isinstance(source, str) else source or []


def _sources(keys: str | list[str] | None, known: dict) -> tuple[Source, ...]:
    return tuple(source_of(key, known[key]) for key in _keys(keys))


def _machine(fields: dict) -> Machine:
    known = content()["sources"]
    return {f: Fact(e["value"], _sources(e["source"], known), e.get("note", "")) for f, e in fields.items()}


def _announced(fields: dict) -> Machine:
    """An announced machine in the fields of all: what its entry does not have is unknown."""
    return {field.name: Fact(None) for field in FIELDS} | _machine(fields)


def load() -> dict[str, Machine]:
    """{machine id: {field: Fact}} of every machine, running or announced, in the file's order."""
    return {name: _machine(fields) for name, fields in content()["machines"].items()} | announced()


def announced() -> dict[str, Machine]:
    """The machines to come, also with the fields of ANNOUNCED that running ones do not have."""
    return {name: _announced(fields) for name, fields in content()["announced"].items()}


def taught() -> dict[str, Machine]:
    """The machines whose figures the lessons print."""
    return {name: _machine(content()["machines"][name]) for name in content()["taught"]}


def operational() -> dict[str, Machine]:
    """The machines that take jobs. The others are announced."""
    return {n: m for n, m in load().items() if str(m["status"]).startswith("operational")}


def machine(name: str) -> Machine:
    """One machine, or "practice". Raises CourseError with the nearest name."""
    file = content()
    if name in file["announced"]:
        return _announced(file["announced"][name])
    known = file["machines"] | {"practice": file["practice"]}
    if name not in known:
        near = did_you_mean(name, known | file["announced"])
        raise CourseError(f"There is no machine '{name}' in data/machines.yml. {near}")
    return _machine(known[name])


def pitfalls(name: str) -> list[Pitfall]:
    """What goes wrong on a machine, what concerns all machines last. Raises CourseError if it is unknown."""
    machine(name)
    found, known = [], content()["sources"]
    for entry in content()["pitfalls"]:
        where = None if entry["machines"] == "all" else tuple(entry["machines"])
        if where is None or name in where:
            found.append(Pitfall(entry["title"], entry["text"], where, _sources(entry["source"], known)))
    return sorted(found, key=lambda pitfall: pitfall.machines is None)


def problems(file: dict) -> list[str]:
    """What is wrong with a parsed file, a sentence each; nothing when it follows the schema."""
    wrong = [f"{key}: {said}" for key, source in file["sources"].items() for said in address_problems(source)]
    wrong += announced_problems(file)
    needed = {field.name for field in FIELDS if field.needed}
    types = {field.name: field.types for field in FIELDS}
    for name, fields in [*file["machines"].items(), ("practice", file["practice"])]:
        if list(fields) != list(types):
            wrong.append(f"{name}: the fields are not those of the schema, in its order.")
        running = str(fields.get("status", {}).get("value")).startswith("operational")
        for field in types.keys() & fields.keys():
            fact, place = fields[field], f"{name}, {field}"
            if not {"value", "source"} <= set(fact) <= {"value", "source", "note"}:
                wrong.append(f"{place}: a fact is value, source and perhaps a note.")
                continue
            expected = types[field] if isinstance(types[field], tuple) else (types[field],)
            if fact["value"] is None:
                if field in needed and running:
                    wrong.append(f"{place}: a machine that runs needs this value.")
            elif type(fact["value"]) not in expected:
                wrong.append(f"{place}: {fact['value']!r} has the wrong type.")
            elif not _keys(fact["source"]):
                wrong.append(f"{place}: a value needs a source.")
            elif field == "partitions":
                wrong += [f"{place}: {said}" for entry in fact["value"] for said in queue_problems(entry)]
            unknown = set(_keys(fact["source"])) - set(file["sources"])
            wrong += [f"{place}: the source {key} is not in the list." for key in sorted(unknown)]
    return wrong


def announced_problems(file: dict) -> list[str]:
    """What is wrong with the machines to come of a parsed file."""
    wrong = []
    for name, fields in file["announced"].items():
        if list(fields) != [field for field in ANNOUNCED if field in fields]:
            wrong.append(f"{name}: the fields are not those of an announced machine, in their order.")
        wrong += [f"{name}: it needs {f}." for f in list(ANNOUNCED)[:NEEDED_OF_ANNOUNCED] if f not in fields]
        if name in file["machines"]:
            wrong.append(f"{name}: a machine runs or is announced, not both.")
        for field, fact in fields.items():
            if not {"value", "source"} <= set(fact) <= {"value", "source", "note"}:
                wrong.append(f"{name}, {field}: a fact is value, source and perhaps a note.")
            elif type(fact["value"]) is not ANNOUNCED.get(field, str):
                wrong.append(f"{name}, {field}: {fact['value']!r} has the wrong type.")
            else:
                unknown = set(_keys(fact["source"])) - set(file["sources"])
                wrong += [f"{name}, {field}: the source {key} is not in the list." for key in sorted(unknown)]
                wrong += [] if _keys(fact["source"]) else [f"{name}, {field}: a value needs a source."]
        if not str(fields.get("status", {}).get("value")).startswith("announced"):
            wrong.append(f"{name}: the status of an announced machine begins with announced.")
    return wrong


def queue_problems(entry: dict) -> list[str]:
    """What is wrong with one entry of `partitions`."""
    wrong = [f"a queue has no field {name}." for name in entry if name not in QUEUE]
    wrong += [f"a queue needs {name}." for name in list(QUEUE)[:NEEDED_OF_QUEUE] if name not in entry]
    for name in entry.keys() & QUEUE.keys():
        if type(entry[name]) not in QUEUE[name]:
            wrong.append(f"{entry[name]!r} is no value for {name} of a queue.")
    return wrong

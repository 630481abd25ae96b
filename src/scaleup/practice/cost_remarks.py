"""Remarks on what an accepted script asks for: what it wastes, what nobody could check."""

from __future__ import annotations

from collections.abc import Iterator

from ..words import count
from .excesses import array_size
from .queues import cpus_per_core, is_other
from .reading import Reading
from .remarks import FIRST_JOB, Example, Finding, Rule

LUMI = "#!/bin/bash\n#SBATCH --account=project_465000000 --time=01:00:00\n"
LEONARDO = "#!/bin/bash\n#SBATCH --account=my_project --time=01:00:00\n"
# What a site defines and the data do not hold. The stand-in leaves it out.
UNCHECKED = ("constraint", "reservation", "licenses", "nodelist", "exclude", "dependency")
DEVICES = ("gpus-per-node", "gres", "gpus-per-task", "gpus")


def unused_devices(reading: Reading) -> Iterator[Finding]:
    there, asked = reading.devices_there, reading.devices
    if asked is not None and asked < there and reading.whole_nodes and reading.for_devices:
        yield Finding(reading.asked.line(*DEVICES), {"there": there, "asked": asked or "none"})


def no_device(reading: Reading) -> Iterator[Finding]:
    if reading.devices == 0 and reading.for_devices and not reading.whole_nodes:
        form = reading.machine["gpu_request"].value.format(devices=reading.devices_there)
        yield Finding(None, {"form": form})


def crowded_devices(reading: Reading) -> Iterator[Finding]:
    tasks, devices = reading.asked.tasks, reading.devices
    if devices and tasks and tasks > devices:
        values = {"tasks": tasks, "devices": count(devices, "device")}
        yield Finding(reading.asked.line("ntasks-per-node", "ntasks"), values)


def dear_share(reading: Reading) -> Iterator[Finding]:
    """Cores or memory beyond the share of the devices, where the largest share is charged."""
    machine, asked = reading.machine, reading.asked
    billed = machine["billed_by"].value or ()
    if not reading.devices or reading.whole_nodes:
        return
    of = f"{count(reading.devices, 'device')} of {reading.name}"
    threads = cpus_per_core(machine)
    share = machine["cores_per_device"].value * threads * reading.devices
    if "cores" in billed and asked.cpus and asked.cpus > share:
        unit = "cores" if threads == 1 else "CPUs (threads)"
        yield Finding(
            asked.line("cpus-per-task", "ntasks"),
            {"of": of, "share": share, "unit": unit, "asked": asked.cpus},
        )
    node = machine["node_memory_gb"].value
    if "memory" in billed and node:
        share = node // reading.devices_there * reading.devices
        whole = asked.options.get("mem") == "0"
        wanted = node if whole else asked.memory_gb
        if wanted and wanted > share and not _within(reading, wanted):
            said = f"all {node}" if whole else f"{wanted:g}"
            values = {"of": of, "share": share, "unit": "GB of memory", "asked": said}
            yield Finding(asked.line("mem", "mem-per-gpu", "mem-per-cpu"), values)


def _within(reading: Reading, wanted: float) -> bool:
    """Whether it is the devices' share to the megabyte, where Slurm's own figure is known."""
    exact = reading.machine["node_memory_mb"].value
    return bool(exact) and wanted <= exact / 1024 * reading.devices / reading.devices_there


def other_partition(reading: Reading) -> Iterator[Finding]:
    for part in reading.parts:
        if is_other(reading.machine, part.partition):
            what = reading.machine["other_partitions"].value[part.partition]
            yield Finding(part.line("partition"), {"partition": part.partition, "what": what})


def unchecked(reading: Reading) -> Iterator[Finding]:
    for name in UNCHECKED:
        if name in reading.asked.options:
            yield Finding(reading.asked.line(name), {"name": name, "machine": reading.name})


def went_to_default(reading: Reading) -> Iterator[Finding]:
    """No partition, and the default one has no devices."""
    queue = reading.queue or {}
    if not reading.asked.partition and queue.get("default") and queue.get("devices") == 0:
        yield Finding(None, {"partition": queue["partition"]})


def waiting_array(reading: Reading) -> Iterator[Finding]:
    running, jobs = (reading.queue or {}).get("running_jobs"), array_size(reading.asked.options.get("array"))
    if running and jobs and jobs > running:
        yield Finding(reading.asked.line("array"), {"jobs": jobs, "running": running})


RULES = (
    Rule(
        "unused-devices",
        unused_devices,
        "The job gets whole nodes and pays for all {there} devices of each, but the script asks for {asked}.",
        FIRST_JOB,
        Example(LUMI + "#SBATCH -p standard-g --nodes=1 --gpus-per-node=2\n", 3, "lumi-g"),
    ),
    Rule(
        "no-device",
        no_device,
        "The script asks for no device, so the job gets none: ask with {form}.",
        FIRST_JOB,
        Example(LEONARDO + "#SBATCH -p boost_usr_prod --nodes=1\n", None),
    ),
    Rule(
        "crowded-devices",
        crowded_devices,
        "{tasks} tasks on a node share {devices}; start one task per device.",
        FIRST_JOB,
        Example(LEONARDO + "#SBATCH -p boost_usr_prod --gres=gpu:4\n#SBATCH --ntasks-per-node=8\n", 4),
    ),
    Rule(
        "dear-share",
        dear_share,
        "The share of {of} is {share} {unit}; the script asks for {asked}, and the larger share is charged.",
        FIRST_JOB,
        Example(LUMI + "#SBATCH -p small-g --gpus=1\n#SBATCH --mem=64G\n", 4, "lumi-g"),
    ),
    Rule(
        "other-partition",
        other_partition,
        "{partition} ({what}) is not described here: its limits were not checked.",
        FIRST_JOB,
        Example(LUMI + "#SBATCH -p small -c 4\n", 3, "lumi-g"),
    ),
    Rule(
        "unchecked",
        unchecked,
        "The data do not say what {machine} takes for --{name}: it was not checked.",
        FIRST_JOB,
        Example(LUMI + "#SBATCH -p small-g --gpus=1\n#SBATCH --constraint=cache\n", 4, "lumi-g"),
    ),
    Rule(
        "default-partition",
        went_to_default,
        "Without --partition the job goes to {partition}, whose nodes have no device.",
        FIRST_JOB,
        Example(LEONARDO + "#SBATCH --ntasks=1\n", None),
        explains=True,
    ),
    Rule(
        "waiting-array",
        waiting_array,
        "{running} of the array's {jobs} jobs run at once; the others wait.",
        FIRST_JOB,
        Example(
            "#!/bin/bash\n#SBATCH --account=ours --qos=ours -p common --gres=gpu:1\n#SBATCH --array=0-7\n",
            3,
            "discoverer-plus",
        ),
    ),
)

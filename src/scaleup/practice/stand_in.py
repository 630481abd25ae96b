"""Slurm's files for a stand-in of a real machine: its nodes, queues and rules, from `data/machines.yml`.

What Slurm itself can hold is in slurm.conf: nodes, sockets, hours, nodes of a job. What a site holds with
QOS limits and a plugin is in job_submit.lua, because QOS need a data base.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..computer import slurm
from ..machines import Machine
from .configuration import minutes
from .queues import OWN_QOS, cpus_per_core, default_partition

# Where the data hold no figure: so large that no request is refused for it.
ANY_MEMORY_GB = 2**20
ANY_NODES = 10_000
ANY_DISK_GB = 2**16
ANY_GRES = 2**50
OTHER_NODES = 512  # with no device, of all partitions that the data do not describe
ANY_JOBS = 100_001


def internal(queue: dict) -> str:
    """Slurm's partition for one queue. A QOS limit would need a data base; a partition's limit needs none."""
    return queue["partition"] + (f".{queue['qos'].strip('{}')}" if queue["qos"] else "")


def lua_pattern(pattern: str) -> str:
    """An account pattern in Lua's notation. Raises ValueError for what Lua cannot say, such as (a|b)."""
    parts: list[str] = []
    for part in re.findall(r"\[[^\]]*\]|\{\d+\}|.", pattern):
        if part in ("^", "$", "+", "*", "?"):
            parts.append(part)
        elif part.startswith("{"):
            parts[-1] *= int(part[1:-1])
        elif part.startswith("["):
            parts.append(re.sub(r"-(?=\])", "%-", part))  # a last - stands for itself
        elif part.isalnum() or part in "_-":
            parts.append("%-" if part == "-" else part)
        else:
            raise ValueError(f"{part} in {pattern}")
    return "".join(parts)


def lua_value(value: object) -> str:
    """A value of the data as Lua writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return "nil" if value is None else str(value)


def lua_table(values: dict[str, object]) -> str:
    return "{ " + ", ".join(f'["{name}"] = {lua_value(value)}' for name, value in values.items()) + " }"


# The limits of a queue that Slurm's partitions cannot hold.
LUA_LIMITS = ("jobs", "devices", "least_devices", "cores", "on_request")


def job_submit_lua(machine: Machine) -> str:
    """The site's own rules. The file that does the work is beside this one; here it gets the data."""
    rows: dict[str, dict[str, object]] = {}
    limits: dict[str, dict[str, object]] = {}
    implied: dict[str, object] = {}
    for queue in machine["partitions"].value:
        rows.setdefault(queue["partition"], {})[queue["qos"] or ""] = internal(queue)
        held = ("devices", "cores") if queue.get("devices") == 0 else ()  # by nodes of its own
        limits[internal(queue)] = {n: queue[n] for n in LUA_LIMITS if n in queue and n not in held}
        if queue["qos"] and machine["qos_names_partition"].value:
            implied[queue["qos"]] = queue["partition"]
    settings = {
        "account": lua_pattern(machine["account_pattern"].value),
        "own_qos": OWN_QOS,
        "default_partition": default_partition(machine),
        "device_type": machine["device_type"].value,
        "devices_per_node": machine["devices_per_node"].value,
        "cpus_per_core": cpus_per_core(machine),
        "cores_per_node": machine["cores_per_node"].value,
        "cores_per_device": machine["cores_per_device"].value
        if machine["cores_per_device_only"].value
        else None,
    }
    mandatory = machine["mandatory_options"].value or []
    tables = {
        "settings": lua_table(settings),
        "queues": "{\n" + "".join(f'  ["{name}"] = {lua_table(row)},\n' for name, row in rows.items()) + "}",
        "limits": "{\n"
        + "".join(f'  ["{name}"] = {lua_table(row)},\n' for name, row in limits.items())
        + "}",
        "implied": lua_table(implied),
        "others": lua_table(dict.fromkeys(machine["other_partitions"].value or {}, True)),
        "mandatory": lua_table({option.strip("-").split("=")[0]: option for option in mandatory}),
    }
    head = "".join(f"local {name} = {text}\n" for name, text in tables.items())
    return head + (Path(__file__).with_name("site_rules.lua")).read_text("utf-8")


def node(names: str, cores: int, threads: int, memory_mb: int, sockets: int, gres: list[str]) -> str:
    shape = (
        f"CPUs={cores * threads} Sockets={sockets} CoresPerSocket={cores // sockets} ThreadsPerCore={threads}"
    )
    resources = f" Gres={','.join(gres)}" if gres else ""
    return (
        f"NodeName={names} {shape} RealMemory={memory_mb} TmpDisk={ANY_DISK_GB * 1024}{resources} State=CLOUD"
    )


def memory_mb(machine: Machine) -> int:
    if exact := machine["node_memory_mb"].value:
        return exact
    return (machine["node_memory_gb"].value or ANY_MEMORY_GB) * 1024


def gres_names(machine: Machine) -> list[str]:
    return [*(machine["other_gres"].value or []), "gpu"]


def slurm_conf(machine: Machine, folder: Path, installed: slurm.Slurm, security: list[str], port: int) -> str:
    nodes = machine["nodes"].value or ANY_NODES
    cores, threads = machine["cores_per_node"].value, cpus_per_core(machine)
    kind = machine["device_type"].value
    others = [f"{name}:{ANY_GRES}" for name in machine["other_gres"].value or []]
    devices = f"gpu:{kind}:" if kind else "gpu:"
    lines = [
        "ClusterName=check",
        "SlurmctldHost=localhost(127.0.0.1)",
        f"SlurmctldPort={port}",
        "CommunicationParameters=NoCtldInAddrAny",  # listen on that address only
        f"SlurmUser={os.getuid()}",
        *security,
        f"StateSaveLocation={folder}/state",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"GresTypes={','.join(gres_names(machine))}",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "ProctrackType=proctrack/linuxproc",
        "JobAcctGatherType=jobacct_gather/none",
        "MpiDefault=none",
        "EnforcePartLimits=ALL",
        "JobSubmitPlugins=lua",
        f"MaxArraySize={ANY_JOBS}",
        "# Nodes that are off and never come on: nobody looks for them.",
        "SuspendProgram=/bin/true",
        "ResumeProgram=/bin/true",
        "SuspendTime=3600",
        node(f"node[1-{nodes}]", cores, threads, memory_mb(machine), machine["sockets"].value or 1,
             [*others, f"{devices}{machine['devices_per_node'].value}"]),
    ]  # fmt: skip
    if installed.plugins:
        lines.append(f"PluginDir={folder}/plugins")
    for number, queue in enumerate(machine["partitions"].value):
        names = f"node[1-{nodes}]"
        if queue.get("devices") == 0:  # nodes of its own
            names = f"serial{number}-[1-{queue['nodes'] or nodes}]"
            memory = queue.get("memory_mb", memory_mb(machine))
            own = queue.get("cores", cores)
            lines.append(node(names, own, queue.get("cpus", own * threads) // own, memory, 1, others))
        lines.append(partition(queue, names, nodes))
    other = machine["other_partitions"].value or {}
    if any(what.startswith("CPU") for what in other.values()):
        lines.append(node(f"other[1-{OTHER_NODES}]", 1024, 1, ANY_MEMORY_GB * 1024, 1, others))
    for name, what in other.items():
        names = f"other[1-{OTHER_NODES}]" if what.startswith("CPU") else f"node[1-{nodes}]"
        lines.append(f"PartitionName={name} Nodes={names}")
    return "\n".join(lines) + "\n"


def partition(queue: dict, names: str, nodes: int) -> str:
    longest = minutes(queue["hours"]) if queue["hours"] else "UNLIMITED"
    least, most = queue.get("least_nodes", 1), min(queue["nodes"] or nodes, nodes)
    limits = f"MaxTime={longest} MinNodes={least} MaxNodes={most}"
    if "default_hours" in queue:
        limits += f" DefaultTime={minutes(queue['default_hours'])}"
    if "cores" in queue and queue["nodes"] == 1 and queue.get("devices") != 0:
        limits += f" MaxCPUsPerNode={queue['cores']}"
    return f"PartitionName={internal(queue)} Nodes={names} {limits} Default=NO State=UP"

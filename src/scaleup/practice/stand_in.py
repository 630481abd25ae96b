"""Slurm's files for a stand-in of a real machine: its nodes, queues and rules, from `data/machines.yml`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..computer import slurm
from ..machines import Machine
from .configuration import minutes

# Where the data hold no figure: so large that no request is refused for it.
ANY_MEMORY_GB = 2**20
ANY_NODES = 10_000
OWN_QOS = "{account}"  # stands in the data for a QOS that has the account's name
# Slurm's numbers for the two refusals that its Lua interface does not name.
INVALID_PARTITION, INVALID_QOS = 2000, 2066


def cpus_per_core(machine: Machine) -> int:
    """What Slurm counts for a core; one where the data do not say."""
    return machine["cpus_per_core"].value or 1


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


def job_submit_lua(machine: Machine) -> str:
    """The site's own rules: account, partition and QOS. It sends the job to the partition of that queue."""
    table: dict[str, dict[str, str]] = {}
    for queue in machine["partitions"].value:
        table.setdefault(queue["partition"], {})[queue["qos"] or ""] = internal(queue)
    rows = ""
    for name, row in table.items():
        targets = ", ".join(f'["{qos}"] = "{target}"' for qos, target in row.items())
        rows += f'  ["{name}"] = {{ {targets} }},\n'
    return f"""\
local queues = {{
{rows}}}

local function names(set)
  local found = {{}}
  for name in pairs(set) do
    if name == "" then name = "none" elseif name == "{OWN_QOS}" then name = "the account's name" end
    table.insert(found, name)
  end
  table.sort(found)
  return table.concat(found, ", ")
end

function slurm_job_submit(job, partitions, uid)
  if job.account == nil then
    slurm.log_user("an account is needed: --account")
    return slurm.ESLURM_INVALID_ACCOUNT
  end
  if not string.match(job.account, "{lua_pattern(machine["account_pattern"].value)}") then
    slurm.log_user("account %s has not the form of an account here", job.account)
    return slurm.ESLURM_INVALID_ACCOUNT
  end
  if job.partition == nil then return slurm.SUCCESS end  -- Slurm refuses it: there is no default
  local chosen = {{}}
  for name in string.gmatch(job.partition, "[^,]+") do
    local row = queues[name]
    if row == nil then
      slurm.log_user("no partition %s; there are: %s", name, names(queues))
      return {INVALID_PARTITION}
    end
    local qos = job.qos or ""
    if row[qos] == nil and qos == "normal" then qos = "" end  -- the QOS that every Slurm has
    local target = row[qos] or (qos == job.account and row["{OWN_QOS}"])
    if not target then
      slurm.log_user("no such QOS in partition %s; there are: %s", name, names(row))
      return {INVALID_QOS}
    end
    table.insert(chosen, target)
  end
  job.partition = table.concat(chosen, ",")
  job.qos = ""
  return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
  return slurm.SUCCESS
end

return slurm.SUCCESS
"""


def slurm_conf(machine: Machine, folder: Path, installed: slurm.Slurm, security: list[str], port: int) -> str:
    nodes = machine["nodes"].value or ANY_NODES
    cores, threads = machine["cores_per_node"].value, cpus_per_core(machine)
    lines = [
        "ClusterName=check",
        "SlurmctldHost=localhost(127.0.0.1)",
        f"SlurmctldPort={port}",
        "CommunicationParameters=NoCtldInAddrAny",  # listen on that address only
        f"SlurmUser={os.getuid()}",
        *security,
        f"StateSaveLocation={folder}/state",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        "GresTypes=gpu",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "ProctrackType=proctrack/linuxproc",
        "JobAcctGatherType=jobacct_gather/none",
        "MpiDefault=none",
        "EnforcePartLimits=ALL",
        "JobSubmitPlugins=lua",
        "# Nodes that are off and never come on: nobody looks for them.",
        "SuspendProgram=/bin/true",
        "ResumeProgram=/bin/true",
        "SuspendTime=3600",
        f"NodeName=node[1-{nodes}] CPUs={cores * threads} Sockets=1 CoresPerSocket={cores} "
        f"ThreadsPerCore={threads} RealMemory={(machine['node_memory_gb'].value or ANY_MEMORY_GB) * 1024} "
        f"Gres=gpu:{machine['devices_per_node'].value} State=CLOUD",
    ]
    if installed.plugins:
        lines.append(f"PluginDir={installed.plugins}")
    for queue in machine["partitions"].value:
        longest = minutes(queue["hours"]) if queue["hours"] else "UNLIMITED"
        lines.append(
            f"PartitionName={internal(queue)} Nodes=ALL MaxTime={longest} "
            f"MaxNodes={min(queue['nodes'] or nodes, nodes)} Default=NO State=UP"
        )
    return "\n".join(lines) + "\n"

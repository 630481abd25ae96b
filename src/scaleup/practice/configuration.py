"""Slurm's own files for the practice supercomputer: slurm.conf, gres.conf, job_submit.lua, hosts.

What the cluster looks like (nodes, devices, memory, queues) is in `data/machines.yml` under `practice`.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import machines
from ..computer.slurm import Slurm
from . import authentication

LOGIN = "login"
NETWORK = "10.77.0"  # of the private bridge; nobody outside the namespaces sees it


@dataclass(frozen=True)
class Cluster:
    """One cluster: where its folder is, how its parts talk.

    `mode` is "namespaces" (every node has its own host name, address and scratch) or "plain" (all on
    127.0.0.1, a port each, guarded by munge). `link_mbit` throttles each node's link; None leaves it alone.
    """

    folder: Path
    mode: str
    nodes: int
    devices: int
    cores: int
    memory_gb: int
    ports: tuple[int, ...]
    link_mbit: int | None = None
    scratch: str = "/var/tmp"  # where each node sees a folder of its own, in namespaces

    @property
    def interface(self) -> str:
        """The network interface that nodes talk through."""
        return "eth0" if self.mode == "namespaces" else "lo"

    @property
    def names(self) -> list[str]:
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    def address(self, number: int) -> str:
        """Of node `number`; 0 is the login node."""
        return f"{NETWORK}.{number or 254}" if self.mode == "namespaces" else "127.0.0.1"

    def as_json(self) -> dict:
        return asdict(self) | {"folder": str(self.folder)}


def from_json(content: dict) -> Cluster:
    return Cluster(**content | {"folder": Path(content["folder"]), "ports": tuple(content["ports"])})


def minutes(hours: float) -> int:
    return round(hours * 60)


def slurm_conf(cluster: Cluster, slurm: Slurm) -> str:
    folder, user = cluster.folder, os.getuid()
    login = f"{LOGIN}({cluster.address(0)})" if cluster.mode == "namespaces" else "localhost(127.0.0.1)"
    private = cluster.mode == "namespaces"
    security = authentication.settings(folder, private)
    if not private:
        security.append("CommunicationParameters=NoCtldInAddrAny,NoInAddrAny")  # listen on loopback only
    lines = [
        "ClusterName=practice",
        f"SlurmctldHost={login}",
        f"SlurmctldPort={cluster.ports[0]}",
        f"SlurmdPort={cluster.ports[1]}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        *security,
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/nodes/%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/nodes/%n/slurmd.pid",
        f"SlurmctldLogFile={folder}/slurmctld.log",
        f"SlurmdLogFile={folder}/nodes/%n/slurmd.log",
        "# Two real cores pose as many, and /dev/null as a device.",
        "SlurmdParameters=config_overrides",
        "GresTypes=gpu",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "TaskPlugin=task/none",
        "ProctrackType=proctrack/linuxproc",
        "JobAcctGatherType=jobacct_gather/none",
        "JobCompType=jobcomp/filetxt",
        f"JobCompLoc={folder}/finished-jobs.txt",
        f"TaskProlog={folder}/task-prolog",
        "# A wrong request is refused at once, as on the real machines.",
        "EnforcePartLimits=ALL",
        "JobSubmitPlugins=lua",
        "# Decisions in seconds; a lost node is noticed in 30.",
        "SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=5,bf_interval=5",
        "SlurmdTimeout=30",
        "SlurmctldTimeout=30",
        "ReturnToService=2",
        "KillWait=10",
        "MinJobAge=3600",
        "MpiDefault=none",
    ]
    if slurm.plugins:
        lines.append(f"PluginDir={folder}/plugins")
    for number, name in enumerate(cluster.names, start=1):
        port = "" if cluster.mode == "namespaces" else f" Port={cluster.ports[1 + number]}"
        lines.append(
            f"NodeName={name} NodeAddr={cluster.address(number)}{port} CPUs={cluster.cores} "
            f"RealMemory={cluster.memory_gb * 1024} Gres=gpu:{cluster.devices} State=UNKNOWN"
        )
    everything = f"node[1-{cluster.nodes}]" if cluster.nodes > 1 else "node1"
    for number, queue in enumerate(machines.machine("practice")["partitions"].value):
        lines.append(
            f"PartitionName={queue['partition']} Nodes={everything} Default={'NO' if number else 'YES'} "
            f"MaxTime={minutes(queue['hours'])} MaxNodes={min(queue['nodes'], cluster.nodes)} "
            f"DefaultTime=5 State=UP"
        )
    return "\n".join(lines) + "\n"


def gres_conf(cluster: Cluster) -> str:
    """The pretended devices: Slurm wants a character device for each, links to /dev/null are enough."""
    return f"AutoDetect=off\nName=gpu File={cluster.folder}/devices/gpu[0-{cluster.devices - 1}]\n"


def job_submit_lua() -> str:
    """Refuses a job without the account, as a machine with accounting does."""
    account = machines.machine("practice")["account_example"].value
    return f"""\
function slurm_job_submit(job, partitions, uid)
  if job.account ~= "{account}" then
    slurm.log_user("this machine wants --account={account}")
    return slurm.ESLURM_INVALID_ACCOUNT
  end
  return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
  return slurm.SUCCESS
end

return slurm.SUCCESS
"""


def hosts(cluster: Cluster) -> str:
    lines = ["127.0.0.1 localhost", f"{cluster.address(0)} {LOGIN}"]
    lines += [f"{cluster.address(number)} {name}" for number, name in enumerate(cluster.names, start=1)]
    return "\n".join(lines) + "\n"


def dask_yaml(cluster: Cluster) -> str:
    """What `dask_jobqueue.SLURMCluster()` takes on this cluster: one worker, a node of its own."""
    account = machines.machine("practice")["account_example"].value
    return f"""\
jobqueue:
  slurm:
    account: {account}
    cores: 2
    processes: 1
    memory: 2GB
    walltime: "00:10:00"
    interface: {cluster.interface}
    local-directory: {cluster.scratch or cluster.folder / "scratch"}
    job-extra-directives: ["--exclusive"]
    scheduler-options: {{dashboard_address: null}}
"""


def nsswitch() -> str:
    """The system's own, but host names come from the file alone: no look-up leaves the cluster."""
    system = Path("/etc/nsswitch.conf")
    lines = system.read_text().splitlines() if system.exists() else ["passwd: files", "group: files"]
    return "\n".join([line for line in lines if not line.startswith("hosts:")] + ["hosts: files"]) + "\n"


def write(cluster: Cluster, slurm: Slurm) -> None:
    """All files of the cluster below `cluster.folder`, which exists and belongs to the user alone."""
    folder = cluster.folder
    slurm.link(folder)
    texts = {
        "slurm.conf": slurm_conf(cluster, slurm),
        "gres.conf": gres_conf(cluster),
        "job_submit.lua": job_submit_lua(),
        "hosts": hosts(cluster),
        "dask/jobqueue.yaml": dask_yaml(cluster),
        "nsswitch.conf": nsswitch(),
    }
    (folder / "dask").mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    scratch = cluster.scratch if cluster.mode == "namespaces" else f"{folder}/nodes/$SLURMD_NODENAME/scratch"
    prolog = folder / "task-prolog"
    prolog.write_text(f"#!/bin/sh\necho export TMPDIR={scratch}\n")
    prolog.chmod(0o700)
    (folder / "state").mkdir()
    (folder / "devices").mkdir()
    for number in range(cluster.devices):
        (folder / "devices" / f"gpu{number}").symlink_to("/dev/null")
    for name in cluster.names:
        (folder / "nodes" / name / "scratch").mkdir(parents=True)

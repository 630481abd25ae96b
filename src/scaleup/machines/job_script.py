"""The text of a job script for sbatch, part by part.

It is the same for all machines: ask for whole nodes, let the ranks find each other, end in order before the
time is up.
"""

from __future__ import annotations

import math
import shlex
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from ..config import Config
from ..parallel.refusals import AXES, filled, reasons
from ..words import count
from . import Machine

WARNING = 120  # seconds between the signal and the end of the job's time
ACCOUNTS = ".scaleup/accounts.toml"

OPTIONS = {
    "--exclusive": "nobody else's job on these nodes",
    "--threads-per-core=1": "counts cores, not hardware threads",
}
OFFLINE = "export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1 WANDB_MODE=offline"
# Of torch.compile: on a shared file system all ranks would write into the same folder.
CACHES_REMARK = "# Compiled kernels stay on the node: on a shared file system the ranks' caches collide."
CACHES = (
    'export TRITON_CACHE_DIR="/tmp/$USER-triton-$SLURM_JOB_ID" '
    'TORCHINDUCTOR_CACHE_DIR="/tmp/$USER-inductor-$SLURM_JOB_ID"'
)
TRAP = f"""\
# {WARNING} s before the end every rank gets TERM, and the ranks save a checkpoint. It goes through scancel,
# because srun answers a TERM of its own by killing its tasks.
trap 'stopping=1; echo "The time is nearly up."; scancel --signal=TERM "$SLURM_JOB_ID" || true' USR1"""
ENDING = """\
status=0
wait "$step" || status=$?
if [ "${stopping:-}" ]; then  # the signal ended that wait, not the step; unfinished, it is queued anew
    status=0
    wait "$step" || status=$?
    [ "$status" = 0 ] || [ "${SLURM_RESTART_COUNT:-0}" -ge 10 ] || scontrol requeue "$SLURM_JOB_ID" || true
fi
exit "$status"  # the step's status is the job's"""


@dataclass(frozen=True)
class Job:
    """All that a script depends on. `config_path` is as the script prints it."""

    config: Config
    config_path: str
    machine_id: str
    machine: Machine
    nodes: int
    hours: float
    queue: dict
    launch: str
    account: str | None  # None: print the example
    container: str | None

    def fact(self, field: str):
        return self.machine[field].value

    @property
    def devices(self) -> int:
        """Of one node."""
        return self.fact("devices_per_node")

    @property
    def ranks(self) -> int:
        return self.nodes * self.devices

    @property
    def practice(self) -> bool:
        return self.machine_id == "practice"


def fitting_batch(config: Config, ranks: int) -> int:
    """The smallest global batch, at least the present one, that `ranks` ranks can share out.

    Ranks of cp, tp and pp work on the same sequences.
    """
    ways = config.parallel
    together = config.train.micro_batch * max(1, ranks // (ways.cp * ways.tp * ways.pp))
    return together * math.ceil(config.train.global_batch / together)


def label(queue: dict) -> str:
    """What a user calls it: the QOS where there is one, else the partition."""
    qos = queue["qos"]
    return qos if qos and qos != "{account}" else queue["partition"]


def limits(queue: dict) -> str:
    """'at most 64 nodes and 24 hours', as far as it is known."""
    known = [count(queue[f"{unit}s"], unit) for unit in ("node", "hour") if queue[f"{unit}s"]]
    least = f", at least {queue['least_nodes']} nodes" if "least_nodes" in queue else ""
    return (f"at most {' and '.join(known)}" if known else "limits unknown") + least


def script(job: Job) -> str:
    parts = [header(job), directives(job), setup(job), rendezvous(job), TRAP, launch(job), ENDING]
    return "\n\n".join(parts) + "\n"


def remark(text: str) -> list[str]:
    """Lines of a comment."""
    return textwrap.wrap(
        text,
        width=106,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def sentence(note: str) -> str:
    """A note of the data, with a full stop and a capital, unless it begins with a name such as ib0."""
    first, _, rest = note.partition(" ")
    return f"{first.capitalize() if first.isalpha() and first.islower() else first} {rest}."


def header(job: Job) -> str:
    size = f"{count(job.nodes, 'node')} x {job.devices} devices = {count(job.ranks, 'rank')}{shared(job)}"
    shell = "#!/bin/bash -l" if job.fact("login_shell") else "#!/bin/bash"  # -l: the site's modules are known
    lines = [shell, f"# {job.config.out}, {job.fact('name')}: {size}.", *remark(cost(job))]
    batch, fits = job.config.train.global_batch, fitting_batch(job.config, job.ranks)
    for reason in reasons(job.config, job.ranks):
        if reason.startswith("train.global_batch"):
            reason = f"{job.ranks} ranks cannot share out global_batch = {batch}; {fits} would fit."
        lines += remark(f"Change {job.config_path} first: {reason}")
    if (tp := job.config.parallel.tp) > job.devices:
        lines += remark(
            f"tp={tp} crosses nodes of {job.devices} devices, and tensor parallelism sends most: a tp of "
            f"{job.devices} at most stays on the links inside a node."
        )
    lines += [
        "# Submit it in the course's folder: sbatch FILE. The machine's facts, sources and dates are in",
        "# data/machines.yml: compare them with sinfo.",
    ]
    return "\n".join(lines)


def shared(job: Job) -> str:
    """How the ranks share the work, where it is not by copies alone: ' (dp=2 x shard=4 x tp=2)'."""
    ways = job.config.parallel
    if all(getattr(ways, way) == 1 for way in AXES if way != "dp") and ways.ep == 1:
        return ""
    ways = filled(ways, job.ranks)
    said = " x ".join(f"{way}={size}" for way in AXES if (size := getattr(ways, way)) > 1)
    return f" ({said}{f', ep={ways.ep} within dp x shard' if ways.ep > 1 else ''})"


def cost(job: Job) -> str:
    """A sentence: the most it can cost, in the site's own unit."""
    each, unit = job.fact("node_hour_cost"), job.fact("billing_unit")
    spent = f"{count(job.nodes, 'node')} x {count(job.hours, 'hour')}"
    if each is None:
        return f"Costs at most {spent} = {job.nodes * job.hours:g} node-hours; the site's unit is unknown."
    total = round(job.nodes * job.hours * each, 2)
    units = unit if total == 1 else unit.replace("-hour", "-hours", 1)
    return f"Costs at most {spent} x {each:g} = {total:.12g} {units}."


def directives(job: Job) -> str:
    """The #SBATCH lines, with their comments in a column."""
    tasks = 1 if job.launch == "torchrun" else job.devices
    cores = job.fact("cores_per_node" if job.launch == "torchrun" else "cores_per_device")
    threads = job.fact("cpus_per_core") or 1
    account = job.account or job.fact("account_example")
    whose = f'an example: put account = "..." under [{job.machine_id}] in {ACCOUNTS}'
    if job.practice:
        whose = "the only account there is"
    elif job.account:
        whose = f"from {ACCOUNTS}"
    lines = [
        (f"--job-name={job.config.out}", "the name of the run"),
        (f"--account={account}", whose),
        (f"--partition={job.queue['partition']}", limits(job.queue)),
    ]
    if qos := job.queue["qos"]:
        lines.append((f"--qos={qos.format(account=account)}", "within the partition"))
    lines += [
        (f"--nodes={job.nodes}", "whole ones"),
        (
            f"--ntasks-per-node={tasks}",
            "torchrun starts the ranks" if job.launch == "torchrun" else "one for each rank",
        ),
        (
            f"--cpus-per-task={cores * threads}",
            f"{'cores' if threads == 1 else 'hardware threads'} of a "
            f"{'node' if job.launch == 'torchrun' else 'device'}",
        ),
        (job.fact("gpu_request").format(devices=job.devices), "devices of each node"),
    ]
    if memory := job.fact("memory_request"):
        lines.append((memory, "of each node"))
    lines += [(option, OPTIONS.get(option, "as published")) for option in job.fact("job_options") or []]
    lines += [
        (f"--time={clock(job.hours)}", "then Slurm ends the job"),
        ("--output=%x-%j.out", "name and id of the job; before 23.02 Slurm makes no folder for a log"),
        ("--open-mode=append", "a restarted job goes on in the same log"),
        ("--requeue", "when a node fails, Slurm may start the job again: it goes on from its checkpoint"),
        (f"--signal=B:USR1@{WARNING}", f"tells this script {WARNING} s before the time is up"),
    ]
    note = job.queue.get("note")
    above = remark(f"The queue {label(job.queue)}: {note}.") if note else []
    width = max(len(code) for code, _ in lines)
    return "\n".join([*above, *(f"#SBATCH {code:<{width}}  # {comment}" for code, comment in lines)])


def clock(hours: float) -> str:
    """0.5 as 00:30:00."""
    minutes, seconds = divmod(round(hours * 3600), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"


def setup(job: Job) -> str:
    """Modules, the environment with PyTorch and `scaleup`, variables."""
    lines = ["set -eo pipefail"]
    if job.fact("setup") is None:
        lines += remark(f"Load modules here, none is known: {job.machine['setup'].note or 'ask the site'}.")
    lines += job.fact("setup") or []
    lines += python(job)
    lines.append("set -u  # not before: modules read variables that are not set")
    lines += network(job)
    if not job.practice:
        lines += [CACHES_REMARK, CACHES]
    internet = job.fact("internet_on_compute")
    if not internet:
        known = (
            "Compute nodes have no internet" if internet is False else "Internet on compute nodes: unknown"
        )
        lines += [f"# {known}. Libraries shall not look for it; download on a login node.", OFFLINE]
    return "\n".join(lines)


def python(job: Job) -> list[str]:
    """Make `torchrun` and `scaleup` known."""
    if job.practice:
        return [f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"']
    how = "python -m venv --system-site-packages .venv; .venv/bin/pip install -e ."
    once = ["# Made once, where there is internet; else the packages are copied in as wheels:", f"#   {how}"]
    once += ["#   .venv/bin/scaleup prepare"]
    if not job.fact("container_command"):
        return [*once, "source .venv/bin/activate"]
    if job.container:
        image = f"export SCALEUP_CONTAINER={shlex.quote(job.container)}"
    else:
        advice = f"name an image as container under [{job.machine_id}] in {ACCOUNTS}"
        image = f': "${{SCALEUP_CONTAINER:?is not set: {advice}}}"'
    path = f'export {job.fact("container").upper()}ENV_PREPEND_PATH="$PWD/.venv/bin"'
    once[0] = once[0].replace("once, where", "once, inside the image, where")
    return [image, *once, path]


def network(job: Job) -> list[str]:
    fact = job.machine["environment"]
    if fact.value is None:
        return ["# No published settings of the network were read: look at the site's pages."]
    lines = remark(sentence(fact.note)) if fact.value and fact.note else []
    return lines + [f'export {name}="{value}"' for name, value in fact.value.items()]


def rendezvous(job: Job) -> str:
    suffix = job.fact("master_suffix")
    lines = [
        "# The ranks meet at the first node. The port follows from the job id: two jobs on a node differ."
    ]
    if suffix and job.nodes == 1:
        lines.append("MASTER_ADDR=127.0.0.1  # one node: nothing leaves it")
    else:
        lines.append('MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)')
        if suffix:
            lines += [
                f"SUFFIX={suffix}  # of a node's name on the fast network",
                'getent hosts "$MASTER_ADDR$SUFFIX" > /dev/null || SUFFIX=  # unknown: take the plain name',
                'export SUFFIX MASTER_ADDR="$MASTER_ADDR$SUFFIX"',
            ]
        if job.practice:
            lines.append("# Its address: on one computer the nodes' names may mean nothing.")
            address = "sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p'"
            lines.append(f'MASTER_ADDR=$(scontrol show node "$MASTER_ADDR" | {address})')
    lines.append("MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))")
    if job.practice:
        lines.append("OMP_NUM_THREADS=1  # of each rank: the cores here are only pretended")
    else:
        lines.append(
            f"OMP_NUM_THREADS={job.fact('cores_per_device')}  # of each rank: the cores of its device"
        )
    lines.append("export MASTER_ADDR MASTER_PORT OMP_NUM_THREADS")
    if job.launch == "torchrun":
        lines += [
            "# How long torchrun lets its ranks save when the time is nearly up; an old one gives them 30 s.",
            f"export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={WARNING - 20}",
        ]
    return "\n".join(lines)


def launch(job: Job) -> str:
    """The step that trains, in the background: only so can the trap work meanwhile."""
    remarks, lines = torchrun_step(job) if job.launch == "torchrun" else srun_step(job)
    return "\n".join([*remarks, " \\\n    ".join(lines) + " &", "step=$!"])


def srun(job: Job, tasks: int, options: list[str]) -> list[str]:
    """The first lines of a step."""
    words = ['srun --nodes="$SLURM_NNODES"', f"--ntasks-per-node={tasks}"]
    lines = [" ".join([*words, '--cpus-per-task="$SLURM_CPUS_PER_TASK"'])]
    lines.append(" ".join(["--kill-on-bad-exit=1", *options]))
    if container := job.fact("container_command"):
        lines.append(container.replace("$SCALEUP_CONTAINER", '"$SCALEUP_CONTAINER"'))
    return lines


def torchrun_step(job: Job) -> tuple[list[str], list[str]]:
    remarks = [
        f"# srun starts one task a node, torchrun the {job.devices} ranks of a node. In Slurm 22.05 and",
        "# 23.02 srun wants --cpus-per-task again. The step is in the background for the trap. When one task",
        "# fails, --kill-on-bad-exit ends the others instead of letting them wait for it.",
    ]
    lines = srun(job, 1, job.fact("srun_options") or [])
    suffix = job.fact("master_suffix")
    if suffix and job.nodes > 1:
        remarks += [
            "# On the fast network a node has another name: tell torchrun that name, and which node is host.",
            "# Only a task of srun knows its own node, hence bash -c.",
        ]
        lines += [
            'bash -c \'exec torchrun --local-addr="$SLURMD_NODENAME$SUFFIX"',
            '--rdzv-conf=is_host=$((SLURM_NODEID == 0)) "$@"\' torchrun',
        ]
    elif suffix:
        lines.append('torchrun --local-addr="$MASTER_ADDR"')
    else:
        lines.append("torchrun")
    words = [f'--nnodes="$SLURM_NNODES" --nproc-per-node={job.devices}']
    if job.fact("binding_masks") or (job.fact("sockets") or 1) > 1:
        remarks.append("# --numa-binding gives each rank the cores near its device; it needs numactl.")
        words.insert(0, "--numa-binding=exclusive")
    if suffix and job.nodes > 1:
        lines.append(" ".join(words))  # the line before is long enough
    else:
        lines[-1] = " ".join([lines[-1], *words])
    lines.append('--rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$MASTER_ADDR:$MASTER_PORT"')
    lines.append(f"--no-python {train(job)}")
    return remarks, lines


def srun_step(job: Job) -> tuple[list[str], list[str]]:
    remarks = [
        "# srun starts every rank; scaleup reads its number from Slurm's variables. In Slurm 22.05",
        "# and 23.02 srun wants --cpus-per-task again. The step is in the background for the trap. When one",
        "# rank fails, --kill-on-bad-exit ends the others instead of letting them wait for it.",
    ]
    options = [o for o in job.fact("srun_options") or [] if not o.startswith("--cpu-bind")]  # for torchrun
    binding = [] if job.practice else ["--cpu-bind=cores"]  # pretended cores cannot be bound
    if masks := job.fact("binding_masks"):
        remarks.append(
            "# A mask says which cores are near a device, in the devices' order: whole nodes only."
        )
        binding = [f"--cpu-bind=mask_cpu:{','.join(masks)}"]
    first, second, *container = srun(job, job.devices, options)
    return remarks, [first, " ".join([second, *binding]), *container, train(job)]


def train(job: Job) -> str:
    return f"scaleup train --config {shlex.quote(job.config_path)}"

"""Remarks on what a job script starts: who starts the ranks, how many, and where they meet."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..words import count
from .launches import Launch, ranks_per_node, tasks_per_node
from .reading import Reading
from .remarks import FIRST_JOB, MULTI_NODE, Example, Finding, Rule

HEAD = """\
#!/bin/bash
#SBATCH --account=my_project --partition=boost_usr_prod --time=01:00:00 --nodes={nodes} --gres=gpu:4
#SBATCH --ntasks-per-node={tasks} --cpus-per-task={cpus}
module load cineca-ai
"""
ONE_TASK = HEAD.format(nodes=2, tasks=1, cpus=32)
ONE_NODE = HEAD.format(nodes=1, tasks=1, cpus=32)
FOUR_TASKS = HEAD.format(nodes=2, tasks=4, cpus=8)
C10D = 'srun -c 32 torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint="$HOST:$PORT"'
HOST = '$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)'
PORT = "$((10000 + SLURM_JOB_ID % 10000))"
NO_ENDPOINT = "names no node at which the ranks meet: add --rdzv-backend=c10d and --rdzv-endpoint=HOST:PORT"
NO_BACKEND = "numbers every node 0: add --rdzv-backend=c10d, or --node-rank inside bash -c"
LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
TOO_EARLY = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
NAMES = {
    "torchrun": "torchrun",
    "python": "python",
    "accelerate": "accelerate launch",
    "deepspeed": "deepspeed",
}


def programs(reading: Reading, *names: str) -> list[Launch]:
    return [launch for launch in reading.launches.found if launch.program in names]


# Who starts the ranks


def no_srun(reading: Reading) -> Iterator[Finding]:
    """A program that only the first node starts, in a job of several."""
    seen = reading.launches
    if (reading.nodes or 1) < 2 or seen.spreads or seen.unseen or not seen.found:
        return
    launch = seen.found[-1]
    if launch.program != "deepspeed":
        yield Finding(launch.line, {"nodes": reading.nodes, "program": NAMES[launch.program]})


def one_process(reading: Reading) -> Iterator[Finding]:
    """python once, where there are several devices: on one node without srun, or one task a node with it."""
    devices, seen = reading.devices or 0, reading.launches
    if devices < 2 or any(launch.program != "python" for launch in seen.found):
        return
    launches = [each for each in seen.found if each.srun is not None]
    if not launches and (reading.nodes == 1 and not seen.spreads and not seen.unseen):
        launches = seen.found
    for launch in launches[-1:]:
        tasks = tasks_per_node(launch, reading.nodes, reading.asked.tasks)
        single = launch.srun and launch.srun.get("ntasks") == "1"
        if tasks is not None and tasks < devices and not single:
            how = "srun starts" if launch.srun is not None else "this line starts"
            many = f"{count(tasks, 'process')}" if tasks == 1 else f"{tasks} processes"
            values = {"how": how, "tasks": many, "devices": devices}
            yield Finding(launch.line, values)


def tasks_without_srun(reading: Reading) -> Iterator[Finding]:
    """Several tasks on one node, and nothing that starts them."""
    tasks, seen = reading.asked.tasks or 1, reading.launches
    if reading.nodes != 1 or tasks < 2 or seen.spreads or seen.unseen or (reading.devices or 0) > 1:
        return
    for launch in programs(reading, "python")[-1:]:
        yield Finding(launch.line, {"tasks": tasks})


def tasks_times_launcher(reading: Reading) -> Iterator[Finding]:
    for launch in programs(reading, "torchrun", "accelerate"):
        tasks = tasks_per_node(launch, reading.nodes, reading.asked.tasks)
        each = ranks_per_node(launch, reading.devices) if launch.program == "torchrun" else None
        if launch.srun is None or not tasks or tasks < 2 or each == 1:
            continue
        what = NAMES[launch.program]
        ranks = f" of {each} ranks each: {tasks * each} on a node" if each else ""
        values = {"tasks": tasks, "what": what, "ranks": ranks}
        yield Finding(launch.line, values, _one_task(reading, tasks))


def _one_task(reading: Reading, tasks: int) -> dict[int, str]:
    """One task a node with the cores of all, where both options are plain numbers in lines of their own."""
    asked, mend = reading.asked, {}
    for name, factor in (("ntasks-per-node", 0), ("cpus-per-task", tasks)):
        value, number = asked.options.get(name, ""), asked.lines.get(name)
        if value.isdigit() and number:
            line = mend.get(number, reading.script.lines[number - 1])
            new = int(value) * factor or 1
            mend[number] = re.sub(rf"((?:--{name}[= ]|-c ?)){value}\b", rf"\g<1>{new}", line)
    return mend if "ntasks-per-node" in asked.options else {}


def separate_runs(reading: Reading) -> Iterator[Finding]:
    """torchrun on several nodes, each of which is told that it is alone."""
    for launch in programs(reading, "torchrun"):
        if launch.srun is None or (reading.nodes or 1) < 2 or launch.srun.get("nodes") == "1":
            continue
        value = launch.value("nnodes")
        if "standalone" in launch.options:
            yield Finding(launch.line, {"why": "--standalone", "nodes": reading.nodes})
        elif value in (None, "1", "1:1"):
            why = f"--nnodes={value}" if value else "torchrun without --nnodes"
            yield Finding(launch.line, {"why": why, "nodes": reading.nodes})


def other_nodes(reading: Reading) -> Iterator[Finding]:
    for launch in programs(reading, "torchrun"):
        given = launch.number("nnodes")
        if not given or given == 1 or not reading.nodes or launch.srun is None or "nodes" in launch.srun:
            continue
        if given != reading.nodes:
            yield Finding(launch.line, {"given": given, "nodes": count(reading.nodes, "node")})


def other_ranks(reading: Reading) -> Iterator[Finding]:
    """torchrun with more or fewer ranks than a node of the job has devices."""
    for launch in programs(reading, "torchrun"):
        given, devices = launch.number("nproc-per-node"), reading.devices
        if not given or not devices or given == devices or not reading.for_devices:
            continue
        tasks = tasks_per_node(launch, reading.nodes, reading.asked.tasks)
        if given < devices and tasks == 1:
            hint = f"{devices - given} of {devices} devices stay idle"
        elif given > devices:
            hint = f"there {'is' if devices == 1 else 'are'} {count(devices, 'device')}"
        else:
            continue
        yield Finding(launch.line, {"given": count(given, "rank"), "hint": hint})


def mpirun_inside(reading: Reading) -> Iterator[Finding]:
    for command in reading.body.commands:
        if command.name == "srun" and any(word in ("mpirun", "mpiexec") for word in command.words[1:]):
            yield Finding(command.line)


def background(reading: Reading) -> Iterator[Finding]:
    """The last step in the background and nothing that waits: the script ends, and the job with it."""
    commands = [command for command in reading.body.commands if not command.inside]
    starts = [command for command in commands if command.background]
    works = [command for command in starts if command.name in ("srun", "torchrun", "python", "mpirun")]
    if not works or any(command.name in ("wait", "sleep", "tail") for command in commands):
        return
    last = works[-1].line
    if not any(command.line > last and command.name in ("srun", "python") for command in commands):
        yield Finding(last)


# Where the ranks meet


def several_ranks(reading: Reading) -> bool:
    return (reading.nodes or 1) > 1


def local_address(reading: Reading) -> Iterator[Finding]:
    """The first node under a name that every node takes for itself."""
    if not several_ranks(reading):
        return
    values = reading.body.values("MASTER_ADDR")
    for setting in values:
        if setting.value in LOCAL and (setting.certain or all(each.value in LOCAL for each in values)):
            mend = _set(reading, setting.line, "MASTER_ADDR", setting.value, HOST)
            yield Finding(setting.line, {"what": f"MASTER_ADDR={setting.value}"}, mend)
    for launch in programs(reading, "torchrun", "accelerate"):
        for name in ("rdzv-endpoint", "master-addr", "main-process-ip"):
            host = launch.options.get(name, "")
            if re.sub(r":[^:]*$", "", host) in LOCAL and launch.value("nnodes", "num-machines") not in (
                None,
                "1",
            ):
                yield Finding(launch.line, {"what": f"--{name}={host}"})


def _set(reading: Reading, number: int, name: str, old: str, new: str) -> dict[int, str]:
    """The line with another value of a variable; nothing where it is not written plainly."""
    line = reading.script.lines[number - 1]
    pattern = rf"(\b{name}=)([\"']?){re.escape(old)}\2(?=\s|$|;)"
    return {number: re.sub(pattern, lambda found: found[1] + new, line)} if re.search(pattern, line) else {}


def fixed_port(reading: Reading) -> Iterator[Finding]:
    """Two jobs on a node would meet at it. A job that has its nodes alone is left out if it is one node."""
    if not several_ranks(reading) and reading.whole_nodes:
        return
    for setting in reading.body.values("MASTER_PORT"):
        if setting.value.isdigit() and setting.certain:
            mend = _set(reading, setting.line, "MASTER_PORT", setting.value, PORT)
            yield Finding(setting.line, {"what": f"MASTER_PORT={setting.value}"}, mend)
    if any(setting.value.isdigit() for setting in reading.body.values("MASTER_PORT")):
        return
    for launch in programs(reading, "torchrun", "accelerate"):
        for name in ("rdzv-endpoint", "master-port", "main-process-port"):
            if found := re.search(r"(?:^|:)(\d{2,5})$", launch.options.get(name, "")):
                yield Finding(launch.line, {"what": f"--{name} with port {found[1]}"})


def no_meeting_point(reading: Reading) -> Iterator[Finding]:
    for launch in programs(reading, "torchrun"):
        options = launch.options
        several = launch.value("nnodes") not in (None, "1", "1:1") and several_ranks(reading)
        if not several or launch.srun is None or "standalone" in options or options[""] != "torchrun":
            continue
        if "rdzv-endpoint" not in options and "master-addr" not in options:
            yield Finding(launch.line, {"why": NO_ENDPOINT})
        elif options.get("rdzv-backend", "static") == "static" and "node-rank" not in options:
            yield Finding(launch.line, {"why": NO_BACKEND})


def loopback(reading: Reading) -> Iterator[Finding]:
    if several_ranks(reading):
        for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
            for setting in reading.body.values(name):
                if setting.value == "lo":
                    yield Finding(setting.line, {"name": name})


def too_early(reading: Reading) -> Iterator[Finding]:
    """Slurm's task numbers put in by the batch shell, where they are always 0."""
    for setting in reading.body.settings:
        names = sorted(setting.early & set(TOO_EARLY))
        if names and not is_inside(reading, setting.line) and setting.name in (
            "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
            "SLURM_RANK", "MACHINE_RANK",
        ):  # fmt: skip
            yield Finding(setting.line, {"name": names[0]})
    for command in reading.body.commands:
        names = sorted(command.early & set(TOO_EARLY))
        if command.name == "srun" and names and not command.inside:
            yield Finding(command.line, {"name": names[0]})


def is_inside(reading: Reading, line: int) -> bool:
    return any(command.inside and command.line == line for command in reading.body.commands)


def world_size(reading: Reading) -> Iterator[Finding]:
    tasks = reading.asked.tasks
    if not tasks or not reading.nodes or programs(reading, "torchrun", "accelerate"):
        return
    for setting in reading.body.values("WORLD_SIZE"):
        started = [
            tasks_per_node(each, reading.nodes, tasks)
            for each in reading.launches.found
            if each.srun is not None
        ]
        every = {each * reading.nodes for each in started if each}
        if setting.value.isdigit() and every and int(setting.value) not in every:
            yield Finding(setting.line, {"value": setting.value, "ranks": count(max(every), "rank")})


RULES = (
    Rule(
        "no-srun",
        no_srun,
        "{program} starts on the first node only, and the job has {nodes}: put srun in front of it.",
        MULTI_NODE,
        Example(FOUR_TASKS + "python train.py\n", 5),
    ),
    Rule(
        "one-process",
        one_process,
        "{how} {tasks} on a node with {devices} devices: unless the program starts its own, the other "
        "devices "
        "stay idle. Start one task per device, or use torchrun.",
        MULTI_NODE,
        Example(ONE_NODE + "srun -c 32 python train.py\n", 5),
    ),
    Rule(
        "tasks-without-srun",
        tasks_without_srun,
        "The script asks for {tasks} tasks and starts one process: srun starts one per task.",
        FIRST_JOB,
        Example(HEAD.format(nodes=1, tasks=2, cpus=4).replace("gpu:4", "gpu:1") + "python train.py\n", 5),
    ),
    Rule(
        "tasks-times-launcher",
        tasks_times_launcher,
        "srun starts {what} {tasks} times on each node{ranks}. Give torchrun one task per node "
        "(--ntasks-per-node=1).",
        MULTI_NODE,
        Example(FOUR_TASKS + f"{C10D} train.py\n".replace("-c 32", "-c 8"), 5),
    ),
    Rule(
        "separate-runs",
        separate_runs,
        "With {why} each of the {nodes} nodes trains alone: give --nnodes and a rendezvous.",
        MULTI_NODE,
        Example(ONE_TASK + "srun -c 32 torchrun --standalone --nproc-per-node=4 train.py\n", 5),
    ),
    Rule(
        "other-nodes",
        other_nodes,
        "torchrun waits for {given} nodes, and the job has {nodes}: write --nnodes=$SLURM_NNODES.",
        MULTI_NODE,
        Example(ONE_TASK + C10D.replace("nnodes=2", "nnodes=4") + " train.py\n", 5),
    ),
    Rule(
        "other-ranks",
        other_ranks,
        "torchrun starts {given} on a node, and {hint}.",
        MULTI_NODE,
        Example(ONE_TASK + C10D.replace("node=4", "node=2") + " train.py\n", 5),
    ),
    Rule(
        "mpirun-inside",
        mpirun_inside,
        "srun starts mpirun once per task, and each starts ranks of its own: use one of the two.",
        MULTI_NODE,
        Example(FOUR_TASKS + "srun -c 8 mpirun python train.py\n", 5),
    ),
    Rule(
        "background",
        background,
        "This runs in the background and nothing waits for it: the script ends, and Slurm ends the job. "
        "Add wait.",
        FIRST_JOB,
        Example(FOUR_TASKS + "srun -c 8 python train.py &\n", 5),
    ),
    Rule(
        "local-address",
        local_address,
        "{what} means another machine on each node: name the first node instead.",
        MULTI_NODE,
        Example(FOUR_TASKS + "export MASTER_ADDR=localhost\nsrun -c 8 python train.py\n", 5),
    ),
    Rule(
        "fixed-port",
        fixed_port,
        "{what}: another job on the node may have it. Derive the port from the job's id.",
        MULTI_NODE,
        Example(FOUR_TASKS + "export MASTER_PORT=29500\nsrun -c 8 python train.py\n", 5),
    ),
    Rule(
        "no-meeting-point",
        no_meeting_point,
        "torchrun {why}.",
        MULTI_NODE,
        Example(ONE_TASK + "srun -c 32 torchrun --nnodes=2 --nproc-per-node=4 train.py\n", 5),
    ),
    Rule(
        "loopback",
        loopback,
        "{name}=lo lets a rank talk to its own node only.",
        MULTI_NODE,
        Example(FOUR_TASKS + "export NCCL_SOCKET_IFNAME=lo\nsrun -c 8 python train.py\n", 5),
    ),
    Rule(
        "too-early",
        too_early,
        "${name} is put in by the batch script, where it is 0 for every rank: read it inside srun, in "
        "bash -c '...'.",
        MULTI_NODE,
        Example(FOUR_TASKS + "export RANK=$SLURM_PROCID\nsrun -c 8 python train.py\n", 5),
    ),
    Rule(
        "world-size",
        world_size,
        "WORLD_SIZE={value}, but srun starts {ranks}: take $SLURM_NTASKS.",
        MULTI_NODE,
        Example(FOUR_TASKS + "export WORLD_SIZE=4\nsrun -c 8 python train.py\n", 5),
    ),
)

"""Checks of the exercises on two nodes. The first one submits the script to the practice supercomputer."""

import json
import math
import re
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from scaleup import machines, paths, practice
from scaleup.errors import CourseError
from scaleup.exercises import NotYet, code, edited, exercise, known_wrong, needs_function
from scaleup.practice import cluster

# 1. The script. First a rehearsal: every task's `torchrun` only writes down how it was called.

RECORDER = """#!{python}
import json, os, sys
from pathlib import Path
names = {{"node": "SLURMD_NODENAME", "step": "SLURM_STEP_ID", "interface": "GLOO_SOCKET_IFNAME"}}
call = {{key: os.environ.get(name, "") for key, name in names.items()}} | {{"arguments": sys.argv[1:]}}
Path("call-" + call["node"] + "-" + str(os.getpid())).write_text(json.dumps(call))
"""
SWITCHES = ("standalone", "no-python", "module", "m", "run-path", "virtual-local-rank")


def submit(folder: Path, script: str, path: str, limit: float) -> tuple[str, str]:
    """Run a script with `path` in front of PATH, for `limit` seconds at most; returns state and log."""
    log = folder / "job.log"
    words = ("sbatch", "--parsable", f"--output={log}", script)
    said = practice.run("sh", "-c", 'PATH="$0:$PATH" exec "$@"', path, *words, check=False, cwd=folder)
    if said.returncode:
        reason = said.stderr.strip().splitlines()[0].removeprefix("sbatch: error: ")
        if "CPU count per node" in reason:
            reason = "tasks per node times cores per task are more than a node's 16. One task takes them all"
        raise NotYet(f"sbatch refused the script: {reason}")
    number = said.stdout.strip()
    try:
        ended = practice.wait(number, limit)
    except CourseError as error:
        if "is PENDING" in str(error):
            raise NotYet("the job did not start: squeue shows which other jobs hold the nodes") from None
        ended = "RUNNING"
    finally:
        practice.run("scancel", number, check=False)
    return ended, log.read_text() if log.exists() else ""


def options(arguments: list[str]) -> dict[str, str]:
    """torchrun's options by name, up to the program's name, which is called `program`."""
    found, words = {"program": ""}, iter(arguments)
    for word in words:
        if not word.startswith("-"):
            found["program"] = word
            break
        name, given, value = word.lstrip("-").replace("_", "-").partition("=")
        found[name] = value if given or name in SWITCHES else next(words, "")
    return found


def last_error(log: str) -> str:
    """The last line of a log in which Python or the shell says what is wrong, as far as there is one."""
    lines = [
        re.sub(r"^\[rank\d+\]: |^slurmstepd-\w+: error: |\[enforce fail at \S+\] ", "", line)
        for line in log.splitlines()
    ]
    lines = [line for line in lines if line.strip() and "ChildFailedError" not in line]
    errors = [line for line in lines if re.match(r"[\w.]*Error\b|execve", line)]
    own = [line for line in lines if not line.startswith("srun: ")]
    return (errors or own or lines or ["nothing"])[-1]


def rehearse(folder: Path, script: str) -> str:
    """The node where agents meet. NotYet, unless both nodes called torchrun once, towards one meeting."""
    fake = folder / "fake"
    fake.mkdir()
    (fake / "torchrun").write_text(RECORDER.format(python=sys.executable))
    (fake / "torchrun").chmod(0o755)
    _, log = submit(folder, script, f"{fake}:{Path(sys.executable).parent}", 30)
    calls = [json.loads(path.read_text()) for path in folder.glob("call-*")]
    if not calls and re.search(r"rank \d+ of \d+ on", log):
        raise NotYet("ranks met without torchrun. That works too, but here each node shall have one torchrun")
    if not calls:
        raise NotYet(f"the script called no torchrun. Its log ends with: {last_error(log)}")
    on = Counter(call["node"] for call in calls)
    told = [options(call["arguments"]) for call in calls]
    if len(on) == 1 and len(calls) == 1:
        raise NotYet("torchrun was called once, on one node. Ask for two nodes, and let srun call it on each")
    if max(on.values()) > 1:
        raise NotYet(
            f"{len(calls)} torchruns were started on {len(on)} nodes: srun must start one task a node"
        )
    if len({call["step"] for call in calls}) > 1:
        raise NotYet("each torchrun has an srun of its own. One srun starts a task on every node by itself")
    if any("standalone" in each for each in told):
        raise NotYet(
            "--standalone makes each node a run of its own. Give all agents one --rdzv-endpoint instead"
        )
    if {each.get("nnodes", "1") for each in told} != {"2"}:
        raise NotYet(f"torchrun's --nnodes is {told[0].get('nnodes', '1')}, and there are 2 nodes")
    if {each.get("nproc-per-node", "1") for each in told} != {"2"}:
        raise NotYet("each torchrun must start two ranks, one for each device of its node: --nproc-per-node")
    if any(call["interface"] == "lo" for call in calls):
        raise NotYet("GLOO_SOCKET_IFNAME=lo sends the ranks by lo, which leads from a node to itself only")
    if any("master-addr" in each for each in told):  # the older way, without a rendezvous
        if sorted(each.get("node-rank", "0") for each in told) != ["0", "1"]:
            raise NotYet(
                "both agents got the same --node-rank: the batch script filled in its own SLURM_NODEID"
            )
        return one_place({each["master-addr"] for each in told if "master-addr" in each}, told)
    if {each.get("rdzv-backend", "") for each in told} != {"c10d"}:
        raise NotYet("agents that find each other by an address need --rdzv-backend=c10d")
    if len({each.get("rdzv-id", "") for each in told}) > 1:
        raise NotYet("the agents were given different --rdzv-id, so each waits in a meeting of its own")
    return one_place({each.get("rdzv-endpoint", "") for each in told}, told)


def one_place(places: set[str], told: list[dict[str, str]]) -> str:
    """The host that all agents were given. NotYet for an address at which they cannot meet."""
    if len(places) > 1:
        raise NotYet("each agent goes to its own node, so they never meet. All must be given the first one")
    (place,) = places
    host, colon, port = place.partition(":")
    program = told[0]["program"]
    if len(place.split()) > 1 or re.match(r"node\d+\b", program):
        raise NotYet("the address holds several names. Take the first of them: head -n 1")
    if "$" in place:
        raise NotYet(
            f"the agents got the address {place} as it stands: single quotes keep bash from filling it in"
        )
    if "[" in place:
        raise NotYet(f"{host} is Slurm's list of nodes, not a name. scontrol show hostnames takes it apart")
    if not host:
        raise NotYet(
            "--rdzv-endpoint names no host: is the variable set, and spelled the same in both places?"
        )
    if host == "localhost" or host.startswith("127."):
        raise NotYet(
            f"{host} is on each node the node itself, so the agents never meet. Give the first one's name"
        )
    if colon and not port.isdigit():
        raise NotYet(f"the address {place} has no number for its port: is the variable set?")
    return host


@exercise(
    "two-nodes",
    hint="In the lesson, look at the end of variables.sh: the first node's name, and what srun starts.",
    limit=110,
    file=True,
)
def two_nodes(path):
    was_up = practice.is_up()
    practice.up()
    desk = paths.state() / "desk"
    desk.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="check-", dir=desk))
    try:
        for file in path.parent.iterdir():
            if file.suffix in (".py", ".sh"):
                shutil.copy(file, folder)
        place = rehearse(folder, path.name)
        if cluster.running().mode == "plain":
            return "one torchrun on each node, one meeting (not run: in plain mode nodes have no names)"
        for call in folder.glob("call-*"):
            call.unlink()
        ended, log = submit(folder, path.name, str(Path(sys.executable).parent), 60)
    except CourseError as error:
        raise NotYet(str(error)) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not was_up:
            practice.down()
    met = re.findall(r"rank \d+ of (\d+) on (\S+), local rank \d+: met (\d+) ranks", log)
    if {size for size, _, _ in met} | {count for _, _, count in met} != {"4"} or len(met) != 4:
        if ended == "RUNNING":
            raise NotYet(
                f"60 s were not enough: somebody waits. The agents meet at {place}: is it the first node?"
            )
        raise NotYet(
            f"the agents went to {place}; the job is {ended}, and not four ranks met: {len(met)} reported. "
            f"Its log says: {last_error(log)}"
        )
    if sorted(Counter(node for _, node, _ in met).values()) != [2, 2]:
        raise NotYet("four ranks met, but not two on each of two nodes")
    return "4 ranks on 2 nodes met, started by one torchrun on each"


SRUN = 'srun torchrun --nnodes="$SLURM_NNODES"'
ENDPOINT = '--rdzv-endpoint="$FIRST:$PORT"'
known_wrong(
    "two-nodes",
    edited("multi-node/two_nodes.sh", {SRUN: SRUN.removeprefix("srun ")}),
    "torchrun was called once, on one node. Ask for two nodes, and let srun call it on each",
)
known_wrong(
    "two-nodes",
    edited(
        "multi-node/two_nodes.sh",
        {"--ntasks-per-node=1\n#SBATCH --cpus-per-task=16": "--ntasks-per-node=2\n#SBATCH --cpus-per-task=8"},
    ),
    "4 torchruns were started on 2 nodes: srun must start one task a node",
)
known_wrong(
    "two-nodes",
    edited(
        "multi-node/two_nodes.sh",
        {f'--rdzv-backend=c10d \\\n    --rdzv-id="$SLURM_JOB_ID" {ENDPOINT}': "--standalone"},
    ),
    "--standalone makes each node a run of its own. Give all agents one --rdzv-endpoint instead",
)
known_wrong(
    "two-nodes",
    edited("multi-node/two_nodes.sh", {'--nnodes="$SLURM_NNODES" ': ""}),
    "torchrun's --nnodes is 1, and there are 2 nodes",
)
known_wrong(
    "two-nodes",
    edited(
        "multi-node/two_nodes.sh",
        {
            "srun torchrun": "srun bash -c 'exec torchrun",
            '"$FIRST:$PORT" meet.py': "$(hostname):29500 meet.py'",
        },
    ),
    "each agent goes to its own node, so they never meet. All must be given the first one",
)
known_wrong(
    "two-nodes",
    edited("multi-node/two_nodes.sh", {'"$FIRST:$PORT"': '"$MASTER_ADDR:$PORT"'}),
    "--rdzv-endpoint names no host: is the variable set, and spelled the same in both places?",
)
known_wrong(
    "two-nodes",
    edited("multi-node/two_nodes.sh", {"#SBATCH --account=practice\n": ""}),
    "sbatch refused the script: this machine wants --account=practice",
)

LAUNCH = f'{SRUN} --nproc-per-node=2 --rdzv-backend=c10d \\\n    --rdzv-id="$SLURM_JOB_ID" {ENDPOINT} meet.py'
TWO_TASKS = {
    "--ntasks-per-node=1\n#SBATCH --cpus-per-task=16": "--ntasks-per-node=2\n#SBATCH --cpus-per-task=8"
}
OLD = '--rdzv-backend=c10d \\\n    --rdzv-id="$SLURM_JOB_ID" ' + ENDPOINT
for changes, message in [
    (
        TWO_TASKS
        | {
            LAUNCH: "export MASTER_ADDR=$FIRST MASTER_PORT=$PORT\nsrun bash -c 'RANK=$SLURM_PROCID "
            "LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS python meet.py'"
        },
        "ranks met without torchrun. That works too, but here each node shall have one torchrun",
    ),
    (
        {LAUNCH: f"for node in 1 2; do\n{LAUNCH.replace('srun', 'srun -N1 -n1 -w node$node')} &\ndone\nwait"},
        "each torchrun has an srun of its own. One srun starts a task on every node by itself",
    ),
    (
        {LAUNCH: LAUNCH.replace("torchrun", "no-such-program")},
        "the script called no torchrun. Its log ends with: "
        "execve(): no-such-program: No such file or directory",
    ),
    (
        {OLD: '--master-addr="$FIRST" --master-port="$PORT" --node-rank="$SLURM_NODEID"'},
        "both agents got the same --node-rank: the batch script filled in its own SLURM_NODEID",
    ),
    (
        {'"$FIRST:$PORT"': '"localhost:$PORT"'},
        "localhost is on each node the node itself, so the agents never meet. Give the first one's name",
    ),
    (
        {'"$FIRST:$PORT"': "'$FIRST:$PORT'"},
        "the agents got the address $FIRST:$PORT as it stands: single quotes keep bash from filling it in",
    ),
    (
        {'"$FIRST:$PORT"': '"$SLURM_JOB_NODELIST:$PORT"'},
        "node[1-2] is Slurm's list of nodes, not a name. scontrol show hostnames takes it apart",
    ),
    ({" | head -n 1": ""}, "the address holds several names. Take the first of them: head -n 1"),
    (
        {'"$FIRST:$PORT"': '"$FIRST:$MASTER_PORT"'},
        "the address node1: has no number for its port: is the variable set?",
    ),
    (
        {"export OMP_NUM_THREADS=1": "export OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=lo"},
        "GLOO_SOCKET_IFNAME=lo sends the ranks by lo, which leads from a node to itself only",
    ),
    (
        {"--ntasks-per-node=1": "--ntasks-per-node=2"},
        "sbatch refused the script: tasks per node times cores per task are more than a node's 16. "
        "One task takes them all",
    ),
    (
        {"export OMP_NUM_THREADS=1": "export OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=eth7"},
        "the agents went to node1; the job is FAILED, and not four ranks met: 0 reported. "
        "Its log says: RuntimeError: ifa != nullptr. Unable to find address for: eth7",
    ),
]:
    known_wrong("two-nodes", edited("multi-node/two_nodes.sh", changes), message)


# 2. and 3. Masks

BY_HAND = {"0x1": [0], "0x8": [3], "0x00000000000000fe": list(range(1, 8)), "0x5": [0, 2]}


@exercise("mask", hint="int(mask, 16) makes a number of the text; (number >> core) & 1 is one bit of it.")
def mask(answer):
    needs_function(answer, "cores_of")
    got = {text: answer(text) for text in BY_HAND}
    if not all(isinstance(cores, list) for cores in got.values()):
        raise NotYet(f"cores_of must return a list of cores, not a {type(got['0x1']).__name__}")
    if got["0x1"] == [1]:
        raise NotYet("the lowest bit is core 0, so 0x1 is core 0 and not core 1")
    if got["0x8"] == [0] or got["0x1"] == [63]:
        raise NotYet("you counted from the wrong end: the rightmost digit holds cores 0 to 3")
    if got["0x5"] == [2, 0]:
        raise NotYet("the cores are right, and in falling order: sort them")
    for text, cores in got.items():
        if cores != BY_HAND[text]:
            raise NotYet(f"{text} is {BY_HAND[text]}, your function says {cores}")
    masks = machines.machine("lumi-g")["binding_masks"].value
    wrong = [text for text in masks if answer(text) != [c for c in range(64) if int(text, 16) >> c & 1]]
    if wrong:
        raise NotYet(f"small masks are right; {wrong[0]} is not: there are 64 cores")
    return "LUMI-G's eight masks give 56 different cores"


COUNTING = """
def cores_of(mask):
    number = int(mask, 16)
    return {}
"""
known_wrong(
    "mask",
    code(COUNTING.format("[63 - core for core in range(64) if number >> core & 1][::-1]")),
    "you counted from the wrong end: the rightmost digit holds cores 0 to 3",
)
known_wrong(
    "mask",
    code(COUNTING.format('[core for core, bit in enumerate(bin(number)[2:]) if bit == "1"]')),
    "you counted from the wrong end: the rightmost digit holds cores 0 to 3",
)
known_wrong(
    "mask",
    code(COUNTING.format("[core + 1 for core in range(64) if number >> core & 1]")),
    "the lowest bit is core 0, so 0x1 is core 0 and not core 1",
)
known_wrong(
    "mask",
    code(COUNTING.format("[core for core in range(63, -1, -1) if number >> core & 1]")),
    "the cores are right, and in falling order: sort them",
)
known_wrong(
    "mask",
    code(COUNTING.format("[core for core in range(32) if number >> core & 1]")),
    "small masks are right; 0x00fe000000000000 is not: there are 64 cores",
)


@exercise("device", hint="In which of the eight lists is 35? Its place in the list of masks is the device.")
def device(answer):
    sentences = {
        4: "35 // 8 = 4 is the row of the map. Which device has it? The masks are in the devices' order",
        5: "this counts the rows from 1. Look for 35 in the masks, which are in the devices' order from 0",
        7: "the masks are counted from device 0, so the seventh one is device 6",
        2: "2 is the NUMA domain of core 35. Which device's mask holds it?",
        3: "this reads the map from its other end. Look for 35 in the masks, in the devices' order",
    }
    try:
        number = float(answer)
    except (TypeError, ValueError):
        raise NotYet(f"give the number of a device, not {answer!r}") from None
    answer = int(number) if number.is_integer() else number
    if answer != 6:
        raise NotYet(sentences.get(answer, f"the mask of device {answer} does not hold core 35"))
    return "core 35 is near device 6, in the fifth row of the map"


known_wrong(
    "device",
    4,
    "35 // 8 = 4 is the row of the map. Which device has it? The masks are in the devices' order",
)
known_wrong("device", 7, "the masks are counted from device 0, so the seventh one is device 6")
known_wrong("device", "GCD 6", "give the number of a device, not 'GCD 6'")
known_wrong("device", 0, "the mask of device 0 does not hold core 35")


# 4. Broken starts

CAUSES = ("address", "launchers", "interface", "missing rank", "port")
LINES = (
    "--nodes",
    "--ntasks-per-node",
    "GLOO_SOCKET_IFNAME",
    "PORT",
    "--nnodes",
    "--nproc-per-node",
    "--rdzv-endpoint",
    "--rdzv-conf",
)
RIGHT = {
    "start_a": ("address", "--rdzv-endpoint"),
    "start_b": ("launchers", "--ntasks-per-node"),
    "start_c": ("interface", "GLOO_SOCKET_IFNAME"),
}
NOT_THE_CAUSE = {
    ("start_a", "launchers"): "task 0 was on node1 and task 1 on node2, so there was one torchrun a node",
    (
        "start_a",
        "interface",
    ): "the rendezvous timed out, so no rank was started, and no tensor took any interface",
    (
        "start_a",
        "missing rank",
    ): "both agents were there, as the last two lines say. Where did each of them wait?",
    (
        "start_a",
        "port",
    ): "the error is a time-out: the agents waited, and nobody refused them. Where did each of them wait?",
    ("start_b", "address"): "all eight met, so all went to one address",
    ("start_b", "interface"): "the ranks counted each other correctly, so tensors passed",
    (
        "start_b",
        "missing rank",
    ): "no rank is missing. How many should there be on two nodes with two devices?",
    ("start_b", "port"): "all eight met, so the port was theirs",
    (
        "start_c",
        "address",
    ): "ranks were started and know their size, 4: the agents had met. What failed after that?",
    ("start_c", "launchers"): "size=4 is right for two nodes with two devices",
    ("start_c", "missing rank"): "ranks 0 and 1 of node1 and 2 and 3 of node2 are all in the log",
    ("start_c", "port"): "remote=[127.0.0.1] is the machine itself. Would another port lead to another node?",
}
NOT_THE_LINE = {
    ("start_a", "--rdzv-conf"): "a longer time-out only makes them wait longer, each at its own address",
    ("start_a", "--nnodes"): "with --nnodes=1 each node would train a run of its own",
    ("start_a", "PORT"): "the port is the same on both nodes. What about the host before it?",
    ("start_b", "--nnodes"): "with --nnodes=2 alone, two of four agents would run, perhaps both on one node",
    ("start_b", "--nproc-per-node"): "then all ranks have the local rank 0, and so the same device of a node",
    ("start_b", "--nodes"): "two nodes are wanted. How many tasks on each?",
    ("start_c", "--rdzv-endpoint"): "the agents met there. It is the ranks that cannot reach each other",
    ("start_c", "--rdzv-conf"): "the agents met in time. It is the ranks that cannot reach each other",
}


@exercise(
    "starts",
    hint="Did the agents meet? If so, did the ranks meet? If so, were they as many as the devices?",
)
def starts(answer):
    if not isinstance(answer, dict) or set(answer) != set(RIGHT):
        raise NotYet("give a dictionary with start_a, start_b and start_c")
    for name, given in answer.items():
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise NotYet(f"{name}: give two texts, the cause and the line")
        cause, line = given
        if cause not in CAUSES:
            raise NotYet(f"{name}: the cause {cause!r} is not in the list: {', '.join(CAUSES)}")
        if line not in LINES:
            raise NotYet(f"{name}: the line {line!r} is not in the list: {', '.join(LINES)}")
        if cause != RIGHT[name][0]:
            raise NotYet(f"{name}: {NOT_THE_CAUSE[name, cause]}")
        if line != RIGHT[name][1]:
            said = NOT_THE_LINE.get((name, line), f"the cause is right. Changing {line} would not remove it")
            raise NotYet(f"{name}: {said}")
    return "three causes, and the three lines that remove them"


for name in RIGHT:
    for cause in CAUSES:
        if cause != RIGHT[name][0]:
            wrong = RIGHT | {name: (cause, RIGHT[name][1])}
            known_wrong("starts", wrong, f"{name}: {NOT_THE_CAUSE[name, cause]}")
known_wrong(
    "starts",
    RIGHT | {"start_a": ("address", "--rdzv-conf")},
    "start_a: a longer time-out only makes them wait longer, each at its own address",
)
known_wrong(
    "starts",
    RIGHT | {"start_b": ("launchers", "--nnodes")},
    "start_b: with --nnodes=2 alone, two of four agents would run, perhaps both on one node",
)
known_wrong(
    "starts",
    RIGHT | {"start_c": ("interface", "--nodes")},
    "start_c: the cause is right. Changing --nodes would not remove it",
)


# 5. Bytes over bandwidth

TOLERANCE = 0.01  # the exercise's text says so


@exercise("all-reduce", hint="Which bytes leave one node? Divide them by the bytes a second of its link.")
def all_reduce(answer):
    numbers = isinstance(answer, tuple | list) and len(answer) == 2
    if not numbers or not all(isinstance(x, int | float) and math.isfinite(x) for x in answer):
        raise NotYet("give two numbers of seconds: (flat ring, by node)")
    flat, by_node = (round(float(x), 2) for x in answer)
    if (flat, by_node) == (6.29, 4.19):
        raise NotYet("these are 100 MiB. The buffer has 100 MB, millions of bytes, as links count them")
    flat_sentences = {
        0.75: "200 Mbit/s are 25 MB/s: a byte has eight bits",
        4.0: "this is the ring of two. Of four ranks each sends 2 x 3/4 of the buffer",
        8.0: "twice the buffer is the limit for very many ranks; four send 2 x 3/4",
        12.0: "of the two ranks of a node only one sends to the other node",
        3.0: "an all-reduce goes round twice: once to add up, once to spread the sum",
        24.0: "of the ring's four arrows two cross, one in each direction, and they do not share",
    }
    node_sentences = {
        6.0: "if the nodes first add up inside, only two parties are left between them: n is 2",
        2.0: "each node sends 2(n-1)/n of the buffer, and n = 2 makes that once the buffer",
        8.0: "links carry both directions at once, so what counts is what one node sends",
        0.5: "200 Mbit/s are 25 MB/s: a byte has eight bits",
        3.0: "the buffer is not halved: each node has a sum of all 100 MB",
    }
    if not math.isclose(flat, 6.0, rel_tol=TOLERANCE):
        said = flat_sentences.get(
            flat, f"{flat:g} s at 25 MB/s are {25 * flat:g} MB; a node sends another number"
        )
        raise NotYet(f"flat ring: {said}")
    if not math.isclose(by_node, 4.0, rel_tol=TOLERANCE):
        said = node_sentences.get(
            by_node, f"{by_node:g} s at 25 MB/s are {25 * by_node:g} MB; a node sends another number"
        )
        raise NotYet(f"by node: {said}")
    return "150 MB leave a node in the flat ring, 100 MB if the nodes add up inside first"


known_wrong("all-reduce", (0.75, 0.5), "flat ring: 200 Mbit/s are 25 MB/s: a byte has eight bits")
known_wrong(
    "all-reduce",
    (6.291456, 4.194304),
    "these are 100 MiB. The buffer has 100 MB, millions of bytes, as links count them",
)
known_wrong("all-reduce", (12, 4), "flat ring: of the two ranks of a node only one sends to the other node")
known_wrong(
    "all-reduce",
    (6, 6),
    "by node: if the nodes first add up inside, only two parties are left between them: n is 2",
)
known_wrong("all-reduce", (5, 4), "flat ring: 5 s at 25 MB/s are 125 MB; a node sends another number")

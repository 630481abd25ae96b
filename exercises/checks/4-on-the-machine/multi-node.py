"""Checks of the exercises on two nodes. The first one submits the script to the practice supercomputer."""

import functools
import itertools
import json
import re
from collections import Counter

from scaleup import machines
from scaleup.exercises import NotYet, close, code, edited, is_number, rules, says, slip
from scaleup.exercises.jobs import PYTHON, Refused, Trial, trial
from scaleup.practice import cluster

# ---------------------------------------------------------------- the script

RECORDER = f"""#!{PYTHON}/python
import json, os, sys
names = {{"node": "SLURMD_NODENAME", "step": "SLURM_STEP_ID", "interface": "GLOO_SOCKET_IFNAME"}}
call = {{key: os.environ.get(name, "") for key, name in names.items()}} | {{"arguments": sys.argv[1:]}}
call["devices"] = len(os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(",", " ").split())
open("call-" + call["node"] + "-" + str(os.getpid()), "w").write(json.dumps(call))
"""
ALONE = f"""#!/bin/sh
[ -z "$RANK" ] && exec {PYTHON}/python "$@"
echo a rank without torchrun
"""
SWITCHES = ("standalone", "no-python", "module", "m", "run-path", "virtual-local-rank")
CORES = "tasks per node times cores per task are more than a node's 16. One task takes them all"


def options(arguments):
    """torchrun's options by name, up to the program's name, which is called `program`."""
    found, words = {"program": ""}, iter(arguments)
    for word in words:
        if not word.startswith("-"):
            found["program"] = word
            break
        name, given, value = word.lstrip("-").replace("_", "-").partition("=")
        found[name] = value if given or name in SWITCHES else next(words, "")
    return found


def last_error(log):
    """The last line of a log in which Python or the shell says what is wrong, as far as there is one."""
    prefix = r"^\[rank\d+\]: |^slurmstepd-\w+: error: |\[enforce fail at \S+\] "
    lines = [re.sub(prefix, "", line) for line in log.splitlines() if "ChildFailedError" not in line]
    lines = [line for line in lines if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*Error\b|execve", line)]
    own = [line for line in lines if not line.startswith("srun: ")]
    return (errors or own or lines or ["nothing"])[-1]


class Meeting(Trial):
    """A script on two nodes. In a rehearsal every task's `torchrun` only writes down how it was called."""

    @functools.cached_property
    def calls(self):
        fake = self.folder / "fake"
        fake.mkdir()
        for name, text in (("torchrun", RECORDER), ("python", ALONE)):
            (fake / name).write_text(text)
            (fake / name).chmod(0o755)
        try:
            self.rehearsal = self.run(path=f"{fake}:{PYTHON}")
        except Refused as no:
            reason = CORES if "CPU count per node" in no.reasons[0] else no.reasons[0]
            raise NotYet(f"sbatch refused the script: {reason}") from None
        return [json.loads(path.read_text()) for path in self.folder.glob("call-*")]

    @functools.cached_property
    def told(self):
        return [options(call["arguments"]) for call in self.calls]

    def each(self, name, otherwise=""):
        """The values that the agents were given for an option of torchrun."""
        return {call.get(name, otherwise) for call in self.told}

    on = property(lambda self: Counter(call["node"] for call in self.calls))
    number = property(lambda self: len(self.calls))
    nodes_used = property(lambda self: len(self.on))
    nnodes = property(lambda self: self.told[0].get("nnodes", "1"))
    devices_of_a_node = property(lambda self: min(call["devices"] for call in self.calls))
    c10d = property(lambda self: self.each("rdzv-backend") == {"c10d"})

    @property
    def by_rank(self):
        """Whether the script numbers the nodes itself, as torchrun wants it without c10d."""
        return not self.c10d and any({"master-addr", "node-rank"} & set(call) for call in self.told)

    @property
    def places(self):
        told = any("rdzv-endpoint" in call for call in self.told)
        return self.each("rdzv-endpoint" if told or not self.by_rank else "master-addr")

    address = property(lambda self: next(iter(self.places)))
    host = property(lambda self: self.address.partition(":")[0])
    port = property(lambda self: self.address.partition(":")[2])
    error = property(lambda self: last_error(self.rehearsal["log"] if not self.calls else self.ran["log"]))

    @functools.cached_property
    def ran(self):
        return self.run(limit=60, path=PYTHON)

    @functools.cached_property
    def met(self):
        """The nodes of the ranks that met three others; four of them in plain mode, where it is not run."""
        if cluster.running().mode == "plain":
            return ["node1", "node1", "node2", "node2"]
        pattern = r"rank \d+ of 4 on (\S+), local rank \d+: met 4 ranks"
        return re.findall(pattern, self.ran["log"])

    reported = property(lambda self: len(re.findall(r"^rank \d+ of", self.log, re.MULTILINE)))


SRUN, ENDPOINT = 'srun torchrun --nnodes="$SLURM_NNODES"', '--rdzv-endpoint="$FIRST:$PORT"'
OLD = f'--rdzv-backend=c10d \\\n    --rdzv-id="$SLURM_JOB_ID" {ENDPOINT}'
LAUNCH = f"{SRUN} --nproc-per-node=2 {OLD} meet.py"
TASKS, CORES_16 = "#SBATCH --ntasks-per-node=1", "#SBATCH --cpus-per-task=16"
TWO_TASKS = {f"{TASKS}\n{CORES_16}": "#SBATCH --ntasks-per-node=2\n#SBATCH --cpus-per-task=8"}
ADDRESS, THREADS = '"$FIRST:$PORT"', "export OMP_NUM_THREADS=1"
rules(
    "two-nodes", functools.partial(trial, kind=Meeting, empty=False),
    [slip(lambda job: not job.calls and "a rank without torchrun" in job.rehearsal["log"],
          "ranks met without torchrun. That works too, but here each node should have one torchrun",
          TWO_TASKS
          | {
              LAUNCH: "export MASTER_ADDR=$FIRST MASTER_PORT=$PORT\nsrun bash -c 'RANK=$SLURM_PROCID "
              "LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS python meet.py'"
          }),
     slip(lambda job: not job.calls, "the script called no torchrun. Its log ends with: {error}",
          says({LAUNCH: LAUNCH.replace("torchrun", "no-such-program")},
               error="execve(): no-such-program: No such file or directory")),
     slip(lambda job: job.number == 1,
          "torchrun was called once, on one node. Ask for two nodes, and let srun call it on each",
          {SRUN: SRUN.removeprefix("srun ")}, {"#SBATCH --nodes=2": "#SBATCH --nodes=1"}),
     slip(lambda job: max(job.on.values()) > 1,
          "{number} torchruns were started on {nodes_used} nodes: srun must start one task per node",
          says(TWO_TASKS, number=4, nodes_used=2)),
     slip(lambda job: len({call["step"] for call in job.calls}) > 1,
          "each torchrun has an srun of its own. One srun starts a task on every node by itself",
          {LAUNCH:
               f"for node in 1 2; do\n{LAUNCH.replace('srun', 'srun -N1 -n1 -w node$node')} &\ndone\nwait"}),
     slip(lambda job: any("standalone" in call for call in job.told),
          "--standalone makes each node a run of its own. Give all agents one --rdzv-endpoint instead",
          {OLD: "--standalone"}),
     slip(lambda job: job.nodes_used > 2, "the job has {nodes_used} nodes, and four ranks fill two of them",
          says({"#SBATCH --nodes=2": "#SBATCH --nodes=3"}, nodes_used=3)),
     slip(lambda job: job.each("nnodes", "1") != {"2"},
          "torchrun's --nnodes is {nnodes}, and there are {nodes_used} nodes",
          says({'--nnodes="$SLURM_NNODES" ': ""}, nnodes="1", nodes_used=2),
          says({'"$SLURM_NNODES"': "4"}, nnodes="4", nodes_used=2)),
     slip(lambda job: job.each("nproc-per-node", "1") != {"2"},
          "each torchrun must start two ranks, one for each device of its node: --nproc-per-node",
          {"--nproc-per-node=2 ": ""}),
     slip(lambda job: job.devices_of_a_node < 2,
          "each node starts two ranks and has {devices_of_a_node} of its two devices: look at the header",
          says({"--gpus-per-node=2": "--gpus-per-node=1"}, devices_of_a_node=1),
          says({"#SBATCH --gpus-per-node=2\n": ""}, devices_of_a_node=0)),
     slip(lambda job: any(call["interface"] == "lo" for call in job.calls),
          "GLOO_SOCKET_IFNAME=lo sends the ranks by lo, which leads from a node to itself only",
          {THREADS: f"{THREADS} GLOO_SOCKET_IFNAME=lo"}),
     slip(lambda job: job.by_rank and sorted(call.get("node-rank", "0") for call in job.told) != ["0", "1"],
          "both agents got the same --node-rank: the batch script filled in its own SLURM_NODEID",
          {OLD: '--master-addr="$FIRST" --master-port="$PORT" --node-rank="$SLURM_NODEID"'}),
     slip(lambda job: not job.by_rank and not job.c10d,
          "agents that find each other by an address need --rdzv-backend=c10d", {"--rdzv-backend=c10d ": ""}),
     slip(lambda job: len(job.each("rdzv-id")) > 1,
          "the agents were given different --rdzv-id, so each waits in a meeting of its own",
          {LAUNCH: f"srun bash -c 'exec {LAUNCH[5:].replace(ADDRESS, 'node1:29500')}'",
           '--rdzv-id="$SLURM_JOB_ID"': "--rdzv-id=$RANDOM"}),
     slip(lambda job: len(job.places) > 1,
          "each agent goes to its own node, so they never meet. All must be given the same one",
          {"srun ": "srun bash -c 'exec ", f"{ADDRESS} meet.py": "$(hostname):29500 meet.py'"}),
     slip(lambda job: len(job.address.split()) > 1 or re.match(r"node\d+\b", job.told[0]["program"]),
          "the address holds several names. Take the first of them: head -n 1", {" | head -n 1": ""}),
     slip(lambda job: "$" in job.address,
          "the agents got the address {address} as it stands: single quotes keep bash from filling it in",
          says({ADDRESS: "'$FIRST:$PORT'"}, address="$FIRST:$PORT")),
     slip(lambda job: "[" in job.address,
          "{host} is Slurm's list of nodes, not a name. scontrol show hostnames takes it apart",
          says({ADDRESS: '"$SLURM_JOB_NODELIST:$PORT"'}, host="node[1-2]")),
     slip(lambda job: not job.host,
          "--rdzv-endpoint names no host: is the variable set, and spelled the same in both places?",
          {ADDRESS: '"$MASTER_ADDR:$PORT"'}, {f" {ENDPOINT}": ""}),
     slip(lambda job: job.host == "localhost" or job.host.startswith("127."),
          "{host} is another machine on each node, so the agents never meet. Give the first node's name",
          says({ADDRESS: '"localhost:$PORT"'}, host="localhost")),
     slip(lambda job: ":" in job.address and not job.port.isdigit(),
          "the address {address} has no number for its port: is the variable set?",
          says({ADDRESS: '"$FIRST:$MASTER_PORT"'}, address="node1:")),
     slip(lambda job: re.fullmatch(r"login|node\d+", job.host) and job.host not in job.on,
          "the agents would meet at {host}, which is not a node of this job: give them its first node",
          says({"$(scontrol": "node3 # $(scontrol"}, host="node3"),
          says({"$(scontrol": "$SLURM_SUBMIT_HOST # $(scontrol"}, host="login")),
     slip(lambda job: len(job.met) != 4,
          "the agents went to {host}; the job is {state}, and not four ranks met: {reported} reported. Its "
          "log says: {error}",
          says({THREADS: f"{THREADS} GLOO_SOCKET_IFNAME=eth7"}, host="node1", state="FAILED", reported=0,
               error="RuntimeError: ifa != nullptr. Unable to find address for: eth7"))],
    also=[says({"#SBATCH --account=practice\n": ""},
               "sbatch refused the script: this machine wants --account=practice"),
          says({TASKS: "#SBATCH --ntasks-per-node=2"}, f"sbatch refused the script: {CORES}")],
    example=functools.partial(edited, "multi-node/two_nodes.sh"),
    hint="In the lesson, look at the end of variables.sh: the first node's name, and what srun starts.",
    done="4 ranks on 2 nodes met, started by one torchrun on each", limit=110, file=True)  # fmt: skip

# ---------------------------------------------------------------- masks

BY_HAND = {"0x1": [0], "0x8": [3], "0x00000000000000fe": list(range(1, 8)), "0x5": [0, 2]}
BY_XOR = {text: [core for core in range(64) if int(text, 16) & (2 ^ core)] for text in BY_HAND}


class Masks:
    """What a function makes of small masks, and the first of LUMI-G's on which it is wrong."""

    def __init__(self, answer):
        self.got = {text: answer(text) for text in BY_HAND}
        self.kind = type(self.got["0x1"]).__name__
        self.text = next((text for text, cores in BY_HAND.items() if self.got[text] != cores), None)
        self.right, self.said = BY_HAND.get(self.text), self.got.get(self.text)
        masks = machines.machine("lumi-g")["binding_masks"].value
        bits = {text: [core for core in range(64) if int(text, 16) >> core & 1] for text in masks}
        self.large = None if self.text else next((text for text in masks if answer(text) != bits[text]), None)


def cores_of(expression):
    return code(f"def cores_of(mask):\n    number = int(mask, 16)\n    return {expression}")


rules(
    "mask", Masks,
    [slip(lambda seen: not all(isinstance(cores, list) for cores in seen.got.values()),
          "cores_of must return a list of cores, not a {kind}",
          says("{core for core in range(64) if number >> core & 1}", kind="set"),
          says('"".join(str(core) for core in range(64) if number >> core & 1)', kind="str")),
     slip(lambda seen: seen.got == BY_XOR,
          "in Python 2 ^ core is the exclusive or; a single bit is 1 << core",
          "[core for core in range(64) if number & (2 ^ core)]"),
     slip(lambda seen: seen.got["0x1"] == [1], "the lowest bit is core 0, so 0x1 is core 0 and not core 1",
          "[core + 1 for core in range(64) if number >> core & 1]"),
     slip(lambda seen: seen.got["0x8"] == [0] or 63 in seen.got["0x1"] + seen.got["0x00000000000000fe"],
          "you counted from the wrong end: the rightmost digit holds cores 0 to 3",
          "[63 - core for core in range(64) if number >> core & 1][::-1]",
          '[core for core, bit in enumerate(bin(number)[2:]) if bit == "1"]',
          "[4 * i + b for i, d in enumerate(mask[2:]) for b in range(4) if int(d, 16) >> b & 1]"),
     slip(lambda seen: seen.got["0x5"] == [2, 0], "the cores are right, and in falling order: sort them",
          "[core for core in range(63, -1, -1) if number >> core & 1]"),
     slip(lambda seen: seen.got["0x1"] in (["0"], [True]), "cores are numbers, from 0 to 63",
          "[str(core) for core in range(64) if number >> core & 1]"),
     slip(lambda seen: len(seen.got["0x1"]) == 64,
          "this has an entry for every core. Only those whose bit is set belong in the list",
          "[number >> core & 1 for core in range(64)]"),
     slip(lambda seen: seen.text, "{text} is {right}, your function says {said}",
          says("[number.bit_length() - 1]", text="0x00000000000000fe", right=BY_HAND["0x00000000000000fe"],
               said=[7])),
     slip(lambda seen: seen.large, "small masks are right; {large} is not: there are 64 cores",
          says("[core for core in range(32) if number >> core & 1]", large="0x00fe000000000000"))],
    needs="cores_of", example=cores_of,
    hint="int(mask, 16) makes a number of the text; (number >> core) & 1 is one bit of it.",
    done="LUMI-G's eight masks give 56 different cores")  # fmt: skip

DEVICES = {
    4: "35 // 8 = 4 counts the cores by eights. Which device has those? The masks are in the devices' order",
    5: "this counts eights of cores from 1. Look for 35 in the masks: they are in the devices' order from 0",
    7: "the masks are counted from device 0, so the seventh one is device 6",
    2: "2 is the NUMA domain of core 35. Which device's mask holds it?",
    3: "this counts the cores from the other end. Look for 35 in the masks, in the devices' order",
} | {number: f"the mask of device {number} does not hold core 35" for number in (0, 1)}


def number(answer):
    try:
        return float(answer)
    except (TypeError, ValueError):
        raise NotYet(f"give the number of a device, not {answer!r}") from None


rules(
    "device", number,
    [*(slip(float(wrong).__eq__, sentence, wrong) for wrong, sentence in DEVICES.items()),
     slip(lambda given: given != 6, "LUMI-G's devices are 0 to 7", 8, 35, "2.5")],
    also=[says("GCD 6", "give the number of a device, not 'GCD 6'"),
          says([6], "give the number of a device, not [6]")],
    hint="In which of the eight lists is 35? Its place in the list of masks is the device.",
    done="core 35 is near device 6, whose cores are the fifth box of the picture")  # fmt: skip

# ---------------------------------------------------------------- broken starts

CAUSES = ("address", "launchers", "interface", "missing rank", "port")
LINES = ("--nodes", "--ntasks-per-node", "GLOO_SOCKET_IFNAME", "PORT", "--nnodes", "--nproc-per-node",
         "--rdzv-endpoint", "--rdzv-conf")  # fmt: skip
RIGHT = {"start_a": ("address", "--rdzv-endpoint"), "start_b": ("launchers", "--ntasks-per-node"),
         "start_c": ("interface", "GLOO_SOCKET_IFNAME")}  # fmt: skip
WHY_NOT = {"start_a":
               {"launchers": "task 0 was on node1 and task 1 on node2, so there was one torchrun per node",
                "interface":
                    "the rendezvous timed out, so no rank was started, and no tensor took any interface",
                "missing rank":
                    "both agents were there, as the last two lines say. Where did each of them wait?",
                "port": "the error is a time-out: the agents waited, and nobody refused them. Where did each "
                        "of them wait?",
                "--rdzv-conf": "a longer time-out only makes them wait longer, each at its own address",
                "--nnodes": "with --nnodes=1 each node would train a run of its own",
                "PORT": "the port is the same on both nodes. What about the host before it?"},
           "start_b":
               {"address": "all eight met, so all went to one address",
                "interface": "the ranks counted each other correctly, so tensors passed",
                "missing rank": "no rank is missing. How many should there be on two nodes with two devices?",
                "port": "all eight met, so the port was theirs",
                "--nnodes": "with --nnodes=2 alone, two of four agents would run, perhaps both on one node",
                "--nproc-per-node": "then all ranks have the local rank 0, and so the same device of a node",
                "--nodes": "two nodes are wanted. How many tasks on each?"},
           "start_c":
               {"address":
                    "ranks were started and know their size, 4: the agents had met. What failed after that?",
                "launchers": "size=4 is right for two nodes with two devices",
                "missing rank": "ranks 0 and 1 of node1 and 2 and 3 of node2 are all in the log",
                "port": "remote=[127.0.0.1] is the machine itself. Would another port lead to another node?",
                "--rdzv-endpoint": "the agents met there. It is the ranks that cannot reach each other",
                "--rdzv-conf":
                    "the agents met in time. It is the ranks that cannot reach each other"}}  # fmt: skip


def first_wrong(answer):
    """The first start whose cause or line is wrong, as (start, word), else nothing: ()."""
    if not isinstance(answer, dict) or set(answer) != set(RIGHT):
        raise NotYet("give a dictionary with start_a, start_b and start_c")
    for name, given in answer.items():
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise NotYet(f"{name}: give two texts, the cause and the line")
        for what, word, known in zip(("cause", "line"), given, (CAUSES, LINES), strict=True):
            if word not in known:
                raise NotYet(f"{name}: the {what} {word!r} is not in the list: {', '.join(known)}")
        for word, right in zip(given, RIGHT[name], strict=True):
            if word != right:
                return name, word
    return ()


def other_words(name):
    """Each wrong answer about one start, with what it is told."""
    cause, line = RIGHT[name]
    for word in CAUSES + LINES:
        if word not in (cause, line):
            otherwise = f"the cause is right. Changing {word} would not remove it"
            answer = (word, line) if word in CAUSES else (cause, word)
            yield (name, word), f"{name}: {WHY_NOT[name].get(word, otherwise)}", {name: answer}


rules(
    "starts", first_wrong,
    [
        slip(seen.__eq__, sentence, wrong)
        for seen, sentence, wrong in itertools.chain(*map(other_words, RIGHT))
    ],
    also=[says({"start_d": ("port", "PORT")}, "give a dictionary with start_a, start_b and start_c"),
          says({"start_a": "address"}, "start_a: give two texts, the cause and the line"),
          says({"start_a": ("--rdzv-endpoint", "address")},
               f"start_a: the cause '--rdzv-endpoint' is not in the list: {', '.join(CAUSES)}")],
    example=lambda wrong: RIGHT | wrong,
    hint="Did the agents meet? If so, did the ranks meet? If so, were they as many as the devices?",
    done="three causes, and the three lines that remove them")  # fmt: skip

# ---------------------------------------------------------------- bytes over bandwidth

MIB = "these are 100 MiB. The buffer has 100 MB, millions of bytes, as links count them"
ASK = "give two numbers of seconds: (flat ring, by node)"
BITS = "200 Mbit/s are 25 MB/s: a byte has eight bits"
FLAT = {0.75: BITS,
        4.0: "this is the ring of two. Of four ranks each sends 2 x 3/4 of the buffer",
        8.0: "twice the buffer is the limit for very many ranks; four send 2 x 3/4",
        12.0: "of the two ranks of a node only one sends to the other node",
        3.0: "an all-reduce goes round twice: once to add up, once to spread the sum",
        24.0: "of the ring's four arrows two cross, one in each direction, and they do not share",
        6_000: "these are milliseconds; the answer is in seconds",
        150.0: "these are the megabytes that a node sends. Divide them by 25 MB/s"}  # fmt: skip
BY_NODE = {6.0: "if the nodes first add up inside, only two parties are left between them: n is 2",
           2.0: "each node sends 2(n-1)/n of the buffer, and n = 2 makes that once the buffer",
           8.0: "links carry both directions at once, so what counts is what one node sends",
           0.5: BITS,
           3.0: "the buffer is not halved: each node has a sum of all 100 MB"}  # fmt: skip


def seconds(answer):
    numbers = isinstance(answer, tuple | list) and len(answer) == 2
    if not numbers or not all(map(is_number, answer)):
        raise NotYet(ASK)
    return Seconds(*answer)


class Seconds:
    """An answer, with the megabytes that the two times mean at 25 MB/s."""

    def __init__(self, flat, node):
        self.flat, self.node, self.flat_mb, self.node_mb = flat, node, 25 * flat, 25 * node


WITHIN = 0.01  # the exercise's text says so
rules(
    "all-reduce", seconds,
    [slip(lambda seen: close((seen.flat, seen.node), (6.29, 4.19), 2e-3), MIB, (6.291456, 4.194304)),
     slip(lambda seen: close((seen.flat, seen.node), (4, 6), WITHIN),
          "the two are swapped: the flat ring first, then by node", (4, 6)),
     *(
          slip(lambda seen, x=x: close(seen.flat, x, 1e-3), f"flat ring: {sentence}", (x, 4))
          for x, sentence in FLAT.items()
      ),
     slip(lambda seen: not close(seen.flat, 6, WITHIN),
          "flat ring: {flat:g} s at 25 MB/s are {flat_mb:g} MB; a node sends another number",
          says((5, 4), flat=5, flat_mb=125)),
     *(
          slip(lambda seen, x=x: close(seen.node, x, 1e-3), f"by node: {sentence}", (6, x))
          for x, sentence in BY_NODE.items()
      ),
     slip(lambda seen: not close(seen.node, 4, WITHIN),
          "by node: {node:g} s at 25 MB/s are {node_mb:g} MB; a node sends another number",
          says((6, 5), node=5, node_mb=125))],
    also=[says(6.0, ASK), says(("6 s", "4 s"), ASK)],
    hint="Which bytes leave one node? Divide them by the bytes per second of its link.",
    done="150 MB leave a node in the flat ring, 100 MB if the nodes add up inside first")  # fmt: skip

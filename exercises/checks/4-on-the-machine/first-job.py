"""Checks of the exercises on the first job. All but two ask a real scheduler, and three run real jobs."""

import functools
import math
import re
import time
from types import SimpleNamespace

from scaleup import machines, practice
from scaleup.exercises import NotYet, code, edited, is_number, rules, says, slip
from scaleup.exercises.jobs import Trial, cluster, queue, submit, trial
from scaleup.practice.request import request
from scaleup.practice.validator import Validator
from scaleup.words import count


def script(name, limit=60):
    """For an exercise whose answer is a script: an example is what to change in the solution."""
    return {"example": functools.partial(edited, f"first-job/{name}.sh"), "file": True, "limit": limit}


# ---------------------------------------------------------------- five scripts

REFUSED = "the scheduler refuses it: "
WRONG_ACCOUNT = (
    "this machine wants --account=practice; Invalid account or account/partition combination specified"
)
UNREAD = ". Slurm reads no #SBATCH line below the first command"
COMMENT = ". To Slurm '{}' is a comment: it reads #SBATCH only"
ACCOUNT, GPUS, TIME = "#SBATCH --account", "#SBATCH --gpus-per-node=1", "#SBATCH --time=00:10:00"


def hours_and_minutes(job):
    """Whether the time limit was meant as hours:minutes."""
    return re.fullmatch(r"\d?\d:\d\d", job.options.get("time", "")) and job.minutes < 2


COLON = "to Slurm two numbers are minutes:seconds, so this is a minute. Write hours:minutes:seconds"
rules(
    "account", trial,
    [slip(lambda job: job.devices != 1, "it is accepted, but with {devices} devices. It needs one{unread}",
          says({GPUS: f"set -e\n{GPUS}"}, devices=0, unread=UNREAD),
          says({GPUS: "#SBATCH --gpus-per-node=2"}, devices=2, unread=""),
          says({GPUS: "# SBATCH --gpus-per-node=1"}, devices=0, unread=COMMENT.format("# SBATCH"))),
     slip(hours_and_minutes, COLON, {"00:10:00": "00:10"}),
     slip(lambda job: job.minutes != 10, "it is accepted, but for {minutes:g} minutes, not 10{unread}",
          says({f"{TIME}\n\nset -e": f"set -e\n{TIME}"}, minutes=5, unread=UNREAD)),
     slip(lambda job: job.unread, "it is accepted, but not all of it was read{unread}",
          says({TIME: "", GPUS: f"{GPUS} --time=10\nset -e"}, unread=UNREAD))],
    also=[says({f"{ACCOUNT}=practice": f"{ACCOUNT}=practise"}, REFUSED + WRONG_ACCOUNT),
          says({ACCOUNT: f"set -e\n{ACCOUNT}"}, REFUSED + WRONG_ACCOUNT + UNREAD),
          says({ACCOUNT: "#sbatch --account"}, REFUSED + WRONG_ACCOUNT + COMMENT.format("#sbatch"))],
    hint="Where does Slurm stop reading #SBATCH lines?", done="accepted, with one device for ten minutes",
    **script("account"))  # fmt: skip


LIMIT, ASK = "00:30:00", "Ask for a fifth to a quarter more than the job needs"
TOO_LONG = "Requested time limit is invalid (missing or exceeds some limit)"
rules(
    "time",
    trial,
    [
        slip(hours_and_minutes, COLON, {LIMIT: "00:30"}),
        slip(
            lambda job: job.minutes < 25,
            "it is accepted, but after {minutes:g} minutes Slurm would end a job that needs 25",
            says({"--partition=gpu": "--partition=debug", LIMIT: "00:15:00"}, minutes=15),
        ),
        slip(
            lambda job: job.minutes == 25,
            f"it is accepted, but 25 minutes leave nothing to spare. {ASK}",
            {LIMIT: "25"},
        ),
        slip(
            lambda job: job.minutes < 30,
            f"it is accepted, but {{minutes:g}} minutes leave little to spare. {ASK}",
            says({LIMIT: "28"}, minutes=28),
        ),
        slip(
            lambda job: job.minutes > 32,  # a quarter more are 31.25, and Slurm counts whole minutes
            "it is accepted, but asks for {minutes:g} minutes and needs 25. It fits fewer gaps",
            says({LIMIT: "01:00:00"}, minutes=60),
            says({LIMIT: "40"}, minutes=40),
        ),
        slip(
            lambda job: job.devices != 2,
            "the job should have two devices, as before",
            {"--gpus-per-node=2": "--gpus-per-node=1"},
        ),
    ],
    also=[says({LIMIT: "02:00:00"}, REFUSED + TOO_LONG)],
    hint="Compare the limits of both partitions: sinfo.",
    done=lambda job: f"accepted in the partition {job.asked['Partition']}, with some minutes to spare",
    **script("time"),
)


NODES, TASKS, DEVICES, SRUN = ("--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2",
                               "srun --gpus-per-task=1")  # fmt: skip
ONLY = "error: Only allocated 2 nodes asked for 3"
uneven = slip(lambda job: "More processors requested" in job.log and "ntasks-per-node" not in job.options,
              "it is accepted, but its tasks do not start: with --ntasks=4 Slurm is free to choose, and gave "
              "cores for three tasks on one node and for one on the other. Use --ntasks-per-node",
              {TASKS: "--ntasks=4"})  # fmt: skip
rules(
    "devices", trial,
    [slip(lambda job: job.devices != 4,
          "it is accepted, but with {devices} devices in all. The training wants four",
          says({NODES: "--nodes=1"}, devices=2), says({DEVICES: ""}, devices=0)),
     slip(lambda job: job.nodes != 2,
          "four devices fit on two nodes. Spread over {nodes}, they talk more slowly",
          says({NODES: "--nodes=4", DEVICES: "--gpus-per-node=1"}, nodes=4)),
     slip(lambda job: job.tasks != 4,
          "it is accepted, but starts {tasks} tasks on four devices. Start one for each",
          says({TASKS: "--ntasks-per-node=4"}, tasks=8)),
     uneven,
     slip(lambda job: job.state != "COMPLETED", "it is accepted, but ended as {state}: {last}",
          says({SRUN: f"{SRUN} --nodes=3"}, state="FAILED", last=ONLY)),
     slip(lambda job: job.log.count("a rank trains") != 4,
          "four ranks should train. Leave the srun line as it is", {f"{SRUN} echo": "echo"})],
    also=[says({DEVICES: "--gpus-per-node=4"}, f"{REFUSED}Requested node configuration is not available")],
    hint="--nodes and --gpus-per-node multiply. So do the tasks.",
    done="accepted: two nodes, four devices, four tasks, and it runs", **script("devices"))  # fmt: skip


class Ranks(Trial):
    """A script whose ranks say where they are, such as 'rank 0 uses node1 0,1'."""

    @functools.cached_property
    def places(self):
        return re.findall(r"^rank \d+ uses (\S+ \S+)$", self.log, re.MULTILINE)

    several = property(lambda self: any("," in place for place in self.places))
    ranks = property(lambda self: len(self.places))
    used = property(lambda self: len(set(self.places)))


rules(
    "idle", functools.partial(trial, kind=Ranks),
    [slip(lambda job: job.devices == 4 and job.tasks > 4, "{tasks} tasks cannot have one of 4 devices each",
          says({TASKS: "--ntasks-per-node=4"}, tasks=8)),
     slip(lambda job: job.devices != 4 or job.nodes != 2,
          "the training should have both devices of two nodes. Change the tasks, not the devices",
          {DEVICES: "--gpus-per-node=1", TASKS: "--ntasks=2"}),
     uneven,
     slip(lambda job: job.state != "COMPLETED" or not job.places, "the job ended as {state}: {last}",
          says({SRUN: f"{SRUN} --nodes=3"}, state="FAILED", last=ONLY)),
     slip(lambda job: job.ranks == 4 and job.several,
          "each task sees both devices of its node. Leave the srun line as it is", {SRUN: "srun"}),
     slip(lambda job: job.several and SRUN not in job.text,
          "a task that sees two devices trains on one of them. Start a task for each device",
          {SRUN: "srun --gpus-per-task=2", TASKS: "--ntasks-per-node=1"}),
     slip(lambda job: job.used < 4, "the job holds 4 devices, and its {ranks} tasks use {used} of them",
          says({TASKS: "--ntasks=2"}, ranks=2, used=2))],
    hint="How many tasks does srun start? Each uses one device.",
    done="four ranks on four devices, none idle", **script("idle"))  # fmt: skip


def share(path):
    """What the script for LUMI lacks, and what an hour of it costs in GPU-hours, of two devices each."""
    with Validator("lumi-g") as scheduler:
        verdict = scheduler.check(path)
    if not verdict.accepted:
        raise NotYet(f"the scheduler refuses it. {verdict.advice}")
    asked, lumi = request(path.read_text("utf-8")), machines.machine("lumi-g")
    node_gb, cores = lumi["node_memory_gb"].value, lumi["cores_per_device"].value
    memory = node_gb if asked.options.get("mem") == "0" else asked.memory_gb or 0  # 0 is Slurm's word for all
    needs = {
        "a device": (asked.devices or 0, 1),
        "40 GB": (memory, 40),
        "four hours": (asked.hours or 0, 4),
        f"the device's own share of {cores} cores": (asked.cpus or 0, cores),
    }
    lacks = next((what for what, (has, least) in needs.items() if has < least), None)
    parts = {
        "devices": asked.devices or 0,
        "cores": math.ceil((asked.cpus or 0) / cores),
        "memory": math.ceil(memory * lumi["devices_per_node"].value / node_gb),
    }
    whole = {
        "standard-g gives and charges whole nodes": asked.partition == "standard-g",
        "--exclusive takes and pays for the whole node": "exclusive" in asked.options,
    }
    return SimpleNamespace(
        whole=next((why for why, holds in whole.items() if holds), None),
        lacks=lacks,
        given=f"{needs[lacks][0]:g}" if lacks and needs[lacks][0] else "none",
        hours=asked.hours,
        memory=memory,
        cost=count(max(parts.values()) / 2, "GPU-hour"),
        largest=" and ".join(what for what, part in parts.items() if part == max(parts.values())),
    )


CORES, MEMORY = "--cpus-per-task=7", "--mem=60G"
NODE = "#SBATCH --nodes=1\n#SBATCH --ntasks-per-node=1"
rules(
    "share", share,
    [slip(lambda job: job.whole, "it is accepted, but {whole}: 4 GPU-hours an hour",
          says({"small-g": "standard-g"}, whole="standard-g gives and charges whole nodes"),
          says({NODE: "#SBATCH --exclusive"}, whole="--exclusive takes and pays for the whole node")),
     slip(lambda job: 0 < job.memory < 1,
          "it is accepted, but a number alone counts megabytes: --mem=60G has the unit",
          {MEMORY: "--mem=60"}),
     slip(lambda job: job.lacks,
          "it is accepted, but the idea needs {lacks}, and the script asks for {given}",
          says({MEMORY: "--mem=16G"}, lacks="40 GB", given="16"),
          says({CORES: "--cpus-per-task=1"}, lacks="the device's own share of 7 cores", given="1"),
          says({f"#SBATCH {MEMORY}\n": ""}, lacks="40 GB", given="none"),
          says({"04:00:00": "02:00:00"}, lacks="four hours", given="2")),
     slip(lambda job: job.cost != "0.5 GPU-hours",
          "it is accepted, but an hour costs {cost}. The largest share is charged: {largest}",
          says({CORES: "--cpus-per-task=56", MEMORY: "--mem=480G"}, cost="4 GPU-hours",
               largest="cores and memory"),
          says({MEMORY: "--mem=64G"}, cost="1 GPU-hour", largest="memory"),
          says({MEMORY: "--mem=0"}, cost="4 GPU-hours", largest="memory"),
          says({"gpus-per-node=1": "gpus-per-node=2"}, cost="1 GPU-hour", largest="devices"),
          says({NODE: "#SBATCH -n 1", CORES: "-c 14"}, cost="1 GPU-hour", largest="cores")),
     slip(lambda job: job.hours > 5,
          "an hour costs 0.5 GPU-hours, as it should, but the idea needs four hours, not that many",
          {"04:00:00": "1-00:00:00"})],
    also=[says({MEMORY: "--mem=600G"},
               "the scheduler refuses it. A node of LUMI-G has 480 GB of memory for jobs; the script asks "
               "for 600.")],
    hint="Divide a node by its devices: how many cores, how much memory?",
    done="accepted, and an hour costs 0.5 GPU-hours", **script("lumi"))  # fmt: skip


# ---------------------------------------------------------------- backfill

QUEUE = {"A": (2, 10), "B": (4, 5), "C": (2, 15), "D": (1, 5), "E": (2, 3)}  # nodes, minutes


def planned_order():
    """The jobs by the time at which the scheduler started them or expects to; the first two tie by number."""
    with cluster(empty=True) as folder:
        for name, (nodes, minutes) in QUEUE.items():
            wish = f"--account=practice --gpus-per-node=2 --output=/dev/null --nodes={nodes} --time={minutes}"
            submit(*wish.split(), f"--job-name={name}", "--wrap=sleep 600", cwd=folder)
        # E came last: a plan that has a time for it was made with all five in the queue.
        while "N/A" in (said := practice.run("squeue", "--noheader", "--format=%S %i %j").stdout):
            time.sleep(0.2)
    lines = sorted((start, int(job), name) for start, job, name in map(str.split, said.splitlines()))
    return [name for _, _, name in lines]


ORDER = "give the five names in the order of their starts, such as ['A', 'B', 'C', 'D', 'E']"


def names(answer):
    answer = "".join(map(str, answer)) if isinstance(answer, list | tuple) else answer
    answer = re.findall(r"[^\W_]", answer.upper()) if isinstance(answer, str) else []
    if sorted(answer) != list(QUEUE):
        raise NotYet(ORDER)
    return "".join(answer)


def as_planned(order):
    if order != (right := "".join(planned_order())):
        raise NotYet(f"the scheduler plans another order: {', '.join(right)}. Check once more")
    return f"the scheduler plans the same: {', '.join(right)}"


rules(
    "order", names,
    [slip("ABCDE".__eq__, "this is the order in which they came. Nodes would stand idle while B waits",
          list("ABCDE")),
     slip(lambda order: order.index("C") < order.index("B"),
          "C would still hold two nodes when A ends, and B wants all four in that minute", list("ACBDE")),
     slip(lambda order: order.index("D") > order.index("B"),
          "D fits beside A at once: it takes one of the two free nodes, and ends before B can start",
          list("ABDEC"), "AEBDC"),
     slip(lambda order: order.index("E") > order.index("B"),
          "E fits into a gap too: look at minute 5, when D ends, and at minute 10", list("ADBEC")),
     slip(lambda order: order[0] != "A", "A came first, to an empty machine: it starts at once", "D A E B C"),
     slip(lambda order: order.index("E") < order.index("D"),
          "D came before E and takes one of the two free nodes at once. E wants two", "a, e, d, b, c")],
    also=[says("A first", ORDER), says({"A": 0, "B": 10}, ORDER)],
    hint="When does B start? What ends before that, on the nodes left over?", done=as_planned,
    limit=60)  # fmt: skip


# ---------------------------------------------------------------- hours

GRANTS = {"lumi-g": 50_001, "leonardo-booster": 100_000, "mn5-acc": 400_000, "jupiter-booster": 1_008_000}
FACT = "machine['node_hour_cost'] is a fact with its source: .value is its number"
TWO = "return two numbers: node-hours, and whole runs"
SWAPPED = "the two numbers are swapped: node-hours first, then whole runs"


def first_off(answer):
    """The first machine on which the answer is wrong, else the last. Runs are of 8 nodes for 12 hours."""
    for name, grant in GRANTS.items():
        machine = machines.machine(name)
        cost = machine["node_hour_cost"].value
        try:
            got = answer(grant, machine, 8, 12)
        except TypeError as error:
            raise NotYet(FACT) if "Fact" in str(error) else error from None
        if not isinstance(got, tuple | list) or len(got) != 2 or not all(map(is_number, got)):
            raise NotYet(TWO)
        off = SimpleNamespace(
            name=machine["name"].value, grant=grant, cost=cost, devices=machine["devices_per_node"].value,
            unit=machine["billing_unit"], found=got[0], whole=got[1], right=grant / cost,
            runs=math.floor(grant / cost / 96),
        )  # fmt: skip
        if not math.isclose(off.found, off.right) or off.whole != off.runs:
            break
    return off


def finds(value):
    """A test: whether the node-hours are those that `value` makes of the machine."""
    return lambda off: math.isclose(off.found, value(off)) and value(off) != off.right


HOURS = 'grant / machine["node_hour_cost"].value'


def runs(node_hours=HOURS, whole="int(node_hours // (nodes * hours))", order="node_hours, whole"):
    body = f"node_hours = {node_hours}\n    whole = {whole}\n    return {order}"
    return f"def runs(grant, machine, nodes, hours):\n    {body}"


rules(
    "hours", first_off,
    [slip(lambda off: off.found == off.runs and math.isclose(off.whole, off.right), SWAPPED,
          runs(order="whole, node_hours")),
     slip(finds(lambda off: off.grant * off.cost),
          "multiplied where you have to divide: the grant is in the unit of the bill",
          runs(HOURS.replace("/", "*"))),
     slip(finds(lambda off: off.grant),
          "this is the grant itself. Divide it by what an hour of one node costs", runs("grant")),
     slip(finds(lambda off: off.grant / off.devices),
          "{name}: a node has {devices} devices, but the bill counts {cost} for it, in the unit {unit}",
          says(runs('grant / machine["devices_per_node"].value'), name="LUMI-G", devices=8, cost=4,
               unit="GPU-hour (one module of two devices)"),
          says(runs("grant / 4"), name="Leonardo Booster", devices=4, cost=32, unit="core-hour")),
     slip(lambda off: off.found == off.grant // off.cost != off.right,
          "node-hours need not be whole: round down the runs only", runs(HOURS.replace("/", "//"))),
     slip(lambda off: any(math.isclose(off.found, off.right / by) for by in (8, off.devices)),
          "divided once too often: the cost is of a whole node, and a node-hour is one node for one hour",
          runs(f"{HOURS} / nodes"), runs(f'{HOURS} / machine["devices_per_node"].value')),
     slip(lambda off: not math.isclose(off.found, off.right),
          "{name}: {grant:,} of its units are {right:,g} node-hours, not {found:,g}",
          says(runs(f"{HOURS} + 1"), name="LUMI-G", grant=50_001, right=12_500.25, found=12_501.25)),
     slip(lambda off: off.whole == off.runs + 1, "{name}: the last run would end without hours. Round down",
          says(runs(whole="-int(-node_hours // (nodes * hours))"), name="LUMI-G")),
     slip(lambda off: math.floor(off.whole) in (off.right // 12, off.right // 8),
          "a run costs its nodes times its hours in node-hours, and you divided by one of the two",
          runs(whole="int(node_hours // hours)"), runs(whole="int(node_hours // nodes)")),
     slip(lambda off: off.whole == off.grant // 96,
          "the runs are paid from the node-hours, not from the grant in the unit of the bill",
          runs(whole="int(grant // (nodes * hours))")),
     slip(lambda off: off.whole != off.runs,
          "{name}: 8 nodes for 12 hours fit {runs} whole times into it, not {whole:g}",
          says(runs(whole="node_hours / (nodes * hours)"), name="LUMI-G", runs=130, whole=130.211))],
    also=[says(runs('grant / machine["node_hour_cost"]'), FACT),
          says(runs(order="whole"), TWO),
          says(runs(order='f"{node_hours} node-hours", whole'), TWO)],
    needs="runs", example=code, hint="machine['node_hour_cost'].value is what one node and one hour cost.",
    done="node-hours and whole runs on all four machines")  # fmt: skip


def granted(answer):
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(map(is_number, answer)):
        raise NotYet(GIVE)
    return SimpleNamespace(hours=answer[0], runs=answer[1])


GIVE = "give what your function returns: (node-hours, whole runs)"
NODE_HOURS = {625: "the bill is in core-hours, the grant in GPU-hours. Convert it first",
              6_250: "a node of MareNostrum 5 has 4 devices, not 8",
              50_000: "these are GPU-hours; a node has four GPUs",
              1_000_000: "these are core-hours, the unit of the bill. Your function makes node-hours of them",
              2_500: "this takes a GPU-hour for a fifth of what it is. How many core-hours are in it?",
              250_000: "these are core-hours over four devices. An hour of a node costs 80 core-hours",
              10_000:
                  "this sets a fifth aside, as a careful plan does. The question is about the whole grant",
              130: SWAPPED}  # fmt: skip
rules(
    "grant", granted,
    [*(
          slip(lambda given, wrong=wrong: given.hours == wrong, sentence, (wrong, 1))
          for wrong, sentence in NODE_HOURS.items()
      ),
     slip(lambda given: given.hours != 12_500, "50,000 GPU-hours are not {hours:,g} node-hours",
          says((3_125, 32), hours=3_125)),
     slip(lambda given: given.runs != 130,
          "4 nodes for 24 hours are 96 node-hours, so it is not {runs:g} runs", says((12_500.0, 65), runs=65),
          says((12_500, 131), runs=131))],
    also=[says(12_500, GIVE), says(("12,500", 130), GIVE)],
    hint="The note of MareNostrum 5's billing unit says what a GPU-hour is.",
    done="12,500 node-hours pay for 130 runs")  # fmt: skip


# ---------------------------------------------------------------- the chain

SEEN_IN_THE_TEXT = {r"\b(evaluate|cleanup)\.sh\b[^\n;|&)]*\s--\w":
                        "options after {}.sh go to the script, not to sbatch. Put them before its name",
                    r"'[^'\n]*after\w*:[^'\n]*(\$\w+)":
                        "single quotes keep bash from filling in {}. Use double ones, or none",
                    r"\bafter\w*:(?:\S+:)?(train|evaluate)\b":
                        "without its $ bash does not fill in ${}: Slurm got the word itself",
                    r"=\$\(sbatch (?!.*--parsable)[^\n]*?(\w+\.sh)":
                        "without --parsable sbatch prints a sentence for {}; a condition needs the number",
                    r"evaluate=\$\([^\n]*(\$evaluate)":
                        "the evaluation cannot wait for itself: {} has no number yet",
                    r"\b(after):": "{} waits until the other job has begun. Which one waits until it has "
                                   "ended well?"}  # fmt: skip


def left_for_ever(folder):
    """The jobs of a chain that can never start, once nothing else is in the queue; None before that."""
    jobs = [words.split() for words, _ in queue(folder, "%i %j %r %E")]
    stuck = {number for number, _, reason, _ in jobs if reason == "DependencyNeverSatisfied"}
    for _ in jobs:  # whoever waits for one of them waits as long
        stuck |= {number for number, *_, waits_for in jobs if stuck & set(re.findall(r"\d+", waits_for))}
    return {name for _, name, *_ in jobs} if stuck.issuperset(job[0] for job in jobs) else None


def chains(path):
    """The script twice at the same time, with a training that succeeds and with one that fails."""
    for pattern, sentence in SEEN_IN_THE_TEXT.items():
        if found := re.search(pattern, path.read_text("utf-8")):
            raise NotYet(sentence.format(found[1]))
    with cluster(empty=True) as top:
        folders = [top / status for status in "01"]
        for folder in folders:
            folder.mkdir()
            Trial(path, folder)
            said = practice.run("bash", path.name, folder.name, cwd=folder, check=False)
            if said.returncode or "error" in said.stderr:
                raise NotYet(f"the script fails: {(said.stderr or said.stdout).strip().splitlines()[-1]}")
        deadline = time.monotonic() + 60
        while None in (left := [left_for_ever(folder) for folder in folders]):
            if time.monotonic() > deadline:
                raise NotYet("the chain has not ended after a minute: which of its jobs waits, and for what?")
            time.sleep(0.2)
        events = [folder / "events.txt" for folder in folders]
        good, bad = [file.read_text().splitlines() if file.exists() else [] for file in events]
    return SimpleNamespace(good=good, bad=bad, left=left[1], names=", ".join(sorted(left[1])))


AFTER_OK, KILL = '--dependency="afterok:$train"', " --kill-on-invalid-dep=yes"
ALL = "afterany:$train:$evaluate"
rules(
    "chain", chains,
    [slip(lambda chain: "train ends" not in chain.good,
          "the training did not run. Leave the first sbatch line as it was",
          {"--parsable train.sh": "--parsable cleanup.sh"}),
     slip(lambda chain: "evaluate begins" not in chain.good,
          "the training succeeded, and the evaluation did not run", {"afterok:$train": "afternotok:$train"}),
     slip(lambda chain: chain.good.index("evaluate begins") < chain.good.index("train ends"),
          "the evaluation did not wait for the training", {f"{AFTER_OK}{KILL} ": ""}),
     slip(lambda chain: "cleanup" not in chain.good,
          "training and evaluation succeeded, and the clean-up did not run", {ALL: "afternotok:$train"}),
     slip(lambda chain: chain.good[-1] != "cleanup",
          "the clean-up ran while the others still needed their files", {ALL: "afterany:$train"}),
     slip(lambda chain: "evaluate begins" in chain.bad,
          "the training failed, and the evaluation ran all the same: afterany is not afterok",
          {"afterok:$train": "afterany:$train"}),
     slip(lambda chain: "cleanup" not in chain.bad and "evaluate" in chain.left,
          "the training failed, so the evaluation waits for ever, and the clean-up waits for it. Let Slurm "
          "cancel what can never start",
          {KILL: ""}),
     slip(lambda chain: "cleanup" not in chain.bad, "the training failed, and the clean-up did not run",
          {ALL: "afterok:$evaluate"}),
     slip(lambda chain: chain.left, "all is done, and {names} stays in the queue for ever",
          says({KILL: "", ALL: "afterok:$evaluate?afternotok:$train"}, names="evaluate"))],
    also=[says({f'--dependency="{ALL}" cleanup.sh': '--dependency="afterany:$train" cleanup.sh --mem=2G'},
               "options after cleanup.sh go to the script, not to sbatch. Put them before its name"),
          says({'"afterok:$train"': "'afterok:$train'"},
               "single quotes keep bash from filling in $train. Use double ones, or none"),
          says({"afterok:$train": "afterok:train"},
               "without its $ bash does not fill in $train: Slurm got the word itself"),
          says({f"--parsable {AFTER_OK}": AFTER_OK},
               "without --parsable sbatch prints a sentence for evaluate.sh; a condition needs the number"),
          says({"afterok:$train": "afterok:$evaluate"},
               "the evaluation cannot wait for itself: $evaluate has no number yet"),
          says({"afterok:$train": "after:$train"},
               "after waits until the other job has begun. Which one waits until it has ended well?"),
          says({"afterok:$train": "afterokay:$train"},
               "the script fails: sbatch: error: Batch job submission failed: Job dependency problem")],
    hint="Which condition is true after success only, which in any case?",
    done="evaluated after success only, cleaned up in any case, nothing left in the queue",
    **script("chain", limit=90))  # fmt: skip

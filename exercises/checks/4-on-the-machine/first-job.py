"""Checks of the exercises on the first job. All but one ask a real scheduler, and two run real jobs."""

import contextlib
import math
import re
import shutil
import tempfile
import time
from pathlib import Path

from scaleup import machines, practice
from scaleup.errors import CourseError
from scaleup.exercises import NotYet, code, edited, exercise, known_wrong, needs_function
from scaleup.machines.job import count
from scaleup.paths import state
from scaleup.practice.request import request
from scaleup.practice.validator import Validator


@contextlib.contextmanager
def empty_machine():
    """The practice supercomputer without a job; afterwards as it was before. Gives a folder for logs."""
    was_up = practice.is_up()
    practice.up()
    if practice.run("squeue", "--noheader").stdout.strip():
        raise CourseError(
            "The practice supercomputer has other jobs. Cancel them (scancel --me), then check again."
        )
    folder = Path(tempfile.mkdtemp(dir=state(), prefix="check-"))
    try:
        yield folder
    finally:
        if was_up:
            practice.run("scancel", "--me", check=False)
            while practice.run("squeue", "--noheader", check=False).stdout.strip():
                time.sleep(0.2)
        else:
            practice.down()
        shutil.rmtree(folder, ignore_errors=True)


def submit(*words, cwd=None):
    """The number of a new job; not yet if the scheduler refuses it."""
    said = practice.run("sbatch", "--parsable", *map(str, words), check=False, cwd=cwd)
    if said.returncode:
        reasons = [line.split(": ")[-1] for line in said.stderr.strip().splitlines()]
        script = words[-1] if isinstance(words[-1], Path) else None
        raise NotYet(f"the scheduler refuses it: {'; '.join(reasons)}{unread(script) if script else ''}")
    return said.stdout.strip()


def unread(script):
    """The end of a sentence, if there are lines in the script that Slurm passes over."""
    late = request(script.read_text("utf-8")).late
    return ". Slurm reads no #SBATCH line below the first command" if late else ""


def fields(job):
    """What the scheduler noted for a job, by scontrol's names."""
    shown = practice.run("scontrol", "--oneliner", "show", "job", job).stdout
    return {name: value for name, _, value in (part.partition("=") for part in shown.split())}


def wishes(path):
    """What a script asks for, as the scheduler understands it. It is submitted, held and cancelled."""
    with empty_machine():
        submit("--test-only", path)  # Slurm does not compare a held job with the nodes
        noted = fields(submit("--hold", path))
    hours, minutes, seconds = (int(part) for part in noted["TimeLimit"].split("-")[-1].split(":"))
    nodes = int(noted["NumNodes"].split("-")[0])
    found = {name: re.search(r"gpu\S*?:(\d+)$", noted.get(f"TresPer{name}", "")) for name in ("Node", "Job")}
    devices = int(found["Node"][1]) * nodes if found["Node"] else int(found["Job"][1]) if found["Job"] else 0
    return {
        "partition": noted["Partition"],
        "minutes": 60 * hours + minutes + seconds / 60,
        "nodes": nodes,
        "tasks": int(noted["NumTasks"]),
        "devices": devices,
    }


# ---------------------------------------------------------------- five scripts


@exercise("account", hint="Where does Slurm stop reading #SBATCH lines?", limit=60, file=True)
def account(path):
    asked = wishes(path)
    if asked["devices"] != 1:
        raise NotYet(
            f"it is accepted, but with {count(asked['devices'], 'device')}. It needs one{unread(path)}"
        )
    if asked["minutes"] != 10:
        raise NotYet(f"it is accepted, but for {asked['minutes']:g} minutes, not 10{unread(path)}")
    return "accepted, with one device for ten minutes"


known_wrong(
    "account",
    edited("first-job/account.sh", {"--account=practice": "--account=practise"}),
    "the scheduler refuses it: this machine wants --account=practice; "
    "Invalid account or account/partition combination specified",
)
known_wrong(
    "account",
    edited("first-job/account.sh", {"#SBATCH --gpus-per-node=1": "set -e\n#SBATCH --gpus-per-node=1"}),
    "it is accepted, but with 0 devices. It needs one. Slurm reads no #SBATCH line below the first command",
)
known_wrong(
    "account",
    edited("first-job/account.sh", {"#SBATCH --time=00:10:00\n\nset -e": "set -e\n#SBATCH --time=00:10:00"}),
    "it is accepted, but for 5 minutes, not 10. Slurm reads no #SBATCH line below the first command",
)


known_wrong(
    "account",
    edited("first-job/account.sh", {"#SBATCH --account=practice": "set -e\n#SBATCH --account=practice"}),
    "the scheduler refuses it: this machine wants --account=practice; Invalid account or account/partition "
    "combination specified. Slurm reads no #SBATCH line below the first command",
)
known_wrong(
    "account",
    edited("first-job/account.sh", {"--gpus-per-node=1": "--gpus-per-node=2"}),
    "it is accepted, but with 2 devices. It needs one",
)


@exercise("time", hint="Compare the limits of both partitions: sinfo.", limit=60, file=True)
def time_limit(path):
    asked = wishes(path)
    if asked["minutes"] < 25:
        raise NotYet(
            f"it is accepted, but after {asked['minutes']:g} minutes Slurm would end a job that needs 25"
        )
    if asked["minutes"] < 28:
        raise NotYet(
            f"it is accepted, but {asked['minutes']:g} minutes leave nothing to spare. "
            "Ask for a fifth to a quarter more than the job needs"
        )
    if asked["minutes"] > 45:
        raise NotYet(
            f"it is accepted, but asks for {asked['minutes']:g} minutes and needs 25. It fits fewer gaps"
        )
    if asked["devices"] != 2:
        raise NotYet("the job shall have two devices, as before")
    return f"accepted in the partition {asked['partition']}, with some minutes to spare"


known_wrong(
    "time",
    edited("first-job/time.sh", {"--partition=gpu": "--partition=debug", "00:30:00": "00:15:00"}),
    "it is accepted, but after 15 minutes Slurm would end a job that needs 25",
)
known_wrong(
    "time",
    edited("first-job/time.sh", {"00:30:00": "25"}),
    "it is accepted, but 25 minutes leave nothing to spare. "
    "Ask for a fifth to a quarter more than the job needs",
)
known_wrong(
    "time",
    edited("first-job/time.sh", {"00:30:00": "01:00:00"}),
    "it is accepted, but asks for 60 minutes and needs 25. It fits fewer gaps",
)
known_wrong(
    "time",
    edited("first-job/time.sh", {"00:30:00": "02:00:00"}),
    "the scheduler refuses it: Requested time limit is invalid (missing or exceeds some limit)",
)


UNEVEN = (
    "it is accepted, but its tasks do not start: with --ntasks=4 Slurm is free to choose, and gave cores "
    "for three tasks on one node and for one on the other. Use --ntasks-per-node"
)


def run(path, folder):
    """Runs a script; gives its fields, its state and its log. Not yet if Slurm spread the tasks unevenly."""
    job = submit(f"--output={folder}/log", "--open-mode=truncate", path, cwd=folder)
    noted = fields(job)
    ended = practice.wait(job, limit=30)
    log = (folder / "log").read_text()
    if "More processors requested" in log and re.search(r"--ntasks\b(?!-)|-n\b", path.read_text("utf-8")):
        raise NotYet(UNEVEN)
    return noted, ended, log


def last_words(log):
    return (log.strip().splitlines() or ["nothing in its log"])[-1].removeprefix("srun: ")


@exercise("devices", hint="--nodes and --gpus-per-node multiply. So do the tasks.", limit=60, file=True)
def devices(path):
    with empty_machine() as folder:
        asked = wishes(path)
        if asked["devices"] != 4:
            raise NotYet(
                f"it is accepted, but with {count(asked['devices'], 'device')} in all. "
                "The training wants four"
            )
        if asked["nodes"] != 2:
            raise NotYet(
                f"four devices fit on two nodes. Spread over {asked['nodes']}, they talk more slowly"
            )
        if asked["tasks"] != 4:
            raise NotYet(
                f"it is accepted, but starts {asked['tasks']} tasks on four devices. Start one for each"
            )
        _, ended, log = run(path, folder)
    if ended != "COMPLETED":
        raise NotYet(f"it is accepted, but ended as {ended}: {last_words(log)}")
    if log.count("a rank trains") != 4:
        raise NotYet("four ranks should train. Leave the srun line as it is")
    return "accepted: two nodes, four devices, four tasks, and it runs"


known_wrong(
    "devices",
    edited("first-job/devices.sh", {"--nodes=2": "--nodes=1"}),
    "it is accepted, but with 2 devices in all. The training wants four",
)
known_wrong(
    "devices",
    edited("first-job/devices.sh", {"--ntasks-per-node=2": "--ntasks-per-node=4"}),
    "it is accepted, but starts 8 tasks on four devices. Start one for each",
)
known_wrong(
    "devices",
    edited("first-job/devices.sh", {"--gpus-per-node=2": "--gpus-per-node=4"}),
    "the scheduler refuses it: Requested node configuration is not available",
)
known_wrong(
    "devices",
    edited("first-job/devices.sh", {"--nodes=2": "--nodes=4", "--gpus-per-node=2": "--gpus-per-node=1"}),
    "four devices fit on two nodes. Spread over 4, they talk more slowly",
)
known_wrong("devices", edited("first-job/devices.sh", {"--ntasks-per-node=2": "--ntasks=4"}), UNEVEN)


@exercise("idle", hint="How many tasks does srun start? Each uses one device.", limit=60, file=True)
def idle(path):
    with empty_machine() as folder:
        noted, ended, log = run(path, folder)
    held = int(re.search(r"\d+$", noted.get("TresPerNode", "0"))[0])
    if held == 2 and int(noted["NumTasks"]) > 4:
        raise NotYet(f"{noted['NumTasks']} tasks cannot have one of 4 devices each")
    used = re.findall(r"^rank \d+ uses (\S+ \S+)$", log, re.MULTILINE)
    if ended != "COMPLETED" or not used:
        raise NotYet(f"the job ended as {ended}: {last_words(log)}")
    if held != 2 or len({place.split()[0] for place in used}) != 2:
        raise NotYet("the training shall have both devices of two nodes. Change the tasks, not the devices")
    if len(used) == 4 and any("," in place for place in used):
        raise NotYet("each task sees both devices of its node. Leave the srun line as it is")
    if len(set(used)) < 4:
        raise NotYet(f"the job holds 4 devices, and its {len(used)} tasks use {len(set(used))} of them")
    return "four ranks on four devices, none idle"


known_wrong(
    "idle",
    edited("first-job/idle.sh", {"--ntasks-per-node=2": "--ntasks=2"}),
    "the job holds 4 devices, and its 2 tasks use 2 of them",
)
known_wrong(
    "idle",
    edited(
        "first-job/idle.sh", {"--gpus-per-node=2": "--gpus-per-node=1", "--ntasks-per-node=2": "--ntasks=2"}
    ),
    "the training shall have both devices of two nodes. Change the tasks, not the devices",
)
known_wrong(
    "idle",
    edited("first-job/idle.sh", {"--ntasks-per-node=2": "--ntasks-per-node=4"}),
    "8 tasks cannot have one of 4 devices each",
)
known_wrong("idle", edited("first-job/idle.sh", {"--ntasks-per-node=2": "--ntasks=4"}), UNEVEN)
known_wrong(
    "idle",
    edited("first-job/idle.sh", {"srun --gpus-per-task=1": "srun"}),
    "each task sees both devices of its node. Leave the srun line as it is",
)


@exercise("share", hint="Divide a node by its devices: how many cores, how much memory?", limit=60, file=True)
def share(path):
    lumi = machines.machine("lumi-g")
    with Validator("lumi-g") as scheduler:
        verdict = scheduler.check(path)
    if not verdict.accepted:
        raise NotYet(f"the scheduler refuses it. {verdict.advice}")
    asked = request(path.read_text("utf-8"))
    if asked.partition == "standard-g":
        raise NotYet("it is accepted, but standard-g gives and charges whole nodes: 4 GPU-hours an hour")
    cores, memory = (
        lumi["cores_per_device"].value,
        lumi["node_memory_gb"].value / lumi["devices_per_node"].value,
    )
    for what, has, least in (
        ("a device", asked.devices, 1),
        ("40 GB", asked.memory_gb, 40),
        ("four hours", asked.hours, 4),
        (f"the device's own share of {cores} cores", asked.cpus, cores),
    ):
        if not has or has < least:
            given = f"{has:g}" if has else "none"
            raise NotYet(f"it is accepted, but the idea needs {what}, and the script asks for {given}")
    shares = {
        "devices": asked.devices,
        "cores": math.ceil(asked.cpus / cores),
        "memory": math.ceil(asked.memory_gb / memory),
    }
    cost = max(shares.values()) / 2
    if cost > 0.5:
        largest = " and ".join(what for what, share in shares.items() if share == 2 * cost)
        hours = "1 GPU-hour" if cost == 1 else f"{cost:g} GPU-hours"
        raise NotYet(f"it is accepted, but an hour costs {hours}. The largest share is charged: {largest}")
    return "accepted, and an hour costs 0.5 GPU-hours"


known_wrong(
    "share",
    edited("first-job/lumi.sh", {"--cpus-per-task=7": "--cpus-per-task=56", "--mem=60G": "--mem=480G"}),
    "it is accepted, but an hour costs 4 GPU-hours. The largest share is charged: cores and memory",
)
known_wrong(
    "share",
    edited("first-job/lumi.sh", {"--mem=60G": "--mem=64G"}),
    "it is accepted, but an hour costs 1 GPU-hour. The largest share is charged: memory",
)
known_wrong(
    "share",
    edited("first-job/lumi.sh", {"--partition=small-g": "--partition=standard-g"}),
    "it is accepted, but standard-g gives and charges whole nodes: 4 GPU-hours an hour",
)
known_wrong(
    "share",
    edited("first-job/lumi.sh", {"--mem=60G": "--mem=16G"}),
    "it is accepted, but the idea needs 40 GB, and the script asks for 16",
)
known_wrong(
    "share",
    edited("first-job/lumi.sh", {"--cpus-per-task=7": "--cpus-per-task=1"}),
    "it is accepted, but the idea needs the device's own share of 7 cores, and the script asks for 1",
)


# ---------------------------------------------------------------- backfill

QUEUE = {"A": (2, 10), "B": (4, 5), "C": (2, 15), "D": (1, 5), "E": (2, 3)}  # nodes, minutes


def planned_order():
    """The jobs by the time at which the scheduler started them or expects to; the first two tie by number."""
    with empty_machine():
        for name, (nodes, minutes) in QUEUE.items():
            submit(
                f"--job-name={name}", "--account=practice", f"--nodes={nodes}", f"--time={minutes}",
                "--gpus-per-node=2", "--output=/dev/null", "--wrap=sleep 600",
            )  # fmt: skip
        time.sleep(6)  # one whole plan after the last one came
        while "N/A" in (said := practice.run("squeue", "--noheader", "--format=%S %i %j").stdout):
            time.sleep(0.5)
    lines = sorted((start, int(job), name) for start, job, name in map(str.split, said.splitlines()))
    return [name for _, _, name in lines]


@exercise("order", hint="When does B start? What ends before that, on the nodes left over?", limit=60)
def order(answer):
    if isinstance(answer, list | tuple):
        answer = "".join(map(str, answer))
    answer = re.findall(r"[^\W_]", answer.upper()) if isinstance(answer, str) else []
    if sorted(answer) != list(QUEUE):
        raise NotYet("give the five names in the order of their starts, such as ['A', 'B', 'C', 'D', 'E']")
    if answer == list(QUEUE):
        raise NotYet("this is the order in which they came. Nodes would stand idle while B waits")
    if answer.index("C") < answer.index("B"):
        raise NotYet("C would still hold two nodes when A ends, and B wants all four in that minute")
    if answer.index("E") > answer.index("B"):
        raise NotYet("E fits into a gap too: look at minute 5, when D ends, and at minute 10")
    if answer[0] != "A":
        raise NotYet("A came first, to an empty machine: it starts at once")
    if answer.index("E") < answer.index("D"):
        raise NotYet("D came before E and takes one of the two free nodes at once. E wants two")
    right = planned_order()
    if answer == right:
        return f"the scheduler plans the same: {', '.join(right)}"
    place = next(i for i in range(5) if answer[i] != right[i])
    raise NotYet(f"at place {place + 1} the scheduler starts another job than {answer[place]}")


known_wrong(
    "order", list("ABCDE"), "this is the order in which they came. Nodes would stand idle while B waits"
)
known_wrong(
    "order", list("ACBDE"), "C would still hold two nodes when A ends, and B wants all four in that minute"
)
known_wrong("order", list("ADBEC"), "E fits into a gap too: look at minute 5, when D ends, and at minute 10")
known_wrong(
    "order", "a, e, d, b, c", "D came before E and takes one of the two free nodes at once. E wants two"
)
known_wrong("order", "D A E B C", "A came first, to an empty machine: it starts at once")


# ---------------------------------------------------------------- hours

GRANTS = {"lumi-g": 50_001, "leonardo-booster": 100_000, "mn5-acc": 400_000, "jupiter-booster": 1_008_000}


@exercise("hours", hint="machine['node_hour_cost'].value is what one node and one hour cost.")
def hours(answer):
    needs_function(answer, "runs")
    for name, grant in GRANTS.items():
        machine = machines.machine(name)
        cost, devices = machine["node_hour_cost"].value, machine["devices_per_node"].value
        try:
            got = answer(grant, machine, 8, 12)
        except TypeError as error:
            if "Fact" in str(error):
                raise NotYet(
                    "machine['node_hour_cost'] is a fact with its source: .value is its number"
                ) from None
            raise
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise NotYet("return two numbers: node-hours, and whole runs")
        found, whole = got
        called = machine["name"].value
        if math.isclose(found, grant * cost):
            raise NotYet("multiplied where you have to divide: the grant is in the unit of the bill")
        if devices != cost and math.isclose(found, grant / devices):
            raise NotYet(
                f"{called}: a node has {devices} devices, but the bill counts {cost} for it, "
                f"in the unit {machine['billing_unit']}"
            )
        if found == grant // cost != grant / cost:
            raise NotYet("node-hours need not be whole: round down the runs only")
        if not math.isclose(found, grant / cost):
            raise NotYet(f"{called}: {grant:,} of its units are {grant / cost:,g} node-hours, not {found:,g}")
        right = math.floor(grant / cost / (8 * 12))
        if whole == right + 1:
            raise NotYet(f"{called}: the last run would end without hours. Round down")
        if whole != right:
            raise NotYet(f"{called}: 8 nodes for 12 hours fit {right} whole times into it, not {whole:g}")
    return "node-hours and whole runs on all four machines"


RUNS = """
def runs(grant, machine, nodes, hours):
    node_hours = {}
    return node_hours, {}
"""
RIGHT = 'grant / machine["node_hour_cost"].value', "int(node_hours // (nodes * hours))"
known_wrong(
    "hours",
    code(RUNS.format('grant / machine["devices_per_node"].value', RIGHT[1])),
    "LUMI-G: a node has 8 devices, but the bill counts 4 for it, "
    "in the unit GPU-hour (one module of two devices)",
)
known_wrong(
    "hours",
    code(RUNS.format('grant * machine["node_hour_cost"].value', RIGHT[1])),
    "multiplied where you have to divide: the grant is in the unit of the bill",
)
known_wrong(
    "hours",
    code(RUNS.format('grant // machine["node_hour_cost"].value', RIGHT[1])),
    "node-hours need not be whole: round down the runs only",
)
known_wrong(
    "hours",
    code(RUNS.format('grant / machine["node_hour_cost"]', RIGHT[1])),
    "machine['node_hour_cost'] is a fact with its source: .value is its number",
)
known_wrong(
    "hours",
    code(RUNS.format("grant / 4", RIGHT[1])),
    "Leonardo Booster: a node has 4 devices, but the bill counts 32 for it, in the unit core-hour",
)
known_wrong(
    "hours",
    code(RUNS.format(RIGHT[0], "-int(-node_hours // (nodes * hours))")),
    "LUMI-G: the last run would end without hours. Round down",
)
known_wrong(
    "hours",
    code(RUNS.format(RIGHT[0], "node_hours / (nodes * hours)")),
    "LUMI-G: 8 nodes for 12 hours fit 130 whole times into it, not 130.211",
)


@exercise("grant", hint="The note of MareNostrum 5's billing unit says what a GPU-hour is.")
def grant(answer):
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise NotYet("give what your function returns: (node-hours, whole runs)")
    found = float(answer[0])
    sentences = {
        625.0: "the bill is in core-hours, the grant in GPU-hours. Convert it first",
        50_000 / 8: "a node of MareNostrum 5 has 4 devices, not 8",
        50_000.0: "these are GPU-hours; a node has four GPUs",
        1_000_000.0: "these are core-hours, the unit of the bill. Your function makes node-hours of them",
        2_500.0: "this takes a GPU-hour for a fifth of what it is. How many core-hours are in it?",
    }
    if found in sentences:
        raise NotYet(sentences[found])
    if found != 12_500:
        raise NotYet(f"50,000 GPU-hours are not {found:,g} node-hours")
    if answer[1] != 130:
        raise NotYet(f"4 nodes for 24 hours are 96 node-hours, so it is not {answer[1]:g} runs")
    return "12,500 node-hours pay for 130 runs"


known_wrong("grant", (625.0, 6), "the bill is in core-hours, the grant in GPU-hours. Convert it first")
known_wrong("grant", (50_000, 520), "these are GPU-hours; a node has four GPUs")
known_wrong(
    "grant",
    (1_000_000, 10_416),
    "these are core-hours, the unit of the bill. Your function makes node-hours of them",
)
known_wrong("grant", (12_500.0, 65), "4 nodes for 24 hours are 96 node-hours, so it is not 65 runs")


# ---------------------------------------------------------------- the chain


def run_chain(path, status):
    """Runs the learner's script with a training that ends with `status`.

    Returns what happened, in its order, and what is left in the queue for ever.
    """
    with empty_machine() as folder:
        for script in path.parent.glob("*.sh"):
            shutil.copy(script, folder)
        said = practice.run("bash", path.name, str(status), cwd=folder, check=False)
        if said.returncode or "error" in said.stderr:
            raise NotYet(f"the script fails: {(said.stderr or said.stdout).strip().splitlines()[-1]}")
        quiet = 0
        while quiet < 8:  # looks at half-second intervals at which nothing ran
            time.sleep(0.5)
            left = practice.run("squeue", "--noheader", "--format=%T %j %r").stdout.split("\n")[:-1]
            if not left:
                break
            moving = [line for line in left if "Dependency" not in line]
            quiet = 0 if moving else quiet + 1
        events = folder / "events.txt"
        happened = events.read_text().splitlines() if events.exists() else []
    return happened, {line.split()[1] for line in left}


@exercise("chain", hint="Which condition is true after success only, which in any case?", limit=90, file=True)
def chain(path):
    if found := re.search(r"\b(evaluate|cleanup)\.sh\b[^\n;|&)]*\s--\w", path.read_text("utf-8")):
        raise NotYet(f"options after {found[1]}.sh go to the script, not to sbatch. Put them before its name")
    happened, left = run_chain(path, 0)
    if "train ends" not in happened:
        raise NotYet("the training did not run. Leave the first sbatch line as it was")
    if "evaluate begins" not in happened:
        raise NotYet("the training succeeded, and the evaluation did not run")
    if happened.index("evaluate begins") < happened.index("train ends"):
        raise NotYet("the evaluation did not wait for the training")
    if "cleanup" not in happened:
        raise NotYet("training and evaluation succeeded, and the clean-up did not run")
    if happened[-1] != "cleanup":
        raise NotYet("the clean-up ran while the others still needed their files")
    happened, left = run_chain(path, 1)
    if "evaluate begins" in happened:
        raise NotYet("the training failed, and the evaluation ran all the same: afterany is not afterok")
    if "cleanup" not in happened and "evaluate" in left:
        raise NotYet(
            "the training failed, so the evaluation waits for ever, and the clean-up waits for it. "
            "Let Slurm cancel what can never start"
        )
    if "cleanup" not in happened:
        raise NotYet("the training failed, and the clean-up did not run")
    if left:
        raise NotYet(f"all is done, and {', '.join(sorted(left))} stays in the queue for ever")
    return "evaluated after success only, cleaned up in any case, nothing left in the queue"


KILL = " --kill-on-invalid-dep=yes"
known_wrong(
    "chain",
    edited("first-job/chain.sh", {'--dependency="afterok:$train" --kill-on-invalid-dep=yes ': ""}),
    "the evaluation did not wait for the training",
)
known_wrong(
    "chain",
    edited(
        "first-job/chain.sh",
        {'"afterany:$train:$evaluate" cleanup.sh': '"afterany:$train" cleanup.sh --mem=2G'},
    ),
    "options after cleanup.sh go to the script, not to sbatch. Put them before its name",
)
known_wrong(
    "chain",
    edited("first-job/chain.sh", {"afterok:$train": "afterany:$train"}),
    "the training failed, and the evaluation ran all the same: afterany is not afterok",
)
known_wrong(
    "chain",
    edited("first-job/chain.sh", {"afterany:$train:$evaluate": "afterany:$train"}),
    "the clean-up ran while the others still needed their files",
)
known_wrong(
    "chain",
    edited("first-job/chain.sh", {KILL: ""}),
    "the training failed, so the evaluation waits for ever, and the clean-up waits for it. "
    "Let Slurm cancel what can never start",
)
known_wrong(
    "chain",
    edited("first-job/chain.sh", {"afterany:$train:$evaluate": "afterok:$evaluate"}),
    "the training failed, and the clean-up did not run",
)

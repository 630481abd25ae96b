"""Job scripts: each line that Slurm reads equals the data, bash accepts the rest, and runs end in order."""

import copy
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from small_course import VOCAB, make_course

from scaleup.cli import main
from scaleup.errors import CourseError
from scaleup.machines import job
from scaleup.text import corpus

HOME = Path(__file__).resolve().parents[2]
DATA = yaml.safe_load((HOME / "data" / "machines.yml").read_text())
MACHINES = DATA["machines"] | {"practice": DATA["practice"]}
RUNNING = [name for name, fields in MACHINES.items() if fields["status"]["value"].startswith("operational")]
CONFIG = "data/first-run.toml"
JOB_ID = "4267890"


def value(machine: str, field: str):
    return MACHINES[machine][field]["value"]


def most_nodes(machine: str) -> int:
    return value(machine, "partitions")[0]["nodes"] or value(machine, "nodes") or 8


CASES = [
    (machine, nodes, launch)
    for machine in RUNNING
    for nodes in sorted({n for n in (1, 2, 8) if n <= most_nodes(machine)} | {most_nodes(machine)})
    for launch in job.LAUNCHES
]


@pytest.fixture(autouse=True)
def course(tmp_path, monkeypatch):
    """A course folder of its own, as the working directory."""
    folder = tmp_path / "course"
    (folder / "notebooks").mkdir(parents=True)
    shutil.copytree(HOME / "data", folder / "data")
    monkeypatch.setenv("SCALEUP_HOME", str(folder))
    monkeypatch.chdir(folder)
    for name in [n for n in os.environ if n.startswith(("SLURM", "MASTER_"))]:
        monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return folder


def accounts(course: Path, text: str) -> None:
    (course / ".scaleup").mkdir(exist_ok=True)
    (course / ".scaleup" / "accounts.toml").write_text(text)


def asked(script: str) -> dict[str, str]:
    """{option: value} of the #SBATCH lines; a switch has an empty value."""
    words = re.findall(r"^#SBATCH --(\S+)  *# \S.*$", script, re.MULTILINE)
    assert len(words) == len(re.findall("^#SBATCH", script, re.MULTILINE)), "a line without a comment"
    options = [word.partition("=")[::2] for word in words]
    assert len(dict(options)) == len(options), "an option is given twice"
    return dict(options)


# What Slurm reads


@pytest.mark.processes
@pytest.mark.parametrize(("machine", "nodes", "launch"), CASES)
def test_a_script_is_short_bash_and_asks_for_what_the_data_say(machine, nodes, launch):
    script = job.render(CONFIG, machine, nodes, launch=launch)
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    queue, devices = value(machine, "partitions")[0], value(machine, "devices_per_node")
    account = value(machine, "account_example")
    gpu, memory = value(machine, "gpu_request"), value(machine, "memory_request")
    further = [gpu.replace("{devices}", str(devices)), *([memory] if memory else [])]
    further += value(machine, "job_options") or []
    expected = {
        "job-name": "first-run",
        "account": account,
        "partition": queue["partition"],
        "nodes": str(nodes),
        "ntasks-per-node": "1" if launch == "torchrun" else str(devices),
        "cpus-per-task": str(
            value(machine, f"cores_per_{'node' if launch == 'torchrun' else 'device'}")
            * (value(machine, "cpus_per_core") or 1)
        ),
        "time": "01:00:00" if (queue["hours"] or 1) >= 1 else None,
        "output": "%x-%j.out",
        "open-mode": "append",
        "requeue": "",
        "signal": "B:USR1@120",
    } | dict(option.removeprefix("--").partition("=")[::2] for option in further)
    if queue["qos"]:
        expected["qos"] = queue["qos"].replace("{account}", account)
    assert asked(script) == expected
    assert re.fullmatch(value(machine, "account_pattern"), account)
    lines = script.splitlines()
    assert lines[0] == ("#!/bin/bash -l" if value(machine, "login_shell") else "#!/bin/bash")
    assert len(lines) <= 80
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    last_option = max(n for n, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert last_option < first_command, "Slurm does not read what comes after a command"
    assert max(len(line) for line in lines if "mask_cpu" not in line) <= 120


@pytest.mark.parametrize("machine", [name for name in RUNNING if name != "practice"])
@pytest.mark.parametrize("launch", job.LAUNCHES)
def test_no_path_of_this_computer_gets_into_a_script(machine, launch, course):
    script = job.render(course / CONFIG, machine, 2, launch=launch)
    for path in (HOME, course, Path(sys.executable).parent, Path.home()):
        assert f"{path}/" not in script
    assert f"--config {CONFIG} &" in script


def quoted(script: str) -> list[str]:
    """Variables that stand outside of quotes, in lines that are no comments."""
    found, inside = [], None
    code = re.sub(r"(^|\s)#[ !].*|^#SBATCH.*", "", script, flags=re.MULTILINE)
    for position, letter in enumerate(code):
        if letter in "\"'" and inside in (None, letter):
            inside = None if inside else letter
        elif letter == "$" and inside is None and re.match(r"\$\{?\w", code[position:]):
            found.append(code[position : position + 20])
    assert inside is None
    return found


@pytest.mark.parametrize("machine", RUNNING)
@pytest.mark.parametrize("launch", job.LAUNCHES)
def test_every_variable_is_quoted(machine, launch):
    assert quoted(job.render(CONFIG, machine, 2, launch=launch)) == []


@pytest.mark.processes
def test_a_name_with_spaces_and_quotes_stays_one_word(course):
    shutil.copy(course / CONFIG, course / "data" / "it's my run.toml")
    script = job.render("data/it's my run.toml", "practice", 1)
    assert quoted(script.replace("it'\"'\"'s my", "")) == []
    step = re.search(r"--config (.*) &$", script, re.MULTILINE)[1]
    said = subprocess.run(["bash", "-c", f"printf %s {step}"], capture_output=True, text=True).stdout
    assert said == "data/it's my run.toml"


@pytest.mark.parametrize("machine", RUNNING)
def test_the_network_and_the_internet_are_as_in_the_data(machine):
    script = job.render(CONFIG, machine, 2)
    for name, text in (value(machine, "environment") or {}).items():
        assert f'\nexport {name}="{text}"\n' in script
    internet = value(machine, "internet_on_compute")
    assert ("HF_HUB_OFFLINE=1" in script and "WANDB_MODE=offline" in script) == (internet is not True)
    assert ("have no internet" in script) == (internet is False)
    assert ("Internet on compute nodes: unknown" in script) == (internet is None)
    position = [script.index(f"\n{line}\n") for line in value(machine, "setup") or []]
    assert position == sorted(position)


@pytest.mark.parametrize(
    ("field", "new", "line"),
    [
        ("cores_per_node", 55, "#SBATCH --cpus-per-task=55 "),
        ("cpus_per_core", 2, "#SBATCH --cpus-per-task=112 "),
        ("devices_per_node", 6, "#SBATCH --gpus-per-node=6 "),
        ("memory_request", "--mem=1G", "#SBATCH --mem=1G "),
        ("node_hour_cost", 5, "2 nodes x 1 hour x 5 = 10 GPU-hours"),
        ("setup", ["module load something"], "module load something\n"),
        ("environment", {"NCCL_DEBUG": "INFO"}, 'export NCCL_DEBUG="INFO"\n'),
        ("master_suffix", ".fast", "SUFFIX=.fast "),
        ("srun_options", ["--wait=0"], "--kill-on-bad-exit=1 --wait=0 "),
        ("container_command", "enter $SCALEUP_CONTAINER", 'enter "$SCALEUP_CONTAINER" '),
        ("job_options", ["--switches=1"], "#SBATCH --switches=1 "),
    ],
)
def test_a_changed_fact_changes_the_script(field, new, line, course):
    assert line not in job.example("lumi-g")
    content = copy.deepcopy(DATA)
    content["machines"]["lumi-g"][field]["value"] = new
    (course / "data" / "machines.yml").write_text(json.dumps(content, default=str))  # JSON is YAML too
    assert line in job.example("lumi-g")


def test_the_cost_is_in_the_unit_of_the_site():
    def said(*wishes: object) -> str:
        return next(line for line in job.render(CONFIG, *wishes).splitlines() if line.startswith("# Costs"))

    assert said("lumi-g", 4, 2.5) == (
        "# Costs at most 4 nodes x 2.5 hours x 4 = 40 GPU-hours (one module of two devices)."
    )
    assert said("jupiter-booster", 16, 12) == (
        "# Costs at most 16 nodes x 12 hours x 288 = 55296 core-hours."
    )
    assert said("karolina-gpu", 1) == "# Costs at most 1 node x 1 hour x 1 = 1 node-hour."
    unknown = said("arrhenius-gpu", 2, 3)
    assert unknown == "# Costs at most 2 nodes x 3 hours = 6 node-hours; the site's unit is unknown."


def test_hours_and_queue_are_as_wished():
    script = job.render(CONFIG, "leonardo-booster", 2, 0.25, "boost_qos_dbg")
    assert asked(script)["time"] == "00:15:00" and asked(script)["qos"] == "boost_qos_dbg"
    assert asked(job.render(CONFIG, "leonardo-booster", 2, queue="boost_qos_dbg"))["time"] == "00:30:00"
    assert "qos" not in asked(job.render(CONFIG, "leonardo-booster", 2, queue="boost_usr_prod"))
    assert asked(job.render(CONFIG, "lumi-g", 1, 47.5))["time"] == "47:30:00"


@pytest.mark.parametrize("machine", RUNNING)
def test_the_example_is_the_same_for_every_reader(machine, course):
    before = job.example(machine)
    accounts(course, f'[{machine}]\naccount = "no good!"\n')
    assert job.example(machine) == before and "--nodes=2 " in before


# What is refused


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        (("lumi", 1), "no machine 'lumi'.*Did you mean 'lumi-g"),
        (("daedalus", 1), "DAEDALUS takes no jobs yet .announced.*Choose a machine that runs"),
        (("lumi-g", 0), "at least 1 node, not 0. Correct --nodes"),
        (("lumi-g", 3000), "LUMI-G has 2978 nodes, not 3000"),
        (("lumi-g", 1025), "standard-g of LUMI-G takes at most 1024 nodes and 48 hours, not 1025 nodes"),
        (("leonardo-booster", 65), "see whether boost_qos_bprod suits with --queue"),
        (("lumi-g", 2, 48.5), "at most 1024 nodes and 48 hours, not 2 nodes for 48.5 hours"),
        (("lumi-g", 2, 3.0, "dev-g"), "dev-g of LUMI-G takes at most 8 nodes and 2 hours"),
        (("lumi-g", 2, 0.05), "Give --hours at least 0.1"),
        (("lumi-g", 2, float("nan")), "Give --hours at least 0.1"),
        (("vega-gpu", 2, float("inf")), "Give --hours at least 0.1"),
        (("lumi-g", 2, 1.0, "standard_g"), "no queue 'standard_g'. Did you mean 'standard-g.*queues: "),
        (("lumi-g", 2, 1.0, None, "mpirun"), "no launch 'mpirun'. Use torchrun or srun"),
    ],
)  # fmt: skip
def test_what_the_machine_would_refuse(wishes, sentence):
    with pytest.raises(CourseError, match=sentence):
        job.render(CONFIG, *wishes)


def test_a_configuration_that_is_wrong_is_refused_before_the_job(course):
    with pytest.raises(CourseError, match="no configuration file absent.toml"):
        job.render("absent.toml", "lumi-g", 1)
    (course / "bad.toml").write_text("[train]\nstep = 1")
    with pytest.raises(CourseError, match="Did you mean 'train.steps'"):
        job.render("bad.toml", "lumi-g", 1)


def test_a_global_batch_that_does_not_fit(course):
    with pytest.raises(
        CourseError, match=r"=8 is not a multiple .* 16 ranks = 64.*global_batch=64 would fit"
    ):
        job.check_ways(CONFIG, "lumi-g", 2)
    remark = "16 ranks cannot share out global_batch = 8; 64 would fit."
    assert remark in job.render(CONFIG, "lumi-g", 2)
    assert "would fit" not in job.example("lumi-g"), "two nodes share out its batch"
    good = (course / CONFIG).read_text().replace("global_batch = 8", "global_batch = 128")
    (course / CONFIG).write_text(good)
    job.check_ways(CONFIG, "lumi-g", 2)
    assert "would fit" not in job.render(CONFIG, "lumi-g", 2)


PARALLEL = "[parallel]\nshard = 2\ntp = 4\n"


def test_ways_are_told_in_the_head_of_the_script(course):
    (course / CONFIG).write_text((course / CONFIG).read_text() + PARALLEL)
    text = job.render(CONFIG, "lumi-g", 2)
    assert "2 nodes x 8 devices = 16 ranks (dp=2 x shard=2 x tp=4)." in text
    assert "global_batch = 8; 16 would fit" in text, "ranks of tp work on the same sequences"
    assert "crosses" not in text
    assert "(dp" not in job.example("lumi-g")


def test_tensor_parallelism_across_nodes_gets_a_remark(course):
    (course / CONFIG).write_text(
        (course / CONFIG).read_text().replace("heads = 4", "heads = 8") + "[parallel]\ntp = 8\n"
    )
    assert "tp=8 crosses nodes of 4 devices" in " ".join(job.render(CONFIG, "leonardo-booster", 2).split())
    assert "crosses" not in job.render(CONFIG, "lumi-g", 1)


@pytest.mark.parametrize(
    ("parallel", "says"),
    [
        ("tp = 3", "tp=3 takes 3 ranks or a multiple of them, and there are 16"),
        ("dp = 2", "dp=2 takes 2 ranks, and there are 16. Start 2, or leave out parallel.dp"),
        ("tp = 8\ncp = 2", "model.heads=4 does not split over tp=8"),
        ("pp = 8\ntp = 2", "model.layers=4 is too few for the 8 stages"),
        ("ep = 2", "this model has none"),
    ],
)
def test_ways_that_cannot_run_are_a_remark_and_refused(course, parallel, says):
    text = (course / CONFIG).read_text().replace("global_batch = 8", "global_batch = 64")
    (course / CONFIG).write_text(f"{text}[parallel]\n{parallel}\n")
    plain = re.sub(r"\n# ", " ", job.render(CONFIG, "lumi-g", 2))
    assert "Change data/first-run.toml first: " in plain and says in plain
    with pytest.raises(CourseError, match=re.escape(says)):
        job.check_ways(CONFIG, "lumi-g", 2)


def test_the_command_line_prints_or_writes_and_refuses_with_2(course, capsys):
    words = ["job", CONFIG, "--machine", "practice", "--nodes", "1"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed == job.render(CONFIG, "practice", 1)
    assert main([*words, "--out", "my run.sh"]) == 0
    assert "sbatch 'my run.sh'" in capsys.readouterr().out
    assert (course / "my run.sh").read_text() == printed
    (course / "my run.sh").write_text("mine")
    wrong = [
        ([*words, "--out", "my run.sh"], "my run.sh is there already"),
        ([*words, "--out", "no/folder.sh"], "no/folder.sh cannot be written"),
        ([*words[:-1], "2"], "train.global_batch=16 would fit"),
        ([*words, "--queue", "gpus"], "Did you mean 'gpu'?"),
    ]
    for wishes, sentence in wrong:
        assert main(wishes) == 2
        out, err = capsys.readouterr()
        assert out == "" and re.fullmatch(r"scaleup: [^\n]+[.?]\n", err) and sentence in err
    assert (course / "my run.sh").read_text() == "mine"


# What is the reader's own


def test_account_and_container_come_from_the_readers_file(course):
    assert "an example: put account" in job.render(CONFIG, "lumi-g", 1)
    accounts(course, '[lumi-g]\naccount = "project_465000123"\ncontainer = "/my images/torch.sif"\n')
    script = job.render(CONFIG, "lumi-g", 1)
    assert asked(script)["account"] == "project_465000123" and "an example" not in script
    assert "\nexport SCALEUP_CONTAINER='/my images/torch.sif'\n" in script
    assert asked(job.render(CONFIG, "mn5-acc", 1))["account"] == value("mn5-acc", "account_example")
    accounts(course, '[discoverer-plus]\naccount = "ours"\n')
    assert asked(job.render(CONFIG, "discoverer-plus", 1))["qos"] == "ours"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[lumi-g]\naccount = "465000123"', "'465000123' under .lumi-g..* look like project_465000000"),
        ('[lumi-g]\naccount = "project_465000123\\n"', "Correct 'account'"),
        ("[lumi-g]\naccount = 465", "Correct 'account'"),
        ('[lumi-g]\naccounts = "project_465000123"', "Correct 'accounts'"),
        ('[lumi]\naccount = "project_465000123"', "Did you mean 'lumi-g"),
        ('account = "project_465000123"', "'account' is under no machine"),
        ("[lumi-g", "not valid TOML"),
    ],
)
def test_a_wrong_accounts_file_says_which_line(text, sentence, course):
    accounts(course, text)
    with pytest.raises(CourseError, match=sentence):
        job.render(CONFIG, "lumi-g", 1)


# What bash runs. Commands of the site stand in a folder of pretended ones.

PRETENDED = {
    "scontrol": """
if [ "$1" = requeue ]; then echo "$2" > "$SEEN/requeued"; exit; fi
if [ "$2" = node ]; then echo "   NodeAddr=10.0.0.1 NodeHostName=$3 Version=1"; exit; fi
for number in $(seq 20000); do echo "node$number"; done""",
    # Every node's first task, one after the other.
    "srun": """
env > "$SEEN/environment"
echo "$@" > "$SEEN/words"
while [[ $1 == --* ]]; do shift; done
for node in 0 1; do SLURM_NODEID=$node SLURMD_NODENAME=node$((node + 1)) "$@"; done
exit 7""",
    "getent": "[[ $2 != *.nowhere ]]",
    "torchrun": 'for word in "$@"; do echo "$word"; done > "$SEEN/task$SLURM_NODEID"',
    "scaleup": 'for word in "$0" "$@"; do echo "$word"; done > "$SEEN/task$SLURM_NODEID"',
    "singularity": 'while [[ $1 != *.sif ]]; do shift; done; shift; "$@"',
    "apptainer": 'while [[ $1 != *.sif ]]; do shift; done; shift; "$@"',
}


@pytest.fixture
def site(tmp_path, course, monkeypatch):
    """Run a script as on a machine of two nodes. As real ones, `module` reads an unset variable."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, text in PRETENDED.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "functions").write_text('module() { : "$SET_BY_NOBODY"; }\n')
    (course / ".venv" / "bin").mkdir(parents=True)
    (course / ".venv" / "bin" / "activate").write_text("")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))  # where practice looks for torchrun
    variables = {"SLURM_JOB_ID": JOB_ID, "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2",
                 "SLURM_CPUS_PER_TASK": "16", "SCALEUP_CONTAINER": "an image.sif", "USER": "me",
                 "PATH": f"{folder}:{os.environ['PATH']}", "BASH_ENV": str(folder / "functions"),
                 "SEEN": str(folder)}  # fmt: skip
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    return folder


def bash(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)


@pytest.mark.processes
@pytest.mark.parametrize("machine", RUNNING)
@pytest.mark.parametrize("launch", job.LAUNCHES)
def test_a_script_runs_to_its_end_and_has_the_status_of_the_step(machine, launch, site):
    ended = bash(job.render(CONFIG, machine, 2, launch=launch))
    assert ended.stderr == "" and ended.returncode == 7
    seen = dict(line.partition("=")[::2] for line in (site / "environment").read_text().splitlines())
    suffix = value(machine, "master_suffix") or ""
    address = "10.0.0.1" if machine == "practice" else f"node1{suffix}"
    assert (seen["MASTER_ADDR"], seen["MASTER_PORT"]) == (address, "17890")
    cores = value(machine, "cores_per_device")
    assert seen["OMP_NUM_THREADS"] == ("1" if machine == "practice" else str(cores))
    tasks = [(site / f"task{node}").read_text().splitlines() for node in (0, 1)]
    if launch == "srun":
        assert [task[1:] for task in tasks] == [["train", "--config", CONFIG]] * 2
        return
    for node, task in enumerate(tasks):
        expected = ["--nnodes=2", f"--nproc-per-node={value(machine, 'devices_per_node')}",
                    f"--rdzv-id={JOB_ID}", "--rdzv-backend=c10d", f"--rdzv-endpoint={address}:17890",
                    "--no-python", "scaleup", "train", "--config", CONFIG]  # fmt: skip
        if value(machine, "binding_masks") or (value(machine, "sockets") or 1) > 1:
            expected = ["--numa-binding=exclusive", *expected]
        if suffix:
            own = [f"--local-addr=node{node + 1}{suffix}", f"--rdzv-conf=is_host={1 - node}"]
            expected = own + expected
        assert task == expected


@pytest.mark.processes
def test_a_name_on_the_fast_network_that_does_not_resolve_is_not_used(course, site):
    content = copy.deepcopy(DATA)
    content["machines"]["lumi-g"]["master_suffix"]["value"] = ".nowhere"
    (course / "data" / "machines.yml").write_text(json.dumps(content, default=str))
    assert bash(job.render(CONFIG, "lumi-g", 2)).returncode == 7
    assert "MASTER_ADDR=node1\n" in (site / "environment").read_text()


@pytest.mark.processes
@pytest.mark.parametrize("machine", RUNNING)
@pytest.mark.parametrize("launch", job.LAUNCHES)
def test_srun_repeats_the_cores_and_binds_as_the_data_say(machine, launch, site):
    bash(job.render(CONFIG, machine, 2, launch=launch))
    words = (site / "words").read_text().split()
    tasks = 1 if launch == "torchrun" else value(machine, "devices_per_node")
    assert words[:3] == ["--nodes=2", f"--ntasks-per-node={tasks}", "--cpus-per-task=16"]
    assert words[3] == "--kill-on-bad-exit=1"
    options = [word for word in words[4:] if word.startswith("--")]
    bindings = [word for word in options if word.startswith("--cpu-bind")]
    masks = value(machine, "binding_masks")
    if launch == "torchrun":
        wanted = value(machine, "srun_options") or []
        assert options[: len(wanted)] == wanted and len(bindings) == sum("cpu-bind" in w for w in wanted)
    else:
        wanted = f"--cpu-bind=mask_cpu:{','.join(masks)}" if masks else "--cpu-bind=cores"
        assert bindings == ([] if machine == "practice" else [wanted])


@pytest.mark.processes
def test_one_node_behind_a_second_name_meets_at_itself(site):
    bash(job.render(CONFIG, "jupiter-booster", 1))
    task = (site / "task0").read_text().splitlines()
    assert task[0] == "--local-addr=127.0.0.1" and "--rdzv-endpoint=127.0.0.1:17890" in task


@pytest.mark.processes
def test_without_an_image_the_script_says_where_to_name_one(site, monkeypatch):
    monkeypatch.delenv("SCALEUP_CONTAINER")
    ended = bash(job.render(CONFIG, "mn5-acc", 2))
    assert ended.returncode != 0 and not (site / "words").exists()
    assert "name an image as container under [mn5-acc] in .scaleup/accounts.toml" in ended.stderr


@pytest.mark.processes
def test_a_command_that_fails_ends_the_script_before_the_launch(site):
    (site / "scontrol").write_text("#!/bin/bash\nexit 3\n")
    assert bash(job.render(CONFIG, "lumi-g", 2)).returncode == 3
    assert not (site / "words").exists()


@pytest.mark.processes
@pytest.mark.parametrize(("restarts", "again"), [(0, True), (9, True), (10, False)])
def test_the_warning_ends_the_step_in_order_and_its_status_counts(site, monkeypatch, restarts, again):
    """The step takes a while to end after TERM: the script must wait for it, and not only for the signal."""
    (site / "srun").write_text(
        '#!/bin/bash\ntouch "$SEEN/started"\nuntil [ -e "$SEEN/asked" ]; do sleep 0.05; done\n'
        "sleep 0.5\necho the model is saved\nexit 143\n"
    )
    (site / "scancel").write_text('#!/bin/bash\necho "$@" > "$SEEN/asked"\n')
    (site / "scancel").chmod(0o755)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    script = job.render(CONFIG, "practice", 2)
    process = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True)
    until(lambda: (site / "started").exists(), process)
    process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 143
    assert out == "The time is nearly up.\nthe model is saved\n"
    assert (site / "asked").read_text() == f"--signal=TERM {JOB_ID}\n"
    queued = site / "requeued"
    assert (queued.read_text() if queued.exists() else "") == (f"{JOB_ID}\n" if again else "")


def until(true, *processes: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while not true():
        assert all(process.poll() is None for process in processes), "it ended too early"
        assert time.monotonic() < end, "nothing happened for a minute"
        time.sleep(0.05)


# The page that compares


@pytest.mark.parametrize("machine", DATA["taught"])
def test_the_page_shows_lines_that_are_in_the_script(machine):
    page = (HOME / "book" / "machines" / "scripts.md").read_text()
    section = re.search(rf"^## {value(machine, 'name')}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)[1]
    rows = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in section.splitlines() if line[:1] == "|"]
    assert len(rows) > 12 and all(len(row) == 4 for row in rows)
    scripts = "".join(job.render(CONFIG, machine, 2, launch=launch) for launch in job.LAUNCHES)
    ours = [code for row in rows[2:] for code in re.findall("`([^`]+)`", row[2])]
    assert [code for code in ours if code not in scripts] == []


# TERM to a run, with real processes

LONG = f"""
out = "long"
[model]
vocab_size = {VOCAB}
layers = 1
heads = 2
dim = 16
hidden = 16
context = 32
[data]
seq = 32
[train]
steps = 1_000_000
global_batch = 4
micro_batch = 2
validate_every = 1_000_000
"""


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory):
    return make_course(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def run(corpus_folder, monkeypatch):
    """Start `scaleup train` on an endless run, with further variables, and words before it."""
    monkeypatch.setenv("SCALEUP_HOME", str(corpus_folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    corpus.prepare()
    shutil.rmtree(corpus_folder / ".scaleup" / "runs", ignore_errors=True)
    (corpus_folder / "long.toml").write_text(LONG)
    started = []

    def start(*before: str, **variables: str) -> subprocess.Popen:
        words = [*before, str(Path(sys.executable).parent / "scaleup")]
        words += ["train", "--config", str(corpus_folder / "long.toml")]
        environment = os.environ | variables
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(words, env=environment, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def metrics(folder: Path) -> list[dict]:
    file = folder / ".scaleup" / "runs" / "long" / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def is_finished(out: str, folder: Path) -> None:
    """One line says so, the metrics are whole, and the stored weights are trained ones."""
    written = metrics(folder)
    steps = len(written)
    assert out == f"step {steps}: stopped by SIGTERM; what was finished is kept.\n"
    assert [step["step"] for step in written] == list(range(steps)) and steps >= 3
    weights = torch.load(folder / ".scaleup" / "runs" / "long" / "model.pt")
    assert not torch.equal(weights["norm.weight"], torch.ones(16))


@pytest.mark.processes
def test_term_to_one_of_two_tasks_ends_both_after_the_same_step(run, corpus_folder):
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "SLURM_NTASKS": "2"}
    tasks = [run(**where, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in range(2)]
    until(lambda: len(metrics(corpus_folder)) >= 3, *tasks)
    tasks[1].send_signal(signal.SIGTERM)
    said = [task.communicate(timeout=240) for task in tasks]
    assert [task.returncode for task in tasks] == [143, 143], said
    assert said[1] == ("", "") and said[0][1] == ""
    is_finished(said[0][0], corpus_folder)


@pytest.mark.processes
def test_term_to_torchrun_ends_its_ranks_in_order(run, corpus_folder):
    torchrun = str(Path(sys.executable).parent / "torchrun")
    process = run(torchrun, "--standalone", "--nproc-per-node=2", "--no-python")
    until(lambda: len(metrics(corpus_folder)) >= 3, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=240)
    assert process.returncode != 0
    is_finished(out, corpus_folder)
    assert err.count("Traceback") == err.count("SignalException: Process") == 1, "torchrun's, and no rank's"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

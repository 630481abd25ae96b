"""Would the machine take the script? A real slurmctld with the machine's nodes and queues answers."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from scaleup import machines
from scaleup.computer import slurm
from scaleup.errors import CourseError
from scaleup.machines import job
from scaleup.paths import root
from scaleup.practice import checking, cluster, cost_remarks, stand_in, validator
from scaleup.practice import request as requests
from scaleup.practice.request import request
from scaleup.practice.validator import Validator

slurm_here = pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence())


def needs_slurm(test):
    return pytest.mark.processes(slurm_here(test))


ALL = machines.load()
RUNNING = [name for name, facts in ALL.items() if str(facts["status"]).startswith("operational")]
CONFIGURATION = root() / "data" / "first-run.toml"


def fact(machine: str, field: str):
    return ALL[machine][field].value


def script(machine: str, nodes: int = 2, queue: str | None = None, launch: str = "torchrun") -> str:
    """With the example account, whatever `.scaleup/accounts.toml` says."""
    return job.script(job.make_job(CONFIGURATION, machine, nodes, None, queue, launch, {}))


def change(text: str, option: str, new: str) -> str:
    """The one line `#SBATCH --option...` goes; `new`, below the others, counts for more than they do."""
    lines = text.splitlines(keepends=True)
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    (place,) = [n for n in directives if re.match(rf"#SBATCH --{option}\b", lines[n])]
    lines.insert(directives[-1] + 1, f"#SBATCH {new}\n")
    del lines[place]
    return "".join(lines)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Ask a machine about a text; one scheduler for each machine."""
    path = tmp_path_factory.mktemp("scripts") / "job.sh"
    with contextlib.ExitStack() as stack:
        up: dict[str, Validator] = {}

        def ask(machine: str, text: str, *extra: str) -> validator.Verdict:
            if machine not in up:
                up[machine] = stack.enter_context(Validator(machine))
            path.write_text(text, newline="")
            return up[machine].check(path, extra)

        yield ask


# Accepted


def sizes(machine: str) -> list[int]:
    most = fact(machine, "partitions")[0]["nodes"] or fact(machine, "nodes")
    return sorted({1, 2, 8, most} & set(range(1, most + 1)))


@needs_slurm
@pytest.mark.parametrize("launch", job.LAUNCHES)
@pytest.mark.parametrize(("machine", "nodes"), [(name, nodes) for name in RUNNING for nodes in sizes(name)])
def test_a_rendered_script_is_accepted(ask, machine, nodes, launch):
    verdict = ask(machine, script(machine, nodes, launch=launch))
    assert verdict.accepted, verdict
    assert re.search(r"^sbatch: Job \d+ to start at .* using \d+ processors", verdict.scheduler)
    assert verdict.advice == ""


@needs_slurm
@pytest.mark.parametrize(
    ("machine", "queue"),
    [
        pytest.param(name, queue, id=f"{name}:{job.label(queue)}")
        for name in RUNNING
        for queue in fact(name, "partitions")[1:]
        if not any(unfit(queue) for unfit in job.UNFIT)
    ],
)
def test_every_queue_takes_its_smallest_job(ask, machine, queue):
    assert ask(machine, script(machine, queue.get("least_nodes", 1), job.label(queue))).accepted


@needs_slurm
def test_the_practice_machine_is_one_of_them(ask):
    assert ask("practice", script("practice")).accepted


@needs_slurm
@pytest.mark.parametrize(
    ("machine", "option", "new"),
    [
        ("lumi-g", "account", "-A project_465000001"),
        ("lumi-g", "time", "--time 1-23:59"),
        ("lumi-g", "mem", "--mem-per-gpu=60G"),
        ("lumi-g", "gpus-per-node", "--gpus=16"),
        ("lumi-g", "partition", "--partition=small-g,dev-g"),
        ("leonardo-booster", "partition", "--partition=boost_usr_prod --qos=normal"),
        ("leonardo-booster", "gres", "--gpus-per-node=4"),
        ("leonardo-booster", "cpus-per-task", "--cpus-per-task=32 --mem=490000"),
        ("vega-gpu", "cpus-per-task", "--cpus-per-task=256"),
        ("discoverer-plus", "cpus-per-task", "--cpus-per-task=208"),
        ("discoverer-plus", "account", "--account=ours --qos=ours"),
    ],
)
def test_other_ways_to_ask_are_accepted_too(ask, machine, option, new):
    text = script(machine)
    if "ours" in new:
        text = change(text, "qos", "")
    verdict = ask(machine, change(text, option, new))
    assert verdict.accepted and verdict.advice == "", verdict


# Refused: one line of a good script is changed. First the same mistakes on every machine.

TIME = "Requested time limit is invalid"
POLICY = "Job violates accounting/QOS policy"  # what a QOS holds on the machine, and a plugin here
NODES = f"Node count specification invalid|{POLICY}"
SIZE = f"Requested node configuration is not available|More processors requested than permitted|{POLICY}"
ACCOUNT = "Invalid account or account/partition combination"
PARTITION = "Invalid partition name"
QOS = "Invalid qos specification"


def mistakes(machine: str):
    """(machine, option, new line, scheduler's words, our sentence), from the machine's data."""
    name, example = fact(machine, "name"), fact(machine, "account_example")
    first = fact(machine, "partitions")[0]
    partition, qos = first["partition"], first["qos"]
    shown = partition + (f" with --qos={qos.replace('{account}', example)}" if qos else "")
    request = fact(machine, "gpu_request")
    devices, cores = fact(machine, "devices_per_node"), fact(machine, "cores_per_node")
    most = first["nodes"] or fact(machine, "nodes")
    yield ("account", "", ACCOUNT, f"Name the account of your project, such as --account={example}.")
    yield (
        "account", "--account=a:b", ACCOUNT, f"Accounts of {name} look like {example}; the script says 'a:b'."
    )  # fmt: skip
    near = partition[:-1] + ("x" if partition[-1] != "x" else "y")
    yield ("partition", f"--partition={near}", PARTITION, f"{name} has no partition '{near}'; ")
    default = any(queue.get("default") for queue in fact(machine, "partitions"))
    if not default and machine != "mn5-acc":  # there the QOS decides
        yield (
            "partition",
            "",
            "No partition specified",
            f"Name a partition of {name}, such as --partition={partition}.",
        )
    yield (
        "nodes", f"--nodes={most + 1}", f"{NODES}|{SIZE}",
        f"{shown} takes at most {most} node{'s' * (most > 1)}; the script asks for {most + 1}.",
    )  # fmt: skip
    yield (
        request.strip("-").partition("=")[0], request.format(devices=devices + 1), SIZE,
        f"A node of {name} has {devices} devices; the script asks for {devices + 1}.",
    )  # fmt: skip
    yield ("cpus-per-task", "--cpus-per-task=600", SIZE, f"A node of {name} has {cores} cores")
    if hours := first["hours"]:
        yield (
            "time", f"--time={hours + 1}:00:00", TIME,
            f"{shown} takes at most {hours} hours; the script asks for {hours + 1}.",
        )  # fmt: skip
    if memory := fact(machine, "node_memory_gb"):
        yield (
            "output", f"--mem={memory + 1}G", SIZE,
            f"A node of {name} has {memory} GB of memory for jobs; the script asks for {memory + 1}.",
        )  # fmt: skip
    if qos:
        yield ("qos", "--qos=nonsense", QOS, f"{partition} of {name} has no QOS 'nonsense'; ")
        yield ("qos", "", QOS, f"{partition} of {name} needs a QOS: --qos=")
    else:
        yield (
            "output", "--qos=nonsense", QOS,
            f"{partition} of {name} (takes no --qos; remove --qos=nonsense|has no QOS 'nonsense'; )",
        )  # fmt: skip


@needs_slurm
@pytest.mark.parametrize(
    ("machine", "option", "new", "words", "sentence"),
    [
        pytest.param(machine, *mistake, id=f"{machine}:{mistake[1] or 'no ' + mistake[0]}")
        for machine in RUNNING
        for mistake in mistakes(machine)
    ],
)
def test_a_mistake_is_refused_with_both_voices(ask, machine, option, new, words, sentence):
    text = script(machine)
    if "--mem" in new and fact(machine, "memory_request"):
        option = "mem"
    verdict = ask(machine, change(text, option, new))
    assert not verdict.accepted, verdict
    assert re.search(words, verdict.scheduler)
    if "(" in sentence:
        assert re.match(sentence, verdict.advice)
    else:
        assert verdict.advice.startswith(sentence)
    assert verdict.advice[-1] in ".?" and verdict.advice.count("\n") == 0


@needs_slurm
@pytest.mark.parametrize(
    ("machine", "option", "new", "words", "sentence"),
    [
        ("lumi-g", "time", "--time=3-00", TIME, "standard-g takes at most 48 hours; the script asks for 72."),
        ("lumi-g", "time", "-t 2881", TIME,
         "standard-g takes at most 48 hours; the script asks for 48 hours and 1 minute."),
        ("lumi-g", "time", "--time=0", TIME,
         "standard-g takes at most 48 hours; the script asks for no limit."),
        ("lumi-g", "time", "--time=soon", "Invalid --time",
         "Slurm cannot read --time=soon; correct the value."),
        ("lumi-g", "nodes", "-N many", "not a valid node count",
         "Slurm cannot read --nodes=many; correct the value."),
        ("lumi-g", "mem", "--mem=lots", "Invalid --mem", "Slurm cannot read --mem=lots; correct the value."),
        ("lumi-g", "mem", "--mem-per-gpu=64G", SIZE,
         "A node of LUMI-G has 480 GB of memory for jobs; the script asks for 512."),
        ("lumi-g", "ntasks-per-node", "--ntasks-per-node=2", SIZE,
         "A node of LUMI-G has 56 cores; the script asks for 112."),
        ("lumi-g", "gpus-per-node", "--gpus=17", SIZE,
         "A node of LUMI-G has 8 devices; the script asks for 9."),
        ("lumi-g", "gpus-per-node", "--gpus-per-task=9", SIZE,
         "A node of LUMI-G has 8 devices; the script asks for 9."),
        ("lumi-g", "gpus-per-node", "--gpus-per-node=mi300:8", SIZE,
         "Ask for the devices of a node of LUMI-G with --gpus-per-node=8."),
        ("lumi-g", "gpus-per-node", "--gres=gcd:8", "Invalid generic resource",
         "Ask for the devices of a node of LUMI-G with --gpus-per-node=8."),
        ("lumi-g", "gpus-per-node", "--gpu-per-node=8", "unrecognized option",
         "sbatch has no option --gpu-per-node; did you mean --gpus-per-node?"),
        ("lumi-g", "cpus-per-task", "-z", "invalid option", "sbatch has no option -z; remove it."),
        ("lumi-g", "time", "-t 3:00:00 -p dev-g", TIME,
         "dev-g takes at most 2 hours; the script asks for 3."),
        ("leonardo-booster", "partition", "-p boost_usr_prod -q boost_qos_dbg", TIME,
         "boost_usr_prod with --qos=boost_qos_dbg takes at most 0.5 hours; the script asks for 1."),
        ("leonardo-booster", "partition", "-p boost_usr_prod -q boost_qos_debug", QOS,
         "boost_usr_prod of Leonardo Booster has no QOS 'boost_qos_debug'; did you mean boost_qos_dbg?"),
        ("leonardo-booster", "partition", "--partition=lrd_all_serial", SIZE,
         "lrd_all_serial takes at most 1 node; the script asks for 2. A node of lrd_all_serial of Leonardo "
         "Booster has no devices; the script asks for 4. A node of lrd_all_serial of Leonardo Booster has 8 "
         "cores; the script asks for 32."),
        ("mn5-acc", "qos", "--qos=acc_ehcp", QOS,
         "acc of MareNostrum 5 ACC has no QOS 'acc_ehcp'; did you mean acc_ehpc?"),
        ("mn5-acc", "account", "--account=startup", ACCOUNT,
         "Accounts of MareNostrum 5 ACC look like ehpc000; the script says 'startup'."),
        ("mn5-acc", "cpus-per-task", "--cpus-per-task=160", SIZE,
         "A node of MareNostrum 5 ACC has 80 cores; the script asks for 160."),
        ("karolina-gpu", "nodes", "--nodes=17", NODES,
         "qgpu takes at most 16 nodes; the script asks for 17."),
        ("deucalion-gpu", "account", "--account=myproject", ACCOUNT,
         "Accounts of Deucalion GPU look like myprojectg; the script says 'myproject'."),
        ("arrhenius-gpu", "account", "--account=myproject", ACCOUNT,
         "Accounts of Arrhenius GPU look like myproject-gpu; the script says 'myproject'."),
        ("discoverer-plus", "qos", "--qos=another", QOS,
         "common of Discoverer+ has no QOS 'another'; known: myproject (the account's name)."),
        ("vega-gpu", "cpus-per-task", "--cpus-per-task=257", SIZE,
         "A node of Vega GPU has 128 cores (256 CPUs to Slurm); the script asks for 257."),
    ],
)  # fmt: skip
def test_the_sentence_says_what_to_change(ask, machine, option, new, words, sentence):
    verdict = ask(machine, change(script(machine), option, new))
    assert not verdict.accepted, verdict
    assert re.search(words, verdict.scheduler)
    assert verdict.advice == sentence or (sentence[-1] == " " and verdict.advice.startswith(sentence))


@needs_slurm
def test_the_scheduler_names_what_there_is(ask):
    said = ask("lumi-g", change(script("lumi-g"), "partition", "-p gpu")).scheduler
    assert "no partition gpu; there are: bench, dev-g, small-g, standard-g" in said
    said = ask("discoverer-plus", change(script("discoverer-plus"), "qos", "")).scheduler
    assert "no such QOS in partition common; there are: the account's name" in said


@needs_slurm
def test_an_option_below_the_first_command_is_pointed_out(ask):
    text = script("lumi-g").replace("#SBATCH --account", "set -e\n#SBATCH --account")
    number = text.splitlines().index("set -e") + 2
    verdict = ask("lumi-g", text)
    assert not verdict.accepted
    assert verdict.advice.endswith(
        f" Lines {number} to {number + 11} are below the first command, and there Slurm ignores #SBATCH."
    )


@needs_slurm
def test_the_line_ends_of_another_system_are_named(ask):
    verdict = ask("lumi-g", script("lumi-g").replace("\n", "\r\n"))
    assert not verdict.accepted
    assert verdict.advice.startswith("Save the script with Unix line ends")


@needs_slurm
def test_options_of_the_command_line_count_for_more(ask, monkeypatch):
    monkeypatch.setenv("SBATCH_ACCOUNT", "not-an-account")  # ours alone: the learner's shell does not decide
    assert ask("lumi-g", script("lumi-g")).accepted
    verdict = ask("lumi-g", script("lumi-g"), "--time=50:00:00", "-N", "3")
    assert verdict.advice == "standard-g takes at most 48 hours; the script asks for 50."


@needs_slurm
@pytest.mark.parametrize("machine", RUNNING)
def test_the_account_pattern_means_the_same_to_slurm(ask, machine):
    pattern, text = fact(machine, "account_pattern"), script(machine)
    for account in ("project_465000000", "project_46500000", "xproject_465000000", "ehpc1", "ehpc", "p200000",
                    "p2000000", "my.projectg", "my-project-gpu", "project-id", "my_project",
                    "a+b"):  # fmt: skip
        extra = [f"--account={account}"] + (["--qos=" + account] if machine == "discoverer-plus" else [])
        assert ask(machine, text, *extra).accepted == bool(re.fullmatch(pattern, account)), account


def test_a_pattern_that_lua_cannot_say_is_no_silent_mistake():
    with pytest.raises(ValueError, match=r"\(a\|b\)"):
        stand_in.lua_pattern("^(a|b)$")


# Accepted, with a remark

WASTE = {rule.name for rule in cost_remarks.RULES}


@needs_slurm
@pytest.mark.parametrize(
    ("machine", "changes", "remark"),
    [
        ("lumi-g", {"gpus-per-node": "--gpus-per-node=2"},
         "The job gets whole nodes and pays for all 8 devices of each, but the script asks for 2."),
        ("jupiter-booster", {"gres": ""},
         "The job gets whole nodes and pays for all 4 devices of each, but the script asks for none."),
        ("leonardo-booster", {"gres": "--gres=gpu:3"},
         "The job gets whole nodes and pays for all 4 devices of each, but the script asks for 3."),
        ("mn5-acc", {"exclusive": "", "gres": "--gres=gpu:1", "cpus-per-task": "--cpus-per-task=20"},
         "The job gets whole nodes and pays for all 4 devices of each, but the script asks for 1."),
        ("mn5-acc", {"exclusive": "", "gres": "--gres=gpu:1", "nodes": "--nodes=1",
                     "cpus-per-task": "--cpus-per-task=20"}, ""),
        ("karolina-gpu", {"gpus-per-node": "--gpus-per-node=1", "cpus-per-task": "-c 16"}, ""),
        ("discoverer-plus", {"gres": "--gres=gpu:1", "cpus-per-task": "--cpus-per-task=26"}, ""),
        ("discoverer-plus", {"gres": "--gres=gpu:1", "cpus-per-task": "--cpus-per-task=28"},
         "The share of 1 device of Discoverer+ is 26 CPUs (threads); the script asks for 28, and the larger "
         "share is charged."),
        ("lumi-g", {"ntasks-per-node": "--ntasks-per-node=16", "cpus-per-task": "--cpus-per-task=3"},
         "16 tasks on a node share 8 devices; start one task per device."),
        ("deucalion-gpu", {"gpus-per-node": "--gpus-per-node=1", "cpus-per-task": "--cpus-per-task=33"},
         "The share of 1 device of Deucalion GPU is 32 cores; the script asks for 33, "
         "and the larger share is charged."),
        ("lumi-g", {"partition": "-p small-g", "gpus-per-node": "--gpus-per-node=2",
                    "cpus-per-task": "-c 28", "mem": "--mem=120G"},
         "The share of 2 devices of LUMI-G is 14 cores; the script asks for 28, "
         "and the larger share is charged."),
        ("lumi-g", {"partition": "-p small-g", "gpus-per-node": "--gpus-per-node=2",
                    "cpus-per-task": "-c 14", "mem": "--mem=120G"},
         ""),
    ],
)  # fmt: skip
def test_waste_is_a_remark(ask, machine, changes, remark):
    text = script(machine)
    for option, new in changes.items():
        text = change(text, option, new)
    verdict = ask(machine, text)
    assert verdict.accepted, verdict
    found = [each for each in verdict.remarks if each.name in WASTE]
    assert " ".join(each.sentence for each in found) == remark


# Reading


@pytest.mark.parametrize(
    ("text", "hours"),
    [("90", 1.5), ("30:00", 0.5), ("2:30:00", 2.5), ("2-12", 60), ("1-6:30", 30.5), ("1-0:0:36", 24.01),
     ("UNLIMITED", float("inf")), ("0", float("inf")), ("soon", None), (None, None)],
)  # fmt: skip
def test_a_time_is_read_as_slurm_reads_it(text, hours):
    assert requests.hours(text) == (None if hours is None else pytest.approx(hours))


@pytest.mark.parametrize(
    ("text", "gigabytes"), [("480G", 480), ("1T", 1024), ("2048", 2), ("512m", 0.5), ("lots", None)]
)
def test_a_size_is_read_as_slurm_reads_it(text, gigabytes):
    assert requests.gigabytes(text) == gigabytes


def test_the_directives_are_those_above_the_first_command():
    asked = request(
        "#!/bin/sh\n# a remark\n#SBATCH -N2 --gres=gpu:a100:4,tmpfs:10g  # with a remark\n\n"
        '#SBATCH --job-name "two words" -n 8 -c 4\n#SBATCH --exclusive --mem-per-cpu 2G\n'
        "##SBATCH --time=1\n#SBATCH --nodes=4-6\necho\n#SBATCH --account=late\n"
    )
    assert asked.options["job-name"] == "two words" and asked.options["exclusive"] == ""
    assert (asked.nodes, asked.tasks, asked.devices, asked.cpus, asked.memory_gb) == (4, 2, 4, 8, 16)
    assert asked.account is None and asked.hours is None and asked.late == (10,)


@pytest.mark.parametrize(
    ("line", "devices"),
    [("--gres=gpu", 1), ("--gres=gpu:3", 3), ("--gres=tmpfs:1g,gpu:a:2", 2), ("--gpus-per-node=a:3", 3),
     ("-N 2 -G 5", 3), ("--gpus=5", None), ("-n 4 -N 2 --gpus-per-task=2", 4), ("--nodes=1", 0)],
)  # fmt: skip
def test_devices_of_a_node(line, devices):
    assert request(f"#!/bin/sh\n#SBATCH {line}\n").devices == devices


# What cannot be checked


@needs_slurm
def test_no_script_no_verdict(ask, tmp_path):
    with pytest.raises(CourseError, match="is not a script. Its first line"):
        ask("vega-gpu", "hostname\n")
    with Validator("vega-gpu") as vega:
        for path in (tmp_path / "nowhere.sh", tmp_path):
            with pytest.raises(CourseError, match="cannot be read"):
                vega.check(path)


def test_unknown_and_announced_machines_are_refused():
    with pytest.raises(CourseError, match="Did you mean 'lumi-g'"):
        Validator("lumi")
    announced = [name for name, facts in ALL.items() if str(facts["status"]).startswith("announced")]
    assert announced
    for name in announced:
        with pytest.raises(CourseError, match="takes no jobs yet"):
            Validator(name)


def test_without_slurm_the_reader_learns_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(slurm, "unpacked_folder", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slurm, "_program", lambda name: None)
    with pytest.raises(CourseError, match=re.escape(slurm.missing_sentence())), Validator("vega-gpu"):
        pass


@needs_slurm
def test_a_scheduler_that_died_is_no_refusal(tmp_path):
    path = tmp_path / "job.sh"
    path.write_text(script("vega-gpu"))
    with Validator("vega-gpu") as vega:
        vega._running[-1].kill()
        vega._running[-1].wait()
        with pytest.raises(CourseError, match="The scheduler has ended"):
            vega.check(path)


@needs_slurm
def test_a_scheduler_that_does_not_start_says_why_and_leaves_nothing(monkeypatch):
    monkeypatch.setattr(validator, "job_submit_lua", lambda machine: "this is not Lua")
    vega = Validator("vega-gpu")
    with pytest.raises(CourseError, match="did not start"), vega:
        pass
    assert not vega.folder.exists()


# The command


@needs_slurm
def test_the_command_prints_both_voices(tmp_path, capsys):
    path = tmp_path / "job.sh"
    path.write_text(script("vega-gpu"))
    assert checking.main(path, "vega-gpu", once=True) == 0
    out = capsys.readouterr().out
    assert re.match(r"sbatch: Job 1 to start at .*\nAccepted, by a Slurm with the limits of ", out)
    path.write_text(change(script("vega-gpu"), "account", ""))
    assert checking.main(path, "vega-gpu", once=True) == 1
    out = capsys.readouterr().out
    assert ACCOUNT in out and "  Name the account of your project, such as --account=my_project.\n" in out
    assert "Accepted" not in out


# Nothing is left behind


def alive(process: psutil.Process) -> bool:
    """Running; a zombie that nobody has collected yet does not count."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def mode_or_skip(mode: str) -> str | None:
    if mode == "namespaces" and not cluster.namespace_words():
        pytest.skip("this system lets its users make no namespaces")
    if mode == "plain" and not slurm.obtain().munged:
        pytest.skip("munge is not on this machine")
    return mode if mode == "plain" else None


@needs_slurm
@pytest.mark.parametrize("mode", ("namespaces", "plain"))
def test_nothing_is_left_after_the_block(mode, tmp_path):
    path = tmp_path / "job.sh"
    path.write_text(script("vega-gpu"))
    before = set(psutil.Process().children(recursive=True))
    with Validator("vega-gpu", mode_or_skip(mode)) as vega:
        assert vega.folder.stat().st_mode & 0o777 == 0o700 and len(str(vega.folder)) < 80
        started = set(psutil.Process().children(recursive=True)) - before
        assert len(started) >= 2  # a guard, the scheduler
        assert vega.check(path).accepted
        numbers = [process.pid for process in started]
        heard = [
            each for each in psutil.net_connections("tcp") if each.pid in numbers and each.status == "LISTEN"
        ]
        # In a namespace of its own nothing is to be seen from here; else it listens to this machine alone.
        assert {each.laddr.ip for each in heard} == ({"127.0.0.1"} if mode == "plain" else set())
    assert not vega.folder.exists()
    assert not [process for process in started if alive(process)]
    assert str(vega.folder) not in Path("/proc/mounts").read_text()


CHILD = """
import sys, time
from scaleup.practice.validator import Validator
validator = Validator("vega-gpu", sys.argv[1] or None)
validator.__enter__()
print(validator.folder, flush=True)
time.sleep(600)
"""


@needs_slurm
@pytest.mark.parametrize("mode", ("namespaces", "plain"))
def test_nothing_is_left_when_the_owner_is_killed(mode):
    words = [sys.executable, "-c", CHILD, mode_or_skip(mode) or ""]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root()) as owner:
        folder = Path(owner.stdout.readline().strip())
        started = psutil.Process(owner.pid).children(recursive=True)
        assert folder.is_dir() and len(started) >= 3  # a guard, a launcher, the scheduler
        os.kill(owner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (folder.exists() or any(map(alive, started))):
        time.sleep(0.02)
    assert not folder.exists()
    assert not [process for process in started if alive(process)]


@needs_slurm
@pytest.mark.parametrize("mode", ("namespaces", "plain"))
def test_two_at_once_do_not_meet(mode, tmp_path):
    mode = mode_or_skip(mode)
    path = tmp_path / "job.sh"
    path.write_text(script("vega-gpu"))
    with Validator("vega-gpu", mode) as one, Validator("vega-gpu", mode) as two:
        with Validator("karolina-gpu", mode) as other:
            assert one.folder != two.folder
            assert one.check(path).accepted and two.check(path).accepted
            assert other.check(path).advice.startswith(
                "Accounts of Karolina GPU look like PROJECT-ID; the script says 'my_project'."
            )
        assert one.check(path).accepted
        assert two.check(path).accepted

"""The practice supercomputer: a real Slurm that starts, works, survives and leaves nothing."""

import contextlib
import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import psutil
import pytest
from conftest import until

from scaleup import practice
from scaleup.computer import slurm
from scaleup.errors import CourseError
from scaleup.machines import job
from scaleup.practice import cluster, configuration
from scaleup.ranks import cleanup
from scaleup.text import corpus

COURSE = Path(__file__).resolve().parents[2]
PROGRAMS = COURSE / "tests" / "programs"
BIN = Path(sys.executable).parent

needs_slurm = pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence())
needs_namespaces = pytest.mark.skipif(
    not cluster.namespace_words(), reason="this system lets us make no namespaces"
)
pytestmark = [pytest.mark.processes, needs_slurm, pytest.mark.timeout(240)]


def make_home(folder: Path) -> Path:
    """A course's folder with a state of its own, so that a cluster in use is left alone."""
    for name in ("notebooks", "data"):
        (folder / name).symlink_to(COURSE / name)
    (folder / ".scaleup").mkdir()
    corpus.prepare(quiet=True)
    (folder / ".scaleup" / "corpus").symlink_to(COURSE / ".scaleup" / "corpus")
    unpacked = COURSE / ".scaleup" / "slurm"
    if unpacked.is_dir():
        (folder / ".scaleup" / "slurm").symlink_to(unpacked)
    return folder


@contextlib.contextmanager
def at_home(folder: Path):
    before, there = os.environ.get("SCALEUP_HOME"), Path.cwd()
    os.environ["SCALEUP_HOME"] = str(folder)
    os.chdir(folder)
    try:
        yield folder
    finally:
        practice.down()
        os.chdir(there)
        os.environ.pop("SCALEUP_HOME")
        if before:
            os.environ["SCALEUP_HOME"] = before


@pytest.fixture(scope="module", params=["namespaces", "plain"])
def up(request, tmp_path_factory):
    """A cluster in each mode, shared by the tests that do not break it."""
    if request.param == "namespaces" and not cluster.namespace_words():
        pytest.skip("this system lets us make no namespaces")
    with at_home(make_home(tmp_path_factory.mktemp("home"))):
        yield practice.up(mode=request.param)


@pytest.fixture
def home(tmp_path):
    with at_home(make_home(tmp_path)) as folder:
        yield folder


def test_a_test_run_that_was_interrupted_leaves_no_cluster_of_a_worker(home, monkeypatch):
    monkeypatch.setenv("SCALEUP_PRACTICE", "practice-gw7")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    practice.up()
    try:
        assert practice.is_up()
        conftest.pytest_unconfigure(SimpleNamespace(getoption=lambda name, default: 3))
        assert not practice.is_up()
    finally:
        practice.down()


def idle_nodes() -> int:
    said = practice.run("sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%t").stdout
    return said.split().count("idle")


def left_behind(plan: configuration.Cluster) -> list[str]:
    """Processes, mounts, interfaces and files of a cluster that should be gone."""
    place = str(plan.folder)
    found = [f"{process}" for process in cleanup.processes(cluster.mark())]
    found += [f"{process}" for process in cluster.step_daemons(plan.folder)]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if place in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(str(process))
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if place in line]
    found += [name for name in os.listdir("/sys/class/net") if name.startswith("cable")]
    return found + ([place] if plan.folder.exists() else [])


def submit(*words: str) -> str:
    return practice.run("sbatch", "--parsable", "--account=practice", *words).stdout.strip()


def two_node_job(results: Path) -> str:
    """A torchrun over two nodes; returns the job's number."""
    results.mkdir()
    script = results / "job.sh"
    script.write_text(
        "#!/bin/bash\n"
        "#SBATCH --account=practice --nodes=2 --ntasks-per-node=1 --cpus-per-task=16 --gpus-per-node=2\n"
        'first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)\n'
        "getent hosts $first > /dev/null || first=127.0.0.1  # plain mode has no names\n"
        "export OMP_NUM_THREADS=1\n"
        f"srun {BIN}/torchrun --nnodes=2 --nproc-per-node=2 --rdzv-id=$SLURM_JOB_ID --rdzv-backend=c10d "
        f"--rdzv-endpoint=$first:29511 {PROGRAMS / 'nodes_hello.py'} {results}\n"
    )
    return submit(f"--output={results}/log", str(script))


# What it does


def test_two_nodes_meet_through_torchrun(up, tmp_path):
    job = two_node_job(tmp_path / "results")
    assert practice.wait(job) == "COMPLETED", (tmp_path / "results" / "log").read_text()
    said = sorted(path.read_text().split() for path in (tmp_path / "results").glob("rank*"))
    assert sorted(int(words[1]) for words in said) == [0, 1, 2, 3]
    assert all(words[2:] == ["4", "10"] for words in said)
    nodes = [words[0] for words in said]
    if up.mode == "namespaces":
        assert nodes == ["node1", "node1", "node2", "node2"]


def rendered_job(folder: Path, launch: str, steps: int) -> str:
    """Submit what `scaleup job` writes for this machine; returns the job's number."""
    text = (COURSE / "data" / "two-nodes.toml").read_text()
    folder.mkdir()
    (folder / "run.toml").write_text(text.replace("steps = 20", f"steps = {steps}"))
    (folder / "job.sh").write_text(job.render(folder / "run.toml", "practice", 2, launch=launch))
    return practice.run("sbatch", "--parsable", str(folder / "job.sh"), cwd=folder).stdout.strip()


@pytest.mark.parametrize("launch", job.LAUNCHES)
def test_what_scaleup_job_writes_for_this_machine_trains_on_it(up, tmp_path, launch):
    number = rendered_job(tmp_path / "work", launch, steps=2)
    state = practice.wait(number, limit=180)
    log = (tmp_path / "work" / f"two-nodes-{number}.out").read_text()
    assert state == "COMPLETED", log
    metrics = Path(os.environ["SCALEUP_HOME"], ".scaleup/runs/two-nodes/metrics.jsonl")
    assert len(metrics.read_text().splitlines()) == 2, log
    assert "step 2: loss" in log


def test_the_warning_before_the_end_saves_and_the_same_job_goes_on(up, tmp_path):
    number = rendered_job(tmp_path / "work", "torchrun", steps=10_000)
    folder = Path(os.environ["SCALEUP_HOME"], ".scaleup/runs/two-nodes")
    shutil.rmtree(folder, ignore_errors=True)
    log = tmp_path / "work" / f"two-nodes-{number}.out"
    assert until((folder / "metrics.jsonl").exists, 120), log.read_text()
    practice.run("scancel", "--signal=USR1", "--batch", number)
    goes_on = "goes on after step "
    assert until(lambda: goes_on in log.read_text(), 300), log.read_text()
    practice.run("scancel", number)
    practice.wait(number)  # its nodes are the next test's
    said = log.read_text()
    assert "The time is nearly up." in said and "stopped by SIGTERM" in said
    done = int(said.partition(goes_on)[2].split()[0])
    assert (folder / "checkpoints" / f"step-{done:08}" / "manifest.json").exists()
    assert (folder / "model.pt").exists()


def test_a_task_sees_its_devices(up):
    said = practice.run(
        "srun", "--account=practice", "--nodes=2", "--ntasks-per-node=2", "--gpus-per-task=1",
        "sh", "-c", "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES",
    ).stdout  # fmt: skip
    assert sorted(said.splitlines()) == ["node1 0", "node1 1", "node2 0", "node2 1"]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--wrap=true"], "this machine wants --account=practice"),
        (["--account=mine", "--wrap=true"], "this machine wants --account=practice"),
        (["--account=practice", "--time=2:00:00", "--wrap=true"], "time limit"),
        (["--account=practice", "--nodes=5", "--wrap=true"], "node"),
        (["--account=practice", "--partition=debug", "--nodes=3", "--wrap=true"], "node"),
        (["--account=practice", "--gpus-per-node=3", "--wrap=true"], "configuration is not available"),
        (["--account=practice", "--mem=64G", "--wrap=true"], "Memory|configuration is not available"),
        (["--account=practice", "--partition=big", "--wrap=true"], "partition"),
    ],
)
def test_a_wrong_request_is_refused_at_once(up, words, refusal):
    with pytest.raises(CourseError, match=f"(?i){refusal}"):
        practice.run("sbatch", *words)


def test_arrays_dependencies_and_cancelling(up, tmp_path):
    array = submit("--array=0-3%2", f"--output={tmp_path}/%a", "--wrap=echo $SLURM_ARRAY_TASK_ID")
    after = submit(f"--dependency=afterok:{array}", f"--output={tmp_path}/after", f"--wrap=ls {tmp_path}")
    assert practice.wait(after) == "COMPLETED"
    assert (tmp_path / "after").read_text().split()[:4] == ["0", "1", "2", "3"]
    long = submit("--output=/dev/null", "--wrap=sleep 100")
    practice.run("scancel", long)
    assert practice.wait(long) == "CANCELLED"
    failed = submit("--output=/dev/null", "--wrap=exit 3")
    assert practice.wait(failed) == "FAILED"


def test_waiting_ends_with_a_sentence(up):
    job = submit("--output=/dev/null", "--wrap=sleep 100")
    with pytest.raises(CourseError, match=f"Job {job} is .* after 1 s"):
        practice.wait(job, limit=1)
    practice.run("scancel", job)


def test_the_working_directory_and_the_exit_status_are_kept(up, tmp_path):
    assert practice.run("pwd", cwd=tmp_path).stdout.strip() == str(tmp_path)
    assert practice.run("sh", "-c", "exit 7", check=False).returncode == 7


def test_dask_scales_and_survives_the_loss_of_a_worker(up, tmp_path):
    done = practice.run(
        sys.executable, str(PROGRAMS / "dask_on_practice.py"), str(tmp_path), check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["lines"] == seen["lines_after_a_loss"] == seen["expected"] > 100_000
    assert len(seen["one"]) == 1 and len(seen["two"]) == 2 and seen["workers_after_a_loss"] == 1
    if up.mode == "namespaces":
        assert seen["two"] == ["node1", "node2"]


def test_the_folder_and_the_ports_are_private(up):
    assert stat.S_IMODE(up.folder.stat().st_mode) == 0o700
    if up.mode == "plain":
        text = (up.folder / "slurm.conf").read_text()
        assert "auth/munge" in text and "auth/none" not in text
        assert stat.S_IMODE((up.folder / "munge.key").stat().st_mode) == 0o600
        ours = cleanup.processes(cluster.mark())
        listening = {
            connection.laddr.ip
            for process in ours
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
    else:
        names = " ".join(name for name in os.listdir("/sys/class/net"))
        assert "cable" not in names, "the nodes' cables belong into their own namespace"


@needs_namespaces
def test_a_node_has_a_name_an_address_and_scratch_of_its_own(home):
    practice.up(nodes=2, link_mbit=200)
    seen = practice.run(
        "srun", "--account=practice", "--nodes=2", "sh", "-c",
        "touch $TMPDIR/$(hostname); echo $(hostname) $(ls $TMPDIR) $(getent hosts login)",
    ).stdout  # fmt: skip
    assert sorted(seen.splitlines()) == [
        "node1 node1 10.77.0.254 login",
        "node2 node2 10.77.0.254 login",
    ]
    assert practice.run("hostname").stdout == "login\n"
    assert "rate 200Mbit" in practice.run("tc", "qdisc", "show", "dev", "cable1").stdout
    reach = "import socket; socket.create_connection(('192.0.2.1', 9), 2)"
    outside = practice.run("srun", "--account=practice", sys.executable, "-c", reach, check=False)
    assert "Network is unreachable" in outside.stderr, "nodes have no internet"


# What it survives


@pytest.mark.parametrize("mode", [pytest.param("namespaces", marks=needs_namespaces), "plain"])
def test_killed_parts_come_back_and_nothing_is_left(home, mode):
    plan = practice.up(nodes=2, mode=mode)
    first = cluster._supervisor().pid
    practice.up()
    assert cluster._supervisor().pid == first, "a second up starts nothing twice"
    for part in ("slurmctld", "slurmd -D -N node2"):
        kill(part, plan)
        practice.up()
        assert idle_nodes() == 2
        assert cluster._supervisor().pid == first
    os.kill(first, signal.SIGKILL)
    assert until(lambda: not practice.is_up())
    practice.up(nodes=2, mode=mode)
    assert idle_nodes() == 2
    job = submit("--output=/dev/null", "--wrap=sleep 100")
    running = ("squeue", "--noheader", f"--jobs={job}", "--format=%t")
    assert until(lambda: "R" in practice.run(*running).stdout)
    assert practice.down()
    assert left_behind(plan) == []
    assert not practice.down()


def kill(part: str, plan: configuration.Cluster) -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"{plan.folder}/sbin/{part}" in " ".join(process.cmdline()):
                process.kill()
                process.wait(5)
                return
    raise AssertionError(f"no {part} is running")


def test_an_interrupted_start_leaves_nothing(home, monkeypatch):
    def interrupt(plan):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "_wait_until_idle", interrupt)
    with pytest.raises(KeyboardInterrupt):
        practice.up(nodes=1)
    assert not cluster.folder().exists() and cleanup.processes(cluster.mark()) == []


def test_two_copies_do_not_meet(up, tmp_path):
    ours = practice.status()
    other = make_home(tmp_path)
    environment = os.environ | {"SCALEUP_HOME": str(other)}
    scaleup = [sys.executable, "-m", "scaleup.cli", "practice"]
    for words in (["up", "--nodes", "1", "--mode", up.mode], ["down"]):
        done = subprocess.run([*scaleup, *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert practice.status() == ours


def test_a_node_that_dies_takes_its_processes_along(home):
    plan = practice.up(nodes=1)
    submit("--output=/dev/null", "--wrap=sleep 4321")
    assert until(lambda: sleeping("4321"))
    kill("slurmd -D -N node1", plan)
    assert until(lambda: not sleeping("4321")), "the job outlived its node"


def sleeping(seconds: str) -> bool:
    return any(process.info["cmdline"] == ["sleep", seconds] for process in psutil.process_iter(["cmdline"]))


# What it says


def test_another_form_needs_an_empty_queue(home):
    practice.up(nodes=1, mode="plain")
    job = submit("--output=/dev/null", "--wrap=sleep 100")
    with pytest.raises(CourseError, match="up in another form, with jobs"):
        practice.up(nodes=2)
    practice.run("scancel", job)
    practice.wait(job)
    assert practice.up(nodes=2).nodes == 2


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"nodes": 0}, "1 to 4 nodes, not 0"),
        ({"nodes": 9}, "1 to 4 nodes, not 9"),
        ({"link_mbit": 0}, "A link cannot have 0 Mbit/s"),
        ({"mode": "cloud"}, "no mode 'cloud'"),
    ],
)
def test_a_wish_that_cannot_be_met_gets_a_sentence(home, wish, sentence):
    with pytest.raises(CourseError, match=sentence):
        practice.up(**wish)


def test_without_slurm_there_is_one_sentence(home, monkeypatch):
    monkeypatch.setattr(slurm, "find", lambda: None)
    monkeypatch.setattr(slurm.shutil, "which", lambda name, path=None: None)
    with pytest.raises(CourseError, match="Slurm is not on this machine"):
        practice.up()


def test_commands_say_that_nothing_is_up(home):
    with pytest.raises(CourseError, match="not up. Start it: scaleup practice up"):
        practice.run("sinfo")
    assert "not up" in practice.status()


def test_a_notebook_gets_the_commands_and_the_lesson_s_scripts(home, monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"])
    lesson = home / "part" / "first-job"
    lesson.mkdir(parents=True)
    (lesson / "hello.sh").write_text("#!/bin/sh\nhostname\n")
    monkeypatch.chdir(lesson.parent)
    desk = practice.connect("first-job")
    assert Path.cwd() == desk and (desk / "hello.sh").is_file()
    for words in (["squeue"], ["login", "true"], ["srun", "--account=practice", "true"]):
        assert subprocess.run(words, capture_output=True).returncode == 0
    assert practice.connect("first-job") == desk, "a cell may run twice"
    before = slurm.find()
    assert before and before.clients["sbatch"].parent != cluster.folder() / "commands", "not an installation"
    commands = cluster.folder() / "commands"
    supervisor = cluster._supervisor().pid
    os.kill(supervisor, signal.SIGKILL)
    assert until(lambda: not Path(f"/proc/{supervisor}").exists())
    said = subprocess.run([commands / "squeue"], capture_output=True, text=True)
    assert said.returncode == 2 and "scaleup practice up" in said.stderr


@pytest.mark.skipif(not shutil.which("apt-get"), reason="packages are unpacked with apt-get")
def test_slurm_is_unpacked_without_root(home, monkeypatch):
    (home / ".scaleup" / "slurm").unlink(missing_ok=True)
    monkeypatch.setattr(slurm, "_program", lambda name: None)
    installed = slurm.obtain()
    assert installed.plugins and installed.daemons["slurmctld"].is_file()
    practice.up(nodes=1)
    assert practice.run("srun", "--account=practice", "echo", "works").stdout == "works\n"


def test_without_slurm_the_lessons_that_need_it_are_left_out_with_a_sentence(home, monkeypatch):
    monkeypatch.delenv("SCALEUP_NO_SKIP", raising=False)
    monkeypatch.chdir(COURSE)  # as `make test` does; the learner's home is still that of the test
    command = [sys.executable, "-m", "tools.without_slurm"]
    here = subprocess.run(command, capture_output=True, text=True)
    assert (here.returncode, here.stdout) == (0, "")
    hidden = "import runpy, shutil; shutil.which = lambda *a, **k: None; "
    hidden += "runpy.run_module('tools.without_slurm', run_name='__main__')"
    (home / ".scaleup" / "slurm").unlink(missing_ok=True)
    said = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    left_out = ("*/4-on-the-machine/*", "*/notebooks/3-many-devices/collectives.ipynb")
    assert said.stdout.splitlines() == [f"--ignore-glob={path}" for path in left_out]
    assert said.stderr.startswith("Slurm is not on this machine.") and "left out" in said.stderr


def test_a_course_in_a_folder_with_a_space_has_a_cluster(tmp_path):
    (tmp_path / "Scale Up").mkdir()
    with at_home(make_home(tmp_path / "Scale Up")):
        assert " " not in str(practice.up(nodes=1).folder)
        assert practice.run("srun", "--account=practice", "pwd").stdout.strip().endswith("Scale Up")


def test_a_dead_controller_is_told_at_once_and_mended(home):
    practice.up(nodes=1)
    for process in cluster._supervisor().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.name() == "slurmctld":
                process.kill()
    assert until(lambda: cluster.dead_parts() == [cluster.CONTROLLER])
    assert practice.status() == "Up, but without the controller. This mends it: scaleup practice up"
    practice.up()
    assert cluster.dead_parts() == [] and "1 nodes, mode" in practice.status()


def test_a_full_disk_is_a_sentence_and_leaves_nothing(home, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(configuration, "write", full)
    with pytest.raises(CourseError, match=r"No space left on device\. If the disk is full, make room"):
        practice.up()
    assert not cluster.folder().exists()


def test_a_folder_in_path_that_cannot_be_looked_into_is_passed_by(monkeypatch):
    monkeypatch.setenv("PATH", f"/{'x' * 300}:{os.environ['PATH']}")  # too long a name: not even stat works
    assert slurm.find() == slurm.find()


def test_the_cluster_of_a_notebook_ends_with_its_kernel_unless_jobs_are_there(home):
    practice.up(nodes=1)
    number = cluster._supervisor().pid
    cluster._end_with_notebook(number + 1)
    job = submit("--wrap=sleep 600")
    cluster._end_with_notebook(number)
    assert practice.is_up()
    practice.run("scancel", job)
    practice.wait(job)
    cluster._end_with_notebook(number)
    assert not practice.is_up()

"""The practice supercomputer as a person meets it: up, down, status, and commands on its login node."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from .. import machines
from ..computer import slurm
from ..errors import CourseError
from ..paths import root, state
from ..ranks import cleanup
from ..words import count
from . import configuration
from .configuration import Cluster

LONGEST_FOLDER = 60  # characters; below it Slurm makes sockets, whose paths may have 107
CONTROLLER = "the controller"
START_LIMIT = 30.0  # seconds
SEPARATE = ("--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child")
OWN_USER = ("--user", "--map-current-user", "--keep-caps")
TRIAL = "ip link add switch type bridge && ip link add one type veth peer name two && mount --bind /etc /etc"


def _name() -> str:
    return os.environ.get("SCALEUP_PRACTICE", "practice")


def is_fit(place: Path) -> bool:
    """Whether slurm.conf can name it: not too deep, no space, no sign with a meaning there."""
    return len(str(place)) <= LONGEST_FOLDER and not re.search(r"[^\w./+@:~-]", str(place))


def folder() -> Path:
    """The cluster's own folder: below `.scaleup/`, or in the user's temporary folder if that is not fit.

    The variable SCALEUP_PRACTICE names it otherwise: a second cluster of the same checkout.
    """
    inside = state() / _name()
    if is_fit(inside):
        return inside
    name = hashlib.sha256(str(inside).encode()).hexdigest()[:10]
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp"))
    return (runtime if runtime.is_dir() else Path("/tmp")) / f"scaleup-{os.getuid()}-{name}"


def mark() -> str:
    return "practice-" + hashlib.sha256(str(folder()).encode()).hexdigest()[:10]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One `up` or `down` at a time."""
    if os.environ.get(cleanup.MARK) == mark():
        raise CourseError("You are on the practice supercomputer. Leave it first ('exit'), then try again.")
    with open(state() / f"{_name()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# What runs


def _content() -> dict | None:
    try:
        return json.loads((folder() / "cluster.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _supervisor() -> psutil.Process | None:
    """The running first process, told from a stranger with the same number by its time of birth."""
    content = _content()
    try:
        process = psutil.Process(content["pid"])
        same = abs(process.create_time() - content["born"]) < 1.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, KeyError, TypeError):
        return None


def running() -> Cluster | None:
    """The cluster that is up, else None."""
    return configuration.from_json(_content()["cluster"]) if _supervisor() else None


def is_up() -> bool:
    return _supervisor() is not None


def dead_parts() -> list[str]:
    """What should run and does not, such as "the controller" or "2 nodes". `up` mends it."""
    wanted, supervisor = running(), _supervisor()
    if not wanted or not supervisor:
        return []
    names = []
    for process in supervisor.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                names.append(process.name())
    missing = wanted.nodes - names.count("slurmd")
    nodes = [count(missing, "node")] if missing > 0 else []
    return ([] if "slurmctld" in names else [CONTROLLER]) + nodes


# Up and down


def namespace_words() -> list[str] | None:
    """The start of a command that runs in namespaces of its own, or None where this system forbids it."""
    if not all(shutil.which(program, path=_with_sbin()) for program in ("unshare", "nsenter", "ip", "tc")):
        return None
    for words in (["unshare", *SEPARATE], ["unshare", *OWN_USER, *SEPARATE]):
        if os.geteuid() and OWN_USER[0] not in words:
            continue
        trial = subprocess.run([*words, "sh", "-c", TRIAL], capture_output=True, env=_environment())
        if trial.returncode == 0:
            return words
    return None


def _with_sbin() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _environment() -> dict[str, str]:
    return os.environ | {"PATH": _with_sbin()}


def free_ports(count: int) -> tuple[int, ...]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()


def _scratch() -> str:
    """A place that every node may see as its own without hiding the course or Python."""
    needed = [root(), Path(sys.prefix), Path(sys.base_prefix), Path.home(), folder()]
    for place in ("/var/tmp", "/tmp", "/mnt"):
        if not any(path.resolve().is_relative_to(place) for path in needed):
            return place
    raise CourseError("The course lies below /var/tmp, /tmp and /mnt. Move it into your home folder.")


def _check_size(nodes: int | None, link_mbit: int | None, mode: str | None) -> None:
    most = machines.machine("practice")["nodes"].value
    if nodes is not None and not 1 <= nodes <= most:
        raise CourseError(f"The practice supercomputer has 1 to {most} nodes, not {nodes}.")
    if link_mbit is not None and not 1 <= link_mbit <= 100_000:
        raise CourseError(f"A link cannot have {link_mbit} Mbit/s. Choose 1 to 100,000.")
    if mode not in (None, "namespaces", "plain"):
        raise CourseError(f"There is no mode '{mode}'. Known: namespaces, plain.")


def up(nodes: int | None = None, link_mbit: int | None = None, mode: str | None = None) -> Cluster:
    """Start the cluster, or mend the one that is up; returns when every node waits for work.

    `link_mbit` throttles the link of each node, in Mbit/s; None takes what is there. A cluster of another
    form is started anew if no job is in its queue. Raises CourseError where Slurm is missing or fails.
    """
    practice = machines.machine("practice")
    _check_size(nodes, link_mbit, mode)
    with _alone():
        if there := running():
            if _is_as_asked(there, nodes, link_mbit, mode):
                _supervisor().send_signal(signal.SIGUSR1)
                _wait_until_idle(there)
                return there
            if queue := run("squeue", "--noheader", check=False).stdout.strip():
                raise CourseError(
                    f"The practice supercomputer is up in another form, with jobs:\n{queue}\n"
                    "Let them end, or stop it first: scaleup practice down"
                )
            _end()
        _sweep_up()
        nodes = nodes or practice["nodes"].value
        installed = slurm.obtain()
        separate = namespace_words() if mode != "plain" else None
        if mode == "namespaces" and not separate:
            raise CourseError("This system does not let you make namespaces. Use the plain mode.")
        if not separate and not installed.munged:
            raise CourseError("Plain mode needs munge. On Debian and Ubuntu: sudo apt install munge.")
        place = folder()
        wanted = Cluster(
            folder=place,
            mode="namespaces" if separate else "plain",
            nodes=nodes,
            devices=practice["devices_per_node"].value,
            cores=practice["cores_per_node"].value,
            memory_gb=practice["node_memory_gb"].value,
            ports=(6817, 6818) if separate else free_ports(2 + nodes),
            link_mbit=link_mbit if separate else None,
            scratch=_scratch() if separate else "",
        )
        try:
            place.mkdir(mode=0o700)  # fails if somebody else made it
            configuration.write(wanted, installed)
            _start(wanted, installed, separate or [])
            _wait_until_idle(wanted)
        except OSError as error:
            _end()
            raise CourseError(
                f"The practice supercomputer could not be written to {place}: {error.strerror or error}. "
                "If the disk is full, make room; then start it again."
            ) from None
        except BaseException:
            _end()
            raise
        return wanted


def _is_as_asked(wanted: Cluster, nodes: int | None, link_mbit: int | None, mode: str | None) -> bool:
    asked = {"nodes": nodes, "link_mbit": link_mbit, "mode": mode}
    return all(getattr(wanted, name) == value for name, value in asked.items() if value is not None)


def _start(wanted: Cluster, installed: slurm.Slurm, separate: list[str]) -> None:
    (wanted.folder / "cluster.json").write_text(json.dumps({"cluster": wanted.as_json()}))
    environment = _environment() | installed.environment()
    environment |= {"SLURM_CONF": f"{wanted.folder}/slurm.conf", cleanup.MARK: mark()}
    environment |= {"SCALEUP_MUNGED": str(installed.munged)}
    for name in [name for name in environment if name.startswith("SLURM_") and name != "SLURM_CONF"]:
        del environment[name]  # of a job that we may be in
    words = [*separate, sys.executable, "-P", "-m", "scaleup.practice.supervisor", str(wanted.folder)]
    # Not our child: it outlives us, and whoever adopts it collects it.
    launcher = subprocess.run(
        ["sh", "-c", '"$@" >> "$0" 2>&1 < /dev/null & echo $!', wanted.folder / "supervisor.out", *words],
        env=environment, cwd="/", start_new_session=True, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    supervisor = _first_process(int(launcher.stdout), bool(separate))
    content = {"pid": supervisor.pid, "born": supervisor.create_time(), "cluster": wanted.as_json()}
    content |= {"own_user": OWN_USER[0] in separate, "environment": installed.environment()}
    (wanted.folder / "cluster.json").write_text(json.dumps(content))
    _write_commands(wanted)


def _first_process(launcher: int, separate: bool) -> psutil.Process:
    """The supervisor as seen from here: in namespaces the only child of its launcher."""
    deadline = time.monotonic() + 5
    with contextlib.suppress(psutil.NoSuchProcess):
        while time.monotonic() < deadline:
            process = psutil.Process(launcher)
            if found := process.children() if separate else [process]:
                return found[0]
            time.sleep(0.005)
    raise CourseError(f"The nodes could not be separated.\n{_last_lines()}")


def _wait_until_idle(wanted: Cluster) -> None:
    """Until no node is unknown or down. Raises CourseError with the last lines of the logs."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if not is_up():
            break
        said = run("sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%N %t", check=False)
        states = dict(line.split() for line in said.stdout.splitlines())
        good = [name for name, state in states.items() if state in ("idle", "alloc", "mix", "comp")]
        if said.returncode == 0 and len(good) == wanted.nodes:
            return
        time.sleep(0.05)
    raise CourseError(f"The practice supercomputer did not start.\n{_last_lines()}")


def _last_lines() -> str:
    logs = [*folder().glob("*.out"), *folder().glob("*.log"), *folder().glob("nodes/*/slurmd.log")]
    lines = [
        f"  {log.name}: {line}"
        for log in logs
        for line in log.read_text(errors="replace").splitlines()[-3:]
        if "error" in line.lower() or "fatal" in line.lower() or log.name == "supervisor.out"
    ]
    return "\n".join(lines) or "  (the logs are silent)"


def down() -> bool:
    """End every process of the cluster and remove its folder; False if there was none."""
    with _alone():
        there = folder().exists()
        _end()
        return there


def _end() -> None:
    if supervisor := _supervisor():
        with contextlib.suppress(psutil.Error):
            launcher = supervisor.parent()
            if launcher.name() == "unshare":
                supervisor.kill()  # process 1 of its tree: the kernel ends the rest
                psutil.wait_procs([supervisor, launcher], timeout=15)
            else:
                supervisor.terminate()  # it ends what carries its mark
                psutil.wait_procs([supervisor], timeout=15)
    _sweep_up()


def step_daemons(place: Path) -> list[psutil.Process]:
    """Slurm's step daemons that write to the cluster's log. They hide their environment behind a title."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == "slurmstepd":
                files = [os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
                if any(file.startswith(f"{place}/") for file in files):
                    found.append(process)
    return found


def _sweep_up() -> None:
    """What a killed supervisor may have left: marked processes (plain mode), the folder."""
    cleanup.sweep(mark(), patience=1.0)
    place = folder()
    for process in step_daemons(place):
        with contextlib.suppress(psutil.Error):
            process.kill()
    if place.is_symlink() or (place.exists() and place.stat().st_uid != os.getuid()):
        raise CourseError(f"{place} belongs to another user. Remove it, or ask them to.")
    shutil.rmtree(place, ignore_errors=True)


# Commands on the login node


def _entering() -> list[str]:
    """The start of a command that runs on the login node. Raises CourseError when nothing is up."""
    supervisor, content = _supervisor(), _content()
    if not supervisor:
        raise CourseError("The practice supercomputer is not up. Start it: scaleup practice up")
    if content["cluster"]["mode"] == "plain":
        return []
    user = ["--user", "--preserve-credentials"] if content["own_user"] else []
    return ["nsenter", f"--target={supervisor.pid}", *user, "--net", "--mount", "--uts", "--pid"]


def _client_environment() -> dict[str, str]:
    content = _content() or {}
    place = folder()
    return content.get("environment", {}) | {
        "SLURM_CONF": f"{place}/slurm.conf",
        "DASK_CONFIG": f"{place}/dask",
        cleanup.MARK: mark(),
        "PATH": f"{place}/bin:{os.environ.get('PATH', '')}",
    }


def command(words: Sequence[str], cwd: Path | None = None) -> list[str]:
    """A command line that runs `words` on the login node, in the working directory `cwd`."""
    settings = [f"{name}={value}" for name, value in _client_environment().items()]
    # Entering a mount namespace forgets the working directory.
    there = ["sh", "-c", 'cd "$0" && exec "$@"', str(cwd or Path.cwd())]
    return [*_entering(), "env", *settings, *there, *words]


def run(
    *words: str, check: bool = True, timeout: float | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess:
    """Run a command on the login node and return what it said (text). Raises CourseError if it fails."""
    done = subprocess.run(
        command(words, cwd), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
    if check and done.returncode:
        raise CourseError(f"{' '.join(words)} failed: {(done.stderr or done.stdout).strip()}")
    return done


def wait(job: str | int, limit: float = 120.0) -> str:
    """Wait until a job has ended; returns its state, such as COMPLETED.

    `sbatch --wait` looks only now and then; this looks all the time. Raises CourseError after `limit` s.
    """
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        said = run("scontrol", "--oneliner", "show", "job", str(job)).stdout
        told = {name: value for name, _, value in (part.partition("=") for part in said.split())}
        if told["JobState"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED"):
            return told["JobState"]
        time.sleep(0.3)  # each look costs the jobs some of the real cores
    raise CourseError(
        f"Job {job} is {told['JobState']} after {limit:.0f} s (reason: {told['Reason']}). "
        f"Look at it with 'scontrol show job {job}', or cancel it with 'scancel {job}'."
    )


def _write_commands(wanted: Cluster) -> None:
    """A folder of the Slurm commands for a notebook's PATH: each enters the login node by itself."""
    place = wanted.folder / "commands"
    place.mkdir()
    (place / ".practice").touch()  # not an installation: slurm.find passes it by
    supervisor = _content()["pid"]
    entering = " ".join(_entering())
    settings = " ".join(
        f"{name}='{value}'" for name, value in _client_environment().items() if name != "PATH"
    )
    for name in (*slurm.CLIENTS, "login"):
        words = name if name != "login" else ""
        script = place / name
        script.write_text(
            f"#!/bin/sh\n"
            f"[ -d /proc/{supervisor} ] || "
            f"{{ echo 'The practice supercomputer is not up. Start it: scaleup practice up' >&2; exit 2; }}\n"
            f'exec {entering} env {settings} PATH="{wanted.folder}/bin:$PATH" '
            f"""sh -c 'cd "$0" && exec "$@"' "$PWD" {words} "$@"\n"""
        )
        script.chmod(0o700)


def connect(lesson: str | None = None, link_mbit: int | None = None) -> Path:
    """Start the cluster afresh for a notebook; returns the working directory, where the notebook now is.

    Puts Slurm's commands and this Python first in PATH, for `!squeue` in a cell and `python` in a job. Moves
    into a new folder of `.scaleup/` with the job scripts that belong to the lesson (the folder of its name
    beside the notebook or exercise). Jobs of an earlier start end.
    """
    scripts = [path for path in (Path.cwd() / str(lesson), Path.cwd()) if path.is_dir()]
    down()
    wanted = up(link_mbit=link_mbit)
    atexit.register(_end_with_notebook, _supervisor().pid)
    first = [str(wanted.folder / "commands"), str(Path(sys.executable).parent)]
    rest = [part for part in os.environ["PATH"].split(os.pathsep) if part not in first]
    os.environ["PATH"] = os.pathsep.join([*first, *rest])
    desk = state() / "desk" / (lesson or "work")
    if Path.cwd() != desk:  # a cell that runs twice is there already
        shutil.rmtree(desk, ignore_errors=True)
        if lesson and scripts[0].name == lesson:
            shutil.copytree(scripts[0], desk)
        desk.mkdir(parents=True, exist_ok=True)
        os.chdir(desk)
    return desk


def _end_with_notebook(supervisor: int) -> None:
    """At the kernel's end: the cluster that it started ends too, unless jobs wait or run on it."""
    with contextlib.suppress(Exception):
        now = _supervisor()
        if now and now.pid == supervisor and not run("squeue", "--noheader", timeout=10).stdout.strip():
            down()


def shell() -> int:
    """A shell on the login node; returns its exit status."""
    environment = os.environ | {"PS1": f"{getpass.getuser()}@{configuration.LOGIN}:\\w$ "}
    words = command(["bash", "--norc", "-i"])
    print("You are on the login node. Leave with 'exit'.")
    return subprocess.call(words, env=environment)


def status() -> str:
    """What is up, in a few lines."""
    wanted = running()
    if not wanted:
        return "The practice supercomputer is not up. Start it: scaleup practice up"
    dead = dead_parts()
    mend = f"Up, but without {' and '.join(dead)}. This mends it: scaleup practice up\n\n" if dead else ""
    if CONTROLLER in dead:
        return mend.strip()  # nobody answers
    nodes = run("sinfo", "--Node", "--partition=gpu", "--format=%8N %8t %5c %7m %10G").stdout.rstrip()
    jobs = run("squeue", "--format=%7i %10P %16j %8T %8M %5D %R").stdout.rstrip()
    link = f", links of {wanted.link_mbit} Mbit/s" if wanted.link_mbit else ""
    return f"{mend}{wanted.nodes} nodes, mode {wanted.mode}{link}\n\n{nodes}\n\n{jobs}"

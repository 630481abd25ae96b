"""Asks a real Slurm whether a machine of `data/machines.yml` would take a job script. Nothing is ever run.

A private slurmctld gets the machine's nodes and queues and no slurmd at all; `sbatch --test-only` then says
what it says on the machine itself. Limits that the data do not hold, it cannot know.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from .. import machines
from ..computer import slurm
from ..errors import CourseError
from ..ranks import cleanup
from . import authentication, cluster
from .advice import Adviser
from .request import request
from .stand_in import job_submit_lua, slurm_conf

START_LIMIT = 60.0  # seconds; 6000 nodes are up in less than one
ANSWER_LIMIT = 60.0  # seconds
# With nothing but 127.0.0.1 in it, a namespace counts as having no IPv4, and slurmctld ends.
ALONE = 'ip link set lo up && ip address add 10.77.0.254/32 dev lo && exec "$0" "$@"'


@dataclass(frozen=True)
class Verdict:
    """`scheduler` is what Slurm said. `advice` is ours: what to change, or a remark on an accepted script."""

    accepted: bool
    scheduler: str
    advice: str


class Validator:
    """A scheduler for one machine, up within the `with` block. Ask it as often as you like.

    Raises CourseError for a machine that is unknown or not in operation, and where Slurm is missing or
    does not start. A guard ends the scheduler and removes its folder even if this process is killed.
    `mode` "plain" means loopback and munge, as where the system forbids namespaces.
    """

    def __init__(self, machine_id: str, mode: str | None = None) -> None:
        self.machine_id = machine_id
        self.machine = machines.machine(machine_id)
        self.mode = mode
        if not str(self.machine["status"]).startswith("operational"):
            raise CourseError(
                f"{self.machine['name']} takes no jobs yet ({self.machine['status']}). "
                "Choose a machine that runs."
            )

    def __enter__(self) -> Validator:
        installed = slurm.obtain()
        self._separate = cluster.namespace_words() if self.mode != "plain" else None
        if not self._separate and not installed.munged:
            raise CourseError(
                "This system does not let you make namespaces, so munge is needed. "
                "On Debian and Ubuntu: sudo apt install munge."
            )
        shallow = len(tempfile.gettempdir()) <= cluster.LONGEST_FOLDER
        self.folder = Path(tempfile.mkdtemp(prefix="scaleup-check-", dir=None if shallow else "/tmp"))
        run_id = f"check-{secrets.token_hex(5)}"
        self._guard = cleanup.start(run_id, self.folder)
        self._running: list[subprocess.Popen] = []
        self._inside = 0  # the process whose namespaces the commands enter
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))
        }
        self._environment |= installed.environment() | {
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
            cleanup.MARK: run_id,
        }
        try:
            self._start(installed)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the scheduler and remove its folder."""
        ended = []
        for process in self._running:
            with contextlib.suppress(psutil.Error):
                ended += psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
        for process in ended:  # the kernel ends those in namespaces by itself, but not before we go on
            with contextlib.suppress(psutil.Error):
                process.kill()
                while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    time.sleep(0.005)
        self._guard.close()

    def _start(self, installed: slurm.Slurm) -> None:
        folder = self.folder
        installed.link(folder)
        (folder / "state").mkdir()
        if self._separate:  # nobody else can reach this port
            port = 6817
        else:
            (port,) = cluster.free_ports(1)
            self._start_munged(installed.munged)
        security = authentication.settings(folder, private_network=bool(self._separate))
        texts = {
            "slurm.conf": slurm_conf(self.machine, folder, installed, security, port),
            "gres.conf": "AutoDetect=off\n",
            "job_submit.lua": job_submit_lua(self.machine),
        }
        for name, text in texts.items():
            (folder / name).write_text(text)
        alone = [*self._separate, "sh", "-c", ALONE] if self._separate else []
        launcher = self._spawn("slurmctld", [*alone, f"{folder}/sbin/slurmctld", "-D", "-c"])
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline and launcher.poll() is None:
            self._inside = self._inside or self._first_child(launcher)
            if self._inside and "is UP" in self._run("scontrol", "ping").stdout:
                return
            time.sleep(0.02)
        log = (folder / "slurmctld.out").read_text(errors="replace").splitlines()
        raise CourseError("Slurm's controller did not start. Its last words:\n  " + "\n  ".join(log[-3:]))

    def _start_munged(self, program: Path) -> None:
        munged = self._spawn("munged", authentication.munged(program, self.folder))
        deadline = time.monotonic() + START_LIMIT
        while not authentication.socket(self.folder).exists():
            if munged.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "munged.out").read_text(errors="replace").strip()
                raise CourseError(f"munge did not start. It said:\n  {said}")
            time.sleep(0.02)

    def _spawn(self, name: str, words: list[str]) -> subprocess.Popen:
        with open(self.folder / f"{name}.out", "ab") as log:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        self._running.append(process)
        return process

    def _first_child(self, launcher: subprocess.Popen) -> int:
        """The first process in the namespaces; 0 before there is one. Without namespaces the launcher."""
        if not self._separate:
            return launcher.pid
        with contextlib.suppress(psutil.Error):
            return next((child.pid for child in psutil.Process(launcher.pid).children()), 0)
        return 0

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess:
        entering = []
        if self._separate:
            user = ["--user", "--preserve-credentials"] if "--user" in self._separate else []
            entering = ["nsenter", f"--target={self._inside}", *user, "--net"]
        try:
            return subprocess.run(
                [*entering, f"{self.folder}/bin/{program}", *words],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                env=self._environment, timeout=ANSWER_LIMIT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise CourseError(f"Slurm did not answer within {ANSWER_LIMIT:.0f} seconds. Try again.") from None

    def check(self, script: Path, extra: Iterable[str] = ()) -> Verdict:
        """Ask about one script; `extra` are options as for sbatch. Raises CourseError if it is no script."""
        script, extra = Path(script), list(extra)
        text = read(script)
        if any(process.poll() is not None for process in self._running):
            raise CourseError("The scheduler has ended. Start the check again.")
        said = self._run("sbatch", "--test-only", *extra, str(script.resolve()))
        words = (said.stderr + said.stdout).replace(f"{self.folder}/bin/", "").strip()
        if re.search(r"^nsenter:|[Uu]nable to contact|[Ss]ocket timed out", words, re.MULTILINE):
            raise CourseError(f"The scheduler does not answer: {words}. Ask again.")
        about = Adviser(self.machine, request(text, extra))
        if said.returncode == 0:
            return Verdict(True, words, about.remarks())
        known = re.findall(r"--([a-z][\w-]+)", self._run("sbatch", "--help").stdout)
        return Verdict(False, words, about.refusal(words, known))


def read(script: Path) -> str:
    """The text of a script. Raises CourseError if it is none."""
    try:
        text = script.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CourseError(f"{script} cannot be read: {error.strerror}. Name a job script.") from None
    if not text.startswith("#!"):
        raise CourseError(f"{script} is not a script. Its first line must be #!/bin/bash, or the like.")
    return text


def main(script: Path, machine_id: str) -> int:
    """`scaleup practice check`: print the scheduler's words, then ours. Returns 0 if accepted, else 1."""
    read(Path(script))
    with Validator(machine_id) as validator:
        verdict = validator.check(script)
    print(verdict.scheduler)
    if verdict.accepted:
        print(f"Accepted, by a Slurm with the limits of {validator.machine['name']} in data/machines.yml.")
    if verdict.advice:
        print(verdict.advice)
    return 0 if verdict.accepted else 1

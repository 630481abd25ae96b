"""Asks a real Slurm whether a machine of `data/machines.yml` would take a job script. Nothing is ever run.

A private slurmctld gets the machine's nodes and queues and no slurmd at all; `sbatch --test-only` then says
what it says on the machine itself. Limits that the data do not hold, it cannot know.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from .. import machines
from ..computer import slurm
from ..errors import CourseError
from ..ranks import cleanup
from . import authentication, cluster
from .advice import Adviser
from .reading import Reading
from .remark_table import ACCEPTED, EXPLAINING, REFUSED
from .remarks import remarks
from .slurm_versions import OPTIONS
from .stand_in import job_submit_lua, slurm_conf
from .verdicts import Verdict

START_LIMIT = 60.0  # seconds; 6000 nodes are up in less than one
ANSWER_LIMIT = 60.0  # seconds
# With nothing but 127.0.0.1 in it, a namespace counts as having no IPv4, and slurmctld ends.
ALONE = 'ip link set lo up && ip address add 10.77.0.254/32 dev lo && exec "$0" "$@"'


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
        shallow = cluster.is_fit(Path(tempfile.gettempdir()))
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
        return self.judge(read(Path(script)), Path(script).resolve(), extra)

    def judge(self, text: str, script: Path, extra: Iterable[str] = ()) -> Verdict:
        """Ask about the text of the file `script`."""
        extra = list(extra)
        if any(process.poll() is not None for process in self._running):
            raise CourseError("The scheduler has ended. Start the check again.")
        said = self._run("sbatch", "--test-only", *extra, str(self._for_this_slurm(text, script)))
        words = (said.stderr + said.stdout).replace(f"{self.folder}/bin/", "").strip()
        if re.search(r"^nsenter:|[Uu]nable to contact|[Ss]ocket timed out", words, re.MULTILINE):
            raise CourseError(f"The scheduler does not answer: {words}. Ask again.")
        if said.returncode == 0:
            reading = Reading(text, self.machine, extra, nodes_in(words))
            return Verdict(True, words, (), tuple(remarks(reading, ACCEPTED)))
        reading = Reading(text, self.machine, extra)
        adviser, found = Adviser(reading), remarks(reading, REFUSED)
        refusal = adviser.refusal(words, self._options)
        if not refusal and not any(remark.name in EXPLAINING for remark in found):
            refusal = [adviser.general()]
        return Verdict(False, words, tuple(refusal), tuple(found))

    @functools.cached_property
    def _options(self) -> list[str]:
        return re.findall(r"--([a-z][\w-]+)", self._run("sbatch", "--help").stdout)

    def _for_this_slurm(self, text: str, script: Path) -> Path:
        """The script itself, or a copy without the options that are newer than the Slurm here."""
        newer = [name for name in OPTIONS if name not in self._options] if "#SBATCH" in text else []
        pattern = rf"--({'|'.join(newer)})(=\S+)?(?=\s|$)"
        if not newer or not re.search(rf"^#SBATCH.*{pattern}", text, re.MULTILINE):
            return script
        lines = [
            re.sub(pattern, "", line) if line.startswith("#SBATCH") else line
            for line in text.splitlines(keepends=True)
        ]
        copy = self.folder / "script.sh"
        copy.write_text("".join(lines), newline="")
        return copy


def nodes_in(words: str) -> int | None:
    """How many nodes the scheduler would give: 4 of 'on nodes node[1-3,7]'."""
    found = re.search(r"on nodes (\S+)", words)
    if not found or "+" in words:
        return None
    nodes = 0
    for group in re.findall(r"[^,\[\]]+(?:\[([^\]]*)\])?", found[1]):
        for part in (group or "1").split(","):
            first, _, last = part.partition("-")
            nodes += int(last) - int(first) + 1 if last else 1
    return nodes


def read(script: Path) -> str:
    """The text of a script. Raises CourseError if it is none."""
    try:
        text = script.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise CourseError(f"{script} cannot be read: {error.strerror}. Name a job script.") from None
    if not text.removeprefix("\ufeff").startswith("#!"):
        raise CourseError(f"{script} is not a script. Its first line must be #!/bin/bash, or the like.")
    return text

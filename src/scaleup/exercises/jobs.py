"""Trying job scripts on the practice supercomputer, for the checks of the lessons on machines."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from .. import practice
from ..errors import CourseError
from ..paths import state
from ..practice.request import request
from .register import NotYet

Settings = Mapping[str, object]
PYTHON = str(Path(sys.executable).parent)  # for `path`: scripts find this Python


class Refused(NotYet):
    """The scheduler refused a script; `reasons` are its own words."""

    def __init__(self, reasons: list[str], unread: str) -> None:
        super().__init__(f"the scheduler refuses it: {'; '.join(reasons)}{unread}")
        self.reasons = reasons


@contextlib.contextmanager
def cluster(*, empty: bool = False) -> Iterator[Path]:
    """The practice supercomputer as it was, or started for this check alone; gives a folder of its own.

    Jobs that were submitted in that folder end with it. Raises CourseError where `empty` is asked for and
    others have jobs.
    """
    was_up = practice.is_up()
    practice.up()
    if empty and practice.run("squeue", "--noheader").stdout.strip():
        raise CourseError(
            "The practice supercomputer has other jobs. Cancel them (scancel --me), then check again."
        )
    folder = Path(tempfile.mkdtemp(dir=state(), prefix="check-"))
    try:
        yield folder
    finally:
        while was_up and (ours := [job for job, _ in queue(folder, "%i")]):
            practice.run("scancel", *ours, check=False)
            time.sleep(0.1)
        if not was_up:
            practice.down()
        shutil.rmtree(folder, ignore_errors=True)


def queue(folder: Path, form: str) -> list[tuple[str, str]]:
    """The jobs that were submitted in `folder` or below: what squeue shows of each in `form`, and where."""
    lines = practice.run("squeue", "--noheader", f"--format={form}\t%Z", check=False).stdout.splitlines()
    shown = [tuple(line.split("\t")) for line in lines if "\t" in line]
    return [(words, place) for words, place in shown if Path(place).is_relative_to(folder)]


def submit(*words: object, cwd: Path, path: str = "", settings: Settings | None = None) -> str:
    """The number of a new job, with `path` in front of PATH and variables set, or unset where None.

    Raises Refused.
    """
    variables = [f"{name}={value}" for name, value in (settings or {}).items() if value is not None]
    unset = [f"--unset={name}" for name, value in (settings or {}).items() if value is None]
    command = ("sh", "-c", 'PATH="$0${0:+:}$PATH" exec "$@"', path, "env", *unset, *variables)
    said = practice.run(*command, "sbatch", "--parsable", *map(str, words), check=False, cwd=cwd)
    if said.returncode:
        script = cwd / str(words[-1])
        text = script.read_text("utf-8") if script.is_file() else ""
        raise Refused([line.split(": ")[-1] for line in said.stderr.strip().splitlines()], unread(text))
    return said.stdout.strip()


def unread(text: str) -> str:
    """The end of a sentence, if a script has lines that were meant for Slurm and that it passes over."""
    if request(text).late:
        return ". Slurm reads no #SBATCH line below the first command"
    comment = re.search(r"^#\s+SBATCH|^#(?!SBATCH)(?i:sbatch)", text, re.MULTILINE)
    return f". To Slurm '{comment[0]}' is a comment: it reads #SBATCH only" if comment else ""


def fields(job: str) -> dict[str, str]:
    """What the scheduler noted for a job, by scontrol's names."""
    shown = practice.run("scontrol", "--oneliner", "--details", "show", "job", job).stdout
    return {name: value for name, _, value in (part.partition("=") for part in shown.split())}


def last_words(log: str) -> str:
    """The last line of a log, the program's own if there is one."""
    lines = [line for line in log.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith("srun: ")]
    return (own or lines or ["nothing in its log"])[-1].removeprefix("srun: ")


class Trial:
    """A script in a folder of its own, with the files beside it; asked about or run when somebody looks."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.folder, self.script, self.text = folder, path.name, path.read_text("utf-8")
        for file in path.parent.iterdir():
            if file.suffix in (".py", ".sh"):
                shutil.copy(file, folder)

    @functools.cached_property
    def options(self) -> dict[str, str]:
        return request(self.text).options

    @functools.cached_property
    def unread(self) -> str:
        return unread(self.text)

    @functools.cached_property
    def asked(self) -> dict[str, str]:
        """What the scheduler understands; the job is held and never runs. Raises Refused."""
        submit(
            "--test-only", self.script, cwd=self.folder
        )  # Slurm does not compare a held job with the nodes
        job = submit("--hold", self.script, cwd=self.folder)
        noted = fields(job)
        practice.run("scancel", job)
        return noted

    @functools.cached_property
    def minutes(self) -> float:
        hours, minutes, seconds = (int(part) for part in self.asked["TimeLimit"].split("-")[-1].split(":"))
        return 60 * hours + minutes + seconds / 60

    @functools.cached_property
    def nodes(self) -> int:
        """As asked for; where the script leaves it to Slurm, as given."""
        noted = self.asked if "nodes" in self.options else self.ran
        return int(noted["NumNodes"].split("-")[0])

    @functools.cached_property
    def tasks(self) -> int:
        return int(self.asked["NumTasks"])

    @functools.cached_property
    def devices(self) -> int:
        """Of all nodes."""
        for part, times in (("Job", lambda: 1), ("Node", lambda: self.nodes), ("Task", lambda: self.tasks)):
            if found := re.search(r"gpu\S*?:(\d+)$", self.asked.get(f"TresPer{part}", "")):
                return int(found[1]) * times()
        return 0

    def run(self, limit: float = 30, path: str = "", settings: Settings | None = None) -> dict[str, str]:
        """Run the script as `submit` does; gives what was noted (RUNNING after `limit` s) and its log."""
        log = self.folder / "job.log"
        log.unlink(missing_ok=True)
        words = (f"--output={log}", f"--error={log}", self.script)
        job = submit(*words, cwd=self.folder, path=path, settings=settings)
        try:
            practice.wait(job, limit)
        except CourseError:
            if fields(job)["JobState"] == "PENDING":
                raise NotYet("the job did not start: squeue shows which other jobs hold the nodes") from None
        finally:
            noted = fields(job)
            practice.run("scancel", job, check=False)
        return noted | {"log": log.read_text(errors="replace") if log.exists() else ""}

    @functools.cached_property
    def ran(self) -> dict[str, str]:
        return self.run()

    log = property(lambda self: self.ran["log"])
    state = property(lambda self: self.ran["JobState"])
    last = property(lambda self: last_words(self.log))


def trial(path: Path, kind: type[Trial] = Trial, empty: bool = True) -> Iterator[Trial]:
    """For `rules`: sees a script that waits for questions, on the practice supercomputer."""
    with cluster(empty=empty) as folder:
        yield kind(path, folder)

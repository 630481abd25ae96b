"""Slurm, here or on a real machine: submit a job once, and ask later whether it is still there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .. import practice
from ..errors import CourseError
from ..paths import root

LIMIT = 120  # seconds that Slurm may take for an answer


class Scheduler:
    """Slurm's commands on the machine where this runs: its login node, or the practice supercomputer."""

    def __init__(self, machine: str) -> None:
        self.practice = machine == "practice"
        if self.practice and not practice.is_up():
            raise CourseError("The practice supercomputer is not up. Start it: scaleup practice up")
        if not self.practice and not shutil.which("sbatch"):
            raise CourseError(
                f"There is no sbatch here. Start the study on a login node of {machine}, in the course's "
                "folder; or try it with --machine practice."
            )

    def say(self, *words: str) -> subprocess.CompletedProcess:
        if self.practice:
            return practice.run(*words, check=False, timeout=LIMIT, cwd=root())
        return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, cwd=root(),
                              stdin=subprocess.DEVNULL)  # fmt: skip

    def submit(self, script: Path, name: str, log: str, after: str | None = None) -> str:
        """The number of the new job. It starts when job `after` has ended, however it did."""
        words = ["sbatch", "--parsable", f"--job-name={name}", f"--output={log}", f"--chdir={root()}"]
        words += [f"--dependency=afterany:{after}"] if after else []
        said = self.say(*words, str(script))
        if said.returncode:
            reason = " ".join(line.split("error: ")[-1] for line in said.stderr.strip().splitlines())
            raise CourseError(f"Slurm refuses the job {name}: {reason}. Its script is {script}.")
        return said.stdout.strip().split(";")[0]

    def named(self, name: str) -> str | None:
        """The number of a queued job of this name, if there is one: an interrupted call submitted it."""
        said = self.say("squeue", "--me", "--noheader", f"--name={name}", "--format=%i")
        return said.stdout.split()[0] if said.returncode == 0 and said.stdout.split() else None

    def states(self, jobs: Iterable[str]) -> dict[str, str]:
        """{job: such as RUNNING} of those that are still in the queue."""
        wanted = set(jobs)
        if not wanted:
            return {}
        said = self.say("squeue", "--me", "--noheader", "--format=%i %T")
        if said.returncode:
            raise CourseError(f"Slurm does not answer: {said.stderr.strip()}. Call again later.")
        shown = (line.split() for line in said.stdout.splitlines())
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "COMPLETING")
        return {job: state for job, state in shown if job in wanted and state not in ended}

    def version(self) -> str:
        """Such as 'slurm-wlm 22.05.8'."""
        return self.say("sbatch", "--version").stdout.strip()

    def about(self) -> dict[str, object]:
        """What of the practice supercomputer a reader of the study needs to know."""
        from ..practice import cluster

        there = cluster.running() if self.practice else None
        return {"link_mbit": there.link_mbit, "mode": there.mode} if there else {}

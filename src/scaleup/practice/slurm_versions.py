"""What depends on Slurm's version: each fact with the version from which, or until which, it holds.

Read in SchedMD's release notes; the practice supercomputer and the validator run whatever is installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NOTES = "https://github.com/SchedMD/slurm/blob/{}/RELEASE_NOTES"


@dataclass(frozen=True)
class VersionFact:
    """Holds from `since` (included) and before `until`; None where there is no such end."""

    text: str
    since: str | None = None
    until: str | None = None

    def holds(self, version: str | None) -> bool | None:
        """None where the version is not known."""
        if version is None:
            return None
        here = ordered(version)
        return (self.since is None or here >= ordered(self.since)) and (
            self.until is None or here < ordered(self.until)
        )

    def when(self) -> str:
        """'from 22.05 to before 23.11'."""
        parts = [f"from {self.since}" if self.since else "", f"before {self.until}" if self.until else ""]
        return " and ".join(part for part in parts if part)


def ordered(version: str) -> tuple[int, ...]:
    """24.11.3 as numbers that compare."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


NO_LOG_FOLDERS = VersionFact("Slurm makes no folder for a log: without it the job fails", until="23.02")
SRUN_FORGETS_CPUS = VersionFact("srun does not take over --cpus-per-task", since="22.05", until="23.11")
# Options of sbatch that came after the oldest Slurm that we check with.
OPTIONS = {
    "tres-per-task": VersionFact("", since="23.02"),
    "segment": VersionFact("", since="24.05"),
    "stepmgr": VersionFact("", since="24.05"),
    "resv-ports": VersionFact("", since="23.11"),
    "oom-kill-step": VersionFact("", since="24.05"),
    "external-launcher": VersionFact("", since="23.11"),
    "consolidate-segments": VersionFact("", since="25.05"),
    "spread-segments": VersionFact("", since="25.05"),
}

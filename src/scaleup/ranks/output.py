"""What the ranks of a run write: followed as it comes, labelled, in an order that two runs share."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ..errors import CourseError
from .failures import (
    AFTERMATH,
    MISMATCH,
    RanksFailed,
    exception,
    first_failed,
    sentence,
    shorten,
    unequal,
    where,
)

TRACEBACK = re.compile(r"Traceback \(most recent call last\)|  \+ Exception Group|  File \"|  Cell In\[")
CRASH = "Fatal Python error: "  # where faulthandler begins to write what a dying process was doing
LIBRARY_LOG = re.compile(r"(\[rank\d+\]:)?\[[WI]\d+ [\d:.]+ \S+:\d+\]")


class File:
    """Follows a text file that somebody else writes, in whole lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = 0
        self._begun = b""

    def new_lines(self, final: bool = False) -> list[str]:
        with self.path.open("rb") as file:
            file.seek(self._place)
            data = file.read()
        self._place += len(data)
        *whole, self._begun = (self._begun + data).split(b"\n")
        if final and self._begun:
            whole.append(self._begun)
            self._begun = b""
        # A progress bar overwrites its line; what it wrote last is what a reader would see.
        return [line.decode(errors="replace").rstrip("\r").rpartition("\r")[2] for line in whole]


class RankLogs:
    """What one rank writes: `lines` to stdout; `warnings`, then perhaps a `traceback` or, where a signal
    ended it, a `stack`, to stderr."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.rank = rank
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.traceback: list[str] = []
        self.stack: list[str] = []
        self._folder = folder
        self._out: File | None = None
        self._err: File | None = None

    def follow(self, show: Screen, final: bool = False) -> None:
        if self._err is None:
            # torchrun names a folder for the run, the attempt (there is only one) and the rank.
            found = list(self._folder.glob(f"*/attempt_0/{self.rank}/stderr.log"))
            if not found or not found[0].with_name("stdout.log").exists():
                return
            self._err, self._out = File(found[0]), File(found[0].with_name("stdout.log"))
        for line in self._out.new_lines(final):
            self.lines.append(line)
            show.printed(self.rank, line)
        for line in self._err.new_lines(final):
            line = line.removeprefix(f"[rank{self.rank}]: ")
            if self.stack or line.startswith(CRASH):
                self.stack.append(line)
            elif self.traceback or TRACEBACK.match(line):
                self.traceback.append(line)
            elif not LIBRARY_LOG.match(line):
                self.warnings += shorten([line])
                show.warned(self.rank, self.warnings[-1])

    @property
    def stack_is_whole(self) -> bool:
        return any(line.startswith("Extension modules: ") for line in self.stack)

    @property
    def last_write(self) -> int:
        """When the traceback was written, in nanoseconds."""
        return self._err.path.stat().st_mtime_ns if self._err else sys.maxsize


class Screen:
    """Prints labelled lines in the order that `run` promises."""

    def __init__(self, stream: bool, quiet: bool) -> None:
        self._stream = stream
        self._quiet = quiet

    def line(self, rank: int, line: str) -> None:
        if not self._quiet:
            print(f"[rank {rank}] {line}", flush=True)

    def printed(self, rank: int, line: str) -> None:
        if self._stream or rank == 0:
            self.line(rank, line)

    def warned(self, rank: int, line: str) -> None:
        # A warning and a printed line come through two files, so their order is only fixed at the end.
        if self._stream:
            self.line(rank, line)

    def rest(self, logs: list[RankLogs], failed: bool = False) -> None:
        """What is still to be shown. After a failure the caller shows one traceback; otherwise they are all
        of exceptions that the program handled and reported itself."""
        for log in logs:
            log.follow(self, final=True)
        for log in logs:
            lines = [] if self._stream else (log.lines if log.rank else []) + log.warnings
            for line in lines + ([] if failed else shorten(log.traceback)):
                self.line(log.rank, line)


def failure(logs: list[RankLogs], show: Screen, report: str) -> CourseError:
    """Print what the ranks wrote and the first failed rank's traceback; return the error to raise."""
    show.rest(logs, failed=True)
    first = first_failed(
        [(log.rank, *exception(log.traceback), log.last_write / 1e9) for log in logs if log.traceback]
    )
    if first is None or AFTERMATH.search("\n".join(logs[first].traceback)):
        # Killed, crashed in native code, or left with sys.exit(code): an exit code is all there is. torchrun
        # itself sends SIGTERM to the others, so that one says nothing.
        codes = re.findall(r"rank +: (\d+) .*\n +exitcode +: (-?\d+)", report)
        codes = {int(rank): int(code) for rank, code in codes if code not in ("0", "-15")}
        if silent := sorted(rank for rank in codes if not logs[rank].traceback):
            rank, code = silent[0], codes[silent[0]]
            how = f"was ended by signal {-code}" if code < 0 else f"left with exit code {code}"
            why = f": {logs[rank].warnings[-1].rstrip('.')}" if logs[rank].warnings else " and no traceback"
            _, line = where("\n".join(logs[rank].stack))
            if any(MISMATCH in warning for warning in logs[rank].warnings):
                return RanksFailed(unequal(rank, line), rank, "")
            return RanksFailed(f"Rank {rank} {how}{f' in {line}' if line else why}.", rank, "")
    if first is None:
        last = next((line for line in reversed(report.splitlines()) if line.strip()), "no message")
        return CourseError(f"torchrun ended without running the program to its end: {last.strip()}")
    text = shorten(logs[first].traceback)
    for line in text:
        show.line(first, line)
    return RanksFailed(sentence(first, *exception(logs[first].traceback)), first, "\n".join(text))

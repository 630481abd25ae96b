"""Leaves no process behind, even when the notebook's kernel is killed.

A run marks its processes: their environment holds `SCALEUP_RUN=<run id>`. Beside them lives a guard, a small
process whose standard input is a pipe that only the owner (the kernel, or a script) can write to. When the
owner dies, for whatever reason, the operating system closes the pipe and the guard ends the marked processes.

    python -m scaleup.ranks.cleanup RUN_ID FOLDER
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

MARK = "SCALEUP_RUN"


def processes(run_id: str) -> list[psutil.Process]:
    """The living processes of this user that carry the mark of `run_id`. A zombie counts as dead."""
    found = []
    for process in psutil.process_iter():
        # Processes come and go while we look, and those of other people cannot be read.
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == run_id:
                found.append(process)
    return found


def sweep(run_id: str, patience: float = 3.0) -> list[psutil.Process]:
    """End every process of the run: SIGTERM first, SIGKILL after `patience` seconds.

    Looks again until none is found, because a process may start another one meanwhile. Returns what is still
    alive 10 seconds later (an empty list, unless the kernel of the system cannot end a process).
    """
    begin = time.monotonic()
    asked: set[int] = set()
    while left := processes(run_id):
        waited = time.monotonic() - begin
        if waited > patience + 10:
            break
        for process in left:
            with contextlib.suppress(psutil.Error):
                if waited > patience:
                    process.kill()
                elif process.pid not in asked:
                    asked.add(process.pid)
                    process.terminate()
        time.sleep(0.05)
    return left


class Guard:
    """The owner's end of a guard. `close()` ends the run's processes and removes its folder."""

    def __init__(self, run_id: str, folder: Path, process: subprocess.Popen) -> None:
        self.run_id = run_id
        self.folder = folder
        self._process = process

    def close(self) -> None:
        pipe = self._process.stdin
        if pipe.closed:
            return
        try:
            sweep(self.run_id)
            shutil.rmtree(self.folder, ignore_errors=True)
            # One byte says "all done". If we are interrupted before it, the guard finds the pipe closed
            # without it and does the work.
            with contextlib.suppress(BrokenPipeError):
                pipe.write(b".")
        finally:
            pipe.close()
        self._process.wait()


def start(run_id: str, folder: Path) -> Guard:
    """Start a guard for `run_id`; it also removes `folder`. Call it before the run's first process."""
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scaleup.ranks.cleanup", run_id, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=environment,
        cwd=os.sep,
        start_new_session=True,  # an interrupt meant for the owner must not reach the guard
    )
    return Guard(run_id, folder, process)


def main(run_id: str, folder: str) -> None:
    """Wait for the owner to end, then sweep. Returns at once when the owner reports that it has swept."""
    owner = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A process that the owner forked may hold a copy of the pipe, so we also look at who our parent is.
    while os.getppid() == owner:
        ready, _, _ = select.select([sys.stdin], [], [], 1.0)
        if ready:
            if os.read(sys.stdin.fileno(), 1):
                return
            break
    sweep(run_id)
    time.sleep(0.5)  # a process that was being started when the owner died carries its mark only now
    sweep(run_id)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

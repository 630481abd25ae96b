"""Whole runs: a program under torchrun, its ranks on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import psutil

from ..computer.resources import usable_cores
from ..errors import CourseError
from ..files import write_whole
from . import cleanup
from . import warm as forks
from .failures import Interrupted, stopped_in
from .output import RankLogs, Screen, failure

NO_STACK = "A rank probably waits in a collective that another rank never called."


@dataclass
class Result:
    """What a run left: the lines each rank printed, the object each one saved, and the wall-clock seconds."""

    output: dict[int, list[str]]
    results: dict[int, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def _ipython_display_(self) -> None:
        """The lines are on the page already, so a bare `run(...)` at the end of a cell shows nothing more."""


def save_result(value: Any) -> None:
    """Called by a rank: hand `value` (numbers, text, lists, dicts) to whoever called `run`.

    Under torchrun or srun without `run` it does nothing, so that a program stays the same on every machine.
    """
    if not (folder := os.environ.get("SCALEUP_RESULTS")):
        return
    try:
        text = json.dumps(value)
    except TypeError as error:
        raise CourseError(
            f"save_result cannot write this: {error}. Use numbers, text, lists, dicts."
        ) from None
    write_whole(Path(folder) / f"rank{os.environ['RANK']}.json", text)


def run(
    program: str | Path,
    world_size: int = 2,
    *args: object,
    timeout: float = 120,
    env: dict[str, str] | None = None,
    quiet: bool = False,
    stream: bool = False,
    warm: bool = False,
) -> Result:
    """Run `program args` with torchrun in `world_size` processes on this machine and wait for the end.

    A name that ends in `.py` is a file; any other name is a module, as after `python -m`. `env` adds
    variables for the ranks. Every printed line is labelled with its rank. Rank 0's lines appear as they come
    and the other ranks' lines follow in rank order at the end, so that two runs look alike; with `stream` all
    lines appear as they come; with `quiet` none is shown. With `warm` the ranks come from a process that has
    loaded PyTorch (see `scaleup.ranks.warm`) and not from torchrun, which saves seconds.

    Raises `RanksFailed` when a rank fails, after its traceback has been printed, and `CourseError` when the
    run is not done within `timeout` seconds or could not start.
    """
    world_size = check_world_size(world_size)
    program = str(program)
    is_file = program.endswith(".py")
    if is_file and not Path(program).is_file():
        raise CourseError(f"The program {program} was not found in {Path.cwd()}. Write it first.")

    folder, keeper = open_run()
    results = folder / "results"
    results.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command += [f"--nproc-per-node={world_size}", "--redirects=3", f"--log-dir={folder / 'ranks'}"]
    command += ["--shutdown-timeout=3"]
    command += [program] if is_file else ["-m", program]
    command += [str(arg) for arg in args]

    show = Screen(stream=stream, quiet=quiet)
    begin = time.monotonic()
    variables = {
        **os.environ,
        **rank_environment(folder),
        "SCALEUP_RESULTS": str(results),
        **(env or {}),
    }
    try:
        (folder / "torchrun.log").touch()
        if warm and forks.AVAILABLE:
            order = {"program": program, "args": [str(arg) for arg in args], "world_size": world_size}
            order |= {"folder": str(folder), "cwd": str(Path.cwd()), "env": variables}
            starter = forks.starter(open_run, rank_environment)
            begin = time.monotonic()
            torchrun = starter.begin(order)
        else:
            with (folder / "torchrun.log").open("wb") as report:
                torchrun = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=report,
                    stderr=subprocess.STDOUT,
                    env=variables,
                    start_new_session=True,  # a notebook's interrupt comes to us alone, and we end the ranks
                )
        logs = [RankLogs(folder / "ranks", rank) for rank in range(world_size)]
        try:
            code = None
            while code is None:
                code = torchrun.poll()
                for log in logs:
                    log.follow(show)
                if code is None and time.monotonic() - begin > timeout:
                    ask_for_stacks(torchrun, folder.name, logs, show)
                    show.rest(logs)
                    what = "The run" if quiet else program
                    longer = "" if quiet else " If it only needs more time, give run a larger timeout."
                    why = stopped_in({log.rank: "\n".join(log.stack) for log in logs}) or NO_STACK
                    raise CourseError(
                        f"{what} did not finish within {timeout:g} s and was stopped. {why}{longer}"
                    )
                time.sleep(0.05)
        except KeyboardInterrupt:
            for log in logs:
                log.follow(show)
            keeper.close()
            print(f"Interrupted: all {world_size} ranks were stopped.")
            raise Interrupted from None
        finally:
            cleanup.sweep(folder.name)
            torchrun.wait()

        seconds = time.monotonic() - begin
        if code:
            raise failure(logs, show, (folder / "torchrun.log").read_text(errors="replace"))
        show.rest(logs)
        saved = {int(path.stem[4:]): json.loads(path.read_text()) for path in results.glob("rank*.json")}
        return Result({log.rank: log.lines for log in logs}, dict(sorted(saved.items())), seconds)
    finally:
        keeper.close()


def ask_for_stacks(
    torchrun: Any, run_id: str, logs: list[RankLogs], show: Screen, patience: float = 3
) -> None:
    """End the ranks with SIGABRT, upon which each writes down what it was doing."""
    if isinstance(torchrun, forks.Starter):
        torchrun.abort()
    else:
        found = {process.pid: process for process in cleanup.processes(run_id)}
        for process in found.values():
            with contextlib.suppress(psutil.Error):
                # A rank's own children, such as a loader's workers, have its variables, too.
                is_rank = "RANK" in process.environ()
                if is_rank and "RANK" not in found.get(process.ppid(), process.parent()).environ():
                    process.send_signal(signal.SIGABRT)
    end = time.monotonic() + patience
    while time.monotonic() < end and not all(log.stack_is_whole for log in logs):
        time.sleep(0.05)
        for log in logs:
            log.follow(show)


def call(
    function: Callable[..., Any],
    world_size: int = 2,
    *args: object,
    timeout: float = 120,
    join: bool = True,
) -> list[Any]:
    """Call `function(*args)` on every rank of a warm run; returns what each rank returned.

    The function may come from a notebook; it finds the process group ready, or with `join=False` none, so
    that it can make its own. What it returns has to be numbers, text, lists or dicts. Errors are those of
    `run`.
    """
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        cloudpickle.dump((function, args, join), file)
        file.flush()
        result = run("scaleup.ranks.called", world_size, file.name, timeout=timeout, quiet=True, warm=True)
    return [result.results[rank] for rank in range(world_size)]


def check_world_size(n: int) -> int:
    cores = usable_cores()
    most = max(8, 4 * cores)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise CourseError(f"The number of ranks is {n!r}. It must be a whole number, 1 or more.")
    if n > most:
        raise CourseError(
            f"You asked for {n} ranks on {cores} cores. Use at most {most}: each rank is a process with its "
            "own copy of PyTorch in memory, and more of them only wait for each other."
        )
    return n


def open_run() -> tuple[Path, cleanup.Guard]:
    """A private folder whose name is the run's id, and the guard that clears both away."""
    folder = Path(tempfile.mkdtemp(prefix="scaleup-"))
    return folder, cleanup.start(folder.name, folder)


def rank_environment(folder: Path) -> dict[str, str]:
    """One thread for each rank, lines as soon as they are printed, traffic on the loopback interface only."""
    variables = {
        cleanup.MARK: folder.name,
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # a rank that a signal ends writes down what it was doing
        "TQDM_DISABLE": "1",
    }
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            variables["GLOO_SOCKET_IFNAME"] = name
    return variables

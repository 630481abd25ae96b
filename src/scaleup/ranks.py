"""Real distributed runs on this machine: several processes, one for each rank, talking through gloo.

`run` starts a whole program under torchrun. `start` keeps ranks alive behind the notebook, for `%%px` cells.
Neither leaves a process behind: see `scaleup.guard`.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil

from . import guard
from .errors import CourseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipyparallel import AsyncResult, Client
    from ipyparallel.error import RemoteError

COLLECTIVE_TIMEOUT = 60  # seconds an interactive rank waits in a collective before it gives up
GRACE = 3.0  # seconds the other ranks get to finish a cell once one of them has failed

# What a rank reports when it only lost contact to another one. Such a rank is not the one that failed first.
_AFTERMATH = re.compile(r"Connection closed by peer|Connection reset by peer|Broken pipe|Timed out waiting")
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|  \+ Exception Group|  File \"|  Cell In\[")
_LIBRARY_LOG = re.compile(r"(\[rank\d+\]:)?\[[WI]\d+ [\d:.]+ \S+:\d+\]")


class RanksFailed(CourseError):
    """A rank raised an exception. `rank` is the first one that did, `traceback` the text of its traceback."""

    def __init__(self, message: str, rank: int, traceback: str) -> None:
        super().__init__(message)
        self.rank = rank
        self.traceback = traceback


class Interrupted(KeyboardInterrupt):
    """An interrupt whose consequence has been printed: a notebook shows its name and no stack."""

    def _render_traceback_(self) -> list[str]:
        return ["KeyboardInterrupt"]


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
    path = Path(folder) / f"rank{os.environ['RANK']}.json"
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


# Whole runs


def run(
    program: str | Path,
    world_size: int = 2,
    *args: object,
    timeout: float = 120,
    env: dict[str, str] | None = None,
    quiet: bool = False,
    stream: bool = False,
) -> Result:
    """Run `program args` with torchrun in `world_size` processes on this machine and wait for the end.

    A name that ends in `.py` is a file; any other name is a module, as after `python -m`. `env` adds
    variables for the ranks. Every printed line is labelled with its rank. Rank 0's lines appear as they come
    and the other ranks' lines follow in rank order at the end, so that two runs look alike; with `stream` all
    lines appear as they come; with `quiet` none is shown.

    Raises `RanksFailed` when a rank fails, after its traceback has been printed, and `CourseError` when the
    run is not done within `timeout` seconds or could not start.
    """
    world_size = _check_world_size(world_size)
    program = str(program)
    is_file = program.endswith(".py")
    if is_file and not Path(program).is_file():
        raise CourseError(f"The program {program} was not found in {Path.cwd()}. Write it first.")

    folder, keeper = _open_run()
    results = folder / "results"
    results.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command += [f"--nproc-per-node={world_size}", "--redirects=3", f"--log-dir={folder / 'ranks'}"]
    command += ["--shutdown-timeout=3"]
    command += [program] if is_file else ["-m", program]
    command += [str(arg) for arg in args]

    show = _Screen(stream=stream, quiet=quiet)
    begin = time.monotonic()
    try:
        with (folder / "torchrun.log").open("wb") as report:
            torchrun = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=report,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    **_rank_environment(folder),
                    "SCALEUP_RESULTS": str(results),
                    **(env or {}),
                },
                start_new_session=True,  # a notebook's interrupt comes to us alone, and we end the ranks
            )
        logs = [_RankLogs(folder / "ranks", rank) for rank in range(world_size)]
        try:
            code = None
            while code is None:
                code = torchrun.poll()
                for log in logs:
                    log.follow(show)
                if code is None and time.monotonic() - begin > timeout:
                    show.rest(logs)
                    raise CourseError(
                        f"{program} did not finish within {timeout:g} s and was stopped. A rank probably "
                        "waits in a collective that another rank never called; if not, raise timeout=."
                    )
                time.sleep(0.05)
        except KeyboardInterrupt:
            keeper.close()
            print(f"Interrupted: all {world_size} ranks were stopped.")
            raise Interrupted from None
        finally:
            guard.sweep(folder.name)
            torchrun.wait()

        seconds = time.monotonic() - begin
        if code:
            raise _failure(logs, show, (folder / "torchrun.log").read_text(errors="replace"))
        show.rest(logs)
        saved = {int(path.stem[4:]): json.loads(path.read_text()) for path in results.glob("rank*.json")}
        return Result({log.rank: log.lines for log in logs}, dict(sorted(saved.items())), seconds)
    finally:
        keeper.close()


def call(function: Callable[..., Any], world_size: int = 2, *args: object, timeout: float = 120) -> list[Any]:
    """Call `function(*args)` on every rank of a run that lasts just for it; returns what each rank returned.

    The function may come from a notebook; it finds the process group ready. What it returns has to be
    numbers, text, lists or dicts. Errors are those of `run`.
    """
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        cloudpickle.dump((function, args), file)
        file.flush()
        result = run("scaleup.call", world_size, file.name, timeout=timeout, quiet=True)
    return [result.results[rank] for rank in range(world_size)]


def _check_world_size(n: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = max(8, 4 * cores)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise CourseError(f"The number of ranks is {n!r}. It must be a whole number, 1 or more.")
    if n > most:
        raise CourseError(
            f"You asked for {n} ranks on {cores} cores. Use at most {most}: each rank is a process with its "
            "own copy of PyTorch in memory, and more of them only wait for each other."
        )
    return n


def _open_run() -> tuple[Path, guard.Guard]:
    """A private folder whose name is the run's id, and the guard that clears both away."""
    folder = Path(tempfile.mkdtemp(prefix="scaleup-"))
    return folder, guard.start(folder.name, folder)


def _rank_environment(folder: Path) -> dict[str, str]:
    """One thread for each rank, lines as soon as they are printed, traffic on the loopback interface only."""
    variables = {
        guard.MARK: folder.name,
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "TQDM_DISABLE": "1",
    }
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == "127.0.0.1" for address in addresses):
            variables["GLOO_SOCKET_IFNAME"] = name
    return variables


class _File:
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


class _RankLogs:
    """What one rank writes: `lines` to stdout; `warnings`, then perhaps a `traceback`, to stderr."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.rank = rank
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.traceback: list[str] = []
        self._folder = folder
        self._out: _File | None = None
        self._err: _File | None = None

    def follow(self, show: _Screen, final: bool = False) -> None:
        if self._err is None:
            # torchrun names a folder for the run, the attempt (there is only one) and the rank.
            found = list(self._folder.glob(f"*/attempt_0/{self.rank}/stderr.log"))
            if not found or not found[0].with_name("stdout.log").exists():
                return
            self._err, self._out = _File(found[0]), _File(found[0].with_name("stdout.log"))
        for line in self._out.new_lines(final):
            self.lines.append(line)
            show.printed(self.rank, line)
        for line in self._err.new_lines(final):
            line = line.removeprefix(f"[rank{self.rank}]: ")
            if self.traceback or _TRACEBACK.match(line):
                self.traceback.append(line)
            elif not _LIBRARY_LOG.match(line):
                self.warnings += _shorten([line])
                show.warned(self.rank, self.warnings[-1])

    @property
    def last_write(self) -> int:
        """When the traceback was written, in nanoseconds."""
        return self._err.path.stat().st_mtime_ns if self._err else sys.maxsize


class _Screen:
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

    def rest(self, logs: list[_RankLogs], failed: bool = False) -> None:
        """What is still to be shown. After a failure the caller shows one traceback; otherwise they are all
        of exceptions that the program handled and reported itself."""
        for log in logs:
            log.follow(self, final=True)
        for log in logs:
            lines = [] if self._stream else (log.lines if log.rank else []) + log.warnings
            for line in lines + ([] if failed else _shorten(log.traceback)):
                self.line(log.rank, line)


def _failure(logs: list[_RankLogs], show: _Screen, report: str) -> CourseError:
    """Print what the ranks wrote and the first failed rank's traceback; return the error to raise."""
    show.rest(logs, failed=True)
    first = _first_failed(
        [(log.rank, *_exception(log.traceback), log.last_write / 1e9) for log in logs if log.traceback]
    )
    if first is None or _AFTERMATH.search("\n".join(logs[first].traceback)):
        # Killed, crashed in native code, or left with sys.exit(code): an exit code is all there is. torchrun
        # itself sends SIGTERM to the others, so that one says nothing.
        codes = re.findall(r"rank +: (\d+) .*\n +exitcode +: (-?\d+)", report)
        codes = {int(rank): int(code) for rank, code in codes if code not in ("0", "-15")}
        if silent := sorted(rank for rank in codes if not logs[rank].traceback):
            rank, code = silent[0], codes[silent[0]]
            how = f"was ended by signal {-code}" if code < 0 else f"left with exit code {code}"
            why = f": {logs[rank].warnings[-1]}" if logs[rank].warnings else " and no traceback"
            return RanksFailed(f"Rank {rank} {how}{why}.", rank, "")
    if first is None:
        last = next((line for line in reversed(report.splitlines()) if line.strip()), "no message")
        return CourseError(f"torchrun ended without running the program to its end: {last.strip()}")
    text = _shorten(logs[first].traceback)
    for line in text:
        show.line(first, line)
    return RanksFailed(_sentence(first, *_exception(logs[first].traceback)), first, "\n".join(text))


def _first_failed(failures: list[tuple[int, str, str, float]]) -> int | None:
    """The rank that failed first, of tuples (rank, exception type, message, when in seconds).

    A rank that lost contact is a consequence of another failure. Ranks that raise the same type within a
    second made the same mistake: then it is the lowest one, so that two runs name the same rank.
    """
    causes = [failure for failure in failures if not _AFTERMATH.search(failure[2])] or failures
    if not causes:
        return None
    _, name, _, when = min(causes, key=lambda failure: failure[3])
    return min(rank for rank, other, _, then in causes if other == name and then - when < 1)


def _sentence(rank: int, name: str, message: str) -> str:
    lines = message.strip().splitlines()
    what = f"{name}: {lines[0]}" if lines else name
    if _AFTERMATH.search(message):
        return (
            f"Rank {rank} lost contact with another rank, which had ended or never made the same collective "
            f"call ({what.rstrip('.')})."
        )
    return f"Rank {rank} failed: {what.rstrip('.')}."


def _exception(traceback: list[str]) -> tuple[str, str]:
    """Type and message from the text of a traceback: what follows the last frame."""
    # A chain of exceptions has several tracebacks; a syntax error has none.
    start = max((i for i, line in enumerate(traceback) if line.startswith("Traceback")), default=0)
    for i, line in enumerate(traceback[start:], start):
        if found := re.match(r"([A-Za-z_][\w.]*)(: (.*)|$)", line):
            name = found[1].rpartition(".")[2]
            return name, "\n".join([found[3] or "", *traceback[i + 1 :]])
    return "Error", traceback[-1]


def _shorten(traceback: list[str]) -> list[str]:
    """File names without the folders of this machine, so that a page looks the same everywhere."""
    paths = sysconfig.get_paths()
    folders = [paths["purelib"], paths["platlib"], paths["stdlib"], str(Path.cwd())]
    short = []
    for line in traceback:
        for folder in folders:
            line = line.replace(folder + os.sep, "")
        short.append(line)
    return short


# Interactive ranks

# The controller admits an engine after its second heartbeat: with the usual 3 s between them a start takes
# about 5 s longer. A rank counts as lost after a minute without a heartbeat.
_CONTROLLER = [
    "--IPController.use_threads=True",  # one process instead of nine
    "--HeartMonitor.period=300",  # milliseconds
    "--HeartMonitor.max_heartmonitor_misses=200",
]

# What `start` runs on each rank, in this order. Rank 0 opens the store on a port that the system chooses, so
# that no port can be taken; the others are told its number.
_PREPARE = """
import os
import torch
import torch.distributed as dist
rank, world_size = {rank}, {world_size}
os.environ.update(RANK="{rank}", LOCAL_RANK="{rank}", WORLD_SIZE="{world_size}")
torch.set_num_threads(1)
get_ipython().InteractiveTB.set_mode(mode="Plain")
get_ipython().colors = "nocolor"
"""
_OPEN_STORE = """
_store = dist.TCPStore("127.0.0.1", {port}, world_size, is_master={is_master}, wait_for_workers=False)
_port = _store.port
"""
_JOIN = """
from datetime import timedelta as _timedelta
dist.init_process_group(
    "gloo", store=_store, rank=rank, world_size=world_size, timeout=_timedelta(seconds={seconds})
)
"""


class Ranks:
    """Ranks that live behind the notebook. `%%px` cells run on all of them.

    `ranks["loss"]` is the list of the values that the ranks have under that name, in rank order;
    `ranks["loss"] = 1.0` sets it on every rank. `client` is the ipyparallel client.
    """

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.client: Client | None = None
        self._given_up: dict[
            int, AsyncResult
        ] = {}  # a cell that we left while these ranks still worked on it
        self._folder, self._keeper = _open_run()

    def __repr__(self) -> str:
        if self.client is None:
            return "no ranks: stopped"
        return f"{self.world_size} ranks are ready" if self.world_size > 1 else "1 rank is ready"

    def __getitem__(self, name: str) -> list[Any]:
        self._check_ready()
        return self.client[:].pull(name, block=True)

    def __setitem__(self, name: str, value: Any) -> None:
        self._check_ready()
        self.client[:].push({name: value}, block=True)

    def _open(self, timeout: float) -> None:
        import ipyparallel
        from traitlets.config import Config

        config = Config()
        config.BaseLauncher.environment = _rank_environment(self._folder)
        self._cluster = cluster = ipyparallel.Cluster(
            config=config,
            load_profile=False,
            profile_dir=str(self._folder / "profile"),
            cluster_id="",
            cluster_file="",
            controller_args=_CONTROLLER,
            delay=0,
            log_level=logging.CRITICAL,
            shutdown_atexit=False,  # it would print; we stop it ourselves
        )
        cluster.start_cluster_sync(self.world_size)
        self.client = cluster.connect_client_sync()
        self.client.wait_for_engines(self.world_size, timeout=timeout, interactive=False)

        ranks = range(self.world_size)
        self._wait(
            [self._submit(_PREPARE.format(rank=r, world_size=self.world_size), [r]) for r in ranks], timeout
        )
        self._wait([self._submit(_OPEN_STORE.format(port=0, is_master=True), [0])], timeout)
        port = self.client[0].pull("_port", block=True)
        self._submit(_OPEN_STORE.format(port=port, is_master=False), ranks[1:])
        self._wait([self._submit(_JOIN.format(seconds=COLLECTIVE_TIMEOUT))], timeout)

    @staticmethod
    def _wait(submitted: list[dict[int, AsyncResult]], timeout: float) -> None:
        for results in submitted:
            for result in results.values():
                result.get(timeout)

    def _submit(
        self, cell: str, ranks: Iterable[int] | None = None, silent: bool = True
    ) -> dict[int, AsyncResult]:
        ranks = range(self.world_size) if ranks is None else ranks
        return {rank: self.client[rank].execute(cell, silent=silent, block=False) for rank in ranks}

    def _check_ready(self) -> None:
        if self.client is None:
            raise CourseError("No ranks are running. Run ranks.start() first.")
        if gone := sorted(set(range(self.world_size)) - set(self.client.ids)):
            raise CourseError(f"Rank {gone[0]} has ended. Run ranks.start() again.")
        if busy := _waiting(self._given_up):
            raise CourseError(
                f"Rank {min(busy)} is still busy with an earlier cell: it probably waits in a collective "
                "that another rank never called. Run ranks.start() again."
            )

    def run_cell(self, cell: str, ranks: Iterable[int] | None = None) -> dict[int, AsyncResult]:
        """Start a cell on all ranks, or on some, without waiting."""
        self._check_ready()
        return self._submit(cell, ranks, silent=False)

    def finish(self, results: dict[int, AsyncResult]) -> None:
        """Wait for a cell, show what the ranks printed in rank order, raise what the first failure was.

        When a rank has failed, the others get a few seconds more: one that waits for it in a collective would
        wait much longer.
        """
        try:
            give_up = None
            while waiting := _waiting(results):
                if give_up is None and any(_failed(result) for result in results.values()):
                    give_up = time.monotonic() + GRACE
                if give_up is not None and time.monotonic() > give_up:
                    break
                next(iter(waiting.values())).wait(0.05)
        except KeyboardInterrupt:
            self._interrupt(results)
            raise Interrupted from None
        self._given_up = waiting
        self._show(results)
        self._raise_first(results)

    def _interrupt(self, results: dict[int, AsyncResult]) -> None:
        for _ in range(int(GRACE)):
            # Again, because a rank that has not begun the cell yet ignores the signal.
            if waiting := _waiting(results):
                self.client.send_signal("SIGINT", targets=list(waiting), block=False)
                next(iter(waiting.values())).wait(1)
        self._given_up = waiting = _waiting(results)
        self._show(results)
        if waiting:
            print(
                f"Interrupted, but rank {min(waiting)} cannot be: it probably waits in a collective. "
                "Run ranks.start() again."
            )
        else:
            print("Interrupted: the ranks are ready for the next cell.")

    def _show(self, results: dict[int, AsyncResult]) -> None:
        for rank, result in results.items():
            if result.done():
                result.wait_for_output(5)
            for line in result.stdout.splitlines():
                print(f"[rank {rank}] {line}")
            for line in result.stderr.splitlines():
                print(f"[rank {rank}] {line}", file=sys.stderr)
            for output in [*result.outputs, result.execute_result]:
                if output:
                    _show_rich(rank, output["data"], output.get("metadata"))

    def _raise_first(self, results: dict[int, AsyncResult]) -> None:
        errors = {rank: _error(result) for rank, result in results.items() if _failed(result)}
        # A rank whose process ended cannot say when.
        times = {rank: results[rank].metadata["completed"] for rank in errors}
        rank = _first_failed(
            [
                (rank, error.ename, error.evalue, times[rank].timestamp() if times[rank] else 0.0)
                for rank, error in errors.items()
            ]
        )
        if rank is None:
            return
        error = errors[rank]
        if error.ename == "EngineError":
            raise RanksFailed(f"The process of rank {rank} ended. Run ranks.start() again.", rank, "")
        traceback = _shorten([line for line in (error.traceback or "").splitlines() if line.strip()])
        for line in traceback:
            print(f"[rank {rank}] {line}")
        message = _sentence(rank, error.ename, error.evalue)
        if self._given_up:
            message += f" Rank {min(self._given_up)} still waits for it, probably in a collective."
        if self._given_up or any(_AFTERMATH.search(error.evalue) for error in errors.values()):
            message += " Run ranks.start() again."
        raise RanksFailed(message, rank, "\n".join(traceback))

    def close(self) -> None:
        """End the ranks. Returns when none of their processes is left."""
        if self.client is not None:
            self.client.close()
        self.client = None
        self._keeper.close()


def _waiting(results: dict[int, AsyncResult]) -> dict[int, AsyncResult]:
    return {rank: result for rank, result in results.items() if not result.done()}


def _failed(result: AsyncResult) -> bool:
    return result.done() and not result.successful()


def _error(result: AsyncResult) -> RemoteError:
    from ipyparallel.error import RemoteError

    try:
        result.get()
    except RemoteError as error:
        return error
    raise AssertionError("only a failed result has an error")


def _show_rich(rank: int, data: dict[str, Any], metadata: dict[str, Any] | None) -> None:
    if set(data) == {"text/plain"}:
        for line in data["text/plain"].splitlines():
            print(f"[rank {rank}] {line}")
        return
    if "application/vnd.jupyter.widget-view+json" in data:
        return  # a progress bar: the widget lives in the rank's process and cannot be drawn here
    from IPython.display import display

    print(f"[rank {rank}]")
    display(data, raw=True, metadata=metadata)


_current: Ranks | None = None


def start(n: int = 2, timeout: float = 60) -> Ranks:
    """Start `n` ranks behind this notebook and make `%%px` run a cell on all of them.

    Each rank has joined a gloo process group and knows `rank`, `world_size`, `torch` and `dist`. Ranks from
    an earlier `start` are stopped first. Raises `CourseError` when they are not up within `timeout` seconds.
    """
    global _current
    n = _check_world_size(n)
    stop()
    group = Ranks(n)
    try:
        group._open(timeout)
    except Exception as error:
        group.close()
        raise CourseError(
            f"The ranks could not be started ({type(error).__name__}: {error}). "
            "Close other programs and run ranks.start() again; scaleup doctor checks the installation."
        ) from error
    except KeyboardInterrupt:
        group.close()
        print("Interrupted: no ranks are running.")
        raise Interrupted from None
    _current = group
    _activate(group)
    return group


def stop() -> None:
    """Stop the interactive ranks, if there are any. A notebook's kernel does this by itself when it ends."""
    global _current
    group, _current = _current, None
    if group is not None:
        group.close()


atexit.register(stop)


def _activate(group: Ranks) -> None:
    """Let `%%px` and `%px` of this IPython run on `group`."""
    from ipyparallel import AsyncResult
    from ipyparallel.client.magics import ParallelMagics
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return

    class RankMagics(ParallelMagics):
        """ipyparallel's magics, with this module's way to wait, to show outputs and to report an error."""

        def parallel_execute(self, cell, block=None, save_name=None, **options):
            targets = self.view.targets
            targets = [targets] if isinstance(targets, int) else targets
            results = group.run_cell(cell, targets if isinstance(targets, list) else None)
            joined = self.last_result = AsyncResult.join(*results.values())
            if save_name:
                self.shell.user_ns[save_name] = joined
            if not (self.view.block if block is None else block):
                return joined
            group.finish(results)

    view = group.client[:]
    view.block = True
    shell.register_magics(RankMagics(shell, view))

"""Ranks that live behind a notebook: `%%px` cells run on all of them."""

from __future__ import annotations

import atexit
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CourseError
from .failures import AFTERMATH, Interrupted, RanksFailed, first_failed, sentence, shorten, waits_in
from .runs import check_world_size, open_run, rank_environment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipyparallel import AsyncResult, Client
    from ipyparallel.error import RemoteError

COLLECTIVE_TIMEOUT = 60  # seconds an interactive rank waits in a collective before it gives up
AGAIN = "Run ranks.start() again, then the %%px cells that define what you use, such as model."
NO_RANKS = (
    "No ranks are running. Run the cell with ranks.start(), then the cells that define what this one uses."
)
GRACE = 3.0  # seconds the other ranks get to finish a cell once one of them has failed

# The controller admits an engine after its second heartbeat: with the usual 3 s between them a start takes
# about 5 s longer. A rank counts as lost after a minute without a heartbeat.
_CONTROLLER = [
    "--IPController.use_threads=True",  # one process instead of nine
    "--HeartMonitor.period=300",  # milliseconds
    "--HeartMonitor.max_heartmonitor_misses=200",
]

# What `start` runs on each rank, in this order. A rank that gets SIGUSR1 writes its stack, even while it
# waits in a collective. After an error the kernel would abort a cell that comes at once, so it must not.
# Rank 0 opens the store on a port that the system chooses, so that none can be taken; the others are told it.
_PREPARE = """
import faulthandler
import os
import signal
import torch
import torch.distributed as dist
rank, world_size = {rank}, {world_size}
os.environ.update(RANK="{rank}", LOCAL_RANK="{rank}", WORLD_SIZE="{world_size}")
torch.set_num_threads(1)
get_ipython().InteractiveTB.set_mode(mode="Plain")
get_ipython().colors = "nocolor"
get_ipython().kernel._abort_queues = lambda *_: None
_stack = open({stack!r}, "w")
faulthandler.register(signal.SIGUSR1, _stack, all_threads=False)
del faulthandler, signal
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
        self._cell = ""  # the last one
        self._given_up: dict[int, AsyncResult] = {}  # the ranks that still worked on it when we left it
        self._folder, self._keeper = open_run()

    def __repr__(self) -> str:
        if self.client is None:
            return "no ranks: stopped"
        return f"{self.world_size} ranks are ready" if self.world_size > 1 else "1 rank is ready"

    def __getitem__(self, name: str) -> list[Any]:
        self._check_ready()
        pulled = [self.client[rank].pull(name, block=False) for rank in range(self.world_size)]
        for rank, result in enumerate(pulled):
            result.wait()
            if _failed(result):
                error = _error(result)
                if error.ename == "NameError":
                    raise CourseError(f"Rank {rank} has no {name!r} yet. Run the %%px cell that defines it.")
                raise CourseError(f"Rank {rank} cannot hand over {name!r}: {error.ename}: {error.evalue}")
        return [result.get() for result in pulled]

    def __setitem__(self, name: str, value: Any) -> None:
        self._check_ready()
        self.client[:].push({name: value}, block=True)

    def _open(self, timeout: float) -> None:
        import ipyparallel
        from traitlets.config import Config

        config = Config()
        config.BaseLauncher.environment = rank_environment(self._folder)
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
            [
                self._submit(
                    _PREPARE.format(rank=r, world_size=self.world_size, stack=str(self._stack(r))), [r]
                )
                for r in ranks
            ],
            timeout,
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
            raise CourseError(NO_RANKS)
        if gone := sorted(set(range(self.world_size)) - set(self.client.ids)):
            raise CourseError(f"Rank {gone[0]} has ended. {AGAIN}")
        if busy := _waiting(self._given_up):
            raise CourseError(self._still(min(busy)))

    def _stack(self, rank: int) -> Path:
        return self._folder / f"stack{rank}.txt"

    def _still(self, rank: int) -> str:
        """What a rank still does in the last cell, as far as its stack shows it, and what to do."""
        file = self._stack(rank)
        before = file.stat().st_size
        self.client.send_signal("SIGUSR1", targets=[rank], block=False)
        end = time.monotonic() + 1
        while (size := file.stat().st_size) == before and time.monotonic() < end:
            time.sleep(0.02)
        if size > before:
            time.sleep(0.1)  # it may still be writing
        with file.open() as text:
            text.seek(before)
            collective, line = waits_in(text.read(), lambda path: "ipykernel_" in Path(path).parent.name)
        lines = self._cell.splitlines()
        where = f" in the line `{lines[line - 1].strip()}`" if 0 < line <= len(lines) else ""
        if collective:
            return (
                f"Rank {rank} still waits in dist.{collective}{where}: not every rank made this call. {AGAIN}"
            )
        return f"Rank {rank} is still busy with its cell{where}. Wait until it is done, or do this: {AGAIN}"

    def run_cell(self, cell: str, ranks: Iterable[int] | None = None) -> dict[int, AsyncResult]:
        """Start a cell on all ranks, or on some, without waiting."""
        self._check_ready()
        self._cell = cell
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
            # Again, because a rank that has not begun the cell yet ignores the signal. Each has a second
            # before that: a signal that comes while a rank tells of the first one would spoil its answer.
            if waiting := _waiting(results):
                self.client.send_signal("SIGINT", targets=list(waiting), block=False)
                end = time.monotonic() + 1
                for result in waiting.values():
                    result.wait(max(0.0, end - time.monotonic()))
        self._given_up = waiting = _waiting(results)
        self._show(results)
        if waiting:
            print(f"Interrupted, but not every rank could be. {self._still(min(waiting))}")
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
        rank = first_failed(
            [
                (rank, error.ename, error.evalue, times[rank].timestamp() if times[rank] else 0.0)
                for rank, error in errors.items()
            ]
        )
        if rank is None:
            return
        error = errors[rank]
        if error.ename == "EngineError":
            raise RanksFailed(f"The process of rank {rank} ended. {AGAIN}", rank, "")
        traceback = shorten([line for line in (error.traceback or "").splitlines() if line.strip()])
        for line in traceback:
            print(f"[rank {rank}] {line}")
        message = sentence(rank, error.ename, error.evalue)
        if self._given_up:
            message += f" {self._still(min(self._given_up))}"
        elif any(AFTERMATH.search(error.evalue) for error in errors.values()):
            message += f" {AGAIN}"
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
    n = check_world_size(n)
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


def _say_how_to_start() -> None:
    """Until ranks are started, and after the kernel restarts, `%%px` and `%px` say what to do."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or shell.find_cell_magic("px") is not None:
        return

    def px(line: str, cell: str | None = None) -> None:
        raise CourseError(NO_RANKS)

    shell.register_magic_function(px, "line_cell", "px")


if "IPython" in sys.modules:  # a rank or a guard does not import it
    _say_how_to_start()


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

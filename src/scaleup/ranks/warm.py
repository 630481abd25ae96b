"""Ranks without the wait for PyTorch: a process that has loaded it forks them.

A new process needs seconds to import PyTorch, and torchrun needs them before it starts a rank. A check runs
many small functions, so it asks a process that has PyTorch already. Each run gets new processes, which find
each other and talk as they do under torchrun. The process ends after `IDLE` seconds without a run, and with
its owner.

    python -m scaleup.ranks.warm
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

AVAILABLE = sys.platform == "linux"  # elsewhere a fork of a process that has loaded PyTorch may crash
IDLE = 300  # seconds
PATIENCE = 3.0  # seconds between SIGTERM and SIGKILL, for ranks whose run has failed


class Starter:
    """The owner's end: `begin` a run, `poll` for its exit code, or `stop` it. One run at a time."""

    def __init__(self, open_run: Callable, environment: Callable) -> None:
        folder, self._keeper = open_run()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scaleup.ranks.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **environment(folder)},
            cwd=os.sep,
            start_new_session=True,
        )
        self._code: int | None = None
        self._process.stdout.readline()  # it is ready

    def alive(self) -> bool:
        return self._process.poll() is None

    def begin(self, order: dict[str, Any]) -> Starter:
        """Start a run. `order`: program, args, world_size, folder, cwd, env."""
        self._code = None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return self

    def poll(self) -> int | None:
        """The run's exit code: that of the first rank that failed, else 0; None while it goes on."""
        if self._code is None and select.select([self._process.stdout], [], [], 0)[0]:
            said = self._process.stdout.readline()
            self._code = int(said) if said else 1
        return self._code

    def wait(self) -> None:
        """End what is left of the run, and return when nothing is."""
        if self.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(b"stop\n")
            while self.poll() is None:
                time.sleep(0.02)

    def abort(self) -> None:
        """End the ranks of the run with SIGABRT; `wait` tells when they have ended."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"abort\n")

    def close(self) -> None:
        self._process.stdin.close()
        self._keeper.close()
        self._process.wait()
        self._process.stdout.close()


_starter: Starter | None = None


def starter(open_run: Callable, environment: Callable) -> Starter:
    """The starter of this process, made when it is first asked for and when the last one has ended."""
    global _starter
    if _starter is None or not _starter.alive():
        close()
        _starter = Starter(open_run, environment)
    return _starter


def close() -> None:
    """End the starter, if there is one."""
    global _starter
    old, _starter = _starter, None
    if old is not None:
        old.close()


atexit.register(close)

# ---------------------------------------------------------------- the process that forks


def _rank(order: dict[str, Any], rank: int, port: int) -> int:
    """Become one rank of a run; the exit code."""
    import runpy

    logs = Path(order["folder"]) / "ranks" / "run" / "attempt_0" / str(rank)
    logs.mkdir(parents=True)
    for number, name in ((0, os.devnull), (1, logs / "stdout.log"), (2, logs / "stderr.log")):
        file = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.environ.update(order["env"])
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(order["world_size"]))
    os.environ.update(LOCAL_WORLD_SIZE=os.environ["WORLD_SIZE"], TORCHELASTIC_USE_AGENT_STORE="True")
    os.environ.update(MASTER_ADDR="127.0.0.1")
    os.chdir(order["cwd"])
    program = order["program"]
    is_file = program.endswith(".py")
    sys.argv = [program, *order["args"]]
    sys.path.insert(0, str(Path(program).resolve().parent) if is_file else order["cwd"])
    os.environ["MASTER_PORT"] = os.read(port, 8).decode()
    os.close(port)
    try:
        if is_file:
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        if left.code is not None and not isinstance(left.code, int):
            print(left.code, file=sys.stderr)
            return 1
        return left.code or 0
    except BaseException as error:
        step = error.__traceback__
        while step and step.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
            step = step.tb_next
        traceback.print_exception(error.with_traceback(step))
        return 1
    return 0


def _run(order: dict[str, Any]) -> int:
    """Fork the ranks of a run and wait. When one fails, or the owner says so, the others are ended."""
    import torch.distributed as dist

    # The store that ranks meet at has a thread, and threads do not survive a fork: so it is opened after.
    ranks, pipes = {}, []
    for rank in range(order["world_size"]):
        reading, writing = os.pipe()
        if not (child := os.fork()):
            code = 1
            try:
                code = _rank(order, rank, reading)
            finally:
                with contextlib.suppress(Exception):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code & 255)
        os.close(reading)
        ranks[child] = rank
        pipes.append(writing)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for pipe in pipes:
        os.write(pipe, str(store.port).encode())
        os.close(pipe)
    failed, asked = {}, None
    while ranks:
        for child in list(ranks):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                rank, code = ranks.pop(child), os.waitstatus_to_exitcode(status)
                if code:
                    failed.setdefault(rank, (code, asked is None))
        stop = bool(select.select([sys.stdin], [], [], 0.01)[0]) and asked is None
        if asked is None and (stop or failed):
            asked = time.monotonic()
            said = sys.stdin.buffer.raw.readline() if stop else b""
            for child in ranks:
                os.kill(child, signal.SIGABRT if said == b"abort\n" else signal.SIGTERM)
            if stop:
                failed.setdefault(-1, (1, True))
        if asked is not None and time.monotonic() - asked > PATIENCE:
            for child in ranks:
                os.kill(child, signal.SIGKILL)
    del store
    # In the words of torchrun's report, from which a rank is named that left no traceback.
    report = [f"rank : {rank} (local)\n exitcode : {code}\n" for rank, (code, own) in failed.items() if own]
    Path(order["folder"], "torchrun.log").write_text("".join(report), encoding="utf-8")
    return next(iter(failed.values()))[0] if failed else 0


def main() -> None:
    """Take orders, one a line, from the owner; end with it."""
    import torch
    import torch.distributed

    from .. import model  # noqa: F401
    from ..text import windows  # noqa: F401

    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer imports much, for seconds
    torch.set_num_threads(1)
    os.write(1, b"ready\n")
    while select.select([sys.stdin], [], [], IDLE)[0] and (line := sys.stdin.buffer.raw.readline()):
        if line not in (b"stop\n", b"abort\n"):  # that came when its run was over
            os.write(1, f"{_run(json.loads(line))}\n".encode())


if __name__ == "__main__":
    main()

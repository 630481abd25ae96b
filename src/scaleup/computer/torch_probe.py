"""PyTorch asked in processes of its own, under a time limit: it may be broken, or its driver may hang."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .resources import free_port

OLDEST_TORCH = (2, 6)  # the first with the public FSDP2 that later lessons use


@dataclass(frozen=True)
class Ended:
    """How a process ended. `status` is None if it had to be stopped."""

    status: int | None
    out: str
    err: str


def run_together(python: str, code: str, environments: list[dict[str, str]], seconds: float) -> list[Ended]:
    """Run `code` once per environment, at the same time, and wait until all end, one fails or time is over.

    Each process leads its own group and the groups are killed, so nothing stays behind. Raises OSError if
    `python` cannot be started.
    """
    deadline = time.monotonic() + seconds
    running: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, str(i)) for i in range(len(environments))]
        try:
            for log, extra in zip(logs, environments, strict=True):
                with open(f"{log}.out", "wb") as out, open(f"{log}.err", "wb") as err:
                    running.append(
                        subprocess.Popen(
                            [python, "-c", code],
                            stdin=subprocess.DEVNULL,
                            stdout=out,
                            stderr=err,
                            env={**os.environ, **extra},
                            start_new_session=True,
                        )
                    )
            while time.monotonic() < deadline:
                statuses = [process.poll() for process in running]
                if None not in statuses or any(statuses):
                    break
                time.sleep(0.02)
            statuses = [process.poll() for process in running]
        finally:
            for process in running:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        texts = [
            [Path(f"{log}{end}").read_text(errors="replace") for end in (".out", ".err")] for log in logs
        ]
    return [Ended(status, out, err) for status, (out, err) in zip(statuses, texts, strict=True)]


def last_line(text: str, longest: int = 160) -> str:
    """The last line with something on it: for Python, the error itself."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:longest] if lines else "it said nothing"


def reason(ended: Ended) -> str:
    """Why a process failed. A signal means that something else ended it, often a lack of memory."""
    if ended.status is not None and ended.status < 0:
        return f"ended by {signal.Signals(-ended.status).name}"
    return last_line(ended.err)


ASK_TORCH = """
import json, time
start = time.perf_counter()
import torch
print(json.dumps({"version": torch.__version__, "seconds": time.perf_counter() - start}), flush=True)
kind, devices = "none", []
if torch.cuda.is_available():
    kind = "ROCm" if torch.version.hip else "CUDA"
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    devices = [(device.name, device.total_memory) for device in found]
elif torch.backends.mps.is_available():
    kind, devices = "MPS", [("Apple GPU", torch.mps.recommended_max_memory())]
print(json.dumps({"kind": kind, "devices": devices}))
"""


def ask_torch(python: str = sys.executable, seconds: float = 40) -> dict:
    """What PyTorch says about itself: version, seconds (to import), kind, devices [(name, bytes)].

    Keys that it did not get to are absent, and "error" says why.
    """
    [ended] = run_together(python, ASK_TORCH, [{"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}], seconds)
    answer: dict = {}
    for line in ended.out.splitlines():
        if line.startswith("{"):
            answer.update(json.loads(line))
    if ended.status is None:
        answer["error"] = f"no answer within {seconds:g} s"
    elif ended.status != 0:
        answer["error"] = reason(ended)
    return answer


# The limit inside is for a rank whose parent was killed: it then ends by itself.
HELLO = """
import datetime
import torch
import torch.distributed as dist
dist.init_process_group("gloo", timeout=datetime.timedelta(minutes=2))
number = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(number)
dist.destroy_process_group()
print(number.item())
"""


def add_up_on_two_ranks(python: str, seconds: float) -> list[Ended]:
    """Two processes add 1 and 2 by an all-reduce over gloo; a rank that is right prints 3.0."""
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    return run_together(python, HELLO, [{**shared, "RANK": rank} for rank in "01"], seconds)

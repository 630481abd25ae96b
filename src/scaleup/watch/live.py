"""A run's `metrics.jsonl` as curves in TensorBoard, while it goes on, on this machine only.

TensorBoard is a package of lessons, so this is imported where somebody watches, never by a training.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import CourseError
from ..paths import state
from ..plan import accelerators
from ..ranks import cleanup
from ..ranks.runs import open_run
from ..words import did_you_mean
from .alarms import Watcher, slowest_rank, wait_share

POLL = 1.0  # seconds between two looks at the file


def folder_of(run: str | None = None) -> Path:
    """The folder of a run, the newest without a name. Raises CourseError where there is none."""
    runs = state() / "runs"
    known = {path.parent.name: path for path in runs.glob("*/metrics.jsonl")}
    if run is None and known:
        return max(known.values(), key=lambda path: path.stat().st_mtime).parent
    if run is None or run not in known:
        about = did_you_mean(run, known) if run else "Start one: scaleup train --config data/first-run.toml"
        what = f"There is no run '{run}'." if run else "No run has written anything yet."
        raise CourseError(f"{what} {about}")
    return known[run].parent


class Lines:
    """The lines of a file that is being written: each call of `new` gives those that were completed since."""

    def __init__(self, file: Path) -> None:
        self.file, self.place = file, 0

    def new(self) -> list[dict[str, Any]]:
        """Steps since the last call. A line of which only the beginning is there waits for the next call."""
        try:
            with open(self.file, "rb") as opened:
                opened.seek(self.place)
                block = opened.read()
        except FileNotFoundError:
            return []
        whole, _, _ = block.rpartition(b"\n")
        self.place += len(whole) + bool(whole)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]


def steps(run: str | None = None) -> list[dict[str, Any]]:
    """All steps that a run has written so far."""
    return Lines(folder_of(run) / "metrics.jsonl").new()


def peak_of(about: Mapping[str, Any]) -> float | None:
    """FLOP/s of all devices of a run at their dense 16-bit peak; None where the device has no known one."""
    try:
        return accelerators.find(about.get("device", "")).peak_flops * about.get("ranks", 1)
    except CourseError:
        return None


def curves(step: Mapping[str, Any], peak: float | None = None) -> dict[str, float]:
    """{name of a curve: its value} of a step; what a run did not note has no curve."""
    flops = step.get("model_flops")
    memory = step.get("memory_bytes")
    found = {
        "1 loss/training": step.get("loss"),
        "1 loss/validation": step.get("validation_loss"),
        "2 gradients/norm before clipping": step.get("gradient_norm"),
        "2 gradients/learning rate": step.get("learning_rate"),
        "3 speed/tokens per second": step.get("tokens_per_second"),
        "3 speed/seconds of a step": step.get("seconds"),
        "3 speed/model TFLOP per second": flops / 1e12 if flops else None,
        "3 speed/MFU": flops / peak if flops and peak else None,
        "4 waiting/for data, share of a step": wait_share(step),
        "4 waiting/slowest rank over the median": slowest_rank(step),
        "5 device/memory at most (GiB)": memory / 2**30 if memory else None,
        "5 device/power (W)": step.get("watts"),
    }
    return {name: float(value) for name, value in found.items() if value is not None}


class Events:
    """Writes steps as TensorBoard's events into `folder`, which is made anew."""

    def __init__(self, folder: Path, peak: float | None = None) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        shutil.rmtree(folder, ignore_errors=True)
        self.writer, self.peak, self.watcher = EventFileWriter(str(folder)), peak, Watcher()

    def add(self, step: Mapping[str, Any]) -> list[str]:
        """One step; returns a sentence for each alarm that it switched."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value)
                  for tag, value in curves(step, self.peak).items()]  # fmt: skip
        switched = self.watcher.see(step)
        on = sum(alarm.ended is None for alarm in self.watcher.alarms)
        values.append(Summary.Value(tag="6 alarms/on", simple_value=on))
        when = step.get("at") or time.time()
        self.writer.add_event(Event(wall_time=when, step=step["step"], summary=Summary(value=values)))
        return [f"{alarm}. {alarm.why}" if alarm.ended is None else str(alarm) for alarm in switched]

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def convert(run: str | None = None, peak: float | None = None) -> Path:
    """All that a run has written so far, as events; returns their folder, `.scaleup/runs/NAME/events`."""
    with follow(run, peak) as (_, folder):
        return folder


@contextlib.contextmanager
def follow(
    run: str | None = None, peak: float | None = None
) -> Iterator[tuple[Callable[[], list[str]], Path]]:
    """Yields a function that converts what is new and returns alarms, and the folder of the events."""
    home = folder_of(run)
    about = json.loads((home / "about.json").read_text()) if (home / "about.json").exists() else {}
    events = Events(home / "events", peak or peak_of(about))
    lines = Lines(home / "metrics.jsonl")

    def look() -> list[str]:
        told = [sentence for step in lines.new() for sentence in events.add(step)]
        events.flush()
        return told

    try:
        look()
        yield look, home / "events"
    finally:
        events.close()


@contextlib.contextmanager
def tensorboard(folder: Path, port: int = 0, patience: float = 60) -> Iterator[str]:
    """TensorBoard on `folder`, bound to 127.0.0.1; yields its address and ends it, whatever happens.

    `port` 0 takes a free one. Its own fast loader is left out: that is a second program, and one is enough.
    Raises CourseError where it does not start, such as on a port in use.
    """
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1",
               "--port", str(port), "--load_fast", "false", "--reload_interval", "2"]  # fmt: skip
    home, guard = open_run()  # ends it also when this process is killed
    environment = os.environ | {cleanup.MARK: home.name, "PYTHONWARNINGS": "ignore"}
    said = home / "tensorboard.log"
    try:
        with said.open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, env=environment,
            )  # fmt: skip
        try:
            yield _address(process, said, patience)
        finally:
            cleanup.sweep(home.name)
            process.wait()
    finally:
        guard.close()


def _address(process: subprocess.Popen, said: Path, patience: float) -> str:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        text = said.read_text(errors="replace")
        if found := re.search(r"http://[\d.]+:\d+", text):
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    *_, why = ["it said nothing", *said.read_text(errors="replace").strip().splitlines()]
    raise CourseError(f"TensorBoard did not start: {why}. Try another --port, or look with --once.")


@contextlib.contextmanager
def _ends_in_order() -> Iterator[None]:
    """SIGTERM and a lost connection end the watching as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(run: str | None, port: int = 6006, once: bool = False, peak: float | None = None) -> None:
    """`scaleup watch`: convert, open, follow until Ctrl-C, say alarms as they come and go."""
    if peak is not None and not (math.isfinite(peak) and peak > 0):
        raise CourseError(
            f"--peak {peak:g} is no rate. Give the TFLOP/s of all devices of the run, such as 989."
        )
    flops = peak * 1e12 if peak else None
    with _ends_in_order(), follow(run, flops) as (look, folder):
        if once:
            print(f"The curves are in {folder}. To see them: tensorboard --logdir {folder}")
            return
        with tensorboard(folder, port) as address:
            host = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
            number = address.rpartition(":")[2]
            print(f"{folder.parent.name}: {address} (Ctrl-C ends it)")
            print(f"From your own computer: ssh -N -L {number}:127.0.0.1:{number} {host}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    for sentence in look():
                        print(sentence, flush=True)
                    time.sleep(POLL)
        print("TensorBoard has ended; the curves are kept.")

"""SIGTERM ends a run in order: the loop decides when."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def sigterm_noted() -> Iterator[list[int]]:
    """SIGTERM, by which Slurm and torchrun end a run, only adds to the list: the loop decides when to stop.

    It can come twice, from both of them. Python lets only the main thread handle signals.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)

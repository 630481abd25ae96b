"""A check that takes too long is stopped.

A Python loop that never ends is stopped after `limit` seconds. A call that hangs inside compiled
code cannot be stopped from Python; the learner is then told to restart the kernel. Answers that start ranks
belong in files, which `scaleup.ranks.run` can end.
"""

from __future__ import annotations

import contextvars
import ctypes
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]  # all of the course


class TimeIsUp(BaseException):
    """Not an Exception, so that `except Exception` in an answer does not swallow it."""


def run_limited(call: Callable[[], str], seconds: float) -> str:
    """`call()`, or TimeIsUp after `seconds`. Signals where they work, else a thread."""
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        return _run_with_alarm(call, seconds)
    return _run_in_thread(call, seconds)


def _is_cleaning_up(frame: types.FrameType | None) -> bool:
    """Whether the course's own code, such as that which ends ranks, is at work in the checked call."""
    while frame and frame.f_code.co_filename != __file__:
        if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
            return True
        frame = frame.f_back
    return False


def _run_with_alarm(call: Callable[[], str], seconds: float) -> str:
    began, over, fired = time.monotonic(), False, 0
    tracing = sys.gettrace()

    def at_next_line(frame: types.FrameType, event: str, _: Any) -> Any:
        if event == "line" and not over:
            raise TimeIsUp
        return at_next_line if event != "call" else None

    def stop(_: int, frame: types.FrameType | None) -> None:
        nonlocal fired
        if over or (fired and _is_cleaning_up(frame)):
            return
        fired += 1
        if fired > 1:  # a bare `except:` swallowed the first: raise once more inside that handler
            sys.settrace(at_next_line)
            while frame and frame.f_code is not _run_with_alarm.__code__:
                frame.f_trace, frame = at_next_line, frame.f_back
        raise TimeIsUp

    def tell() -> None:
        print("✗ not yet: your answer hangs where it cannot be stopped. Restart the kernel.", flush=True)

    stuck = threading.Timer(seconds + 20, tell)
    stuck.daemon = True
    old_handler = signal.signal(signal.SIGALRM, stop)
    old_left, old_interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    stuck.start()
    try:
        try:
            return call()
        finally:
            over = True
    finally:  # reached also when the alarm fires within the line above
        over = True
        stuck.cancel()
        stuck.join(1)
        sys.settrace(tracing)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old_handler)
        if old_left:  # somebody else's alarm, such as a test runner's: give it back its remaining time
            left = max(old_left - (time.monotonic() - began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, old_interval)


def _run_in_thread(call: Callable[[], str], seconds: float) -> str:
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["value"] = call()
        except BaseException as error:  # handed over to the waiting thread, whatever it is
            outcome["error"] = error

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + seconds
        while thread.is_alive() and time.monotonic() < deadline:
            thread.join(0.05)
    finally:  # also when the learner interrupts the waiting
        asked = 0
        while thread.is_alive() and asked < 10:
            if not asked or not _is_cleaning_up(sys._current_frames().get(thread.ident)):
                ident, kind = ctypes.c_ulong(thread.ident), ctypes.py_object(TimeIsUp)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, kind)
                asked += 1
            thread.join(0.1)
    if thread.is_alive():
        raise TimeIsUp("it could not be stopped, so restart the kernel")
    if "value" in outcome:
        return outcome["value"]
    raise outcome.get("error") or TimeIsUp

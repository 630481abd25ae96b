"""How long a rank's device computed, on a CPU; and devices that are slower than a core.

Ranks that share a few cores compute no faster together than those cores do. With SCALEUP_DEVICE_SHARE=0.125
a rank's device has the speed of an eighth of a core: eight of them fit on one core, and N of them compute N
times as fast as one. After each step a rank sleeps until its device would have been ready.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from ..errors import CourseError

SHARE = "SCALEUP_DEVICE_SHARE"
WAITED = Path("/proc/thread-self/schedstat")  # nanoseconds on a core, nanoseconds in the queue for one, turns


def device_share(device: torch.device) -> float:
    """The share of a core that the variable asks for, 1 without it. Raises CourseError for nonsense."""
    text = os.environ.get(SHARE)
    if not text:
        return 1.0
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.01 <= share <= 1:
        raise CourseError(f"{SHARE} is '{text}'. Write a share of a core from 0.01 to 1, such as 0.125.")
    if device.type != "cpu":
        raise CourseError(f"{SHARE} slows down ranks on CPU cores, and this rank has a GPU. Unset it.")
    return share


class Pace:
    """Between `begin` and `keep` a step is computed in this thread. With several threads nothing is known."""

    def __init__(self, device: torch.device) -> None:
        self.share = device_share(device)
        self.known = device.type == "cpu" and torch.get_num_threads() == 1
        if self.share < 1 and not self.known:
            raise CourseError(f"{SHARE} needs one thread for each rank: export OMP_NUM_THREADS=1.")
        self.begin()

    def begin(self) -> None:
        self.core, self.queue = time.thread_time(), queued()

    def keep(self) -> float | None:
        """Sleep until a device of this share would have been ready; the seconds that it computed.

        Time in the queue for a core counts as part of them, so that others' work on this computer does not
        slow the device down as long as it gets its share. Waiting for other ranks costs no core, and counts
        as none.
        """
        if not self.known:
            return None
        core = time.thread_time() - self.core
        seconds = core / self.share
        if (rest := seconds - core - (queued() - self.queue)) > 0:
            time.sleep(rest)
        return seconds


def queued() -> float:
    """Seconds that this thread waited for a core so far; 0 where the system does not tell."""
    try:
        return int(WAITED.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0

"""How often to save."""

from __future__ import annotations

import math


def young_daly(save_seconds: float, failure_seconds: float) -> float:
    """Seconds of work between two saves that lose the least time: sqrt(2 x save x failure).

    `save_seconds` is how long training stands still for a save, `failure_seconds` the mean time between
    failures of the whole job: of one node divided by the nodes. Each save costs its time, each failure half
    an interval on average: C / t + t / (2 M) is least there. Young, "A first order approximation to the
    optimum checkpoint interval", CACM 17 (1974); Daly, FGCS 22 (2006), adds terms that matter where saving
    takes as long as the time between failures.
    """
    if save_seconds <= 0 or failure_seconds <= 0:
        raise ValueError("Both times have to be longer than 0 seconds.")
    return math.sqrt(2 * save_seconds * failure_seconds)

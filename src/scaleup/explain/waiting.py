"""A hang in a log: which ranks report a time-out, in which call, and which ranks say nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

WATCHDOG = re.compile(
    r"\[Rank (\d+)\] Watchdog caught collective operation timeout: WorkNCCL\(SeqNum=(\d+), OpType=(\w+)"
)
WORLD = re.compile(r"(?i)world[_ ]size\W{1,3}(\d+)|nranks (\d+)")


def told(lines: Sequence[str]) -> str:
    """A sentence on who waits and who is missing, as NCCL's watchdog says; "" where it says nothing."""
    seen: dict[int, tuple[int, str]] = {}  # rank: the earliest call that timed out
    for line in lines:
        if found := WATCHDOG.search(line):
            call = int(found[2]), found[3]
            rank = int(found[1])
            seen[rank] = min(seen.get(rank, call), call)
    if not seen:
        return ""
    calls: dict[tuple[int, str], list[int]] = {}
    for rank, call in sorted(seen.items()):
        calls.setdefault(call, []).append(rank)
    waits = "; ".join(
        f"{_ranks(who)} waited in {kind}, call {number}" for (number, kind), who in calls.items()
    )
    size = max((int(a or b) for line in lines for a, b in WORLD.findall(line)), default=0)
    missing = [rank for rank in range(size) if rank not in seen]
    if missing:
        return f"{waits}. {_ranks(missing)} said nothing: look there first."
    if len(calls) > 1:
        return f"{waits}. In one group all must be in the same call: look at the lowest number first."
    return f"{waits}. Look for a rank that is not among them."


def _ranks(ranks: Sequence[int]) -> str:
    return f"Rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"

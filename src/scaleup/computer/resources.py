"""What this process may use of the computer: cores, memory, a port. A container or Slurm may limit them."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def cgroup_limit(
    controller: str,
    file: str,
    table: Path = Path("/proc/self/cgroup"),
    mount: Path = Path("/sys/fs/cgroup"),
) -> list[str]:
    """The contents of `file` in this process's control group and all groups above it, innermost first.

    Understands both generations: one tree (`0::/path`) and one tree per controller (`4:memory:/path`).
    """
    if not table.exists():
        return []
    found = []
    for line in table.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        tree = mount / controller if controllers else mount
        inside = tree / path.lstrip("/")
        for folder in [inside, *inside.parents]:
            if folder == tree.parent:
                break
            if (folder / file).is_file():
                found.append((folder / file).read_text().strip())
    return found


def usable_cores() -> int:
    """Cores that this process may use: the least of affinity, Slurm's allocation and a container's quota."""
    try:
        limits = [len(os.sched_getaffinity(0))]
    except AttributeError:  # macOS has no affinity
        limits = [os.cpu_count() or 1]
    if given := os.environ.get("SLURM_CPUS_ON_NODE"):
        limits.append(int(given))
    for quota in cgroup_limit("cpu", "cpu.max"):
        allowed, period = quota.split()
        if allowed != "max":
            limits.append(max(1, int(allowed) // int(period)))
    periods = cgroup_limit("cpu", "cpu.cfs_period_us")
    for allowed, period in zip(cgroup_limit("cpu", "cpu.cfs_quota_us"), periods, strict=False):
        if int(allowed) > 0:
            limits.append(max(1, int(allowed) // int(period)))
    return min(limits)


def usable_memory() -> int:
    """Bytes this process may use: the least of the machine's memory, a container's limit and Slurm's."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits += [int(limit) for limit in cgroup_limit("memory", "memory.max") if limit != "max"]
    limits += map(int, cgroup_limit("memory", "memory.limit_in_bytes"))
    per_node = int(os.environ.get("SLURM_MEM_PER_NODE") or 0)  # in MiB; 0 means the whole node
    per_cpu = int(os.environ.get("SLURM_MEM_PER_CPU") or 0)
    given = per_node or per_cpu * int(os.environ.get("SLURM_CPUS_ON_NODE") or 0)
    if given:
        limits.append(given * 2**20)
    return min(limits)


def free_port() -> int:
    """A port of the loopback interface that nobody uses at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

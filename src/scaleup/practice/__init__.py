"""The practice supercomputer: a real Slurm on this machine; its nodes are pretended, its answers are not.

`cluster` is what a person calls (up, down, status, run), `configuration` writes Slurm's files, `supervisor`
starts and ends nodes and daemons. `validator` asks a real scheduler about scripts for other machines:
`stand_in` writes its files, `request` reads the script, `advice` says what is wrong with it.
"""

from .cluster import connect, down, is_up, run, status, up, wait

__all__ = ["connect", "down", "is_up", "run", "status", "up", "wait"]

"""The practice supercomputer: a real Slurm on this machine; its nodes are pretended, its answers are not.

`slurm` finds or unpacks Slurm, `configuration` writes its files, `supervisor` starts nodes and daemons and
ends them, `cluster` is what a person calls (up, down, status, run). `validator` asks a real scheduler about
scripts for other machines: `stand_in` writes its files, `request` reads the script, `advice` says what is
wrong with it.
"""

from .cluster import connect, down, is_up, run, status, up, wait

__all__ = ["connect", "down", "is_up", "run", "status", "up", "wait"]

"""Checkpoints: all of a run's state, saved by all ranks, published whole or not at all, checked before use.

`complete_state` says what belongs to it, `saver` saves and loads, `publication` names it, `trust` looks
before anything is read, `resuming` finds the newest sound one, `export` is for others, `interval` how often.
"""

from .export import export, export_run
from .interval import young_daly
from .saver import Saver

__all__ = ["Saver", "export", "export_run", "young_daly"]

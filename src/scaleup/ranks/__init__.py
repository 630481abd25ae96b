"""Real distributed runs on this machine: several processes, one for each rank, talking through gloo.

`run` starts a whole program under torchrun. `start` keeps ranks alive behind the notebook, for `%%px` cells.
Neither leaves a process behind: see `scaleup.ranks.cleanup`.
"""

from .failures import Interrupted, RanksFailed
from .interactive import Ranks, start, stop
from .runs import Result, call, run, save_result

__all__ = ["Interrupted", "Ranks", "RanksFailed", "Result", "call", "run", "save_result", "start", "stop"]

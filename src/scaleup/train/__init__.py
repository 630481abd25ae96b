"""Training the course's GPT, alone or on ranks that torchrun or Slurm started.

`loop` is the whole of it to read; `join` finds the other ranks, `share` is what one of them holds and does,
`batches` shares out the text, `gradients` are averaged and clipped, `optimizer` steps, `validation` judges,
`signals` ends in order, `step_record` notes, `run_folder` keeps. May import parallel, text, measure.
"""

from .batches import accumulation, batches
from .join import process_group
from .loop import Step, train
from .optimizer import learning_rate, make_optimizer
from .share import Share

__all__ = [
    "Share",
    "Step",
    "accumulation",
    "batches",
    "learning_rate",
    "make_optimizer",
    "process_group",
    "train",
]

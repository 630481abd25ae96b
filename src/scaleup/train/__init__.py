"""Training the course's GPT, alone or on ranks that torchrun or Slurm started.

`loop` is the whole of it to read; `join` finds the other ranks, `batches` shares out the text, `optimizer`
steps, `signals` ends in order, `run_folder` keeps the results. May import text, measure, computer, the model.
"""

from .batches import accumulation, batches
from .join import process_group
from .loop import Step, train
from .optimizer import learning_rate, make_optimizer

__all__ = ["Step", "accumulation", "batches", "learning_rate", "make_optimizer", "process_group", "train"]

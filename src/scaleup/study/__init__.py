"""A scaling study: the same training on 1, 2, 4 … nodes, submitted, collected, and told with its error.

`points` says what is run and held fixed, `submitting` talks to Slurm, `collecting` reads what the runs wrote,
`spread` is the statistics, `step_model` explains the times, `study_file` is `study.json`, `study_figures`
draws, `studying` is the command.
"""

from .spread import Interval, efficiency, interval, speed_up
from .step_model import Fit, fit
from .study_file import RECORDED, Study, load
from .studying import study

__all__ = [
    "RECORDED",
    "Fit",
    "Interval",
    "Study",
    "efficiency",
    "fit",
    "interval",
    "load",
    "speed_up",
    "study",
]

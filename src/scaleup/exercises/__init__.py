"""Exercises: `slips` and `letters` write checks, `judge` applies them, `progress` remembers, `reset` resets.

`starters` derives what a learner opens from the solution, `run_lesson` runs it for `scaleup check`. The
checks themselves are in `exercises/checks/PART/LESSON.py`.
"""

from .answers import AS_GIVEN, EMPTY
from .judge import check, judge
from .lessons import exercise_names, find_lesson, lessons, load_checks, write_edited
from .letters import letter_set, word_each
from .progress import Row, progress, progress_path, progress_table
from .register import (
    Checks,
    Edited,
    Exercise,
    KnownWrong,
    NotYet,
    Verdict,
    code,
    edited,
    exercise,
    known_wrong,
    needs_function,
)
from .reset import reset
from .run_lesson import check_lesson, run_notebook
from .slips import Off, Says, Slip, close, formula, is_number, rules, says, slip, values

__all__ = [
    "Off",
    "Says",
    "Slip",
    "close",
    "formula",
    "is_number",
    "rules",
    "says",
    "slip",
    "values",
    "letter_set",
    "word_each",
    "AS_GIVEN",
    "Checks",
    "EMPTY",
    "Edited",
    "Exercise",
    "KnownWrong",
    "NotYet",
    "Row",
    "Verdict",
    "check",
    "check_lesson",
    "code",
    "edited",
    "run_notebook",
    "exercise",
    "exercise_names",
    "find_lesson",
    "judge",
    "known_wrong",
    "lessons",
    "load_checks",
    "needs_function",
    "progress",
    "progress_path",
    "progress_table",
    "reset",
    "write_edited",
]

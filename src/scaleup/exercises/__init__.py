"""Exercises: check an answer, remember the progress, put things back.

What a learner opens is derived from the solution: see `scaleup.starters`.

**Checks.** `exercises/checks/PART/LESSON.py` holds plain functions, and known-wrong answers beside them:

    @exercise("average", hint="How many ranks contributed to the sum?")
    def average(answer):
        if answer([1.0, 3.0]) == 4.0:
            raise NotYet("this is the sum of the gradients: divide it by the world size")
        return "the average of two ranks is right"

    known_wrong("average", code("def average(grads):\\n    return sum(grads)"), "this is the sum of …")

With `file=True` the answer is a file's name and the function gets its `Path`; its known-wrong answers are
written as `edited("broken.py", {"right": "wrong"})`, a change to the solution.
"""

from .answers import AS_GIVEN, EMPTY
from .judge import check, judge
from .lessons import exercise_names, find_lesson, lessons, load_checks, write_edited
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

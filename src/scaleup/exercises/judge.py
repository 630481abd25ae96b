"""One answer, one sentence: `check("lesson/exercise", answer)` in a notebook."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from pathlib import Path
from typing import Any

from ..errors import CourseError
from ..words import did_you_mean, one_line
from .answers import (
    EMPTY,
    answer_definition,
    answer_file,
    code_of,
    is_empty,
    open_places,
    untouched,
    untouched_file,
)
from .lessons import find_lesson, load_checks
from .progress import record
from .register import Exercise, NotYet, Verdict
from .time_limit import TimeIsUp, run_limited


class _FirstLines:
    """Stands in for stdout: an answer may print, but not flood the notebook."""

    def __init__(self, stream: Any, lines: int = 20) -> None:
        self.stream, self.left = stream, lines

    def write(self, text: str) -> int:
        if self.left > 0:
            self.left -= text.count("\n")
            self.stream.write(text)
            if self.left <= 0:
                self.stream.write("(the rest of what your answer prints is not shown)\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _raised(error: BaseException, answer: Any) -> str:
    """A sentence for an exception: whose code raised it, what and where."""
    what = type(error).__name__ + (
        "" if isinstance(error, SystemExit) or not str(error) else f": {one_line(error)}"
    )
    code_object = code_of(answer)
    own = code_object.co_filename if code_object else None
    step, line, name = error.__traceback__, 0, ""
    while step:
        file = step.tb_frame.f_code.co_filename
        if file == own or Path(file).parent.name.startswith("ipykernel_"):
            line, name = step.tb_lineno, step.tb_frame.f_code.co_name
        step = step.tb_next
    if line:
        return f"your function raised {what} (in line {line} of its cell, in {name})"
    if re.search(r"NoneType|'?ellipsis'?", str(error)) and code_object:
        return "your function returned nothing where the check needs a value: is a return missing?"
    return f"the check cannot use your answer ({what}): compare its type and shape with what is asked for"


def judge(lesson: str, task: Exercise, answer: Any) -> Verdict:
    """Runs one check on one answer. Whatever the answer does becomes a sentence; nothing is recorded."""
    if is_empty(answer):
        return Verdict(False, EMPTY, attempt=False)
    if task.file:
        try:
            answer = answer_file(lesson, answer)
        except NotYet as error:
            return Verdict(False, str(error), attempt=False)
        node, said = None, untouched_file(lesson, answer)
    else:
        node = answer_definition(answer)
        said = untouched(lesson, node)
    if said:
        return Verdict(False, said, attempt=False)
    try:
        with contextlib.redirect_stdout(_FirstLines(sys.stdout)):
            message = run_limited(functools.partial(task.check, answer), task.limit)
        return Verdict(True, one_line(message))
    except (NotYet, CourseError) as error:
        message = one_line(error)
    except TimeIsUp as stuck:
        message = f"your answer was still running after {task.limit:g} s: look for a loop that never ends"
        message += f"; {stuck}" if stuck.args else ""
    except KeyboardInterrupt:
        return Verdict(False, "the check was stopped before it ended", attempt=False)
    except (Exception, SystemExit) as error:
        message = _raised(error, answer)
    lines = open_places(node)
    return Verdict(False, message, f"  a … is still in your answer, in line {lines[0]}" if lines else "")


def check(name: str, answer: Any) -> None:
    """Checks `answer` of exercise `name`, such as `data-parallel/average`, and prints what it finds.

    Prints `✓ data-parallel/average: …` or `✗ not yet: …`. Never raises; ends within the time limit.
    """
    try:
        lesson, task = _find_exercise(name)
        verdict = judge(lesson, task, answer)
    except CourseError as error:
        print(f"✗ not yet: {one_line(error)}")
        return
    except Exception as error:  # the course's mistake, not the learner's
        print(f"✗ not yet: the check itself is broken ({type(error).__name__}: {one_line(error)}).")
        print("  This is not your answer's fault. Please tell the course's maintainers.")
        return
    except KeyboardInterrupt:
        print("✗ not yet: the check was stopped before it ended")
        return
    attempts = record(f"{lesson}/{task.name}", verdict)
    if verdict.solved:
        print(f"✓ {lesson.split('/')[1]}/{task.name}: {verdict.message}")
    else:
        print(f"✗ not yet: {verdict.message}")
        if verdict.note or attempts >= 3:
            print(verdict.note or f"  hint: {task.hint}")


def _find_exercise(name: str) -> tuple[str, Exercise]:
    if not isinstance(name, str) or "/" not in name:
        raise CourseError("Name the exercise as lesson/exercise, such as check('data-parallel/average', …).")
    lesson_name, _, short = name.rpartition("/")
    lesson = find_lesson(lesson_name)
    tasks = load_checks(lesson).exercises
    if short not in tasks:
        raise CourseError(f"No exercise '{short}' in {lesson_name}. {did_you_mean(short, tasks)}")
    return lesson, tasks[short]

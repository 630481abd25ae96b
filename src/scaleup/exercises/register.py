"""What a file of `exercises/checks/` registers. `slips` is the short way to write it, this is the long one.

`exercises/checks/PART/LESSON.py` holds plain functions, and known-wrong answers beside them:

    @exercise("average", hint="How many ranks contributed to the sum?")
    def average(answer):
        if answer([1.0, 3.0]) == 4.0:
            raise NotYet("this is the sum of the gradients: divide it by the world size")
        return "the average of two ranks is right"

    known_wrong("average", code("def average(grads):\\n    return sum(grads)"), "this is the sum of …")

With `file=True` the answer is a file's name and the function gets its `Path`; its known-wrong answers are
written as `edited("broken.py", {"right": "wrong"})`, a change to the solution.
"""

from __future__ import annotations

import linecache
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CourseError
from ..words import a_kind

LIMIT = 20.0


class NotYet(Exception):
    """Raised by a check: one sentence that names the likely mistake."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson. `limit` is in seconds; with `file` the answer is a file's name."""

    name: str
    check: Callable[[Any], str]
    hint: str
    limit: float
    file: bool


@dataclass(frozen=True)
class KnownWrong:
    """A wrong answer and the exact message that it must get."""

    exercise: str
    answer: Any
    message: str


@dataclass(frozen=True)
class Edited:
    """The solution file `name` with every key of `changes` (found exactly once) replaced by its value."""

    name: str
    changes: dict[str, str]


@dataclass
class Checks:
    """What one file of `exercises/checks/` holds."""

    lesson: str
    path: Path
    exercises: dict[str, Exercise] = field(default_factory=dict)
    known_wrong: list[KnownWrong] = field(default_factory=list)


loading: list[Checks] = []  # the file being loaded, so that its decorators know where they belong


def _current() -> Checks:
    if not loading:
        raise CourseError("This is a file of checks. Use it through scaleup.exercises.check, do not run it.")
    return loading[-1]


def exercise(name: str, *, hint: str, limit: float = LIMIT, file: bool = False) -> Callable:
    """Registers the decorated function as the check of exercise `name`.

    The function gets the answer, returns a short sentence that says what is right, and raises `NotYet`
    otherwise. `hint` is shown from the third miss on. `limit` is the time limit in seconds.
    """

    def register(function: Callable[[Any], str]) -> Callable[[Any], str]:
        checks = _current()
        if name in checks.exercises:
            raise CourseError(f"{checks.path.name} has two checks named '{name}'. Rename one.")
        checks.exercises[name] = Exercise(name, function, hint, limit, file)
        return function

    return register


def known_wrong(name: str, answer: Any, message: str) -> None:
    """Records that `answer` (a value, `code(…)` or `edited(…)`) must get exactly `message`."""
    checks = _current()
    if name not in checks.exercises:
        raise CourseError(f"{checks.path.name}: known_wrong('{name}') stands before a check of that name.")
    checks.known_wrong.append(KnownWrong(name, answer, message))


def needs_function(answer: Any, name: str) -> None:
    """Not yet, unless the answer is a function."""
    if not callable(answer):
        raise NotYet(f"the check needs your function {name}, you gave {a_kind(answer)}")


def code(source: str) -> Any:
    """Runs `source` as a learner's cell would and returns the last thing that it defines."""
    source = textwrap.dedent(source).strip("\n") + "\n"
    filename = f"<answer {len(linecache.cache)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, filename, "exec"), names)
    return list(names.values())[-1]


def edited(name: str, changes: dict[str, str]) -> Edited:
    """The solution file `name`, changed: a known-wrong answer of an exercise with `file=True`."""
    return Edited(name, changes)


@dataclass(frozen=True)
class Verdict:
    """What a check says. `note` is a second line; `attempt` is False for an answer not yet begun."""

    solved: bool
    message: str
    note: str = ""
    attempt: bool = True

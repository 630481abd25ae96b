"""Which lessons have exercises, and their checks, loaded from `exercises/checks/PART/LESSON.py`."""

from __future__ import annotations

import ast
import importlib.util
import shutil
from pathlib import Path

from ..errors import CourseError
from ..paths import root
from ..words import did_you_mean
from .register import Checks, Edited, loading
from .starters import solution_of, unfold

REGISTER = ("exercise", "rules", "values", "formula")  # what registers an exercise; its name comes first


def lessons() -> list[str]:
    """The ids of all lessons that have checks, such as `3-many-devices/data-parallel`."""
    folder = root() / "exercises" / "checks"
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.py"))


def find_lesson(name: str) -> str:
    """The id of the lesson called `name`, which is its id or its last part; a CourseError otherwise."""
    known = lessons()
    found = [lesson for lesson in known if name in (lesson, lesson.split("/")[1])]
    if len(found) == 1:
        return found[0]
    if found:
        raise CourseError(f"Several lessons are called '{name}': {', '.join(found)}. Write the longer name.")
    names = [lesson.split("/")[1] for lesson in known]
    raise CourseError(
        f"No exercises for a lesson called '{name}'. {did_you_mean(name.split('/')[-1], names)}"
    )


def load_checks(lesson: str) -> Checks:
    """Runs the lesson's file of checks and returns what it registered."""
    path = root() / "exercises" / "checks" / f"{lesson}.py"
    checks = Checks(lesson, path)
    spec = importlib.util.spec_from_file_location(f"scaleup_checks_{path.stem.replace('-', '_')}", path)
    module = importlib.util.module_from_spec(spec)
    loading.append(checks)
    try:
        spec.loader.exec_module(module)
    finally:
        loading.pop()
    return checks


def exercise_names(lesson: str) -> list[str]:
    """The names of a lesson's exercises, read without running its checks (which may import a lot)."""
    path = root() / "exercises" / "checks" / f"{lesson}.py"
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in REGISTER]
    return [call.args[0].value for call in sorted(calls, key=lambda call: call.lineno)]


def write_edited(lesson: str, answer: Edited, folder: Path) -> Path:
    """Copies the files beside the solution into `folder`, with `answer` changed; returns its path there."""
    shutil.copytree(solution_of(lesson).parent, folder, ignore=shutil.ignore_patterns("*.ipynb", "[._]*"))
    path = folder / answer.name
    text = unfold(path.read_text("utf-8"), answer.name, starter=False)
    for old, new in answer.changes.items():
        if text.count(old) != 1:
            raise CourseError(
                f"{answer.name} holds {old!r} {text.count(old)} times. Choose a piece it holds once."
            )
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return path

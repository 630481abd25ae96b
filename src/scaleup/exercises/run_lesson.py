"""Run a learner's whole notebook from a shell and tell what its checks said: `scaleup check`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import CourseError
from ..notebook.execute import execute
from ..words import one_line
from .lessons import find_lesson, lessons, load_checks
from .progress import progress
from .starters import derive, solution_of, starter_of


def run_notebook(path: Path, cell_limit: float = 120.0) -> Any:
    """The learner's notebook with its outputs: see `scaleup.notebook.execute`. Raises CourseError."""
    try:
        return execute(path, cell_limit, on_after_errors=True)
    except FileNotFoundError:
        raise CourseError(f"{path} is missing. `scaleup reset {path.stem}` puts it back.") from None
    except ValueError:
        raise CourseError(f"{path} is no readable notebook. `scaleup reset {path.stem}` renews it.") from None


def _is_changed(lesson: str) -> bool:
    """Whether the learner changed a code cell of the lesson's starter."""
    starter = starter_of(solution_of(lesson))
    if not starter.exists():
        return False

    def sources_in(text: str) -> list[str]:
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]

    try:
        return sources_in(starter.read_text("utf-8")) != sources_in(derive(solution_of(lesson)))
    except (ValueError, KeyError, TypeError):
        return True  # unreadable, so no longer as it was given


def check_lesson(lesson: str | None = None) -> int:
    """Runs the learner's notebook of a lesson (None: of every lesson with changes) and prints each result.

    Returns 0 if every exercise is solved, 1 if not yet.
    """
    if lesson is None:
        changed = [name for name in lessons() if _is_changed(name)]
        if not changed:
            print("No exercise has been changed yet. Open a notebook in exercises/ to begin.")
        return max([check_lesson(name) for name in changed], default=1)
    lesson = find_lesson(lesson)
    short = lesson.split("/")[1]
    began = datetime.now().astimezone()
    limit = 120 + sum(task.limit for task in load_checks(lesson).exercises.values())
    notebook = run_notebook(starter_of(solution_of(lesson)), limit)
    rows = [row for row in progress() if row.lesson == lesson]
    passed = True
    for row in rows:
        reached = bool(row.checked_at) and datetime.fromisoformat(row.checked_at) >= began
        passed = passed and reached and row.passing
        mark, said = ("✓", row.message) if row.passing else ("✗", f"not yet: {row.message}")
        if not reached:
            mark, said = "✗", "not yet: its check was not reached"
        print(f"{mark} {short}/{row.exercise}: {said}")
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                what = "" if output.ename == "Cut" else f"{output.ename}: "
                print(f"  cell {number} stopped: {what}{one_line(output.evalue)}")
    return 0 if passed else 1

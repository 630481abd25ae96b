"""What a learner solved, kept in one file that several kernels may write."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import CourseError
from ..files import write_whole
from ..paths import root, state
from ..words import one_line
from .lessons import exercise_names, lessons
from .register import Verdict


@dataclass(frozen=True)
class Row:
    """Progress of one exercise. `solved_at` is a local ISO time, `""` before; so is `checked_at`."""

    lesson: str
    exercise: str
    attempts: int = 0
    solved: bool = False
    solved_at: str = ""
    checked_at: str = ""
    passing: bool = False  # what the last check said, whereas `solved` stays once it was reached
    message: str = ""


def progress_path() -> Path:
    """The progress file of this learner; SCALEUP_PROGRESS moves it."""
    moved = os.environ.get("SCALEUP_PROGRESS")
    return Path(moved).expanduser() if moved else state() / "progress.json"


def read_progress(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of the file. One that cannot be read is set aside, and that is said."""
    try:
        entries = json.loads(path.read_text("utf-8"))
        for key, entry in entries.items():
            Row(key, "", **entry)
            if not isinstance(entry["attempts"], int) or not isinstance(entry["solved"], bool):
                raise TypeError(key)
        return entries
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError):
        aside = path.with_name(path.name + ".broken")
        os.replace(path, aside)
        print(f"The progress file could not be read. It is kept as {aside.name}; a new one is begun.")
        return {}


def write_progress(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    write_whole(path, json.dumps(entries, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock of the progress file: several kernels may record at once."""
    from filelock import FileLock

    lock = FileLock(f"{path}.lock", timeout=5)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # no permission, no locks on this disk, or held too long
        raise CourseError(f"{path} cannot be locked ({one_line(error)}). Set SCALEUP_PROGRESS.") from None
    try:
        yield
    finally:
        lock.release()


def record(key: str, verdict: Verdict) -> int:
    """Saves a verdict and returns the attempts so far; says so if it cannot be saved.

    A solution notebook leaves no trace: to run it is not to have solved the exercise.
    """
    try:
        if root() / "exercises" / "solutions" in (Path.cwd(), *Path.cwd().parents):
            return 0
        path = progress_path()
        with locked(path):
            entries = read_progress(path)
            entry = entries.setdefault(key, {"attempts": 0, "solved": False, "solved_at": ""})
            now = datetime.now().astimezone().isoformat()
            entry["attempts"] += verdict.attempt
            if verdict.solved and not entry["solved"]:
                entry |= {"solved": True, "solved_at": now}
            entry |= {"checked_at": now, "passing": verdict.solved, "message": verdict.message}
            write_progress(path, entries)
        return entry["attempts"]
    except (OSError, CourseError) as error:
        print(f"Your progress was not saved: {one_line(error)}")
        return 0


def progress() -> list[Row]:
    """One row per exercise of the course, tried or not."""
    path = progress_path()
    with locked(path):
        entries = read_progress(path)
    keys = [(lesson, name) for lesson in lessons() for name in exercise_names(lesson)]
    return [Row(lesson, name, **entries.get(f"{lesson}/{name}", {})) for lesson, name in keys]


def progress_table() -> str:
    """The exercises tried so far as a table, and how many there are in all."""
    rows = progress()
    tried = [row for row in rows if row.checked_at]
    total = f"{sum(row.solved for row in rows)} of {len(rows)} exercises solved."
    if not tried:
        return f"{total} Open a notebook in exercises/ and run a check to begin."
    cells = [("exercise", "state", "tries", "last message")]
    for row in tried:
        done = "solved" if row.solved else "not yet"
        if row.solved and not row.passing:
            done = "solved before, not now"
        cells.append((f"{row.lesson}/{row.exercise}", done, str(row.attempts), one_line(row.message, 60)))
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {done:<{widths[1]}}  {tries:>{widths[2]}}  {text}"
        for name, done, tries, text in cells
    ]
    return "\n".join([*lines, "", total])

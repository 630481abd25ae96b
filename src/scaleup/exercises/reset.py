"""Put a lesson's starters back and keep the old answers: `scaleup reset`."""

from __future__ import annotations

import contextlib
import shutil
from datetime import datetime
from pathlib import Path

from ..errors import CourseError
from ..files import write_whole
from .lessons import find_lesson
from .progress import locked, progress_path, read_progress, write_progress
from .starters import belongs, derive, solution_of, sources, starter_of


def _set_aside(path: Path) -> Path:
    """Keeps a copy of `path` beside it under a dated name that was free."""
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M")
    for number in range(1, 1000):
        extra = f"-{number}" if number > 1 else ""
        kept = path.with_name(f"{path.stem}.{stamp}{extra}{path.suffix}")
        with contextlib.suppress(FileExistsError), kept.open("xb") as file:
            file.write(path.read_bytes())
            return kept
    raise CourseError(f"There are too many old answers beside {path}. Move some away.")


def reset(lesson: str) -> Path:
    """Puts a lesson's fresh starters back, keeps the old answers beside them, forgets its progress.

    The lesson's files are its notebook, those beside its solution that the notebook names, and those in the
    folder of its name. Prints where each old answer is. Returns the old notebook's new place, or the fresh
    notebook if there was no old one.
    """
    lesson = find_lesson(lesson)
    notebook = solution_of(lesson)
    if not notebook.exists():
        raise CourseError(f"The source of {lesson} is missing: {notebook}. Restore the course's folder.")
    beside = [path for path in sources() if belongs(path, notebook)]
    kept: dict[Path, Path] = {}
    for source in [notebook, *beside]:
        target, fresh = starter_of(source), derive(source)
        if target.exists() and target.read_bytes() != fresh.encode():
            kept[source] = _set_aside(target)
            print(f"Your old answer is kept as {kept[source]}")
        write_whole(target, fresh)
        shutil.copymode(source, target)
    path = progress_path()
    with locked(path):
        entries = read_progress(path)
        entries = {key: entry for key, entry in entries.items() if not key.startswith(f"{lesson}/")}
        write_progress(path, entries)
    print(f"A fresh start is in {starter_of(notebook)}")
    return kept.get(notebook, starter_of(notebook))

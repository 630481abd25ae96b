"""Where things are: the course's folder and the folder for what the course generates."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import CourseError


def root() -> Path:
    """The top folder of the course (the one that holds `notebooks/` and `data/`).

    Looks at the variable SCALEUP_HOME, then upwards from the working directory, then beside this file.
    """
    candidates = [Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents]
    if home := os.environ.get("SCALEUP_HOME"):
        candidates = [Path(home).expanduser()]
    for folder in candidates:
        if (folder / "notebooks").is_dir() and (folder / "data").is_dir():
            return folder
    raise CourseError(
        "The course's folder was not found. Run this inside the checkout, or set SCALEUP_HOME to it."
    )


def state() -> Path:
    """`.scaleup/` in the course's folder: shards, run outputs, progress. Safe to delete; never committed."""
    folder = root() / ".scaleup"
    folder.mkdir(exist_ok=True)
    return folder

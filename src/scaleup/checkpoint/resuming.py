"""Which checkpoint a run goes on from: the newest one that is whole, unharmed and its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import CourseError
from . import publication, trust


def newest(
    folder: Path, run: dict[str, Any], rank: int, ranks: int, gather: Callable[[Any], list[Any]]
) -> tuple[tuple[Path, dict[str, Any]] | None, list[str]]:
    """The newest sound checkpoint with its manifest, or None; and a sentence for each newer one that is not.

    Ranks share the reading of the files whose checksums are compared, and hear what the others found.
    """
    wrong: list[str] = []
    candidates = gather([path.name for path in publication.published(folder)])[0]  # as rank 0 sees the folder
    for name in candidates:
        checkpoint, why, told = folder / name, None, {}
        try:
            told = trust.manifest(checkpoint)
            trust.check_run(checkpoint, told, run)
            trust.check_files(checkpoint, told, sorted(told["files"])[rank::ranks])
        except CourseError as error:
            why = str(error)
        except OSError as error:
            why = f"{name} cannot be read: {error.strerror or error}."
        if found := next((each for each in gather(why) if each), None):
            wrong.append(found)
            continue
        return (checkpoint, told), wrong
    return None, wrong

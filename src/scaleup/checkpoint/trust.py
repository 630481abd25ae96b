"""Look before reading: is this a checkpoint of this run, is it whole, and can reading it do harm?

Nothing that could run code is read: tensors are in safetensors files, the rest is JSON. PyTorch's own format
keeps its description of the tensors as a pickle, which runs what its author wants.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import CourseError
from .publication import FORMAT, MANIFEST, settle

HARMLESS = (".safetensors", ".json")


def manifest(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of itself. CourseError where it is none, too new, or not what it lists."""
    try:
        text = (checkpoint / MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise CourseError(
            f"{checkpoint.name} has no {MANIFEST}: it is not a checkpoint of `scaleup train`."
        ) from None
    try:
        told = json.loads(text)
        files, step, version = dict(told["files"]), int(told["step"]), int(told["format"])
        sizes = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError):
        raise CourseError(
            f"{checkpoint.name}: its {MANIFEST} is damaged, so its files cannot be checked."
        ) from None
    if version > FORMAT:
        raise CourseError(
            f"{checkpoint.name} was written by a newer version of the course (format {version}; this one "
            f"reads {FORMAT}). Update the course."
        )
    there = {path.name for path in checkpoint.iterdir()} - {MANIFEST}
    every = there | set(sizes)
    if strange := sorted(name for name in every if not name.endswith(HARMLESS) or "/" in name):
        raise CourseError(
            f"{checkpoint.name} has {strange[0]}, which `scaleup train` does not write. Such a file can run "
            "a program when it is read, so nothing of this checkpoint is read."
        )
    if missing := sorted(set(sizes) - there):
        raise CourseError(f"{checkpoint.name} is not whole: {missing[0]} is missing.")
    if more := sorted(there - set(sizes)):
        raise CourseError(f"{checkpoint.name} has {more[0]}, which its {MANIFEST} does not list.")
    return {**told, "step": step, "files": files}


def check_files(checkpoint: Path, told: dict[str, Any], names: Iterable[str]) -> None:
    """Compare files with the manifest's sizes and checksums; CourseError for the first that differs."""
    for name in names:
        expected, size = told["files"][name], (checkpoint / name).stat().st_size
        if size != expected["bytes"]:
            raise CourseError(
                f"{checkpoint.name} is not whole: {name} has {size:,} bytes of {expected['bytes']:,}."
            )
        if settle(checkpoint / name)["sha256"] != expected["sha256"]:
            raise CourseError(
                f"{checkpoint.name} is damaged: the bytes of {name} are not those that were saved."
            )


def check_run(checkpoint: Path, told: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise CourseError where the checkpoint is of a run with other settings; it names the first."""
    for part, values in wanted.items():
        theirs = told.get("run", {}).get(part)
        if values == theirs:
            continue
        if not isinstance(values, dict) or not isinstance(theirs, dict):
            raise CourseError(
                f"{checkpoint.name} is of another run: {part} is {theirs!r} there, here {values!r}."
            )
        key = next(key for key in {**theirs, **values} if theirs.get(key) != values.get(key))
        raise CourseError(
            f"{checkpoint.name} is of another run: {part}.{key} is {theirs.get(key)!r} there, here "
            f"{values.get(key)!r}."
        )

"""From files that ranks wrote to a checkpoint that others see: whole, checked, and under its name at once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

FORMAT = 1  # raise it when an older course could not read what is written
MANIFEST = "manifest.json"
NAME = re.compile(r"step-(\d{8})")


def name_of(step: int) -> str:
    return f"step-{step:08}"


def hidden(folder: Path, step: int) -> Path:
    """Where a checkpoint is while it is written: no reader takes a name that begins with a dot."""
    return folder / f".{name_of(step)}.part"


def published(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), reverse=True)


def settle(path: Path) -> dict[str, Any]:
    """Wait until a file is on the disk; its size in bytes and SHA-256."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        while piece := file.read(1 << 20):
            digest.update(piece)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def publish(folder: Path, step: int, files: dict[str, Any], told: dict[str, Any]) -> Path:
    """Write the manifest, then give the checkpoint its name. The name stands for all of it or is not there.

    `files` has for each file of the hidden folder what `settle` found, `told` what a reader wants to know
    before he reads: a configuration, the number of ranks. An older checkpoint of the same step gives way.
    """
    part, name = hidden(folder, step), folder / name_of(step)
    manifest = {"format": FORMAT, "step": step, **told, "files": dict(sorted(files.items()))}
    with open(part / MANIFEST, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync(part)
    if before := name.exists():
        os.rename(name, old_of(name))
    os.rename(part, name)
    sync(folder)
    if before:
        remove(old_of(name))
    return name


def sync(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def old_of(checkpoint: Path) -> Path:
    """What a checkpoint is called while it gives way."""
    return checkpoint.with_name(f".{checkpoint.name}.old")


def remove(folder: Path) -> None:
    """Delete a folder; its manifest first, so that what still has one is whole."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def take_away(checkpoint: Path) -> None:
    """Delete it such that no reader meets a half: first its name goes, then its files."""
    remove(old_of(checkpoint))
    os.rename(checkpoint, old_of(checkpoint))
    remove(old_of(checkpoint))


def restore(folder: Path) -> None:
    """Give back its name to a checkpoint that gave way to another, whose writer was killed in between."""
    for old in folder.glob(".step-*.old") if folder.is_dir() else ():
        name = folder / old.name.removeprefix(".").removesuffix(".old")
        if (old / MANIFEST).exists() and not name.exists():
            os.rename(old, name)


def set_aside(folder: Path, after: int) -> None:
    """Take their names from unsound checkpoints: those of later steps than `after`, where the run goes on.

    Otherwise they count among the newest that are kept, and sound ones would be deleted for their sake.
    """
    for checkpoint in published(folder):
        if checkpoint.name > name_of(after):
            aside = checkpoint.with_name(f"unsound-{checkpoint.name}")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(checkpoint, aside)


def retain(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for checkpoint in published(folder)[keep:]:
        take_away(checkpoint)


def sweep(folder: Path) -> None:
    """Delete what an earlier job left half written or half deleted. Only before anything is saved anew."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.startswith(".step-"):
                shutil.rmtree(path, ignore_errors=True)

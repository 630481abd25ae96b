"""Files: read the facts of `data/`, and write so that a reader never sees half."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import yaml

from .paths import root


def write_whole(path: Path, content: str | bytes) -> None:
    """All of `content` or nothing, even if the writing is interrupted. A missing folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_data(name: str) -> dict:
    """A YAML file of `data/`, parsed once as long as its text is the same. Do not change what you get."""
    return _parsed((root() / "data" / name).read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> dict:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))

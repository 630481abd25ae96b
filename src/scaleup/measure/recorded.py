"""What `make gpu` recorded on GPUs: `data/measured/` holds a file for each day and card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..paths import root


def folder() -> Path:
    return root() / "data" / "measured"


def records() -> list[dict[str, Any]]:
    """All records, the oldest first. `data/measured/README.md` says what is in one."""
    files = sorted(folder().glob("*.json"))  # a name begins with its date
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def newest() -> dict[str, Any] | None:
    """The newest record, or None as long as nobody has sent one."""
    return next(reversed(records()), None)

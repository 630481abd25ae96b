"""What a run leaves on disk: its folder, a line for each step, its model."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..config import Config
from ..paths import state


def run_folder(config: Config) -> Path:
    """A new folder `.scaleup/runs/NAME`; an earlier run of that name is moved to a dated name beside it."""
    folder = state() / "runs" / config.out
    if (folder / "metrics.jsonl").exists():
        folder.rename(folder.with_name(f"{config.out}.{datetime.now():%Y-%m-%d-%H%M%S-%f}"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def append_metrics(folder: Path, steps: Iterable[Any]) -> None:
    """Add a line of JSON for each step (a dataclass) to `metrics.jsonl`."""
    with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(dataclasses.asdict(step)) + "\n" for step in steps)


def serialise(model: nn.Module) -> bytes:
    """The model's parameters as `torch.load` reads them."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()

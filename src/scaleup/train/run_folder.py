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
from torch import Tensor

from ..config import Config
from ..files import write_whole
from ..paths import state


def folder_of(config: Config) -> Path:
    """`.scaleup/runs/NAME`."""
    return state() / "runs" / config.out


def run_folder(config: Config) -> Path:
    """A new folder `.scaleup/runs/NAME`; an earlier run of that name is moved to a dated name beside it."""
    folder = folder_of(config)
    if (folder / "metrics.jsonl").exists():
        folder.rename(folder.with_name(f"{config.out}.{datetime.now():%Y-%m-%d-%H%M%S-%f}"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def append_metrics(folder: Path, steps: Iterable[Any]) -> None:
    """Add a line of JSON for each step (a dataclass) to `metrics.jsonl`."""
    with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(dataclasses.asdict(step)) + "\n" for step in steps)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, one for each step. A last line that was cut short is left out."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def cut_metrics(folder: Path, steps: int) -> list[dict[str, Any]]:
    """Leave the lines of the first `steps` steps only: a run that goes on from there writes the others."""
    kept = [line for line in read_metrics(folder) if line["step"] < steps]
    write_whole(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
    return kept


def serialise(state: dict[str, Tensor]) -> bytes:
    """A model's state as `torch.load` reads it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()

"""What a run leaves on disk: its folder, its model."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import torch
from torch import nn

from ..config import Config
from ..paths import state


def run_folder(config: Config) -> Path:
    folder = state() / "runs" / config.out
    if (folder / "metrics.jsonl").exists():
        folder.rename(folder.with_name(f"{config.out}.{datetime.now():%Y-%m-%d-%H%M%S-%f}"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def serialise(model: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()

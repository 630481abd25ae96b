"""What the runs of a study wrote: the seconds of their steps, and where one failed why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import explain
from ..explain.findings import read_log
from ..paths import state
from .points import Run


@dataclass(frozen=True)
class Measured:
    """One finished run. `steps` are the seconds of those that count; `computed` the seconds that each rank's
    device was busy in them, {rank: list}, empty where that is not known; `began` seconds since 1970."""

    steps: list[float]
    computed: list[list[float]]
    loss: float
    began: float
    device: str
    torch: str | None
    device_share: float


def collect(run: Run, study: str) -> Measured | None:
    """What a run wrote, or None while it is not finished.

    The seconds of a step are its tokens over the rate that the run noted for it: that clock stops when the
    device has answered, also on a GPU.
    """
    folder = state() / "runs" / run.name(study)
    config = run.point.config
    lines = read_lines(folder / "metrics.jsonl")
    if len(lines) < config.train.steps or not (folder / "model.pt").exists():
        return None
    tokens = config.train.global_batch * config.data.seq
    counted = lines[run.point.plan.left_out : config.train.steps]
    about = read_json(folder / "about.json")
    return Measured(
        steps=[tokens / line["tokens_per_second"] for line in counted],
        computed=computed(folder, config.train.steps, run.point.plan.left_out),
        loss=lines[-1]["loss"],
        began=lines[0].get("at") or 0.0,
        device=about.get("device", "unknown"),
        torch=about.get("torch"),
        device_share=about.get("device_share", 1.0),
    )


def computed(folder: Path, steps: int, left_out: int) -> list[list[float]]:
    """Of each rank the seconds that its device was busy, warm-up left out; empty if not all are known."""
    by_rank = read_json(folder / "computed.json").get("seconds") or []
    return [rank[left_out:] for rank in by_rank] if all(len(rank) == steps for rank in by_rank) else []


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines; none while it is not there."""
    try:
        return [json.loads(line) for line in file.read_text("utf-8").split("\n")[:-1] if line]
    except FileNotFoundError:
        return []


def read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def why(log: Path) -> str:
    """The likely cause of a failed run in one sentence, from its log."""
    if not log.exists():
        return "it left no log: sacct -j JOB says how it ended"
    found = explain.diagnose(read_log(str(log)))
    if found.verdict == "unknown":
        return "its log shows no cause that I know"
    return f"its log shows: {found.candidates[0].cause.title}"

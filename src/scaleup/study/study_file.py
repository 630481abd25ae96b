"""`study.json`: a study as a file that others read. `book/reference/scaling-study.md` says what is in it."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..config import GPTConfig
from ..errors import CourseError
from ..files import write_whole
from ..words import count
from .collecting import Measured
from .points import Plan, Run, held_fixed
from .spread import Interval, efficiency, interval, speed_up, spread

FORMAT = "scaleup study 1"
FEW, WIDE = 3, 0.1  # repeats below this get a remark, and a spread above that

RECORDED = "notebooks/4-on-the-machine/scaling-study/recorded"  # the study of the lesson and the examples


@dataclass(frozen=True)
class Study:
    """A study that was read. `content` is the whole file; the rest looks things up in it."""

    content: dict[str, Any]

    @property
    def complete(self) -> bool:
        return not self.content["missing"]

    @property
    def model(self) -> GPTConfig:
        return GPTConfig(**self.content["config"]["model"])

    def points(self, mode: str) -> list[dict[str, Any]]:
        """The measured points of a curve, "strong" or "weak", by nodes."""
        found = [point for point in self.content["points"] if mode in point["modes"] and point["runs"]]
        return sorted(found, key=lambda point: point["nodes"])

    def runs(self, mode: str, nodes: int) -> list[list[float]]:
        """Seconds of the steps of each run of a point. Raises CourseError where it was not measured."""
        for point in self.points(mode):
            if point["nodes"] == nodes:
                return [run["step_seconds"] for run in point["runs"]]
        raise CourseError(f"This study has no {mode} point of {nodes} nodes.")

    def efficiency(self, mode: str) -> dict[int, Interval]:
        """{nodes: efficiency against the smallest measured number of nodes}."""
        return {row["nodes"]: Interval(**row["efficiency"]) for row in self.content["scaling"].get(mode, [])}

    def speed_up(self, mode: str) -> dict[int, Interval]:
        return {row["nodes"]: Interval(**row["speed_up"]) for row in self.content["scaling"].get(mode, [])}

    def computed(self, mode: str, nodes: int) -> list[list[list[float]]]:
        """Of each run, for each rank: the seconds its device was busy, step by step. Empty if unknown."""
        point = next(point for point in self.points(mode) if point["nodes"] == nodes)
        return [run["computed_seconds"] for run in point["runs"] if run["computed_seconds"]]


def load(path: str | Path) -> Study:
    """Read `study.json`, or the folder that has it. Raises CourseError for anything else."""
    path = Path(path)
    path = path / "study.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CourseError(f"There is no study at {path}. Make it: scaleup study CONFIG --nodes 1,2") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CourseError(f"{path} cannot be read as a study: {error}.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CourseError(f"{path} is no study of this version: its format is not '{FORMAT}'.")
    return Study(content)


def tell(
    plan: Plan,
    results: Mapping[str, tuple[str, Measured]],
    failed: Mapping[str, str],
    name: str,
    about: Mapping[str, Any],
) -> Study:
    """The study as it is so far. `results` are {key of a run: (its job, what it measured)}."""
    points, seconds = [], {}
    for point in plan.points():
        mine = [Run(point, repeat) for repeat in range(1, plan.repeats + 1)]
        there = [(run, *results[run.key]) for run in mine if run.key in results]
        runs = [row(run, job, measured) for run, job, measured in there]
        told = {"nodes": point.nodes, "ranks": point.ranks, "global_batch": point.batch,
                "tokens_per_step": point.batch * plan.config.data.seq, "modes": list(point.modes),
                "runs": runs}  # fmt: skip
        if runs:
            times = [run["step_seconds"] for run in runs]
            seconds[point.nodes, point.batch] = times
            step = interval(times)
            told |= {"step_seconds": dataclasses.asdict(step), "spread": spread(times),
                     "tokens_per_s": rate(told["tokens_per_step"], step)}  # fmt: skip
        points.append(told)
    first = next((measured for _, measured in results.values()), None)
    missing = [run.key for run in plan.runs() if run.key not in results]
    content = {
        "format": FORMAT,
        "name": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": plan.machine,
        "device": first.device if first else None,
        "devices_per_node": plan.devices,
        "versions": {"scaleup": version("scaleup"), "python": platform.python_version(),
                     "torch": first.torch if first else None, "slurm": about.get("slurm")},
        "config": dataclasses.asdict(plan.config),
        "measured": {"nodes": sorted(plan.nodes), "modes": list(plan.modes), "repeats": plan.repeats,
                     "steps": plan.steps, "warmup_steps_left_out": plan.left_out, "launch": plan.launch,
                     "queue": plan.queue, "device_share": first.device_share if first else None,
                     "link_mbit": about.get("link_mbit")},
        "held_fixed": held_fixed(plan),
        "baseline": {"nodes": min(plan.nodes), "why": "the smallest number of nodes of this study"},
        "points": points,
        "scaling": scaling(plan, seconds),
        "missing": missing,
        "failed": dict(failed),
    }  # fmt: skip
    content["remarks"] = remarks(plan, points, {m.device_share for _, m in results.values()})
    return Study(content)


def row(run: Run, job: str, measured: Measured) -> dict[str, Any]:
    return {
        "repeat": run.repeat,
        "job": job,
        "began": datetime.fromtimestamp(measured.began, UTC).isoformat(timespec="seconds"),
        "step_seconds": [round(second, 6) for second in measured.steps],
        "computed_seconds": [[round(second, 6) for second in rank] for rank in measured.computed],
        "last_loss": round(measured.loss, 4),
    }


def rate(tokens: int, step: Interval) -> dict[str, float | None]:
    ends = (None, None) if step.low is None else (tokens / step.high, tokens / step.low)
    return {"value": tokens / step.value, "low": ends[0], "high": ends[1]}


def scaling(plan: Plan, seconds: Mapping[tuple[int, int], list[list[float]]]) -> dict[str, list[dict]]:
    """Speed-up and efficiency of each curve, against its smallest number of nodes, once that was measured."""
    first, found = min(plan.nodes), {}
    for mode in plan.modes:
        points = [point for point in plan.points() if mode in point.modes]
        base = next(point for point in points if point.nodes == first)
        if (first, base.batch) not in seconds:
            continue
        rows = []
        for point in sorted(points, key=lambda each: each.nodes):
            if (times := seconds.get((point.nodes, point.batch))) is None:
                continue
            factor, work = point.nodes / first, point.batch / base.batch
            pair = seconds[first, base.batch], times
            fast, good = Interval(1.0, 1.0, 1.0), Interval(1.0, 1.0, 1.0)
            if point.nodes > first:
                fast, good = speed_up(*pair, work), efficiency(*pair, factor, work)
            rows.append({"nodes": point.nodes, "speed_up": dataclasses.asdict(fast),
                         "efficiency": dataclasses.asdict(good)})  # fmt: skip
        found[mode] = rows
    return found


def remarks(plan: Plan, points: list[dict[str, Any]], shares: set[float]) -> list[str]:
    """What a reviewer would ask, said before they ask it."""
    said = []
    if plan.repeats < FEW:
        made = count(plan.repeats, "repeat")
        said.append(f"{made} per point: the error is badly known or not at all. {FEW} are the least.")
    if min(plan.nodes) > 1:
        said.append(
            f"The baseline is {min(plan.nodes)} nodes. Say why not one, such as a model that needs them."
        )
    for point in points:
        if (point.get("spread") or 0) > WIDE:
            said.append(
                f"{count(point['nodes'], 'node')}, batch {point['global_batch']}: runs differ by "
                f"{100 * point['spread']:.0f} % (standard deviation). Look for another load first."
            )
    if plan.machine == "practice":
        said.append("Made on the practice supercomputer: no statement about a real machine follows from it.")
    if shares - {1.0}:
        said.append(f"Each rank computed at {', '.join(f'{share:g}' for share in sorted(shares))} of a core.")
    if len(shares) > 1:
        said.append("Not all runs had the same SCALEUP_DEVICE_SHARE: this study compares different devices.")
    return said


def write(study: Study, folder: Path) -> Path:
    """`study.json` in the folder, whole or not at all."""
    path = folder / "study.json"
    write_whole(path, json.dumps(study.content, indent=1, ensure_ascii=False) + "\n")
    return path

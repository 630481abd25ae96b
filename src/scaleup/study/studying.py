"""`scaleup study`: submit what is not submitted, collect what is finished, write down what is known so far.

Everything that was decided is in the study's folder, so that a call can end at any moment and the next one
goes on: `jobs.json` says which job a run has, `study.json` what the finished ones measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import machines
from ..config import load as load_config
from ..errors import CourseError
from ..files import write_whole
from ..machines import job
from ..paths import state
from ..words import count
from . import study_figures, study_file
from .collecting import Measured, collect, why
from .points import MODES, Plan, Run, parse_nodes, write_inputs
from .spread import medians
from .study_file import Study
from .submitting import Scheduler

PATIENCE = 10.0  # seconds that a file system may take to show what a finished job wrote


@dataclass
class Ledger:
    """`jobs.json`: {key of a run: its job, "" from before it is submitted}, and why runs failed.

    `tag` is in the name of each run: what another study left in `.scaleup/runs` is never taken for its own.
    """

    folder: Path
    hold: dict[str, Any]
    tag: str = field(default_factory=lambda: secrets.token_hex(2))
    jobs: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    measured: dict[str, dict] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.folder.name}-{self.tag}"

    def write(self) -> None:
        content = {key: value for key, value in dataclasses.asdict(self).items() if key != "folder"}
        write_whole(self.folder / "jobs.json", json.dumps(content, indent=1, default=str) + "\n")

    @property
    def results(self) -> dict[str, tuple[str, Measured]]:
        return {key: (self.jobs.get(key, ""), Measured(**found)) for key, found in self.measured.items()}


def open_ledger(folder: Path, plan: Plan) -> Ledger:
    """The study that the folder holds, or a new one. Raises CourseError where it holds another."""
    hold = json.loads(json.dumps(plan.hold))
    try:
        content = json.loads((folder / "jobs.json").read_text("utf-8"))
        found = Ledger(folder, **content)
    except FileNotFoundError:
        found = Ledger(folder, hold)
        try:
            found.write()
        except OSError as error:
            raise CourseError(f"{folder} cannot be written: {error.strerror}. Correct --out.") from None
    except (OSError, json.JSONDecodeError, TypeError, AttributeError):
        raise CourseError(f"{folder}/jobs.json is not of a study. Give --out another folder.") from None
    if found.hold != hold:
        other = [key for key in hold if found.hold.get(key) != hold[key]]
        raise CourseError(
            f"{folder} holds a study with another {' and '.join(other)}. Points of two studies do not belong "
            "into one curve: give --out another folder."
        )
    return found


def study(
    plan: Plan,
    config_path: str | Path,
    folder: Path,
    *,
    wait: bool = True,
    retry: bool = False,
    say: Callable[[str], None] = print,
) -> Study:
    """Go on with the study in `folder`; returns it as far as it is known.

    With `wait` until no run is left. Ending it meanwhile, by Ctrl-C or a closed terminal, leaves the jobs in
    the queue and loses nothing: the next call collects them. `retry` submits anew what had failed.
    """
    folder = folder.resolve()
    ledger = open_ledger(folder, plan)
    runs = {run.key: run for run in plan.runs()}
    if retry:
        for key in list(ledger.failed):
            del ledger.failed[key]
            ledger.jobs.pop(key, None)
        ledger.write()
    scheduler: Scheduler | None = None
    gone: dict[str, float] = {}  # when a run without result was first seen to have no job
    about: dict[str, Any] = {}
    begun = True
    while True:
        take_up(ledger, runs, say)
        left = [key for key in runs if key not in ledger.measured and key not in ledger.failed]
        if left and scheduler is None:
            scheduler = Scheduler(plan.machine)
            about = {"slurm": scheduler.version(), **scheduler.about()}
            submit(ledger, plan, [runs[key] for key in left], scheduler, say)
        if left:
            waiting = scheduler.states(ledger.jobs[key] for key in left if ledger.jobs.get(key))
            note_lost(ledger, [key for key in left if ledger.jobs.get(key) not in waiting], gone, say)
            left = [key for key in left if key not in ledger.failed]
        told = study_file.tell(plan, ledger.results, ledger.failed, folder.name, known(folder, about))
        study_file.write(told, folder)
        if not left or not wait:
            break
        if begun and waiting:
            say(f"{count(len(waiting), 'job')} in the queue. Ctrl-C leaves them there; call again.")
            begun = False
        pause(runs, left, ledger, scheduler)
    study_figures.draw(told, folder)
    return told


def known(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """What is known of the scheduler, also in a call that only collects."""
    if about:
        return about
    try:
        before = study_file.load(folder).content
    except CourseError:
        return {}
    return {"slurm": before["versions"]["slurm"], "link_mbit": before["measured"]["link_mbit"]}


def take_up(ledger: Ledger, runs: dict[str, Run], say: Callable[[str], None]) -> None:
    """Note what finished runs have written."""
    for key, run in runs.items():
        if key in ledger.measured or key not in ledger.jobs:
            continue
        if found := collect(run, ledger.name):
            ledger.measured[key] = dataclasses.asdict(found)
            ledger.failed.pop(key, None)
            ledger.write()
            say(f"{key}: ≈ {medians([found.steps])[0]:.3f} s a step")


def submit(
    ledger: Ledger, plan: Plan, runs: list[Run], scheduler: Scheduler, say: Callable[[str], None]
) -> None:
    """Submit each run once. On the practice supercomputer one waits for the other: they share its cores.

    A run is noted before it is submitted; where a call ended in between, its job is looked up by its name.
    """
    last = max((job for job in ledger.jobs.values() if job), key=int, default=None)
    new = 0
    for run in runs:
        if ledger.jobs.get(run.key):
            continue
        name = run.name(ledger.name)
        found = scheduler.named(name) if run.key in ledger.jobs else None
        if not found:
            config = write_inputs(run, ledger.name, ledger.folder)
            text = job.render(config, plan.machine, run.point.nodes, plan.hours, plan.queue, plan.launch)
            script = ledger.folder / "scripts" / f"{run.key}.sh"
            write_whole(script, text)
            (ledger.folder / "logs").mkdir(exist_ok=True)
            ledger.jobs[run.key] = ""
            ledger.write()
            try:
                found = scheduler.submit(script, name, f"{ledger.folder}/logs/{run.key}.out",
                                         last if scheduler.practice else None)  # fmt: skip
            except CourseError as error:
                del ledger.jobs[run.key]
                ledger.write()
                if not any(ledger.jobs.values()):
                    raise
                say(f"{error} What was submitted goes on; call again when the queue has room.")
                break
        ledger.jobs[run.key] = last = found
        ledger.write()
        new += 1
    if new:
        say(f"Submitted {count(new, 'job')}; scripts and logs are in {ledger.folder}.")


def note_lost(ledger: Ledger, keys: list[str], gone: dict[str, float], say: Callable[[str], None]) -> None:
    """A job that is not in the queue, and whose run wrote no result for a while, has failed."""
    now = time.monotonic()
    for key in keys:
        if not ledger.jobs.get(key):
            continue
        if now - gone.setdefault(key, now) >= PATIENCE:
            ledger.failed[key] = f"job {ledger.jobs[key]}: {why(ledger.folder / 'logs' / f'{key}.out')}"
            ledger.write()
            say(f"{key}: failed, {ledger.failed[key]}")


def pause(runs: dict[str, Run], left: list[str], ledger: Ledger, scheduler: Scheduler) -> None:
    """Until a run has finished, or for a while: files are looked at often, the scheduler seldom."""
    end = time.monotonic() + (3 if scheduler.practice else 30)
    files = [state() / "runs" / runs[key].name(ledger.name) / "model.pt" for key in left]
    while time.monotonic() < end and not any(file.exists() for file in files):
        time.sleep(0.25 if scheduler.practice else 2)


# The command


def main(arguments: argparse.Namespace) -> int:
    """`scaleup study`. Returns 0 for a whole study, 1 where runs are missing."""
    modes = tuple(mode for mode in MODES if getattr(arguments, mode)) or ("strong",)
    config = load_config(arguments.config)
    devices = machines.machine(arguments.machine)["devices_per_node"].value
    plan = Plan(config, arguments.machine, devices, parse_nodes(arguments.nodes), modes, arguments.repeats,
                arguments.steps, arguments.warmup, arguments.launch, arguments.queue,
                arguments.hours)  # fmt: skip
    for nodes in plan.nodes:  # what the machine refuses is said before anything is submitted
        job.render(arguments.config, plan.machine, nodes, plan.hours, plan.queue, plan.launch)
    folder = Path(arguments.out) if arguments.out else state() / "studies" / config.out
    told = study(plan, arguments.config, folder, wait=not arguments.no_wait, retry=arguments.retry)
    print(summary(told, folder))
    return 0 if told.complete else 1


def summary(told: Study, folder: Path) -> str:
    """A line for each point, what is missing, and where the files are."""
    lines = []
    for mode in told.content["scaling"]:
        for nodes, found in told.efficiency(mode).items():
            point = next(each for each in told.points(mode) if each["nodes"] == nodes)
            lines.append(f"{mode}, {count(nodes, 'node')}: {point['step_seconds']['value']:.3g} s a step, "
                         f"efficiency {study_figures.percent(found)}")  # fmt: skip
    lines += [f"Remark: {remark}" for remark in told.content["remarks"]]
    failed, missing = told.content["failed"], told.content["missing"]
    if failed:
        lines.append(f"Failed: {', '.join(failed)}. Mend the cause, then call again with --retry.")
    if waiting := [key for key in missing if key not in failed]:
        lines.append(f"{count(len(waiting), 'run')} not finished: call again later to collect.")
    place = os.path.relpath(folder)
    return "\n".join(
        [*lines, f"The study is in {place if not place.startswith('..') else folder}/study.json"]
    )

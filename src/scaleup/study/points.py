"""The runs of a study and the configuration of each: what changes between them, and what must not."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import CourseError
from ..files import write_whole
from ..parallel.refusals import reasons
from ..words import count

MODES = ("strong", "weak")


@dataclass(frozen=True)
class Plan:
    """What is to be measured. `hold` is all that two runs of one study have to share, apart from the point.

    `left_out` steps of warm-up come before the `steps` that count.
    """

    config: Config
    machine: str
    devices: int  # of a node
    nodes: tuple[int, ...]
    modes: tuple[str, ...]
    repeats: int
    steps: int
    left_out: int
    launch: str = "torchrun"
    queue: str | None = None
    hours: float | None = None

    def __post_init__(self) -> None:
        if not self.nodes or min(self.nodes) < 1 or len(set(self.nodes)) < len(self.nodes):
            raise CourseError("--nodes takes different whole numbers from 1, such as 1,2,4.")
        if len(self.nodes) < 2:
            raise CourseError("One number of nodes shows no scaling. Give --nodes two or more: 1,2,4.")
        for name, value, least in (("repeats", self.repeats, 1), ("steps", self.steps, 3),
                                   ("warmup", self.left_out, 1)):  # fmt: skip
            if value < least:
                raise CourseError(f"--{name} is {value}. It must be at least {least}.")
        for point in self.points():
            for reason in reasons(point.config, point.nodes * self.devices):
                raise CourseError(f"On {count(point.nodes, 'node')} this cannot run: {reason}")

    def points(self) -> list[Point]:
        """Each (nodes, global batch) once, strong scaling first; the smallest number of nodes serves both."""
        first, found = min(self.nodes), {}
        for mode in self.modes:
            for nodes in sorted(self.nodes):
                batch = self.config.train.global_batch
                if mode == "weak":
                    if batch * nodes % first:
                        raise CourseError(
                            f"Weak scaling keeps the sequences of a node: train.global_batch={batch} on "
                            f"{count(first, 'node')} is no whole number on {nodes}. Choose another batch."
                        )
                    batch = batch * nodes // first
                found.setdefault((nodes, batch), []).append(mode)
        return [Point(self, nodes, batch, tuple(modes)) for (nodes, batch), modes in found.items()]

    def runs(self) -> list[Run]:
        """Every run: each point once, then each again, so that what changes with time meets all points."""
        return [Run(point, repeat) for repeat in range(1, self.repeats + 1) for point in self.points()]

    @property
    def hold(self) -> dict[str, Any]:
        """What a later call of the same study may not change."""
        return {"config": dataclasses.asdict(self.config), "machine": self.machine, "steps": self.steps,
                "warmup": self.left_out, "launch": self.launch, "queue": self.queue}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """So many nodes on so large a batch; `modes` are the curves that it belongs to."""

    plan: Plan
    nodes: int
    batch: int
    modes: tuple[str, ...]

    @property
    def ranks(self) -> int:
        return self.nodes * self.plan.devices

    @property
    def config(self) -> Config:
        """The study's configuration with what a measurement needs: every step is read, nothing is saved.

        The model is judged and written once, after the last step that counts.
        """
        plan, train = self.plan, self.plan.config.train
        steps = plan.left_out + plan.steps
        train = dataclasses.replace(train, steps=steps, global_batch=self.batch, validate_every=steps,
                                    log_every=1)  # fmt: skip
        kept = dataclasses.replace(plan.config.checkpoint, every=0)
        return dataclasses.replace(plan.config, train=train, checkpoint=kept)


@dataclass(frozen=True)
class Run:
    """One of several equal runs of a point."""

    point: Point
    repeat: int

    @property
    def key(self) -> str:
        """'n4-b64-r2': unique in its study."""
        return f"n{self.point.nodes}-b{self.point.batch}-r{self.repeat}"

    def name(self, study: str) -> str:
        """Of its folder in `.scaleup/runs`, and of its job."""
        return f"{study}-{self.key}"

    def toml(self, study: str) -> str:
        return as_toml(dataclasses.replace(self.point.config, out=self.name(study)))


def as_toml(config: Config) -> str:
    """A configuration as the text that `config.load` reads."""
    table = dataclasses.asdict(config)
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for part, values in table.items():
        if isinstance(values, dict):
            lines += ["", f"[{part}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def parse_nodes(text: str) -> tuple[int, ...]:
    """'1,2,4' as numbers. Raises CourseError for anything else."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise CourseError(f"--nodes is '{text}'. Write whole numbers with commas, such as 1,2,4.") from None


def held_fixed(plan: Plan) -> dict[str, list[str]]:
    """For each mode the sentences that a reader needs: what is the same at all points, and what is not."""
    config, first = plan.config, min(plan.nodes)
    same = [
        f"model: {config.model.layers} layers, width {config.model.dim}, {config.model.vocab_size:,} tokens",
        f"sequences of {config.data.seq} tokens, micro-batch {config.train.micro_batch}, "
        f"{config.train.dtype}, seed {config.train.seed}",
        f"layout: {layout(config)}; copies fill up the ranks",
        f"started with {plan.launch}, {count(plan.devices, 'rank')} a node, every step read, nothing saved",
    ]
    batch = config.train.global_batch
    kinds = {
        "strong": f"global batch {batch} sequences; a rank's part shrinks as nodes are added",
        "weak": f"{batch / (first * plan.devices):g} sequences a rank; the global batch grows with the nodes",
    }
    return {mode: [kinds[mode], *same] for mode in plan.modes}


def layout(config: Config) -> str:
    """'shard=2, tp=2', or 'copies only'."""
    ways = dataclasses.asdict(config.parallel)
    said = [f"{way}={ways[way]}" for way in ("dp", "shard", "tp", "pp", "cp", "ep") if ways[way] > 1]
    return ", ".join(said) or "copies only"


def write_inputs(run: Run, study: str, folder: Path) -> Path:
    """The configuration of a run, written once; its path."""
    path = folder / "configs" / f"{run.key}.toml"
    text = run.toml(study)
    if not path.exists() or path.read_text("utf-8") != text:
        write_whole(path, text)
    return path

"""Runs for a small scaling law: the course's GPT in several widths, each on several amounts of text.

`data/scaling_runs.csv` holds the recorded ones, `data/scaling_runs.yml` says how they were made, and
`python -m tools.scaling_sweep` makes them.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from .. import measure
from ..config import TrainConfig
from ..errors import CourseError
from ..model import GPT, GPTConfig, next_token_loss
from ..paths import root
from ..text import corpus
from ..text.windows import Windows
from ..train import batches, learning_rate, make_optimizer

SEQ, BATCH = 128, 2
STEP_TOKENS = SEQ * BATCH
VALIDATION_WINDOWS = 256
HEAD = 8
WARM_UP = 100  # steps at least: with fewer, the first steps of the wider models do lasting harm
PURPOSES = ("grid", "seed", "held-out")


@dataclass(frozen=True)
class Point:
    """One training: the width of a model of four layers, and the steps of its learning-rate schedule.

    `purpose` is "grid" (a point to fit), "seed" (a grid point again, to measure the noise) or "held-out".
    """

    dim: int
    steps: int
    seed: int = 1
    purpose: str = "grid"

    def __post_init__(self) -> None:
        if self.dim < HEAD or self.dim % HEAD:
            raise CourseError(f"A width of {self.dim} does not split into heads of {HEAD}. Use a multiple.")
        if self.steps < 10:
            raise CourseError(f"{self.steps} steps are too few for a schedule. Use at least 10.")
        if self.purpose not in PURPOSES:
            raise CourseError(f"purpose is '{self.purpose}'. Use one of: {', '.join(PURPOSES)}.")

    @property
    def shape(self) -> GPTConfig:
        return GPTConfig(layers=4, heads=self.dim // HEAD, dim=self.dim, hidden=3 * self.dim, context=SEQ)

    @property
    def parameters(self) -> int:
        """What multiplies every token: all matrices but the embedding."""
        return measure.matmul_parameters(self.shape)


def on_budget(flops: float, dim: int, **more) -> Point:
    """The point of this width whose 6 N D comes nearest to `flops`."""
    once = Point(dim, 10)
    return Point(dim, max(10, round(flops / (6 * once.parameters * STEP_TOKENS))), **more)


@dataclass(frozen=True)
class Row:
    """A measured loss. A point of the law has `tokens` = `schedule_tokens`; else the schedule was not over.

    `parameters` counts what multiplies every token, head included; `embedding` is the table that is only
    looked up, as large as the head. The loss is in nats a token, the time in seconds on one core.
    """

    purpose: str
    dim: int
    parameters: int
    embedding: int
    tokens: int
    schedule_tokens: int
    seed: int
    validation_loss: float
    seconds: float
    date: str
    torch: str

    @property
    def finished(self) -> bool:
        return self.tokens == self.schedule_tokens

    @property
    def point(self) -> Point:
        """The training that this row comes from."""
        return Point(self.dim, self.schedule_tokens // STEP_TOKENS, self.seed, self.purpose)


COLUMNS = [field.name for field in dataclasses.fields(Row)]
BUDGETS = (2e11, 4e11, 8e11)  # FLOPs, 6 N D


def settings(point: Point) -> TrainConfig:
    """How a point is trained. The peak learning rate falls with the width, as short pilot runs asked for."""
    return TrainConfig(
        steps=point.steps,
        global_batch=BATCH,
        micro_batch=BATCH,
        learning_rate=min(0.007, 0.2 / point.dim),
        warmup_steps=max(WARM_UP, point.steps // 10),
        seed=point.seed,
    )


@functools.cache
def validation() -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (windows, seq): the same windows of the validation text for every run."""
    windows = Windows(corpus.prepare(quiet=True).tokens("valid"), SEQ)
    every = len(windows) // VALIDATION_WINDOWS
    inputs, targets = zip(*(windows[every * index] for index in range(VALIDATION_WINDOWS)), strict=True)
    return torch.stack(inputs), torch.stack(targets)


@torch.no_grad()
def validation_loss(model: GPT) -> float:
    """Mean loss in nats a token over all validation windows."""
    parts = zip(*(tensor.split(BATCH) for tensor in validation()), strict=True)
    losses = [next_token_loss(model(inputs), targets).item() for inputs, targets in parts]
    return sum(losses) / len(losses)


def train(point: Point, cuts: Iterable[int] = ()) -> list[Row]:
    """Train a point to the end of its schedule: a Row for each step in `cuts`, and the last for the end."""
    config = settings(point)
    torch.manual_seed(point.seed)
    model = GPT(point.shape)
    optimizer = make_optimizer(model, config)
    text = Windows(corpus.prepare(quiet=True).tokens("train"), SEQ)
    stream = batches(text, config, rank=0, world_size=1)
    rows, seconds = [], 0.0
    for step in range(point.steps):
        start = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        inputs, targets = next(stream)
        next_token_loss(model(inputs), targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad()
        seconds += time.perf_counter() - start
        if step + 1 in {*cuts, point.steps}:
            rows.append(row(point, step + 1, validation_loss(model), seconds))
    return rows


def row(point: Point, steps: int, loss: float, seconds: float) -> Row:
    if not math.isfinite(loss):
        raise CourseError(f"The loss of {point} is {loss}. Lower its learning rate.")
    return Row(
        purpose=point.purpose,
        dim=point.dim,
        parameters=point.parameters,
        embedding=point.shape.vocab_size * point.dim,
        tokens=steps * STEP_TOKENS,
        schedule_tokens=point.steps * STEP_TOKENS,
        seed=point.seed,
        validation_loss=round(loss, 4),
        seconds=round(seconds, 1),
        date=date.today().isoformat(),
        torch=torch.__version__.split("+")[0],
    )


def load(path: Path | None = None) -> list[Row]:
    """The rows of a file of runs (default: data/scaling_runs.csv). Raises CourseError where it is not one."""
    path = path or root() / "data" / "scaling_runs.csv"
    kinds = {
        field.name: {"int": int, "float": float}.get(field.type, str) for field in dataclasses.fields(Row)
    }
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != COLUMNS:
                raise CourseError(
                    f"{path.name} is no file of scaling runs. Its first line must be: {','.join(COLUMNS)}"
                )
            return [Row(**{name: kinds[name](text) for name, text in line.items()}) for line in reader]
    except FileNotFoundError:
        raise CourseError(f"There is no file {path.name}. Run: python -m tools.scaling_sweep") from None
    except (TypeError, ValueError, UnicodeDecodeError):
        raise CourseError(
            f"A line of {path.name} is damaged. Delete the line; its run is made again."
        ) from None

"""A training run as a typed value, read from TOML. An unknown key is an error that names the nearest one."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path

from .errors import CourseError
from .model import GPTConfig
from .words import nearest


@dataclass(frozen=True)
class DataConfig:
    corpus: str = "python-source"
    seq: int = 256


@dataclass(frozen=True)
class TrainConfig:
    """One run. Batch sizes count sequences; `global_batch` is what one optimizer step sees over all ranks."""

    steps: int = 100
    global_batch: int = 8
    micro_batch: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 10
    weight_decay: float = 0.1
    clip: float = 1.0
    dtype: str = "float32"
    seed: int = 1
    validate_every: int = 50
    log_every: int = 10


@dataclass(frozen=True)
class ExpertsConfig:
    """A mixture of experts in each block instead of its MLP: `top_k` of `count` for a token; 0 means none.

    `balance` is the weight of the loss that keeps the experts equally busy.
    """

    count: int = 0
    top_k: int = 2
    balance: float = 0.0


@dataclass(frozen=True)
class ParallelConfig:
    """How ranks share the run: there are dp x shard x cp x tp x pp of them, and `ep` borrows dp x shard.

    `dp` copies of the model (0: as many as ranks are left), `shard` ranks share each copy, `tp` each layer,
    `pp` the stack of layers, `cp` each sequence, `ep` the experts. `schedule` and `micro_batches` belong to
    `pp`: how many a step has follows from the batch sizes, and a number that is given (not 0) has to agree.
    `attention` says how ranks of `cp` exchange what attention needs.
    """

    dp: int = 0
    shard: int = 1
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    schedule: str = "1F1B"
    micro_batches: int = 0
    attention: str = "ring"


@dataclass(frozen=True)
class CheckpointConfig:
    """What is kept for a run that ends early: all of its state, every so many steps (0: only on SIGTERM).

    The newest `keep` stay. `asynchronous` writes behind the next steps and holds a second copy of the state.
    """

    every: int = 0
    keep: int = 2
    asynchronous: bool = True


SCHEDULES = (
    "GPipe", "1F1B", "LoopedBFS", "Interleaved1F1B", "InterleavedZeroBubble", "ZBVZeroBubble", "DualPipeV",
)  # fmt: skip
CHOICES = {
    "train.dtype": ("float32", "bfloat16"),
    "parallel.schedule": SCHEDULES,
    "parallel.attention": ("ring", "all-to-all"),
}
FROM_ZERO = ("warmup_steps", "dp", "micro_batches", "count", "every")


@dataclass(frozen=True)
class Config:
    model: GPTConfig = field(default_factory=GPTConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    experts: ExpertsConfig = field(default_factory=ExpertsConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    out: str = "first-run"

    def __post_init__(self) -> None:
        if self.data.seq > self.model.context:
            raise ValueError(f"data.seq={self.data.seq} is longer than model.context={self.model.context}.")
        for part in ("model", "data", "train", "experts", "parallel", "checkpoint"):
            for name, value in dataclasses.asdict(getattr(self, part)).items():
                least = 0 if name in FROM_ZERO else 1
                if type(value) is int and value < least and name != "seed":
                    raise ValueError(f"{part}.{name} must be at least {least}.")
                if value not in (known := CHOICES.get(f"{part}.{name}", (value,))):
                    raise ValueError(f"{part}.{name} is '{value}'; use {either(known)}.")
        if not self.train.learning_rate > 0:
            raise ValueError("train.learning_rate must be greater than 0.")
        if not 0 <= self.experts.balance < 1e6:
            raise ValueError("experts.balance must be a number from 0.")
        if not re.fullmatch(r"\w[\w.-]*", self.out):
            raise ValueError(f"out is '{self.out}'. Use a plain name: it becomes a folder.")


def either(known: tuple[str, ...]) -> str:
    """'a', 'b' or 'c'."""
    *others, last = (f"'{name}'" for name in known)
    return f"{', '.join(others)} or {last}"


def load(path: str | Path) -> Config:
    """Read a TOML file. Raises CourseError for a missing file, bad TOML, an unknown key or a wrong type."""
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CourseError(f"There is no configuration file {path}. Check the path after --config.") from None
    except OSError as error:
        raise CourseError(f"{path} cannot be read: {error.strerror}. Give a TOML file to --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path} is not valid TOML: {error}. Correct that line.") from None
    return build(Config, table, str(path))


def build(kind: type, table: dict, where: str, prefix: str = "") -> typing.Any:
    """Fill the dataclass `kind` from a table, checking every key and type on the way."""
    types = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in types:
            near = nearest(key, types)
            hint = f"Did you mean '{prefix}{near}'?" if near else f"Known keys: {', '.join(types)}."
            raise CourseError(f"{where}: there is no setting '{prefix}{key}'. {hint}")
        want = types[key]
        if dataclasses.is_dataclass(want) and isinstance(value, dict):
            values[key] = build(want, value, where, f"{prefix}{key}.")
        elif want is float and type(value) is int:
            values[key] = float(value)
        elif type(value) is want:
            values[key] = value
        else:
            name = "table" if dataclasses.is_dataclass(want) else want.__name__
            raise CourseError(f"{where}: '{prefix}{key}' is {value!r}. Write a value of type {name}.")
    try:
        return kind(**values)
    except ValueError as error:
        raise CourseError(f"{where}: {error}") from None

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
class Config:
    model: GPTConfig = field(default_factory=GPTConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    out: str = "first-run"

    def __post_init__(self) -> None:
        if self.data.seq > self.model.context:
            raise ValueError(f"data.seq={self.data.seq} is longer than model.context={self.model.context}.")
        for part in ("model", "data", "train"):
            for name, value in dataclasses.asdict(getattr(self, part)).items():
                if type(value) is int and value < 1 and name not in ("seed", "warmup_steps"):
                    raise ValueError(f"{part}.{name} must be at least 1.")
        if not self.train.learning_rate > 0:
            raise ValueError("train.learning_rate must be greater than 0.")
        if not re.fullmatch(r"\w[\w.-]*", self.out):
            raise ValueError(f"out is '{self.out}'. Use a plain name: it becomes a folder.")
        if self.train.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"train.dtype is '{self.train.dtype}'; use 'float32' or 'bfloat16'.")


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

"""Settings from TOML: what is taken over, and the sentence for what is not."""

import dataclasses
import json
from pathlib import Path

import pytest

from scaleup.config import Config, load
from scaleup.errors import CourseError
from scaleup.model import GPTConfig

HOME = Path(__file__).resolve().parents[1]


def as_toml(settings: Config) -> str:
    tables = dataclasses.asdict(settings)
    lines = [f"out = {json.dumps(tables.pop('out'))}"]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)


def load_text(folder: Path, text: str) -> Config:
    (folder / "run.toml").write_text(text)
    return load(folder / "run.toml")


def sentence(folder: Path, text: str) -> str:
    """What a person is told about `text`: it names the file and is one line."""
    with pytest.raises(CourseError) as caught:
        load_text(folder, text)
    message = str(caught.value)
    assert "run.toml" in message and "\n" not in message and message.endswith((".", "?"))
    return message


def test_an_empty_file_means_every_default(tmp_path):
    assert load_text(tmp_path, "") == Config()


def test_every_default_survives_being_written_and_read(tmp_path):
    assert load_text(tmp_path, as_toml(Config())) == Config()


CHANGED = {
    "model.vocab_size": 5000, "model.layers": 3, "model.heads": 8, "model.dim": 64, "model.hidden": 100,
    "model.context": 512, "data.corpus": "other", "data.seq": 64,
    "train.steps": 7, "train.global_batch": 16, "train.micro_batch": 2, "train.learning_rate": 0.5,
    "train.warmup_steps": 3, "train.weight_decay": 0.3, "train.clip": 2.0, "train.dtype": "bfloat16",
    "train.seed": 9, "train.validate_every": 11, "train.log_every": 4,
    "experts.count": 4, "experts.top_k": 1, "experts.balance": 0.5,
    "parallel.dp": 2, "parallel.shard": 2, "parallel.tp": 2, "parallel.pp": 2, "parallel.cp": 2,
    "parallel.ep": 2, "parallel.schedule": "GPipe", "parallel.micro_batches": 4,
    "parallel.attention": "all-to-all",
    "checkpoint.every": 5, "checkpoint.keep": 3, "checkpoint.asynchronous": False,
}  # fmt: skip


def test_the_list_of_changes_knows_every_setting():
    tables = dataclasses.asdict(Config())
    del tables["out"]
    assert set(CHANGED) == {f"{table}.{key}" for table in tables for key in tables[table]}


@pytest.mark.parametrize("name", CHANGED)
def test_one_setting_changes_one_value(name, tmp_path):
    table, key = name.split(".")
    read = load_text(tmp_path, f"[{table}]\n{key} = {json.dumps(CHANGED[name])}")
    part = dataclasses.replace(getattr(Config(), table), **{key: CHANGED[name]})
    assert read == dataclasses.replace(Config(), **{table: part})
    assert read != Config()


def test_the_configuration_of_the_first_lesson_loads():
    settings = load(HOME / "data" / "first-run.toml")
    assert settings.model == GPTConfig(layers=4, heads=4, dim=128, hidden=384, context=256)
    assert (settings.out, settings.data.seq, settings.train.steps) == ("first-run", 128, 60)
    assert settings.train.global_batch % settings.train.micro_batch == 0


@pytest.mark.parametrize("text", ["[train]\nlearning_rate = 1", "[train]\nlearning_rate = 1.0"])
def test_a_whole_number_is_a_number(text, tmp_path):
    rate = load_text(tmp_path, text).train.learning_rate
    assert rate == 1.0 and type(rate) is float


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[train]\nlearning_rat = 1.0", "'train.learning_rat'", "Did you mean 'train.learning_rate'?"),
        ("[model]\nlayer = 2", "'model.layer'", "Did you mean 'model.layers'?"),
        ("[trian]\nsteps = 2", "'trian'", "Did you mean 'train'?"),
        ("[parallel]\nzero = 3", "'parallel.zero'", "attention."),
        ("[data]\nzzz = 2", "'data.zzz'", "Known keys: corpus, seq."),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(text, key, nearest, tmp_path):
    message = sentence(tmp_path, text)
    assert f"there is no setting {key}" in message
    assert message.endswith(nearest)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nsteps = 1.5", "'train.steps' is 1.5. Write a value of type int."),
        ("[train]\nsteps = '3'", "'train.steps' is '3'. Write a value of type int."),
        ("[train]\nsteps = true", "'train.steps' is True. Write a value of type int."),
        ("[train]\nclip = 'big'", "'train.clip' is 'big'. Write a value of type float."),
        ("[train]\ndtype = 16", "'train.dtype' is 16. Write a value of type str."),
        ("model = 3", "'model' is 3. Write a value of type table."),
        ("[out]\nname = 'a'", "'out' is {'name': 'a'}. Write a value of type str."),
    ],
)
def test_a_wrong_type_is_named_with_the_right_one(text, words, tmp_path):
    assert sentence(tmp_path, text).endswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[data]\nseq = 257", "data.seq=257 is longer than model.context=256"),
        ("[train]\ndtype = 'float16'", "train.dtype is 'float16'; use 'float32' or 'bfloat16'"),
        ("[model]\ndim = 130", "dim=130 must split into heads=4"),
        ("[model]\nheads = 0", "heads"),
        ("[model]\nlayers = -1", "model.layers must be at least 1"),
        ("[data]\nseq = 0", "data.seq must be at least 1"),
        ("[train]\nvalidate_every = 0", "train.validate_every must be at least 1"),
        ("[train]\nlearning_rate = -1.0", "train.learning_rate"),
        ("[train]\nwarmup_steps = -1", "train.warmup_steps must be at least 0"),
        ("[parallel]\ntp = 0", "parallel.tp must be at least 1"),
        ("[parallel]\ndp = -1", "parallel.dp must be at least 0"),
        ("[parallel]\nschedule = '1f1b'", "parallel.schedule is '1f1b'; use 'GPipe', '1F1B', "),
        ("[parallel]\nattention = 'ulysses'", "parallel.attention is 'ulysses'; use 'ring' or 'all-to-all'"),
        ("[experts]\nbalance = -0.1", "experts.balance must be a number from 0"),
        ("[experts]\nbalance = nan", "experts.balance must be a number from 0"),
        *((f"[train]\n{n} = 0", f"train.{n} must be") for n in ("steps", "global_batch", "micro_batch")),
    ],
)
def test_an_impossible_value_is_refused_before_anything_runs(text, words, tmp_path):
    assert words in sentence(tmp_path, text)


@pytest.mark.parametrize("name", ["''", "'..'", "'a/b'", "'../other'", "'/somewhere'"])
def test_a_run_stays_in_its_own_folder(name, tmp_path):
    assert "out" in sentence(tmp_path, f"out = {name}")


@pytest.mark.parametrize("text", ["[train\nsteps = 1", "steps == 1", "[train]\nsteps = 1\nsteps = 2"])
def test_bad_toml_is_said_with_its_line(text, tmp_path):
    message = sentence(tmp_path, text)
    assert "not valid TOML" in message and "line" in message


def test_a_file_that_is_no_text_or_no_file(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CourseError, match="not valid TOML"):
        load(tmp_path / "run.toml")
    with pytest.raises(CourseError, match="There is no configuration file .*absent.toml"):
        load(tmp_path / "absent.toml")
    with pytest.raises(CourseError, match=tmp_path.name):
        load(tmp_path)

"""A job whose time is nearly up, on a real Slurm: its run goes on in the requeued job, bit for bit."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from small_course import VOCAB, as_toml, make_course
from test_practice import COURSE, at_home

from scaleup import practice, ranks
from scaleup.computer import slurm
from scaleup.config import Config, DataConfig, ParallelConfig, TrainConfig
from scaleup.machines import job
from scaleup.model import GPTConfig
from scaleup.text import corpus

PROGRAMS = COURSE / "tests" / "programs"
SHAPE = GPTConfig(vocab_size=VOCAB, layers=4, heads=4, dim=32, hidden=48, context=32)
TRAIN = TrainConfig(steps=40, global_batch=8, learning_rate=1e-2, warmup_steps=5, validate_every=40,
                    log_every=1)  # fmt: skip
LAYOUTS = {  # the ways, the nodes of two ranks each, the micro-batch
    "copies": ({"dp": 4}, 2, 2),
    "shards": ({"shard": 4}, 2, 2),
    "tensors": ({"tp": 2}, 1, 8),  # within a node, where it belongs
    "stages": ({"pp": 4}, 2, 2),
}

needs_slurm = pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence())
pytestmark = [pytest.mark.processes, needs_slurm, pytest.mark.timeout(540)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = make_course(tmp_path_factory.mktemp("course"))
    (folder / ".scaleup").mkdir()
    if (unpacked := COURSE / ".scaleup" / "slurm").is_dir():
        (folder / ".scaleup" / "slurm").symlink_to(unpacked)
    with at_home(folder):
        corpus.prepare(quiet=True)
        practice.up(nodes=2)
        yield folder


def configured(folder: Path, name: str, ways: dict[str, int], micro_batch: int) -> Path:
    file, train = folder / f"{name}.toml", dataclasses.replace(TRAIN, micro_batch=micro_batch)
    settings = Config(SHAPE, DataConfig(seq=32), train, parallel=ParallelConfig(**ways), out=name)
    file.write_text(as_toml(settings))
    return file


def losses(home: Path, name: str) -> list[float]:
    lines = (home / ".scaleup" / "runs" / name / "metrics.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [line["step"] for line in told] == list(range(40)), "every step is told once"
    return [line["loss"] for line in told]


def weights(home: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(home / ".scaleup" / "runs" / name / "model.pt")


@pytest.mark.parametrize("name", LAYOUTS)
def test_forty_steps_are_seventeen_the_signal_a_requeue_and_the_rest(home, tmp_path, monkeypatch, name):
    for variable in [n for n in os.environ if n.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(variable)
    whole, ended = f"whole-{name}", f"ended-{name}"
    ways, nodes, micro_batch = LAYOUTS[name]
    file = configured(tmp_path, whole, ways, micro_batch)
    ranks.run(PROGRAMS / "train_until.py", 2 * nodes, file, 0, quiet=True, warm=True, timeout=500)

    file = configured(tmp_path, ended, ways, micro_batch)
    script = job.render(file, "practice", nodes)
    program = f"{sys.executable} {PROGRAMS / 'train_to_the_signal.py'}"
    assert script.count("scaleup train --config") == 1
    (tmp_path / "job.sh").write_text(script.replace("scaleup train", program))
    number = practice.run("sbatch", "--parsable", f"--output={tmp_path}/log", str(tmp_path / "job.sh"))
    state = practice.wait(number.stdout.strip(), limit=240)
    log = (tmp_path / "log").read_text()
    assert state == "COMPLETED", log
    assert "The time is nearly up." in log and "step 17: stopped by SIGTERM" in log, log
    assert "goes on after step 17 of 40, from its checkpoint." in log, log

    assert losses(home, ended) == losses(home, whole)
    for key, tensor in weights(home, whole).items():
        assert torch.equal(tensor, weights(home, ended)[key]), key

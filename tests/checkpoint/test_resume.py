"""Runs that were ended go on: bit for bit on the same ranks, within rounding on others."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from small_course import VOCAB, as_toml, make_course

from scaleup import ranks, train
from scaleup.checkpoint import publication
from scaleup.config import CheckpointConfig, Config, DataConfig, ExpertsConfig, ParallelConfig, TrainConfig
from scaleup.model import GPTConfig
from scaleup.text import corpus

PROGRAM = Path(__file__).parents[1] / "programs" / "train_until.py"
SHAPE = GPTConfig(vocab_size=VOCAB, layers=4, heads=4, dim=32, hidden=48, context=32)
TRAIN = TrainConfig(steps=12, global_batch=8, learning_rate=1e-2, warmup_steps=2,
                    validate_every=12, log_every=1)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return make_course(tmp_path_factory.mktemp("course"))


@pytest.fixture(autouse=True)
def course(home, monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in [n for n in os.environ if n.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(name)
    corpus.prepare()
    return home


class Run:
    """A run of this name in the course's folder: started on so many ranks, ended after so many steps."""

    def __init__(self, home: Path, folder: Path, name: str) -> None:
        self.folder, self.file, self.name = home / ".scaleup" / "runs" / name, folder / f"{name}.toml", name

    def go(self, world_size: int, until: int = 0, every: int = 0, **parallel: object) -> list[str]:
        """Rank 0's lines. With `until` the run is ended in order after so many steps of this start."""
        kept = CheckpointConfig(every=every)
        ways, experts = ParallelConfig(**parallel), ExpertsConfig(count=4 if "ep" in parallel else 0)
        # Two micro-batches a step: each costs the ranks a round of every collective.
        micro_batch = TRAIN.global_batch // (max(1, ways.dp) * ways.shard) // 2
        steps = dataclasses.replace(TRAIN, micro_batch=micro_batch)
        config = Config(SHAPE, DataConfig(seq=32), steps, experts, ways, kept)
        self.file.write_text(as_toml(dataclasses.replace(config, out=self.name)))
        try:
            done = ranks.run(PROGRAM, world_size, self.file, until, quiet=True, warm=True, timeout=500)
        except ranks.RanksFailed:
            assert until, "the run failed"
            return []
        assert not until, "the run was not ended"
        return done.output[0]

    def losses(self) -> list[float]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        assert [entry["step"] for entry in entries] == list(range(len(entries))), "no step is told twice"
        return [entry["loss"] for entry in entries]

    def weights(self) -> dict[str, torch.Tensor]:
        return torch.load(self.folder / "model.pt")


LAYOUTS = {
    "copies": (4, {"dp": 4}),
    "shards": (2, {"shard": 2}),
    "tensors": (2, {"tp": 2}),
    "stages": (2, {"pp": 2}),
    "sequences": (2, {"cp": 2}),
    "experts": (2, {"dp": 2, "ep": 2}),
    "copies of shards": (4, {"dp": 2, "shard": 2}),
    "shards of tensors": (4, {"shard": 2, "tp": 2}),
    "copies of stages": (4, {"pp": 2, "dp": 2}),
}


@pytest.mark.processes
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_run_that_was_ended_goes_on_bit_for_bit(name, course, tmp_path):
    world_size, parallel = LAYOUTS[name]
    whole, ended = Run(course, tmp_path, "whole"), Run(course, tmp_path, "ended")
    whole.go(world_size, **parallel)
    ended.go(world_size, until=5, **parallel)
    assert [path.name for path in publication.published(ended.folder / "checkpoints")] == ["step-00000005"]
    said = ended.go(world_size, **parallel)
    assert said[0] == "goes on after step 5 of 12, from its checkpoint."
    assert len(ended.losses()) == 12
    assert ended.losses() == whole.losses()
    for key, tensor in whole.weights().items():
        assert torch.equal(tensor, ended.weights()[key]), key
    train.run_folder.run_folder(Config(out="whole"))  # set aside, for the next layout
    train.run_folder.run_folder(Config(out="ended"))


@pytest.mark.processes
def test_other_ranks_and_other_splits_go_on_with_it(course, tmp_path):
    """Four shards, two, then tensors, stages, and one rank: each goes on from what the one before saved."""
    one, many = Run(course, tmp_path, "one"), Run(course, tmp_path, "many")
    one.go(1)
    many.go(4, until=3, shard=4)
    many.go(2, until=2, shard=2)
    many.go(2, until=2, tp=2)
    many.go(4, until=2, pp=2, shard=2)
    said = many.go(1)
    assert said[0] == "goes on after step 9 of 12, from its checkpoint."
    assert many.losses() == pytest.approx(one.losses(), abs=1e-5)
    for key, tensor in one.weights().items():
        torch.testing.assert_close(tensor, many.weights()[key], rtol=0, atol=1e-4, msg=key)


@pytest.mark.processes
def test_another_run_of_the_same_name_is_not_taken_up(course, tmp_path, monkeypatch):
    run = Run(course, tmp_path, "other")
    run.go(1, until=4)
    monkeypatch.setitem(globals(), "TRAIN", dataclasses.replace(TRAIN, learning_rate=2e-2))
    said = run.go(1)
    assert said[0] == ("step-00000004 is of another run: train.learning_rate is 0.01 there, here 0.02.")
    assert said[1] == "It begins anew. What was there is kept beside its folder."
    assert len(run.losses()) == 12
    assert len([path for path in run.folder.parent.iterdir() if path.name.startswith("other.")]) == 1

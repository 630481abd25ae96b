"""The training loop on a small corpus: alone, on two and four ranks, interrupted, under Slurm's variables."""

import dataclasses
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from small_course import VOCAB, as_toml, make_course

from scaleup import ranks, train
from scaleup.config import Config, DataConfig, ParallelConfig, TrainConfig
from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.text import corpus
from scaleup.text.windows import Windows
from scaleup.train import join, loop

PROGRAM = Path(__file__).parents[1] / "programs" / "parity_train.py"
ENDED = PROGRAM.with_name("train_ended.py")
MODEL = {"vocab_size": VOCAB, "layers": 1, "heads": 2, "dim": 32, "hidden": 48, "context": 32}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A course folder of their own: the tests of this file never touch the real `.scaleup`."""
    return make_course(tmp_path_factory.mktemp("course"))


@pytest.fixture(autouse=True)
def course(home, monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(home))
    for name in [n for n in os.environ if n.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    corpus.prepare()
    yield home
    torch.set_num_threads(threads)
    shutil.rmtree(home / ".scaleup" / "runs", ignore_errors=True)


def settings(**changes: object) -> Config:
    values = {"steps": 6, "global_batch": 8, "micro_batch": 8, "learning_rate": 1e-2, "warmup_steps": 2,
              "validate_every": 3} | changes  # fmt: skip
    return Config(GPTConfig(**MODEL), DataConfig(seq=32), TrainConfig(**values), out="test")


def losses(history: list[train.Step]) -> list[float]:
    return [step.loss for step in history]


def run_folder(course: Path) -> Path:
    return course / ".scaleup" / "runs" / "test"


def entries(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def stored_model(folder: Path) -> GPT:
    model = GPT(GPTConfig(**MODEL))
    model.load_state_dict(torch.load(folder / "model.pt"))
    return model


# One rank


def test_the_loss_falls_from_guessing():
    history = train.train(settings(steps=40), quiet=True)
    found = losses(history)
    assert found[0] == pytest.approx(math.log(VOCAB), abs=0.1)
    assert np.mean(found[-5:]) < found[0] - 1
    assert history[-1].validation_loss < history[2].validation_loss - 0.5


def test_the_metrics_file_tells_what_the_run_returned(course):
    history = train.train(settings(), quiet=True)
    assert [train.Step(**entry) for entry in entries(run_folder(course))] == history
    assert [step.step for step in history] == list(range(6))
    assert [step.validation_loss is not None for step in history] == [False, False, True] * 2
    assert all(step.tokens_per_second > 0 for step in history)


def test_losses_are_read_every_tenth_step_and_all_are_told(course, monkeypatch):
    """Between readings nothing waits for the device; what each step lost is told all the same."""
    read, average = [], loop.average
    monkeypatch.setattr(loop, "average", lambda values, n: read.append(len(values) - 1) or average(values, n))
    seldom = train.train(settings(steps=24, validate_every=15), quiet=True)
    assert read == [1, 9, 5, 5, 4]
    often = train.train(settings(steps=24, validate_every=15, log_every=1), quiet=True)
    assert read[5:] == [1] * 24
    assert losses(seldom) == losses(often)
    rates = [step.tokens_per_second for step in seldom]
    assert len({*rates[1:10]}) == 1 and len({*rates}) == 5


def test_the_last_step_is_always_validated():
    history = train.train(settings(steps=4, validate_every=100), quiet=True)
    assert [step.validation_loss is None for step in history] == [True, True, True, False]


def test_the_stored_model_has_the_validation_loss_that_was_written_down(course):
    history = train.train(settings(), quiet=True)
    model = stored_model(run_folder(course))
    windows = Windows(corpus.prepare().tokens("valid"), 32)
    chosen = range(0, len(windows), max(1, len(windows) // 32))[:32]
    with torch.no_grad():
        each = [next_token_loss(model(windows[i][0][None]), windows[i][1][None]).item() for i in chosen]
    assert len(each) > 20
    assert history[-1].validation_loss == pytest.approx(np.mean(each), abs=1e-5)


def test_the_seed_decides_the_run_bit_for_bit():
    first, again = (losses(train.train(settings(steps=4), quiet=True)) for _ in range(2))
    assert first == again
    assert losses(train.train(settings(steps=4, seed=2), quiet=True))[0] != first[0]


@pytest.mark.parametrize("micro_batch", [4, 2, 1])
def test_accumulation_equals_one_large_batch(micro_batch, course):
    large = train.train(settings(), quiet=True)
    expected = stored_model(run_folder(course)).state_dict()
    small = train.train(settings(micro_batch=micro_batch), quiet=True)
    assert losses(small) == pytest.approx(losses(large), abs=1e-5)
    for name, tensor in stored_model(run_folder(course)).state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-4, msg=name)


def test_bfloat16_is_near_float32_and_not_the_same():
    exact, rounded = (losses(train.train(settings(dtype=d), quiet=True)) for d in ("float32", "bfloat16"))
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.05)


def test_gradients_are_clipped(course):
    """Clipped to almost nothing, they drown in AdamW's epsilon, and the weights stay where they began."""
    train.train(settings(clip=1e-14, weight_decay=0.0, steps=3), quiet=True)
    torch.manual_seed(1)
    begun = GPT(GPTConfig(**MODEL)).state_dict()
    for name, tensor in stored_model(run_folder(course)).state_dict().items():
        torch.testing.assert_close(tensor, begun[name], rtol=0, atol=1e-6, msg=name)


def test_a_log_file_gets_lines_and_quiet_means_none(capfd):
    train.train(settings())
    out, err = capfd.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["step 3", "step 6"] and err == ""
    train.train(settings(), quiet=True)
    assert capfd.readouterr() == ("", "")


def test_a_vocabulary_that_is_too_small_is_refused():
    wrong = dataclasses.replace(settings(), model=GPTConfig(**MODEL | {"vocab_size": VOCAB - 1}))
    with pytest.raises(CourseError, match=f"corpus has {VOCAB} tokens.*Raise it to at least {VOCAB}"):
        train.train(wrong)


# Files of a run


def test_earlier_runs_are_set_aside_however_fast_they_follow(course):
    kept = [losses(train.train(settings(steps=1, seed=seed), quiet=True)) for seed in (1, 2, 3, 4)]
    folders = list(run_folder(course).parent.iterdir())
    assert len(folders) == 4
    found = [[entry["loss"] for entry in entries(folder)] for folder in folders]
    assert sorted(found) == sorted(kept), "no run was overwritten or mixed with another"
    assert [entry["loss"] for entry in entries(run_folder(course))] == kept[-1]
    assert all((f / "model.pt").exists() and f.name.startswith("test") for f in folders)


@pytest.mark.processes
def test_an_interrupt_keeps_what_was_finished(course, tmp_path):
    (tmp_path / "long.toml").write_text(as_toml(settings(steps=1_000_000, validate_every=1_000_000)))
    command = [sys.executable, "-m", "scaleup.cli", "train", "--config", str(tmp_path / "long.toml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = run_folder(course) / "metrics.jsonl"
    end = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3) and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert err.strip().splitlines() == ["scaleup: stopped; what was finished is kept."] and out == ""
    written = entries(metrics.parent)
    assert [entry["step"] for entry in written] == list(range(len(written))) and len(written) >= 3
    begun = GPT(GPTConfig(**MODEL)).norm.weight
    assert not torch.equal(stored_model(run_folder(course)).norm.weight, begun), (
        "the weights are trained ones"
    )


# Which rank sees what


def steps_of(windows: int, world_size: int, micro_batch: int, count: int) -> list[list[int]]:
    """The windows that each of the first `count` steps sees over all ranks, with a global batch of 8."""
    config = settings(micro_batch=micro_batch).train
    micro_steps = train.accumulation(config, world_size)
    dataset = Windows(np.arange(windows * 4 + 1), seq=4)
    seen = [[] for _ in range(count)]
    for rank in range(world_size):
        stream = train.batches(dataset, config, rank, world_size)
        for step, (inputs, targets) in enumerate(islice(stream, micro_steps * count)):
            assert inputs.shape == (micro_batch, 4) and torch.equal(inputs + 1, targets)
            seen[step // micro_steps] += (inputs[:, 0] // 4).tolist()
    return [sorted(step) for step in seen]


@pytest.mark.parametrize("windows", [40, 44, 45, 47])
@pytest.mark.parametrize(
    ("world_size", "micro_batch"), [(1, 4), (1, 2), (2, 4), (2, 2), (2, 1), (4, 2), (4, 1)]
)
def test_a_step_sees_the_same_windows_on_any_number_of_ranks(world_size, micro_batch, windows):
    """Also after the first epoch: 12 steps of 8 are more than two epochs."""
    expected = steps_of(windows, world_size=1, micro_batch=8, count=12)
    assert steps_of(windows, world_size, micro_batch, 12) == expected


def test_an_epoch_sees_every_window_once_and_the_next_in_another_order():
    for world_size in (1, 2, 4):
        steps = steps_of(40, world_size, micro_batch=8 // world_size, count=10)
        first, second = steps[:5], steps[5:]
        assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(40))
        assert first != second


def test_the_seed_decides_the_order():
    dataset, one = Windows(np.arange(161), seq=4), settings().train
    orders = [
        next(train.batches(dataset, dataclasses.replace(one, seed=seed), 0, 1))[0].tolist()
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_too_few_windows_are_refused():
    with pytest.raises(CourseError, match="7 windows are too few"):
        next(train.batches(Windows(np.arange(29), seq=4), settings().train, 0, 1))


def test_a_global_batch_that_does_not_divide_is_refused_with_its_numbers():
    assert train.accumulation(settings(micro_batch=2).train, 2) == 2
    with pytest.raises(
        CourseError, match=r"global_batch=8 is not a multiple of .*micro_batch=2 x 3 ranks = 6"
    ):
        train.accumulation(settings(micro_batch=2).train, 3)


# Schedule and optimizer


def test_the_learning_rate_warms_up_and_falls_to_a_tenth():
    config = TrainConfig(steps=104, warmup_steps=4, learning_rate=1.0)
    rates = [train.learning_rate(step, config) for step in range(105)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[54] == pytest.approx(0.55), "half of the cosine lies half-way"
    assert rates[104] == pytest.approx(0.1)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert train.learning_rate(0, TrainConfig(warmup_steps=0, learning_rate=1.0)) == 1.0


def test_matrices_decay_and_norms_do_not():
    model = GPT(GPTConfig(**MODEL))
    optimizer = train.make_optimizer(model, TrainConfig(weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.0 if "norm" in name else 0.3), name


# Several ranks


@pytest.mark.processes
@pytest.mark.parametrize(("world_size", "micro_batch"), [(2, 2), (4, 2)])
def test_several_ranks_train_as_one(world_size, micro_batch, course, tmp_path):
    """Two ranks add up two micro-batches each; four ranks take one each; one rank takes all eight windows."""
    expected = train.train(settings(), quiet=True)
    weights = stored_model(run_folder(course)).state_dict()
    (tmp_path / "run.toml").write_text(as_toml(settings(micro_batch=micro_batch)))
    results = ranks.run(PROGRAM, world_size, tmp_path / "run.toml", quiet=True).results
    assert list(results) == list(range(world_size))
    for found in results.values():
        assert [step["loss"] for step in found] == pytest.approx(losses(expected), abs=1e-5)
        validations = [step["validation_loss"] for step in found if step["validation_loss"] is not None]
        assert validations == pytest.approx(
            [s.validation_loss for s in expected if s.validation_loss], abs=1e-5
        )
    for name, tensor in stored_model(run_folder(course)).state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-4, msg=name)
    assert len(list(run_folder(course).parent.iterdir())) == 2, (
        "one folder a run, whatever the number of ranks"
    )
    assert len(entries(run_folder(course))) == 6


SPLIT = {
    "shards of tensors": ({"shard": 2, "tp": 2}, {}),
    "stages of copies": ({"pp": 2, "schedule": "Interleaved1F1B"}, {"micro_batch": 1}),
}


@pytest.mark.processes
@pytest.mark.parametrize("name", SPLIT)
def test_a_split_model_is_trained_and_saved_as_one_rank_does(name, course, tmp_path):
    """On four ranks, and without a word: nothing that PyTorch warns of is ours to leave."""
    parallel, changes = SPLIT[name]
    small = dataclasses.replace(settings(), model=GPTConfig(**MODEL | {"layers": 4}))
    expected = train.train(small, quiet=True)
    one = torch.load(run_folder(course) / "model.pt")
    split = dataclasses.replace(
        small,
        parallel=ParallelConfig(**parallel),
        train=dataclasses.replace(small.train, **{"micro_batch": 2} | changes),
    )
    (tmp_path / "run.toml").write_text(as_toml(split))
    result = ranks.run(PROGRAM, 4, tmp_path / "run.toml", quiet=True)
    said = [[line.split(":")[0] for line in lines] for lines in result.output.values()]
    assert said == [["step 3", "step 6"], [], [], []], result.output
    assert [step["loss"] for step in result.results[0]] == pytest.approx(losses(expected), abs=1e-5)
    found = torch.load(run_folder(course) / "model.pt")
    assert found.keys() == one.keys() and len(entries(run_folder(course))) == 6
    for key, tensor in found.items():
        assert type(tensor) is torch.Tensor
        torch.testing.assert_close(tensor, one[key], rtol=0, atol=1e-4, msg=key)


@pytest.mark.processes
def test_a_split_model_is_saved_when_the_time_is_up(course, tmp_path):
    """One of two ranks gets SIGTERM after its third step: both end in order, and all of it is saved."""
    long = dataclasses.replace(settings(steps=1000, micro_batch=4), parallel=ParallelConfig(tp=2))
    (tmp_path / "run.toml").write_text(as_toml(long))
    with pytest.raises(ranks.RanksFailed):
        ranks.run(ENDED, 2, tmp_path / "run.toml", quiet=True)
    written = entries(run_folder(course))
    assert 3 <= len(written) <= 10
    model = stored_model(run_folder(course))
    torch.manual_seed(1)
    assert not torch.equal(model.head.weight, GPT(GPTConfig(**MODEL)).head.weight)


def test_ways_that_cannot_run_are_refused_before_anything_is_done(course):
    wrong = dataclasses.replace(settings(), parallel=ParallelConfig(tp=2))
    with pytest.raises(CourseError, match="tp=2 takes 2 ranks or a multiple of them, and there are 1"):
        train.train(wrong)
    assert not run_folder(course).exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_rank_whose_peer_never_comes_says_so(monkeypatch):
    patience = {"seconds": 1}
    monkeypatch.setattr(join, "timedelta", lambda **usual: timedelta(**patience))
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "RANK": 0, "WORLD_SIZE": 2}
    for name, value in where.items():
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(CourseError, match="did not find each other.*Check MASTER_ADDR"),
        train.process_group(),
    ):
        pass


# Slurm

JOIN = """
import torch.distributed as dist
from scaleup import train

with train.process_group() as (rank, world_size, _):
    dist.barrier()  # a rank that leaves at once would take the store away from one that still joins
    print(rank, world_size)
"""


def slurm(**variables: object) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | {name: str(v) for name, v in variables.items()}
    return subprocess.Popen(
        [sys.executable, "-c", JOIN],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.processes
def test_tasks_of_srun_are_ranks():
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "SLURM_NTASKS": 2}
    tasks = [slurm(**where, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in range(2)]
    said = [task.communicate(timeout=240) for task in tasks]
    assert [out for out, _ in said] == ["0 2\n", "1 2\n"], said


def test_srun_without_an_address_is_told_which_variable(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(CourseError, match="MASTER_ADDR is not set"), train.process_group():
        pass


def test_the_shell_of_an_allocation_is_one_rank(monkeypatch):
    """`salloc --ntasks=4` sets SLURM_NTASKS in a shell that is no task of srun."""
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with train.process_group() as (rank, world_size, _):
        assert (rank, world_size) == (0, 1)

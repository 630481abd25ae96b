"""Measurements against numbers worked by hand, and FLOPs against PyTorch's own count."""

import itertools
import math
import os
import time

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scaleup import measure
from scaleup.measure import Timings, rates
from scaleup.model import GPT, GPTConfig, next_token_loss

# FLOPs

SHAPES = [
    (GPTConfig(vocab_size=512, layers=1, heads=1, dim=32, hidden=64, context=32), 2, 32),
    (GPTConfig(vocab_size=300, layers=3, heads=4, dim=64, hidden=200, context=128), 3, 100),
    (
        GPTConfig(vocab_size=64, layers=2, heads=2, dim=32, hidden=48, context=512),
        1,
        512,
    ),  # attention is most
    (GPTConfig(vocab_size=4096, layers=4, heads=4, dim=128, hidden=384, context=256), 1, 128),
]


@pytest.mark.parametrize(("config", "batch", "seq"), SHAPES)
def test_flops_per_token_is_what_pytorch_counts(config, batch, seq):
    model, tokens = GPT(config), torch.randint(0, config.vocab_size, (batch, seq + 1))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        next_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
    counted = counter.get_total_flops() / (batch * seq)
    assert measure.flops_per_token(config, seq) == pytest.approx(counted, rel=0.01)


def test_flops_per_token_worked_by_hand():
    config = GPTConfig(vocab_size=10, layers=2, heads=1, dim=4, hidden=6, context=8)
    # A layer: 4 x 4 x 4 + 3 x 4 x 6 = 136. Two of them and the head: 272 + 40 = 312.
    assert measure.matmul_parameters(config) == 312
    assert measure.flops_per_token(config, 8) == 6 * 312 + 12 * 2 * 4 * 8 == 2640
    assert measure.flops_per_token(config, 8, causal=True) == 6 * 312 + 6 * 2 * 4 * 8


@pytest.mark.parametrize(("config", "batch", "seq"), SHAPES)
def test_every_matrix_but_the_embedding_multiplies(config, batch, seq):
    model = GPT(config)
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "embedding" not in n)
    assert measure.matmul_parameters(config) == matrices
    norms = (2 * config.layers + 1) * config.dim
    assert measure.parameters(model) == matrices + config.vocab_size * config.dim + norms


def test_frozen_parameters_are_not_trainable():
    model = GPT(SHAPES[0][0])
    before = measure.parameters(model)
    model.head.weight.requires_grad_(False)
    assert measure.parameters(model) == before - 512 * 32


def test_mfu_worked_by_hand():
    model = GPT(GPTConfig(vocab_size=10, layers=2, heads=1, dim=4, hidden=6, context=8))
    assert measure.mfu(model, tokens_per_second=100, seq=8, peak=1_056_000) == pytest.approx(0.25)


# Time


def test_timings_worked_by_hand():
    timings = Timings((5.0, 1.0, 4.0, 2.0, 3.0))
    assert timings.median == 3
    assert timings.spread == pytest.approx(1.0)  # quartiles 1.5 and 4.5
    assert timings.rate(600) == 200
    # mean 3, standard deviation sqrt(2.5): (1.96 x 0.52705 / 0.05)^2 = 426.8
    assert timings.runs_for(0.05) == 427
    assert timings.runs_for(0.10) == 107
    assert timings.runs_for(10.0) == 2, "a spread needs two runs"


def test_the_median_and_not_the_mean_is_reported():
    assert Timings((1.0, 1.0, 1.0, 97.0)).median == 1


def test_equal_runs_have_no_spread_and_one_run_has_an_unknown_one():
    assert Timings((2.0, 2.0, 2.0)).spread == 0
    assert math.isnan(Timings((2.0,)).spread)


def test_repeat_drops_the_warm_up(monkeypatch):
    """The clock says 10 s for each warm-up call, then 1, 2, 3 s."""
    lengths = [10.0, 10.0, 1.0, 2.0, 3.0]
    ends = list(itertools.accumulate(lengths))
    clock = iter([t for length, end in zip(lengths, ends, strict=True) for t in (end - length, end)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    calls = []
    assert measure.repeat(lambda: calls.append(1), repeats=3, warmup=2).seconds == (1.0, 2.0, 3.0)
    assert len(calls) == 5


def test_repeat_measures_seconds():
    timings = measure.repeat(lambda: time.sleep(0.02), repeats=3, warmup=0)
    assert all(0.02 <= seconds < 0.5 for seconds in timings.seconds)


# Rates of this machine


def test_peak_and_bandwidth_count_the_best_run(monkeypatch):
    monkeypatch.setattr(rates, "repeat", lambda function, repeats, warmup: Timings((4.0, 2.0)))
    assert measure.matmul_peak(size=10) == 2 * 1000 / 2
    assert measure.copy_bandwidth(size_mb=1) == 2 * 2**20 / 2


def test_no_program_exceeds_the_measured_peak_by_far():
    peak = measure.matmul_peak(size=512)
    x = torch.randn(512, 512)
    reached = 2 * 512**3 / measure.repeat(lambda: x @ x, repeats=5, warmup=1).median
    assert 1e8 < reached < 2 * peak


# Operators


def test_operator_shares_add_up_to_one_and_come_largest_first():
    a = torch.randn(1500, 1500)  # large enough for n^3 to outweigh n^2
    shares = measure.operator_times(lambda: (a @ a) + a, repeats=3)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert all(share >= 0 for share in shares.values())
    assert next(iter(shares)) == "aten::mm" and "aten::add" in shares


def test_the_profiler_writes_nothing_and_standard_error_works_again(capfd):
    measure.operator_times(lambda: torch.ones(3) + 1, repeats=1)
    os.write(2, b"heard again\n")
    assert capfd.readouterr() == ("", "heard again\n")


def test_standard_error_comes_back_after_a_failure_too(capfd):
    with pytest.raises(RuntimeError, match="broken"):
        measure.operator_times(lambda: (_ for _ in ()).throw(RuntimeError("broken")))
    os.write(2, b"heard again\n")
    assert capfd.readouterr().err == "heard again\n"

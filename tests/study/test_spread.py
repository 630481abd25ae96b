"""The time of a step and its error: counted how often the truth lies within, and how it is told."""

import math
import statistics

import numpy as np
import pytest

from scaleup.errors import CourseError
from scaleup.study import spread
from scaleup.study.spread import Interval, efficiency, interval, medians, speed_up, student

NOISE = 0.04  # of the logarithm of a run's time


def studies(count: int, runs: int, seed: int = 3) -> list[list[list[float]]]:
    """Studies of one point whose true time is 1: runs differ, and the steps of a run a little."""
    draw = np.random.default_rng(seed)
    made = np.exp(draw.normal(0, NOISE, size=(count, runs)))
    return [[[run * step for step in (0.99, 1.0, 1.01)] for run in study] for study in made]


@pytest.mark.parametrize("runs", [2, 3, 5, 10])
def test_the_truth_lies_within_the_interval_about_95_times_of_100(runs):
    found = [interval(study, seed) for seed, study in enumerate(studies(600, runs))]
    inside = sum(each.low <= 1 <= each.high for each in found) / len(found)
    assert 0.92 <= inside <= 0.995, f"{runs} runs: {inside:.1%}"


@pytest.mark.parametrize("runs", [3, 5])
def test_so_does_the_true_efficiency_whose_baseline_has_an_error_of_its_own(runs):
    """The true efficiency is 1/2: twice as many nodes, and no time is won."""
    pairs = zip(studies(500, runs, 4), studies(500, runs, 5), strict=True)
    found = [efficiency(base, other, 2, seed=seed) for seed, (base, other) in enumerate(pairs)]
    inside = sum(each.low <= 0.5 <= each.high for each in found) / len(found)
    assert 0.92 <= inside <= 0.995, f"{runs} runs: {inside:.1%}"


def test_an_uncorrected_bootstrap_of_three_runs_is_far_too_sure(monkeypatch):
    monkeypatch.setattr(spread, "widening", lambda runs: 1.0)
    found = [interval(study, seed) for seed, study in enumerate(studies(600, 3))]
    assert sum(each.low <= 1 <= each.high for each in found) / len(found) < 0.85


def test_more_runs_make_it_narrower():
    halves = [statistics.mean(interval(each).half for each in studies(50, runs)) for runs in (2, 3, 5, 10)]
    assert halves == sorted(halves, reverse=True)


def test_one_run_says_nothing_of_the_next():
    found = interval([[1.0, 1.01, 0.99]])
    assert (found.value, found.low, found.high, found.half) == (1.0, None, None, None)
    assert str(found) == "1 (error unknown)"
    assert speed_up([[1.0]], [[0.5]] * 3).low is None and spread.spread([[1.0]]) is None


def test_a_slow_step_does_not_move_the_time_of_its_run():
    assert medians([[1.0, 1.0, 1.0, 40.0]]) == [1.0]


def test_work_tells_strong_from_weak():
    base, same = [[1.0]] * 3, [[1.0]] * 3
    assert speed_up(base, same).value == pytest.approx(1)  # strong: nothing won
    assert speed_up(base, same, work=4).value == pytest.approx(4)  # weak: four times as much done
    good = efficiency(base, [[1.25]] * 3, 4, work=4)
    assert good.value == pytest.approx(0.8) and good.low == pytest.approx(0.8)


def test_what_is_the_same_in_both_times_makes_no_error_of_its_own_size():
    """The error of a ratio is near the root of the sum of squares, not near the sum."""
    base, other = studies(1, 10, 6)[0], studies(1, 10, 7)[0]
    both, one = efficiency(base, other, 1).half, interval(base).half
    assert one < both < 2.2 * one


def test_an_interval_reads_as_a_number_with_its_limits():
    assert str(Interval(0.8123, 0.79, 0.8349)) == "0.812 (0.79 to 0.835)"


@pytest.mark.parametrize("freedom, known", [(1, 12.706), (4, 2.776), (10, 2.228), (15, 2.131), (60, 2.000)])
def test_student_is_the_table_of_every_textbook(freedom, known):
    assert student(freedom) == pytest.approx(known, abs=1.5e-3)


@pytest.mark.parametrize("runs", [[], [[]], [[1.0], []], [[0.0]], [[-1.0]], [[math.nan]], [[math.inf]]])
def test_what_is_no_time_is_refused(runs):
    with pytest.raises(CourseError, match=r"at least one|seconds"):
        interval(runs)

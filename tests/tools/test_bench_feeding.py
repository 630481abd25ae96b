"""The loaders that are compared read the same, and what a restart loses is counted. No time is asserted."""

from itertools import islice

import pytest
import torch
from tools import bench_feeding as bench

from scaleup.text.feed import Feed, ShardWindows


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    bench.write_shards(folder)
    return ShardWindows(folder, bench.SEQ)


def test_both_hand_out_windows_of_the_same_shards(windows):
    for source in (iter(Feed(windows, bench.BATCH)), bench.endless(bench.stateful(windows))):
        for inputs, targets in islice(source, 2):
            assert inputs.shape == targets.shape == (bench.BATCH, bench.SEQ)
            assert torch.equal(inputs[:, 1:], targets[:, :-1])


def test_the_feed_loses_nothing_at_a_restart_with_other_ranks():
    size = 2 * bench.STOP * bench.BATCH + 1_000
    assert bench.count_after_restart(size)[bench.FEED] == {"twice": 0, "never": 0}


def test_the_fastest_step_is_what_the_feed_is_held_against():
    steps = [{"found": {"a": {"tokens_per_second": rate}, "b": {"tokens_per_second": 9}}} for rate in (1, 3)]
    assert bench.fastest({"steps": steps}, "a") == 3

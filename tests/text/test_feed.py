"""Every window once per epoch, whatever the ranks and workers, and from any point on."""

import json
import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from scaleup.errors import CourseError
from scaleup.files import write_whole
from scaleup.text import shards
from scaleup.text.feed import Feed, Order, ShardWindows, shuffled

SIZES = st.integers(1, 3_000)
SEEDS = st.integers(0, 2**63)


def tried(*strategies):
    """`given`, with no limit on the time of an example: somebody else may need the cores."""
    return lambda test: settings(deadline=None, max_examples=60, database=None)(given(*strategies)(test))


class Numbers(Dataset):
    """A dataset of the given size whose windows are their own numbers."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, numbers):
        return torch.as_tensor(numbers), torch.as_tensor(numbers)


def write_folder(folder, sizes, dtype=np.uint16):
    """Shards of these numbers of tokens; the tokens count up through all of them."""
    lines, first = [], 0
    for number, size in enumerate(sizes):
        ids = np.arange(first, first + size, dtype=dtype)
        lines.append(shards.write_shard(folder / f"train-{number:05}", [ids[:3], ids[3:]], dtype))
        first += size
    write_whole(folder / shards.MANIFEST, json.dumps({"shards": lines}))
    return folder


# The order


@tried(SIZES, SEEDS, st.integers(0, 1_000))
def test_every_epoch_is_a_permutation(n, seed, epoch):
    assert sorted(shuffled(np.arange(n), n, seed, epoch).tolist()) == list(range(n))


@tried(SIZES, SEEDS, st.data())
def test_a_place_does_not_depend_on_what_is_asked_with_it(n, seed, data):
    places = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20))
    together = shuffled(np.array(places), n, seed)
    assert together.tolist() == [int(shuffled(np.array([p]), n, seed)[0]) for p in places]


def test_it_needs_no_list_of_a_corpus_that_fits_nowhere():
    n = 10**15
    found = shuffled(np.array([0, 1, n - 1]), n, seed=3)
    assert len(set(found.tolist())) == 3 and all(0 <= number < n for number in found)


def test_epochs_and_seeds_differ():
    orders = {tuple(shuffled(np.arange(50), 50, seed, epoch)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_windows_land_everywhere_alike():
    """Over 4,000 seeds, ten places and the tenth of the epoch in which each one's window lies."""
    seen = np.zeros((10, 10))
    for seed in range(4_000):
        found = shuffled(np.arange(10) * 100, 1_000, seed) // 100
        seen[np.arange(10), found] += 1
    squares = ((seen - 400) ** 2 / 400).sum()
    assert squares < 150  # 90 are expected; more than 150 have a chance of 1 in 15,000


def test_windows_move_as_far_as_in_a_random_order():
    n = 20_000
    moved = np.abs(shuffled(np.arange(n), n, 1) - np.arange(n)).mean() / n
    assert moved == pytest.approx(1 / 3, abs=0.01)


# Every window once


def read(n, phases, seed, workers=0):
    """What all ranks of each phase (ranks, batch, steps) read, in order of place; phases hand over states."""
    state, found = None, []
    for world_size, batch, steps in phases:
        feeds = [
            Feed(Numbers(n), batch, r, world_size, seed=seed, workers=workers) for r in range(world_size)
        ]
        for feed in feeds:
            if state:
                feed.load_state_dict(json.loads(json.dumps(state)))
        shares = [[x.tolist() for x, _ in islice(feed, steps)] for feed in feeds]
        states = [feed.state_dict() for feed in feeds]
        assert all(each == states[0] for each in states)
        state = states[0]
        found += [number for step in zip(*shares, strict=True) for part in step for number in part]
    return found, state


PHASES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=6)


@tried(st.integers(1, 200), PHASES, SEEDS)
def test_no_window_is_lost_or_repeated_when_the_number_of_ranks_changes(n, phases, seed):
    found, state = read(n, phases, seed)
    whole, rest = divmod(len(found), n)
    assert (state["epoch"], state["consumed"]) == (whole, rest)
    for epoch in range(whole):
        assert sorted(found[epoch * n : (epoch + 1) * n]) == list(range(n))
    last = found[whole * n :]
    assert len(set(last)) == len(last)


@tried(st.integers(1, 100), PHASES, SEEDS)
def test_the_order_is_the_one_of_a_single_rank(n, phases, seed):
    found, _ = read(n, phases, seed)
    assert found == read(n, [(1, 1, len(found))], seed)[0]


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    phases = [(2, 4, 5), (3, 2, 4), (1, 7, 3)]
    assert read(50, phases, seed=5, workers=workers) == read(50, phases, seed=5)


@pytest.mark.processes
def test_what_workers_have_read_ahead_is_not_counted():
    feed = Feed(Numbers(1_000), 2, workers=2, prefetch=8)
    batches = iter(feed)
    for _ in range(3):
        next(batches)
    assert feed.state_dict() == {"seed": 0, "epoch": 0, "consumed": 6, "windows": 1_000}


def test_a_feed_leaves_the_models_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    next(iter(Feed(Numbers(10), 2)))
    assert torch.equal(torch.rand(1), expected)


def test_a_batch_may_lie_across_the_end_of_an_epoch():
    first, second = islice(Order(5, 4, 0, 1, seed=9), 2)
    assert sorted([*first, *second[:1]]) == list(range(5))
    assert second[1:].tolist() == shuffled(np.arange(3), 5, 9, epoch=1).tolist()


def test_a_position_over_other_windows_is_refused():
    feed = Feed(Numbers(10), 2)
    state = feed.state_dict()
    with pytest.raises(CourseError, match=r"saved over 10 windows, and these shards have 11\. Take"):
        Feed(Numbers(11), 2).load_state_dict(state)


@pytest.mark.parametrize(("batch", "rank", "size"), [(0, 0, 1), (4, 2, 2), (4, -1, 2)])
def test_a_rank_that_is_not_there_is_refused(batch, rank, size):
    with pytest.raises(CourseError, match=f"batch={batch} for rank {rank} of {size}"):
        Feed(Numbers(10), batch, rank, size)


def test_a_negative_seed_is_refused():
    with pytest.raises(CourseError, match=r"seed=-1: take a whole number from 0 on"):
        Feed(Numbers(10), 2, seed=-1)


# Windows over shards


@tried(st.lists(st.integers(3, 60), min_size=1, max_size=6), st.integers(1, 12))
def test_windows_are_cut_within_each_shard(tmp_path_factory, sizes, seq):
    folder = write_folder(tmp_path_factory.mktemp("shards"), sizes)
    expected, first = [], 0
    for size in sizes:
        starts = range(first, first + size - seq, seq)
        expected += [list(range(start, start + seq + 1)) for start in starts]
        first += size
    if not expected:
        with pytest.raises(CourseError, match="no window"):
            ShardWindows(folder, seq)
        return
    windows = ShardWindows(folder, seq)
    inputs, targets = windows[range(len(windows))]
    assert torch.cat([inputs, targets[:, -1:]], dim=1).tolist() == expected
    assert inputs.dtype == torch.int64
    one = windows[len(windows) - 1]
    assert one[0].tolist() == expected[-1][:-1] and one[1].tolist() == expected[-1][1:]
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_another_process_opens_the_shards_itself(tmp_path):
    windows = ShardWindows(write_folder(tmp_path, [50_000]), 7)
    packed = pickle.dumps(windows)
    assert len(packed) < 1_000
    assert torch.equal(pickle.loads(packed)[3][0], windows[3][0])


@pytest.mark.processes
def test_workers_read_shards(tmp_path):
    windows = ShardWindows(write_folder(tmp_path, [100, 40, 77]), 8)
    here, there = Feed(windows, 3, seed=2), Feed(windows, 3, seed=2, workers=2)
    for (x, y), (u, v) in islice(zip(here, there, strict=True), 12):
        assert torch.equal(x, u) and torch.equal(y, v)


def test_a_folder_that_is_damaged_gets_one_sentence(tmp_path):
    folder = write_folder(tmp_path, [40, 30])
    ids = folder / "train-00001.bin"
    whole = ids.read_bytes()
    ids.write_bytes(whole[:-10])
    with pytest.raises(CourseError, match=r"train-00001.bin has 50 bytes, and its index says 60\."):
        ShardWindows(folder, 8)
    ids.write_bytes(whole[:-1] + b"\xff")
    with pytest.raises(CourseError, match=r"train-00001.bin is not what manifest.json says"):
        shards.verify(folder)
    shards.write_shard(folder / "train-00001", [np.arange(20, dtype=np.uint16)], np.uint16)
    with pytest.raises(CourseError, match=r"train-00001.bin has 20 tokens, and the manifest says 30\."):
        ShardWindows(folder, 8)
    (folder / shards.MANIFEST).unlink()
    with pytest.raises(CourseError, match="has no manifest.json"):
        ShardWindows(folder, 8)

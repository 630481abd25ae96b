"""Sixty random configurations on 1 to 4 ranks: each trains three steps as one rank does, or is refused.

What has to be refused is stated here a second time, in other words than the program's: by dealing things out.
"""

import re
from collections import Counter

import pytest
from small_course import make_course
from tools.parallel_sweep import draw, sweep

from scaleup.parallel.refusals import reasons
from scaleup.text import corpus

SEEDS = range(60)
CASES = [draw(seed) for seed in SEEDS]


def dealt(things: int, hands: int) -> bool:
    """Does everybody get as many when they are dealt out one by one?"""
    got = Counter(turn % hands for turn in range(things))
    return len(got) == hands and len(set(got.values())) == 1


def expected(case) -> set[str]:
    """The words that the refusals of a case have to name, and no other of them."""
    c, w, n = case.config, case.config.parallel, case.ranks
    dp = w.dp or n // (w.shard * w.tp * w.pp * w.cp)
    if len([0 for _ in range(dp * w.shard * w.tp * w.pp * w.cp)]) != n:
        return {"ranks"}
    found = set()
    readers = dp * w.shard
    each = c.train.global_batch / readers / c.train.micro_batch
    if each != int(each) or each < 1:
        found.add("train.global_batch")
    for name in ("heads", "hidden", "vocab_size"):
        if not dealt(getattr(c.model, name), w.tp):
            found.add(f"model.{name}")
    if not dealt(c.data.seq, w.cp * w.tp):
        found.add("cp x tp")
    if w.cp > 1 and not dealt(c.data.seq, 2 * w.cp):
        found.add("2 x cp")
    if w.cp > 1 and w.attention == "all-to-all" and not dealt(c.model.heads // w.tp, w.cp):
        found.add("all-to-all")
    some = c.experts.count > 0
    if some and w.tp > 1:
        found.add("cuts MLPs")
    if some and c.experts.top_k > c.experts.count:
        found.add("smaller top_k")
    elif some and not dealt(c.model.hidden, c.experts.top_k):
        found.add("top_k that divides")
    if w.ep > 1:
        if not some:
            found.add("has none")
        elif not dealt(c.experts.count, w.ep):
            found.add("experts.count")
        if not dealt(readers, w.ep):
            found.add("dp x shard")
    if w.pp > 1:
        found |= expected_of_pipeline(case, each)
    return found


def expected_of_pipeline(case, each: float) -> set[str]:
    c, w = case.config, case.config.parallel
    found = set()
    stages = w.pp * (1 if w.schedule in ("GPipe", "1F1B") else 2)
    if stages - 1 > c.model.layers:
        found.add("model.layers")
    if c.experts.count and c.experts.balance:
        found.add("experts.balance")
    if each == int(each) >= 1:
        least = 1 if w.schedule == "GPipe" else stages if w.schedule == "DualPipeV" else w.pp
        if each < least:
            found.add("at least")
        elif w.schedule.startswith("Interleaved") and not dealt(int(each), int(each) // w.pp):
            found.add("rounds")
    return found


WORDS = (
    "and there are", "train.global_batch", "model.heads", "model.hidden", "model.vocab_size", "cp x tp",
    "2 x cp", "all-to-all", "cuts MLPs", "smaller top_k", "top_k that divides", "has none", "experts.count",
    "dp x shard", "model.layers", "experts.balance", "at least", "rounds",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed {case.seed}")
def test_exactly_what_has_to_be_refused_is_refused_and_for_its_reason(case):
    told = list(reasons(case.config, case.ranks))
    wanted = expected(case)
    assert len(told) == len(wanted), (wanted, told)
    for word in wanted:
        assert any(re.search(re.escape(word), reason) for reason in told), (word, told)


def test_the_sixty_have_something_of_everything():
    """Also when somebody changes how they are drawn."""
    run = [case for case in CASES if not expected(case)]
    assert 25 <= len(run) <= 45
    assert {case.ranks for case in run} == {1, 2, 3, 4}
    for way in ("shard", "tp", "pp", "cp", "ep"):
        assert sum(getattr(case.config.parallel, way) > 1 for case in run) >= 5, way
    assert len({case.config.parallel.schedule for case in run if case.config.parallel.pp > 1}) >= 4
    refused = set().union(*(expected(case) for case in CASES))
    assert len(refused) >= 8, refused


@pytest.mark.processes
def test_every_other_one_trains_as_one_rank_does(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(make_course(tmp_path)))
    corpus.prepare(quiet=True)
    found = sweep(CASES)
    assert set(found) == {case.seed for case in CASES if not expected(case)}
    wrong = {seed: what for seed, what in found.items() if isinstance(what, str) or not what.equal}
    assert not wrong

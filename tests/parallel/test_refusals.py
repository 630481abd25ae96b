"""Each reason why a combination cannot run: one sentence that names the settings and says what to change."""

import ast
import dataclasses
import sys
from pathlib import Path

import pytest

from scaleup.config import Config, DataConfig, ExpertsConfig, ParallelConfig, TrainConfig, load
from scaleup.errors import CourseError
from scaleup.model import GPTConfig
from scaleup.parallel import refusals

MODEL = GPTConfig(vocab_size=64, layers=8, heads=4, dim=32, hidden=48, context=64)
GOOD = Config(MODEL, DataConfig(seq=64), TrainConfig(global_batch=16, micro_batch=1))


def told(ranks: int, *, model=(), train=(), experts=(), seq: int = 64, **ways: object) -> list[str]:
    """All reasons, of a configuration that differs from a good one as the tables say."""
    config = dataclasses.replace(
        GOOD,
        model=dataclasses.replace(MODEL, **dict(model)),
        data=DataConfig(seq=seq),
        train=dataclasses.replace(GOOD.train, **dict(train)),
        experts=ExpertsConfig(**dict(experts)),
        parallel=ParallelConfig(**ways),
    )
    return list(refusals.reasons(config, ranks))


@pytest.mark.parametrize(
    ("ranks", "settings"),
    [
        (1, {}),
        (16, {}),
        (16, {"dp": 16}),
        (8, {"dp": 2, "shard": 2, "tp": 2}),
        (8, {"pp": 2, "cp": 2, "tp": 2}),
        (4, {"cp": 4, "attention": "all-to-all"}),
        (8, {"ep": 4, "experts": {"count": 4}}),
        (8, {"shard": 4, "ep": 8, "experts": {"count": 8, "balance": 0.1}}),
        (4, {"pp": 4, "schedule": "DualPipeV"}),
        (4, {"pp": 4, "schedule": "ZBVZeroBubble", "model": {"layers": 7}}),
        (2, {"pp": 2, "schedule": "GPipe", "train": {"micro_batch": 16}}),
        (4, {"pp": 2, "micro_batches": 8}),
        (4, {"tp": 1, "schedule": "DualPipeV"}),
    ],
)
def test_what_can_run_is_not_refused(ranks, settings):
    assert told(ranks, **settings) == []


REASONS = [
    (
        4,
        {"dp": 2},
        "dp=2 takes 2 ranks, and there are 4. Start 2, or leave out parallel.dp: then there are as "
        "many copies of the model as the ranks allow.",
    ),
    (
        2,
        {"dp": 1},
        "dp=1 takes 1 rank, and there are 2. Start 1, or leave out parallel.dp: then there are as "
        "many copies of the model as the ranks allow.",
    ),
    (
        4,
        {"tp": 3},
        "tp=3 takes 3 ranks or a multiple of them, and there are 4. Start so many, or change [parallel].",
    ),
    (
        4,
        {"shard": 4, "tp": 2},
        "shard=4 x tp=2 takes 8 ranks or a multiple of them, and there are 4. Start so many, or "
        "change [parallel].",
    ),
    (
        2,
        {"train": {"micro_batch": 16}},
        "train.global_batch=16 is not a multiple of train.micro_batch=16 x 2 ranks = 32. Change one of them.",
    ),
    (
        3,
        {"tp": 3, "model": {"hidden": 48, "vocab_size": 63}, "seq": 63},
        "model.heads=4 does not split over tp=3. Choose a tp that divides it.",
    ),
    (
        4,
        {"tp": 4, "model": {"hidden": 50}},
        "model.hidden=50 does not split over tp=4. Choose a tp that divides it.",
    ),
    (
        2,
        {"tp": 2, "model": {"vocab_size": 65}},
        "model.vocab_size=65 does not split over tp=2. Choose a tp that divides it.",
    ),
    (
        4,
        {"tp": 4, "seq": 62},
        "data.seq=62 does not split over cp x tp = 4 ranks. Choose a multiple of 4: between the split"
        " matrices each rank of tp has a part of the sequence.",
    ),
    (
        2,
        {"tp": 2, "experts": {"count": 4}},
        "tp=2 cuts MLPs, and experts are in their place. Spread the experts with ep, and set tp=1.",
    ),
    (
        2,
        {"cp": 2, "seq": 62},
        "data.seq=62 does not split into 2 x cp = 4 pieces, of which each rank has an early and a "
        "late one. Choose a multiple of 4.",
    ),
    (
        8,
        {"cp": 8, "attention": "all-to-all"},
        "4 heads of a rank do not split over cp=8, and attention='all-to-all' deals out heads. Choose"
        " a cp that divides them, or attention='ring'.",
    ),
    (
        2,
        {"experts": {"count": 1}},
        "experts.top_k=2 is more than experts.count=1. Choose a smaller top_k.",
    ),
    (
        2,
        {"experts": {"count": 8, "top_k": 5}},
        "model.hidden=48 does not split over the experts.top_k=5 experts that a token meets. Choose a"
        " top_k that divides it.",
    ),
    (
        2,
        {"ep": 2},
        "ep=2 spreads experts over ranks, and this model has none. Set experts.count, or ep=1.",
    ),
    (
        2,
        {"ep": 2, "experts": {"count": 3}},
        "experts.count=3 does not split over ep=2. Choose an ep that divides it.",
    ),
    (
        2,
        {"ep": 4, "experts": {"count": 4}},
        "ep=4 does not divide dp x shard = 2, the ranks that experts are spread over. Choose an ep "
        "that does.",
    ),
    (
        4,
        {"pp": 4, "model": {"layers": 2}},
        "model.layers=2 is too few for the 4 stages of pp=4 with schedule='1F1B'. Take at least 3 "
        "layers, or a smaller pp.",
    ),
    (
        4,
        {"pp": 4, "schedule": "LoopedBFS", "model": {"layers": 6}},
        "model.layers=6 is too few for the 8 stages of pp=4 with schedule='LoopedBFS'. Take at least "
        "7 layers, or a smaller pp.",
    ),
    (
        2,
        {"pp": 2, "experts": {"count": 2, "balance": 0.1}},
        "experts.balance adds a loss in every layer, and a pipeline has its loss on the last stage "
        "only. Set experts.balance=0, or pp=1.",
    ),
    (
        4,
        {"pp": 2, "micro_batches": 4},
        "parallel.micro_batches=4, and a step has 8: train.global_batch over train.micro_batch x dp x"
        " shard. Set it to 8, or leave it out.",
    ),
    (
        4,
        {"pp": 4, "train": {"micro_batch": 8}},
        "schedule='1F1B' needs at least 4 micro-batches, and a step has 2. Choose a smaller "
        "train.micro_batch, or a larger train.global_batch.",
    ),
    (
        4,
        {"pp": 4, "schedule": "DualPipeV", "train": {"micro_batch": 4}},
        "schedule='DualPipeV' needs at least 8 micro-batches, and a step has 4. Choose a smaller "
        "train.micro_batch, or a larger train.global_batch.",
    ),
    (
        4,
        {"pp": 4, "schedule": "Interleaved1F1B", "train": {"global_batch": 9}},
        "schedule='Interleaved1F1B' works through 9 micro-batches in 2 rounds, which must be equal. "
        "Choose a multiple of pp=4.",
    ),
]


@pytest.mark.parametrize(("ranks", "settings", "says"), REASONS)
def test_a_reason_is_told_in_these_words(ranks, settings, says):
    assert says in told(ranks, **settings)


def test_every_reason_is_told_and_the_first_one_is_raised():
    config = dataclasses.replace(
        GOOD, parallel=ParallelConfig(tp=8), train=TrainConfig(global_batch=3, micro_batch=2)
    )
    reasons = list(refusals.reasons(config, 8))
    assert len(reasons) == 2 and reasons[0].startswith("train.global_batch=3")
    with pytest.raises(CourseError) as caught:
        refusals.settled(config, 8)
    assert str(caught.value) == reasons[0]


def test_the_example_runs_on_four_ranks_and_on_more():
    config = load(Path(__file__).parents[2] / "data" / "four-ranks.toml")
    assert refusals.settled(config, 4) == dataclasses.replace(config.parallel, dp=1)
    assert list(refusals.reasons(config, 2)) and not list(refusals.reasons(config, 4))


def test_copies_are_as_many_as_the_ranks_allow():
    ways = refusals.settled(dataclasses.replace(GOOD, parallel=ParallelConfig(tp=2, pp=2)), 16)
    assert (ways.dp, ways.tp, ways.pp) == (4, 2, 2)
    assert refusals.settled(GOOD, 1).dp == 1


def test_only_the_standard_library_is_needed():
    """A node without PyTorch, and a browser, can tell why a plan cannot be trained."""
    tree = ast.parse(Path(refusals.__file__).read_text("utf-8"))
    typing_only = {
        id(node) for branch in tree.body if isinstance(branch, ast.If) for node in ast.walk(branch)
    }
    found = [node for node in ast.walk(tree) if id(node) not in typing_only]
    names = {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in found if isinstance(node, ast.ImportFrom) and not node.level}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    own = {node.module for node in found if isinstance(node, ast.ImportFrom) and node.level}
    assert own == {"errors", "words"}

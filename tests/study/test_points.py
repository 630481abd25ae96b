"""What a study runs: each point once, the baseline shared, and only what is said changes between points."""

import dataclasses
import re

import pytest

from scaleup.config import Config, ParallelConfig, TrainConfig, load
from scaleup.errors import CourseError
from scaleup.study.points import Plan, held_fixed, parse_nodes, write_inputs

CONFIG = Config(train=TrainConfig(global_batch=16, micro_batch=2))


def plan(**changes) -> Plan:
    usual = {"config": CONFIG, "machine": "practice", "devices": 2, "nodes": (1, 2, 4), "modes": ("strong",),
             "repeats": 3, "steps": 8, "left_out": 2}  # fmt: skip
    return Plan(**(usual | changes))


def batches(made: Plan) -> list[tuple[int, int, tuple[str, ...]]]:
    return [(point.nodes, point.batch, point.modes) for point in made.points()]


def test_strong_keeps_the_batch_weak_grows_it_and_both_share_the_baseline():
    both = ("strong", "weak")
    assert batches(plan()) == [(1, 16, ("strong",)), (2, 16, ("strong",)), (4, 16, ("strong",))]
    assert batches(plan(modes=both)) == [
        (1, 16, both), (2, 16, ("strong",)), (4, 16, ("strong",)), (2, 32, ("weak",)), (4, 64, ("weak",)),
    ]  # fmt: skip
    assert batches(plan(nodes=(4, 2), modes=("weak",))) == [(2, 16, ("weak",)), (4, 32, ("weak",))]


def test_repeats_go_round_so_that_what_drifts_meets_all_points():
    keys = [run.key for run in plan(repeats=2).runs()]
    assert keys == ["n1-b16-r1", "n2-b16-r1", "n4-b16-r1", "n1-b16-r2", "n2-b16-r2", "n4-b16-r2"]
    assert [point.ranks for point in plan().points()] == [2, 4, 8]


def test_a_points_configuration_differs_only_in_what_a_measurement_needs(tmp_path):
    made = plan(modes=("weak",))
    for run in made.runs():
        file = write_inputs(run, "study-ab12", tmp_path)
        read = load(file)
        assert read.out == f"study-ab12-{run.key}"
        assert (read.train.steps, read.train.log_every, read.checkpoint.every) == (10, 1, 0)
        assert read.train.global_batch == run.point.batch
        free = {"steps": 0, "global_batch": 0, "validate_every": 0, "log_every": 0}
        assert dataclasses.replace(read.train, **free) == dataclasses.replace(CONFIG.train, **free)
        assert (read.model, read.data, read.parallel) == (CONFIG.model, CONFIG.data, CONFIG.parallel)


def test_an_odd_configuration_survives_the_way_through_toml(tmp_path):
    ways = ParallelConfig(shard=2, pp=2)
    odd = dataclasses.replace(CONFIG, parallel=ways, model=dataclasses.replace(CONFIG.model, layers=6))
    made = plan(config=odd, nodes=(2, 4))
    assert load(write_inputs(made.runs()[0], "s", tmp_path)).parallel == ways


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"nodes": ()}, "different whole numbers"),
        ({"nodes": (1, 1)}, "different whole numbers"),
        ({"nodes": (0, 1)}, "different whole numbers"),
        ({"nodes": (2,)}, "One number of nodes shows no scaling"),
        ({"repeats": 0}, "--repeats is 0"),
        ({"steps": 2}, "--steps is 2"),
        ({"left_out": 0}, "--warmup is 0"),
        ({"nodes": (1, 3)}, "On 3 nodes this cannot run"),
        ({"nodes": (1, 16)}, "On 16 nodes this cannot run"),
        ({"nodes": (3, 4), "modes": ("weak",), "config": dataclasses.replace(
            CONFIG, train=TrainConfig(global_batch=2, micro_batch=1))}, "no whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_before_a_job_is_submitted(changes, said):
    with pytest.raises(CourseError, match=re.escape(said)):
        plan(**changes)


@pytest.mark.parametrize("text", ["", "1,,2", "1;2", "one", "1.5,2"])
def test_nodes_are_whole_numbers_with_commas(text):
    with pytest.raises(CourseError, match="Write whole numbers with commas"):
        parse_nodes(text)
    assert parse_nodes("1, 2,4") == (1, 2, 4)


def test_what_was_held_fixed_is_said_for_each_mode():
    said = held_fixed(plan(modes=("strong", "weak")))
    assert said["strong"][0].startswith("global batch 16")
    assert said["weak"][0].startswith("8 sequences a rank")
    assert "copies only" in " ".join(said["weak"]) and "2 ranks a node" in " ".join(said["weak"])

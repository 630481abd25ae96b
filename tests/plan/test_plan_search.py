"""scaleup.plan.search: the best layout, why others lose, and the questions that a budget asks."""

import dataclasses
import itertools
import re

import pytest

from scaleup.errors import CourseError
from scaleup.plan import __main__, accelerators, node_counts, search
from scaleup.plan.layout import Layout, Machine
from scaleup.plan.memory import GIB, RESERVED_BYTES, fits_well, memory
from scaleup.plan.planner import Bill, predict_run
from scaleup.plan.search import Task
from scaleup.plan.shapes import KNOWN

NODE = Machine(accelerators.ACCELERATORS["H100"], 8, 400e9, "test")


def task(name="llama-3-8b", seq=4096, batch=256, machine=NODE) -> Task:
    return Task(KNOWN[name], seq, batch, machine)


def every_layout(t: Task, devices: int) -> list[Layout]:
    """All layouts of a few devices, by brute force."""
    found = []
    for tp in (1, 2, 4, 8):
        for pp in (1, 2, 4, 8):
            if devices % (tp * pp):
                continue
            for vp in (1, 2, 4, 8, 16) if pp > 1 else (1,):
                for micro in search.MICRO_BATCHES:
                    for zero in (0, 1, 2, 3) if pp == 1 else (0, 1):
                        for mode in ("none", "selective", "full"):
                            dp = devices // tp // pp
                            layout = Layout(dp, tp, pp, 1, 1, vp, zero, micro, mode)
                            run = t.run(layout)
                            uneven = t.global_batch % (dp * micro) or vp > 1 and run.micro_batches % pp
                            if not uneven and not run.problem() and fits_well(run):
                                found.append(layout)
    return found


def test_no_layout_by_brute_force_is_faster_than_the_best_that_is_found():
    t = task(batch=64)
    fastest = min(predict_run(t.run(layout)).step.total for layout in every_layout(t, 8))
    assert search.search(t, 8).best.step.total <= fastest


def test_what_is_found_runs_fits_and_is_ranked():
    found = search.search(task("llama-3-70b", 8192, 512), 64, keep=8)
    assert len(found.plans) == 8
    times = [p.step.total for p in found.plans]
    assert times == sorted(times)
    for p in found.plans:
        assert p.run.problem() is None and fits_well(p.run) and p.run.layout.devices == 64
        assert p.run.global_batch % (p.run.layout.dp * p.run.layout.micro_batch) == 0


def test_every_layout_that_is_weighed_is_accounted_for():
    found = search.search(task(), 16, keep=5)
    assert found.weighed == 5 + sum(found.lost.values())
    equal = found.lost.get("just as fast as one before", 0)
    assert found.feasible == 5 + equal + found.lost["slower"]
    assert len({p.step.total for p in found.plans}) == 5


def test_the_same_task_gives_the_same_answer():
    assert search.search(task(), 32).plans == search.search(task(), 32).plans


def test_experts_are_spread_out_when_they_do_not_fit_together():
    best = search.search(task("qwen3-30b-a3b"), 16).best
    assert best.run.layout.ep > 1 or best.run.layout.zero == 3


def test_a_model_that_fits_nowhere_is_refused_with_the_reason():
    with pytest.raises(CourseError, match="out of memory.*Take more devices") as refused:
        search.search(task("llama-3-405b"), 8).best  # noqa: B018
    leanest = min((memory(task("llama-3-405b").run(w)).total, str(w)) for w in some_layouts(8))
    needs, more = (float(n.replace(",", "")) for n in re.findall(r"([\d,.]+) GiB", str(refused.value)))
    assert needs == pytest.approx(leanest[0] / GIB, abs=0.06) and leanest[1] in str(refused.value)
    assert more == pytest.approx(needs - (NODE.accelerator.memory_bytes - RESERVED_BYTES) / GIB, abs=0.11)


def some_layouts(devices: int) -> list[Layout]:
    """Layouts with the smallest micro-batch and one chunk: none of the others needs less memory."""
    found = []
    for tp, pp, cp in itertools.product((1, 2, 4, 8), (1, 2, 4), (1, 2, 4)):
        if devices % (tp * pp * cp) == 0 and (126 % pp == 0 or 128 % pp == 0):
            dp = devices // (tp * pp * cp)
            zeros = (0, 1, 2, 3) if pp == 1 else (0, 1)
            found += [
                Layout(dp, tp, pp, cp, zero=zero, recompute="full")
                for zero in zeros
                if dp * cp > 1 or not zero
            ]
    return found


def test_the_asked_batch_is_kept_where_it_splits_and_fits():
    found = search.search(task(batch=250), 8)
    assert {p.run.global_batch for p in found.plans} == {250}


@pytest.mark.parametrize("devices", [*range(1, 130), 999, 1000, 1155, 4 * 997])
def test_another_batch_is_the_nearest_that_splits_or_close_and_faster(devices):
    t = task("llama-3.2-1b", batch=256)
    best = search.search(t, devices, keep=1).best
    batch = best.run.global_batch
    assert batch % (best.run.layout.dp * best.run.layout.micro_batch) == 0
    assert best.run.problem() is None and fits_well(best.run) and best.run.layout.devices == devices
    if batch == 256:
        return
    assert not search.weigh(t, devices).plans
    replicas = {dp for dp, *_ in search.splits(dataclasses.replace(t, global_batch=0), devices)}
    least_off = min(abs(search.nearest(256, dp) - 256) for dp in replicas)
    assert abs(batch - 256) <= max(32, least_off)
    rates = {}
    for other in range(224, 289):
        plans = search.weigh(dataclasses.replace(t, global_batch=other), devices, keep=1).plans
        if plans:
            rates[other] = plans[0].step.total / other * (1 + abs(other / 256 - 1))
    if rates:  # of all close batches, not of those alone that the search tried
        assert best.step.total / batch * (1 + abs(batch / 256 - 1)) < 1.03 * min(rates.values())


def test_a_layout_that_is_given_gets_whole_micro_batches():
    assert search.whole_batch(task(batch=256), Layout(dp=6, micro_batch=2)).global_batch == 252
    assert search.whole_batch(task(batch=256), Layout(dp=3, pp=4, vp=2)).global_batch == 252
    assert search.whole_batch(task(batch=4), Layout(dp=6)).global_batch == 6
    with pytest.raises(CourseError, match="at least 1,000,000,000,000 sequences"):
        search.whole_batch(task(), Layout(dp=10**6, micro_batch=10**6))


def test_a_slower_plan_says_what_costs_it():
    t = task("llama-3-70b", 4096, 64)
    best = predict_run(t.run(Layout(1, 8, 8, vp=10)))
    assert "more bubble" in search.why_slower(best, predict_run(t.run(Layout(1, 8, 8))))
    assert "recompute" in search.why_slower(
        best, predict_run(t.run(Layout(1, 8, 8, vp=10, recompute="full")))
    )
    assert search.why_slower(best, best) == "as fast"


def test_scaling_leaves_out_what_does_not_fit():
    plans = search.scaling(task("llama-3-70b", batch=512), [1, 2, 4, 8])
    nodes = [p.nodes for p in plans]
    assert nodes and nodes[0] > 1 and nodes == sorted(nodes)
    with pytest.raises(CourseError, match="No layout fits on 16 devices.*more than it has"):
        search.scaling(task("llama-3-405b", batch=512), [1, 2])


def test_nodes_stop_paying():
    plans = search.scaling(task(batch=256), [1, 2, 4, 8, 16, 32])
    some = search.nodes_that_pay(plans, efficiency=0.92)
    assert some.tokens_per_s_per_device >= 0.92 * plans[0].tokens_per_s_per_device
    assert search.nodes_that_pay(plans, efficiency=0.1).nodes == 32 > some.nodes


def test_the_cheapest_plan_within_a_deadline_takes_the_fewest_node_hours():
    counts = node_counts.Counts(task(), 1e10, 4, Bill("node-hour", 1))
    slow = node_counts.cheapest(counts, 1e6)
    assert slow.nodes == 1
    soon = node_counts.cheapest(counts, slow.hours * 0.6)
    assert soon.nodes > 1 and soon.hours <= slow.hours * 0.6 and soon.node_hours >= slow.node_hours
    with pytest.raises(CourseError, match="the fastest, on 4 of at most 4 nodes"):
        node_counts.cheapest(counts, 0.001)


def test_the_largest_model_within_some_hours():
    shapes = [KNOWN["gpt2-xl"], KNOWN["llama-3-8b"], KNOWN["llama-3-70b"]]
    few = search.largest_model(shapes, 1000, 20, 4, seq=2048, global_batch=512, machine=NODE)
    assert few.run.shape is KNOWN["llama-3-8b"]
    assert few.tokens == 20 * KNOWN["llama-3-8b"].parameters and few.node_hours <= 1000
    with pytest.raises(CourseError, match="The smallest needs .* or add smaller ones"):
        search.largest_model(shapes, 0.01, 20, 4, seq=2048, global_batch=512, machine=NODE)


@pytest.mark.parametrize("devices", [0, -8, 10**9])
def test_an_impossible_number_of_devices_is_refused(devices):
    with pytest.raises(CourseError, match="impossible"):
        search.search(task(), devices)


def test_the_timing_prints_what_it_weighed(capsys, monkeypatch):
    monkeypatch.setattr(search, "WEIGHED_AT_MOST", 2000)
    __main__.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("layouts weighed" in line and "s of one core" in line for line in lines)

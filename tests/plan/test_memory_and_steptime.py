"""scaleup.plan: memory, collectives, pipeline and step time: what must hold whatever was fitted."""

import dataclasses
import json
import random
import subprocess
import sys

import pytest
import torch

from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.plan import (
    Layout,
    Machine,
    Run,
    Shape,
    accelerators,
    collectives,
    pipeline,
    predict_run,
)
from scaleup.plan.layout import SOFTWARE
from scaleup.plan.memory import GIB, fits, layer_activations, memory
from scaleup.plan.planner import Bill, arithmetic, as_dict
from scaleup.plan.shapes import KNOWN
from scaleup.plan.steptime import aligned, step_time

NODE = Machine(accelerators.ACCELERATORS["A100"], 4, 50e9, "test")


def run(shape="llama-3-8b", seq=4096, batch=512, machine=NODE, software="megatron", bits=16, **layout) -> Run:
    shape = KNOWN[shape] if isinstance(shape, str) else shape
    return Run(shape, seq, batch, Layout(**{"dp": 4} | layout), machine, SOFTWARE[software], bits)


def seconds(**changes) -> float:
    return step_time(run(**changes)).total


# Memory.


def test_mixed_precision_takes_eighteen_bytes_a_parameter():
    used = memory(run(dp=1, zero=0))
    assert used.states == pytest.approx(18 * KNOWN["llama-3-8b"].parameters)


@pytest.mark.parametrize(("zero", "shared"), [(0, 0), (1, 12), (2, 16), (3, 16)])
def test_zero_shares_out_more_with_each_stage(zero, shared):
    """Bytes per parameter that are divided by dp; with ZeRO 3 the weights are kept in 32 bit, in shards."""
    count = KNOWN["llama-3-8b"].parameters
    whole = 0 if zero == 3 else 18 - shared
    assert memory(run(dp=8, zero=zero)).states == pytest.approx(count * (whole + shared / 8))


def test_tensor_and_pipeline_parallelism_split_the_weights():
    one = memory(run(dp=1)).weights
    assert memory(run(dp=1, tp=4)).weights == pytest.approx(one / 4)
    split = memory(run("llama-2-70b", dp=1, pp=8)).weights
    assert one and split < memory(run("llama-2-70b", dp=1)).weights / 6


def test_recompute_keeps_one_input_per_layer():
    none, full = memory(run(recompute="none")), memory(run(recompute="full"))
    assert full.activations < none.activations / 10
    inputs = 2 * 4096 * 4096 * 32  # bytes x tokens x width x layers
    assert full.activations == pytest.approx(inputs + layer_activations(run()), rel=1e-6)


def test_the_first_stage_keeps_a_micro_batch_for_every_stage_behind_it():
    layout = Layout(pp=8, dp=1)
    assert pipeline.in_flight(layout, 64) == 8
    assert pipeline.in_flight(layout, 3) == 3
    assert pipeline.in_flight(dataclasses.replace(layout, vp=2), 64) == pytest.approx(8 * (1 + 7 / 16))


def test_a_device_sold_as_80_gb_holds_80_gib():
    assert accelerators.find("A100-80GB SXM").memory_bytes == 80 * GIB
    assert accelerators.find("A100-40GB SXM").memory_bytes == 40 * GIB
    assert not fits(run("llama-3-70b", dp=8, zero=0))
    assert fits(run(dp=8, zero=3))


def test_activations_are_what_the_course_s_own_model_keeps():
    """Bytes that autograd saves for one more layer, in 32 bit, against twice the planner's 16-bit count."""

    def saved(layers: int) -> int:
        config = GPTConfig(vocab_size=64, layers=layers, heads=4, dim=256, hidden=512, context=256)
        model, tokens = GPT(config), torch.zeros(4, 256, dtype=torch.long)
        mine = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
        held = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in mine:
                held[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            next_token_loss(model(tokens), tokens)
        return sum(size for size, _ in held.values())

    shape = Shape(1, 256, 4, 512, 64)
    predicted = layer_activations(run(shape, software="fsdp", seq=256, batch=4, dp=1, micro_batch=4))
    assert saved(3) - saved(2) == pytest.approx(2 * predicted, rel=0.15)


# Collectives.


def test_a_ring_passes_all_but_one_part():
    """Inside a node: (n - 1) / n of the data over the link of a device, and a few hops."""
    link = NODE.accelerator.link_bytes_s * NODE.accelerator.efficiency.link
    assert collectives.gather(NODE, 4, 1, 1e9) == pytest.approx(0.75e9 / link, rel=0.02)
    assert collectives.all_reduce(NODE, 4, 1, 1e9) == 2 * collectives.gather(NODE, 4, 1, 1e9)
    assert collectives.gather(NODE, 1, 1, 1e9) == 0


def test_between_nodes_the_network_is_shared_by_the_rings():
    """Four ranks per node in one ring have the node's whole network; one rank per node has a quarter."""
    network = NODE.network_bytes_s * NODE.accelerator.efficiency.network
    assert collectives.bandwidth(NODE, 16, 1) == pytest.approx(network)
    assert collectives.bandwidth(NODE, 16, 4) == pytest.approx(network / 4)


def test_what_overlaps_costs_at_least_the_longer_one():
    assert collectives.overlap(3, 1) == collectives.overlap(1, 3)
    assert 3 < collectives.overlap(3, 1) < 4
    assert collectives.overlap(3, 0) == 3


# Pipeline.


def test_the_bubble_is_that_of_narayanan():
    assert pipeline.bubble(Layout(pp=8), 8) == pytest.approx(7 / 15)
    assert pipeline.bubble(Layout(pp=8, vp=7), 8) == pytest.approx(1 / 9)
    assert pipeline.bubble(Layout(pp=1), 8) == 0


@pytest.mark.parametrize(("stages", "micro_batches"), [(4, 8), (8, 16), (4, 2), (1, 3), (3, 1)])
def test_a_schedule_takes_the_slots_of_its_bubble_and_keeps_what_is_in_flight(stages, micro_batches):
    work, layout = pipeline.schedule(stages, micro_batches), Layout(pp=stages)
    assert max(lane[-1].end for lane in work) == 3 * pipeline.slots(layout, micro_batches)
    kept = most = 0
    for each in work[0]:
        kept += 1 if each.forward else -1
        most = max(most, kept)
    assert most == pipeline.in_flight(layout, micro_batches)


def test_no_stage_works_twice_at_once_or_before_its_neighbour():
    work = pipeline.schedule(4, 8)
    ends = [{each[2:]: each.end for each in lane} for lane in work]
    for stage, lane in enumerate(work):
        assert sorted(each[2:] for each in lane) == sorted((n, f) for n in range(8) for f in (True, False))
        for one, other in zip(lane, lane[1:], strict=False):
            assert one.end <= other.start
        for each in lane:
            before = stage - 1 if each.forward else stage + 1
            if 0 <= before < 4:
                assert each.start >= ends[before][each[2:]]


@pytest.mark.parametrize(
    ("layers", "pp", "stages"),
    [(70, 12, (5, 6, 5)), (72, 12, (6, 6, 6)), (32, 1, (32, 32, 32)), (7, 2, (3, 4, 3))],
)
def test_layers_are_dealt_out_to_stages(layers, pp, stages):
    assert pipeline.layers_of_stages(layers, pp) == stages


# Step time.


def test_twice_the_batch_is_twice_the_pipeline_s_time():
    one, two = step_time(run(batch=512)), step_time(run(batch=1024))
    assert two.pipeline == pytest.approx(2 * one.pipeline)


def test_one_device_is_never_faster_than_its_peak():
    for name in ("llama-3-8b", "gpt3-175b", "mixtral-8x7b"):
        for machine in (NODE, Machine(accelerators.ACCELERATORS["MI250X"], 8, 100e9)):
            assert 0 < predict_run(run(name, machine=machine)).mfu < 0.8


def test_8_bit_is_faster_where_the_device_has_it():
    h100 = Machine(accelerators.ACCELERATORS["H100"], 8, 400e9)
    assert 0.5 < seconds(machine=h100, bits=8) / seconds(machine=h100) < 0.9
    assert seconds(bits=8) == seconds(bits=16)


def test_full_recompute_costs_about_a_forward_pass():
    assert 1.2 < seconds(recompute="full", dp=1) / seconds(recompute="none", dp=1) < 1.4


def test_widths_that_are_no_multiple_of_a_tile_are_slow():
    assert aligned(1792) == 1 > aligned(1800) > aligned(1802) > aligned(1801) - 1e-9
    assert seconds(shape="mpt-7b", software="llm-foundry") > 0


def test_tensor_parallelism_over_two_nodes_is_slower_than_within_one():
    within, over = (step_time(run("llama-3-70b", dp=1, tp=tp)).layer.tensor for tp in (4, 8))
    assert over > 2 * within


def test_more_replicas_are_never_faster_per_device():
    rates = [predict_run(run(dp=dp, batch=4096)).tokens_per_s_per_device for dp in (4, 16, 64, 256)]
    assert rates == sorted(rates, reverse=True)


def test_chunks_make_the_bubble_smaller():
    assert seconds(shape="llama-2-70b", dp=1, pp=8, vp=5, batch=16) < seconds(
        shape="llama-2-70b", dp=1, pp=8, batch=16
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tp": 3}, "32 heads do not split over tp=3"),
        ({"pp": 64}, "32 layers are fewer than pp x vp = 64"),
        ({"pp": 2, "vp": 3}, "do not split into pp x vp = 6"),
        ({"ep": 2}, "needs a mixture of experts"),
        ({"batch": 2}, "leaves some of dp=4 replicas"),
        ({"seq": 0}, "at least one token"),
    ],
)
def test_a_layout_that_cannot_run_is_refused_in_a_sentence(changes, says):
    with pytest.raises(CourseError, match=says):
        predict_run(run(**changes))


@pytest.mark.parametrize(
    "changes", [{"dp": 0}, {"tp": -1}, {"zero": 4}, {"recompute": "some"}, {"pp": 10**9}]
)
def test_an_impossible_layout_is_refused_in_a_sentence(changes):
    with pytest.raises(CourseError):
        Layout(**changes)


def test_whatever_is_asked_gets_a_plan_or_a_sentence():
    draw = random.Random(1)
    odd = [0, -1, 1, 2, 3, 7, 64, 4096, 10**9, 10**30, 0.5, 2.0, float("nan"), "8", "", None, True]

    def some(usual):
        return usual if draw.random() < 0.85 else draw.choice(odd)

    planned = 0
    for _ in range(3000):
        try:
            shape = Shape(*(some(n) for n in (4, 256, 8, 512, 1000)), kv_heads=some(8), experts=some(0))
            layout = Layout(**{way: some(1) for way in ("dp", "tp", "pp", "cp", "ep", "vp", "micro_batch")})
            machine = Machine(NODE.accelerator, some(4), some(50e9))
            p = predict_run(Run(shape, some(1024), some(64), layout, machine), some(1e9), price=some(1.0))
            assert 0 < p.step.total < float("inf") and arithmetic(p) and as_dict(p)
            planned += 1
        except CourseError as error:
            assert str(error).endswith(".")
    assert planned > 100


def test_an_unknown_device_is_refused_with_those_that_exist():
    with pytest.raises(CourseError, match="H100"):
        accelerators.find("TPU v5")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("8xA100 80GB", "A100"),
        ("GH200-96GB", "GH200"),
        ("NVIDIA H200 141 GB", "H200"),
        ("one die (GCD) of an AMD MI250X", "MI250X"),
        ("MI250 (1 GCD, 64GB)", "MI250X"),
        ("V100 (16/32GB) NVLink 4-GPU nodes", "V100"),
    ],
)
def test_a_table_s_words_mean_a_device(words, name):
    assert accelerators.find(words).name == name


# The plan.


def test_a_plan_counts_hours_units_energy_and_money():
    p = predict_run(run(dp=8, batch=512), tokens=1e9, bill=Bill("core-hour", 32), price=0.5)
    assert p.steps == pytest.approx(1e9 / (512 * 4096))
    assert p.hours == pytest.approx(p.steps * p.step.total / 3600)
    assert p.nodes == 2
    assert p.node_hours == 2 * p.hours
    assert p.units == 32 * p.node_hours
    assert p.cost == p.units / 2
    assert p.kwh == pytest.approx(8 * 0.4 * p.hours)


def test_the_parts_of_a_step_add_up():
    step = predict_run(run("llama-3-70b", dp=4, tp=4, pp=4)).step
    assert step.total == pytest.approx(step.pipeline + step.data + step.optimizer + step.straggler)
    assert step.pipeline == pytest.approx(step.slot * step.slots)


def test_every_number_is_unfolded_and_becomes_json():
    p = predict_run(run("mixtral-8x7b", ep=4), tokens=1e9, bill=Bill("node-hour", 1), price=2)
    lines = [line for group in arithmetic(p).values() for line in group]
    assert all(what and value and how for what, value, how in lines)
    assert {"memory", "slot", "step", "MFU", "bill", "price"} <= {what for what, *_ in lines}
    numbers = json.loads(json.dumps(as_dict(p)))
    assert numbers["step_s"] == p.step.total and numbers["fits"] == p.fits


@pytest.mark.processes
def test_the_core_needs_nothing_but_the_standard_library():
    """What a browser loads: no package that is installed beside Python may be imported on the way."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import scaleup.plan, scaleup.plan.search, scaleup.plan.given_machine\n"
        "import scaleup.plan.evidence.predict_table\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['scaleup']"

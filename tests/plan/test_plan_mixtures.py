"""Mixtures of experts, LoRA, hybrid sharding and uneven stages: what follows from their arithmetic."""

import dataclasses

import pytest

from scaleup.errors import CourseError
from scaleup.plan import Layout, Machine, Run, Shape, accelerators, collectives
from scaleup.plan.layout import SOFTWARE
from scaleup.plan.memory import fits, memory
from scaleup.plan.shapes import KNOWN
from scaleup.plan.steptime import (
    BYTES,
    Pass,
    dense_products,
    expert_products,
    layer_time,
    routed_tokens,
    step_time,
    tokens_per_s_per_device,
    trained_share,
)

H100 = Machine(accelerators.ACCELERATORS["H100"], 8, 400e9, "test")
QWEN = KNOWN["qwen3-30b-a3b"]


def run(shape=QWEN, batch=512, machine=H100, software="megatron", adapters=0, **layout) -> Run:
    layout = Layout(**{"dp": 8} | layout)
    return Run(shape, 4096, batch, layout, machine, SOFTWARE[software], adapters=adapters)


# Sizes. The numbers of parameters are those of the released weights; DeepSeek's without its routers' biases.


def test_published_mixtures_have_their_parameters():
    assert KNOWN["deepseek-v3"].parameters == 671_026_419_200 - 58 * 256
    assert KNOWN["gpt-oss-20b"].parameters == 20_914_757_184
    assert KNOWN["gpt-oss-120b"].parameters == 116_829_156_672
    assert KNOWN["deepseek-v3"].active_parameters == pytest.approx(37.5e9, rel=0.01)


def test_a_module_for_a_further_token_is_a_layer_that_joins_two_streams():
    one = dataclasses.replace(KNOWN["deepseek-v3"], mtp=1)
    more = one.parameters - KNOWN["deepseek-v3"].parameters
    assert more == one.layer_parameters + 2 * 7168**2 + 3 * 7168


@pytest.mark.parametrize(
    "sizes",
    [{"shared_ffn": 64}, {"dense_layers": 1}, {"q_rank": 8}, {"kv_rank": 8}, {"windowed": 3, "window": 4}],
)
def test_sizes_that_do_not_belong_together_are_refused(sizes):
    with pytest.raises(CourseError):
        Shape(2, 64, 4, 128, 100, **sizes)


# What travels between tokens and experts.


def test_tensor_parallel_ranks_share_the_tokens_out():
    """Each sends its part of the sequence: together they send each token once, and not tp times."""
    whole, cut = run(dp=8, ep=8), run(dp=4, tp=2, ep=8)
    assert routed_tokens(cut) * 2 == routed_tokens(whole)


def test_tp_does_not_multiply_the_traffic_of_experts():
    """The case of a public report: tp 8 x ep 2 of LUMI's devices took 1,055 s a step for a billion tokens."""
    lumi = Machine(accelerators.ACCELERATORS["MI250X"], 8, 100e9, "LUMI-G")
    narrow = layer_time(run(machine=lumi, dp=2, tp=8, ep=2, batch=16))
    wide = layer_time(run(machine=lumi, dp=16, tp=1, ep=16, batch=16))
    assert narrow.experts < 1.5 * wide.experts


def test_a_token_crosses_the_network_once_for_each_node():
    """Two nodes, eight experts a token: half of eight copies, or one copy in nearly all cases."""
    data = 8e6
    naive = collectives.all_to_all(H100, 16, 1, data)
    shared = collectives.all_to_all(H100, 16, 1, data, copies=8)
    share = 400e9 / 8 * accelerators.ACCELERATORS["H100"].efficiency.network
    link = 450e9 * accelerators.ACCELERATORS["H100"].efficiency.link
    hop = collectives.HOP_S * 16
    assert naive == pytest.approx(data * 7 / 16 / link + data / 2 / share + hop)
    once = data / 8 * (1 - 0.5**8)
    direct = 0.9 * 450e9, 0.9 * 400e9 / 8
    assert shared == pytest.approx(max(data * 7 / 8 / direct[0], once / direct[1]) + hop)


def test_routing_to_few_groups_keeps_tokens_from_other_nodes():
    sizes = [collectives.all_to_all(H100, 64, 1, 1e9, 8, most) for most in (0, 4, 2, 1)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[1] > sizes[2]


# Products.


def test_few_tokens_for_each_expert_waste_a_grouped_kernel():
    """Twice the experts, the same work: each has half of the tokens, and its last tile is half empty."""
    few = expert_products(run(dp=1, batch=8))
    twice = dataclasses.replace(QWEN, experts=256)
    many = expert_products(run(shape=twice, dp=1, batch=8))
    assert many.forward > 1.1 * few.forward


def test_passes_add_up():
    assert Pass(1, 2) + Pass(3, 4) == (4, 6) and Pass(1, 2).times(3) == (3, 6)


def test_experts_of_a_group_are_held_once():
    assert memory(run(ep=8)).weights < memory(run(ep=1)).weights / 4
    assert memory(run(dp=4, tp=2, ep=8)).weights == pytest.approx(memory(run(ep=8)).weights, rel=0.15)


# Adapters.


def test_frozen_weights_need_no_gradients():
    """One of three products is left out: two thirds of the time, and a little for the adapters."""
    llama = KNOWN["llama-3-70b"]
    full, lora = run(llama, tp=8), run(llama, tp=8, adapters=16)
    assert dense_products(lora).backward < 0.65 * dense_products(full).backward
    assert 0.65 < step_time(lora).total / step_time(full).total < 0.85
    assert trained_share(full) == 1.0 and 0.001 < trained_share(lora) < 0.01


def test_states_of_adapters_are_small():
    llama = KNOWN["llama-3-70b"]
    held, lora = memory(run(llama, tp=8)), memory(run(llama, tp=8, adapters=16))
    assert lora.weights == held.weights
    assert lora.gradients + lora.optimizer < 0.01 * (held.gradients + held.optimizer)


# Sharding inside a node.


SLOW = Machine(accelerators.ACCELERATORS["A100"], 4, 50e9, "test")


def sharded(shards: int, devices: int = 256) -> Run:
    return run(KNOWN["llama-3-8b"], machine=SLOW, software="fsdp", dp=devices, zero=3, shards=shards)


def test_hybrid_sharding_holds_more_and_gathers_inside_a_node():
    hybrid, full = sharded(4), sharded(0)
    assert memory(hybrid).states == pytest.approx(64 * memory(full).states)
    assert layer_time(hybrid).gather < layer_time(full).gather
    assert layer_time(sharded(4, 4)).gather == layer_time(sharded(0, 4)).gather


def test_a_ring_over_many_nodes_grows_with_them():
    size = KNOWN["llama-3-8b"].layer_parameters * BYTES
    ring = [collectives.gather(H100, n, 1, size) for n in (64, 512)]
    hops = H100.accelerator.efficiency.hop_s * (512 - 64) / 8
    assert ring[1] - ring[0] > hops > 0


def test_shards_that_do_not_divide_the_replicas_are_refused():
    with pytest.raises(CourseError, match="does not divide the 8 replicas"):
        Layout(dp=8, shards=3)


# A published run.


def test_meta_s_layout_of_405_billion_parameters_fits_and_is_as_fast_as_told():
    """tp 8 x pp 16 x dp 128, 16 million tokens a step: 400 TFLOP/s were told (The Llama 3 Herd, table 4)."""
    layout = {"dp": 128, "tp": 8, "pp": 16, "vp": 8, "zero": 2}
    meta = Run(KNOWN["llama-3-405b"], 8192, 2048, Layout(**layout), H100, SOFTWARE["megatron"])
    assert meta.problem() is None and fits(meta)
    rate = tokens_per_s_per_device(meta, step_time(meta).total)
    told = 400e12 / 6 / 405e9
    assert rate == pytest.approx(told, rel=0.2)

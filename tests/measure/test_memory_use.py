"""Memory use against blocks placed by hand, and against tensors whose bytes are known."""

import pytest
import torch
from torch.profiler import record_function

from scaleup.errors import CourseError
from scaleup.measure import kept_for_backward, watch
from scaleup.measure.memory_use import Block, MemoryUse, Phase
from scaleup.model import GPT, GPTConfig, next_token_loss

# A model of 10 bytes, a forward pass that leaves 20 and takes 5 meanwhile, a backward pass that leaves 10.
BY_HAND = MemoryUse(
    [Block(10, 0), Block(20, 2.1, 5), Block(5, 2.5, 2.8), Block(10, 5.5), Block(7, 5.6, 5.7)],
    [Phase("model", 0, 1), Phase("forward", 2, 3), Phase("backward", 4, 6)],
)


def test_bytes_worked_by_hand():
    assert [BY_HAND.at(moment) for moment in (0, 2.2, 2.6, 3, 5, 5.65, 9)] == [10, 30, 35, 30, 10, 27, 20]
    assert (BY_HAND.before("forward"), BY_HAND.after("forward")) == (10, 30)
    assert (BY_HAND.peak(), BY_HAND.peak("backward"), BY_HAND.peak("model")) == (35, 30, 10)
    assert BY_HAND.left_by("forward") == 20
    assert BY_HAND.left_by("backward") == 10


def test_a_block_is_of_the_phase_that_it_outlives():
    kinds = {"model": "parameters", "forward": "activations", "backward": "gradients"}
    moments, series = BY_HAND.series(kinds, ("forward", "backward"))
    assert moments == pytest.approx([0.1, 0.5, 0.8, 3, 3.5, 3.6, 3.7])
    assert series == {
        "parameters": [10] * 7,
        "activations": [20, 20, 20, 0, 0, 0, 0],
        "gradients": [0, 0, 0, 0, 10, 10, 10],
        "temporary": [0, 5, 0, 0, 0, 7, 0],
    }


def test_a_phase_that_comes_again_means_its_last():
    twice = MemoryUse([Block(8, 0, 1.5), Block(4, 2.5)], [Phase("forward", 0, 1), Phase("forward", 2, 3)])
    assert twice.after("forward") == 4
    assert twice.left_by("forward") == 8


def test_a_phase_that_is_not_there_is_named():
    with pytest.raises(CourseError, match="'update'.*model, forward, backward"):
        BY_HAND.after("update")


def test_watch_sees_every_byte_of_known_tensors():
    with watch() as use:
        with record_function("make"):
            kept = torch.empty(1000)
            torch.empty(500)
        with record_function("more"):
            more = torch.empty(250)
            del kept
    assert use.left_by("make") == 4000
    assert 6000 <= use.peak("make") <= 6100
    assert use.after("more") == more.nbytes == 1000
    assert [phase.name for phase in use.phases] == ["make", "more"]


def test_what_is_kept_for_backward_is_what_the_allocator_holds():
    config = GPTConfig(vocab_size=300, layers=2, heads=2, dim=32, hidden=96, context=64)
    window = torch.randint(0, 300, (4, 65))
    with watch() as use:
        model = GPT(config)
        with record_function("forward"), kept_for_backward(model) as kept:
            loss = next_token_loss(model(window[:, :-1]), window[:, 1:])
    assert loss.requires_grad
    assert use.left_by("forward") == pytest.approx(sum(kept.values()), rel=0.01)


def test_the_models_own_tensors_are_not_kept():
    layer = torch.nn.Linear(10, 10, bias=False)
    numbers = torch.ones(3, 10, requires_grad=True)
    with kept_for_backward(layer) as kept:
        layer(numbers)
    assert kept == {numbers.untyped_storage().data_ptr(): 120}

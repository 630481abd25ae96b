"""Public reports on distributed training, each made small: parity or a refusal tells every one of them.

Those that need several ranks are variants of `tools.parity_table.BROKEN`, tested with that table.
"""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from tools.parity_table import BROKEN
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

from scaleup.config import Config, DataConfig, ParallelConfig, TrainConfig
from scaleup.errors import CourseError
from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import long_context, refusals
from scaleup.parallel.stages import stages
from scaleup.text.windows import Windows
from scaleup.train import batches, gradients

SHAPE = GPTConfig(vocab_size=64, layers=2, heads=2, dim=16, hidden=24, context=16)


@pytest.fixture
def alone():
    """A process group of this process, which starts no other."""
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("pp",))
    dist.destroy_process_group()


def model() -> GPT:
    torch.manual_seed(1)
    return GPT(SHAPE)


def test_at_least_twelve_reports_have_a_variant_or_a_test():
    here = [name for name in globals() if name.startswith("test_")]
    assert len([broken for broken in BROKEN if broken.report]) + len(here) - 1 >= 12


def test_a_mean_of_means_weighs_tokens_of_short_sequences_more():
    """huggingface/transformers#24725"""
    tokens = torch.randint(64, (2, 17))
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    targets[1, 3:] = -100  # the second sequence has three tokens, and a rank of its own

    def loss_of(net: nn.Module, rows: slice) -> torch.Tensor:
        return nn.functional.cross_entropy(net(inputs[rows]).flatten(0, 1), targets[rows].flatten())

    whole, shared = model(), model()
    loss_of(whole, slice(None)).backward()
    ((loss_of(shared, slice(0, 1)) + loss_of(shared, slice(1, 2))) / 2).backward()
    found = parity.compare(parity.snapshot(whole, None), parity.snapshot(shared, None))
    assert found.first.startswith("gradient embedding.weight") and found.largest > 0.1


def test_a_sampler_that_is_not_told_the_epoch_repeats_its_order():
    """pytorch/pytorch#31771"""
    tokens = torch.arange(8 * 4 + 1).numpy()
    sampler = DistributedSampler(Windows(tokens, 4), 2, 0, seed=1)
    order = list(sampler)
    assert list(sampler) == order
    sampler.set_epoch(1)
    assert list(sampler) != order
    config = TrainConfig(global_batch=8, micro_batch=4)
    stream = batches(Windows(tokens, 4), config, 0, 2)
    first, second = (next(stream)[0] for _ in range(2))  # an epoch has one step
    assert not torch.equal(first, second)


def test_parts_of_a_sequence_that_are_joined_in_the_order_of_ranks_are_not_the_sequence():
    """pytorch/pytorch#152261"""
    logits = model()(torch.randint(64, (1, 16)))
    order = long_context.order(16, 2)
    joined = torch.cat([logits[:, places] for places in order], dim=1)
    assert not parity.compare({"logits": logits}, {"logits": joined}).equal
    restored = joined[:, order.flatten().argsort()]
    assert parity.compare({"logits": logits}, {"logits": restored}).equal


def test_a_sequence_that_does_not_split_into_equal_chunks_is_refused():
    """jzhang38/EasyContext#47"""
    config = Config(replace(SHAPE, context=3000), DataConfig(seq=2999), parallel=ParallelConfig(cp=4))
    told = list(refusals.reasons(config, 4))
    assert any("data.seq=2999 does not split into 2 x cp = 8 pieces" in reason for reason in told)


def test_copies_by_ddp_under_a_split_backward_pass_are_refused(alone):
    """pytorch/pytorch#144530"""
    with pytest.raises(CourseError, match="DDP does not average the gradients of ZBVZeroBubble"):
        stages(model(), alone, 2, "ZBVZeroBubble", wrap=DistributedDataParallel)


def mixed(alone) -> list[nn.Parameter]:
    split = nn.Parameter(distribute_tensor(torch.ones(3), alone, [Replicate()]))
    plain = nn.Parameter(torch.ones(4))
    (2 * split.sum().full_tensor() + 3 * plain.sum()).backward()
    return [split, plain]


def test_the_norm_of_plain_and_split_gradients_together(alone):
    """meta-pytorch/torchtune#2420"""
    with pytest.raises(RuntimeError, match="mixed torch.Tensor and DTensor"):
        nn.utils.clip_grad_norm_(mixed(alone), 1.0)
    norm = gradients.clip(parameters := mixed(alone), 1.0, {})
    assert norm.item() == pytest.approx((3 * 2**2 + 4 * 3**2) ** 0.5)
    after = sum(gradients.local(p.grad).square().sum() for p in parameters)
    assert after.item() == pytest.approx(1, abs=1e-5)


def test_an_expert_without_tokens_takes_its_step_too():
    """NVIDIA-NeMo/Automodel#2995"""
    busy, idle = (nn.Parameter(torch.ones(2)) for _ in range(2))
    busy.grad = torch.ones(2)
    gradients.settle([busy, idle])
    assert torch.equal(idle.grad, torch.zeros(2))
    torch.optim.AdamW([idle], lr=0.1, weight_decay=0.5).step()
    assert (idle < 1).all(), "its weights decay as they do on one rank"


def test_a_loss_of_all_tokens_is_the_same_in_any_pieces():
    """The course's loss adds up and divides once: what test_a_mean_of_means shows is not in it."""
    logits, targets = torch.randn(3, 700, 5), torch.randint(5, (3, 700))
    whole = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert next_token_loss(logits, targets).item() == pytest.approx(whole.item(), abs=1e-6)

"""One training step of the course's GPT in 16 bit, sharded three ways; each rank saves the bytes it holds."""

import sys
import warnings

import torch
import torch.distributed as dist
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from scaleup import ranks
from scaleup.model import GPT, GPTConfig, next_token_loss

vocab_size, layers, heads, dim, hidden = map(int, sys.argv[1:])
config = GPTConfig(vocab_size, layers, heads, dim, hidden, context=32)
warnings.filterwarnings("ignore")


def held(tensors) -> int:
    """Bytes of some tensors on this rank; of a sharded one its own shard."""
    local = (t.to_local() if hasattr(t, "to_local") else t for t in tensors)
    return sum(t.numel() * t.element_size() for t in local)


def moments(optimizer) -> int:
    """Bytes of the optimizer's state, without the number of steps that each tensor counts."""
    return held(t for state in optimizer.state.values() for t in state.values() if t.dim())


def forward(model, autocast: bool) -> torch.Tensor:
    tokens = torch.randint(0, vocab_size, (2, 33))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return next_token_loss(model(tokens[:, :-1]), tokens[:, 1:])


def fully_sharded(stage: int) -> dict[str, int]:
    model = GPT(config)
    policy = {"mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32)}
    policy["reshard_after_forward"] = stage == 3
    for block in model.blocks:
        fully_shard(block, **policy)
    fully_shard(model, **policy)
    optimizer = torch.optim.AdamW(model.parameters())
    loss = forward(model, autocast=False)
    whole = held(p for p in model.parameters() if p.dtype == torch.bfloat16)
    loss.backward()
    optimizer.step()
    return {
        "whole": whole,
        "parameters": held(model.parameters()),
        "gradients": held(p.grad for p in model.parameters()),
        "moments": moments(optimizer),
    }


def replicated() -> dict[str, int]:
    model = DistributedDataParallel(GPT(config), gradient_as_bucket_view=True)
    optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW)
    forward(model, autocast=True).backward()
    optimizer.step()
    return {
        "parameters": held(model.parameters()),
        "gradients": held(p.grad for p in model.parameters()),
        "moments": moments(optimizer.optim),
    }


dist.init_process_group("gloo")
torch.manual_seed(0)
ranks.save_result({"1": replicated(), "2": fully_sharded(2), "3": fully_sharded(3)})
dist.destroy_process_group()

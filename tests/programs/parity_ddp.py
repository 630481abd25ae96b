"""One data-parallel step. The argument says what is done with the gradients: `average`, `sum` or `none`."""

import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss

kind = sys.argv[1]
dist.init_process_group("gloo")
rank, world_size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(1)
config = GPTConfig(vocab_size=64, layers=1, heads=2, dim=16, hidden=24, context=16)
model = GPT(config)
tokens = torch.randint(0, 64, (8, 17))[rank::world_size]  # (8 / world_size, 17)
if kind == "average":
    model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss = next_token_loss(model(tokens[:, :-1]), tokens[:, 1:])
loss.backward()
if kind == "sum":
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
optimizer.step()
mean = loss.detach().clone()
dist.all_reduce(mean)
parity.record(model, mean / world_size)
dist.destroy_process_group()

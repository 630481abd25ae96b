"""One step of a pipeline; on one rank the whole model and batch. Argument: the schedule."""

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel.stages import stages

dist.init_process_group("gloo")
torch.manual_seed(1)
model = GPT(GPTConfig(vocab_size=64, layers=8, heads=2, dim=16, hidden=24, context=16))
tokens = torch.randint(0, 64, (16, 17))
inputs, targets = tokens[:, :-1], tokens[:, 1:]
if dist.get_world_size() == 1:
    loss = next_token_loss(model(inputs), targets)
    loss.backward()
else:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),), mesh_dim_names=("pp",))
    loss = stages(model, mesh, micro_batches=8, schedule=sys.argv[1]).step(inputs, targets)
torch.optim.SGD(model.parameters(), lr=0.1).step()
parity.record(model, loss)
dist.destroy_process_group()

"""One step on parts of the sequence. Arguments: the way, and the parameters' type (or float32)."""

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import long_context

way, kind = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "float32"
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),), mesh_dim_names=("cp",))
torch.manual_seed(1)
model = GPT(GPTConfig(vocab_size=64, layers=2, heads=4, dim=32, hidden=48, context=32))
with torch.no_grad():
    for parameter in model.parameters():  # larger than at the start of a training: attention matters
        parameter.mul_(10 if parameter.dim() > 1 else 1)
model = long_context.spread(model.to(getattr(torch, kind)), mesh, way)
tokens = torch.randint(0, 64, (2, 33))
inputs, targets = (long_context.part(each, mesh) for each in (tokens[:, :-1], tokens[:, 1:]))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss = next_token_loss(model(inputs), targets)
loss.backward()
mean = loss.detach().clone()
for tensor in (mean, *(parameter.grad for parameter in model.parameters())):
    dist.all_reduce(tensor)
    tensor /= mesh.size()
optimizer.step()
parity.record(model, mean)
dist.destroy_process_group()

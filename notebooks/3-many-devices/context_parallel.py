"""One training step of the course's GPT on parts of its sequences. The argument is the way.

torchrun --standalone --nproc-per-node=4 context_parallel.py ring
"""

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import long_context
from scaleup.text import corpus
from scaleup.text.windows import Windows


def main(way: str) -> None:
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),), mesh_dim_names=("cp",))
    dataset = Windows(corpus.prepare(quiet=True).tokens("train"), seq=256)
    batch = [torch.stack(side) for side in zip(dataset[0], dataset[1], strict=True)]
    inputs, targets = (long_context.part(whole, mesh) for whole in batch)

    torch.manual_seed(1)  # the same parameters on every rank
    model = long_context.spread(GPT(GPTConfig()), mesh, way)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss = next_token_loss(model(inputs), targets)
    loss.backward()
    mean = loss.detach().clone()
    for tensor in (mean, *(parameter.grad for parameter in model.parameters())):
        dist.all_reduce(tensor)
        tensor /= mesh.size()
    optimizer.step()
    parity.record(model, mean)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])

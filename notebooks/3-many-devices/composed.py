"""The course's GPT on a mesh with four axes: one step, by real ranks or by one that pretends.

torchrun --standalone --nproc-per-node=8 composed.py pp=2 shard=2 tp=2
"""

import sys
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.utils.checkpoint import checkpoint

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel.sharding import shard
from scaleup.parallel.stages import stages
from scaleup.parallel.tensor_split import split

AXES = ("pp", "dp", "shard", "tp")  # outermost first
GLOBAL_BATCH, SEQ = 8, 64
SMALL = GPTConfig(vocab_size=512, layers=4, heads=4, dim=64, hidden=128, context=SEQ)


class Composed:
    """`model` on `mesh`, in place. `step` takes the sequences of this rank's replica.

    `reshard` frees gathered weights after the forward pass, `recompute` keeps only the inputs of blocks.
    """

    def __init__(
        self, model: GPT, mesh: DeviceMesh, micro_batches: int, *, reshard=True, recompute=False, policy=None
    ):
        def sharded(part: nn.Module) -> nn.Module:
            data = mesh["dp", "shard"] if mesh["dp"].size() > 1 else mesh["shard"]
            return shard(part, data, reshard, policy)

        self.model, self.micro_batches, self.pipeline = model, micro_batches, None
        if mesh["tp"].size() > 1:
            split(model, mesh["tp"])  # first: what it cuts must be whole
        for block in model.blocks if recompute else []:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
        if mesh["pp"].size() > 1:
            self.pipeline = stages(model, mesh["pp"], micro_batches, wrap=sharded)
        else:
            sharded(model)  # last: it cuts what is left once more

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        """Forward and backward; the mean loss of the replica, where the last layers are."""
        if self.pipeline:
            return self.pipeline.step(inputs, targets)
        losses = []
        pieces = inputs.chunk(self.micro_batches), targets.chunk(self.micro_batches)
        for x, y in zip(*pieces, strict=True):
            loss = next_token_loss(self.model(x), y) / self.micro_batches
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()


def main() -> None:
    sizes = dict.fromkeys(AXES, 1)
    dist.init_process_group("gloo")
    if dist.get_world_size() > 1:
        sizes |= {axis: int(size) for axis, size in (word.split("=") for word in sys.argv[1:])}
    mesh = init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=AXES)
    torch.manual_seed(1)  # the same weights on every rank
    model = GPT(SMALL)
    tokens = torch.randint(0, SMALL.vocab_size, (GLOBAL_BATCH, SEQ + 1))

    replicas = sizes["dp"] * sizes["shard"]
    replica = mesh["dp"].get_local_rank() * sizes["shard"] + mesh["shard"].get_local_rank()
    share = tokens[replica::replicas]  # all ranks of pp and tp get the same
    composed = Composed(model, mesh, micro_batches=len(share), reshard=sizes["pp"] == 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss = composed.step(share[:, :-1], share[:, 1:])
    for axis in ("dp", "shard"):
        if loss is not None:
            dist.all_reduce(loss, group=mesh[axis].get_group())
            loss /= sizes[axis]
    optimizer.step()
    parity.record(model, loss)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

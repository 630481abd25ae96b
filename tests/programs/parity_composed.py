"""One step on a mesh of several axes, or the same with a mistake in it. Arguments: axis=size, a mistake.

On one rank it is the step of the whole model, without the mistake. "recompute" and "half" are none.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy

from scaleup.measure import parity
from scaleup.model import GPT, GPTConfig
from scaleup.parallel.sharding import shard

sys.path.append(str(Path(__file__).parents[2] / "notebooks" / "3-many-devices"))
from composed import AXES, Composed

SMALL = GPTConfig(vocab_size=64, layers=4, heads=2, dim=16, hidden=24, context=16)
sizes = dict.fromkeys(AXES, 1)
mistake = next((word for word in sys.argv[1:] if "=" not in word), "")
dist.init_process_group("gloo")
if dist.get_world_size() > 1:
    sizes |= {axis: int(size) for axis, size in (word.split("=") for word in sys.argv[1:] if "=" in word)}
else:
    mistake = ""
mesh = init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=AXES)
torch.manual_seed(dist.get_rank() if mistake == "other seeds" else 1)
model = GPT(SMALL)
torch.manual_seed(2)
tokens = torch.randint(0, SMALL.vocab_size, (8, 17))
replicas = sizes["dp"] * sizes["shard"]
replica = mesh["dp"].get_local_rank() * sizes["shard"] + mesh["shard"].get_local_rank()
if mistake == "each rank its own":  # also ranks that work on the same sequences
    replicas, replica = dist.get_world_size(), dist.get_rank()
share = tokens[replica::replicas]
if mistake == "the same for all":
    share = tokens[: len(share)]
more = {"reshard": sizes["pp"] == 1, "recompute": mistake == "recompute"}
if "half" in sys.argv:  # on one rank, too
    more["policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
if mistake == "sharded first":
    shard(model, mesh["shard"])
names, other = AXES, "pp" if sizes["pp"] > 1 else "tp"
swapped = {"shard": other, other: "shard"}
if mistake == "axes swapped":  # techniques along the wrong axes, the batch along the right ones
    names = tuple(swapped.get(axis, axis) for axis in AXES)
placed = init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=names)
composed = Composed(model, placed, len(share), **more)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
loss = composed.step(share[:, :-1], share[:, 1:])
for axis in ("dp", "shard"):
    if loss is not None and mistake != "loss of one":
        dist.all_reduce(loss, group=mesh[axis].get_group())
        loss /= sizes[axis]
optimizer.step()
parity.record(model, loss)
dist.destroy_process_group()

"""A model on the ranks of this run, as shards or as tensors: `shards.py save|load shards|tensors FOLDER`."""

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh

from scaleup import ranks
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import sharding, tensor_split

action, way, folder = sys.argv[1:]
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
torch.manual_seed(1 if action == "save" else 2)  # who loads begins with another model
model = GPT(GPTConfig(vocab_size=512, layers=2, heads=4, dim=64, hidden=96, context=32))
apply = sharding.shard if way == "shards" else tensor_split.split
apply(model, mesh)

state = model.state_dict()
if action == "save":
    dcp.save(state, storage_writer=HuggingFaceStorageWriter(folder, save_distributed=True))
else:
    dcp.load(state, storage_reader=HuggingFaceStorageReader(folder))

torch.manual_seed(3)
tokens = torch.randint(512, (2, 33))
loss = next_token_loss(model(tokens[:, :-1]), tokens[:, 1:])
loss = loss.full_tensor() if hasattr(loss, "full_tensor") else loss
ranks.save_result({"loss": loss.item(), "rows": state["head.weight"].to_local().shape[0]})
dist.destroy_process_group()

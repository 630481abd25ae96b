"""Save twice while two ranks train: the first save is waited for, the second is written behind the steps."""

import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh

from scaleup import ranks
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel.sharding import shard

dist.init_process_group("gloo")
behind = dist.new_group(backend="gloo")  # for what is said about the second save, while the steps go on
torch.set_num_threads(1)
torch.manual_seed(1)
model = GPT(GPTConfig(layers=8, dim=512, hidden=1536, heads=8))
shard(model, init_device_mesh("cpu", (dist.get_world_size(),)))
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
tokens = torch.randint(4096, (1, 65))
spans, written = [], []


def timed(kind: str, act) -> None:
    begun = time.perf_counter()
    act()
    spans.append((kind, begun - start, time.perf_counter() - start))


def step() -> None:
    next_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
    optimizer.step()
    optimizer.zero_grad()


def state() -> dict:
    means = {f"{n}.{key}": optimizer.state[p][key]
             for n, p in model.named_parameters() for key in ("exp_avg", "exp_avg_sq")}  # fmt: skip
    return model.state_dict() | means


def save_now() -> None:
    dcp.save(state(), storage_writer=HuggingFaceStorageWriter("now", save_distributed=True))


def save_behind() -> None:
    writer = HuggingFaceStorageWriter("behind", save_distributed=True)
    saving = dcp.async_save(state(), storage_writer=writer, process_group=behind)
    copied = time.perf_counter() - start
    saving.add_done_callback(lambda _: written.append((copied, time.perf_counter() - start)))


step()  # the first one does not count
dist.barrier()
start = time.perf_counter()
for number in range(1, 13):
    timed("step", step)
    if number == 4:
        timed("save", save_now)
    if number == 7:
        timed("copy", save_behind)
while not written:
    time.sleep(0.01)
mine = sum(tensor.to_local().nbytes for tensor in state().values())
ranks.save_result({"spans": spans, "written": written[0], "bytes": mine})
dist.destroy_process_group()

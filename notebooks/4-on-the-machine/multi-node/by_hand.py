"""Four ranks find each other with what Slurm told them. srun starts a task per rank."""

import json
import os
import socket
from datetime import timedelta
from pathlib import Path

import psutil
import torch
import torch.distributed as dist

rank, world_size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
patience = timedelta(seconds=float(os.environ.get("PATIENCE", 60)))


def connections() -> list[str]:
    """The nodes that this process is connected with, the store's own port aside."""
    every = psutil.Process().net_connections("tcp")
    mine = [c for c in every if c.status == "ESTABLISHED" and c.laddr.port != port]
    far = [c.raddr.ip.removeprefix("::ffff:") for c in mine]
    return sorted(socket.gethostbyaddr(address)[0] for address in far)


def listens() -> bool:
    """Whether this process holds the store's port open."""
    mine = psutil.Process().net_connections("tcp")
    return any(c.status == "LISTEN" and c.laddr.port == port for c in mine)


# 1. Rank 0 opens the store and listens. The others try to connect until it is there.
store = dist.TCPStore(host, port, world_size, is_master=rank == 0, timeout=patience)

# 2. A store is a dictionary on one node: set writes, get waits until somebody wrote.
store.set(f"node of rank {rank}", os.uname().nodename)
nodes = [store.get(f"node of rank {r}").decode() for r in range(world_size)]
seen = {"node": nodes[rank], "listens": listens(), "store": connections()}

# 3. gloo puts each rank's address into the store, reads the others', and connects them.
dist.init_process_group(
    "gloo",
    store=store,
    rank=rank,
    world_size=world_size,
    timeout=patience,
)
seen["group"] = connections()

# 4. From now on tensors pass from rank to rank. The store carries none of them.
total = torch.tensor(rank)
dist.all_reduce(total)
seen["sum"] = total.item()
Path(f"by-hand-{rank}.json").write_text(json.dumps(seen))
dist.destroy_process_group()

"""Twenty steps; before the sixth a bit of one weight of rank 3 flips. Nobody is told."""

import hashlib

import torch
import torch.distributed as dist
from small_run import batch_of, copy_of_model, own_gradient, rank, save, update, world_size


def checksums(model: torch.nn.Module) -> dict[str, str]:
    """Eight characters for each tensor, equal where every bit is."""
    tensors = model.state_dict().items()
    return {name: hashlib.sha256(t.numpy().tobytes()).hexdigest()[:8] for name, t in tensors}


model, losses, first_seen = copy_of_model(), [], None
for step in range(20):
    if rank == 3 and step == 5:
        bits = model[0].weight.data.view(torch.int32)
        bits[12, 5] ^= 1 << 20
    loss, own = own_gradient(model, *batch_of(step))
    losses.append(loss)
    dist.all_reduce(own)
    update(model, own / world_size)
    if step % 4 == 3:
        every = [None] * world_size
        dist.all_gather_object(every, checksums(model))
        if first_seen is None and any(each != every[0] for each in every):
            first_seen = step
torch.save(model.state_dict(), f"flipped-{rank}.pt")
save("flipped", {"losses": losses, "first_seen": first_seen, "sums": every})

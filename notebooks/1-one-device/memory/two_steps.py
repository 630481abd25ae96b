"""Trains each model for two steps and prints by how many bytes this process grew: a list, as JSON.

Start it with a list of [shape of the model, windows in the batch], the smallest model first, since the system
remembers only the largest size that the process ever had.
"""

import json
import resource
import sys
from pathlib import Path

import psutil
import torch

from scaleup.model import GPT, GPTConfig, next_token_loss


def largest() -> int:
    """Bytes of memory that this process held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage tells the largest size of whoever started us, too
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def train(config: GPTConfig, windows: int) -> None:
    model = GPT(config)
    optimizer = torch.optim.AdamW(model.parameters())
    text = torch.randint(0, config.vocab_size, (windows, 129))
    for _ in range(2):
        next_token_loss(model(text[:, :-1]), text[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()


torch.set_num_threads(1)
train(GPTConfig(layers=1, dim=32, hidden=32), 1)  # what PyTorch loads at first use
grown = []
for shape, windows in json.loads(sys.argv[1]):
    before = psutil.Process().memory_info().rss
    train(GPTConfig(**shape), windows)
    grown.append(largest() - before)
print(json.dumps(grown))

"""Save step 20 under a name, and be killed when half of it is written: `killed.py plain|whole FILE`."""

import io
import os
import signal
import sys
from pathlib import Path

import torch

way, name = sys.argv[1], Path(sys.argv[2])
buffer = io.BytesIO()
torch.save({"step": 20, "model": torch.zeros(1_000_000)}, buffer)
content = buffer.getvalue()

part = name if way == "plain" else name.with_name(f".{name.name}.part")
with open(part, "wb") as file:
    file.write(content[: len(content) // 2])
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)  # the node is gone
    file.write(content[len(content) // 2 :])
    file.flush()
    os.fsync(file.fileno())  # wait until the bytes are on the disk
os.replace(part, name)  # then the name: from one moment to the next, it stands for the new file

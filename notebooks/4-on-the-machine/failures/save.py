"""A second checkpoint, with the optimizer's state, does not fit on a disk of 4 MB."""

import shutil
import sys
import traceback
from pathlib import Path

import torch

place, atomic = Path(sys.argv[1]), sys.argv[2] == "atomic"
checkpoint = place / "last.pt"
for step, size in ((100, 400_000), (200, 1_200_000)):
    state = {"step": step, "weights": torch.zeros(size)}  # 1.6 MB, then 4.8 MB
    part = checkpoint.with_suffix(".part") if atomic else checkpoint
    try:
        torch.save(state, part)
        part.rename(checkpoint)
    except (OSError, RuntimeError):
        traceback.print_exc()
        if atomic:
            part.unlink()
free = shutil.disk_usage(place).free
print(f"free: {free:,} bytes. {checkpoint.name}: {checkpoint.stat().st_size:,}", file=sys.stderr)
print("loaded: step", torch.load(checkpoint)["step"], file=sys.stderr)

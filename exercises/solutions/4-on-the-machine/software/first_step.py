"""What the libraries of a training run read and write. offline_job.sh runs it."""

import json
import os
from pathlib import Path

import matplotlib.font_manager  # stores a list of fonts in its cache
import torch
from huggingface_hub import constants, hf_hub_download

project = Path(os.environ["PROJECT"])

# The configuration of a model that was downloaded before, into $PROJECT/models.
try:
    config = hf_hub_download("scaleup/tiny", "config.json")
except OSError:
    config = None

# Weights from an address: torch.hub keeps a copy of what it fetched.
torch.hub.load_state_dict_from_url((project / "weights.pt").as_uri(), progress=False)

# A compiled kernel. PyTorch for CPUs comes without Triton; this is Triton's rule.
triton = Path(os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton" / "cache")
triton.mkdir(parents=True, exist_ok=True)
(triton / "kernel.so").write_text("compiled")

seen = {
    "found": config is not None,
    "offline": constants.HF_HUB_OFFLINE,
    "fonts": matplotlib.get_cachedir(),
    "kernels": str(triton),
    "weights": torch.hub.get_dir(),
}
(project / "seen.json").write_text(json.dumps(seen))

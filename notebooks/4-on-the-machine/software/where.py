"""Where libraries would put their files, asked of the libraries themselves."""

import subprocess
import sys

import torch.hub
from huggingface_hub import constants

pip = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True)
for name, place in {"hub": constants.HF_HUB_CACHE, "torch": torch.hub.get_dir(), "pip": pip.stdout}.items():
    print(f"{name:6} {place.strip()}")

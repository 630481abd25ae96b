"""Ask Hugging Face's library for files of a model; say what it found and how long that took."""

import sys
import time

from huggingface_hub import constants, hf_hub_download

for name in sys.argv[1:]:
    begun = time.monotonic()
    try:
        with open(hf_hub_download("scaleup/tiny", name)) as file:
            said = file.read().strip()
    except OSError as error:
        said = type(error).__name__
    took = time.monotonic() - begun
    print(f"HF_HUB_OFFLINE={int(constants.HF_HUB_OFFLINE)} {name}: {said} after ≈ {took:.1f} s")
